"""Direct logit attribution of one step of a run: which parts made its token likelier than a rival."""

from collections.abc import Iterator

import numpy as np
import torch

from model.arch.additions import Hearing
from model.arch.rounding import epsilon, share
from model.capture.hooked import HookedModel
from model.capture.named_token import id_of
from model.capture.pass_again import PassAgain
from model.errors import BadSetting
from model.experiments.attribution.parts import Parts, parts_of
from model.records.attribution import Attribution
from model.records.trace import Trace
from model.texts import counted, phrase

_SOURCE_ROUNDINGS = 8  # of a head's weights, its sums, and of the same in the model's own attention
_ROUNDED = 1e-4  # of the largest part: a larger remainder, where all parts are known, is told


def attribute(
    hooked: HookedModel,
    run: Trace,
    step: int,
    token_id: int | None = None,
    rival_id: int | None = None,
    *,
    token: str = "",
    rival: str = "",
) -> Attribution:
    """Tell which parts of the model made a step's token likelier than a rival: a sum, in logits.

    `step` is the index in `run.steps`; 0 is the prefill. Without a token it is the one that the step chose; without a
    rival, the likeliest other one. Both are named by id, or by text, a blank before a word included. The step's pass is
    run again as it ran (`PassAgain`), and split as `parts_of` says; the total is the recorded logits' difference.
    It is the direct effect alone: what a part does by changing later parts counts as theirs.
    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; see `parts_of`.
    Raises: Refusal, for a step or a token that is not there, another model's run, or a model that cannot be split.
    """
    pieces = begin(hooked, run, step, token_id, rival_id, token, rival)
    return next(each for each in pieces if each is not None and not isinstance(each, int))


def begin(
    hooked: HookedModel,
    run: Trace,
    step: int,
    token_id: int | None = None,
    rival_id: int | None = None,
    token: str = "",
    rival: str = "",
    called: str = "",
) -> Iterator[Attribution | int]:
    """The same in pieces, checked at once; each number counts the passes that were run again, the record comes last.

    Raises: Refusal.
    """
    again = PassAgain(hooked, run, step)
    chosen, rival_of = _pair(hooked, run, step, token_id, rival_id, token, rival)
    return _pieces(hooked, run, step, (chosen, rival_of), again, called)


def _pair(
    hooked: HookedModel, run: Trace, step: int, token_id: int | None, rival_id: int | None, token: str, rival: str
) -> tuple[int, int]:
    """The two tokens. Raises: BadSetting."""
    last = hooked.card.d_vocab - 1
    for name, given in (("token_id", token_id), ("rival_id", rival_id)):
        if given is not None and not 0 <= given <= last:
            raise BadSetting(
                "{name} is {given}; {model} has tokens 0 to {last}. Choose among them.",
                name=name,
                given=given,
                model=hooked.card.name,
                last=last,
            )
    own = token_id if token_id is not None else id_of(hooked, run, step, token) if token else run.choices[step].id
    if rival_id is None and not rival:
        rival_id = next(int(each) for each in np.argsort(-run.logits[step], kind="stable")[:2] if each != own)
    other = id_of(hooked, run, step, rival, "rival") if rival_id is None else rival_id
    if own == other:
        raise BadSetting(
            "token and rival are both {token!r} ({id}); a token is explained against another one. Name another rival.",
            token=hooked.reader.text(own),
            id=own,
        )
    return own, other


def _pieces(
    hooked: HookedModel, run: Trace, step: int, pair: tuple[int, int], again: PassAgain, called: str
) -> Iterator[Attribution | int]:
    yield from again.standing()
    hearing = Hearing(hooked.anatomy)
    again.run(hearing.listening())
    yield step + 1
    with torch.inference_mode():
        parts = parts_of(hooked, hearing.layers, *pair)
        sources, why_not = _sources(hooked, run, step, parts, hearing)
    yield _record(hooked, run, step, pair, parts, sources, why_not, called)


