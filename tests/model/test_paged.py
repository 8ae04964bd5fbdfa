"""The adapter of the library's engine: its contract with the known version, the bytes of its blocks, what it sees."""

# pyright: reportPrivateUsage=false

# pyright: reportPrivateUsage=false

import math

import pytest
import torch
import transformers
from transformers import AttentionInterface, DynamicCache
from transformers.generation.continuous_batching import input_outputs
from transformers.integrations.eager_paged import eager_paged_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from model import HookedModel, load
from model.arch.transformers_version import KNOWN
from model.capture.cache_size import cache_bytes
from model.errors import NotShown
from model.experiments.batching.paged import EAGER, Bounds, EngineTick, NoBlockLeft, Paged
from model.records.timing import kv_bytes
from tests.tiny import FAMILIES, shared, sweep, tiny, tiny_model, tiny_tokenizer

PAGED = ("gpt2", "gpt_neox", "llama", "qwen3", "granite", "cohere", "opt")  # all keys of all tokens in every layer
PROMPTS = ([5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [5, 6, 7, 8, 9, 10, 11, 12, 33], [40, 41], [90] * 13)
NEW = 12
BOUNDS = Bounds(block_size=4, n_blocks=14, token_budget=9, max_requests=3, prefix_caching=True)


@pytest.fixture(scope="module")
def llama() -> HookedModel:
    hooked = tiny("llama")
    hooked.model.generation_config.eos_token_id = None  # every text has its full length
    return hooked


def plain(hooked: HookedModel, ids: list[int], new: int = NEW) -> list[int]:
    asked = torch.tensor([ids])
    text = hooked.model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=new, do_sample=False)
    return text[0, len(ids) :].tolist()


def ticks(
    hooked: HookedModel, bounds: Bounds = BOUNDS, *, eager: bool = True, attention: bool = False
) -> list[EngineTick]:
    paged = Paged(hooked, bounds, eager=eager)
    for number, ids in enumerate(PROMPTS):
        paged.add(number, ids, NEW)
    seen = []
    while (tick := paged.tick(room=10**9 if attention else None)) is not None:
        seen.append(tick)
    return seen


def written(seen: list[EngineTick]) -> list[list[int]]:
    texts: list[list[int]] = [[] for _ in PROMPTS]
    for chunk in (chunk for tick in seen for chunk in tick.scheduled):
        if chunk.written is not None:
            texts[chunk.request].append(chunk.written)
    return texts


@pytest.mark.parametrize("family", sweep(PAGED, ("gpt2", "gpt_neox", "llama", "opt")))
@pytest.mark.parametrize("eager", [True, False], ids=["paged eager", "own attention"])
def test_every_text_is_what_generate_writes(family: str, eager: bool) -> None:
    hooked = shared(family)
    assert written(ticks(hooked, eager=eager)) == [plain(hooked, ids) for ids in PROMPTS]


def test_a_tick_looks_at_no_more_tokens_than_the_cache_holds_though_they_are_shared(llama: HookedModel) -> None:
    begins, n_tokens = list(range(5, 29)), 24 * 4
    paged = Paged(
        llama, Bounds(block_size=4, n_blocks=24, token_budget=32, max_requests=8, prefix_caching=True), eager=True
    )
    paged.add(0, [*begins, 40], NEW)
    while paged.tick() is not None:
        pass
    for number in range(1, 5):
        paged.add(number, [*begins, 40 + number], NEW)
    idle = 0
    while (tick := paged.tick()) is not None:
        looked_at = sum(chunk.first for chunk in tick.scheduled)
        served, most_free = {chunk.request for chunk in tick.scheduled}, tick.n_free_blocks > 24 // 4
        assert looked_at <= n_tokens
        for table in tick.block_tables:
            if table.request not in served and most_free:
                idle += 1
                assert looked_at + table.n_tokens > n_tokens
    assert idle


def test_a_model_that_runs_on_eager_attention_is_paged_too() -> None:
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    assert written(ticks(hooked, eager=False)) == [plain(hooked, ids) for ids in PROMPTS]
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(PAGED)))
def test_what_cannot_be_paged_is_refused_with_its_reason(family: str) -> None:
    with pytest.raises(
        NotShown, match=r"cannot be served from a paged cache: its? (keeps|own attention|attention) .*Pick a model"
    ):
        Paged(shared(family), BOUNDS, eager=True)


