"""A run replayed with compressed caches: the kept tokens are those that are named, bytes are the tensors'."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.cache_utils import Cache

from model import HookedModel, Settings, Trace, fork, load, trace
from model.capture.cache_layers import GROUP, Quantised, compressed_cache, pack, unpack
from model.capture.cache_size import cache_bytes
from model.capture.decoding import passes
from model.errors import BadPrompt, BadSetting, BadTrace, NotShown, PromptTooLong
from model.experiments.cache.trials import Compression, Script, trials, usual
from model.limits import Limits
from model.records.cache import CacheTrials
from tests.model.jobs import Told
from tests.tiny import shared, sweep, tiny_model, tiny_tokenizer

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
NEW = 14
PLAIN = ("gpt2", "gpt_neox", "llama", "qwen3", "granite", "cohere", "opt")  # all keys of all tokens, with positions
SAMPLED: dict[str, Any] = {
    "temperature": 0.9,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.01,
    "repetition_penalty": 1.1,
    "seed": 11,
}
COMPRESSIONS = (
    Compression(kind="int8"),
    Compression(kind="int4"),
    Compression(kind="window", window=9),
    Compression(kind="sink + window", sink=2, window=7),
    Compression(kind="dropped", dropped=(19, 3, 4)),
)


@pytest.fixture(scope="module", params=sweep(PLAIN, ("gpt2", "gpt_neox", "llama", "opt")))
def hooked(request: pytest.FixtureRequest) -> HookedModel:
    return shared(request.param)


@pytest.fixture(scope="module")
def llama() -> HookedModel:
    return shared()


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)


@pytest.fixture(scope="module")
def record(hooked: HookedModel, run: Trace) -> CacheTrials:
    """The run replayed with every cache: the exact one comes before COMPRESSIONS."""
    return replayed(hooked, run, *COMPRESSIONS)


def last(pieces: Iterator[CacheTrials]) -> CacheTrials:
    *_, whole = pieces
    return whole


def replayed(hooked: HookedModel, run: Trace | Script, *asked: Compression) -> CacheTrials:
    """The whole record, its exact trial first."""
    return last(trials(hooked, run, asked))


def raw_logits(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The logits of every pass of replays from now on."""
    from model.experiments.cache import trials as module

    seen: list[torch.Tensor] = []

    def keeping(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for each in passes(*args, **kwargs):
            seen.append(each.logits[0])
            yield each

    monkeypatch.setattr(module, "passes", keeping)
    return seen


# The exact cache


@pytest.mark.parametrize("settings", [{}, SAMPLED, {"repetition_penalty": 1.3}], ids=["greedy", "sampled", "penalty"])
def test_the_exact_replay_is_the_run_bit_for_bit(
    hooked: HookedModel, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False, **settings)
    seen = raw_logits(monkeypatch)
    record = replayed(hooked, run)
    assert np.array_equal(torch.stack(seen).numpy(), run.logits)
    assert record.chosen[0].tolist() == [token.id for token in run.tokens[run.n_prompt :]]
    assert record.kl.tolist() == [[0.0] * run.n_generated]  # fewer where the run met the end of its sequence
    assert record.kv_bytes[0].tolist() == [step.kv_bytes for step in run.steps]
    assert record.trials[0].first_changed is None
    assert [token.span for token in record.tokens] == [token.span for token in run.tokens]
    assert [token.generated for token in record.tokens] == [token.generated for token in run.tokens]


@pytest.mark.parametrize(
    "compression",
    [
        Compression(kind="dropped"),
        Compression(kind="window", window=len(PROMPT) + NEW - 1),
        Compression(kind="sink + window", sink=3, window=len(PROMPT) + NEW - 4),
    ],
    ids=["nothing dropped", "a window over all", "a sink and a window over all"],
)
def test_a_cache_that_loses_nothing_changes_nothing(
    hooked: HookedModel, compression: Compression, monkeypatch: Any
) -> None:
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False, **SAMPLED)
    seen = raw_logits(monkeypatch)
    record = replayed(hooked, run, compression)
    assert torch.equal(torch.stack(seen[:NEW]), torch.stack(seen[NEW:]))
    assert record.kl[1].max() == 0
    assert np.array_equal(record.chosen[0], record.chosen[1]) and np.array_equal(record.kv_bytes[0], record.kv_bytes[1])


