"""The routes beside Gradio, on a plain Starlette app: records as they come, slices, pictures and files."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs
from starlette.applications import Starlette
from starlette.testclient import TestClient

from model.errors import BadTrace
from model.limits import Limits
from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.timing import Measurement
from model.records.trace import Settings, Trace
from model.requests.run import Run
from model.requests.timing import Measure
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.fakes_served import drafted, served
from tests.app.running import House, kinds, wait_for
from tests.app.views_served import VIEWS
from tests.fakes import fake_trace
from viz import theme, views
from viz.examples import EXAMPLES
from viz.server import drawings, guard
from viz.server.routes import PREFIX, build_routes
from viz.server.store import Kept, Store
from viz.wire import packing, parts, recorded, slices
from viz.wire.standing import Standing

RECORDS = f"{PREFIX}/records"


class Site(TestClient):
    """The routes over a store and a house."""

    def __init__(self, house: House, shipped: Path | None = None) -> None:
        self.house = house
        if shipped is not None:
            house.store = Store(10**9, 10**9, recorded.load(shipped))
        app = Starlette(routes=build_routes(house.store, house.models), middleware=guard.MIDDLEWARE)
        super().__init__(app, raise_server_exceptions=True)

    def keep(self, record: Any, experiment: str, version: int = 1, *, complete: bool = True) -> str:
        """Put a record into the store as it is; returns its address."""
        kept = self.house.store.open(Standing(id=f"kept{version}", experiment=experiment, state="running"))
        made = parts.Parts(experiment)
        new = [*made.newer(record, version), *made.beside(record)]
        self.house.store.add(kept, record, new, replaces=version if parts.replaces(record) else None)
        state = "done" if complete else "running"
        standing = Standing(id=kept.id, experiment=experiment, state=state, version=version, complete=complete)
        self.house.store.tell(kept, standing)
        return f"{RECORDS}/{kept.id}"


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


@pytest.fixture
def slow() -> Iterator[House]:
    made = House(FakeEngine(seconds=None))
    yield made
    made.close()


@pytest.fixture
def done(house: House) -> tuple[Site, Kept, str]:
    """A finished run, and its address."""
    kept = house.finished(house.ask("ann", Run(prompt="a b c", max_new_tokens=4)))
    return Site(house), kept, f"{RECORDS}/{kept.id}"


def said(body: bytes) -> dict[str, Any]:
    """The status that ends an answer."""
    about = packing.says(packing.split(body)[-1])
    assert about["kind"] == "status"
    return about


# Parts


def test_parts_come_from_one_on_and_end_with_how_the_record_stands(slow: House):
    site, kept = Site(slow), slow.ask("ann", Run(prompt="a b c", max_new_tokens=4))
    slow.engine.let(2)
    wait_for(lambda: kept.standing.done == 2)
    first = site.get(f"{RECORDS}/{kept.id}/parts").content
    assert kinds(first) == ["head", "step", "step"]
    told = said(first)
    assert {name: told[name] for name in ("id", "experiment", "state", "parts", "done", "total", "max_new_tokens")} == {
        "id": kept.id,
        "experiment": "run",
        "state": "running",
        "parts": 3,
        "done": 2,
        "total": 4,
        "max_new_tokens": 4,
    }
    assert (told["fraction"], told["complete"], told["ended"], told["refusal"]) == (0.5, False, "", "")
    slow.engine.let(2)
    slow.finished(kept)
    rest = site.get(f"{RECORDS}/{kept.id}/parts?since=3").content
    assert kinds(rest) == ["step", "step", "end", "heads", "units", "embeddings", "lens"]
    assert (said(rest)["state"], said(rest)["parts"], said(rest)["ended"]) == ("done", 10, "length")


def test_an_answer_that_follows_brings_what_comes_and_ends_within_a_second_or_with_the_record(slow: House):
    site, kept = Site(slow), slow.ask("ann", Run(prompt="a b c", max_new_tokens=3))
    slow.engine.let(1)
    wait_for(lambda: kept.n_parts == 2)
    threading.Timer(0.2, slow.engine.let, [1]).start()
    first = site.get(f"{RECORDS}/{kept.id}/parts?follow=1").content
    frames = [packing.says(frame)["kind"] for frame in packing.split(first)]
    assert frames[:3] == ["head", "step", "status"] and "step" in frames[3:] and frames[-1] == "status"
    assert (said(first)["parts"], said(first)["complete"]) == (3, False)
    slow.engine.let(1)
    rest = site.get(f"{RECORDS}/{kept.id}/parts?since=3&follow=1").content
    assert kinds(rest)[:2] == ["step", "end"]
    assert said(rest)["complete"] or said(rest)["parts"] > 4
    slow.finished(kept)
    assert site.get(f"{RECORDS}/{kept.id}/parts?since=3&follow=1").headers["etag"]


def test_a_follower_is_told_of_every_change_of_state(slow: House):
    site, kept = Site(slow), slow.until(slow.ask("ann", Run(prompt="a b c", max_new_tokens=9)), "running")
    threading.Timer(0.2, slow.visitors.pause, ["ann"]).start()
    body = site.get(f"{RECORDS}/{kept.id}/parts?follow=1").content
    states = [about["state"] for f in packing.split(body) if (about := packing.says(f))["kind"] == "status"]
    assert states[0] == "running" and states[-1] == "paused"


def test_asking_for_parts_is_what_keeps_a_job(slow: House):
    site, kept = Site(slow), slow.ask("ann", Run(prompt="a b c"), listen=False)
    asked_at = kept.heard
    kept.heard -= 10  # of the 15 seconds of silence that end a job
    site.get(f"{RECORDS}/{kept.id}/parts")
    assert kept.heard >= asked_at
    slow.until(kept, "running")
    kept.heard -= 100
    slow.finished(kept)
    assert kept.standing.stopped_by == "silence"


def test_a_record_that_is_replaced_comes_once_for_each_version(house: House):
    site, kept = Site(house), house.finished(house.ask("ann", Measure(prompt="a b c")))
    for since, found in ((0, ["record"]), (2, ["record"]), (3, [])):
        body = site.get(f"{RECORDS}/{kept.id}/parts?since={since}").content
        assert (kinds(body), said(body)["parts"], said(body)["version"]) == (found, 3, 3)
    about = packing.says(packing.split(site.get(f"{RECORDS}/{kept.id}/parts").content)[0])
    assert {each["name"] for each in about["views"]} >= {"phases", "cache_race", "roofline", "memory_bill"}
    assert any("hooks" in each for each in about["facts"])
    assert (about["experiment"], about["version"], about["counts"], about["steps"]) == ("measure", 3, {}, None)


def test_a_complete_record_may_be_kept_by_the_browser(done):
    site, _, record = done
    answer = site.get(f"{record}/parts?since=2")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = site.get(f"{record}/parts?since=2", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert site.get(f"{record}/parts?since=3").headers["etag"] != answer.headers["etag"]


def test_a_record_under_way_is_not_kept(slow: House):
    site, kept = Site(slow), slow.ask("ann", Run(prompt="a b c"))
    slow.engine.let(1)
    wait_for(lambda: kept.n_parts == 2)
    answer = site.get(f"{RECORDS}/{kept.id}/parts")
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


@pytest.mark.parametrize("first", ["99", "-1", "x", "9" * 30, ""])
def test_a_strange_first_part_is_no_error(done, first):
    site, _, record = done
    assert site.get(f"{record}/parts?since={first}").status_code == 200


def test_a_lone_surrogate_is_replaced_and_told(house: House):
    site = Site(house)
    kept = house.finished(house.ask("ann", Run(prompt="half \ud800 a character")))
    head = packing.says(packing.split(site.get(f"{RECORDS}/{kept.id}/parts").content)[0])
    assert head["prompt"] == "half \ufffd a character"
    assert any("UTF-16" in note for note in head["notes"])


def test_a_record_that_is_gone_says_so(house: House):
    site = Site(house)
    for what in (
        "/parts",
        "/slice/layer/0",
        "/slice/row/0/0/0",
        "/slice/vectors/0",
        "/slice/logits/0",
        "/file",
        "/page",
        "",
    ):
        answer = site.get(f"{RECORDS}/unknown{what}")
        assert answer.status_code == 404
        assert "no longer kept" in answer.text
    assert site.head(f"{RECORDS}/unknown").status_code == 404


def test_one_question_tells_which_of_many_records_are_kept(house: House):
    site = Site(house)
    kept = site.keep(fake_trace(), "run").rsplit("/", 1)[1]
    answer = site.get(f"{PREFIX}/held?ids=gone,{kept},,{kept}x")
    assert (answer.status_code, answer.json()) == (200, {"held": [kept]})
    assert site.get(f"{PREFIX}/held").json() == {"held": []}
    many = ",".join(["gone"] * 64 + [kept])
    assert site.get(f"{PREFIX}/held?ids={many}").json() == {"held": []}, "one question has an end"


def test_whether_a_record_is_there_is_answered_without_drawing_it(done):
    site, kept, record = done
    answer = site.head(record)
    assert (answer.status_code, answer.content) == (200, b"")
    assert site.get(record).json() == {"id": kept.id, "experiment": "run"}


# Slices


def test_slices_come_on_demand_and_exactly(done):
    site, kept, record = done
    trace = kept.record
    assert site.get(f"{record}/slice/layer/1").content == slices.layer(trace, 1)
    assert site.get(f"{record}/slice/row/1/2/3").content == slices.row(trace, 1, 2, 3)
    assert site.get(f"{record}/slice/vectors/2").content == slices.vectors(trace, 2)
    assert site.get(f"{record}/slice/logits/3").content == slices.logits(trace, 3)
    for wrong in ("layer/99", "row/0/99/0", "row/0/0/999", "vectors/99", "logits/99"):
        answer = site.get(f"{record}/slice/{wrong}")
        assert answer.status_code == 404, wrong
        assert len(answer.text) > 20


def test_slices_of_what_is_no_run_are_refused(house: House):
    site = Site(house)
    record = site.keep(served(("a b",), (3,)), "serve")
    assert "no run" in site.get(f"{record}/slice/layer/0").text


@pytest.mark.parametrize("part", ["layer/1", "row/1/2/2", "vectors/1"])
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


# Pictures


def test_pictures_of_a_run_come_as_pages_that_reach_nothing(done):
    site, _, record = done
    listed = site.get(f"{PREFIX}/views?of=run").json()
    assert {each["name"] for each in listed} >= {"passes", "embedding_map", "head_view", "model_view"}
    for each in listed:
        assert each["caption"].endswith(".")
        assert each["follows"] in ("step", "layer", "token")
        for dark in ("", "&dark=1"):
            answer = site.get(f"{record}/view/{each['name']}?layer=1&token=2&frame=1{dark}")
            assert answer.status_code == 200
            policy = answer.headers.get_list("content-security-policy")[0]
            assert policy.startswith("sandbox allow-scripts; default-src 'none'")
            assert "allow-same-origin" not in policy
            ground = theme.GROUND["dark" if dark else "light"]
            assert f"background: {ground['card']}" in answer.text
            assert theme.GROUND["light" if dark else "dark"]["card"] not in answer.text
            assert len(answer.content) < 600_000  # plotly.js comes once, by its own address
    assert site.get(f"{PREFIX}/views?of=nothing").status_code == 404
    assert {each["name"] for each in site.get(f"{PREFIX}/views?of=serve").json()} >= {"lanes", "blocks"}


def test_the_charts_script_is_that_of_the_installed_package(done):
    site, _, record = done
    chart = site.get(f"{record}/view/passes?frame=1").text
    address = re.findall(r'<script src="([^"]*)"', chart)
    assert len(address) == 1
    script = site.get(f"{record}/view/{address[0]}")
    assert script.text == get_plotlyjs()
    assert script.headers["content-type"].startswith("text/javascript")


def test_a_picture_that_cannot_be_drawn_says_why_in_its_frame(done):
    site, _, record = done
    layers = fake_trace().model.n_layers
    wanted = {
        f"{record}/view/head_view?layer={layers}": f"0 to {layers - 1}",
        f"{record}/view/nothing": "no view",
        f"{RECORDS}/gone/view/passes": "no longer kept",
    }
    for wrong, sentence in wanted.items():
        for frame in ("frame=1", "frame=1&dark=1"):
            answer = site.get(f"{wrong}{'&' if '?' in wrong else '?'}{frame}")
            assert answer.status_code == 404
            assert sentence in answer.text
            assert "sandbox allow-scripts" in answer.headers["content-security-policy"]


def test_a_picture_follows_the_selection_and_the_theme(house: House):
    site, kept = Site(house), house.finished(house.ask("ann", Measure(prompt="a b c")))
    bill = f"{RECORDS}/{kept.id}/view/memory_bill"
    one, more = site.get(f"{bill}?users=1").json(), site.get(f"{bill}?users=3&context=4096&bits=8").json()
    assert one != more
    assert one == site.get(f"{bill}?users=1&unknown=7").json()
    assert set(one) == {"name", "title", "caption", "said", "follows", "figure", "html", "missing"}
    phases = f"{RECORDS}/{kept.id}/view/phases"
    assert site.get(phases).json() != site.get(f"{phases}?dark=1").json()
    assert site.get(f"{bill}?users=0").status_code == 404


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small views in place of the real ones."""
    monkeypatch.setattr(views, "all_views", lambda kind=Trace: tuple(VIEWS.get(kind, [])))


