"""What must hold between the parts of a run's record: checked whenever one is made, so that pictures need not ask."""

import itertools
from typing import TYPE_CHECKING

import numpy as np

from model.errors import BadTrace
from model.records.schema import form_of

if TYPE_CHECKING:
    from model.records.trace import Step, Trace


def check_parts(trace: "Trace") -> None:
    """The arrays, the steps, the heads, the map, the origin, the spans and the edits agree. Raises: BadTrace."""
    _check_lengths(trace)
    _check_steps(trace)
    _check_heads(trace)
    _check_map(trace)
    _check_origin(trace)
    _check_spans(trace)
    _check_edits(trace)


def check_mentions(trace: "Trace") -> None:
    """Every token that the record names has its text. Raises: BadTrace."""
    named = {token.id for token in trace.tokens} | ({trace.origin.instead_of} if trace.origin else set())
    for choice in trace.choices:
        named |= {choice.id, *(each.id for each in choice.candidates), *(each.id for each in choice.draw)}
        named |= {each.id for stage in choice.stages for each in stage.candidates}
    for ids in (trace.lens_ids, trace.embed_ids):
        named |= set() if ids is None else set(np.unique(ids).tolist())
    named.discard(-1)  # a column of the lens that is not there yet
    if missing := named - trace.texts.keys():
        raise BadTrace("the run names token {missing}, whose text is missing.", missing=min(missing))


def _check_lengths(trace: "Trace") -> None:
    """Each array is as long along its axes as the model and the run say."""
    axes = form_of(type(trace)).arrays
    for name, array in trace.arrays().items():
        for axis, length in zip(axes[name].shape.axes.split(), array.shape, strict=True):
            expected = _length(trace, axis)
            if expected is not None and expected != length:
                raise BadTrace(
                    "{name} has length {length} along {axis}; the run has {expected}.",
                    name=name,
                    length=length,
                    axis=axis,
                    expected=expected,
                )


def _length(trace: "Trace", axis: str) -> int | None:
    return {
        "L": trace.model.n_layers,
        "L+1": trace.model.n_layers + 1,
        "H": trace.model.n_heads,
        "S": trace.n_fed,
        "M": trace.model.d_model,
        "N": trace.n_generated,
        "V": trace.model.d_vocab,
        "C": 2,
    }.get(axis)


def _check_steps(trace: "Trace") -> None:
    """Steps follow on each other without a gap, and the tokens are those that they read and chose."""
    reached = 0
    for step in trace.steps:
        follows = 0 <= step.first < reached < step.stop if step.kind == "reread" else step.first == reached < step.stop
        if not follows:
            raise BadTrace(
                "a step reads {n_tokens} tokens from position {first}; the next unread position is {reached}.",
                n_tokens=step.n_tokens,
                first=step.first,
                reached=reached,
            )
        reached = step.stop
        _check_entrances(trace, step)
    if trace.n_prompt < 1 or len(trace.tokens) != trace.n_prompt + trace.n_generated:
        raise BadTrace(
            "the run has {n_tokens} tokens, but {n_prompt} in its prompt and {n_generated} generated.",
            n_tokens=len(trace.tokens),
            n_prompt=trace.n_prompt,
            n_generated=trace.n_generated,
        )


def _check_entrances(trace: "Trace", step: "Step") -> None:
    """The times at which a step entered its layers are there for all of them or for none, and in order."""
    times = (0.0, *step.entered_s, step.seconds)
    in_order = all(one <= other for one, other in itertools.pairwise(times))  # not where one is NaN
    if step.entered_s and (len(step.entered_s) != trace.model.n_layers + 1 or not in_order):
        raise BadTrace(
            "a step's {n} times of {n_layers} layers are not in order.",
            n=len(step.entered_s),
            n_layers=trace.model.n_layers,
        )