def test_scores_that_are_capped_are_refused(llama: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.model.config, "attn_logit_softcapping", 5.0, raising=False)
    with pytest.raises(NotShown, match="caps its scores"):
        Paged(llama, BOUNDS, eager=True)


@pytest.mark.parametrize("family", PAGED)
def test_a_block_has_the_bytes_of_the_formula_of_the_tensors_and_of_a_plain_cache(family: str) -> None:
    hooked = shared(family)
    paged = Paged(hooked, BOUNDS, eager=True)
    cache = DynamicCache()
    hooked.model(torch.tensor([[7] * BOUNDS.block_size]), past_key_values=cache)
    assert paged.block_bytes == kv_bytes(hooked.card, BOUNDS.block_size) == cache_bytes(cache)
    n_bytes = paged._cache.cache_tensor.numel()  # of bytes, as the engine holds it
    assert n_bytes == (paged.n_blocks + 2) * paged.block_bytes  # two blocks are for padding
    assert paged.n_blocks == BOUNDS.n_blocks


def test_attention_is_what_ran_and_none_of_it_leaves_its_text(llama: HookedModel) -> None:
    seen = ticks(llama, attention=True)
    assert {tick.cross_request_weight for tick in seen} == {0.0}
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    texts = [ids + own for ids, own in zip(PROMPTS, written(seen), strict=True)]
    alone = [torch.stack(model(torch.tensor([text]), output_attentions=True).attentions)[:, 0] for text in texts]
    compared = 0
    for tick in seen:
        row, columns = 0, dict(zip([number for number, _ in tick.key_lengths], _starts(tick), strict=True))
        assert tick.attention is not None
        for chunk in tick.scheduled:
            stop, first = chunk.first + chunk.n_tokens, columns[chunk.request]
            own = tick.attention[:, :, row : row + chunk.n_tokens, first : first + stop]
            torch.testing.assert_close(own, alone[chunk.request][:, :, chunk.first : stop, :stop], atol=1e-5, rtol=0)
            torch.testing.assert_close(own.sum(-1), torch.ones(own.shape[:-1]), atol=1e-5, rtol=0)
            row, compared = row + chunk.n_tokens, compared + chunk.n_tokens
    assert compared == sum(tick.attention.shape[2] for tick in seen if tick.attention is not None)


def _starts(tick: EngineTick) -> list[int]:
    counts = [count for _, count in tick.key_lengths]
    return [sum(counts[:place]) for place in range(len(counts))]


