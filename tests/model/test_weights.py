"""Weights are found by name, from a folder or the hub, and nothing is opened that could run code of its own."""

# pyright: reportPrivateUsage=false

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.errors import BadWeights, NoSpace, UnknownModel, UnsafeModel
from model.limits import Limits
from model.weights import hub as the_hub
from model.weights import packaged
from model.weights.folders import check_folder
from model.weights.sources import DEFAULT, find
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
GOOD = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "{}"}
WAYS = ("(1)", "(2)", "(3)", "config.json", "hub id", packaged.WHEEL)


def folder_of(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    return Limits(cache=tmp_path / "cache")


def test_no_name_and_the_default_name_are_the_embedded_default(default_folder: Path):
    limits = Limits.from_environment()
    source = find(None, limits)
    assert source == find(DEFAULT, limits)
    assert (source.folder, source.kind, source.name) == (default_folder, "package", "SmolLM2-135M-Instruct")
    assert source.note == "dequantised once from Q4_1 (4-bit) to float32"


# Folders


def test_a_folder_with_a_model_is_found_by_its_path(tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch):
    folder = folder_of(tmp_path / "tiny", GOOD)
    source = find(str(folder), limits)
    assert (source.folder, source.kind, source.name) == (folder, "folder", "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert {find(name, limits).folder for name in ("tiny", "./tiny", "tiny/../tiny", "~/tiny")} == {folder}


@pytest.mark.parametrize(
    ("change", "refusal", "said"),
    [
        ({"config.json": None}, UnknownModel, "holds no config.json"),
        ({"config.json": "{"}, UnknownModel, "JSON"),
        ({"config.json": "[]"}, UnknownModel, "JSON"),
        ({"config.json": "\x00"}, UnknownModel, "JSON"),
        ({"config.json": "[" * 100_000}, UnknownModel, "JSON"),
        ({"model.safetensors": None}, UnknownModel, "holds no weights"),
        ({"tokenizer.json": None}, UnknownModel, "tokenizer"),
        ({"config.json": '{"auto_map": {"AutoModelForCausalLM": "evil.Model"}}'}, UnsafeModel, "auto_map"),
        ({"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": "evil.T"}}'}, UnsafeModel, "auto_map"),
        ({"model.safetensors": None, "pytorch_model.bin": ""}, UnsafeModel, "pytorch_model.bin, a pickle"),
        ({"model.safetensors": None, "consolidated.00.pth": ""}, UnsafeModel, "pickle"),
        (
            {"model.safetensors.index.json": '{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}'},
            BadWeights,
            "model-2.safetensors",
        ),
    ],
)
def test_a_folder_without_a_safe_model_is_refused(tmp_path: Path, change, refusal, said: str):
    folder = folder_of(tmp_path, {name: text for name, text in (GOOD | change).items() if text is not None})
    with pytest.raises(refusal) as caught:
        check_folder(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_link_to_weights_that_are_gone_is_no_weights(tmp_path: Path):
    folder = folder_of(tmp_path, {name: text for name, text in GOOD.items() if name != "model.safetensors"})
    (folder / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(UnknownModel, match="holds no weights"):
        check_folder(folder)


def test_a_file_is_not_a_folder(tmp_path: Path, limits: Limits):
    file = tmp_path / "model.safetensors"
    file.write_text("")
    with pytest.raises(UnknownModel, match="is not a folder"):
        find(str(file), limits)


@pytest.mark.parametrize("name", ["./gone", "../gone", "/gone/away", "~/gone", "a/b/c", "a\\b"])
def test_a_path_that_leads_nowhere_is_not_asked_of_the_hub(name: str, limits: Limits, monkeypatch):
    monkeypatch.setattr(the_hub, "fetched", None)
    with pytest.raises(UnknownModel, match="there is no folder") as caught:
        find(name, limits)
    assert all(way in str(caught.value) for way in WAYS)


# The hub


class Hub:
    """A hub on this machine, with one model in it; it writes down what it was asked for."""

    SHA = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:  # noqa: C901 - one small web server
        self.files = {
            **GOOD,
            "README.md": "read me",
            "onnx/model.safetensors": "copy",
            "consolidated.safetensors": "copy",
        }
        self.asked: list[str] = []
        self.cut = False
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                prefix = f"/org/tiny/resolve/{hub.SHA}/"
                if path.startswith("/api/models/org/tiny/tree/"):
                    listing = [
                        {"type": "file", "oid": name, "path": name, "size": len(hub.files[name])} for name in hub.files
                    ]
                    self.answer(json.dumps(listing))
                elif path.startswith("/api/models/org/tiny"):
                    siblings = [{"rfilename": name, "size": len(text)} for name, text in hub.files.items()]
                    self.answer(json.dumps({"id": "org/tiny", "sha": hub.SHA, "siblings": siblings}))
                elif path.startswith(prefix) and (name := path.removeprefix(prefix)) in hub.files:
                    if self.command == "GET":
                        hub.asked.append(name)
                    self.answer(hub.files[name], name)
                else:
                    self.answer("{}", status=404)

            def answer(self, text: str, etag: str = "", status: int = 200) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("X-Repo-Commit", hub.SHA)
                if status == 404:
                    self.send_header("X-Error-Code", "RepoNotFound")
                if etag:
                    self.send_header("ETag", f'"{etag.replace("/", "-")}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(
                        text[: len(text) // 2 if etag.endswith("model.safetensors") and hub.cut else None].encode()
                    )

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has above
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()
    point_at(served.url, tmp_path, monkeypatch)
    yield served
    served.close()


def point_at(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the hub's library ask this address and keep its cache in the test's folder."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "HF_TOKEN"]:
        monkeypatch.delenv(name)


def test_a_model_of_the_hub_is_fetched_without_what_is_not_needed(hub: Hub, limits: Limits):
    steps: list[tuple[str, int, int]] = []
    source = find("org/tiny", limits, lambda *step: steps.append(step))
    assert (source.kind, source.name) == ("hub", "org/tiny")
    assert "0123456" in source.note
    assert {name: (source.folder / name).read_text() for name in GOOD} == GOOD
    assert sorted(hub.asked) == sorted(GOOD)
    assert steps[-1] == ("downloading org/tiny", 9, 9)  # the two bytes of config.json came before


def test_what_was_fetched_once_is_not_fetched_again_and_works_without_the_hub(hub: Hub, limits: Limits, monkeypatch):
    from huggingface_hub import constants

    first = find("org/tiny", limits)
    hub.asked.clear()
    assert find("org/tiny", limits) == first
    assert hub.asked == []
    hub.close()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert find("org/tiny", limits) == first
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    assert find("org/tiny", limits) == first
    with pytest.raises(UnknownModel, match="HF_HUB_OFFLINE"):
        find("org/other", limits)


def test_a_model_that_brings_code_is_refused_before_its_weights_are_fetched(hub: Hub, limits: Limits):
    hub.files["config.json"] = '{"auto_map": {"AutoModelForCausalLM": "evil.Model"}}'
    with pytest.raises(UnsafeModel, match="auto_map"):
        find("org/tiny", limits)
    assert hub.asked == ["config.json"]


def test_a_model_with_pickled_weights_alone_is_refused_before_anything_is_fetched(hub: Hub, limits: Limits):
    hub.files = {"config.json": "{}", "pytorch_model.bin": "", "tokenizer.json": "{}", "onnx/model.safetensors": ""}
    with pytest.raises(UnsafeModel, match=r"pytorch_model\.bin"):
        find("org/tiny", limits)
    assert hub.asked == []


def test_a_repository_without_a_model_is_refused(hub: Hub, limits: Limits):
    hub.files = {"README.md": "data"}
    with pytest.raises(UnknownModel, match=r"holds no config\.json"):
        find("org/tiny", limits)


def test_an_adapter_is_refused_with_the_name_of_its_base(hub: Hub, limits: Limits):
    hub.files = {
        "adapter_config.json": '{"base_model_name_or_path": "org/base"}',
        "adapter_model.safetensors": "weights",
    }
    with pytest.raises(UnknownModel, match=r"holds an adapter \(peft\) for the model org/base"):
        find("org/tiny", limits)
    assert hub.asked == ["adapter_config.json"]


def test_a_model_too_large_for_the_disk_is_refused_with_both_sizes(hub: Hub, limits: Limits, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(NoSpace, match=r"needs 11 bytes in .*hub.* has 5 free.*HF_HOME"):
        find("org/tiny", limits)
    assert hub.asked == []


def test_an_id_that_the_hub_does_not_know_leaves_three_ways(hub: Hub, limits: Limits):
    with pytest.raises(UnknownModel, match="the hub has no model 'org/none'") as caught:
        find("org/none", limits)
    assert all(way in str(caught.value) for way in WAYS)


@pytest.mark.parametrize(
    "name", ["no spaces allowed", "a..b", "-x", "org/", "a" * 200, "emoji/🙂", "\x00", "https://x"]
)
def test_what_can_be_no_id_is_refused_without_asking(name: str, limits: Limits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(the_hub, "_ask_hub", None)
    with pytest.raises(UnknownModel) as caught:
        find(name, limits)
    assert all(way in str(caught.value) for way in WAYS)


def test_a_hub_that_is_not_there_leaves_three_ways(tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_at(f"http://127.0.0.1:{closed.getsockname()[1]}", tmp_path, monkeypatch)
        with pytest.raises(UnknownModel, match="the hub gave no answer") as caught:
            find("org/tiny", limits)
    assert all(way in str(caught.value) for way in WAYS)


def test_a_hub_that_accepts_and_never_answers_is_left_after_five_seconds(tmp_path: Path, limits: Limits, monkeypatch):
    assert the_hub.HUB_SECONDS == 5
    monkeypatch.setattr(the_hub, "HUB_SECONDS", 0.5)  # for the test
    with ThreadPoolExecutor() as pool, socket.create_server(("127.0.0.1", 0)) as silent:
        point_at(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, monkeypatch)
        asking = pool.submit(find, "org/tiny", limits)
        with pytest.raises(UnknownModel, match=r"the hub gave no answer within 0\.5 seconds"):
            asking.result(PATIENCE_S)


def test_a_name_lookup_that_hangs_is_left_as_well(limits: Limits, monkeypatch: pytest.MonkeyPatch):
    hanging = threading.Event()
    monkeypatch.setattr(the_hub, "HUB_SECONDS", 0.1)
    monkeypatch.setattr(the_hub, "_ask_hub", lambda _: hanging.wait())
    with pytest.raises(UnknownModel, match=r"within 0\.1 seconds"):
        find("org/tiny", limits)
    hanging.set()


def test_a_download_that_breaks_off_says_so_and_goes_on_at_the_next_try(hub: Hub, limits: Limits, monkeypatch):
    from huggingface_hub import file_download

    waits: list[float] = []  # of the library between its own tries
    monkeypatch.setattr(file_download, "time", SimpleNamespace(**{**vars(time), "sleep": waits.append}))
    hub.cut = True
    with pytest.raises(BadWeights, match=r"failed.*Try again"):
        find("org/tiny", limits)
    hub.cut = False
    assert (find("org/tiny", limits).folder / "model.safetensors").read_text() == "weights"


# The command


def test_the_command_prints_the_folder_and_a_refusal_is_one_line_and_exit_code_2(default_folder: Path, tmp_path: Path):
    command = [sys.executable, "-m", "model.weights"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{default_folder}\n")
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = os.environ | {"TOKENOSCOPE_CACHE": str(blocked)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
