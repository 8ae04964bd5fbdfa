"""About a second of proof whenever a model is loaded: what the hooks show is what the model computes, or is hidden."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from model.arch.anatomy import Anatomy
from model.arch.placement import home, same_numbers, whole_weight
from model.arch.positions import LearnedPositions, Rotary
from model.arch.rounding import CLOSE, share
from model.capture.captured import CapturedPasses
from model.capture.decoding import Earlier, Pass, continued
from model.capture.restored import NotRestorable
from model.capture.tracer import Tracer
from model.loading import replayed
from model.loading.evidence import N_NEW, Evidence, Failed, Rounded, size, watched_outputs
from model.loading.untraced import gap, spread, untraced
from model.records import attention
from model.records.trace import Check, Name, Settings
from model.texts import phrase

_BY_POSITION = ("queries", "keys", "values", "resid", "unit_ids", "unit_values", "expert_ids", "expert_weights")
_LENS_ROUNDINGS = 4  # of the norm, of the head's product, and of the same two in the model's own pass
_UNTRACED = 4  # more runs of the library's own, to see whether the device repeats


def check(model: Any, anatomy: Anatomy, captured: CapturedPasses | None = None) -> tuple[Check, ...]:
    """Prove on random token ids what can be shown of this model; a proof that fails carries the reason to hide it.

    Random ids lie within the model's vocabulary and context, so the check says nothing about what the model writes.
    `captured` is checked too, on a device where decode passes are captured.
    """
    evidence = Evidence(model, anatomy)
    parity = _judge("parity", _parity, evidence)
    others: tuple[tuple[Name, Callable[[Evidence], str]], ...] = (
        ("attention", _attention),
        ("residual", _residual),
        ("lens", _lens),
        ("units", _units),
        ("parts", _parts),
        ("embeddings", _embeddings),
        ("positions", _positions),
        ("resume", _resume),
        *((("captured", partial(replayed.prove, captured)),) if captured is not None else ()),
    )
    if parity.passed:
        return parity, *(_judge(name, prove, evidence) for name, prove in others)
    reason = phrase("tracing changes what this model computes ({detail})", detail=parity.detail)
    return parity, *(Check(name=name, passed=False, detail=reason) for name, _ in others)


def _judge(name: Name, prove: Callable[[Evidence], str], evidence: Evidence) -> Check:
    evidence.rounded = Rounded()
    try:
        with torch.inference_mode():
            return Check(name=name, passed=True, detail=_as_rounded(prove(evidence), evidence))
    except Failed as failed:
        return Check(name=name, passed=False, detail=str(failed))
    except Exception as error:  # noqa: BLE001  (whatever a family trips over, the other pictures are shown)
        told = phrase("its check failed ({kind}: {told})", kind=type(error).__name__, told=str(error)[:200])
        return Check(name=name, passed=False, detail=told)


def _as_rounded(detail: str, evidence: Evidence) -> str:
    """What was proved, and how closely, where a short precision or the device does not let it be exact."""
    if evidence.rounded.allowed <= CLOSE:
        return detail
    return phrase(
        "{detail}; in {dtype} within {missed:.2g}% of its size, where up to {allowed:.2g}% may be rounding",
        detail=detail,
        missed=100 * evidence.rounded.missed,
        dtype=str(evidence.model.dtype).removeprefix("torch."),
        allowed=100 * evidence.rounded.allowed,
    )


def _parity(evidence: Evidence) -> str:
    """Traced and untraced generation agree bit for bit, or as closely as untraced runs agree on this device."""
    traced = torch.cat([each.logits for each in evidence.passes])
    stock = untraced(evidence.model, evidence.ids, N_NEW)
    if traced.shape == stock.shape and torch.equal(traced, stock):
        return phrase("logits of {n} steps equal an untraced run's, bit for bit", n=len(traced))
    runs = [stock, *(untraced(evidence.model, evidence.ids, N_NEW) for _ in range(_UNTRACED))]
    evidence.spread = spread(runs)
    if not min(gap(traced, each) for each in runs) <= evidence.spread:
        raise Failed(
            "the logits of {n} steps differ by up to {gap:.2g} from an untraced run",
            n=len(traced),
            gap=float((traced - stock).abs().max()) if traced.shape == stock.shape else float("nan"),
        )
    return phrase(
        "logits of {n} steps equal an untraced run's within the device's own spread: it does not repeat bit for bit, "
        "and untraced runs differ by up to {spread:.2g} of the largest logit",
        n=len(traced),
        spread=evidence.spread,
    )


def _attention(evidence: Evidence) -> str:
    """The rebuilt pattern, times the values, gives what the model's own attention gave, in every pass.

    In a short precision the model's own function also computes the same numbers in float32, which the pattern must
    meet as closely as in a model of that precision; by what the model itself then misses, is its rounding.
    """
    silent = [layer for layer in range(len(evidence.anatomy.layers)) if layer not in evidence.tracer.rules]
    if silent and "queries" not in evidence.tracer.buffers.misfits:
        raise Failed(
            "in {n_silent} of its {n_layers} layers, the first of them {first}, "
            "attention does not go through the library's interface, or there is none",
            n_silent=len(silent),
            n_layers=len(evidence.anatomy.layers),
            first=silent[0],
        )
    for name in ("queries", "keys", "values"):
        evidence.require_layers(name)
    if evidence.arrays["queries"].shape[1] % evidence.arrays["keys"].shape[1]:
        raise Failed("its query heads do not share key heads evenly")
    worst = max(_attention_gap(evidence, layer, at) for layer in evidence.tracer.rules for at in evidence.standing)
    return phrase("rebuilt patterns give the model's own attention within {worst:.1g} of its size", worst=worst)


def _attention_gap(evidence: Evidence, layer: int, at: int) -> float:
    """By how much the rebuilt pattern misses what the model's function gives in float32. Raises: Failed."""
    arrays, rule, step = evidence.arrays, evidence.tracer.rules[layer], evidence.passes[at].step
    first, stop = step.first, step.stop
    group = arrays["queries"].shape[1] // arrays["keys"].shape[1]
    queries = arrays["queries"][layer, :, first:stop]
    keys, values = (np.repeat(arrays[name][layer, :, :stop], group, axis=0) for name in ("keys", "values"))
    masks = attention.masks_of(rule, arrays["masks"], len(arrays["queries"][layer])) if "masks" in arrays else None
    rows = attention.pattern(
        queries,
        keys,
        rule,
        positions=np.arange(first, stop),
        sink=arrays["sinks"][layer] if "sinks" in arrays else None,
        mask=None if masks is None else masks[:, first:stop, :stop],
    )
    assert evidence.tracer.outputs is not None
    attended = evidence.tracer.outputs[layer][at]
    rounding = _attention_rounding(evidence, attention.scores(queries, keys, rule), rows)
    ran_gap = _missed(rows @ values, attended.ran, layer)
    exact_gap = ran_gap if attended.exact is None else _missed(rows @ values, attended.exact, layer)
    evidence.rounded.add(ran_gap, rounding)
    for missed, allowed in ((ran_gap, rounding), (exact_gap, rounding if attended.exact is None else CLOSE)):
        if not missed <= allowed:
            raise Failed(
                "the rebuilt pattern misses the model's own attention by {worst:.2g} of its size", worst=missed
            )
    return exact_gap