def three(**more: Any) -> Batching:
    return served(("a b c d e f g h", "a b c d x", "k l m"), (4, 8, 3), **more)


@pytest.mark.usefixtures("seen")
def test_a_record_of_served_texts_says_what_can_be_selected(house: House):
    site, record = Site(house), three()
    body = site.get(f"{site.keep(record, 'serve')}/parts").content
    about = packing.says(packing.split(body)[0])
    assert about["counts"] == {
        "starts": [1],
        "why": "; no tick schedules more texts at once",
        "ticks": len(record.ticks),
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": ["A", "B", "C"],
    }
    assert len(record.ticks[1].shares) == 3
    assert [each["follows"] for each in about["views"]] == ["nothing", "tick", "pick"]
    assert any("a b c d x" in each for each in about["facts"])
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    told = packing.says(packing.split(site.get(f"{site.keep(drafts, 'speculate', 2)}/parts").content)[0])["counts"]
    rounds = [len(each.rounds) for each in drafts.attempts]
    assert told == {"attempts": ["prompt lookup", "early exit"], "rounds": rounds, "best": 0, "starts": [0, 0]}


@pytest.mark.usefixtures("seen")
def test_every_tick_has_its_picture_and_its_words_and_the_newer_ones_can_be_had_alone(house: House, monkeypatch):
    site, record = Site(house), three()
    view = f"{site.keep(record, 'serve')}/view/by_tick"
    got = site.get(f"{view}?along=tick").json()
    assert [each["html"] for each in got] == [
        f"<p>{t.n_free} free after tick {i}</p>" for i, t in enumerate(record.ticks)
    ]
    assert got[0]["words"] == "read 12 of at most 12 tokens; for A and B; C waits; 37 of 40 blocks are free after it"
    assert site.get(f"{view}?along=tick&from=5").json() == got[5:]
    monkeypatch.setattr(drawings, "AT_ONCE", 3)
    assert site.get(f"{view}?along=tick&from=5").json() == got[5:8]
    assert site.get(f"{view}?along=tick&from=999").json() == []
    assert site.get(f"{view}?along=tick&from={'0' * 12}{'9' * 5000}").json() == got[:3], "too many digits are none"
    assert site.get(f"{view}?along=round").status_code == 404


