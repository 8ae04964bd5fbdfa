"""About a second of proof whenever a model is loaded: what the hooks show is what the model computes, or is hidden."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar

import numpy as np
import torch

from model.arch.anatomy import Anatomy, attached, hidden, of_layers
from model.arch.positions import LearnedPositions, Rotary, tensors
from model.capture.decoding import Earlier, Pass, continued, passes
from model.capture.restored import NotRestorable
from model.capture.tracer import Tracer
from model.records import attention
from model.records.trace import Check, Name, Settings
from model.texts import phrase

_LENGTH = 27  # tokens of the check's prompt: no multiple of a usual chunk, so that decoding starts inside one
_LONGEST_WINDOW = 64
_NEW = 4
_BY_POSITION = ("queries", "keys", "values", "resid", "unit_ids", "unit_values")
_CLOSE = 1e-5  # relative to the largest number of the row compared


K = TypeVar("K")


class _Failed(Exception):
    """A proof that did not hold, in words: a template and its values."""

    def __init__(self, template: LiteralString, /, **values: object) -> None:
        super().__init__(phrase(template, **values))


class _Evidence:
    """A traced run on random ids, and the same run by the library alone."""

    def __init__(self, model: Any, anatomy: Anatomy, *, forced: Sequence[int] = ()) -> None:
        self.model, self.anatomy = model, anatomy
        self.config = model.config.get_text_config()
        self.ids = _random_ids(self.config, anatomy)
        self.tracer = Tracer(anatomy, len(self.ids) + _NEW, outputs=True)
        self.looked_up = torch.empty(0)  # what the embedding gave in the first pass: [token, width]
        self.given: list[torch.Tensor] = []  # every tensor that layer 0 was called with in the first pass
        with attached(list(self._first_calls())):
            settings = Settings(max_new_tokens=_NEW)
            self.passes: list[Pass] = list(passes(model, self.ids, settings, self.tracer, forced=forced))
        self.followed = forced or [each.chosen.choice.id for each in self.passes]  # the token after each pass
        self.n_fed = self.passes[-1].step.stop
        self.arrays = self.tracer.arrays(self.n_fed)

    def _first_calls(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        def embed(_: Any, __: Any, output: Any) -> None:
            output = hidden(output)
            if not self.looked_up.numel():
                self.looked_up = output.detach().reshape(-1, output.shape[-1]).clone()

        def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.given = self.given or tensors((args, kwargs))

        yield self.anatomy.embedding.register_forward_hook, embed
        first = self.anatomy.layers[0]
        yield lambda hook: first.register_forward_pre_hook(hook, with_kwargs=True), enter

    @property
    def standing(self) -> list[int]:
        """The passes whose tokens no later pass read again: the arrays hold what these computed."""
        return [at for at in range(len(self.passes)) if not self._read_again(at)]

    def _read_again(self, at: int) -> bool:
        return any(each.step.first < self.passes[at].step.stop for each in self.passes[at + 1 :])

    def require_layers(self, name: str) -> None:
        """Every layer handed something over under this name, and all of it has one shape."""
        if name in self.tracer.buffers.misfits:
            raise _Failed("{misfit}", misfit=self.tracer.buffers.misfits[name])
        silent = [layer for layer in range(len(self.anatomy.layers)) if (name, layer) not in self.tracer.buffers.filled]
        if silent:
            raise _Failed(
                "{n_silent} of {n_layers} layers (the first: {first}) gave no {name}",
                n_silent=len(silent),
                n_layers=len(self.anatomy.layers),
                first=silent[0],
                name=name,
            )

    def require_found(self, name: str) -> None:
        """The search for this part did not trip over the family."""
        if name in self.anatomy.failed:
            raise _Failed("{why}", why=self.anatomy.failed[name])


def check(model: Any, anatomy: Anatomy) -> tuple[Check, ...]:
    """Prove on random token ids what can be shown of this model; a proof that fails carries the reason to hide it.

    Random ids lie within the model's vocabulary and context, so the check says nothing about what the model writes.
    """
    evidence = _Evidence(model, anatomy)
    parity = _judge("parity", _parity, evidence)
    others: tuple[tuple[Name, Callable[[_Evidence], str]], ...] = (
        ("attention", _attention),
        ("residual", _residual),
        ("lens", _lens),
        ("units", _units),
        ("parts", _parts),
        ("embeddings", _embeddings),
        ("positions", _positions),
        ("resume", _resume),
    )
    if parity.passed:
        return parity, *(_judge(name, prove, evidence) for name, prove in others)
    reason = phrase("tracing changes what this model computes ({detail})", detail=parity.detail)
    return parity, *(Check(name=name, passed=False, detail=reason) for name, _ in others)


def _judge(name: Name, prove: Callable[[_Evidence], str], evidence: _Evidence) -> Check:
    try:
        with torch.inference_mode():
            return Check(name=name, passed=True, detail=prove(evidence))
    except _Failed as failed:
        return Check(name=name, passed=False, detail=str(failed))
    except Exception as error:  # noqa: BLE001  (whatever a family trips over, the other pictures are shown)
        told = phrase("its check failed ({kind}: {told})", kind=type(error).__name__, told=str(error)[:200])
        return Check(name=name, passed=False, detail=told)


def _parity(evidence: _Evidence) -> str:
    """Traced and untraced generation agree bit for bit."""
    plain = evidence.model.generate(
        torch.tensor([evidence.ids], device=evidence.model.device),
        max_new_tokens=_NEW,
        do_sample=False,
        repetition_penalty=1.0,
        stop_strings=None,
        use_cache=True,  # as runs are made: a folder may say false
        output_logits=True,
        return_dict_in_generate=True,
    )
    traced = torch.cat([each.logits for each in evidence.passes])
    stock = torch.cat(plain.logits)
    if traced.shape != stock.shape or not torch.equal(traced, stock):
        gap = float((traced - stock).abs().max()) if traced.shape == stock.shape else float("nan")
        raise _Failed(
            "the logits of {n} steps differ by up to {gap:.2g} from an untraced run",
            n=len(traced),
            gap=gap,
        )
    return phrase("logits of {n} steps equal an untraced run's, bit for bit", n=len(traced))


def _attention(evidence: _Evidence) -> str:
    """The rebuilt pattern, times the values, gives what the model's own attention gave, in every pass."""
    silent = [layer for layer in range(len(evidence.anatomy.layers)) if layer not in evidence.tracer.rules]
    if silent and "queries" not in evidence.tracer.buffers.misfits:
        raise _Failed(
            "in {n_silent} of its {n_layers} layers, the first of them {first}, "
            "attention does not go through the library's interface, or there is none",
            n_silent=len(silent),
            n_layers=len(evidence.anatomy.layers),
            first=silent[0],
        )
    for name in ("queries", "keys", "values"):
        evidence.require_layers(name)
    if evidence.arrays["queries"].shape[1] % evidence.arrays["keys"].shape[1]:
        raise _Failed("its query heads do not share key heads evenly")
    worst = max(_attention_gap(evidence, layer, at) for layer in evidence.tracer.rules for at in evidence.standing)
    if not worst <= _CLOSE:
        raise _Failed("the rebuilt pattern misses the model's own attention by {worst:.2g} of its size", worst=worst)
    return phrase("rebuilt patterns give the model's own attention within {worst:.1g} of its size", worst=worst)


