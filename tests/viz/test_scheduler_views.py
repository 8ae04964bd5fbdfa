"""The same texts under three schedulers: times as they were measured, and no more is said than the runs say."""

# pyright: reportPrivateUsage=false

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.fakes_serving import ARRIVES, NEW, PROMPTS
from tests.viz.drawn_serving import STORY, TEXTS, cells, drawn
from viz import served, theme


def test_the_schedulers_take_their_time_on_one_axis_with_padding_hatched():
    figure = drawn("schedulers")
    bars = [each for each in figure.data if each.type == "bar" and each.x[0] is not None]
    area = {
        padded: sum(
            sum(each.x) for each in bars if bool(each.marker.pattern.shape) == padded and min(each.width) == 0.8
        )
        for padded in (False, True)
    }
    assert area[True] > 0
    ends = [float(start + length) for each in bars for start, length in zip(each.base, each.x, strict=True)]
    assert max(ends) == pytest.approx(
        max(each.at_s + each.seconds for scheduler in STORY.schedulers for each in scheduler.passes)
    )
    assert list(figure.layout.yaxis.ticktext) == ["A", "B", "C", "D"] * 3
    told = {"text": [0, 0], "padding": [0, 0]}
    for each in bars:
        for said in each.customdata:
            ((text, filled),) = re.findall(r": (\d+) tokens, (\d+) of padding", said)
            told[each.name][0] += int(text)
            told[each.name][1] += int(filled)
    assert told["text"][0] == sum(each.n_tokens for w in STORY.schedulers for each in w.passes)
    assert told["padding"][1] == sum(each.n_padding for w in STORY.schedulers for each in w.passes) > 0
    alone = replace(STORY, schedulers=STORY.schedulers[:1])
    assert "padding" not in [each.name for each in drawn("schedulers", alone).data]


def test_the_numbers_are_those_that_were_measured():
    html = drawn("schedulers_table")
    assert f"{len(PROMPTS)} texts, 3 runs of each scheduler, without recording." in html
    for scheduler in STORY.schedulers:
        total = float(np.median(scheduler.seconds))
        seconds = (
            total,
            np.max(scheduler.latency),
            np.median(scheduler.latency),
            np.max(scheduler.ttft),
            np.median(scheduler.ttft),
        )
        for said in (
            *(theme.duration(float(each)) for each in seconds),
            theme.percent(scheduler.n_padding / scheduler.n_read),
        ):
            assert f"<td>{said}</td>" in html
    assert "Highest throughput: continuous batching" in html and html.count("<td>all</td>") == 3
    other_tokens = replace(STORY.schedulers[1], same_tokens=(True, False, True, True))
    assert "<td>3 of 4</td>" in drawn(
        "schedulers_table", replace(STORY, schedulers=(STORY.schedulers[0], other_tokens))
    )
    stopped = replace(
        STORY,
        schedulers=tuple(
            replace(each, seconds=each.seconds[:n]) for n, each in zip((1, 2, 2), STORY.schedulers, strict=True)
        ),
    )
    assert "texts, 1 run of continuous batching, 2 runs of static batching, 2 runs of sequential, without" in drawn(
        "schedulers_table", stopped
    )
    alone = drawn("schedulers_table", replace(STORY, schedulers=STORY.schedulers[2:]))
    assert "Only one scheduler was timed (sequential), so there is no comparison." in alone and "yet" not in alone
    even = replace(STORY, schedulers=tuple(replace(each, seconds=(1.0,)) for each in STORY.schedulers))
    assert "equally many tokens a second" in drawn("schedulers_table", even)
    assert sum(NEW) == STORY.schedulers[0].n_written


def test_a_scheduler_is_called_faster_only_where_all_its_runs_were():
    fast, middle, slow = (replace(scheduler, n_written=12) for scheduler in STORY.schedulers)
    for runs, said in (
        (((0.9, 1.0, 1.9), (1.8, 1.9, 2.5), (2.0, 3.0, 4.0)), "It was the highest in every turn."),
        (
            ((0.9, 1.0, 1.9), (0.8, 1.9, 2.5), (2.0, 3.0, 4.0)),
            "That held in every turn, but its lead over static batching did not.",
        ),
        (
            ((0.9, 1.0, 4.1), (0.8, 1.9, 2.5), (2.0, 3.0, 4.0)),
            "It was not so in every turn, so the difference is not clear.",
        ),
        (((1.0,), (2.0, 2.5), (3.0, 3.4)), "continuous batching, 3.00 times that of sequential, the lowest."),
    ):
        timed = tuple(
            replace(scheduler, seconds=each) for scheduler, each in zip((fast, middle, slow), runs, strict=True)
        )
        assert said in drawn("schedulers_table", replace(STORY, schedulers=timed)), said


