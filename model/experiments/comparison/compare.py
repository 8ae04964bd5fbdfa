"""Two runs compared by what their records hold; no model is needed."""

from collections.abc import Iterator

import numpy as np

from model.errors import BadTrace
from model.records.comparison import Comparison, Side
from model.records.trace import Trace
from model.texts import phrase


def compare(a: Trace, b: Trace, names: tuple[str, str] = ("", "")) -> Comparison:
    """Tell where two runs differ, and by how much: text, distributions, attention, lens, cache and time.

    Their prompts, models, settings and seeds may differ; what cannot be compared is left out, and `notes` says why.
    Source: Kullback and Leibler 1951, for the divergence.
    Raises: BadTrace, if one of them has no step.
    """
    for each in (a, b):
        if not each.steps:
            raise BadTrace("a run without a step cannot be compared. Choose a run that has written a token.")
    one, other = ([token.id for token in each.tokens] for each in (a, b))
    n_aligned = min(_aligned(a, b), a.n_fed, b.n_fed)
    differing = [at for at in range(n_aligned) if one[at] != other[at]]
    pairs = list(_pairs(a, b, n_aligned))
    alike = a.model.d_vocab == b.model.d_vocab
    chances = [(_chances(a.logits[i]), _chances(b.logits[j])) for i, j in pairs] if alike else []
    return Comparison(
        a=_side(a, names[0]),
        b=_side(b, names[1]),
        n_aligned=n_aligned,
        differing=tuple(differing),
        first_differs=next((at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), None),
        notes=tuple(_notes(a, b)),
        positions=np.array([a.steps[i].stop - 1 for i, _ in pairs], np.int32),
        kl=np.array([_divergence(p, q) for p, q in chances]) if alike else None,
        variation=np.array([np.abs(p - q).sum() / 2 for p, q in chances]) if alike else None,
        chosen=np.array([_of_chosen(a, b, i, j) for i, j in pairs], np.float64).reshape(len(pairs), 2),
        attention=_attention(a, b, n_aligned),
        lens=_lens(a, b, n_aligned),
    )


def _aligned(a: Trace, b: Trace) -> int:
    """How many positions stand for each other."""
    one, other = ([token.id for token in each.tokens] for each in (a, b))
    first = a.n_prompt if a.n_prompt == b.n_prompt else 0
    rest = zip(one[first:], other[first:], strict=False)
    return first + next((at for at, (x, y) in enumerate(rest) if x != y), min(len(one), len(other)) - first)


def _pairs(a: Trace, b: Trace, n_aligned: int) -> Iterator[tuple[int, int]]:
    """Steps of both that chose a token after the same aligned position."""
    there = {step.stop: at for at, step in enumerate(b.steps) if step.choices}
    for at, step in enumerate(a.steps):
        if step.choices and step.stop <= n_aligned and step.stop in there:
            yield at, there[step.stop]


def _chances(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    return np.exp(exact - np.logaddexp.reduce(exact))


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) in nats; what p never says counts nothing."""
    said = p > 0
    return float(max(0.0, (p[said] * (np.log(p[said]) - np.log(np.maximum(q[said], 1e-300)))).sum()))


def _of_chosen(a: Trace, b: Trace, i: int, j: int) -> tuple[float, float]:
    """The probability of the token that `a` chose, in both; NaN where `b` has no such token."""
    chosen = a.choices[i].id
    return float(_chances(a.logits[i])[chosen]), float(
        _chances(b.logits[j])[chosen] if chosen < b.model.d_vocab else np.nan
    )


def _attention(a: Trace, b: Trace, n_aligned: int) -> np.ndarray | None:
    if not _same_shape(a, b) or a.queries is None or b.queries is None or not n_aligned:
        return None
    at = np.arange(n_aligned)
    layers = [np.abs(a.pattern_at(at, layer=i) - b.pattern_at(at, layer=i)) for i in range(a.model.n_layers)]
    return np.stack([each.sum(-1).mean(-1) / 2 for each in layers]).astype(np.float32)


def _lens(a: Trace, b: Trace, n_aligned: int) -> np.ndarray | None:
    """By how much more likely the lens of `b` holds what follows in `a`; a token that is not kept counts as 0."""
    if (
        not _same_shape(a, b)
        or a.lens_ids is None
        or b.lens_ids is None
        or a.lens_probs is None
        or b.lens_probs is None
    ):
        return None
    kept = [at for at in range(n_aligned) if a.lens_ids[0, at, 0] >= 0 and b.lens_ids[0, at, 0] >= 0]
    if not kept:
        return None
    following = np.array([a.tokens[at + 1].id for at in kept])[None, :, None]
    own, other = (
        np.where(ids[:, kept] == following, probs[:, kept], 0).sum(-1)
        for ids, probs in ((a.lens_ids, a.lens_probs), (b.lens_ids, b.lens_probs))
    )
    return (other - own).mean(-1).astype(np.float32)


def _same_shape(a: Trace, b: Trace) -> bool:
    return all(getattr(a.model, name) == getattr(b.model, name) for name in ("n_layers", "n_heads", "d_vocab"))


def _side(run: Trace, name: str) -> Side:
    return Side(
        name=name,
        model=run.model,
        prompt=run.prompt,
        text=run.text,
        n_prompt=run.n_prompt,
        tokens=run.tokens,
        kv_bytes=run.steps[-1].kv_bytes,
        seconds=sum(step.seconds for step in run.steps),
    )


def _notes(a: Trace, b: Trace) -> Iterator[str]:
    if a.model.d_vocab != b.model.d_vocab:
        yield phrase(
            "The vocabularies differ ({one:,} and {other:,} tokens): distributions are not compared.",
            one=a.model.d_vocab,
            other=b.model.d_vocab,
        )
    elif not _same_shape(a, b):
        yield phrase("The models differ in layers or heads: attention and the logit lens are not compared.")
    if a.model.fingerprint != b.model.fingerprint:
        yield phrase("The runs were made by different weights.")