@pytest.mark.usefixtures("seen")
def test_rounds_are_those_of_the_attempt(house: House):
    site = Site(house)
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    view = f"{site.keep(drafts, 'speculate')}/view/by_round"
    got = site.get(f"{view}?along=round&attempt=1").json()
    assert len(got) == len(drafts.attempts[1].rounds)
    assert "early exit, round 1" in got[1]["html"]
    assert got[0]["words"] == "3 drafted, 1 accepted, 1 corrected, 2 written"
    assert site.get(f"{view}?along=round&attempt=7").json() == []


@pytest.mark.usefixtures("seen")
def test_one_picture_is_drawn_for_what_is_selected_and_none_by_another_name(house: House):
    site = Site(house)
    record = site.keep(three(), "serve")
    drawn = site.get(f"{record}/view/by_pick?tick=2&layer=1&head=3").json()
    assert json.dumps("tick 2, layer 1, head 3") in json.dumps(drawn["figure"])
    refused = site.get(f"{record}/view/%3Cb%3E")
    assert refused.status_code == 404
    assert "'<b>'" in refused.text


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


# The rest


def test_the_model_route_says_how_far_the_model_is(house: House):
    house.models = FakeModels(house.engine, ready=False)
    site = Site(house)
    about = site.get(f"{PREFIX}/model").json()
    assert (about["phase"], about["fraction"]) == ("loading", 0.4)
    house.models.ready = True
    assert "4 layers \u00d7 6 heads" in site.get(f"{PREFIX}/model?name=fake-1k").json()["text"]
    assert site.get(f"{PREFIX}/model?name=/etc").status_code == 404


def test_scripts_are_served_as_modules_and_nothing_outside_assets(house: House):
    site = Site(house)
    script = site.get(f"{PREFIX}/assets/js/board/page.js")
    assert "javascript" in script.headers["content-type"]
    assert script.headers["cache-control"] == "no-cache"
    for path in ("../app.py", "..%2Fapp.py", "js/../../app.py", "%2e%2e/app.py"):
        assert site.get(f"{PREFIX}/assets/{path}").status_code in (403, 404), path


@pytest.mark.parametrize("path", [f"{PREFIX}/model", f"{PREFIX}/assets/js/board/page.js", RECORDS, "/nothing"])
def test_every_answer_carries_the_security_headers(house: House, path):
    headers = Site(house).get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_no_file_can_be_uploaded(house: House):
    assert Site(house).post("/gradio_api/upload", files={"files": ("a.txt", b"hello")}).status_code == 403


def test_bodies_that_no_form_sends_are_turned_away(house: House):
    site = Site(house)
    assert site.post("/gradio_api/upload", content=b"x" * 600_000).status_code == 413
    assert site.post("/gradio_api/upload", content=iter([b"x" * 10])).status_code == 413  # of unsaid length