def test_of_an_even_number_of_runs_all_numbers_are_of_one():
    scheduler = replace(STORY.schedulers[0], seconds=(4.0, 1.0, 2.0, 3.0))
    html = drawn("schedulers_table", replace(STORY, schedulers=(scheduler,)))
    assert cells(html, "td")[0] == theme.duration(2.0)
    assert "Its runs took 1.00 s to 4.00 s." in html
    assert "continuous batching: 2.00 s" in str(
        drawn("schedulers", replace(STORY, schedulers=(scheduler,))).to_plotly_json()
    )


def test_who_is_served_soonest_is_said_and_what_the_last_arrival_means():
    html = drawn("schedulers_table")
    least = min(STORY.schedulers, key=lambda scheduler: np.median(scheduler.ttft))
    assert f"Lowest median TTFT: {least.label}" in html
    assert f"The last text arrived after {theme.duration(max(ARRIVES))}" in html
    at_once = replace(STORY, requests=tuple(replace(each, arrives_s=0.0) for each in STORY.requests))
    assert "arrived after" not in drawn("schedulers_table", at_once)


def test_the_time_of_a_bar_is_that_of_its_passes_without_what_lies_between():
    scheduler = STORY.schedulers[0]
    apart = tuple(
        replace(each, at_s=10.0 * i, seconds=0.25, rows=((0, 1, 0),)) for i, each in enumerate(scheduler.passes[:3])
    )
    long = replace(apart[-1], at_s=10_000.0, rows=((1, 1, 0),))
    figure = drawn("schedulers", replace(STORY, schedulers=(replace(scheduler, passes=(*apart, long)),)))
    assert "3 passes, 750 ms of work: 3 tokens, 0 of padding" in str(figure.to_plotly_json())


def test_each_text_has_its_own_times_under_every_scheduler():
    html = drawn("texts_table")
    rows = re.findall("<tr data-request.*?</tr>", html)
    assert [cells(row, "th") for row in rows] == [[served.letter(request)] for request in TEXTS]
    for request, row in zip(TEXTS, rows, strict=True):
        times = [
            theme.duration(each[request])
            for scheduler in STORY.schedulers
            for each in (scheduler.ttft, scheduler.latency)
        ]
        assert cells(row, "td") == [str(PROMPTS[request]), str(NEW[request]), *times]
    heads = html.partition("</thead>")[0]
    assert [heads.index(scheduler.label) for scheduler in STORY.schedulers] == sorted(
        heads.index(scheduler.label) for scheduler in STORY.schedulers
    )
    columns = re.findall("<tr>.*?</tr>", heads)
    widths = [
        sum(int(each or 1) for each in re.findall(r'<th(?: scope="\w+")?(?: colspan="(\d)")?>', row)) for row in columns
    ]
    assert widths == [3 + 2 * len(STORY.schedulers)] * 2
    assert "latency" not in cells(heads, "th")[:3] and "Time to first token" in heads
    stopped = replace(STORY, schedulers=STORY.schedulers[:1])
    assert all(
        len(cells(row, "td")) == 4 for row in re.findall("<tr data-request.*?</tr>", drawn("texts_table", stopped))
    )


def test_a_first_token_tells_how_long_its_text_waited():
    marks = [each for each in drawn("schedulers").data if each.name == "first token"]
    assert len(marks) == len(STORY.schedulers)
    for mark, scheduler in zip(marks, STORY.schedulers, strict=True):
        assert "%{customdata}" in mark.hovertemplate
        for told, at, request, waited in zip(mark.customdata, mark.x, STORY.requests, scheduler.ttft, strict=True):
            assert told == f"(TTFT {theme.duration(waited)})"
            assert at - request.arrives_s == pytest.approx(waited)
