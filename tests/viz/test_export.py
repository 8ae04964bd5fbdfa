"""One page from a record of any kind, by the command line and in a notebook: it needs and lets in nothing else."""

import base64
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from model.records.timing import Measurement
from model.records.trace import Settings
from tests.app.fakes_served import drafted
from tests.fakes import fake_trace
from tests.fakes_measured import fake_measurement, fake_trials
from tests.fakes_serving import fake_batching
from tests.viz.framed import HOSTILE, big
from viz import __main__ as cli
from viz import export, markup
from viz.pictures import NOT_HELD, saved
from viz.view import Record, Selection, as_json
from viz.views import account_of, all_views
from viz.wire import packing, parts, recorded, slices

EVIL = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>"
RECORDS = [
    fake_measurement(prompt=EVIL, text=EVIL),
    fake_trials(HOSTILE, (EVIL, "a", "b")),
    fake_batching(words=(EVIL, "a", "b")),
    drafted(f"{EVIL} b", Settings(max_new_tokens=9), ("prompt lookup", "early exit")),
]
NAMES = ["measurement", "trials", "batching", "speculation"]


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
    assert held(page) == parts.all_parts(trace)
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
    beside = held(export.page(trace, light=True))[len(parts.all_parts(trace)) :]
    assert [packing.unpack(each)[0]["layer"] for each in beside] == [4, 14, 24]


def test_a_longer_run_takes_pooled_layers_along_and_the_rows_that_are_seen_first(monkeypatch: pytest.MonkeyPatch):
    trace = big(600, 20)
    size = 9 * 619 * 620 // 2
    monkeypatch.setattr(export, "_POOLED_WEIGHTS", 2 * size)
    beside = held(export.page(trace, light=True))[len(parts.all_parts(trace)) :]
    found = [packing.unpack(each)[0] for each in beside]
    assert found[0]["kind"] == "little"
    layers = [7, 22]
    assert [(each["layer"], each["head"]) for each in found if each["kind"] == "map"] == [
        (layer, head) for layer in layers for head in range(9)
    ]
    rows = [599, *range(603, 619)]  # of the prompt's last token, and of the newest
    assert [(each["layer"], each["position"]) for each in found if each["kind"] == "rows"] == [
        (layer, row) for layer in layers for row in rows
    ]
    assert sum(map(len, beside)) < size  # less than one whole layer


def test_a_notebook_gets_the_page_in_a_frame_that_can_reach_nothing():
    shown = export.notebook_html(fake_trace(HOSTILE, ("a", "b")))
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts allow-downloads"' in shown  # its pictures can be saved
    assert shown.count("<") == 2
    assert len(shown) < 1_100_000  # most of it the page's own scripts


def test_the_command_writes_the_page_where_it_is_told_or_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace")]) == 0
    said, page = capsys.readouterr(), tmp_path / "run.html"
    assert (said.out, said.err) == (f"{page}\n", f"wrote {page}: {page.stat().st_size:,} bytes\n")
    assert (tmp_path / "run.html").read_text(encoding="utf-8") == export.page(trace)
    assert cli.main([str(tmp_path / "run.trace"), "-o", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "run.html").read_bytes()


def test_a_run_for_the_app_comes_as_two_files(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "-o", str(tmp_path / "1-a-fact.frames")]) == 0
    (run,) = recorded.load(tmp_path).values()
    assert (run.label, run.prompt, run.chat) == ("a fact", trace.prompt, False)
    assert list(run.frames) == parts.all_parts(trace)
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


def pictures(frames: list[bytes]) -> list[dict[str, Any]]:
    """What the page holds of pictures that are drawn in Python."""
    found = [packing.unpack(frame)[0] for frame in frames]
    return [each for each in found if each["kind"] == "picture"]


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_page_holds_every_picture_in_both_modes_and_lets_no_text_in(record: Record):
    page = export.page(record)
    about, drawn = packing.unpack(held(page)[0])[0], pictures(held(page))
    assert held(page) == saved(record)
    shown = [each.name for each in all_views(type(record)) if not each.missing(record)]
    assert [each["name"] for each in about["views"]] == [each.name for each in all_views(type(record))]
    assert about["facts"] == account_of(record).facts(record)
    for dark in (False, True):
        assert [*dict.fromkeys(each["name"] for each in drawn if each["dark"] in (dark, None))] == shown
    for each in drawn:
        assert (each["picture"]["figure"] is None) == (each["dark"] is None)
    ours = page.replace(get_plotlyjs(), "")
    assert ours.count("<script") == ours.count("</script>") == 3
    assert "<img" not in ours and "<script>alert" not in ours
    assert not re.findall(r"\b(?:src|href)=[\"'h]", ours.split("<script")[0].replace(markup.text(EVIL), ""))


def test_pictures_come_in_the_order_in_which_they_teach():
    names = [each.name for each in all_views(Measurement)]
    firsts = [names.index(name) for name in ("glance", "phases", "cache_race", "roofline", "memory_bill")]
    assert firsts == sorted(firsts) and firsts[0] == 0


def test_the_bill_follows_the_load():
    record = fake_measurement()

    def all_of(users: int) -> dict[str, str]:
        at = Selection(users=users)
        return {each.name: as_json(each, record, at, "light") for each in all_views(Measurement)}

    one, again, other = all_of(1), all_of(1), all_of(7)
    assert one == again
    changed = [each.follows for each in all_views(Measurement) if one[each.name] != other[each.name]]
    assert changed == ["load", "load"]


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_command_opens_each_kind_of_record(tmp_path: Path, capsys: pytest.CaptureFixture[str], record: Any):
    record.save(tmp_path / "some.record")
    assert cli.main([str(tmp_path / "some.record")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "some.html")
    assert (tmp_path / "some.html").read_text(encoding="utf-8") == export.page(record)


@pytest.mark.parametrize("more", [["--light"], ["--charts"], ["-o", "x.frames"]])
def test_what_is_for_a_run_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]):
    RECORDS[0].save(tmp_path / "some.record")
    assert cli.main([str(tmp_path / "some.record"), *more]) == 2
    assert "holds a Measurement" in capsys.readouterr().err


