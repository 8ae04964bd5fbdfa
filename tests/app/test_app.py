"""The whole app over HTTP: presses of its buttons are short, and records are followed beside Gradio."""

import threading
import time

import httpx
import pytest

from model.limits import Limits
from tests.app.fakes_engine import FakeEngine
from tests.app.running import wait_for
from tests.app.visitor import FORM
from tests.fakes import fake_trace
from viz.examples import EXAMPLES
from viz.pages import measure
from viz.server.routes import PREFIX
from viz.wire import parts


def test_a_press_answers_at_once_and_its_record_is_followed(serve):
    served = serve(FakeEngine(seconds=None))
    ann = served.visitor()
    began = time.monotonic()
    first = ann.run()
    assert time.monotonic() - began < 5
    assert (first["experiment"], first["refusal"]) == ("run", "")
    served.engine.let(4)
    last = ann.finished()
    assert (last["id"], last["state"], last["total"], last["done"]) == (first["id"], "done", 4, 4)
    assert ann.parts == ["head", *["step"] * 4, "end", "heads", "units", "embeddings", "lens"]
    assert ann.run()["press"] > first["press"]


def test_a_refused_press_has_no_job_and_names_the_field(serve):
    served = serve()
    ann = served.visitor()
    first = ann.run()
    ann.finished()
    for form, words in (
        ({"prompt": "   "}, "prompt is empty"),
        ({"temperature": float("nan")}, "Temperature is nan"),  # goes as the bare word, which Gradio lets through
        ({"temperature": -1}, "Temperature is -1"),
    ):
        told = ann.run(**form)
        assert told["id"] is None and words in told["refusal"] and told["press"] > first["press"]
    assert len(served.engine.asked) == 1


def test_whatever_is_posted_is_answered(serve):
    ann = serve().visitor()
    for each in (None, {}, [["a"]], "\ud800", 10**400, True):
        data = [each] * len(FORM)
        told = ann.ask("run", data)
        assert told["id"] is None and told["refusal"], data


def test_the_buttons_reach_the_visitors_own_job(serve):
    served = serve(FakeEngine(seconds=None))
    ann, eve = served.visitor(), served.visitor()
    ann.run(max_new_tokens=50)
    served.engine.let(2)
    ann.until(lambda status: status["done"] == 2)
    eve.press("run-stop")
    ann.press("run-pause")
    ann.until(lambda status: status["state"] == "paused")
    served.engine.let(1)
    ann.press("run-step")
    ann.until(lambda status: status["state"] == "paused" and status["done"] == 3)
    ann.press("run-resume")
    served.engine.let(1)
    ann.until(lambda status: status["done"] == 4)
    ann.press("run-stop")
    last = ann.finished()
    assert (last["state"], last["stopped_by"]) == ("stopped", "person")


def test_every_page_has_its_experiments(serve):
    served = serve()
    ann = served.visitor()
    texts = '[["a b c", 3], ["a b", 2]]'
    for experiment, data in (
        ("measure", ["a b c", False, 5, 0, ""]),
        ("cache", ["a b c", False, 5, 16, 4, "0, 3-5", ""]),
        ("serve", [texts, 0, 48, 8, 24, 8, True]),
        ("speculate", ["a b c", False, ["prompt lookup"], 2, 9, 0, 0, 0]),
    ):
        told = ann.ask(experiment, data)
        assert told["refusal"] == "" and told["experiment"] == experiment
        last = ann.until(lambda status, told=told: status["complete"] and status["id"] == told["id"])
        assert last["state"] == "done", last
    asked = {type(each).__name__: each for each in served.engine.asked}
    assert asked["TryCaches"].dropped == (0, 3, 4, 5)
    assert asked["Measure"].n_prompt is None
    assert asked["Serve"].texts[1].prompt == "a b"
    assert asked["Speculate"].modes == ("prompt lookup",)


def test_the_run_that_was_watched_is_replayed_unless_another_prompt_was_typed(serve):
    served = serve()
    ann = served.visitor()
    run = ann.run()["id"]
    ann.finished()
    for prompt, name in (("a b c", run), ("another", None), ("a b c", None)):
        told = ann.ask("cache", [prompt, False, 5, 16, 4, "", run if prompt != "a b c" or name else "gone"])
        ann.until(lambda status, told=told: status["complete"] and status["id"] == told["id"])
        assert served.engine.asked[-1].run == name
    assert measure.PATH == "measure"


