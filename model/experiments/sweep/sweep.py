"""Every head of a model switched off in turn: what each did for one choice of a run."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from model.api.job import Job, records_of
from model.capture.edited import check_editable
from model.capture.edits import Change, Edits
from model.capture.hooked import HookedModel
from model.capture.sites import head_site
from model.capture.variants import Variants
from model.errors import BadSetting, BadTrace, Cancelled
from model.records.fields import shown
from model.records.sweep import Sweep
from model.records.trace import Trace
from model.texts import phrase


def sweep(hooked: HookedModel, run: Trace, step: int, *, so_far: Sweep | None = None, job: Job | None = None) -> Sweep:
    """Switch off each head in turn, and see how the choice at a step changes: what helped it, and what held it back.

    `effect` [L, H] float32 is the unedited minus the ablated logit difference between the chosen token and its
    runner-up at `step`, each head set to zero in every pass, with the run's own tokens: positive, the head helped the
    chosen token. The tokens are held fixed, so that all passes up to the step are one causal pass over the text; heads
    of a layer are rows of a batch that begins at this layer. In float32 that is within 1e-4 of the largest logit of
    the same passes one by one. `so_far` is an earlier sweep of this step to go on with; a job that is stopped gives
    what there is.
    Raises: Refusal, for a step that is not there, another model's run, or a model whose heads cannot be edited.
    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?"
    """
    *_, last = records_of(sweep_in_layers(hooked, run, step, so_far, job=job or Job()))
    return last


def sweep_in_layers(
    hooked: HookedModel, run: Trace, step: int, so_far: Sweep | None = None, *, job: Job
) -> Generator[Sweep | None]:
    """As `sweep`, but yields the sweep so far after each layer, and None after a pass: others may have the model.

    The last layer comes first: the fewer layers follow, the sooner it is done.
    """
    check_editable(hooked, run)
    _check_step(run, step)
    layers = [place for place, found in enumerate(hooked.anatomy.head_outputs) if found is not None]
    if not layers:
        head_site(hooked, 0, 0)  # which says why not
    begun = _begun(hooked, run, step) if so_far is None else _continued(run, step, so_far)
    job.expected_bytes = 8 * begun.effect.nbytes + 1000 * len(begun.tokens)
    return _swept(hooked, run, begun, layers, job)


def _swept(hooked: HookedModel, run: Trace, so_far: Sweep, layers: Sequence[int], job: Job) -> Generator[Sweep | None]:
    n_layers = run.model.n_layers
    total = sum(n_layers - layer for layer in layers)  # layers that are computed
    done = sum(n_layers - layer for layer in so_far.swept)
    left = [layer for layer in reversed(layers) if layer not in so_far.swept]
    job.progress(done, total, phrase("the unedited text"))
    yield so_far
    if not left:
        return
    try:
        text = _unedited(hooked, run, so_far, job)
        so_far = replace(so_far, difference=_difference(text.logits[None], so_far)[0])
        for layer in left:
            job.progress(done, total, phrase("heads of layer {layer}", layer=layer))
            effect = np.array(so_far.effect)
            for heads in _batches(hooked, layer, text.n_at_once):
                without = _difference(_without(hooked, text, layer, heads), so_far)
                effect[layer, heads] = so_far.difference - np.array(without)
                yield None
            done += n_layers - layer
            so_far = replace(so_far, effect=effect, swept=(*so_far.swept, layer))
            job.progress(done, total, phrase("heads of layer {layer}", layer=layer))
            yield so_far
    except Cancelled:
        return


def _unedited(hooked: HookedModel, run: Trace, so_far: Sweep, job: Job) -> Variants:
    """The text up to the step, read at once. Raises: NotShown, if the logits are not the run's but for rounding."""
    job.check()
    text = Variants(hooked, [token.id for token in so_far.tokens[:-1]], job.check)
    text.require_recorded(run.logits[so_far.step])
    return text


def _without(hooked: HookedModel, text: Variants, layer: int, heads: Sequence[int]) -> torch.Tensor:
    """What the text says without each of these heads: logits [head, V]."""
    sites = [head_site(hooked, layer, head) for head in heads]
    changes = [Change(site=site, value=None, row=row) for row, site in enumerate(sites)]
    return text.edited(Edits(hooked.anatomy, changes, n_rows=len(heads)), len(heads), layer)


def _difference(logits: torch.Tensor, compared: Sweep) -> list[float]:
    """The chosen token's logit minus its runner-up's, of each row of logits [row, V]."""
    return (logits[:, compared.token_id] - logits[:, compared.rival_id]).tolist()


def _batches(hooked: HookedModel, layer: int, n_at_once: int) -> Iterator[list[int]]:
    found = hooked.anatomy.head_outputs[layer]
    assert found is not None
    for first in range(0, found.n_heads, n_at_once):
        yield list(range(first, min(first + n_at_once, found.n_heads)))


def _begun(hooked: HookedModel, run: Trace, step: int) -> Sweep:
    """A sweep of which nothing is done."""
    logits, chosen = run.logits[step], run.choices[step].id
    rival = int(np.where(np.arange(len(logits)) == chosen, -np.inf, logits).argmax())
    recorded = float(logits[chosen]) - float(logits[rival])
    return Sweep(
        model=hooked.card,
        settings=run.settings,
        prompt=run.prompt,
        n_prompt=run.n_prompt,
        tokens=run.tokens[: run.n_prompt + step + 1],
        texts=dict(hooked.reader.texts({chosen, rival})),
        step=step,
        token_id=chosen,
        rival_id=rival,
        difference=recorded,
        recorded=recorded,
        swept=(),
        effect=np.full((hooked.card.n_layers, hooked.card.n_heads), np.nan, np.float32),
    )


def _continued(run: Trace, step: int, so_far: Sweep) -> Sweep:
    """An earlier sweep, once it is known to be of this step of this run. Raises: BadTrace."""
    read = [token.id for token in so_far.tokens]
    own = [token.id for token in run.tokens[: run.n_prompt + step + 1]]
    if so_far.step != step or read != own or so_far.model.fingerprint != run.model.fingerprint:
        raise BadTrace(
            "the earlier sweep is of step {other} of another run, or by another model; only one of step {step} of this "
            "run can be gone on with. Leave it out, or choose its run.",
            other=so_far.step,
            step=step,
        )
    return so_far


def _check_step(run: Trace, step: int) -> None:
    """The step is there. Raises: BadSetting."""
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < run.n_generated:
        raise BadSetting(
            "step is {step}; this run has steps 0 to {last} (0 is the prefill, which chose the first token). Choose "
            "among them.",
            step=shown(step),
            last=run.n_generated - 1,
        )