def _attention_rounding(evidence: Evidence, scores: np.ndarray, rows: np.ndarray) -> float:
    """What the model's own attention may miss by: its weights and its sums are rounded, and some ways to compute it
    round scores too, by a share of their size, which changes a weight by a factor of e to that power.
    """
    largest = float(np.abs(scores[rows > 0]).max(initial=0))
    return share(evidence.epsilon, 2 * (1 + largest))


def _missed(given: np.ndarray, theirs: torch.Tensor, layer: int) -> float:
    """The largest difference as a share of the largest number. Shapes: [head, token, width], [token, head, width]."""
    ran = theirs.cpu().numpy().swapaxes(0, 1)
    given = given[..., : ran.shape[-1]]  # where another layer's values are wider, these are filled up
    if given.shape != ran.shape:
        raise Failed(
            "layer {layer} gives {shape} but its queries and values give {expected}",
            layer=layer,
            shape=ran.shape,
            expected=given.shape,
        )
    return float(np.abs(given - ran).max() / max(np.abs(ran).max(), 1e-12))


def _residual(evidence: Evidence) -> str:
    """What a layer leaves is what enters the next, and what the last one leaves enters the final norm."""
    evidence.require_layers("resid")
    given, width = int(np.prod(evidence.arrays["resid"].shape[2:])), evidence.config.hidden_size
    if given != width:
        raise Failed(
            "its layers hand on {given} numbers a token, and the model is {width} wide: it keeps several streams",
            given=given,
            width=width,
        )
    places: list[tuple[Any, int]] = [(layer, at + 1) for at, layer in enumerate(evidence.anatomy.layers)]
    left: dict[int, torch.Tensor] = {}
    with watched_outputs([(layer.register_forward_hook, at) for layer, at in places], left):
        evidence.model(**evidence.prompt_inputs, use_cache=False)
    stream = evidence.arrays["resid"][:, : len(evidence.ids)]
    for _, at in places:
        evidence.require_close(stream[at], left[at], phrase("the residual stream after layer {last}", last=at - 1))
    if not np.isfinite(stream).all():
        raise Failed("the residual stream holds numbers that are not finite")
    return phrase("the output of each of {n} layers is the input of the next", n=len(places))