def test_a_chat_that_was_watched_is_measured_with_what_was_said_before_it(serve):
    served = serve()
    ann = served.visitor()
    run = ann.run(chat=True, system="Be brief.", turns='[["user", "hi"], ["assistant", "hello"]]')["id"]
    ann.finished()
    for prompt, in_chat, name, n_turns in (
        ("a b c", True, run, 2),
        ("another", True, run, 0),
        ("a b c", False, run, 0),
        ("a b c", True, "gone", 0),
    ):
        told = ann.ask("measure", [prompt, in_chat, 5, 0, name])
        ann.until(lambda status, told=told: status["complete"] and status["id"] == told["id"])
        asked = served.engine.asked[-1]
        assert (len(asked.turns), bool(asked.system)) == (n_turns, n_turns > 0)


def test_only_offered_models_are_run(serve):
    served = serve(names=("fake-1k", "other"))
    ann = served.visitor()
    for name in (
        "",
        "OTHER",
        " other",
        "./other",
        "other/..",
        "/",
        "..",
        "other\x00",
        "file://other",
        "a" * 5000,
        "\ud800",
    ):
        told = ann.run(model=name)
        assert "does not offer the model" in told["refusal"], name
        assert len(told["refusal"].encode()) < 200
    assert served.engine.asked == []
    assert ann.run(model="other")["refusal"] == ""


def test_a_closed_tab_ends_its_job_and_the_next_visitor_gets_the_model(serve):
    served = serve(FakeEngine(seconds=0.02))
    ann, bob = served.visitor(), served.visitor()
    with ann.http.stream("GET", f"/gradio_api/heartbeat/{ann.session}"):  # a page holds it open while it is there
        ann.run(max_new_tokens=250)
        ann.until(lambda status: status["done"] >= 1)
        bob.run(prompt="d e")
        bob.until(lambda status: status["place"] == 1)
    wait_for(lambda: served.engine.state(0) == "stopped")
    assert bob.finished()["state"] == "done"
    assert ann.finished()["stopped_by"] == "silence"


def test_the_page_opens_on_the_first_record_that_comes_with_the_app(serve, tmp_path):
    for name in ("2-other", "1-a-fact"):
        (tmp_path / f"{name}.frames").write_bytes(b"".join(parts.all_parts(fake_trace())))
    ann = serve(recorded=tmp_path).visitor()
    components = [each["props"] for each in ann.http.get("/config").json()["components"]]
    boards = [each["value"] for each in components if each.get("elem_id") == "boards"]
    assert [each["experiment"] for each in boards] == ["run", "measure", "serve", "beams"]
    assert boards[0] == {"id": "1-a-fact", "experiment": "run", "refusal": "", "press": 0}
    assert all(each["id"] is None for each in boards[1:])
    assert f"{PREFIX.lstrip('/')}/records/1-a-fact/parts?since=0" in ann.http.get("/").text
    prompts = [each["value"] for each in components if each.get("elem_id") == "prompt"]
    assert prompts[0] == EXAMPLES[0].prompt


@pytest.mark.parametrize("path", ["/", "/config", "/measure", "/serve"])
def test_every_answer_of_gradio_carries_the_security_headers_too(serve, path):
    headers = serve().visitor().http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_no_file_can_be_uploaded_and_no_large_body_posted(serve):
    ann = serve().visitor()
    assert ann.http.post("/gradio_api/upload", files={"files": ("a.txt", b"hello")}).status_code == 403
    assert ann.http.post("/gradio_api/queue/join", content=b"x" * 600_000).status_code == 413


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


def test_thirty_presses_at_once_are_all_answered(serve):
    served = serve(FakeEngine(seconds=0.001), limits=Limits(queue=40))
    visitors = [served.visitor() for _ in range(30)]
    told: list[dict] = []
    presses = [threading.Thread(target=lambda each=each: told.append(each.run())) for each in visitors]
    for press in presses:
        press.start()
    for press in presses:
        press.join()
    assert len({each["id"] for each in told}) == 30
