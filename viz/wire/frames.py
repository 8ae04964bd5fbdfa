"""A run as the binary frames that the browser reads: append-only, each one final once it is made. numpy only.

Kinds: head, step (one a pass), end; then, once each and in the order in which they become known: heads, units,
experts, embeddings, lens. Between them, lens_columns: columns of the lens as soon as they are computed. At the very
end, notes: what the run notes since its end. viz/wire/packing.py lays a frame out in bytes, viz/wire/slices.py makes
what the browser asks for one by one.

Attention travels as one byte a weight, the square root of the weight in 255 steps: decoded as (byte / 255)^2 it errs
by at most 0.004, and the page says so.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from model.errors import NotShown
from model.records.lens import WHOLE_UP_TO, missing_columns
from model.records.trace import Choice, Origin, Step, Token, Trace
from model.texts import phrase
from viz.wire import roles
from viz.wire.packing import pack, packed_rows

ROWS_UP_TO = 256  # tokens; a longer run sends summaries with each step, and one layer's rows when asked
MAPS_UP_TO = 512  # tokens; of a longer run no layer's rows travel whole, but pooled maps and parts of them
_SUMMARY_ROWS = 64  # of a long prefill's rows, evenly spread: all of 2,048 would take seconds and gigabytes
_ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


def after_run(trace: Trace) -> dict[str, Callable[[Trace], bytes]]:
    """What makes each of the frames that an ended run can have by now, by kind; what is missing may come later."""
    there = {
        "heads": (heads, trace.queries is not None and trace.n_fed > roles.BEFORE),
        "units": (units, trace.unit_ids is not None and trace.n_fed <= ROWS_UP_TO),
        "experts": (experts, trace.expert_ids is not None and trace.n_fed <= ROWS_UP_TO),
        "embeddings": (embeddings, trace.embed_ids is not None),
        "lens": (lens, trace.lens_ids is not None and not missing_columns(trace)),
    }
    return {kind: make for kind, (make, is_there) in there.items() if is_there and trace.over}


def head(trace: Trace) -> bytes:
    """What is known once the prompt is read: the model, the settings and the prompt's tokens."""
    card = trace.model
    return pack(
        "head",
        {
            "model": {name: value for name, value in asdict(card).items() if name not in ("fingerprint", "n_experts")},
            **({"n_experts": card.n_experts} if card.n_experts else {}),
            # what belongs to a chat only where it is given, as in the record's file
            "settings": {name: value for name, value in asdict(trace.settings).items() if value not in ("", ())},
            "prompt": trace.prompt,
            "n_prompt": trace.n_prompt,
            "tokens": [_token(token) for token in trace.tokens[: trace.n_prompt]],
            "notes": list(trace.notes),
            "rules": [asdict(rule) for rule in trace.rules],
            "learned_sinks": trace.sinks is not None,
            "shows": {
                "attention": _reason(trace, trace.queries, "attention"),
                "residual": _reason(trace, trace.resid, "residual"),
                "lens": card.reason_against("lens"),
                "parity": card.reason_against("parity"),
            },
            "rows_up_to": ROWS_UP_TO,
            "kv_shape": _kv_shape(trace),
            **({"lens_up_to": WHOLE_UP_TO, "maps_up_to": MAPS_UP_TO} if _may_be_long(trace) else {}),
            **({"spans": [asdict(span) for span in trace.prompt_spans]} if trace.prompt_spans else {}),
            **({} if trace.origin is None else {"origin": _origin(trace, trace.origin)}),
            **({"edits": [asdict(edit) | {"said": edit.said} for edit in trace.edits]} if trace.edits else {}),
        },
    )