def test_a_broken_mask_is_seen(llama: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law of no cross-request attention can fail: without the engine's mask, texts look at one another."""
    monkeypatch.setattr(input_outputs, "build_attention_mask", lambda attention_mask, **_: attention_mask.zero_())
    assert max(tick.cross_request_weight or 0 for tick in ticks(llama, attention=True)) > 0.01


def test_attention_for_which_there_is_no_room_is_heard_and_not_kept(llama: HookedModel) -> None:
    whole = ticks(llama, attention=True)
    size = max(tick.attention.numel() for tick in whole if tick.attention is not None)
    paged = Paged(llama, BOUNDS, eager=True)
    for number, ids in enumerate(PROMPTS):
        paged.add(number, ids, NEW)
    for same in whole:
        tick = paged.tick(room=size - 1)
        assert (
            tick is not None and same.attention is not None and tick.cross_request_weight == same.cross_request_weight
        )
        assert (tick.attention is None) == (same.attention.numel() == size)


def test_texts_that_begin_alike_share_blocks_and_read_less(llama: HookedModel) -> None:
    own = ticks(llama, Bounds(block_size=4, n_blocks=14, token_budget=9, max_requests=3, prefix_caching=False))
    both = ticks(llama)
    assert written(own) == written(both)
    assert [tick.n_cached_tokens for tick in own if tick.n_cached_tokens or tick.shared_blocks] == []
    assert [tick.n_cached_tokens for tick in both if tick.n_cached_tokens] == [((1, 8),)]
    read = [sum(chunk.n_tokens for tick in seen for chunk in tick.scheduled) for seen in (own, both)]
    assert read[0] - read[1] == 8
    counts = {
        block: sum(block in table.blocks for table in tick.block_tables)
        for tick in both
        for block, _ in tick.shared_blocks
    }
    assert set(counts.values()) <= {0, 1, 2} and counts


def test_with_too_few_blocks_a_text_makes_room_and_is_read_again(llama: HookedModel) -> None:
    seen = ticks(llama, Bounds(block_size=4, n_blocks=8, token_budget=9, max_requests=3, prefix_caching=True))
    assert written(seen) == [plain(llama, ids) for ids in PROMPTS]
    back = [(at, number) for at, tick in enumerate(seen) for number in tick.preempted]
    assert back
    for at, number in back:
        assert number in seen[at].waiting and number not in [table.request for table in seen[at].block_tables]
        again = next(chunk for tick in seen[at:] for chunk in tick.scheduled if chunk.request == number)
        assert again.phase == "prefill"


def test_where_no_text_can_go_on_the_engine_says_so(llama: HookedModel) -> None:
    paged = Paged(
        llama, Bounds(block_size=4, n_blocks=2, token_budget=9, max_requests=1, prefix_caching=True), eager=True
    )
    paged.add(0, [9] * 6, 8)
    with pytest.raises(NoBlockLeft):
        list(iter(paged.tick, None))
    assert llama.model.config._attn_implementation == llama.card.attention


def test_the_engine_leaves_no_trace_on_the_model_nor_on_random_numbers(llama: HookedModel) -> None:
    before, state, names = plain(llama, [5, 6, 7]), torch.get_rng_state(), set(vars(llama.model))
    logits = llama.model(torch.tensor([[5, 6, 7]])).logits
    ticks(llama, attention=True)
    assert torch.equal(torch.get_rng_state(), state) and set(vars(llama.model)) == names
    assert torch.equal(llama.model(torch.tensor([[5, 6, 7]])).logits, logits) and plain(llama, [5, 6, 7]) == before
    assert llama.model.config._attn_implementation == llama.card.attention


def test_after_a_tick_the_librarys_own_function_is_called(llama: HookedModel) -> None:
    ticks(llama, attention=True)
    assert ALL_ATTENTION_FUNCTIONS.get_interface(EAGER, eager_paged_attention_forward) is eager_paged_attention_forward


# The contract with the known version


def test_the_library_is_of_the_known_version() -> None:
    assert transformers.__version__.startswith(f"{KNOWN}."), "read the engine again, then move the pin"


@pytest.mark.parametrize("part", ["scheduler.active_requests", "cache.pool", "scheduler.waiting_requests_order"])
def test_an_engine_of_other_parts_is_said_to_be_another_version(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    from model.experiments.batching import paged as adapter

    of_library = adapter._engine

    def newer(*args, **bounds):
        manager, processor = of_library(*args, **bounds)
        owner, name = part.split(".")
        delattr(getattr(processor, owner), name)
        return manager, processor

    monkeypatch.setattr(adapter, "_engine", newer)
    with pytest.raises(AttributeError):  # with the known version that is a bug, and is not hidden
        ticks(llama)
    monkeypatch.setattr(transformers, "__version__", "5.99.0")
    with pytest.raises(NotShown, match=r"engine of transformers 5\.99\.0 differs from that of 5\.23"):
        ticks(llama)
    assert llama.model.config._attn_implementation == llama.card.attention


def test_a_library_without_its_paged_attention_is_said_to_be_another_version(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(_: object, name: str, __: object) -> None:
        raise KeyError(name)

    monkeypatch.setattr(AttentionInterface, "get_interface", without)
    monkeypatch.setattr(transformers, "__version__", "5.99.0")
    with pytest.raises(NotShown, match=r"engine of transformers 5\.99\.0 differs"):
        ticks(llama)


def test_a_pass_that_fails_leaves_the_model_as_it_was(llama: HookedModel) -> None:
    class Broken(Exception):
        pass

    def fail(*_) -> None:
        raise Broken

    handle = llama.anatomy.layers[1].register_forward_hook(fail)
    try:
        with pytest.raises(Broken):
            ticks(llama, attention=True)
    finally:
        handle.remove()
    assert llama.model.config._attn_implementation == llama.card.attention
    assert written(ticks(llama)) == [plain(llama, ids) for ids in PROMPTS]


def test_blocks_are_numbered_from_zero_and_hold_the_tokens_that_they_should(llama: HookedModel) -> None:
    for tick in ticks(llama):
        for table in tick.block_tables:
            assert len(table.blocks) == math.ceil(table.n_tokens / BOUNDS.block_size)
            assert all(0 <= block < BOUNDS.n_blocks for block in table.blocks)