def test_a_damaged_record_is_refused_for_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    RECORDS[0].save(tmp_path / "some.record")
    whole = (tmp_path / "some.record").read_bytes()
    (tmp_path / "some.record").write_bytes(whole[:-8])
    assert cli.main([str(tmp_path / "some.record")]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "bytes" in said and "not a Trace" not in said


def test_a_record_on_its_way_makes_a_page_too():
    early = saved(fake_measurement(phases=False, race=False, batch=False))
    about, drawn = packing.unpack(early[0])[0], pictures(early)
    missing = {each["name"] for each in about["views"] if each["missing"]}
    assert len(missing) >= 6 and not missing & {each["name"] for each in drawn}
    cut = packing.unpack(saved(replace(fake_measurement(n_new=1), notes=("cut short.",)))[0])[0]
    assert "cut short." in cut["facts"]


def test_a_page_opens_on_what_was_selected_or_is_worth_looking_at_first():
    record = fake_batching()
    first = account_of(record).first(record)
    assert packing.unpack(saved(record)[0])[0]["at"]["tick"] == first.tick
    at = packing.unpack(saved(record, Selection(tick=2, layer=1, head=3))[0])[0]["at"]
    assert at == {"tick": 2, "layer": 1, "head": 3}
    (drawn, _) = [each for each in pictures(saved(record, Selection(tick=2))) if each["name"] == "packed_attention"]
    assert drawn["at"] == {}


def test_the_facts_tell_how_texts_were_served():
    record = fake_batching()
    told = account_of(record).facts(record)
    times = "A at the start, B after 10.0 ms, C at the start, D after 350 ms"
    assert f"Arrivals: {times}: 8.57 a second on average" in told
    assert "Engine: a tick reads at most 8 tokens (the token budget) of at most 4 texts; prefix caching is on" in told
    assert "Cache: 9 blocks of 4 tokens, 184 kB each" in told
    written = "new tokens at most: A 4, B 3, C 3, D 3"
    assert f"Settings: temperature 0; {written}; prompts as typed, without a chat template" in told
    chat = replace(
        record,
        prefix_caching=False,
        settings=replace(record.settings, chat=True),
        requests=tuple(replace(each, arrives_s=0.0) for each in record.requests),
    )
    said = " ".join(account_of(chat).facts(chat))
    assert "caching is off" in said and "in the model's chat template" in said and "Arrivals: all at the start" in said


def test_the_facts_tell_how_a_draft_was_made():
    drawn = Settings(max_new_tokens=9, temperature=0.7, top_p=0.9, seed=5)
    told = account_of(RECORDS[3]).facts(drafted("a b", drawn, ("prompt lookup", "early exit")))
    assert (
        "Settings: temperature 0.7, top-p 0.9, seed 5; at most 3 drafted tokens a round; at most 9 new tokens; "
        "prompts as typed, without a chat template"
    ) in told
    greedy = drafted("a b", Settings(max_new_tokens=9, chat=True), ("prompt lookup",))
    assert "temperature 0, seed 0 (not used: greedy decoding); " in " ".join(account_of(RECORDS[3]).facts(greedy))
    assert "chat template" in " ".join(account_of(RECORDS[3]).facts(replace(greedy, attempts=())))
    two = replace(greedy, attempts=(*greedy.attempts, replace(greedy.attempts[0], n_draft=5)))
    assert "at most 3, 5 drafted tokens a round" in " ".join(account_of(RECORDS[3]).facts(two))


def test_the_page_of_a_long_run_holds_its_beginning_its_end_and_what_is_seen_first():
    short, n = fake_batching(), 1000
    some = [replace(short.ticks[min(i // 200, 2)], weights_at=None) for i in range(n)]  # none preempts
    most = 600
    third = some[400]
    some[most] = replace(third, scheduled=(*third.scheduled, replace(third.scheduled[0], request=3, n_tokens=1)))
    long = replace(short, ticks=tuple(some), schedulers=())

    def blocks(frames: list[bytes]) -> dict[int, dict[str, Any]]:
        return {each["at"]["tick"]: each for each in pictures(frames) if each["name"] == "blocks"}

    def note(frames: list[bytes]) -> str:
        return next(each.get("note", "") for each in packing.unpack(frames[0])[0]["views"] if each["name"] == "blocks")

    frames = saved(long)
    drawn = blocks(frames)
    assert list(drawn) == list(range(n)) and all(each["words"] for each in drawn.values())
    kept = [tick for tick, each in drawn.items() if each["picture"]["html"]]
    assert kept == [*range(300), most, *range(900, n)]
    assert {each["picture"]["missing"] for tick, each in drawn.items() if tick not in kept} == {NOT_HELD}
    assert "the first 300 and the last 100 ticks, and of tick 600." in note(frames)
    other = saved(long, Selection(tick=450, layer=1))
    assert "and of tick 450." in note(other)
    assert blocks(other)[450]["picture"]["html"] and not blocks(other)[most]["picture"]["html"]
    whole = saved(replace(short, ticks=tuple(some[:400]), schedulers=()))
    assert not note(whole) and all(each["picture"]["html"] for each in blocks(whole).values())