def step(trace: Trace, i: int) -> bytes:
    """One pass: what it read, what it chose and how, and where each of its tokens looked.

    Blobs: ids i32 [K] and numbers f32 [K, 3] hold, choice after choice, the raw candidates (score, probability, 0),
    each stage's candidates (the same), and the runners (probability, wait, time). attention u8 [L, H, packed]: the
    rows of positions first to first+n-1, each as long as its position + 1. Long runs: summary f32 [L, H, 4] in place
    of it, means over `summary_rows` rows: entropy in nats, weight on the first token, on the one before, on itself.
    norms f32 [L+1, n]: lengths of the residual stream's vectors.
    """
    this = trace.steps[i]
    stop = this.first + this.n_tokens
    chosen = trace.n_prompt + sum(len(each.choices) for each in trace.steps[:i])
    blobs = [("ids", _ids(this.choices)), ("numbers", _numbers(this.choices))]
    summary_rows = 0
    if trace.queries is not None and stop <= ROWS_UP_TO:
        blobs.append(("attention", _rows(trace, this.first, stop)))
    elif trace.queries is not None:
        positions = _summarised_positions(this)
        summary_rows = len(positions)
        rows = [_summary(trace, each, positions) for each in range(trace.model.n_layers)]
        blobs.append(("summary", np.stack(rows)))
    if trace.resid is not None:
        blobs.append(("norms", _lengths(trace.resid[:, this.first : stop])))
    return pack(
        "step",
        {
            "index": i,
            "pass": this.kind,
            "first": this.first,
            "n_tokens": this.n_tokens,
            "kv_bytes": this.kv_bytes,
            "seconds": _finite(this.seconds),
            "entered_s": [_finite(each) for each in this.entered_s],
            "tokens": [_token(token) for token in trace.tokens[chosen : chosen + len(this.choices)]],
            "choices": [_choice(choice) for choice in this.choices],
            **_words(trace, np.append(_ids(this.choices), [each.id for each in this.choices]).astype(np.int32)),
            "summary_rows": summary_rows,
            **({"layer_bytes": list(this.layer_bytes)} if this.layer_bytes else {}),
            **({"state_bytes": list(this.state_bytes)} if this.state_bytes else {}),
        },
        blobs,
    )


def end(trace: Trace) -> bytes:
    """How the run ended, and its totals."""
    return pack(
        "end",
        {
            "ended": trace.ended,
            "text": trace.text,
            "n_generated": trace.n_generated,
            "n_fed": trace.n_fed,
            "kv_bytes": trace.steps[-1].kv_bytes if trace.steps else 0,
            "seconds": _finite(sum(each.seconds for each in trace.steps)),
            "record_bytes": sum(array.nbytes for array in trace.arrays().values()),
            "notes": list(trace.notes),
        },
    )


def heads(trace: Trace) -> bytes:
    """What each head mostly did, in shares and in a word: `viz.wire.roles.Roles` says how it is measured.

    Blobs: shares f32 [L, H, 6], possible f32 [L, H, 2], word u8 [L, H]. Raises: NotShown, as `roles.measure` does.
    """
    found = roles.measure(trace)
    return pack(
        "heads",
        {
            "classes": list(roles.CLASSES),
            "words": list(roles.WORDS),
            "rows": found.rows,
            "rows_same": found.rows_same,
            "rows_after": found.rows_after,
        },
        [("shares", found.shares), ("possible", found.possible), ("word", found.word)],
    )


def units(trace: Trace) -> bytes:
    """The strongest units of each MLP at each position. Blobs: ids i32 and values f32, both [L, S, U].

    Raises: NotShown, if this run has none, or is too long for all of them to travel.
    """
    if trace.unit_ids is None or trace.unit_values is None:
        raise NotShown("{reason}", reason=_reason(trace, None, "units"))
    if trace.n_fed > ROWS_UP_TO:
        raise NotShown(
            "this run has read {n_fed} tokens; MLP units are shown for at most {most}.",
            n_fed=trace.n_fed,
            most=ROWS_UP_TO,
        )
    return pack("units", {}, [("ids", trace.unit_ids), ("values", trace.unit_values)])


def experts(trace: Trace) -> bytes:
    """Which experts each token was sent to, and with what weights. Blobs: ids i32 (-1 in a layer without) and weights
    f32, both [L, S, X].

    Raises: NotShown, if this run has none, or is too long for all of them to travel.
    """
    if trace.expert_ids is None or trace.expert_weights is None:
        raise NotShown("this run has no experts.")
    if trace.n_fed > ROWS_UP_TO:
        raise NotShown(
            "this run has read {n_fed} tokens; experts are shown for at most {most}.",
            n_fed=trace.n_fed,
            most=ROWS_UP_TO,
        )
    return pack("experts", {}, [("ids", trace.expert_ids), ("weights", trace.expert_weights)])


