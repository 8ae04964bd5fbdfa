"""One page from one run, from the command line and in a notebook; refusals are one line and exit code 2."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from tests.fakes import fake_trace
from tests.viz.test_frames import HOSTILE, big
from viz import __main__ as cli
from viz import export, markup
from viz.wire import frames, packing, recorded, slices


def held(page: str) -> list[bytes]:
    """The frames in a page."""
    return packing.split(base64.b64decode(page.split('id="frames">')[1].split("<")[0]))


def kinds(page: str) -> list[tuple[str, int | None]]:
    """What was put beside the run's own frames: vectors and logits, by number."""
    found = [packing.unpack(frame)[0] for frame in held(page)]
    return [
        (each["kind"], each.get("layer", each.get("index"))) for each in found if each["kind"] in ("vectors", "logits")
    ]


def test_a_whole_page_brings_plotly_and_what_some_pictures_unfold():
    trace = fake_trace(HOSTILE, ("a", "b"))
    page = export.page(trace)
    assert kinds(page) == [("logits", 0), ("logits", 1), *(("vectors", layer) for layer in range(4))]
    assert held(page)[-1] == slices.vectors(trace, 3, small=True)
    assert f'<script type="text/plain" id="plotly-js">{get_plotlyjs()}</script>' in page
    light = export.page(trace, light=True)
    assert kinds(light) == []
    assert 'id="plotly-js"' not in light
    assert len(page) - len(light) > len(get_plotlyjs())


@pytest.mark.parametrize(
    ("room", "n_logits", "layers"),
    [
        (20, 6, [0, 1, 2, 3]),  # everything fits
        (8.4, 4, [0, 2]),  # half for each
        (3, 1, [2]),
        (0.5, 0, []),
    ],
)
def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch, room: float, n_logits: int, layers: list[int]):
    trace = fake_trace(("a", "b", "c"), ("d", "e", "f", "g", "h", "i"), d_vocab=300)
    one = len(slices.logits(trace, 0, small=True))
    assert 1.5 < len(slices.vectors(trace, 0, small=True)) / one < 2.1
    monkeypatch.setattr(export, "_DEEP_BYTES", int(room * one))
    assert kinds(export.page(trace)) == [*(("logits", i) for i in range(n_logits)), *(("vectors", i) for i in layers)]


def test_the_page_holds_every_frame_and_asks_for_nothing():
    trace = fake_trace(HOSTILE, ("a", "b"))
    page = export.page(trace, light=True)
    assert held(page) == frames.all_frames(trace)
    assert not re.findall(r"\b(?:src|href)=", page.split("<script")[0])
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.findall(r"^\s*(?:import|export) ", page, re.MULTILINE)


def test_the_policy_lets_this_script_and_this_style_run_and_no_other():
    page = export.page(fake_trace())
    library = page.split('id="plotly-js">')[1].split("</script>")[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    script, style = page.rsplit("<script>", 1)[1].split("</script>")[0], page.split("<style>")[1].split("</style>")[0]
    assert markup.integrity(script) in policy[1]
    assert markup.integrity(library) in policy[1]
    assert policy[1].count("sha256-") == 4
    assert export.page(fake_trace(), light=True).count("sha256-") == 2
    assert markup.integrity(style) in policy[1]


def test_a_long_run_takes_whole_layers_along_as_far_as_they_fit(monkeypatch: pytest.MonkeyPatch):
    trace = big(300, 2)
    size = 9 * 301 * 302 // 2
    monkeypatch.setattr(export, "_LAYER_BYTES", 3 * size)
    beside = held(export.page(trace, light=True))[len(frames.all_frames(trace)) :]
    assert [packing.unpack(each)[0]["layer"] for each in beside] == [4, 14, 24]


def test_a_notebook_gets_the_page_in_a_frame_that_can_reach_nothing():
    shown = export.notebook_html(fake_trace(HOSTILE, ("a", "b")))
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts"' in shown
    assert shown.count("<") == 2
    assert len(shown) < 1_000_000


def test_the_command_writes_the_page_where_it_is_told_or_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run.html")
    assert (tmp_path / "run.html").read_text(encoding="utf-8") == export.page(trace)
    assert cli.main([str(tmp_path / "run.trace"), "-o", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "run.html").read_bytes()


def test_a_run_for_the_app_comes_as_two_files(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "-o", str(tmp_path / "1-a-fact.frames")]) == 0
    (run,) = recorded.load(tmp_path).values()
    assert (run.label, run.prompt, run.chat) == ("a fact", trace.prompt, False)
    assert list(run.frames) == frames.all_frames(trace)
    assert [run.part("vectors", i) for i in range(4)] == [slices.vectors(trace, i, small=True) for i in range(4)]
    assert [run.part("logits", i) for i in range(4)] == [slices.logits(trace, i, small=True) for i in range(4)]


def test_a_light_page_is_what_the_command_makes_when_asked(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "--light"]) == 0
    assert (tmp_path / "run.html").read_text(encoding="utf-8") == export.page(trace, light=True)


def test_charts_come_when_asked_for(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "--charts"]) == 0
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot(" in page
    assert "bertviz head view" in page
    assert page.count('id="plotly-js"') == 1
    assert page.count(get_plotlyjs()) == 1
    assert "Plotly.newPlot(" not in export.page(trace, light=True)


@pytest.mark.parametrize("bytes_of_file", [None, b"", b"no trace at all", b"\x00" * 64])
def test_a_refusal_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bytes_of_file: bytes | None
):
    path = tmp_path / "bad.trace"
    if bytes_of_file is not None:
        path.write_bytes(bytes_of_file)
    assert cli.main([str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "bad.html").exists()


def test_a_page_that_cannot_be_written_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fake_trace().save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "-o", str(tmp_path / "no" / "page.html")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_command_runs_as_a_module_and_prints_to_a_pipe(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    root = Path(cli.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "viz", tmp_path / "run.trace", "-o", "-"],
        cwd=root,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.decode("utf-8") == export.page(trace)
