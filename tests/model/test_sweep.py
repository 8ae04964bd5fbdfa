"""A sweep over the heads: batched, it gives what the passes give one by one; it can be stopped and gone on with."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Sweep, Trace, ablate, sweep, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.arch.hooks import count_hooks
from model.capture.decoding import passes
from model.capture.edits import Change, Edits
from model.capture.sites import head_site
from model.capture.tracer import Tracer
from model.capture.variants import Variants
from model.cli.main import main
from model.cli.tables.sweep import table
from model.errors import BadSetting, BadTrace, NotShown
from model.experiments.sweep.sweep import sweep_in_layers
from model.limits import Limits
from model.requests.registry import of_request
from model.requests.sweep import SweepHeads
from tests.model.jobs import StopsAfter, Told
from tests.tiny import shared, tiny
from tests.tiny import sweep as through

PROMPT, NEW, STEP = "w5 w37 w40 w8 w90 w77 w30 w31 w32", 5, 3
CLOSE = 1e-4  # of the largest logit: the same passes in another shape, in float32
MANY = ("llama", "gpt2", "gpt_neox", "mistral", "qwen3", "gemma2", "gpt_oss", "opt", "cohere", "llama4_text", "bloom")
MORE = ("falcon, alibi", "deepseek_v3", "granite", "gemma4_text", "phi3")
FAMILIES = pytest.mark.parametrize("family", through(MANY + MORE, ("llama", "gpt2", "gemma2", "bloom")))


def written(hooked: HookedModel) -> Trace:
    hooked.model.generation_config.eos_token_id = None
    return trace(hooked, PROMPT, max_new_tokens=NEW, temperature=1.2, seed=1, additions=False)


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return written(hooked)


def logits_pass_by_pass(hooked: HookedModel, run: Trace, layer: int, head: int, step: int) -> np.ndarray:
    """The logits at a step, with a head set to zero in every pass and the run's own tokens."""
    tracer = Tracer(hooked.anatomy, run.n_fed)
    tracer.around = Edits(hooked.anatomy, [Change(site=head_site(hooked, layer, head), value=None)])
    ids = [each.id for each in run.tokens]
    own = passes(hooked.model, ids[: run.n_prompt], run.settings, tracer, forced=ids[run.n_prompt :])
    return [each.logits[0].numpy() for each in own][step]


def same(one: Sweep, other: Sweep) -> bool:
    return one.swept == other.swept and one.effect.tobytes() == other.effect.tobytes()


# What it is


@FAMILIES
def test_it_is_what_the_passes_give_one_by_one(family: str) -> None:
    hooked = tiny(family)
    run = written(hooked)
    found = sweep(hooked, run, step=STEP)
    chosen, rival = found.token_id, found.rival_id
    assert chosen == run.choices[STEP].id and rival == next(
        each.id for each in run.choices[STEP].candidates if each.id != chosen
    )
    recorded = run.logits[STEP]
    largest = np.abs(recorded).max()
    assert abs(found.difference - (recorded[chosen] - recorded[rival])) <= CLOSE * largest
    assert found.effect.shape == (hooked.card.n_layers, hooked.card.n_heads) and np.isfinite(found.effect).all()
    for layer in range(hooked.card.n_layers):
        for head in range(hooked.card.n_heads):
            logits = logits_pass_by_pass(hooked, run, layer, head, STEP)
            own = (recorded[chosen] - recorded[rival]) - (logits[chosen] - logits[rival])
            assert abs(found.effect[layer, head] - own) <= CLOSE * max(largest, np.abs(logits).max()), (layer, head)
    assert np.abs(found.effect).max() > 1e-2


def test_at_the_prefill_it_is_what_ablation_gives(hooked: HookedModel, run: Trace) -> None:
    found = sweep(hooked, run, step=0)
    for layer, head, effect in found.strongest(3):
        other = ablate(hooked, run, heads=((layer, head),), additions=False)
        own = other.logits[0][found.token_id] - other.logits[0][found.rival_id]
        assert effect == pytest.approx(found.difference - own, abs=CLOSE * float(np.abs(run.logits[0]).max()))


def test_a_head_that_gives_nothing_has_no_effect_but_for_rounding(run: Trace) -> None:
    other = tiny("llama")
    weight: Any = head_site(other, 1, 2).module.weight
    with torch.no_grad():
        weight[:, head_site(other, 1, 2).columns] = 0
    found = sweep(other, written(other), step=STEP)
    assert abs(found.effect[1, 2]) <= CLOSE and np.abs(found.effect).max() > 1e-2


def test_variants_without_edits_say_what_the_text_says(hooked: HookedModel, run: Trace) -> None:
    text = Variants(hooked, [each.id for each in run.tokens[:-1]], lambda: None)
    assert np.abs(text.logits.numpy() - run.logits[-1]).max() <= CLOSE * np.abs(run.logits[-1]).max()
    with pytest.raises(NotShown, match="gives other logits where it reads the text at once"):
        text.require_recorded(1.1 * run.logits[-1])
    for layer in range(3):
        rows = text.edited(Edits(hooked.anatomy, n_rows=5), 5, layer)
        assert (rows - text.logits).abs().max() <= CLOSE * text.logits.abs().max()
    alone = text.edited(Edits(hooked.anatomy), 1, 0)
    assert torch.equal(alone[0], text.logits)


# On its way


def collected(job: Job, hooked: HookedModel, run: Trace, so_far: Sweep | None = None) -> list[Sweep]:
    found: list[Sweep] = []
    for each in sweep_in_layers(hooked, run, STEP, so_far, job=job):
        assert not hooked.guard.locked() and count_hooks(hooked.model) == 0
        found += [] if each is None else [each]
    return found


