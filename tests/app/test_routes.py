"""The routes beside Gradio: frames, downloads, assets; caching, headers, and what is turned away."""

import re

import httpx
import pytest
from plotly.offline import get_plotlyjs

from model.records.trace import Trace
from tests.app.fakes_engine import FakeEngine
from tests.fakes import fake_trace
from viz import theme
from viz.examples import EXAMPLES
from viz.wire import frames, packing, slices
from viz.wire.recorded import deep

BASE = "/gradio_api/tokenoscope"


@pytest.fixture
def done(serve):
    """A served app, a visitor, and the address of a finished run."""
    served = serve()
    ann = served.visitor()
    ann.run()
    return served, ann, f"{BASE}/runs/{ann.finished()['id']}"


def test_a_finished_run_may_be_kept_by_the_browser(done):
    _, ann, run = done
    answer = ann.http.get(f"{run}/frames?from=2")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = ann.http.get(f"{run}/frames?from=2", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ann.http.get(f"{run}/frames?from=3").headers["etag"] != answer.headers["etag"]


def test_a_run_under_way_is_not_kept(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run()
    served.engine.let(1)
    name = ann.until(lambda notice: notice["ready"] == 2)["id"]
    answer = ann.http.get(f"{BASE}/runs/{name}/frames")
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_frames_follow_in_one_answer_until_a_second_has_passed_or_the_run_has_ended(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run(max_new_tokens=3)
    served.engine.let(1)
    name = ann.until(lambda notice: notice["ready"] == 2)["id"]
    with ann.http.stream("GET", f"{BASE}/runs/{name}/frames?follow=1") as answer:
        pieces = answer.iter_bytes()
        assert kinds(next(pieces)) == ["head", "step"]
        served.engine.let(1)
        assert kinds(next(pieces)) == ["step"]
        assert list(pieces) == []  # nothing more came, and the answer ended by itself
    with ann.http.stream("GET", f"{BASE}/runs/{name}/frames?from=3&follow=1") as answer:
        served.engine.let(1)
        assert kinds(b"".join(answer.iter_bytes()))[:2] == ["step", "end"]
    assert ann.http.get(f"{BASE}/runs/{name}/frames?from=3&follow=1").headers["etag"]


def kinds(body: bytes) -> list[str]:
    return [packing.unpack(frame)[0]["kind"] for frame in packing.split(body)]


@pytest.mark.parametrize("first", ["99", "-1", "x", "9" * 30, ""])
def test_a_strange_first_frame_is_no_error(done, first):
    _, ann, run = done
    assert ann.http.get(f"{run}/frames?from={first}").status_code == 200


def test_more_pictures_come_as_pages_that_reach_nothing(done):
    _, ann, run = done
    listed = ann.http.get(f"{BASE}/views").json()
    assert {each["name"] for each in listed} >= {"passes", "embedding_map", "head_view", "model_view"}
    for each in listed:
        assert each["caption"].endswith(".")
        assert each["follows"] in ("step", "layer", "token")
        for dark in ("", "&dark=1"):
            answer = ann.http.get(f"{run}/view/{each['name']}?layer=1&token=2{dark}")
            assert answer.status_code == 200
            policy = answer.headers.get_list("content-security-policy")[0]
            assert policy.startswith("sandbox allow-scripts; default-src 'none'")
            assert "allow-same-origin" not in policy
            ground = theme.GROUND["dark" if dark else "light"]
            assert f"background: {ground['card']}" in answer.text
            assert theme.GROUND["light" if dark else "dark"]["card"] not in answer.text
            assert len(answer.content) < 600_000  # plotly.js comes once, by its own address


def test_the_charts_script_is_that_of_the_installed_package(done):
    _, ann, run = done
    chart = ann.http.get(f"{run}/view/passes").text
    address = re.findall(r'<script src="([^"]*)"', chart)
    assert len(address) == 1
    script = ann.http.get(f"{run}/view/{address[0]}")
    assert script.text == get_plotlyjs()
    assert script.headers["content-type"].startswith("text/javascript")


def test_a_picture_that_cannot_be_drawn_says_why_in_its_frame(done):
    _, ann, run = done
    layers = fake_trace().model.n_layers
    wanted = {
        f"{run}/view/head_view?layer={layers}": f"0 to {layers - 1}",
        f"{run}/view/nothing": "no picture",
        f"{BASE}/runs/gone/view/passes": "no longer kept",
    }
    for wrong, said in wanted.items():
        answer = ann.http.get(wrong)
        assert answer.status_code == 404
        assert said in answer.text
        assert "sandbox allow-scripts" in answer.headers["content-security-policy"]


def test_recorded_runs_are_listed_with_their_prompts(serve, tmp_path):
    trace = fake_trace()
    (tmp_path / "2-a-fact.frames").write_bytes(b"".join(frames.all_frames(trace)))
    ann = serve(recorded=tmp_path).visitor()
    found = ann.http.get(f"{BASE}/recorded").json()
    assert found["runs"] == [
        {"name": "2-a-fact", "label": "a fact", "ready": len(trace.steps) + 6, "prompt": trace.prompt, "chat": False}
    ]
    assert {trace.prompt, EXAMPLES[0].prompt} <= set(found["offered"])


def test_slices_come_on_demand_and_exactly(done):
    served, ann, run = done
    trace = served.app.store.get(run.rsplit("/", 1)[1]).trace
    assert ann.http.get(f"{run}/layer/1").content == slices.layer(trace, 1)
    assert ann.http.get(f"{run}/row/1/2/3").content == slices.row(trace, 1, 2, 3)
    assert ann.http.get(f"{run}/vectors/2").content == slices.vectors(trace, 2)
    assert ann.http.get(f"{run}/logits/3").content == slices.logits(trace, 3)
    for wrong in ("layer/99", "row/0/99/0", "row/0/0/999", "vectors/99", "logits/99"):
        answer = ann.http.get(f"{run}/{wrong}")
        assert answer.status_code == 404, wrong
        assert len(answer.text) > 20


@pytest.mark.parametrize("part", ["layer/1", "row/1/2/2", "vectors/1"])
def test_a_layer_read_while_the_run_ends_is_not_kept(serve, monkeypatch, part):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    ann.run()
    served.engine.let(1)
    name = ann.until(lambda notice: notice["ready"] == 2)["id"]
    made = getattr(slices, part.split("/")[0])

    def slow(*asked) -> bytes:
        body = made(*asked)
        served.app.store.get(name).done = True
        return body

    monkeypatch.setattr(slices, part.split("/")[0], slow)
    assert ann.http.get(f"{BASE}/runs/{name}/{part}").headers["cache-control"] == "no-store"


def test_a_run_that_is_gone_says_so(serve):
    ann = serve().visitor()
    for what in ("frames", "layer/0", "row/0/0/0", "vectors/0", "logits/0", "trace", "page"):
        answer = ann.http.get(f"{BASE}/runs/unknown/{what}")
        assert answer.status_code == 404
        assert "no longer kept" in answer.text


def test_the_trace_file_opens_again_exactly(done, tmp_path):
    served, ann, run = done
    answer = ann.http.get(f"{run}/trace")
    assert 'filename="run.trace"' in answer.headers["content-disposition"]
    (tmp_path / "run.trace").write_bytes(answer.content)
    opened, kept = Trace.open(tmp_path / "run.trace"), served.app.store.get(run.rsplit("/", 1)[1]).trace
    assert opened.text == kept.text
    assert (opened.pattern(1, 2) == kept.pattern(1, 2)).all()


def test_the_page_comes_as_a_file_to_keep(done):
    _, ann, run = done
    answer = ann.http.get(f"{run}/page")
    assert answer.headers["content-disposition"] == 'attachment; filename="run.html"'
    assert answer.text.lstrip().lower().startswith("<!doctype html>")


def test_recorded_runs_are_shown_first_and_only_those(serve, tmp_path):
    recorded = frames.all_frames(fake_trace())
    (tmp_path / "paris.frames").write_bytes(b"".join(recorded))
    ann = serve(recorded=tmp_path).visitor()
    answer = ann.http.get(f"{BASE}/recorded/paris/frames?from=1")
    assert packing.split(answer.content) == recorded[1:]
    assert ann.http.get(f"{BASE}/recorded/..%2Fparis/frames").status_code == 404
    components = [each["props"] for each in ann.http.get("/config").json()["components"]]
    value = next(each["value"] for each in components if each.get("elem_id") == "scope")
    assert (value["id"], value["source"], value["ready"], value["done"]) == ("paris", "recorded", len(recorded), True)


def test_a_recorded_run_gives_its_vectors_and_logits_one_by_one(serve, tmp_path):
    trace = fake_trace()
    for name in ("paris", "bare"):
        (tmp_path / f"{name}.frames").write_bytes(b"".join(frames.all_frames(trace)))
    (tmp_path / "paris.deep").write_bytes(b"".join(deep(trace)))
    ann = serve(recorded=tmp_path).visitor()
    for i in range(trace.model.n_layers):
        assert ann.http.get(f"{BASE}/recorded/paris/vectors/{i}").content == slices.vectors(trace, i, small=True)
    for i in range(trace.n_generated):
        assert ann.http.get(f"{BASE}/recorded/paris/logits/{i}").content == slices.logits(trace, i, small=True)
    wanted = {
        "paris/vectors/99": "its vectors are 0 to 3",
        "paris/layer/0": "no layer",
        "bare/logits/0": "brings no",
        "gone/logits/0": "no recorded run",
    }
    for wrong, said in wanted.items():
        answer = ann.http.get(f"{BASE}/recorded/{wrong}")
        assert answer.status_code == 404
        assert said in answer.text


def test_the_model_route_says_how_far_the_model_is(serve):
    served = serve(ready=False)
    ann = served.visitor()
    about = ann.http.get(f"{BASE}/model").json()
    assert (about["phase"], about["fraction"]) == ("loading", 0.4)
    served.models.ready = True
    assert "4 layers × 6 heads" in ann.http.get(f"{BASE}/model?name=fake-1k").json()["text"]
    assert ann.http.get(f"{BASE}/model?name=/etc").status_code == 404


def test_scripts_are_served_as_modules_and_nothing_outside_assets(serve):
    ann = serve().visitor()
    script = ann.http.get(f"{BASE}/assets/js/board/page.js")
    assert "javascript" in script.headers["content-type"]
    assert script.headers["cache-control"] == "no-cache"
    for path in ("../app.py", "..%2Fapp.py", "js/../../app.py", "%2e%2e/app.py"):
        assert ann.http.get(f"{BASE}/assets/{path}").status_code in (403, 404), path


@pytest.mark.parametrize("path", ["/", "/config", f"{BASE}/model", f"{BASE}/assets/js/board/page.js", "/nothing"])
def test_every_answer_carries_the_security_headers(serve, path):
    headers = serve().visitor().http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_no_file_can_be_uploaded(serve):
    ann = serve().visitor()
    assert ann.http.post("/gradio_api/upload", files={"files": ("a.txt", b"hello")}).status_code == 403


def test_bodies_that_no_form_sends_are_turned_away(serve):
    ann = serve().visitor()
    assert ann.http.post("/gradio_api/queue/join", content=b"x" * 600_000).status_code == 413
    assert ann.http.post("/gradio_api/queue/join", content=iter([b"x" * 10])).status_code == 413  # of unsaid length


def test_the_page_names_no_other_host(serve):
    page = serve().visitor().http.get("/").text
    for host in ("fonts.googleapis", "fonts.gstatic", "cdn.", "cdnjs", "unpkg", "huggingface.co/front"):
        assert host not in page, host


def test_the_page_keeps_no_history_and_no_monitor(serve):
    served = serve()
    config = served.visitor().http.get("/config").json()
    assert config["footer_links"] == []
    assert not config.get("run_history")
    assert not config["analytics_enabled"]
    assert httpx.get(f"{served.url}/monitoring").status_code != 200
