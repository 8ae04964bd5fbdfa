"""The routes beside Gradio: parts of records, whether a record is there, and what is served beside records."""

import threading

import pytest

from model.requests.run import Run
from model.requests.timing import Measure
from tests.app.fakes_engine import FakeModels
from tests.app.running import House, kinds, wait_for
from tests.app.site import RECORDS, Site, said
from tests.fakes import fake_trace
from viz import markup
from viz.server.routes import PREFIX
from viz.wire import packing


def test_parts_come_from_one_on_and_end_with_how_the_record_stands(slow: House):
    site, kept = Site(slow), slow.ask("ann", Run(prompt="a b c", max_new_tokens=4))
    slow.engine.let(2)
    wait_for(lambda: kept.standing.done == 2)
    first = site.get(f"{RECORDS}/{kept.id}/parts").content
    assert kinds(first) == ["head", "step", "step"]
    told = said(first)
    assert {name: told[name] for name in ("id", "experiment", "state", "parts", "done", "total")} == {
        "id": kept.id,
        "experiment": "run",
        "state": "running",
        "parts": 3,
        "done": 2,
        "total": 4,
    }
    assert (told["fraction"], told["complete"], told["refusal"]) == (0.5, False, "")
    slow.engine.let(2)
    slow.finished(kept)
    rest = site.get(f"{RECORDS}/{kept.id}/parts?since=3").content
    assert kinds(rest) == ["step", "step", "end", "heads", "units", "embeddings", "lens"]
    assert (said(rest)["state"], said(rest)["parts"]) == ("done", 10)
    assert packing.says(packing.split(rest)[2])["ended"] == "length"


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
        "/slice/map/0/0",
        "/slice/part/0/0/0/0",
        "/slice/rows/0/0",
        "/slice/little",
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


# The rest


def test_the_model_route_says_how_far_the_model_is(house: House):
    house.models = FakeModels(house.engine, ready=False)
    site = Site(house)
    about = site.get(f"{PREFIX}/model").json()
    assert (about["phase"], about["fraction"]) == ("loading", 0.4)
    house.models.ready = True
    assert "4 layers \u00d7 6 heads" in site.get(f"{PREFIX}/model?name=fake-1k").json()["text"]
    assert site.get(f"{PREFIX}/model?name=/etc").status_code == 404


def test_the_model_route_says_what_a_loaded_model_has_for_the_form(house: House):
    site = Site(house)
    offers = site.get(f"{PREFIX}/model").json()["offers"]
    assert offers["chat"] is True and offers["recommended"] == {"temperature": 0.6, "top_p": 0.95}
    assert [(each["name"], each["kind"], each["values"]) for each in offers["variables"]] == [
        ("effort", "text", ["low", "high"]),
        ("enable_thinking", "switch", []),
    ]
    house.models.ready = False
    assert site.get(f"{PREFIX}/model").json()["offers"] is None


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


def test_the_scripts_of_a_page_come_as_one_which_a_browser_keeps_by_its_version(house: House):
    site = Site(house)
    bundle = f"{PREFIX}/assets/js/bundles/page.js"
    kept, asked = site.get(f"{bundle}?v=1"), site.get(bundle)
    assert kept.text == asked.text == markup.bundle("board/page.js")
    assert "immutable" in kept.headers["cache-control"] and asked.headers["cache-control"] == "no-cache"
    assert kept.text.endswith("export { connect, Page };\n") and "\nimport " not in kept.text
    for other in ("board.js", "../board/page.js", "page"):
        assert "immutable" not in site.get(f"{PREFIX}/assets/js/bundles/{other}?v=1").headers.get("cache-control", "")
