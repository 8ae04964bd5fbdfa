"""One page from a measured record, from Python and from the command line; it needs nothing else and lets nothing in."""

import json
import re
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
from tests.viz.test_frames import HOSTILE
from viz import __main__ as cli
from viz import export, markup, measured_page
from viz.view import Load, Pick
from viz.views import all_views

EVIL = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>"
RECORDS = [
    fake_measurement(prompt=EVIL, text=EVIL),
    fake_trials(HOSTILE, (EVIL, "a", "b")),
    fake_batching(words=(EVIL, "a", "b")),
    drafted(f"{EVIL} b", Settings(max_new_tokens=9), ("prompt lookup", "early exit")),
]
NAMES = ["measurement", "trials", "batching", "speculation"]


def held(page: str) -> dict[str, Any]:
    return json.loads(page.split('id="pictures">')[1].split("</script>")[0])


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_page_holds_every_picture_in_both_modes_and_lets_no_text_in(
    record: measured_page.Measured,
):
    page = measured_page.measured_page(record)
    names = [each.name for each in measured_page.views_of(type(record))]
    assert sorted(names) == sorted(each.name for each in all_views(type(record)))
    for mode in ("light", "dark"):
        assert [each["name"] for each in held(page)[mode]] == names
    for each in held(page)["light"]:
        assert (f'id="{each["name"]}"' in page) == (each["figure"] is not None)
    assert "<" not in page.split('id="pictures">')[1].split("</script>")[0]
    ours = page.replace(get_plotlyjs(), "")
    assert ours.count("<script") == ours.count("</script>") == 3 + ('id="steps"' in ours)
    assert "<img" not in ours and "<script>alert" not in ours
    assert not re.findall(r"\b(?:src|href)=[\"'h]", ours.split("<script")[0].replace(markup.text(EVIL), ""))


def test_the_policy_lets_these_scripts_and_these_styles_run_and_no_other():
    page = measured_page.measured_page(RECORDS[0])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "unsafe" not in policy[1] and "default-src 'none'" in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    assert all(markup.integrity(each) in policy[1] for each in scripts)
    style = page.split("<style>")[1].split("</style>")[0]
    assert markup.integrity(style) in policy[1] and policy[1].count("sha256-") == 4


def test_pictures_come_in_the_order_in_which_they_teach():
    names = [each.name for each in measured_page.views_of(Measurement)]
    firsts = [names.index(name) for name in ("phases", "cache_race", "roofline", "memory_bill")]
    assert firsts == sorted(firsts) and firsts[0] == 0


def test_the_bill_follows_the_load():
    record = fake_measurement()
    pages = [measured_page.pictures(record, Load(users=users), "light") for users in (1, 1, 7)]
    one, again, other = ([json.dumps(each) for each in json.loads(page)] for page in pages)
    assert one == again
    changed = [json.loads(a)["follows"] for a, b in zip(one, other, strict=True) if a != b]
    assert changed == ["load", "load"]


@pytest.mark.parametrize("record", RECORDS, ids=NAMES)
def test_the_command_opens_each_kind_of_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: measured_page.Measured
):
    record.save(tmp_path / "some.record")
    assert cli.main([str(tmp_path / "some.record")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "some.html")
    assert (tmp_path / "some.html").read_text(encoding="utf-8") == measured_page.measured_page(record)


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
    page = measured_page.measured_page(fake_measurement(phases=False, race=False, batch=False))
    assert page.count('class="ts-empty"') >= 6
    assert not held(page)["light"][0]["figure"]
    assert measured_page.measured_page(replace(fake_measurement(n_new=1), notes=("cut short.",))).count("cut short.")


def test_a_run_still_makes_its_own_page(tmp_path: Path):
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    assert cli.main([str(tmp_path / "run.trace"), "--light"]) == 0
    assert (tmp_path / "run.html").read_text(encoding="utf-8") == export.page(trace, light=True)


def test_the_facts_tell_how_texts_were_served():
    record = fake_batching()
    told = measured_page.facts(record)
    times = "A at the start, B after 10.0 ms, C at the start, D after 350 ms"
    assert f"Asked for: {times}: 8.57 a second on average" in told
    assert (
        "Engine: a tick reads at most 8 tokens (token budget) of at most 4 texts; sharing of blocks by prompts "
        "that begin alike: on"
    ) in told
    assert "Cache: 9 blocks of 4 tokens, 184 kB each" in told
    written = "tokens to write at most: A 4, B 3, C 3, D 3"
    assert f"Settings: temperature 0; {written}; prompts as typed, no chat template" in told
    chat = replace(
        record,
        sharing=False,
        settings=replace(record.settings, chat=True),
        requests=tuple(replace(each, arrives_s=0.0) for each in record.requests),
    )
    said = " ".join(measured_page.facts(chat))
    assert "alike: off" in said and "in the model's chat template" in said and "Asked for: all at the start" in said


def test_the_facts_tell_how_a_draft_was_made():
    drawn = Settings(max_new_tokens=9, temperature=0.7, top_p=0.9, seed=5)
    told = measured_page.facts(drafted("a b", drawn, ("prompt lookup", "early exit")))
    assert (
        "Settings: temperature 0.7, top-p 0.9, seed 5; at most 3 guesses a round; at most 9 tokens to write; "
        "prompts as typed, no chat template"
    ) in told
    greedy = drafted("a b", Settings(max_new_tokens=9, chat=True), ("prompt lookup",))
    assert "temperature 0, seed 0 (nothing is drawn); " in " ".join(measured_page.facts(greedy))
    assert "chat template" in " ".join(measured_page.facts(replace(greedy, attempts=())))
    two = replace(greedy, attempts=(*greedy.attempts, replace(greedy.attempts[0], n_draft=5)))
    assert "at most 3 or 5 guesses a round" in " ".join(measured_page.facts(two))


def test_the_page_of_a_long_run_holds_its_beginning_its_end_and_what_is_seen_first():
    short, n = fake_batching(), 1000
    some = [replace(short.ticks[min(i // 200, 2)], weights_at=None) for i in range(n)]  # none puts back
    most = 600
    third = some[400]
    some[most] = replace(third, shares=(*third.shares, replace(third.shares[0], request=3, n_tokens=1)))
    page = measured_page.measured_page(replace(short, ticks=tuple(some), ways=()))
    bodies = dict(re.findall(r'data-shown-at="tick=(\d+)" hidden>(.*?)</div>', page))
    assert list(map(int, bodies)) == list(range(n))
    held = [int(tick) for tick, body in bodies.items() if "ts-blocks" in body]
    assert held == [*range(300), most, *range(900, n)]
    assert all("does not hold this picture" in bodies[str(tick)] for tick in set(range(n)) - set(held))
    assert "the first 300 and of the last 100 ticks of a run as long as this, and of tick 601, which" in page
    other = measured_page.measured_page(replace(short, ticks=tuple(some), ways=()), Pick(tick=450, layer=1))
    assert "and of tick 451, which it shows first" in other
    assert 'data-shown-at="tick=450" hidden><p class="ts-told">' in other
    whole = measured_page.measured_page(replace(short, ticks=tuple(some[:400]), ways=()))
    assert "does not hold" not in whole and whole.count("ts-blocks") > 400
    assert len(page) < len(whole) * 1.5


def test_what_stands_in_a_card_is_not_held_twice():
    for record in RECORDS:
        for each in held(measured_page.measured_page(record))["dark"]:
            assert set(each) == {"name", "figure"}
