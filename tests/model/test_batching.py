"""Several texts served together: every token is plain generate's, tokens and blocks are conserved, nothing is left."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from model import Batching, HookedModel, Settings, serve
from model.cli.main import main
from model.cli.tables.serve import summary as served_summary
from model.cli.tables.serve import table as served_table
from model.engine.engine import Engine
from model.errors import BadSetting, BadTrace, NotANumber
from model.experiments.batching import batching, schedulers
from model.experiments.batching.batching import Ask, arrivals
from model.limits import Limits
from model.records.batching import letter
from tests.model.jobs import Told
from tests.model.served_texts import ASKED, BOUNDS, PROMPTS, check_conserved, last, plain, recorded, tokens
from tests.model.waiting import ended
from tests.searching import searched
from tests.tiny import shared, tiny


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return shared()


@pytest.fixture(scope="module")
def record(hooked: HookedModel) -> Batching:
    return last(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))


# What is written, and what is conserved


def test_each_text_is_what_generate_writes_recorded_and_under_every_scheduler(
    hooked: HookedModel, record: Batching
) -> None:
    assert tokens(record) == [plain(hooked, ids, each.max_new_tokens) for ids, each in zip(PROMPTS, ASKED, strict=True)]
    assert [scheduler.name for scheduler in record.schedulers] == ["continuous", "static", "sequential"]
    assert all(
        all(scheduler.same_tokens) and scheduler.n_written == sum(map(len, tokens(record)))
        for scheduler in record.schedulers
    )
    assert record.notes == ()
    check_conserved(record)


@searched(quick=15, long=1_000)
@given(
    prompts=some.lists(some.lists(some.integers(5, 7), min_size=1, max_size=14), min_size=1, max_size=6),
    lengths=some.lists(some.integers(1, 10), min_size=6, max_size=6),
    block_size=some.integers(4, 6),
    n_blocks=some.integers(6, 16),
    token_budget=some.integers(1, 24),
    max_requests=some.integers(1, 5),
    prefix_caching=some.booleans(),
)
def test_any_texts_in_any_cache_are_written_as_generate_does_and_conserved(
    hooked: HookedModel, prompts: list[list[int]], lengths: list[int], **bounds: Any
) -> None:
    """Three words only, so that many texts have the same prefix; few blocks, so that some are preempted."""
    asked = [Ask(prompt=ids, max_new_tokens=new) for ids, new in zip(prompts, lengths, strict=False)]
    record = recorded(serve(hooked, asked, Settings(), Limits(), attention=False, **bounds))
    check_conserved(record)
    assert tokens(record) == [plain(hooked, ids, each.max_new_tokens) for ids, each in zip(prompts, asked, strict=True)]


def test_texts_read_in_the_same_tick_come_to_share_what_is_alike(hooked: HookedModel) -> None:
    asked = [Ask(prompt=PROMPTS[0], max_new_tokens=4)] * 2
    record = recorded(serve(hooked, asked, Settings(), Limits(), block_size=4, n_blocks=14, token_budget=22))
    one, other = (table.blocks for table in record.ticks[0].block_tables)
    assert record.ticks[0].n_tokens == 22 and one[:2] == other[:2] and one[2] != other[2]
    assert (
        record.ticks[0].shared_blocks == tuple((block, 2) for block in sorted(one[:2]))
        and record.ticks[0].n_free_blocks == 10
    )
    check_conserved(record)


def test_what_a_text_found_is_told_when_it_joins_before_its_first_share(hooked: HookedModel, monkeypatch: Any) -> None:
    """The engine looks for a beginning when it looks at a text; whether there is room for the text shows after that."""
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", 6)
    prompts = (
        [7, 6, 6],
        [7, 6, 6, 7, 6, 6, 7, 7, 7, 7],
        [7, 6, 6, 7, 6, 6, 7, 7, 7, 7, 7, 7, 6, 7, 6, 7],
        [6, 6, 6, 5, 5],
        [7, 6, 6, 7, 6, 6, 7, 7, 7, 7, 7, 7, 6],
    )
    asked = [Ask(prompt=ids, max_new_tokens=new) for ids, new in zip(prompts, (3, 1, 2, 6, 3), strict=True)]
    record = recorded(
        serve(hooked, asked, Settings(), Limits(), block_size=5, n_blocks=4, token_budget=24, max_requests=4)
    )
    check_conserved(record)
    found = [(at, number) for at, tick in enumerate(record.ticks) for number, _ in tick.n_cached_tokens]
    read = {
        number: min(at for at, tick in enumerate(record.ticks) for chunk in tick.scheduled if chunk.request == number)
        for _, number in found
    }
    assert any(at < read[number] for at, number in found)


def test_a_text_that_made_room_may_find_its_beginning_again(hooked: HookedModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", None)
    asked = [Ask(prompt=ids, max_new_tokens=16 - 2 * place) for place, ids in enumerate(PROMPTS)]
    record = recorded(
        serve(hooked, asked, Settings(), Limits(), block_size=4, n_blocks=8, token_budget=9, max_requests=4)
    )
    back = {number for tick in record.ticks for number in tick.preempted}
    found = [number for tick in record.ticks for number, _ in tick.n_cached_tokens]
    assert any(found.count(number) > 1 for number in back)
    check_conserved(record)
    assert tokens(record) == [plain(hooked, ids, each.max_new_tokens) for ids, each in zip(PROMPTS, asked, strict=True)]


def test_a_tick_that_loses_a_block_or_reads_too_much_is_no_record(record: Batching) -> None:
    lost = replace(record.ticks[2], n_free_blocks=record.ticks[2].n_free_blocks - 1)
    with pytest.raises(BadTrace, match="tick 0 has"):
        replace(record, ticks=(lost,))
    with pytest.raises(BadTrace, match="its token budget is 1"):
        replace(record, token_budget=1)


def test_the_record_grows_a_tick_at_a_time_and_is_kept_bit_for_bit(hooked: HookedModel, tmp_path: Path) -> None:
    records = list(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))
    n_ticks = len(records[-1].ticks)
    assert [len(each.ticks) for each in records] == [*range(1, n_ticks + 1), n_ticks]
    assert [len(each.schedulers) for each in records[-2:]] == [0, 3]  # no record while the schedulers take their turns
    assert {each.ended for each in records[0].requests} == {"waiting", "running"}
    records[-1].save(tmp_path / "a.batching")
    again = Batching.open(tmp_path / "a.batching")
    assert np.array_equal(again.weights, records[-1].weights) and served_summary(again) == served_summary(records[-1])
    for first, whole in ((records[0], records[-1]), (records[n_ticks // 2], records[-1])):
        assert np.array_equal(first.weights, whole.weights[: len(first.weights)])  # and nothing was written over


def test_the_end_of_a_sequence_ends_a_text_under_every_scheduler(
    hooked: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = list(PROMPTS[2])
    end = plain(hooked, ids, 6)[2]
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", end)
    record = last(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))
    assert record.requests[2].ended == "end of sequence" and tokens(record)[2][-1] == end
    assert all(all(scheduler.same_tokens) for scheduler in record.schedulers) and record.notes == ()


def test_no_batch_works_on_when_its_texts_are_over(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    end = plain(hooked, PROMPTS[2], 2)[1]
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", end)
    asked = [Ask(prompt=PROMPTS[3], max_new_tokens=3), Ask(prompt=PROMPTS[2], max_new_tokens=20)]
    record = last(serve(hooked, asked, Settings(), Limits(), **BOUNDS))
    assert list(map(len, tokens(record))) == [3, 2] and len(record.schedulers[1].passes) == 3
    assert all(each.n_tokens for scheduler in record.schedulers for each in scheduler.passes)


def test_a_serving_that_is_stopped_says_so(hooked: HookedModel) -> None:
    engine = Engine(hooked, Limits())
    asked = [Ask(prompt=PROMPTS[0], max_new_tokens=60)]
    job = Told(lambda _done, _total, what: job.stop() if what == "tick 3" else None)
    engine.enqueue(job, serve(hooked, asked, Settings(), Limits(), block_size=4, n_blocks=24, job=job))
    assert ended(job).state == "stopped"
    engine.close()
    record = job.record
    assert record.requests[0].ended == "stopped" and len(record.ticks) == 4 and not record.schedulers


# Attention


def test_attention_is_cut_from_what_is_kept_and_stays_within_its_text(record: Batching) -> None:
    assert {tick.cross_request_weight for tick in record.ticks} == {0.0}
    for at, tick in enumerate(record.ticks):
        pattern = record.attention(at, 2, 3)
        assert pattern is not None and pattern.shape == (tick.n_tokens, sum(count for _, count in tick.key_lengths))
        assert np.allclose(pattern.sum(1), 1, atol=1e-5)


def test_what_does_not_fit_is_not_kept_but_still_looked_at(hooked: HookedModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(batching, "KEPT_BYTES", 30_000)
    record = last(serve(hooked, ASKED, Settings(), Limits(), **BOUNDS))
    kept = [tick.weights_at is not None for tick in record.ticks]
    n_kept = sum(kept)
    assert 0 < n_kept < len(kept) and kept == [True] * n_kept + [False] * (len(kept) - n_kept)
    assert {tick.cross_request_weight for tick in record.ticks} == {0.0} and record.weights.nbytes <= 30_000
    assert f"first {n_kept} ticks" in record.notes[0] and record.attention(len(kept) - 1, 0, 0) is None
    none = last(serve(hooked, ASKED, Settings(), Limits(), attention=False, **BOUNDS))
    assert none.weights.size == 0 and {(tick.cross_request_weight, tick.weights_at) for tick in none.ticks} == {
        (None, None)
    }


def test_nan_is_refused(hooked: HookedModel) -> None:
    broken = tiny("llama")
    with torch.no_grad():
        broken.model.model.layers[0].self_attn.q_proj.weight.fill_(float("nan"))
    with pytest.raises(NotANumber, match="tick 0"):
        last(serve(broken, ASKED, Settings(), Limits(), **BOUNDS))


# The schedulers


def test_what_each_scheduler_computes_can_be_counted_by_hand(
    hooked: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooked.model.generation_config, "eos_token_id", None)
    record = last(serve(hooked, ASKED, Settings(), Limits(), prefix_caching=False, repeats=3, **BOUNDS))
    text = sum(len(ids) + each.max_new_tokens - 1 for ids, each in zip(PROMPTS, ASKED, strict=True))
    continuous, static, single = record.schedulers
    for scheduler in (continuous, single):
        assert (scheduler.n_padding, scheduler.n_read) == (0, text)
    # static: three texts at most, padded to 11 tokens and to 12 new ones; then the fourth alone
    assert static.n_read == 3 * (11 + 11) + 13 + 14 and static.n_read - static.n_padding == text
    assert len(static.passes) == 12 + 15 and len(single.passes) == 6 + 9 + 12 + 15
    assert len(continuous.passes) == len(record.ticks) < len(static.passes)
    for scheduler in record.schedulers:
        assert len(scheduler.seconds) == 3
        assert all(0 < first < whole for first, whole in zip(scheduler.ttft, scheduler.latency, strict=True))
        assert max(scheduler.latency) == pytest.approx(sorted(scheduler.seconds)[1])
        assert all(
            one.at_s + one.seconds <= two.at_s + 1e-9
            for one, two in zip(scheduler.passes, scheduler.passes[1:], strict=False)
        )


def test_where_a_text_parts_from_plain_generate_is_told(hooked: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(name: Any, *rest: Any) -> schedulers.TimedRun:
        ran = schedulers.run(name, *rest)
        first, *others = ran.written
        return replace(ran, written=((first[0], first[1] + 1, *first[2:]), *others)) if name == "sequential" else ran

    monkeypatch.setattr(batching, "run", other)
    (note,) = last(serve(hooked, ASKED[:2], Settings(), Limits(), **BOUNDS)).notes
    assert note.startswith("text A has other tokens") and note.endswith("from its generated token 1 on.")


def test_no_text_is_read_before_it_arrives(hooked: HookedModel) -> None:
    asked = [replace(each, arrives_s=at) for each, at in zip(ASKED, (0.3, 0.0, 0.15, 0.15), strict=True)]
    record = last(serve(hooked, asked, Settings(), Limits(), **BOUNDS))
    passes = [[(tick.at_s, chunk.request) for tick in record.ticks for chunk in tick.scheduled]]
    passes += [
        [(each.at_s, row[0]) for each in scheduler.passes for row in each.rows] for scheduler in record.schedulers
    ]
    for one in passes:
        assert all(at >= asked[number].arrives_s for at, number in one)
        assert {number for _, number in one} == {0, 1, 2, 3}
    assert all(
        scheduler.seconds[0] > 0.3 and max(scheduler.latency) < scheduler.seconds[0] for scheduler in record.schedulers
    )
    assert all(all(scheduler.same_tokens) for scheduler in record.schedulers)


def test_the_time_to_a_first_token_counts_from_the_arrival_to_the_end_of_the_pass_that_read_the_prompt(
    hooked: HookedModel,
) -> None:
    asked = [replace(each, arrives_s=at) for each, at in zip(ASKED, (0.2, 0.0, 0.1, 0.1), strict=True)]
    record = last(serve(hooked, asked, Settings(), Limits(), prefix_caching=False, **BOUNDS))
    for scheduler in record.schedulers:
        left = [len(ids) for ids in PROMPTS]
        for one in scheduler.passes:
            for number, n_tokens, _ in one.rows:
                if 0 < left[number] <= n_tokens:
                    first = one.at_s + one.seconds - asked[number].arrives_s
                    assert scheduler.ttft[number] == pytest.approx(first, abs=1e-9)
                left[number] -= n_tokens
        assert max(left) <= 0


def test_arrivals_are_a_poisson_process() -> None:
    assert arrivals(3, 0, 5) == (0.0, 0.0, 0.0) and arrivals(0, 2, 5) == ()
    times = arrivals(4001, 4.0, 1)
    gaps = np.diff(times)
    assert times == arrivals(4001, 4.0, 1) != arrivals(4001, 4.0, 2) and times[0] == 0
    assert gaps.min() > 0 and gaps.mean() == pytest.approx(0.25, rel=0.05) == pytest.approx(gaps.std(), rel=0.05)


@pytest.mark.parametrize("rate", [0.04, 1e-9])
def test_a_rate_at_which_nobody_would_wait_for_the_texts_is_refused(rate: float) -> None:
    with pytest.raises(BadSetting, match=re.escape(f"the rate is {rate:g} texts a second; it must be at least 0.05")):
        arrivals(3, rate, 0)
    assert len(arrivals(3, batching.LOWEST_RATE, 0)) == 3


def test_texts_are_called_by_letters() -> None:
    numbers = (0, 3, 25, 26, 27, 701, 702)
    assert [letter(number) for number in numbers] == ["A", "D", "Z", "AA", "AB", "ZZ", "AAA"]


# The command line


def test_the_command_line_serves_several_prompts(capsys, tmp_path: Path, monkeypatch: Any) -> None:
    hooked = tiny()  # its own, as to write it into a folder changes its config
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    kept = tmp_path / "three.batching"
    call = [
        "--serve",
        "w5 w6 w7",
        "w5 w6 w8",
        "w9",
        "--model",
        str(hooked.folder),
        "--max-new-tokens",
        "5",
        "--blocks",
        "9",
        "--block-size",
        "4",
        "--together",
        "2",
    ]
    assert main([*call, "-o", str(kept)]) == 0
    record = Batching.open(kept)
    assert capsys.readouterr().out == served_table(record) + "\n"
    assert [each.prompt for each in record.requests] == ["w5 w6 w7", "w5 w6 w8", "w9"]
    assert (record.n_blocks, record.block_size, record.max_requests) == (9, 4, 2) and record.weights.size
    assert main([*call, "--json"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [len(each["tokens"]) for each in said["requests"]] == [len(each.tokens) for each in record.requests]
    assert [each["name"] for each in said["schedulers"]] == ["continuous", "static", "sequential"]
    assert main([*call, "--measure"]) == 2 and "--measure and --serve were given" in capsys.readouterr().err


# The default model


@pytest.mark.alone
def test_from_four_texts_on_batching_pays(default_model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model.model.generation_config, "eos_token_id", None)  # every text has its full length
    asked = [
        Ask(prompt=text, max_new_tokens=4)
        for text in ("The capital of France is", "Once upon a time", "def is_even(n):", "A young dog is called a")
    ]
    *_, record = serve(default_model, asked, Settings(), Limits(), token_budget=64, repeats=2, attention=False)
    seconds = {
        scheduler.name: min(scheduler.seconds) for scheduler in record.schedulers
    }  # a busy moment makes any of them longer
    assert seconds["continuous"] < seconds["sequential"]  # 2.1 times as fast, by bench.serving


@pytest.mark.long
def test_the_default_model_writes_the_same_together_as_alone(default_model: HookedModel) -> None:
    asked = [
        Ask(prompt="The capital of France is Paris. The capital of Italy is", max_new_tokens=5),
        Ask(prompt="The capital of France is Paris. The capital of Spain is", max_new_tokens=7, arrives_s=0.5),
        Ask(prompt="Once upon a time", max_new_tokens=6),
    ]
    record = recorded(serve(default_model, asked, Settings(), Limits(), n_blocks=24, token_budget=16))
    check_conserved(record)
    prompts = [[token.id for token in each.tokens[: each.n_prompt]] for each in record.requests]
    assert tokens(record) == [
        plain(default_model, ids, each.max_new_tokens) for ids, each in zip(prompts, asked, strict=True)
    ]
    assert record.requests[0].text.startswith(" Rome") and {tick.cross_request_weight for tick in record.ticks} == {0.0}
    assert record.block_bytes == 46_080 * record.block_size
    assert [each for tick in record.ticks for each in tick.n_cached_tokens] == [(1, 8)]
