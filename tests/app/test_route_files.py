"""What is asked of a record by itself: slices, files, and the records that come with the app."""

import dataclasses
import time

import pytest

from model.api.job import Job
from model.errors import BadTrace
from model.limits import Limits
from model.records.cache import CacheTrials
from model.records.lens import missing_columns
from model.records.timing import Measurement
from model.records.trace import Trace
from model.requests.run import Run
from model.requests.timing import Measure
from tests.app.fakes_engine import FakeEngine, without_columns
from tests.app.fakes_served import served
from tests.app.running import House, wait_for
from tests.app.site import RECORDS, Site, said
from tests.fakes import fake_trace
from tests.fakes_measured import fake_measurement
from viz.examples import EXAMPLES
from viz.wire import packing, parts, recorded, slices
from viz.wire.standing import Standing


def test_slices_come_on_demand_and_exactly(done):
    site, kept, record = done
    trace = kept.record
    assert site.get(f"{record}/slice/layer/1").content == slices.layer(trace, 1)
    assert site.get(f"{record}/slice/row/1/2/3").content == slices.row(trace, 1, 2, 3)
    assert site.get(f"{record}/slice/vectors/2").content == slices.vectors(trace, 2)
    assert site.get(f"{record}/slice/logits/3").content == slices.logits(trace, 3)
    assert site.get(f"{record}/slice/map/1/2").content == slices.pooled(trace, 1, 2)
    assert site.get(f"{record}/slice/part/1/2/3/1").content == slices.part(trace, 1, 2, 3, 1)
    assert site.get(f"{record}/slice/rows/1/3").content == slices.rows(trace, 1, 3)
    assert site.get(f"{record}/slice/little").content == slices.little(trace)
    refused = "layer/99", "row/0/99/0", "row/0/0/999", "vectors/99", "logits/99"
    refused_of_long = "map/99/0", "map/0/99", "part/0/0/999/0", "part/0/0/0/999", "rows/99/0", "rows/0/999"
    for wrong in (*refused, *refused_of_long):
        answer = site.get(f"{record}/slice/{wrong}")
        assert answer.status_code == 404, wrong
        assert len(answer.text) > 20


def test_slices_of_what_is_no_run_are_refused(house: House):
    site = Site(house)
    record = site.keep(served(("a b",), (3,)), "serve")
    assert "not a run" in site.get(f"{record}/slice/layer/0").text


@pytest.mark.parametrize("part", ["layer/1", "row/1/2/2", "rows/1/2", "part/1/2/0/0", "little", "vectors/1"])
def test_a_layer_read_while_the_run_ends_is_not_kept(house: House, monkeypatch, part):
    site = Site(house)
    record = site.keep(fake_trace(), "run", complete=False)
    made = getattr(slices, part.split("/")[0])

    def slowly(*asked) -> bytes:
        body = made(*asked)
        kept = house.store.get("kept1")
        assert kept is not None
        house.store.tell(kept, Standing(id="kept1", experiment="run", state="done", complete=True))
        return body

    monkeypatch.setattr(slices, part.split("/")[0], slowly)
    assert site.get(f"{record}/slice/{part}").headers["cache-control"] == "no-store"
    assert "immutable" in site.get(f"{record}/slice/{part}").headers["cache-control"]


def test_slices_of_a_record_on_disk_are_those_of_the_record(house: House):
    small = House(limits=Limits(store_bytes=400_000))
    site, run = Site(small), Run(prompt=" ".join(map(str, range(30))), max_new_tokens=4)
    kept = small.finished(small.ask("ann", run))
    before = site.get(f"{RECORDS}/{kept.id}/slice/vectors/1").content
    for i in range(4):
        small.finished(small.ask(f"v{i}", run))
    small.store.settle()
    assert kept.record is None
    assert site.get(f"{RECORDS}/{kept.id}/slice/vectors/1").content == before
    small.close()


# Files


