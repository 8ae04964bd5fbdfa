"""The pictures of served texts: every text and block is in them, what is 0 is told as 0, text is inert."""

# pyright: reportPrivateUsage=false

import gc
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from model.errors import NotShown
from model.records.batching import Batching, BlockTable, ScheduledChunk
from model.records.products import FewRows
from tests.app.fakes_served import served as other
from tests.fakes_serving import BUDGET, IDLE, N_BLOCKS, PREEMPTED, PROMPTS, fake_batching
from tests.viz.drawn_serving import STORY, TEXTS, VIEWS, cells, drawn
from tests.viz.framed import HOSTILE
from viz import markup, served, theme
from viz.export import page
from viz.view import Selection, View, as_json
from viz.views.batching.account import ACCOUNT


def test_they_stand_in_the_order_in_which_they_teach():
    assert list(VIEWS) == [
        "serving_glance",
        "lanes",
        "blocks",
        "packed_attention",
        "schedulers",
        "schedulers_table",
        "texts_table",
    ]
    assert [each.follows for each in VIEWS.values() if each.follows != "nothing"] == ["tick", "pick"]
    assert [each.name for each in VIEWS.values() if each.glance] == ["serving_glance"]


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("shown", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("n", [0, 1, None])
def test_a_record_that_grows_draws_or_says_why(shown: View, mode: theme.Mode, n: int | None):
    told = json.loads(as_json(shown, fake_batching(n_ticks=n, n_schedulers=3 if n is None else n), Selection(), mode))
    assert [told[part] is not None for part in ("figure", "html", "missing")].count(True) == 1
    assert (told["missing"] is not None) == (n == 0)
    assert "NaN" not in json.dumps(told["figure"])
    assert all(
        size >= 14 for size in re.findall(r'"font": {[^}]*"size": (\d+)', json.dumps(told)) for size in [int(size)]
    )


def test_what_the_host_measured_of_a_few_rows_is_told_and_kept(tmp_path):
    """A file of an earlier version, or of a host that measured nothing, says nothing of it."""
    assert not any("Measured here" in each for each in ACCOUNT.facts(STORY))
    two = FewRows(n_rows=2, linear=1.71, taken=1.09, share_turned=0.8)
    three = FewRows(n_rows=3, linear=2.14, taken=1.2, share_turned=1.0)
    record = replace(STORY, products=(two, three))
    (said,) = [each for each in ACCOUNT.facts(record) if "Measured here" in each]
    assert "over 2 and 3 tokens take 1.09 and 1.20 times" in said and "would be 1.71 and 2.14" in said
    plain = replace(STORY, products=(replace(two, taken=1.71, share_turned=0.0),))
    (said,) = [each for each in ACCOUNT.facts(plain) if "Measured here" in each]
    assert "over 2 tokens take 1.71 times" in said and "Torch's own product was the fastest" in said
    record.save(tmp_path / "a.batching")
    again = Batching.open(tmp_path / "a.batching").products
    assert [(each.n_rows, each.taken) for each in again] == [(2, 1.09), (3, 1.2)]


def test_large_numbers_and_a_conclusion_stand_first():
    html = drawn("serving_glance")
    together, apart = STORY.schedulers[0], STORY.schedulers[2]
    most = max(
        len({block for table in tick.block_tables if table.request not in tick.freed for block in table.blocks})
        for tick in STORY.ticks
    )
    largest = max(len(each.scheduled) for each in STORY.ticks)
    large = re.findall("<strong>(.*?)</strong>", html)
    assert large == [f"\u00d7{together.rate / apart.rate:#.3g}", str(largest), f"{most} of {N_BLOCKS}"]
    took, alone = theme.duration(together.total_s), theme.duration(apart.total_s)
    assert f"4 texts together took {took}; one after another, {alone}." in html
    assert "The last text arrived after 350 ms." in html and "The texts are the same." in html
    assert "ts-late" not in html and "vary" not in html


def test_a_conclusion_is_as_sure_as_the_runs_and_waits_for_them():
    together, static, apart = STORY.schedulers
    unclear = replace(
        STORY, schedulers=(replace(together, seconds=(1.0, 2.0, 3.0)), static, replace(apart, seconds=(1.1, 1.9, 3.1)))
    )
    assert "Runs vary too much to say which is faster." in drawn("serving_glance", unclear)
    other = replace(together, same_tokens=(True, False, True, False))
    said = drawn("serving_glance", replace(STORY, schedulers=(other, static, apart)))
    assert "2 texts differ from those that the model writes alone." in said and "The texts are the same." not in said
    for some in ((), (together,), (together, static)):
        said = drawn("serving_glance", replace(STORY, schedulers=some))
        assert '<span class="ts-late">not measured</span>' in said and "ts-glance-answer" not in said


def test_where_static_batching_was_quicker_its_difference_is_told():
    together, static, apart = STORY.schedulers
    quicker = replace(static, seconds=tuple(each / 2 for each in together.seconds))
    assert "Static batching took" not in drawn("serving_glance", replace(STORY, schedulers=(quicker, apart)))
    told = drawn("serving_glance", replace(STORY, schedulers=(together, quicker, apart)))
    padding = theme.percent(static.n_padding / static.n_read)
    assert f"Static batching took {theme.duration(quicker.total_s)}: it read each prompt whole, with {padding}" in told
    slower = replace(static, seconds=tuple(each * 2 for each in together.seconds))
    assert "Static batching took" not in drawn("serving_glance", replace(STORY, schedulers=(together, slower, apart)))


def test_a_text_that_is_not_scheduled_is_told_why():
    tick = replace(
        STORY.ticks[0], scheduled=(ScheduledChunk(request=0, phase="decode", first=3, n_tokens=2, written=None),)
    )
    one = replace(STORY, ticks=(tick,), max_requests=1, schedulers=())
    free, n_tokens = replace(one, max_requests=4), STORY.n_blocks * STORY.block_size
    looks_at_all = replace(tick, scheduled=(replace(tick.scheduled[0], first=n_tokens),))
    for record, why in (
        (one, "1 text is scheduled, the limit of a tick"),
        (replace(one, token_budget=2), "the token budget of 2 is used up"),
        (free, "too few blocks are free: the engine reserves some"),
        (replace(free, ticks=(looks_at_all,)), f"a tick attends to at most {n_tokens} cached tokens"),
    ):
        assert served.why_not(record, record.ticks[0], 1).startswith(why)
        assert f"waiting: {why}" in drawn("blocks", record) and f"waiting: {why}" in drawn("lanes", record)


def test_what_a_text_holds_counts_against_the_tokens_that_a_tick_attends_to():
    n_tokens, own = STORY.n_blocks * STORY.block_size, BlockTable(request=1, blocks=(0,), n_tokens=2)
    for first, why in ((n_tokens - 2, "too few blocks"), (n_tokens - 1, "a tick attends to at most")):
        chunk = ScheduledChunk(request=0, phase="decode", first=first, n_tokens=1, written=None)
        tick = replace(STORY.ticks[0], scheduled=(chunk,), block_tables=(own,))
        assert served.why_not(replace(STORY, max_requests=4), tick, 1).startswith(why)


def test_every_text_has_a_lane_and_every_tick_its_place():
    html = drawn("lanes")
    for request in TEXTS:
        assert f'data-pick="request={request}"' in html
    assert re.findall(r'data-pick="tick=(\d+)"', html) == [str(i) for i in range(len(STORY.ticks))]
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall("<tr.*?</tr>", body)
    assert [len(cells(row, "td")) for row in rows] == [len(STORY.ticks)] * len(TEXTS)


def test_a_lane_says_what_the_tick_did():
    for request in TEXTS:
        for tick, state in zip(STORY.ticks, served.doing(STORY, request), strict=True):
            chunk = served.chunk_of(tick, request)
            assert (chunk is not None) == (state in ("prefill", "decode"))
            assert state != "waiting" or request in tick.waiting
    assert served.doing(STORY, IDLE[1])[IDLE[0]] == "idle"
    assert served.doing(STORY, PREEMPTED[1])[PREEMPTED[0]] == "preempted"
    html = drawn("lanes")
    lane = re.findall("<tr.*?</tr>", html.partition("<tbody>")[2])[2]
    assert cells(lane, "td") == ["2", "7", "", "\u21a9", "\u00b7\u00b7\u00b7", "7", "\u2016", "4\u2713"]
    assert "C was preempted" in html and "B found its first 4 tokens" in html
    over = [
        chunk
        for tick in STORY.ticks
        for chunk in tick.scheduled
        if chunk.request in tick.freed and chunk.request not in tick.preempted
    ]
    assert len(over) == len(PROMPTS) and {chunk.phase for chunk in over} == {"prefill", "decode"}
    assert html.count("\u2713") == 1 + len(over)
    assert ['title="reads 4, writes its last token"' in html, html.count("writes its last token")] == [True, len(over)]


def test_texts_that_read_the_same_at_once_are_not_told_to_have_found_it():
    assert "the same prefix, but each read" not in drawn("lanes")
    tables = tuple(BlockTable(request=i, blocks=(8, 7 - i), n_tokens=6) for i in (0, 1))
    chunks = tuple(ScheduledChunk(request=i, phase="prefill", first=0, n_tokens=4, written=None) for i in (0, 1))
    once = replace(
        STORY.ticks[0],
        scheduled=chunks,
        block_tables=tables,
        shared_blocks=((8, 2),),
        n_free_blocks=6,
        cached_blocks=(),
        weights_at=None,
    )
    html = drawn("lanes", replace(STORY, ticks=(once, once), schedulers=()))
    assert html.count("A and B have the same prefix, but each read it itself") == 1 and "found its first" not in html
    found = replace(once, n_cached_tokens=((1, 4),))
    html = drawn("lanes", replace(STORY, ticks=(found, once), schedulers=()))
    assert "the same prefix, but each read" not in html and "B found its first 4 tokens" in html


def test_a_bar_is_as_high_as_its_share_of_the_budget():
    html = drawn("lanes")
    bars = re.findall(r'<span class="ts-stack">(.*?)</span>(\d+)<span class="ts-number">', html)
    for (bar, count), tick in zip(bars, STORY.ticks, strict=True):
        heights = [int(each) for each in re.findall(r"ts-h(\d+)", bar)]
        assert int(count) == tick.n_tokens
        assert sum(heights) == round(tick.n_tokens / BUDGET * 24)
    few = replace(other(("a b",), (2,)), token_budget=4000)
    assert 'class="ts-r0 ts-h1"' in drawn("lanes", few)


@pytest.mark.parametrize("budget", [8, 24, 40, 64, 200, 4000])
@pytest.mark.parametrize("counts", [(1, 1, 1), (7, 1), (1, 1, 6), (3, 2, 2, 1), (8,), (1,) * 6])
def test_every_chunk_of_a_tick_is_seen_in_its_bar(counts: tuple[int, ...], budget: int):
    chunks = tuple(
        ScheduledChunk(request=i, phase="decode", first=9, n_tokens=n, written=None) for i, n in enumerate(counts)
    )
    tick = replace(
        STORY.ticks[0],
        scheduled=chunks,
        weights_at=None,
        block_tables=(),
        freed=(),
        n_free_blocks=N_BLOCKS,
        cached_blocks=(),
    )
    record = replace(STORY, token_budget=budget, requests=STORY.requests * 2, schedulers=(), ticks=(tick,))
    (bar,) = re.findall(r'<span class="ts-stack">(.*)</span>\d+<span class="ts-number">', drawn("lanes", record))
    assert {int(each) for each in re.findall(r"ts-r(\d)", bar)} == set(range(len(counts)))
    heights = [int(each) for each in re.findall(r"ts-h(\d+)", bar)]
    column = max(round(sum(counts) / budget * 24), 1)
    assert sum(heights) == column and min(heights) >= 1
    if column >= len(counts):
        exact = [column * each / sum(counts) for each in reversed(counts)]
        assert all(abs(step - each) < 1 or step == 1 for step, each in zip(heights, exact, strict=True))


@pytest.mark.parametrize("number", range(len(STORY.ticks)))
def test_every_block_is_drawn_once_with_whose_it_is(number: int):
    tick, html = STORY.ticks[number], drawn("blocks", tick=number)
    drawn_blocks = [each.split(" ", 1) for each in cells(html, "li")]
    assert [int(each[0]) for each in drawn_blocks] == list(range(N_BLOCKS))
    users: dict[int, str] = {}
    for table in tick.block_tables:
        for block in table.blocks if table.request not in tick.freed else ():
            users[block] = users.get(block, "") + served.letter(table.request)
    kept = {int(block): rest[0] for block, *rest in drawn_blocks if rest and rest[0].startswith("(")}
    assert {int(block): rest[0] for block, *rest in drawn_blocks if rest and int(block) not in kept} == users
    assert kept.keys() == set(tick.cached_blocks) - users.keys()
    assert sum(len(each) == 1 for each in drawn_blocks) == tick.n_free_blocks
    assert html.count("ts-shared") == len(tick.shared_blocks)
    shown = [set(re.findall(r"data-request=(\d+)", each)) for each in re.findall("<li.*?</li>", html)]
    assert [{served.letter(int(each)) for each in some} for some in shown] == [
        set(users.get(block, "")) for block in range(N_BLOCKS)
    ]
    assert f"{len(users)} of {N_BLOCKS} blocks are in use after this tick, {tick.n_free_blocks} free" in html
    rows = re.findall("<tr data-request.*?</tr>", html)
    assert [cells(row, "th") for row in rows] == [[served.letter(request)] for request in TEXTS]
    for table in tick.block_tables:
        assert f"<td>{', '.join(map(str, table.blocks))}" in rows[table.request]


def test_the_last_block_is_as_full_as_it_is_and_a_kept_one_says_whose_it_was():
    third = drawn("blocks", tick=2)
    assert '<li class="ts-r1 ts-f6" data-request=1>3 B</li>' in third  # 3 of 4
    assert '<li class="ts-r2 ts-f4" data-request=2>4 C</li>' in third  # 2 of 4
    bar = "<span class=ts-r0 data-request=0></span><span class=ts-r1 data-request=1></span>"
    assert f'<li class="ts-shared">8 AB<span class=ts-users>{bar}</span></li>' in third
    assert "which saves 1 (184 kB). A and B share block 8 (2 users), which holds" in third and "share" not in drawn(
        "blocks", tick=5
    )
    assert "the last holds 3 of 4 tokens" in third and "1 shared, which saves 1 (184 kB)" in third
    assert "<li class=ts-kept>7 (A)</li>" in drawn("blocks", tick=3)
    assert "C was preempted: its blocks were freed." in drawn("blocks", tick=3)
    two = replace(STORY, ticks=(*STORY.ticks[:3], replace(STORY.ticks[3], preempted=(1, 2))))
    assert "B and C were preempted: their blocks were freed." in drawn("blocks", two, tick=3)


def test_without_prefix_caching_no_words_say_that_texts_share():
    off = replace(fake_batching(n_ticks=1), prefix_caching=False)
    assert "Prefix caching is off: texts with the same prefix each hold their own copy." in drawn("blocks", off)
    assert "Prefix caching is off" not in drawn("blocks") and "of one text" not in drawn("blocks")
    assert "Texts that begin alike share" not in VIEWS["blocks"].caption


def test_a_block_that_many_share_tells_every_one_of_them():
    tables = tuple(BlockTable(request=i, blocks=(0, 3, 4 + i), n_tokens=9) for i in range(4))
    crowd = replace(
        STORY,
        schedulers=(),
        ticks=(replace(STORY.ticks[0], block_tables=tables, n_free_blocks=3, cached_blocks=(), weights_at=None),),
    )
    html = drawn("blocks", crowd)
    (shared,) = re.findall("<li[^>]*>0 .*?</li>", html)
    assert "0 \u00d74" in shared and re.findall(r"data-request=(\d)", shared) == ["0", "1", "2", "3"]
    assert "A, B, C and D share blocks 0, 3 (4 users each), which hold " in html


def test_what_every_tick_asks_is_found_once_and_is_what_looking_back_finds():
    for number, tick in enumerate(STORY.ticks):
        for block in range(N_BLOCKS):
            back = (
                table.request
                for each in reversed(STORY.ticks[: number + 1])
                for table in each.block_tables
                if block in table.blocks
            )
            assert served.history(STORY).last_user(block, number) == next(back, None), (number, block, tick)
    long = replace(fake_batching(weights=False), schedulers=())
    assert served.history(long) is served.history(long) is not served.history(replace(long))
    alive = len(served._HISTORIES)
    del long
    gc.collect()
    assert len(served._HISTORIES) < alive


def test_a_tick_stays_small_even_of_a_large_cache():
    tables = tuple(
        BlockTable(request=i, blocks=tuple(range(i, 128, 12)), n_tokens=41 if i < 8 else 38) for i in range(12)
    )
    busy = replace(
        STORY,
        n_blocks=128,
        requests=STORY.requests * 3,
        schedulers=(),
        ticks=(replace(STORY.ticks[0], block_tables=tables, n_free_blocks=0, cached_blocks=(), weights_at=None),),
    )
    assert len(drawn("blocks", busy)) < 8_500
    huge = replace(
        STORY,
        n_blocks=N_BLOCKS + 1000,
        ticks=tuple(replace(tick, n_free_blocks=tick.n_free_blocks + 1000) for tick in STORY.ticks),
    )
    html = drawn("blocks", huge, tick=2)
    assert len(html) < 8_000 and "more blocks are not drawn" in html


@pytest.mark.parametrize("number", range(len(STORY.ticks)))
def test_attention_is_what_ran_and_another_texts_is_exactly_0(number: int):
    tick, figure = STORY.ticks[number], drawn("packed_attention", tick=number, layer=3, head=2, request=2)
    weights = STORY.attention(number, 3, 2)
    assert weights is not None
    own, others = (np.array(each.z, dtype=float) for each in figure.data[:2])
    np.testing.assert_allclose(own[~np.isnan(own)], weights[~np.isnan(own)], rtol=6e-3)
    assert (np.isnan(own) != np.isnan(others)).all()
    assert (weights[~np.isnan(others)] == 0).all()
    assert all(
        each.xgap > 0 and not each.showscale for each in figure.data[:2]
    )  # or a kept page blurs one into another
    frames = figure.layout.shapes
    assert len(frames) == len(tick.scheduled)
    assert sum((f.x1 - f.x0) * (f.y1 - f.y0) for f in frames) == (~np.isnan(own)).sum()
    assert "exactly 0" in figure.layout.annotations[0].text
    assert len(set(figure.data[0].x)) == weights.shape[1] and len(set(figure.data[0].y)) == weights.shape[0]
    widths = [f.line.width for f in frames]
    assert widths.count(5) == (served.chunk_of(tick, 2) is not None)


def test_a_cross_request_weight_is_drawn_and_told():
    tick = STORY.ticks[0]
    size = STORY.model.n_layers * STORY.model.n_heads
    weights = STORY.weights.copy()
    first = weights[: size * 8 * 8].reshape(size, 8, 8)
    first[:, 0, 7] = 2e-7
    broken = replace(STORY, weights=weights, ticks=(replace(tick, cross_request_weight=2e-7), *STORY.ticks[1:]))
    figure = drawn("packed_attention", broken)
    assert figure.data[0].z[0][7] == pytest.approx(2e-7, rel=0.01)
    assert "2.0\u00d710\u207b\u2077" in figure.layout.annotations[0].text
    assert "exactly 0" not in figure.layout.annotations[0].text


def test_attention_that_is_not_there_is_said():
    none = fake_batching(weights=False)
    full = drawn("packed_attention", none)
    assert "that of its first tick is already larger than the limit" in full and "layers: exactly 0" in full
    unasked = drawn(
        "packed_attention", replace(none, ticks=tuple(replace(each, cross_request_weight=None) for each in none.ticks))
    )
    assert "it was not requested" in unasked and "was not measured" in unasked and "exactly" not in unasked
    for n, where in ((1, "only that of tick 0 was"), (3, "only that of ticks 0 to 2 was")):
        some = replace(
            STORY,
            ticks=(
                *STORY.ticks[:n],
                *(replace(each, weights_at=None, cross_request_weight=0.25) for each in STORY.ticks[n:]),
            ),
        )
        later = drawn("packed_attention", some, tick=5)
        assert "tick 5 was not kept" in later and where in later
        assert "layers: 2.5\u00d710\u207b\u00b9, which should be 0" in later
    assert not any("earlier tick" in each for each in (full, unasked))
    for wrong in (Selection(tick=99), Selection(layer=99), Selection(head=99), Selection(request=99)):
        with pytest.raises(NotShown, match=r"there is no \w+ 99;"):
            VIEWS["packed_attention"].draw(STORY, wrong)
    with pytest.raises(NotShown, match="tick 99"):
        drawn("blocks", tick=99)


def test_texts_that_begin_alike_are_told_apart_by_their_ends():
    begin = "Here are some things that every child should know about "
    asked = [replace(each, prompt=begin + word) for each, word in zip(STORY.requests, ("a", "b", "c"), strict=False)]
    record = replace(STORY, requests=(*asked, STORY.requests[3]), schedulers=())
    assert [served.start(record, i) for i in range(3)] == [f"\u2026child should know about {word}" for word in "abc"]
    assert served.start(record, 3) == STORY.requests[3].prompt.strip()


def test_hostile_tokens_are_inert():
    record = fake_batching(words=HOSTILE)
    for name in ("lanes", "blocks", "schedulers_table"):
        for tick in range(len(record.ticks)):
            html = drawn(name, record, tick=tick)
            assert "<script" not in html and "<img" not in html and len(html) < 8_000
            assert not re.search("[\x00-\x1f\u200b-\u200c\u200e-\u200f\u202a-\u202e\u2066-\u2069]", html)
    said = markup.text(markup.short(record.requests[2].tokens[11], 14))
    assert f"wrote {said}" in drawn("blocks", record, tick=7)
    figure = drawn("packed_attention", record, tick=1)
    assert not [each for each in (*figure.data[0].x, *figure.data[0].y) if "<" in each]
    assert "<script>alert(1)" not in page(record)


def test_letters_can_be_read_on_their_colours_and_the_styles_have_the_same_ones():
    css = (markup.ASSETS / "css" / "views" / "serving.css").read_text(encoding="utf-8")
    assert re.findall(r"\.ts-r(\d) \{ --own: var\(--ts-(\w+)\)", css) == [
        (str(i), hue) for i, hue in enumerate(served.HUES)
    ]
    assert set(re.findall(r"color-mix\(in srgb, var\(--own\) (\d+)%", css)) == {"25"}
    for mode in theme.GROUND:
        for request in range(len(served.HUES)):
            ground = _mixed(served.colour(request, mode), theme.GROUND[mode]["card"])
            assert theme.contrast(theme.GROUND[mode]["ink"], ground) >= 4.5, (mode, request)


def _mixed(own: str, card: str) -> str:
    parts = [(int(own[i : i + 2], 16), int(card[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(0.25 * one + 0.75 * two):02x}" for one, two in parts)


def test_letters_go_on_after_z():
    assert [served.letter(i) for i in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    assert served.letters([0]) == "A" and served.letters([0, 1, 2]) == "A, B and C"