def _check_heads(trace: "Trace") -> None:
    """Query heads share key heads evenly, and each layer's rule means something."""
    if trace.queries is not None and trace.keys is not None and trace.queries.shape[1] % max(trace.keys.shape[1], 1):
        raise BadTrace(
            "{n_heads} query heads cannot share {n_kv_heads} key heads evenly.",
            n_heads=trace.queries.shape[1],
            n_kv_heads=trace.keys.shape[1],
        )
    if len(trace.rules) != (0 if trace.queries is None else trace.model.n_layers):
        raise BadTrace(
            "the run has {n_rules} attention rules for {n_layers} layers.",
            n_rules=len(trace.rules),
            n_layers=trace.model.n_layers,
        )
    n_masks = 0 if trace.masks is None else len(trace.masks)
    for rule in trace.rules:
        last = 0 if rule.mask is None else rule.mask + (trace.model.n_heads - 1 if rule.mask_each_head else 0)
        if rule.mask is not None and not 0 <= rule.mask <= last < n_masks:
            raise BadTrace("an attention rule names mask {mask}; there are {n_masks}.", mask=rule.mask, n_masks=n_masks)
        if (rule.window is not None and rule.window < 1) or (rule.softcap is not None and rule.softcap <= 0):
            raise BadTrace(
                "an attention rule has window {window} and soft cap {softcap}.",
                window=rule.window,
                softcap=rule.softcap,
            )


def _check_map(trace: "Trace") -> None:
    """The embedding map is whole or not there, its points begin with the run's tokens, and neighbours exist."""
    whole = (
        trace.embed_ids,
        trace.embeddings,
        trace.embed_xy,
        trace.embed_shares,
        trace.embed_near,
        trace.embed_cosine,
    )
    missing = sum(array is None for array in whole)
    if missing not in (0, len(whole)) or (trace.rotary_cos is None) != (trace.rotary_sin is None):
        raise BadTrace("the run holds only a part of its embedding map or of its rotation.")
    if trace.embed_ids is None or trace.embeddings is None or trace.embed_near is None:
        return
    own = list(dict.fromkeys(token.id for token in trace.tokens))
    if len(trace.embeddings) != len(own) or trace.embed_ids[: len(own)].tolist() != own:
        raise BadTrace("the points of the embedding map do not begin with the tokens of the run.")
    if trace.embed_near.size and not 0 <= trace.embed_near.min() <= trace.embed_near.max() < len(trace.embed_ids):
        raise BadTrace("a neighbour in the embedding map is none of its {n} points.", n=len(trace.embed_ids))


def _check_origin(trace: "Trace") -> None:
    """The step that the run was continued from is there, and a person chose its token."""
    origin = trace.origin
    if origin is None:
        return
    choices = trace.steps[origin.step].choices if 0 <= origin.step < len(trace.steps) else ()
    if [(each.id, each.chosen_by) for each in choices] != [(origin.token_id, "person")]:
        raise BadTrace(
            "the run was continued from step {step}, but no person chose token {token_id} there.",
            step=origin.step,
            token_id=origin.token_id,
        )
    reused, replayed = origin.n_reused, origin.n_replayed
    if min(reused, replayed) < 0 or reused + replayed > trace.n_fed:
        raise BadTrace(
            "the run reused {reused} positions and replayed {replayed}, more than its {n_fed}.",
            reused=reused,
            replayed=replayed,
            n_fed=trace.n_fed,
        )


def _check_spans(trace: "Trace") -> None:
    """The spans of a chat lie end to end over the prompt, and name turns that there are."""
    spans, n_turns = trace.prompt_spans, len(trace.settings.turns)
    ends = [0, *(span.stop for span in spans)]
    whole = [span.first for span in spans] == ends[:-1] and all(span.first < span.stop for span in spans)
    if spans and (not whole or ends[-1] != trace.n_prompt):
        raise BadTrace("the spans of the prompt do not cover its {n_prompt} tokens in order.", n_prompt=trace.n_prompt)
    if odd := next((span for span in spans if span.turn is not None and not 0 <= span.turn < n_turns), None):
        raise BadTrace("a span of the prompt names turn {turn}; there are {n_turns}.", turn=odd.turn, n_turns=n_turns)


def _check_edits(trace: "Trace") -> None:
    """Each edit is of a layer that the model has, and its vector is there."""
    n_vectors = 0 if trace.edit_vectors is None else len(trace.edit_vectors)
    for edit in trace.edits:
        last = trace.model.n_layers - (edit.what != "stream")
        if edit.layer is not None and not 0 <= edit.layer <= last:
            raise BadTrace("an edit names layer {layer}; the last is {last}.", layer=edit.layer, last=last)
        if edit.vector is not None and not 0 <= edit.vector < n_vectors:
            raise BadTrace("an edit names vector {vector}; there are {n}.", vector=edit.vector, n=n_vectors)
