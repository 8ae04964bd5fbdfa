"""Starting the program: its port, its arguments, and models that load behind the page."""

# pyright: reportPrivateUsage=false

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import app
from app import HostedModels, choose_port
from model.api.job import Job
from model.errors import BadSetting, Busy, NotAllowed, UnknownModel
from model.limits import Limits
from model.requests.run import Run
from tests.app.fakes_engine import OFFERS, FakeEngine
from tests.app.running import wait_for
from tests.patience import PATIENCE_S


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_busy_default_port_gives_way_to_the_next_and_says_so(busy_port, monkeypatch, capsys):
    monkeypatch.setattr(app, "PORT", busy_port)
    port = choose_port("127.0.0.1", None)
    assert busy_port < port < busy_port + app.PORTS_TO_TRY
    assert f"Port {busy_port} is busy, so the page is on port {port}." in capsys.readouterr().out


def test_a_free_default_port_is_taken_without_a_word(monkeypatch, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    monkeypatch.setattr(app, "PORT", free)
    assert choose_port("127.0.0.1", None) == free
    assert capsys.readouterr().out == ""


def test_a_busy_port_that_was_asked_for_is_an_error(busy_port):
    with pytest.raises(BadSetting, match=f"port {busy_port} is busy"):
        choose_port("127.0.0.1", str(busy_port))


@pytest.mark.parametrize("wanted", ["0", "-1", "65536", "x", "٣", "7860.5", ""])
def test_what_is_no_port_is_refused(wanted):
    with pytest.raises(BadSetting, match="must be a whole number from 1 to 65535"):
        choose_port("127.0.0.1", wanted)


def test_refusals_of_the_command_line_come_fast_with_exit_code_2(busy_port):
    program = f"""import sys, app
code = app.main(['--port', '{busy_port}'])
assert not {{'gradio', 'torch'}} & sys.modules.keys()
sys.exit(code)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"app.py: port {busy_port} is busy: another program uses it, perhaps an earlier start of this one. "
        "End it, or choose another port with --port.\n"
    )


def test_help_names_every_argument(capsys):
    with pytest.raises(SystemExit) as ended:
        app.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for argument in ("--model", "--host", "--port", "--no-browser"):
        assert argument in said


def test_no_browser_opens_on_a_host_or_without_a_screen(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("SPACE_ID", "CI", "SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not app._has_desktop()
    monkeypatch.setenv("DISPLAY", ":0")
    assert app._has_desktop()
    for name in ("SPACE_ID", "CI", "SSH_CONNECTION"):
        with monkeypatch.context() as here:
            here.setenv(name, "x")
            assert not app._has_desktop()


def test_the_default_model_loads_behind_the_page_and_says_how_far_it_is():
    go = threading.Event()

    def load(name, progress):
        progress("downloading it", 40, 100)
        go.wait(PATIENCE_S)
        return FakeEngine()

    models = HostedModels(Limits(), load)
    wait_for(lambda: models.state(models.names[0]).fraction == 0.4)
    assert models.engine(models.names[0]) is None
    assert "downloading it, 40%" in models.state(models.names[0]).text
    assert models.state(models.names[0]).offers is None
    go.set()
    wait_for(lambda: models.engine(models.names[0]) is not None)
    assert models.state(models.names[0]).offers == OFFERS
    assert models.state(models.names[0]).text == "Ready: fake-1k, 4 layers × 6 heads, cpu, float32"
    models.close()


def test_a_model_that_fails_says_why_in_the_terminal_too_and_is_tried_again(capsys):
    tries: list[str] = []

    def load(name, progress):
        tries.append(name)
        if len(tries) == 1:
            raise UnknownModel("the hub does not answer.")
        return FakeEngine()

    models = HostedModels(Limits(), load, default="mine")
    wait_for(lambda: models.state("mine").phase == "failed" and models._failures)
    assert models.state("mine").text == "the hub does not answer."
    assert capsys.readouterr().err == "app.py: the hub does not answer.\n"
    with pytest.raises(UnknownModel, match="the hub does not answer"):
        models.engine("mine")
    wait_for(lambda: models.engine("mine") is not None)
    assert tries == ["mine", "mine"]
    models.close()


def test_a_bug_while_loading_is_logged_and_shown_as_one_line(caplog):
    def load(name, progress):
        raise ZeroDivisionError("secret detail")

    models = HostedModels(Limits(), load)
    wait_for(lambda: models.state(models.names[0]).phase == "failed")
    assert "an internal error" in models.state(models.names[0]).text
    assert "secret" not in models.state(models.names[0]).text
    assert "secret detail" in caplog.text


def test_two_models_stay_and_an_idle_one_makes_room_for_a_third():
    engines: dict[str, FakeEngine] = {}

    def load(name, progress):
        engines[name] = FakeEngine(seconds=None)
        return engines[name]

    models = HostedModels(Limits(models=("b", "c")), load, default="a")
    for name in ("a", "b"):
        wait_for(lambda name=name: models.engine(name) is not None)
    run = Job()
    engines["b"].submit(Run(prompt="x", max_new_tokens=4), run)
    wait_for(lambda: run.status.state == "running")
    with pytest.raises(Busy, match="all are in use"):
        models.engine("c")
    run.stop()
    wait_for(lambda: run.status.state == "stopped")
    wait_for(lambda: models.engine("c") is not None)
    assert set(models._engines) == {"a", "c"}
    models.close()


def test_a_model_that_somebody_names_is_downloaded_once_its_size_is_known(monkeypatch):
    loaded: list[str] = []

    def load(name, progress):
        loaded.append(name)
        return FakeEngine(seconds=None)

    sizes = {"org/large": 2_500_000_000}
    monkeypatch.setattr(app, "to_download", lambda name: sizes.get(name, 0))
    models = HostedModels(Limits(), load, default="a", takes_any=True)
    wait_for(lambda: models.engine("a") is not None)
    assert models.engine("org/large") is None
    wait_for(lambda: models.state("org/large").phase == "failed")
    with pytest.raises(NotAllowed, match=r"org/large is not on this machine: its download is 2500\.0 MB"):
        models.engine("org/large")
    assert (loaded, models.names) == (["a"], ("a",))
    wait_for(lambda: models.engine("org/large") is not None)
    assert (loaded, models.names) == (["a", "org/large"], ("a", "org/large"))
    models.close()


@pytest.mark.parametrize(
    ("host", "setting", "takes_any"),
    [
        ("127.0.0.1", {}, True),
        ("localhost", {}, True),
        ("0.0.0.0", {}, False),
        ("127.0.0.1", {"SPACE_ID": "me/space"}, False),
        ("127.0.0.1", {"GRADIO_ROOT_PATH": "/scope"}, False),
    ],
)
def test_any_model_may_be_named_on_a_page_for_this_machine_alone(host, setting, takes_any, monkeypatch):
    for name in ("SPACE_ID", "GRADIO_ROOT_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert app._is_at_home(host) == takes_any


def test_a_model_that_failed_and_that_nobody_asks_for_again_keeps_no_seat():
    def load(name, progress):
        if name == "b":
            raise UnknownModel("the hub does not answer.")
        return FakeEngine(seconds=None)

    models = HostedModels(Limits(models=("b", "c")), load, default="a")
    wait_for(lambda: models.engine("a") is not None)
    assert models.engine("b") is None
    wait_for(lambda: models.state("b").phase == "failed")
    wait_for(lambda: models.engine("c") is not None)
    assert models.state("b").text == "the hub does not answer."
    models.close()


def test_a_model_that_is_loading_keeps_its_seat():
    go = threading.Event()

    def load(name, progress):
        if name == "b":
            go.wait(PATIENCE_S)
        return FakeEngine(seconds=None)

    models = HostedModels(Limits(models=("b", "c")), load, default="a")
    wait_for(lambda: models.engine("a") is not None)
    assert models.engine("b") is None
    with pytest.raises(Busy, match="all are in use"):
        models.engine("c")
    go.set()
    wait_for(lambda: models.engine("b") is not None)
    models.close()


@pytest.mark.parametrize(("system", "shared"), [("posix", True), ("nt", False)])
def test_a_port_is_probed_so_that_a_busy_one_is_seen_on_every_system(system, shared, monkeypatch):
    asked: list[int] = []

    class Probe(socket.socket):
        def setsockopt(self, level, name, *value):
            asked.append(name)

    monkeypatch.setattr(app, "socket", SimpleNamespace(**{**vars(socket), "socket": Probe}))
    monkeypatch.setattr(app, "os", SimpleNamespace(name=system, environ=os.environ))
    choose_port("127.0.0.1", None)
    assert (socket.SO_REUSEADDR in asked) == shared