def _attention_gap(evidence: _Evidence, layer: int, at: int) -> float:
    arrays, rule, step = evidence.arrays, evidence.tracer.rules[layer], evidence.passes[at].step
    first, stop = step.first, step.stop
    group = arrays["queries"].shape[1] // arrays["keys"].shape[1]
    rows = attention.pattern(
        arrays["queries"][layer, :, first:stop],
        np.repeat(arrays["keys"][layer, :, :stop], group, axis=0),
        rule,
        positions=np.arange(first, stop),
        sink=arrays["sinks"][layer] if "sinks" in arrays else None,
        mask=None if rule.mask is None else arrays["masks"][rule.mask, first:stop, :stop],
    )
    given = rows @ np.repeat(arrays["values"][layer, :, :stop], group, axis=0)
    assert evidence.tracer.outputs is not None
    ran = evidence.tracer.outputs[layer][at].cpu().numpy().swapaxes(0, 1)
    given = given[..., : ran.shape[-1]]  # where another layer's values are wider, these are filled up
    if given.shape != ran.shape:
        raise _Failed(
            "layer {layer} gives {shape} but its queries and values give {expected}",
            layer=layer,
            shape=ran.shape,
            expected=given.shape,
        )
    return float(np.abs(given - ran).max() / max(np.abs(ran).max(), 1e-12))


def _residual(evidence: _Evidence) -> str:
    """What a layer leaves is what enters the next, and what the last one leaves enters the final norm."""
    evidence.require_layers("resid")
    places: list[tuple[Any, int]] = [(layer, at + 1) for at, layer in enumerate(evidence.anatomy.layers)]
    left: dict[int, torch.Tensor] = {}
    with _watched([(layer.register_forward_hook, at) for layer, at in places], left):
        evidence.model(**_prompt_inputs(evidence), use_cache=False)
    stream = evidence.arrays["resid"][:, : len(evidence.ids)]
    for _, at in places:
        _require_close(stream[at], left[at], phrase("the residual stream after layer {last}", last=at - 1))
    if not np.isfinite(stream).all():
        raise _Failed("the residual stream holds numbers that are not finite")
    return phrase("the output of each of {n} layers is the input of the next", n=len(places))