def test_the_file_opens_again_exactly(done, tmp_path):
    site, kept, record = done
    answer = site.get(f"{record}/file")
    assert 'filename="run.trace"' in answer.headers["content-disposition"]
    (tmp_path / "run.trace").write_bytes(answer.content)
    opened = Trace.open(tmp_path / "run.trace")
    assert opened.text == kept.record.text
    assert (opened.pattern(1, 2) == kept.record.pattern(1, 2)).all()


def test_the_file_of_another_record_is_of_its_kind(house: House, tmp_path):
    site, kept = Site(house), house.finished(house.ask("ann", Measure(prompt="a b c")))
    answer = site.get(f"{RECORDS}/{kept.id}/file")
    assert 'filename="measure.measurement"' in answer.headers["content-disposition"]
    (tmp_path / "m").write_bytes(answer.content)
    assert Measurement.open(tmp_path / "m").prompt == "a b c"
    with pytest.raises(BadTrace):
        CacheTrials.open(tmp_path / "m")


@pytest.mark.parametrize(("request_", "name"), [(Run(prompt="a b c"), "run"), (Measure(prompt="a b c"), "measure")])
def test_the_page_comes_as_a_file_to_keep(house: House, request_, name):
    site, kept = Site(house), house.finished(house.ask("ann", request_))
    answer = site.get(f"{RECORDS}/{kept.id}/page")
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.html"'
    assert answer.text.lstrip().lower().startswith("<!doctype html>")


# Records that come with the app


def test_recorded_runs_are_listed_with_their_prompts_and_only_those(house: House, tmp_path):
    trace = fake_trace()
    (tmp_path / "2-a-fact.frames").write_bytes(b"".join(parts.all_parts(trace)))
    site = Site(house, tmp_path)
    found = site.get(RECORDS).json()
    assert found["records"] == [
        {"id": "2-a-fact", "experiment": "run", "label": "a fact", "prompt": trace.prompt, "chat": False}
    ]
    assert {trace.prompt, EXAMPLES[0].prompt} <= set(found["offered"])
    body = site.get(f"{RECORDS}/2-a-fact/parts?since=1").content
    assert packing.split(body)[:-1] == parts.all_parts(trace)[1:]
    assert said(body)["complete"]
    assert site.get(f"{RECORDS}/..%2F2-a-fact/parts").status_code == 404


def test_a_recorded_run_gives_its_vectors_and_logits_one_by_one(house: House, tmp_path):
    trace = fake_trace()
    for name in ("paris", "bare"):
        (tmp_path / f"{name}.frames").write_bytes(b"".join(parts.all_parts(trace)))
    (tmp_path / "paris.deep").write_bytes(b"".join(recorded.deep(trace)))
    site = Site(house, tmp_path)
    for i in range(trace.model.n_layers):
        assert site.get(f"{RECORDS}/paris/slice/vectors/{i}").content == slices.vectors(trace, i, small=True)
    for i in range(trace.n_generated):
        assert site.get(f"{RECORDS}/paris/slice/logits/{i}").content == slices.logits(trace, i, small=True)
    wanted = {
        "paris/slice/vectors/99": "it has 0 to 3",
        "paris/slice/layer/0": "no layer",
        "bare/slice/logits/0": "has no logits",
        "gone/slice/logits/0": "no longer kept",
        "paris/view/passes": "Press Run",
        "paris/file": "Press Run",
        "paris/page": "Press Run",
    }
    for wrong, sentence in wanted.items():
        answer = site.get(f"{RECORDS}/{wrong}")
        assert answer.status_code == 404
        assert sentence in answer.text