def test_a_run_that_is_not_written_yet_is_written_by_the_exact_cache(llama: HookedModel) -> None:
    settings = Settings(max_new_tokens=NEW, **SAMPLED)
    own = trace(llama, PROMPT, max_new_tokens=NEW, additions=False, **SAMPLED)
    empty = Script.to_write(llama, PROMPT, settings, Limits())
    one, other = replayed(llama, empty, *COMPRESSIONS), replayed(llama, own, *COMPRESSIONS)
    for name, array in one.arrays().items():
        assert np.array_equal(array, other.arrays()[name]), name
    assert [token.id for token in one.tokens] == [token.id for token in own.tokens]


def test_a_token_that_a_person_chose_is_no_change_that_a_cache_makes(llama: HookedModel) -> None:
    run = trace(llama, PROMPT, max_new_tokens=6)
    other = next(each.id for each in run.choices[2].candidates if each.id != run.choices[2].id)
    forked = fork(llama, run, step=2, token_id=other)
    record = list(trials(llama, forked, [Compression(kind="window", window=64)]))[-1]
    assert [each.first_changed for each in record.trials] == [None, None]
    assert not record.kl.any()


def test_a_run_that_was_stopped_is_replayed_as_far_as_it_went(llama: HookedModel) -> None:
    run = trace(llama, PROMPT, max_new_tokens=NEW, additions=False)
    part = Script(prompt=run.prompt, ids=Script.of(run).ids[:-4], n_prompt=run.n_prompt, settings=run.settings)
    whole, cut = replayed(llama, run, *COMPRESSIONS), replayed(llama, part, *COMPRESSIONS)
    assert np.array_equal(whole.kl[:, :-4], cut.kl) and np.array_equal(whole.chosen[:, :-4], cut.chosen)


# Tokens taken out


def masked(hooked: HookedModel, run: Trace, compression: Compression) -> np.ndarray:
    """Logits of each written token by one pass without a cache, the keys that are gone masked out for those after."""
    fed, n_prompt = run.n_fed, run.n_prompt
    hidden = torch.zeros(fed, fed, dtype=torch.bool)
    for row in range(fed):
        for key in range(row + 1):
            if compression.kind == "dropped":
                gone = row >= n_prompt and key in compression.dropped
            else:  # the pass of `row` came on a cache of `row` tokens; in the prefill nothing is gone yet
                gone = row >= n_prompt and key < row - compression.window and key >= compression.sink
            hidden[row, key] = gone
    hidden |= torch.ones(fed, fed, dtype=torch.bool).triu(1)
    mask = torch.zeros(1, 1, fed, fed).masked_fill(hidden, torch.finfo(torch.float32).min)
    ids = torch.tensor([[token.id for token in run.tokens[:fed]]])
    with torch.no_grad():
        logits = hooked.model(ids, attention_mask=mask, position_ids=torch.arange(fed)[None], use_cache=False).logits
    return logits[0, n_prompt - 1 :].float().numpy()