def _lens(evidence: Evidence) -> str:
    """At the last layer the lens gives the model's own logits."""
    evidence.require_layers("resid")
    if evidence.anatomy.final_norm is None:
        raise Failed("no norm was found before the output head")
    standing = [evidence.passes[at] for at in evidence.standing]
    ends = [each.step.stop - 1 for each in standing]
    last = torch.from_numpy(evidence.arrays["resid"][-1][ends]).to(home(evidence.model))
    rebuilt = evidence.anatomy.logits(last, evidence.config)
    own = torch.cat([each.logits for each in standing])
    evidence.require_close(rebuilt.cpu().numpy(), own, phrase("the last layer's lens"), n_roundings=_LENS_ROUNDINGS)
    return phrase("at the last layer it gives the model's own logits")


def _units(evidence: Evidence) -> str:
    """Every layer has an MLP whose units are the input of one matrix."""
    evidence.require_found("units")
    if any(module is None for module in evidence.anatomy.unit_outputs):
        raise Failed(
            "not every layer has one MLP with one matrix after its units that alone gives what the MLP adds "
            "(a mixture of experts has several)"
        )
    evidence.require_layers("unit_values")
    return phrase("found in every layer")


def _parts(evidence: Evidence) -> str:
    """What each layer adds to the residual stream is the sum of what its parts gave."""
    evidence.require_found("parts")
    evidence.require_layers("resid")
    if any(names is None for names in evidence.anatomy.parts):
        raise Failed("no parts of its layers were found that sum to what the layers add")
    children = [
        (module.get_submodule(name).register_forward_hook, (layer, name))
        for layer, (module, names) in enumerate(zip(evidence.anatomy.layers, evidence.anatomy.parts, strict=True))
        for name in names or ()
    ]
    given: dict[tuple[int, str], torch.Tensor] = {}
    with watched_outputs(children, given):
        evidence.model(**evidence.prompt_inputs, use_cache=False)
    stream = evidence.arrays["resid"][:, : len(evidence.ids)]
    for layer, names in enumerate(evidence.anatomy.parts):
        parts = [given[layer, name].float().cpu().numpy() for name in names or ()]
        off, sizes = np.abs(stream[layer + 1] - stream[layer] - sum(parts)), size(stream[layer + 1])
        rounded = len(parts) * evidence.epsilon / 2 * sum((np.abs(each) for each in parts), np.abs(stream[layer]))
        worst = float((off / sizes).max())
        if not (off <= np.maximum(evidence.allowed() * sizes, rounded)).all():
            raise Failed("what layer {layer} adds is off by {worst:.2g} of its size", layer=layer, worst=worst)
        evidence.rounded.add(worst, float((rounded / sizes).max()))
    return phrase("{parts} sum to what each layer adds", parts=" + ".join(evidence.anatomy.parts[0] or ()))


def _embeddings(evidence: Evidence) -> str:
    """What the embedding gives for a token is its row of the table, as it stands or times one number."""
    embedding = evidence.anatomy.embedding
    table = whole_weight(embedding) if hasattr(embedding, "weight") else None
    width = evidence.config.hidden_size
    if table is None or table.ndim != 2 or table.shape[1] != width:
        raise Failed("its embedding is not one table with a row of {width} numbers for each token", width=width)
    rows, given = table[evidence.ids].float(), evidence.looked_up.float()
    if rows.shape != given.shape:
        raise Failed("its embedding gives {shape} for {n_rows} tokens", shape=tuple(given.shape), n_rows=len(rows))
    scale = float((given * rows).sum() / (rows * rows).sum())
    if abs(scale - 1) <= CLOSE:
        evidence.require_close(rows.cpu().numpy(), given, phrase("what the embedding gives for a token"))
        return phrase("a token's vector is its row of the table")
    scaled = (rows * scale).cpu().numpy()
    evidence.require_close(scaled, given, phrase("what the embedding gives for a token"), n_roundings=2)
    return phrase("a token's vector is its row of the table, times {scale:.6g}", scale=scale)