def _record(
    hooked: HookedModel,
    run: Trace,
    step: int,
    pair: tuple[int, int],
    parts: Parts,
    sources: np.ndarray | None,
    why_not: str,
    called: str,
) -> Attribution:
    logits = run.logits[step].astype(np.float64)
    total = float(logits[pair[0]] - logits[pair[1]])
    known = parts.embedding + parts.heads.sum() + parts.mlps.sum() + parts.biases
    chances = np.exp(logits - np.logaddexp.reduce(logits))
    choice = run.choices[step]
    named = {*pair, choice.id, *(each.id for each in choice.candidates)}
    return Attribution(
        model=hooked.card,
        run=called,
        prompt=run.prompt,
        n_prompt=run.n_prompt,
        tokens=run.tokens[: run.steps[step].stop],
        texts=hooked.reader.texts(named),
        step=step,
        token_id=pair[0],
        rival_id=pair[1],
        chosen_id=choice.id,
        candidates=choice.candidates,
        logits=(float(logits[pair[0]]), float(logits[pair[1]])),
        probabilities=(float(chances[pair[0]]), float(chances[pair[1]])),
        embedding=parts.embedding,
        biases=parts.biases,
        remainder=float(total - known),
        total=total,
        sources_note=why_not,
        notes=tuple(_notes(hooked, parts, float(total - known))),
        heads=parts.heads.astype(np.float32),
        mlps=parts.mlps.astype(np.float32),
        others=parts.others.astype(np.float32),
        sources=sources,
    )


def _sources(
    hooked: HookedModel, run: Trace, step: int, parts: Parts, hearing: Hearing
) -> tuple[np.ndarray | None, str]:
    """Each head's share by the token that it took it from, float32 [L, H, S]: weight x value, counted as its output is.

    Or None, and why: the recorded patterns and values must give what the heads gave in the pass.
    """
    if (reason := hooked.card.reason_against("attention")) is not None:
        return None, reason
    if run.queries is None or run.values is None:
        return None, phrase("the run was recorded without queries and values")
    if run.read_again(step):
        return None, phrase("a later pass read this step's tokens again, and the run holds what that one computed")
    stop = run.steps[step].stop
    found = np.zeros((*parts.heads.shape, stop), np.float32)
    allowed = share(epsilon(hooked.model), _SOURCE_ROUNDINGS)
    for layer, read in enumerate(parts.reads):
        if read is None:
            continue
        n_heads, width = read.shape
        rows = run.pattern_at(np.array([stop - 1]), layer=layer)[:n_heads, 0].astype(np.float64)  # [H, S]
        group = len(rows) // run.values.shape[1]
        values = np.repeat(run.values[layer, :, :stop, :width], max(group, 1), axis=0)[:n_heads].astype(np.float64)
        gave = hearing.layers[layer].attended[0].cpu().double().numpy()
        missed = np.abs(np.einsum("hs,hse->he", rows, values) - gave).max() / max(np.abs(gave).max(), 1e-30)
        if missed > allowed:
            return None, phrase(
                "in layer {layer} the recorded pattern and values miss what the heads gave by {missed:.2g} of its size",
                layer=layer,
                missed=missed,
            )
        found[layer, :n_heads] = rows * np.einsum("hse,he->hs", values, read.numpy())
    return found, ""


def _notes(hooked: HookedModel, parts: Parts, remainder: float) -> Iterator[str]:
    """What the remainder holds, in words."""
    n_layers = hooked.card.n_layers
    told = (
        (parts.untold, phrase("no modules were found that sum to what the layer adds")),
        (
            parts.unsplit,
            phrase("what attention gives is changed before its heads are projected, or its heads share it"),
        ),
        (parts.headless, phrase("the layer adds what no attention head and no MLP made, such as a state-space mixer")),
    )
    for layers, why in told:
        if layers:
            yield counted(
                len(layers),
                "In 1 of {n_layers} layers ({first}) the remainder holds a share: {why}.",
                "In {n} of {n_layers} layers (the first: {first}) the remainder holds a share: {why}.",
                n_layers=n_layers,
                first=min(layers),
                why=why,
            )
    largest = max(abs(parts.embedding), abs(parts.biases), *(np.abs(each).max() for each in (parts.heads, parts.mlps)))
    rounded = abs(remainder - parts.others.sum())
    if rounded > _ROUNDED * largest:
        yield phrase(
            "The model computes in {dtype}: its own rounding makes {rounded:.2g} logits of the remainder.",
            dtype=hooked.card.dtype,
            rounded=rounded,
        )