@pytest.mark.parametrize("compression", COMPRESSIONS[2:], ids=lambda compression: compression.name)
def test_tokens_that_are_gone_are_as_if_masked_and_the_others_keep_their_positions(
    hooked: HookedModel, run: Trace, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = raw_logits(monkeypatch)
    replayed(hooked, run, compression)
    theirs = masked(hooked, run, compression)
    assert np.abs(torch.stack(seen[NEW:]).numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert np.abs(theirs - run.logits).max() > 1e-2  # it does something


@pytest.mark.parametrize("compression", COMPRESSIONS[2:], ids=lambda compression: compression.name)
def test_attention_that_is_given_a_mask_sees_the_tokens_that_stay(compression: Compression) -> None:
    """Eager attention gets its mask from the cache's own account of its length; sdpa needs none for one token."""
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    eager = load(model=model, tokenizer=tiny_tokenizer())
    run = trace(eager, PROMPT, max_new_tokens=NEW, additions=False)
    theirs, ours = replayed(shared(), Script.of(run), compression), replayed(eager, run, compression)
    assert eager.card.attention == "eager"
    assert np.allclose(ours.kl, theirs.kl, rtol=1e-3, atol=1e-6) and np.array_equal(ours.kv_bytes, theirs.kv_bytes)


def test_the_cache_holds_as_many_tokens_as_are_said_to_stay(record: CacheTrials) -> None:
    each = int(record.kv_bytes[0, 0]) // len(PROMPT)
    assert record.kv_bytes[3].tolist() == [9 * each] * NEW
    assert record.kv_bytes[4].tolist() == [9 * each] * NEW
    assert record.kv_bytes[5].tolist() == [(len(PROMPT) - 3 + step) * each for step in range(NEW)]
    assert [trial.n_bytes for trial in record.trials] == record.kv_bytes[:, -1].tolist()


def test_the_prefill_reads_with_the_whole_cache(record: CacheTrials) -> None:
    assert record.kl[:, 0].tolist() == [0.0] * len(record.trials)
    assert (record.kl[1:, 1:].max(axis=1) > 0).all()


# Fewer bits


def predicted_bytes(record: CacheTrials, bits: int) -> list[int]:
    """Codes, float16 lowest numbers and steps, and the latest tokens in float32."""
    card, sizes = record.model, []
    for read in range(record.n_prompt, record.n_prompt + record.kl.shape[1]):
        groups, full = divmod(read, GROUP)
        codes = 2 * groups * GROUP * card.d_head * bits // 8
        beside = 2 * 2 * groups * (card.d_head + GROUP)
        sizes.append(card.n_layers * card.n_kv_heads * (codes + beside + 2 * full * card.d_head * 4))
    return sizes


@pytest.mark.parametrize("bits", [8, 4])
def test_bytes_are_codes_scales_and_the_tokens_that_wait(record: CacheTrials, bits: int) -> None:
    assert record.kv_bytes[2 if bits == 4 else 1].tolist() == predicted_bytes(record, bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_layer_holds_nothing_but_what_is_counted(bits: int) -> None:
    layer = Quantised(bits)
    torch.manual_seed(0)
    read = 0
    for count in (20, 1, 11, 1, 30, 1):  # 20, 32 and 63 tokens complete groups
        layer.update(torch.randn(1, 2, count, 12), torch.randn(1, 2, count, 12))
        read += count
        assert cache_bytes(Cache(layers=[layer])) == storage_bytes(layer)
        assert layer.keys is not None and layer.keys.shape[2] == read % GROUP


def storage_bytes(layer: Any) -> int:
    """Memory behind all tensors of a cache layer, wherever it keeps them, that of views counted whole."""
    values = [each for value in vars(layer).values() for each in (value, *gc.get_referents(value))]
    held = [each for each in values if isinstance(each, torch.Tensor)]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}.values())


def test_tokens_that_left_are_not_in_memory() -> None:
    cache = compressed_cache(1, "sink + window", 2, 5, ())
    for count in (20, 1, 1):
        cache.update(torch.randn(1, 2, count, 12), torch.randn(1, 2, count, 12), 0)
        assert cache_bytes(cache) == 2 * 2 * 7 * 12 * 4
        assert storage_bytes(cache.layers[0]) == cache_bytes(cache) + 7 * 8  # and the positions that are held


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [12, 7])
@pytest.mark.parametrize("over", [-1, -2])
def test_unpacked_numbers_are_within_half_a_step(bits: int, width: int, over: int) -> None:
    torch.manual_seed(1)
    rows = torch.randn(1, 2, 3, 5, width) * torch.tensor([1e-3, 1, 30])[:, None, None] + 2
    packed = pack(rows, bits, over=over)
    assert packed[0].shape[-1] == (width if bits == 8 else (width + 1) // 2)
    back, (_, low, step) = unpack(packed, bits, width), packed
    assert back.shape == rows.shape
    rounding = 2**-10 * low.float().abs() + 2**-10 * (2**bits) * step.float()  # of the float16 numbers beside the codes
    assert bool(((back - rows).abs() <= step.float() / 2 + rounding).all())


def test_rows_that_are_all_alike_come_back() -> None:
    rows = torch.full((1, 1, 1, 4, 6), 1.5)
    assert torch.equal(unpack(pack(rows, 4, over=-1), 4, 6), rows)


def test_each_token_is_quantised_once_with_its_group() -> None:
    torch.manual_seed(2)
    keys, values = torch.randn(2, 1, 2, 3 * GROUP, 12)
    whole, steps = Quantised(4), Quantised(4)
    whole.update(keys, values)
    for at in range(3 * GROUP):
        given = steps.update(keys[:, :, at : at + 1], values[:, :, at : at + 1])
        assert torch.equal(given[0][:, :, -1], keys[:, :, at])  # a pass sees its own token in full
    nothing = torch.empty(1, 2, 0, 12)
    for one, other in zip(whole.update(nothing, nothing), steps.update(nothing, nothing), strict=True):
        assert torch.equal(one, other)


def test_eight_bits_do_less_damage_than_four(record: CacheTrials) -> None:
    assert 0 < record.kl[1].mean() < record.kl[2].mean() / 10


# What is recorded


def test_the_divergence_and_the_choices_are_those_of_the_trials_logits(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sampled run: the first of each trial's choices that differs is drawn with the run's own random numbers."""
    from model.capture.sampling import choose

    run = trace(llama, PROMPT, max_new_tokens=NEW, additions=False, temperature=1.0, seed=4)
    seen = raw_logits(monkeypatch)
    record = replayed(llama, run, *COMPRESSIONS)
    logits = torch.stack(seen).reshape(len(COMPRESSIONS) + 1, NEW, -1)
    for row, trial in enumerate(record.trials):
        rng = torch.Generator().manual_seed(4)
        read = torch.tensor([PROMPT])
        drawn = [int(choose(logits[row, at][None], [], read, rng).ids) for at in range(NEW)]
        assert record.chosen[row].tolist() == drawn
        differs = np.flatnonzero(record.chosen[row] != record.chosen[0])
        assert trial.first_changed == (int(differs[0]) if len(differs) else None)
        p, q = (logits[each].double().softmax(-1) for each in (0, row))
        assert np.allclose(record.kl[row], (p * (p / q).log()).sum(-1).numpy(), rtol=1e-9, atol=1e-12)
        assert set(record.chosen[row].tolist()) <= record.texts.keys()
    assert any(trial.first_changed for trial in record.trials)


def test_a_record_comes_after_each_trial_and_the_usual_ones_are_tried(llama: HookedModel, tmp_path: Any) -> None:
    run = trace(llama, PROMPT, max_new_tokens=NEW, additions=False)
    records = list(trials(llama, run))
    half = (len(PROMPT) + NEW - 1) // 2
    names = ["exact", "int8", "int4", f"window {half}", f"sink 4 + window {half}"]
    assert [[trial.name for trial in each.trials] for each in records] == [names[: n + 1] for n in range(5)]
    records[-1].save(tmp_path / "run.trials")
    again = CacheTrials.open(tmp_path / "run.trials")
    assert np.array_equal(again.kl, records[-1].kl) and again.texts == records[-1].texts


def test_trials_end_where_they_are_asked_to_and_hold_the_model_during_a_pass_only(llama: HookedModel) -> None:
    run = trace(llama, PROMPT, max_new_tokens=NEW, additions=False)
    going = trials(llama, run, COMPRESSIONS)
    next(going)
    assert not llama.guard.locked()
    going.close()
    assert list(going) == []
    job = Told(lambda *_: job.stop() if len(job.said) == NEW + 5 else None)
    records = list(trials(llama, run, COMPRESSIONS, job=job))
    seen = job.said
    assert [trial.kind for trial in records[-1].trials] == ["exact"] and len(records) == 1
    assert len(seen) == NEW + 5 and [each[0] for each in seen[:NEW]] == list(range(NEW))
    assert seen[-1][1:] == (6 * NEW, "int8") and not llama.guard.locked()


# Refusals


@pytest.mark.parametrize(
    ("compression", "words"),
    [
        (Compression(kind="window"), "window is 0; it must be a whole number from 1"),
        (Compression(kind="sink + window", window=4), "sink is 0"),
        (Compression(kind="sink + window", sink=4), "window is 0"),
        (Compression(kind="dropped", dropped=(3, 20)), "position 20"),
        (Compression(kind="dropped", dropped=(-1,)), "positions 0 to 19"),
        (Compression(kind="int2"), "int2"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_means_nothing_is_refused_at_once(llama: HookedModel, compression: Compression, words: str) -> None:
    run = trace(llama, PROMPT, max_new_tokens=2, additions=False)
    with pytest.raises(BadSetting, match=words):
        trials(llama, run, [compression])


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gpt_oss", "gemma3_text", "llama4_text"])
def test_a_cache_that_is_not_plain_is_refused_with_the_reason(family: str) -> None:
    hooked = shared(family)
    with pytest.raises(NotShown, match="window of the latest tokens"):
        trials(hooked, Script(prompt="", ids=(5, 6), n_prompt=2, settings=Settings(max_new_tokens=2)))


def test_without_positions_in_the_keys_tokens_stay_and_bits_go() -> None:
    hooked = shared("bloom")
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    for compression in COMPRESSIONS[2:]:
        with pytest.raises(NotShown, match="ALiBi"):
            trials(hooked, run, [compression])
    assert [each.kind for each in usual(hooked, 30)] == ["int8", "int4"]
    record = last(trials(hooked, run))
    assert 0 < record.kl[1].mean() < record.kl[2].mean()


def _script(ids: Sequence[int], n_prompt: int, n_new: int) -> Script:
    return Script(prompt="", ids=tuple(ids), n_prompt=n_prompt, settings=Settings(max_new_tokens=n_new))


def test_a_run_that_this_model_cannot_have_made_is_refused(llama: HookedModel) -> None:
    run = trace(llama, PROMPT, max_new_tokens=3, additions=False)
    with pytest.raises(BadTrace, match="only the model that made a run"):
        trials(shared("gpt2"), run)
    with pytest.raises(BadTrace, match="other weights"):
        next(trials(llama, replace(run, logits=run.logits + 0.1)))
    with pytest.raises(BadPrompt, match="token id 199"):
        trials(llama, _script([5, 199], 1, 4))
    with pytest.raises(BadPrompt, match="0 of 2 tokens"):
        trials(llama, _script([5, 6], 0, 4))
    with pytest.raises(BadPrompt, match="3 generated tokens"):
        trials(llama, _script([5, 6, 7, 8], 1, 2))
    with pytest.raises(PromptTooLong, match="this host allows at most 3"):
        Script.to_write(llama, PROMPT, Settings(max_new_tokens=2), Limits(prompt_tokens=3))
    with pytest.raises(PromptTooLong, match="130 tokens"):
        trials(llama, _script([5] * 127, 127, 3))


# The default model


@pytest.mark.long
def test_on_the_default_model_bits_cost_little_and_the_first_tokens_matter_most(default_model: HookedModel) -> None:
    text = (
        "The capital of France is Paris, and its largest river is the Seine. The capital of Italy is Rome, and its "
        "largest river is the Po. The capital of Spain is"
    )
    run = trace(default_model, text, max_new_tokens=10, additions=False)
    record = last(trials(default_model, run))
    exact, int8, int4, window, sink = record.kl.mean(axis=1)
    assert exact == 0
    assert 0 < int8 < 1e-3 and 10 * int8 < int4 < 0.1
    assert window > 0.3 and sink < window / 5
    assert [trial.first_changed for trial in record.trials[:2]] == [None, None]
    shares = record.kv_bytes[:, -1] / record.kv_bytes[0, -1]
    assert shares[1] < 0.5 and shares[2] < 0.42 and shares[3] == pytest.approx(0.5, abs=0.02)
    assert record.kv_bytes[1].tolist() == predicted_bytes(record, 8)
    assert record.kv_bytes[2].tolist() == predicted_bytes(record, 4)