def _positions(evidence: Evidence) -> str:
    """The rotation, or the vectors, found for positions from 0 on are those that layer 0 was given."""
    evidence.require_found("positions")
    found, n = evidence.anatomy.positions, len(evidence.ids)
    if isinstance(found, Rotary) and getattr(evidence.config, "alibi", False):
        raise Failed("its layers are handed a rotation and leave it: ALiBi weighs distance in their scores instead")
    if isinstance(found, Rotary):
        ours = found.answer(n)
        if not any(same_numbers(ours[0], each) for each in evidence.given):
            raise Failed("what its rotary module says of positions from 0 on is not what layer 0 was given")
        return phrase(
            "rotary: layer 0 rotates {n} pairs of numbers of each query and key", n=found.angles(1)[0].shape[1]
        )
    if isinstance(found, LearnedPositions):
        evidence.require_layers("resid")
        entered, looked_up = evidence.arrays["resid"][0, :n], evidence.looked_up.cpu()
        both = looked_up + found.vectors(n).to(looked_up.dtype)  # rounded as the model rounds it
        evidence.require_close(entered, both, phrase("a token's vector plus its position's"))
        return phrase("learned: layer 0 is given the sum of a token's vector and its position's")
    raise Failed(
        "neither a rotation that is handed to its layers nor a table of learned positions was found; a model may also "
        "weigh distance in its attention scores (as ALiBi does), or turn queries and keys inside its attention"
    )


def _resume(evidence: Evidence) -> str:
    """Each pass on a cache rebuilt from the keys and values before it equals the recorded pass, number for number."""
    for name in ("keys", "values"):
        evidence.require_layers(name)
    evidence = evidence.whole()
    if len(evidence.standing) < len(evidence.passes):
        raise Failed("it keeps no cache of all that it has read, and reads tokens again")
    try:
        for at in range(1, len(evidence.passes)):
            _require_resumed(evidence, at)
    except (Failed, NotRestorable) as failed:
        raise Failed("{failed}", failed=failed) from failed
    except Exception as error:  # whatever a family trips over, its runs are then replayed
        raise Failed(
            "a cache rebuilt from the record fails ({kind}: {error})", kind=type(error).__name__, error=str(error)[:200]
        ) from error
    return phrase(
        "{n} passes on a cache rebuilt from the record equal the recorded ones, bit for bit",
        n=len(evidence.passes) - 1,
    )


def _require_resumed(evidence: Evidence, at: int) -> None:
    recorded, first = evidence.passes[at], evidence.passes[at].step.first
    earlier = Earlier(
        ids=tuple(evidence.followed[:at]),
        kv_bytes=evidence.passes[at - 1].step.kv_bytes,
        d_vocab=evidence.anatomy.d_vocab,
        keys=evidence.arrays["keys"][:, :, :first],
        values=evidence.arrays["values"][:, :, :first],
    )
    tracer = Tracer(evidence.anatomy, len(evidence.ids) + N_NEW)
    run = continued(evidence.model, evidence.ids, Settings(max_new_tokens=N_NEW), tracer, earlier)
    _, resumed = next(run), next(run)
    assert isinstance(resumed, Pass)
    if not torch.equal(resumed.logits, recorded.logits):
        gap = float((resumed.logits - recorded.logits).abs().max())
        raise Failed(
            "on a cache rebuilt from the record, the logits of step {at} differ by up to {gap:.2g}", at=at, gap=gap
        )
    if not torch.equal(resumed.chosen.scores, recorded.chosen.scores):
        raise Failed("on a cache rebuilt from the record, the scores of step {at} are processed differently", at=at)
    for name, rows in tracer.arrays(first + 1).items():
        if name in _BY_POSITION and (_row(name, rows, first) != _row(name, evidence.arrays[name], first)).any():
            raise Failed("on a cache rebuilt from the record, the {name} of step {at} differ", name=name, at=at)


def _row(name: str, array: np.ndarray, position: int) -> np.ndarray:
    return array[:, :, position] if name in ("queries", "keys", "values") else array[:, position]
