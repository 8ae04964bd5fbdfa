"""Every picture of a measured record draws what the record holds, says why where it can't, and keeps text inert."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.errors import BadSetting
from model.records.cache import CacheTrials
from model.records.timing import Measurement, kv_bytes
from tests.fakes_measured import LENGTHS, fake_card, fake_machine, fake_measurement, fake_trials
from tests.viz.framed import HOSTILE
from viz import markup, theme
from viz.glossary import LATENCY, explained
from viz.measured import Spread, least_seconds, number, prefixed, scientific, ticks_between
from viz.view import Selection, View, as_json
from viz.views import all_views
from viz.views.timing.bill import bill

MEASURED = {each.name: each for each in all_views(Measurement)}
TRIALS = {each.name: each for each in all_views(CacheTrials)}
WHOLE = fake_measurement()


def drawn(name: str, record: Any = WHOLE, at: Selection | None = None, mode: theme.Mode = "light") -> Any:
    return (MEASURED | TRIALS)[name].draw(record, at or Selection(), mode)


def traces(name: str, record: Any = WHOLE) -> dict[str, Any]:
    return {each.name: each for each in drawn(name, record).data if each.name}


def test_views_belong_to_one_kind_of_record():
    assert MEASURED.keys() == {
        "glance",
        "phases",
        "terms",
        "cache_race",
        "race_total",
        "race_work",
        "race_logits",
        "roofline",
        "utilisation",
        "memory_bill",
        "bill_table",
    }
    assert TRIALS.keys() == {"cache_saved", "cache_divergence", "cache_table"}
    assert not (MEASURED.keys() | TRIALS.keys()) & {each.name for each in all_views()}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("shown", [*MEASURED.values(), *TRIALS.values()], ids=[*MEASURED, *TRIALS])
@pytest.mark.parametrize("size", ["whole", "none", "one"])
def test_a_record_still_being_measured_draws_or_says_why(shown: View, mode: theme.Mode, size: str):
    sizes: dict[str, Any] = {
        "whole": (WHOLE, fake_trials()),
        "none": (fake_measurement(phases=False, race=False, batch=False), fake_trials(n_trials=0)),
        "one": (fake_measurement(n_new=1, batch=False), fake_trials(n_trials=1)),
    }
    told = json.loads(as_json(shown, sizes[size][shown.of is CacheTrials], Selection(), mode))
    assert [told[part] is not None for part in ("figure", "html", "missing")].count(True) == 1
    assert told["title"] == shown.title and told["lead"].endswith(".")
    if size == "whole":
        assert told["missing"] is None
    if size == "none" and shown.needs:
        assert told["missing"].startswith(shown.title)
    if told["figure"]:
        assert not [each for each in ("NaN", "Infinity", "<b>", "<sup>", "<i>") if each in json.dumps(told["figure"])]


def test_every_text_of_a_chart_is_at_least_14_pixels():
    for shown, record in [(each, WHOLE) for each in MEASURED.values()] + [(e, fake_trials()) for e in TRIALS.values()]:
        figure = json.loads(as_json(shown, record, Selection(), "light"))["figure"]
        sizes = _sizes(figure) if figure else [14]
        assert min(sizes) >= 14, shown.name


def _sizes(part: Any) -> list[float]:
    if isinstance(part, list):
        return [size for each in part for size in _sizes(each)]
    if not isinstance(part, dict):
        return []
    own = [part["font"]["size"]] if isinstance(part.get("font"), dict) and "size" in part["font"] else []
    return own + [size for each in part.values() for size in _sizes(each)]


def test_the_axis_holds_the_medians_end_to_end_and_marks_the_spread():
    bars = traces("phases")
    first, rest = bars["until the first token (TTFT)"], bars["each token after it (ITL)"]
    assert list(first.x) == [np.median(WHOLE.ttft)]
    np.testing.assert_array_equal(rest.x, np.median(WHOLE.itl, axis=0))
    np.testing.assert_allclose(np.array(rest.base)[1:], np.array(rest.base)[:-1] + np.array(rest.x)[:-1])
    assert rest.base[0] == first.x[0]
    assert first.marker.pattern.shape
    (marks,) = [each for each in drawn("phases").data if each.type == "scatter" and len(each.y) > 1]
    np.testing.assert_allclose(np.array(marks.y) + marks.error_y.array, WHOLE.itl.max(axis=0) * 1000)
    np.testing.assert_allclose(np.array(marks.y) - marks.error_y.arrayminus, WHOLE.itl.min(axis=0) * 1000)


def test_every_term_stands_with_its_definition_and_its_median():
    said = drawn("terms")
    for term in LATENCY:
        assert f"{term.name} ({term.short})" in said and term.means in said
    for values in (WHOLE.ttft, WHOLE.itl, WHOLE.tpot, WHOLE.end_to_end):
        assert theme.duration(float(np.median(values))) in said
    assert f"{number(float(np.median(24 / WHOLE.ttft)))} /s" in said
    assert f"{number(float(np.median(1 / WHOLE.tpot)))} /s" in said


def test_a_term_has_its_definition_where_it_first_stands():
    said = explained("TTFT < ITL, and TTFT of MBUs")
    assert said.count('tabindex="0"') == 2 and said.startswith('<span class="ts-term" tabindex="0">TTFT<span')
    assert said.endswith(" &lt; " + said.partition(" &lt; ")[2]) and said.endswith(", and TTFT of MBUs")
    assert LATENCY[0].means in said and LATENCY[1].means in said
    for name in ("phases", "terms", "utilisation"):
        assert "ts-term-means" in json.loads(as_json(MEASURED[name], WHOLE, Selection(), "light"))["more"]
    assert "Kullback" in drawn("cache_table", fake_trials()) and "as a share of the matrix speed" in drawn(
        "utilisation"
    )


def test_a_pass_far_from_both_bounds_is_said_to_be_bound_by_neither():
    slow = replace(WHOLE, itl=WHOLE.itl * 100)
    assert "near neither bound" in drawn("utilisation", slow)


def test_a_window_longer_than_the_run_is_said_to_take_nothing_out():
    record = fake_trials()
    whole = replace(record.trials[1], n_bytes=record.trials[0].n_bytes, first_changed=None)
    longer = replace(record, trials=(record.trials[0], whole, *record.trials[2:]))
    assert drawn("cache_table", longer).count("so every token is kept") == 1


def test_a_cache_that_no_prediction_used_is_not_said_to_cost_nothing():
    record = fake_trials()
    late = np.array(record.kv_bytes)
    late[1] = late[0]
    late[1, -1] -= 100
    exact = np.array(record.kl)
    exact[1] = 0
    unused = replace(record, kv_bytes=late, kl=exact)
    assert drawn("cache_table", unused).count("no token was predicted from it. Try a longer text.") == 1
    for used in (record, replace(record, kv_bytes=late)):  # the second one has changed what is predicted
        assert "no token was predicted from it" not in drawn("cache_table", used)


def test_the_race_is_what_was_measured_and_the_dashed_lines_what_was_predicted():
    lines = traces("cache_race")
    assert list(lines) == [
        "with the cache, measured",
        "with the cache, predicted",
        "without, measured",
        "without, predicted",
    ]
    for name, tries, works in (
        ("with the cache", WHOLE.race_on, WHOLE.race_on_work),
        ("without", WHOLE.race_off, WHOLE.race_off_work),
    ):
        measured, predicted = lines[f"{name}, measured"], lines[f"{name}, predicted"]
        assert list(measured.x) == list(predicted.x) == list(LENGTHS)
        np.testing.assert_array_equal(measured.y, np.median(tries, axis=1))
        np.testing.assert_allclose(np.array(measured.y) + measured.error_y.array, tries.max(axis=1))
        assert measured.line.dash is None and predicted.line.dash == "dash"
        machine = WHOLE.machine
        least = [max(work.n_bytes / machine.bandwidth, work.flops / machine.matrix_speed) for work in works]
        assert list(predicted.y) == least


def test_the_cost_of_a_text_is_the_sum_of_its_passes():
    lengths, seconds = np.array([2, 4, 8], np.int32), np.array([[1.0], [3.0], [3.0]])
    record = replace(
        WHOLE,
        race_lengths=lengths,
        race_on=seconds,
        race_off=seconds * 2,
        race_on_work=WHOLE.race_on_work[:3],
        race_off_work=WHOLE.race_off_work[:3],
        race_tokens=WHOLE.race_tokens[:3],
        race_difference=np.zeros(3),
        race_scale=np.ones(3),
    )
    lines = traces("race_total", record)
    assert list(lines["with the cache"].y) == [0, 2 + 3, 5 + 4 * 3]  # the pass at 3 lies between those at 2 and 4
    assert list(lines["without"].y) == [0, 10, 34]
    assert "equal bit for bit" in drawn("race_logits", record)


def test_a_difference_is_called_rounding_only_where_it_can_be():
    assert "That is rounding" in drawn("race_logits") and "same at every length" in drawn("race_logits")
    worse = replace(WHOLE, race_difference=WHOLE.race_scale * 0.01, race_tokens=((1, 2), *WHOLE.race_tokens[1:]))
    assert "more than the rounding of float32 explains" in drawn("race_logits", worse)
    assert "differs at 1 of 6 lengths" in drawn("race_logits", worse)


def test_the_roof_is_the_machines_and_passes_stand_at_their_work():
    lines, machine = traces("roofline"), WHOLE.machine
    roof = lines["the roof, measured"]
    for x, y in zip(roof.x, roof.y, strict=True):
        assert y == pytest.approx(min(x * machine.bandwidth, machine.matrix_speed))
    assert roof.x[1] == machine.ridge
    decode = lines["decode"]
    assert list(decode.x) == [WHOLE.decode_work.intensity]
    assert decode.y[0] == pytest.approx(WHOLE.decode_work.flops / np.median(WHOLE.itl))
    assert lines["prefill"].y[0] == pytest.approx(WHOLE.prefill_work.flops / np.median(WHOLE.ttft))
    assert list(lines["decode, many texts at once"].text) == ["2", "4", "8", "16"]


def test_utilisation_is_work_by_time_by_what_the_machine_can():
    said, machine, itl = drawn("utilisation"), WHOLE.machine, float(np.median(WHOLE.itl))
    assert theme.percent(WHOLE.decode_work.n_bytes / itl / machine.bandwidth) in said
    assert theme.percent(WHOLE.decode_work.flops / itl / machine.matrix_speed) in said
    assert f"{number(WHOLE.decode_work.intensity)} operations a byte: memory-bound." in said
    assert "compute-bound." in said
    assert "No pass has been measured" in drawn("utilisation", fake_measurement(phases=False, race=False, batch=False))


def test_least_seconds_are_the_longer_of_the_two():
    work, machine = WHOLE.decode_work, fake_machine()
    assert least_seconds(work, machine) == work.n_bytes / machine.bandwidth
    assert least_seconds(work, replace(machine, matrix_speed=1.0)) == work.flops


def test_the_bill_grows_as_its_shapes_say():
    card = fake_card()
    one = bill(card, 1000, 1)
    assert one.weights == card.weights_bytes and one.bits == 32
    assert one.kv_cache == kv_bytes(card, 1000) == 2 * 30 * 3 * 64 * 1000 * 4
    many = bill(card, 2000, 3, 8)
    assert many.weights == card.weights_bytes // 4
    assert many.kv_cache == one.kv_cache * 6 // 4
    assert bill(card, 1000, 1, 4).activations == bill(card, 1000, 1, 16).activations < one.activations
    assert bill(card, 1000, 1, windows=(11,) * 30).kv_cache == one.kv_cache // 100
    assert one.total == one.weights + one.kv_cache + one.activations


def test_the_bill_is_drawn_to_scale_with_the_estimate_outlined():
    at = Selection(context=4096, users=5, bits=16)
    owed = bill(WHOLE.model, 4096, 5, 16)
    figure = drawn("memory_bill", at=at)
    lengths = [each.x[0] for each in figure.data]
    assert len(lengths) == 1 + 5 + 1
    unit = lengths[0] / owed.weights
    np.testing.assert_allclose(lengths[1:6], owed.kv_cache / 5 * unit)
    assert lengths[6] == pytest.approx(owed.activations * unit)
    (outline,) = figure.layout.shapes
    assert outline.line.dash == "dash"
    assert (outline.x0, outline.x1) == pytest.approx(((owed.weights + owed.kv_cache) * unit, owed.total * unit))
    assert "5 users, 16 bits" in drawn("bill_table", at=at)
    assert "at most 8,192 tokens" in drawn("bill_table", at=Selection(context=9000))


@pytest.mark.parametrize("wrong", [{"context": 0}, {"users": 0}, {"users": 10**9}, {"bits": 5}])
def test_a_load_is_checked_when_it_is_asked(wrong: dict[str, Any]):
    with pytest.raises(BadSetting, match=next(iter(wrong))):
        Selection(**wrong)


def test_compressed_caches_stand_at_their_bytes_and_their_damage():
    record = fake_trials()
    points = traces("cache_saved", record)
    assert list(points) == [f"{i} {each.name}" for i, each in enumerate(record.trials) if i]
    for i, name in enumerate(points, 1):
        assert points[name].x[0] == pytest.approx(100 - 100 * record.trials[i].n_bytes / record.trials[0].n_bytes)
        assert points[name].y[0] == pytest.approx(record.kl[i].mean())
    strips = [each for each in drawn("cache_divergence", record).data if each.mode == "lines+markers"]
    for i, strip in enumerate(strips, 1):
        np.testing.assert_allclose(np.maximum(record.kl[i], min(strip.y)), strip.y)
    stars = [each for each in drawn("cache_divergence", record).data if each.mode == "markers"]
    assert [each.x[0] for each in stars] == [t.first_changed for t in record.trials if t.first_changed is not None]
    assert drawn("cache_table", record).count("No token changed.") == len(strips) - len(stars)


def test_a_divergence_of_nothing_is_drawn_as_nothing():
    record = fake_trials()
    still = replace(record, kl=np.zeros_like(record.kl))
    for name in ("cache_saved", "cache_divergence"):
        figure = drawn(name, still)
        assert all(math.isfinite(y) and y > 0 for each in figure.data for y in each.y)
    assert figure.layout.yaxis.ticktext[0] == "0"


def test_hostile_tokens_are_inert():
    record = fake_trials(HOSTILE, (*HOSTILE, "x", "y", "z"))
    record = replace(
        record, trials=tuple(replace(each, first_changed=None if each.kind == "exact" else 1) for each in record.trials)
    )
    chosen = record.chosen.copy()
    chosen[1:, 1] = chosen[0, 0]
    record = replace(record, chosen=chosen)
    table = drawn("cache_table", record)
    assert "<script" not in table and "<img" not in table
    assert f": {markup.text(markup.short(record.tokens[len(HOSTILE)]))} instead of" in table
    assert not re.search("[\x00-\x1f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", table)
    for name in ("cache_saved", "cache_divergence"):
        said = [text for each in drawn(name, record).data for text in each.customdata or ()]
        assert not [text for text in said if "<" in text.replace("<br>", "")]


def test_numbers_read_as_they_should():
    assert [number(each) for each in (0.0325, 2, 16.52, 189.3, 3149)] == ["0.0325", "2.00", "16.5", "189", "3,149"]
    assert scientific(3.4e-6) == "3.4\u00d710\u207b\u2076"
    assert [prefixed(each) for each in (85e9, 270e6, 1.2e12, 999)] == [
        "85 billion",
        "270 million",
        "1.2 trillion",
        "999",
    ]
    assert ticks_between(0.03, 2.5) == [0.05, 0.1, 0.2, 0.5, 1, 2]
    spread = Spread.of(np.array([3.0, 1.0, 2.0]))
    assert (spread.low, spread.median, spread.high) == (1, 2, 3)


def test_a_pass_faster_than_the_machine_says_that_the_probe_was_disturbed():
    machine = replace(WHOLE.machine, bandwidth=WHOLE.decode_work.n_bytes / float(np.median(WHOLE.itl)) / 2.1)
    said = drawn("utilisation", replace(WHOLE, machine=machine))
    assert "<td>210%</td>" in said and "something else kept the machine busy" in said
    assert "kept the machine busy" not in drawn("utilisation")


def test_three_large_numbers_and_an_answer_in_words_stand_first():
    said = drawn("glance")
    ttft, itl = (float(np.median(each)) for each in (WHOLE.ttft, WHOLE.itl))
    ratio = float(np.median(WHOLE.race_off[-1]) / np.median(WHOLE.race_on[-1]))
    big = re.findall("<strong>(.*?)</strong>", said)
    assert big == [theme.duration(ttft), number(1 / itl), f"\u00d7{number(ratio)}"]
    at = min(100, int(WHOLE.race_lengths[-1]))
    on = theme.duration(float(np.interp(at, WHOLE.race_lengths, np.median(WHOLE.race_on, axis=1))))
    assert f"After {at} tokens of text, the pass for one more takes {on} with the cache" in said
    assert ("interpolated" in said) == (at not in WHOLE.race_lengths)
    assert WHOLE.machine.processor in said and WHOLE.taken in said
    assert "ts-late" not in said and '<span class="ts-late">not measured</span>' in drawn(
        "glance", fake_measurement(race=False)
    )
    assert "one token only" in drawn("glance", fake_measurement(n_new=1))


def test_a_colour_says_one_thing():
    """Blue the prompt, orange what is written, green the cache, grey what it is compared with."""
    for name in ("cache_race", "race_total"):
        colours = {
            said.split(",")[0]: line.line.color for said, line in traces(name).items() if "predicted" not in said
        }
        assert colours == {
            "with the cache": theme.ROLES["value"]["light"].fill,
            "without": theme.ROLES["baseline"]["light"].fill,
        }
    for mode in ("light", "dark"):
        fills = [each[mode].fill for each in theme.ROLES.values()]
        assert len(set(fills)) == len(fills)