def embeddings(trace: Trace) -> bytes:
    """The run's tokens on the map of the embedding table, with their neighbours, and how positions are told.

    Blobs: ids i32 [P], xy f32 [P, 2], near i32 [U, K], cosine f32 [U, K], vectors f32 [U, M]; then cos and sin f32
    [S, F] of a rotation, or positions f32 [S, M], vectors that were learned. Raises: NotShown, if it is not there.
    """
    ids, xy, shares = trace.embed_ids, trace.embed_xy, trace.embed_shares
    near, cosine, vectors = trace.embed_near, trace.embed_cosine, trace.embeddings
    if ids is None or xy is None or shares is None or near is None or cosine is None or vectors is None:
        reason = trace.model.reason_against("embeddings")
        if reason is None:
            raise NotShown("the embedding map is computed after the run, and is not there yet.")
        raise NotShown("{reason}", reason=reason)
    blobs = [("ids", ids), ("xy", xy), ("near", near), ("cosine", cosine), ("vectors", vectors)]
    position = None
    if trace.rotary_cos is not None and trace.rotary_sin is not None:
        position = "rotary"
        blobs += [("cos", trace.rotary_cos), ("sin", trace.rotary_sin)]
    elif trace.position_vectors is not None:
        position = "learned"
        blobs.append(("positions", trace.position_vectors))
    return pack(
        "embeddings",
        {
            "own": len(vectors),
            "shares": [float(share) for share in shares],
            "position": position,
            "why": None if position else trace.model.reason_against("positions"),
            **_words(trace, ids),
        },
        blobs,
    )


def notes(trace: Trace) -> bytes:
    """What a person should know of the run, once what is added after its end is known."""
    return pack("notes", {"notes": list(trace.notes)})


def lens(trace: Trace) -> bytes:
    """What the model would have said at each layer. Blobs: ids i32 and probabilities f32, both [L+1, S, K].

    Raises: NotShown, if the lens is not there (yet).
    """
    if trace.lens_ids is None or trace.lens_probs is None:
        reason = trace.model.reason_against("lens")
        if reason is None:
            raise NotShown("the logit lens is computed after the run, and is not there yet.")
        raise NotShown("{reason}", reason=reason)
    return pack(
        "lens",
        _words(trace, np.unique(trace.lens_ids)),
        [("ids", trace.lens_ids), ("probabilities", trace.lens_probs)],
    )


def lens_columns(trace: Trace, positions: list[int], kind: str = "lens_columns") -> bytes:
    """Some columns of the lens. Blobs: ids i32 and probabilities f32, both [L+1, n, K], in the order of `positions`.

    As a frame of a run it is a "lens_columns"; what is asked for by itself has another `kind`.
    """
    assert trace.lens_ids is not None and trace.lens_probs is not None
    ids = np.ascontiguousarray(trace.lens_ids[:, positions])
    return pack(
        kind,
        {"positions": positions, **_words(trace, np.unique(ids))},
        [("ids", ids), ("probabilities", np.ascontiguousarray(trace.lens_probs[:, positions]))],
    )


def _may_be_long(trace: Trace) -> bool:
    """Whether the run may become too long for a lens that is whole, or for maps that are: most are not."""
    return trace.n_prompt + trace.settings.max_new_tokens - 1 > min(WHOLE_UP_TO, MAPS_UP_TO)


def _token(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "text": token.text,
        "hex": token.data.hex(),
        "span": list(token.span),
        "special": token.special,
        "generated": token.generated,
        **({"marker": True} if token.marker else {}),
    }


def _origin(trace: Trace, origin: Origin) -> dict[str, object]:
    """The run that this one was continued from, with what the two tokens read as."""
    return {
        **asdict(origin),
        "saved_s": origin.saved_s,
        "token": trace.texts[origin.token_id],
        "instead_of_token": trace.texts[origin.instead_of],
    }


def _choice(choice: Choice) -> dict[str, object]:
    return {
        "id": choice.id,
        "probability": _finite(choice.probability),
        "logit": _finite(choice.logit),
        "rank": choice.rank,
        "entropy": _finite(choice.entropy),
        "n_candidates": len(choice.candidates),
        "stages": [
            {
                "name": stage.name,
                "setting": stage.setting,
                "alive": stage.alive,
                "removed_mass": _finite(stage.removed_mass),
                "entropy": _finite(stage.entropy),
                "n_candidates": len(stage.candidates),
            }
            for stage in choice.stages
        ],
        "n_runners": len(choice.draw),
        **({} if choice.chosen_by == "model" else {"chosen_by": choice.chosen_by}),
    }


