"""The logit lens comes while a run runs: the newest column after its pass, outside its time, if nobody waits."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model import HookedModel, Settings, Trace, trace
from model.api.job import Job
from model.capture import logit_lens
from model.capture.continuation import Continuation
from model.capture.generation import Generation
from model.capture.recording import recorded
from model.engine.engine import Engine
from model.errors import BadSetting, BadTrace, Busy, NotShown
from model.limits import Limits
from model.records import trace_checks
from model.records.lens import missing_columns
from tests.tiny import shared

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33]
NEW = 5


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return shared()


def records(hooked: HookedModel, job: Job) -> Iterator[Trace]:
    generation = Generation(hooked, PROMPT, Settings(max_new_tokens=NEW), Limits())
    return (each for each in recorded(hooked, generation, job) if each is not None)


def columns(run: Trace) -> list[int]:
    """Positions whose column of the lens is there."""
    return [] if run.lens_ids is None else np.flatnonzero(run.lens_ids[0, :, 0] >= 0).tolist()


def test_the_newest_column_is_there_after_its_pass_and_the_whole_lens_is_the_same(hooked: HookedModel):
    seen = list(records(hooked, Job()))
    for n in range(1, NEW + 1):
        after = [each for each in seen if each.n_generated == n and each.ended == "running"]
        assert len(PROMPT) + n - 2 in columns(after[-1])
    whole, alone = seen[-1], trace(hooked, PROMPT, max_new_tokens=NEW)
    for name in ("lens_ids", "lens_probs"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(alone, name))
    assert whole.texts == alone.texts


@pytest.mark.parametrize("family", ["bloom", "falcon, alibi"])
def test_it_comes_where_the_record_holds_masks_of_the_prompt_too(family: str):
    """ALiBi's mask covers the whole prompt; a column of a position inside it asks for none of that."""
    generation = Generation(shared(family), PROMPT, Settings(max_new_tokens=2), Limits())
    *_, run = (each for each in recorded(shared(family), generation, Job()) if each is not None)
    assert run.masks is not None and columns(run) == list(range(run.n_fed))


def test_no_step_s_time_holds_it(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch):
    busy: list[bool] = []
    add = Generation.add_lens

    def watched(self: Generation, position: int) -> None:
        busy.append(self._hooked.guard.locked())  # pyright: ignore[reportPrivateUsage]  (a pass holds it)
        add(self, position)

    monkeypatch.setattr(Generation, "add_lens", watched)
    list(records(hooked, Job()))
    assert busy and not any(busy)


def test_who_waits_comes_first_and_older_columns_take_no_longer_than_the_pass(hooked: HookedModel):
    job = Job()
    job.has_company(True)
    assert all(columns(each) == [] for each in records(hooked, job) if each.ended == "running")
    slow: list[Any] = [each for each in records(hooked, Job()) if each.ended == "running"]
    assert len(columns(slow[1])) >= 1


def test_a_pause_takes_hold_after_the_column_of_the_pass(hooked: HookedModel):
    job = Job()
    seen: list[tuple[int, int, bool]] = []
    for run in records(hooked, job):
        job.pause()
        seen.append((run.n_generated, len(columns(run)), job.may_go_on()))
        job.resume()
        if run.ended != "running":
            break
    held = [each for each in seen if not each[2]]
    assert [n for n, _, _ in held][:NEW] == [*range(1, NEW + 1)][: len(held)]
    assert all(n_columns >= n for n, n_columns, _ in held)


def forked(hooked: HookedModel, run: Trace, monkeypatch: pytest.MonkeyPatch) -> tuple[Trace, list[int]]:
    """The last record of a fork at step 2, and the positions whose column was worked out on the way."""
    added: list[int] = []
    add = Generation.add_lens

    def watched(self: Generation, position: int) -> None:
        added.append(position)
        add(self, position)

    monkeypatch.setattr(Generation, "add_lens", watched)
    continuation = Continuation(hooked, run, step=2, token_id=run.choices[2].id, limits=Limits())
    *_, whole = (each for each in recorded(hooked, continuation, Job()) if each is not None)
    return whole, added


def test_a_fork_takes_the_columns_of_the_earlier_run_over(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch):
    run = trace(hooked, PROMPT, max_new_tokens=NEW)
    whole, added = forked(hooked, run, monkeypatch)
    assert added and min(added) >= len(PROMPT) + 2
    np.testing.assert_array_equal(whole.lens_ids, run.lens_ids)
    assert run.lens_ids is not None and set(np.unique(run.lens_ids).tolist()) <= whole.texts.keys()


def test_a_fork_of_a_run_without_its_residual_stream_has_no_lens(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch):
    run = replace(trace(hooked, PROMPT, max_new_tokens=NEW, additions=False), resid=None)
    whole, added = forked(hooked, run, monkeypatch)
    assert (added, whole.lens_ids) == ([], None)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is a long one: of whose lens the two newest columns are computed, and the others when looked at."""
    for module in ("capture.logit_lens", "records.lens"):
        monkeypatch.setattr(f"model.{module}.WHOLE_UP_TO", len(PROMPT) - 1)
    monkeypatch.setattr(logit_lens, "NEWEST", 2)


@pytest.mark.usefixtures("long")
def test_a_long_run_gets_its_newest_columns_and_says_that_others_come_when_looked_at(hooked: HookedModel):
    seen = list(records(hooked, Job()))
    for n in range(1, NEW + 1):
        after = [each for each in seen if each.n_generated == n and each.ended == "running"]
        assert len(PROMPT) + n - 2 in columns(after[-1])
    n_fed = seen[-1].n_fed
    assert {n_fed - 1, n_fed - 2} <= {*columns(seen[-1])} and 0 not in columns(seen[-1])
    assert "computed column by column, when it is looked at" in seen[-1].notes[-1]
    for part in seen:
        trace_checks.check_mentions(part)


@pytest.mark.usefixtures("long")
def test_a_column_that_is_looked_at_is_the_one_that_a_short_run_has(hooked: HookedModel, monkeypatch):
    run = trace(hooked, PROMPT, max_new_tokens=NEW)
    *_, more = logit_lens.add_columns(hooked, run, [3, 0, run.n_fed - 1])
    assert missing_columns(more) == [each for each in missing_columns(run) if each not in (0, 3)]
    *_, whole = logit_lens.add_columns(hooked, more, range(run.n_fed))
    monkeypatch.undo()
    alone = trace(hooked, PROMPT, max_new_tokens=NEW)
    for name in ("lens_ids", "lens_probs"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(alone, name))
    assert whole.texts == alone.texts
    assert list(logit_lens.add_columns(hooked, whole, [3])) == []


def test_what_no_column_can_be_made_of_is_refused(hooked: HookedModel):
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    with pytest.raises(BadSetting, match="position 14 does not exist: this run has read 14 tokens"):
        logit_lens.add_columns(hooked, run, [0, 14])
    with pytest.raises(NotShown, match="kept no residual stream"):
        logit_lens.add_columns(hooked, replace(run, resid=None), [0])
    with pytest.raises(BadTrace, match="only the model that made a run can replay it, continue it or add to it"):
        logit_lens.add_columns(shared("gpt2"), run, [0])


def test_an_engine_adds_columns_when_nobody_waits(hooked: HookedModel):
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    engine, job = Engine(hooked, Limits()), Job()
    try:
        engine.add_columns(run, [1, 2], job)
        *_, last = job.updates()
        assert (last.state, columns(job.record)) == ("done", [1, 2])
    finally:
        engine.close()
    with pytest.raises(Busy):
        engine.add_columns(run, [3], Job())