def test_a_recorded_measurement_is_listed_and_its_pictures_are_drawn(house: House, tmp_path):
    measured = fake_measurement()
    measured.save(tmp_path / "on-a-laptop.measurement")
    site = Site(house, tmp_path)
    (listed,) = site.get(RECORDS).json()["records"]
    assert listed == {
        "id": "on-a-laptop",
        "experiment": "measure",
        "label": "on a laptop",
        "prompt": measured.prompt,
        "chat": False,
    }
    first, *_ = packing.split(site.get(f"{RECORDS}/on-a-laptop/parts").content)
    assert packing.says(first)["experiment"] == "measure"
    told = site.get(f"{RECORDS}/on-a-laptop/view/glance").json()
    assert measured.machine.processor in told["html"]
    assert site.get(f"{RECORDS}/on-a-laptop/file").status_code == 200


@pytest.fixture
def long(house: House) -> tuple[Site, str]:
    """A run of whose logit lens the two newest columns are there."""
    site = Site(house)
    return site, site.keep(without_columns(fake_trace(), kept=2), "run")


def positions(body: bytes) -> list[int]:
    (frame,) = packing.split(body)
    about = packing.says(frame)
    assert about["kind"] == "lens_slice"
    return about["positions"]


def test_columns_of_the_lens_are_computed_once_when_they_are_asked_for(long: tuple[Site, str]):
    site, record = long
    first = site.get(f"{record}/slice/lens/0,3,7").content
    assert positions(first) == [0, 3, 7]
    about, blobs = packing.unpack(first)
    assert blobs["ids"].shape == (5, 3, 5)
    assert blobs["ids"][2, 1].tolist() == [3, 4, 5, 6, 7] and {"3", "4"} <= about["texts"].keys()
    assert site.get(f"{record}/slice/lens/0,3,7").content == first
    assert positions(site.get(f"{record}/slice/lens/3,1").content) == [3, 1]
    assert site.house.engine.columns == [[0, 3], [1]]
    kept = site.house.store.get(record.rsplit("/", 1)[1])
    assert kept is not None and isinstance(kept.record, Trace)
    assert missing_columns(kept.record) == [2, 4, 5]
    assert kept.n_bytes >= sum(array.nbytes for array in kept.record.arrays().values())


def test_columns_of_the_lens_wait_for_nobody_and_nobody_for_them(long: tuple[Site, str], monkeypatch):
    site, record = long
    engine = site.house.engine
    engine.column_s = 0.2
    monkeypatch.setattr("viz.server.slices._COLUMNS_S", 0.3)
    found = positions(site.get(f"{record}/slice/lens/0,1,2,3,4,5").content)
    assert 1 <= len(found) < 6  # those for which there was time
    monkeypatch.setattr("viz.server.slices._COLUMNS_S", 60)
    slow = FakeEngine(seconds=None)
    site.house.models.use(slow)
    try:
        slow.enqueue(job := Job(), iter(lambda: time.sleep(0.01), 1))
        wait_for(lambda: job.status.state == "running")
        began = time.monotonic()
        answer = site.get(f"{record}/slice/lens/5")
        assert time.monotonic() - began < 30  # at once, not when its time is over
        assert answer.status_code == 404 and "when the model is free" in answer.text
    finally:
        slow.close()
        site.house.models.use(engine)


def test_columns_that_cannot_be_had_are_refused_with_the_reason(long: tuple[Site, str], house: House):
    site, record = long
    for wrong, words in {
        "lens/8": "position 8 does not exist: this run has read 8 tokens",
        f"lens/{','.join(map(str, range(40)))}": "40 columns are too many",
    }.items():
        answer = site.get(f"{record}/slice/{wrong}")
        assert (answer.status_code, words in answer.text) == (404, True), answer.text
    running = site.keep(without_columns(fake_trace()), "run", version=2, complete=False)
    assert "once the run has ended" in site.get(f"{running}/slice/lens/0").text
    other = dataclasses.replace(fake_trace().model, fingerprint="another")
    made = site.keep(dataclasses.replace(without_columns(fake_trace()), model=other), "run", version=3)
    assert "is not loaded now" in site.get(f"{made}/slice/lens/0").text
    assert house.engine.columns == []