def _ids(choices: Iterable[Choice]) -> np.ndarray:
    named: list[int] = []
    for choice in choices:
        named += [each.id for each in choice.candidates]
        named += [each.id for stage in choice.stages for each in stage.candidates]
        named += [each.id for each in choice.draw]
    return np.array(named, dtype=np.int32)


def _numbers(choices: Iterable[Choice]) -> np.ndarray:
    rows: list[tuple[float, float, float]] = []
    for choice in choices:
        rows += [(each.score, each.probability, 0.0) for each in choice.candidates]
        rows += [(each.score, each.probability, 0.0) for stage in choice.stages for each in stage.candidates]
        rows += [(each.probability, each.wait, each.time) for each in choice.draw]
    with np.errstate(over="ignore"):  # a time of wait / (nearly 0) becomes infinite, which is how it arrives
        return np.array(rows, dtype=np.float64).reshape(-1, 3).astype(np.float32)


def _words(trace: Trace, ids: np.ndarray) -> dict[str, dict[str, str]]:
    """What these tokens read as, and the bytes of those that are parts of a character."""
    named = dict.fromkeys(ids.tolist())
    hexes = {str(i): trace.fragments[i].hex() for i in named if i in trace.fragments}
    return {"texts": {str(i): trace.texts[i] for i in named}, **({"hexes": hexes} if hexes else {})}


def _summarised_positions(step: Step) -> np.ndarray:
    count = min(step.n_tokens, _SUMMARY_ROWS)
    return np.unique(np.linspace(step.first, step.first + step.n_tokens - 1, count).round().astype(int))


def _summary(trace: Trace, layer: int, positions: np.ndarray) -> np.ndarray:
    """Means over these rows of one layer: f32 [H, 4] of entropy, weight on the first, the previous, the same token."""
    weights = trace.pattern_at(positions, layer=layer)
    rows = np.arange(len(positions))
    before = np.maximum(positions - 1, 0)
    looked_at = np.stack([weights[:, rows, each] for each in (np.zeros_like(rows), before, positions)], axis=-1)
    logs = np.log(np.maximum(weights, np.finfo(np.float32).tiny))  # a weight of 0 adds nothing: 0 times a finite log
    entropy = -np.einsum("hqk,hqk->h", weights, logs) / len(positions)
    return np.concatenate([entropy[:, None], looked_at.mean(axis=1)], axis=-1)


def _rows(trace: Trace, first: int, stop: int) -> np.ndarray:
    """Attention rows of all layers, packed: u8 [L, H, packed]; of a prefill layer by layer, to spare memory."""
    if stop - first == 1:
        return packed_rows(trace.pattern_rows(first, stop), first)
    layers = range(trace.model.n_layers)
    return np.stack([packed_rows(trace.pattern_rows(first, stop, layer=each), first) for each in layers])


def _lengths(stream: np.ndarray) -> np.ndarray:
    """Lengths of the residual stream's vectors, [L+1, n, M] -> f32 [L+1, n]; of a prefill level by level, as above."""
    parts = [stream] if stream.shape[1] == 1 else list(stream[:, None])
    return np.concatenate([np.linalg.norm(part.astype(np.float64), axis=-1) for part in parts]).astype(np.float32)


def _reason(trace: Trace, array: np.ndarray | None, check: str) -> str | None:
    """Why this is not shown, or None if it is."""
    if array is not None:
        return None
    return trace.model.reason_against(check) or phrase("this run did not record it")


def _kv_shape(trace: Trace) -> dict[str, int] | None:
    """What one position of any layer's cache is made of, to set beside the bytes that were measured."""
    if any((rule.n_kv_heads, rule.d_head) != (None, None) for rule in trace.rules):
        return None
    if trace.keys is None or trace.values is None or trace.model.dtype not in _ITEM_BYTES:
        return None
    return {
        "heads": trace.keys.shape[1],
        "key": trace.keys.shape[3],
        "value": trace.values.shape[3],
        "item_bytes": _ITEM_BYTES[trace.model.dtype],
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