def test_it_grows_by_layers_the_last_first(hooked: HookedModel, run: Trace) -> None:
    job = Told()
    seen = collected(job, hooked, run)
    assert [each.swept for each in seen] == [(), (2,), (2, 1), (2, 1, 0)]
    for each in seen:
        done = np.isfinite(each.effect).all(1)
        assert sorted(each.swept) == np.flatnonzero(done).tolist() and np.isnan(each.effect[~done]).all()
    done = [done for done, _, _ in job.said]
    assert done == sorted(done) and done[-1] == 6 and {total for _, total, _ in job.said} == {6}
    assert job.expected_bytes >= seen[-1].effect.nbytes


def test_stopped_it_keeps_whole_layers_and_the_model_computes_as_before(hooked: HookedModel, run: Trace) -> None:
    whole = sweep(hooked, run, STEP)
    swept: set[tuple[int, ...]] = set()
    for checks in range(24):
        seen = collected(StopsAfter(checks), hooked, run)
        swept.add(seen[-1].swept)
        assert count_hooks(hooked.model) == 0 and not hooked.guard.locked()
        assert all("forward" not in vars(module) for module in hooked.model.modules())
        assert same(whole, sweep(hooked, run, STEP, so_far=seen[-1]))
    assert swept == {(), (2,), (2, 1), (2, 1, 0)}
    again = written(hooked)
    assert all(array.tobytes() == again.arrays()[name].tobytes() for name, array in run.arrays().items())


def test_more_heads_than_a_pass_holds_are_swept_in_several(
    hooked: HookedModel, run: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(hooked, run, STEP)
    monkeypatch.setattr("model.capture.variants._TOKENS", 3 * (run.n_prompt + STEP))
    values = list(sweep_in_layers(hooked, run, STEP, job=Job()))
    assert values.count(None) == 6 and values[-1] is not None
    np.testing.assert_allclose(values[-1].effect, whole.effect, atol=CLOSE * np.abs(run.logits).max())


# What is refused


def test_what_cannot_be_swept_is_refused_with_the_reason(hooked: HookedModel, run: Trace) -> None:
    for step in (NEW, -1, True):
        with pytest.raises(BadSetting, match=rf"step is {step}; this run has steps 0 to 4"):
            sweep(hooked, run, step)
    with pytest.raises(BadTrace, match="by an edited model"):
        sweep(hooked, ablate(hooked, run, heads=((0, 0),), additions=False), 0)
    with pytest.raises(BadTrace, match="only the model that made a run"):
        sweep(tiny("gpt2"), run, 0)
    with pytest.raises(NotShown, match="no matrix was found that reads what its heads give"):
        sweep(shared("openai-gpt"), trace(shared("openai-gpt"), PROMPT, max_new_tokens=2, additions=False), 0)
    other = replace(sweep(hooked, run, 1), swept=())
    with pytest.raises(BadTrace, match="the earlier sweep is of step 1"):
        sweep(hooked, run, 2, so_far=other)


def test_a_model_whose_layers_hand_on_more_than_the_stream_is_refused() -> None:
    hooked = tiny("gemma3n_text")
    with pytest.raises(NotShown, match=r"cannot be run from layer \d on: its layers hand on more than the residual"):
        sweep(hooked, written(hooked), 0)


def test_a_record_that_does_not_fit_its_model_is_refused(hooked: HookedModel, run: Trace) -> None:
    found = sweep(hooked, run, 0)
    with pytest.raises(BadTrace, match="does not fit a model"):
        replace(found, effect=found.effect[:2])
    with pytest.raises(BadTrace, match="does not fit a model"):
        replace(found, swept=(3,))
    with pytest.raises(BadTrace, match="whose text is missing"):
        replace(found, texts={})


# As an experiment and from the command line


def test_it_goes_on_with_a_record_that_it_is_given(hooked: HookedModel, run: Trace) -> None:
    *_, part, _ = collected(Job(), hooked, run)
    request = SweepHeads.read({"run": "one", "step": STEP, "resume": "two"})
    request.check(Limits(), hooked.card)

    def begin(**records: Any) -> Any:
        inputs = Inputs(models={"target": hooked}, limits=Limits(), records=records)
        return of_request(request).function()(inputs, request, Job())

    first, *_, last = (each for each in begin(run=run, resume=part) if each is not None)
    assert first.swept == part.swept and same(last, sweep(hooked, run, STEP))
    with pytest.raises(BadTrace, match="resume is a Trace; it must be a sweep"):
        begin(run=run, resume=run)
    with pytest.raises(BadTrace, match="run is a Sweep; it must be a run"):
        begin(run=part)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, hooked: HookedModel) -> str:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    return str(hooked.folder)


def test_a_table_a_file_and_json(capsys: Any, loaded: str, hooked: HookedModel, run: Trace, tmp_path: Path) -> None:
    run.save(tmp_path / "one.trace")
    own = sweep(hooked, run, STEP)
    call: Sequence[str] = ["sweep", str(tmp_path / "one.trace"), "--step", str(STEP), "--model", loaded]
    assert main([*call, "-o", str(tmp_path / "one.sweep")]) == 0
    out = capsys.readouterr().out
    assert out == table(own) + "\n" and "Positive: without the head" in out
    layer, head, effect = own.strongest(1)[0]
    assert out.splitlines()[4].split() == [f"{layer}.{head}", f"{effect:+.3f}"]
    kept = Sweep.open(tmp_path / "one.sweep")
    assert same(kept, own) and kept.texts == own.texts and f"{own.texts[own.token_id]!r} against" in repr(kept)
    assert main([*call, "--json", "--resume", str(tmp_path / "one.sweep")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert np.array_equal(np.array(said["effect"], np.float32), own.effect) and said["swept"] == [2, 1, 0]