def _lens(evidence: _Evidence) -> str:
    """At the last layer the lens gives the model's own logits."""
    evidence.require_layers("resid")
    if evidence.anatomy.final_norm is None:
        raise _Failed("no norm was found before the output head")
    standing = [evidence.passes[at] for at in evidence.standing]
    ends = [each.step.stop - 1 for each in standing]
    last = torch.from_numpy(evidence.arrays["resid"][-1][ends]).to(evidence.model.device)
    rebuilt = evidence.anatomy.logits(last, evidence.config)
    _require_close(
        rebuilt.cpu().numpy(), torch.cat([each.logits for each in standing]), phrase("the last layer's lens")
    )
    return phrase("at the last layer it gives the model's own logits")


def _units(evidence: _Evidence) -> str:
    """Every layer has an MLP whose units are the input of one matrix."""
    evidence.require_found("units")
    if any(module is None for module in evidence.anatomy.unit_outputs):
        raise _Failed(
            "not every layer has one MLP with one matrix after its units that alone gives what the MLP adds "
            "(a mixture of experts has several)"
        )
    evidence.require_layers("unit_values")
    return phrase("found in every layer")


def _parts(evidence: _Evidence) -> str:
    """What each layer adds to the residual stream is the sum of what its parts gave."""
    evidence.require_found("parts")
    evidence.require_layers("resid")
    if any(names is None for names in evidence.anatomy.parts):
        raise _Failed("no parts of its layers were found that sum to what the layers add")
    children = [
        (module.get_submodule(name).register_forward_hook, (layer, name))
        for layer, (module, names) in enumerate(zip(evidence.anatomy.layers, evidence.anatomy.parts, strict=True))
        for name in names or ()
    ]
    given: dict[tuple[int, str], torch.Tensor] = {}
    with _watched(children, given):
        evidence.model(**_prompt_inputs(evidence), use_cache=False)
    stream = evidence.arrays["resid"][:, : len(evidence.ids)]
    for layer, names in enumerate(evidence.anatomy.parts):
        total = sum(given[layer, name] for name in names or ())
        added = stream[layer + 1] - stream[layer]
        _require_close(added, total, phrase("what layer {layer} adds", layer=layer), _size(stream[layer + 1]))
    return phrase("{parts} sum to what each layer adds", parts=" + ".join(evidence.anatomy.parts[0] or ()))


def _embeddings(evidence: _Evidence) -> str:
    """What the embedding gives for a token is its row of the table, as it stands or times one number."""
    table = getattr(evidence.anatomy.embedding, "weight", None)
    width = evidence.config.hidden_size
    if table is None or table.ndim != 2 or table.shape[1] != width:
        raise _Failed("its embedding is not one table with a row of {width} numbers for each token", width=width)
    rows, given = table[evidence.ids], evidence.looked_up
    if rows.shape != given.shape:
        raise _Failed("its embedding gives {shape} for {n_rows} tokens", shape=tuple(given.shape), n_rows=len(rows))
    scale = float((given * rows).sum() / (rows * rows).sum())
    _require_close((rows * scale).float().cpu().numpy(), given, phrase("what the embedding gives for a token"))
    if abs(scale - 1) <= _CLOSE:
        return phrase("a token's vector is its row of the table")
    return phrase("a token's vector is its row of the table, times {scale:.6g}", scale=scale)


def _positions(evidence: _Evidence) -> str:
    """The rotation, or the vectors, found for positions from 0 on are those that layer 0 was given."""
    evidence.require_found("positions")
    found, n = evidence.anatomy.positions, len(evidence.ids)
    if isinstance(found, Rotary):
        ours = found.answer(n)
        if not any(ours[0].shape == each.shape and torch.equal(ours[0], each) for each in evidence.given):
            raise _Failed("what its rotary module says of positions from 0 on is not what layer 0 was given")
        return phrase(
            "rotary: layer 0 rotates {n} pairs of numbers of each query and key", n=found.angles(1)[0].shape[1]
        )
    if isinstance(found, LearnedPositions):
        evidence.require_layers("resid")
        entered, vectors = evidence.arrays["resid"][0, :n], found.vectors(n)
        _require_close(
            entered, evidence.looked_up.float().cpu() + vectors, phrase("a token's vector plus its position's")
        )
        return phrase("learned: layer 0 is given the sum of a token's vector and its position's")
    raise _Failed(
        "neither a rotation that is handed to its layers nor a table of learned positions was found; a model may also "
        "weigh distance in its attention scores (as ALiBi does), or turn queries and keys inside its attention"
    )


