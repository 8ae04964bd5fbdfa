"""Experiments as the page asks for them: who may see what, what is refused, and what is kept."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from model.errors import BadSetting, BadTrace, Busy
from model.records.cache import CacheTrials
from model.records.timing import Measurement
from model.records.trace import Settings
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.fakes_experiments import FAKE_EXPERIMENTS, FakeJob
from tests.fakes_measured import fake_measurement
from viz.pages.measure import positions
from viz.server.experiments import KEPT, Experiments, Report
from viz.server.requested import Wanted
from viz.server.routes import PREFIX

WANTED = Wanted(kind="measurement", model="fake-1k", prompt="a b c", settings=Settings(max_new_tokens=5))


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.close()


def test_a_record_grows_and_every_version_is_told_of(engine: FakeEngine):
    experiments = Experiments(FakeModels(engine), FAKE_EXPERIMENTS)
    told = list(experiments.ask("anna", WANTED))
    assert [each.state for each in told][-1] == "done"
    assert sorted({each.version for each in told}) == [0, 1, 2, 3]
    assert [each.seq for each in told] == sorted({each.seq for each in told})
    assert told[-1].id is not None
    record = experiments.get(told[-1].id)
    assert isinstance(record, Measurement)
    assert len(record.batch_sizes) > 0


def test_a_second_request_of_a_visitor_ends_the_first_and_nobody_elses(engine: FakeEngine):
    jobs: list[FakeJob] = []

    def begin(*asked: object) -> FakeJob:
        jobs.append(FakeJob([fake_measurement] * 50, asked[2]))  # pyright: ignore[reportArgumentType]
        return jobs[-1]

    experiments = Experiments(FakeModels(engine), {"measurement": begin, "trials": begin})
    first, other = experiments.ask("anna", WANTED), experiments.ask("ben", WANTED)
    for asked in (first, other):
        while next(asked).version == 0:
            pass
    again = experiments.ask("anna", WANTED)
    while next(again).version == 0:
        pass
    assert list(first)[-1].state == "stopped"
    assert next(other).state == "running"
    experiments.stop("ben")
    assert list(other)[-1].state == "stopped"
    again.close()
    assert jobs[2]._stopping.is_set(), "the visitor has gone, and nobody would look at it"


def test_what_a_press_of_another_kind_ended_says_so(engine: FakeEngine):
    experiments = Experiments(FakeModels(engine), {"measurement": endless, "trials": endless})
    asked = experiments.ask("anna", WANTED)
    until_a_record(asked)
    other = experiments.ask("anna", replace(WANTED, kind="trials"))
    until_a_record(other)
    assert list(asked)[-1].state == "overtaken"
    experiments.stop("anna")
    assert list(other)[-1].state == "stopped"


def test_what_waits_is_overtaken_too(engine: FakeEngine):
    models = FakeModels(engine, ready=False)
    experiments = Experiments(models, {"measurement": endless, "trials": endless})
    asked = experiments.ask("anna", WANTED)
    assert next(asked).state == "waiting"
    other = experiments.ask("anna", replace(WANTED, kind="trials"))
    assert next(other).state == "waiting"
    assert [each.state for each in asked] == ["overtaken"]
    experiments.stop("anna")
    assert [each.state for each in other] == ["stopped"]


def test_who_waits_for_a_model_can_stop_before_anything_has_begun(engine: FakeEngine):
    experiments = Experiments(FakeModels(engine, ready=False), FAKE_EXPERIMENTS)
    asked = experiments.ask("anna", WANTED)
    assert [next(asked).state for _ in range(3)] == ["waiting"] * 3
    experiments.stop("ben")
    assert next(asked).state == "waiting"
    experiments.stop("anna")
    assert [each.state for each in asked] == ["stopped"]
    assert not experiments._presses


def test_a_refusal_stands_beside_what_runs_until_the_next_press(engine: FakeEngine):
    experiments = Experiments(FakeModels(engine), {"measurement": endless, "trials": refusing})
    asked = experiments.ask("anna", WANTED)
    running = until_a_record(asked)
    refused = experiments.refuse("anna", "measurement", "type a prompt.")
    assert (refused.refusal, refused.state, refused.id) == ("type a prompt.", "running", running.id)
    assert experiments.refuse("ben", "measurement", "type a prompt.").state == "done"
    told = next(asked)
    assert (told.refusal, told.state, told.press) == ("type a prompt.", "running", refused.press)
    other = list(experiments.ask("anna", replace(WANTED, kind="trials")))[-1]
    assert (other.kind, other.state, other.refusal) == ("trials", "done", "too many wait.")
    assert other.press > next(asked).press
    assert next(asked).refusal == "", "another press"
    again = experiments.ask("anna", WANTED)
    assert next(again).refusal == ""
    experiments.stop("anna")
    assert list(asked)[-1].state == "stopped"


def test_a_press_that_comes_to_nothing_leaves_what_ran_before_it_as_it_was(engine: FakeEngine):
    begun: list[FakeJob] = []

    def begin(*asked: Any) -> FakeJob:
        if begun:
            raise Busy("too many wait.")
        begun.append(endless(*asked))
        return begun[0]

    experiments = Experiments(FakeModels(engine), {"measurement": begin})
    asked = experiments.ask("anna", WANTED)
    running = until_a_record(asked)
    last = list(experiments.ask("anna", WANTED))[-1]
    assert (last.state, last.id, last.refusal) == ("running", running.id, "too many wait.")
    assert next(asked).state == "running"
    asked.close()
    assert experiments.refuse("anna", "measurement", "no.").state == "done"


def test_who_stops_while_it_begins_is_heard_as_soon_as_it_has_begun(engine: FakeEngine):
    def begin(*asked: Any) -> FakeJob:
        experiments.stop("anna")
        return endless(*asked)

    experiments = Experiments(FakeModels(engine), {"measurement": begin})
    states = [each.state for each in experiments.ask("anna", WANTED)]
    assert states[-1] == "stopped"
    assert len(states) < 6


def test_a_press_during_the_beginning_of_another_is_the_one_that_goes_on(engine: FakeEngine):
    newer: list[Generator[Report]] = []

    def begin(*asked: Any) -> FakeJob:
        if not newer:
            newer.append(experiments.ask("anna", WANTED))
            until_a_record(newer[0])
        return endless(*asked)

    experiments = Experiments(FakeModels(engine), {"measurement": begin})
    assert [each.state for each in experiments.ask("anna", WANTED)][-1] == "stopped"
    assert next(newer[0]).state == "running"
    newer[0].close()


def endless(*asked: Any) -> FakeJob:
    return FakeJob([fake_measurement] * 50, asked[2])


def refusing(*_: object) -> FakeJob:
    raise Busy("too many wait.")


def until_a_record(asked: Iterator[Report]) -> Report:
    return next(each for each in asked if each.version)


def test_what_cannot_be_done_is_told_in_its_own_words_and_a_bug_in_none(engine: FakeEngine):
    def refuse(*_: object) -> FakeJob:
        raise Busy("too many wait.")

    def broken(*asked: object) -> FakeJob:
        job = FakeJob([], asked[2])  # pyright: ignore[reportArgumentType]
        job.error = ValueError("a secret path")
        return job

    experiments = Experiments(FakeModels(engine), {"measurement": refuse, "trials": broken})
    assert list(experiments.ask("anna", WANTED))[-1].refusal == "too many wait."
    last = list(experiments.ask("anna", Wanted(kind="trials", model="fake-1k", prompt="a", settings=Settings())))[-1]
    assert "broke" in last.refusal
    assert "secret" not in last.refusal


def test_the_oldest_records_leave(engine: FakeEngine):
    experiments = Experiments(FakeModels(engine), FAKE_EXPERIMENTS)
    record = fake_measurement()
    for i in range(KEPT + 1):
        experiments._keep(str(i), record)
    assert experiments.get("0") is None
    assert experiments.get("1") is record


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("3", (3,)),
        (" 3, 5 8-11,9", (3, 5, 8, 9, 10, 11)),
        ("2–4", (2, 3, 4)),
    ],
)
def test_positions_are_read_as_a_person_writes_them(text: str, found: tuple[int, ...]):
    assert positions(text) == found


@pytest.mark.parametrize("text", ["a", "-3", "5-3", "1-999999", "١", "1;2", "1.5"])
def test_other_positions_are_refused_with_the_words_they_came_in(text: str):
    with pytest.raises(BadSetting, match="Drop positions has") as refused:
        positions(text)
    assert repr(text) in str(refused.value)


def test_pictures_file_and_page_of_a_record_are_served_to_whoever_has_its_id(serve, tmp_path):
    served = serve()
    experiments = served.app.experiments
    last: Report = list(experiments.ask("anna", WANTED))[-1]
    place = f"{served.url}{PREFIX}/experiments/{last.id}"
    told = httpx.get(f"{place}/pictures", params={"context": "2048", "users": "3", "bits": "8"}).json()
    assert {each["name"] for each in told["pictures"]} >= {"phases", "cache_race", "roofline", "memory_bill"}
    assert any("hooks" in each for each in told["facts"])
    dark = httpx.get(f"{place}/pictures", params={"dark": "1"}).json()["pictures"]
    assert dark != told["pictures"]
    (tmp_path / "m").write_bytes(httpx.get(f"{place}/file").content)
    assert Measurement.open(tmp_path / "m").prompt == "a b c"
    with pytest.raises(BadTrace):
        CacheTrials.open(tmp_path / "m")
    assert "<!DOCTYPE html>" in httpx.get(f"{place}/page").text
    assert httpx.get(f"{place}/pictures", params={"users": "0"}).status_code == 404
    assert httpx.get(f"{served.url}{PREFIX}/experiments/nobody/pictures").status_code == 404