def _resume(evidence: _Evidence) -> str:
    """Each pass on a cache rebuilt from the keys and values before it equals the recorded pass, number for number."""
    for name in ("keys", "values"):
        evidence.require_layers(name)
    if len(evidence.passes) < _NEW:  # it came to its end too soon
        evidence = _Evidence(evidence.model, evidence.anatomy, forced=_no_ends(evidence))
    if len(evidence.standing) < len(evidence.passes):
        raise _Failed("it keeps no cache of all that it has read, and reads tokens again")
    try:
        for at in range(1, len(evidence.passes)):
            _require_resumed(evidence, at)
    except (_Failed, NotRestorable) as failed:
        raise _Failed("{failed}", failed=failed) from failed
    except Exception as error:  # whatever a family trips over, its runs are then replayed
        raise _Failed(
            "a cache rebuilt from the record fails ({kind}: {error})", kind=type(error).__name__, error=str(error)[:200]
        ) from error
    return phrase(
        "{n} passes on a cache rebuilt from the record equal the recorded ones, bit for bit",
        n=len(evidence.passes) - 1,
    )


def _no_ends(evidence: _Evidence) -> list[int]:
    """Tokens for a run to read that do not end it."""
    found: Any = evidence.model.generation_config.eos_token_id
    ends = {found} if isinstance(found, int) else set(found or ())
    return [each for each in evidence.ids if each not in ends][:_NEW]


def _require_resumed(evidence: _Evidence, at: int) -> None:
    recorded, first = evidence.passes[at], evidence.passes[at].step.first
    earlier = Earlier(
        ids=tuple(evidence.followed[:at]),
        kv_bytes=evidence.passes[at - 1].step.kv_bytes,
        d_vocab=evidence.anatomy.d_vocab,
        keys=evidence.arrays["keys"][:, :, :first],
        values=evidence.arrays["values"][:, :, :first],
    )
    tracer = Tracer(evidence.anatomy, len(evidence.ids) + _NEW)
    run = continued(evidence.model, evidence.ids, Settings(max_new_tokens=_NEW), tracer, earlier)
    _, resumed = next(run), next(run)
    assert isinstance(resumed, Pass)
    if not torch.equal(resumed.logits, recorded.logits):
        gap = float((resumed.logits - recorded.logits).abs().max())
        raise _Failed(
            "on a cache rebuilt from the record, the logits of step {at} differ by up to {gap:.2g}", at=at, gap=gap
        )
    if not torch.equal(resumed.chosen.scores, recorded.chosen.scores):
        raise _Failed("on a cache rebuilt from the record, the scores of step {at} are processed differently", at=at)
    for name, rows in tracer.arrays(first + 1).items():
        if name in _BY_POSITION and (_row(name, rows, first) != _row(name, evidence.arrays[name], first)).any():
            raise _Failed("on a cache rebuilt from the record, the {name} of step {at} differ", name=name, at=at)


def _row(name: str, array: np.ndarray, position: int) -> np.ndarray:
    return array[:, :, position] if name in ("queries", "keys", "values") else array[:, position]


@contextmanager
def _watched(places: list[tuple[Callable[..., Any], K]], given: dict[K, torch.Tensor]) -> Iterator[None]:
    """Inside the block, what the modules at these places give lands in `given`: [token, width] each."""

    def keeper(key: K) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            given[key] = hidden(output).reshape(-1, hidden(output).shape[-1]).clone()

        return hook

    with attached([(register, keeper(key)) for register, key in places]):
        yield


def _prompt_inputs(evidence: _Evidence) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([evidence.ids], device=evidence.model.device)}


def _require_close(ours: np.ndarray, theirs: Any, what: str, size: np.ndarray | None = None) -> None:
    """Equal within a share of each row's own size: one position may be a hundred times larger than another."""
    theirs = theirs.float().cpu().numpy() if isinstance(theirs, torch.Tensor) else theirs
    gap = np.abs(ours - theirs) / (_size(theirs) if size is None else size)
    if not gap.max() <= _CLOSE:
        raise _Failed("{what} is off by {gap:.2g} of its size", what=what, gap=gap.max())


def _size(rows: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(rows).max(axis=-1, keepdims=True), 1e-12)


def _random_ids(config: Any, anatomy: Anatomy) -> list[int]:
    window = max((each for each in of_layers(config, "sliding_window") if each), default=0)
    length = window + 11 if 0 < window <= _LONGEST_WINDOW else _LENGTH
    length = max(1, min(length, getattr(config, "max_position_embeddings", 10**9) - _NEW))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(config.vocab_size, anatomy.d_vocab), (length,), generator=generator).tolist()
