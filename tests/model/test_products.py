"""A few rows are multiplied as is fastest here: measured once, for batched and drafted passes alone, undone after."""

# pyright: reportPrivateUsage=false

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model import HookedModel, Settings, serve, trace
from model.api.job import Job
from model.arch.rounding import CLOSE
from model.capture import products
from model.capture.products import MOST_ROWS, Products
from model.experiments.batching import schedulers
from model.experiments.batching.paged import Bounds
from model.experiments.batching.schedulers import Text
from model.experiments.speculation import half_weights
from model.experiments.speculation.half_weights import HalfLinear, halved, pays
from model.experiments.speculation.speculative import speculate
from model.experiments.timing.timing import count_hooks
from model.limits import Limits
from tests.model.jobs import StopsAfter, Told
from tests.model.served_texts import ASKED, BOUNDS, PROMPTS, last, plain, tokens
from tests.tiny import tiny

ROWS = range(2, MOST_ROWS + 1)


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_SECONDS", {})


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A host on which turned operands are the fastest for every shape; the rows of each such product."""
    rows: list[int] = []

    def watching(product: products.Product) -> products.Product:
        def watched(x: Tensor, weight: Tensor) -> Tensor:
            rows.append(x.shape[1])
            return product(x, weight)

        return watched

    def seconds(name: str, _x: Tensor, _weight: Tensor) -> float:
        return {"linear": 2.0, "turned": 1.0, "turned even": 0.9}[name]

    monkeypatch.setattr(products, "_PRODUCTS", {name: watching(each) for name, each in products._PRODUCTS.items()})
    monkeypatch.setattr(products, "_timed", seconds)
    return rows


# What is chosen


@pytest.mark.parametrize("fastest", ["linear", "turned", "turned even"])
def test_the_fastest_product_is_taken_for_each_number_of_rows(fastest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(products, "time", SimpleNamespace(**{**vars(time), "perf_counter": lambda: clock.now}))

    def takes(name: str, product: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def slow(*given: Any) -> Tensor:
            clock.now += 1.0 if name == fastest else 3.0
            return product(*given)

        return slow

    monkeypatch.setattr(products, "_PRODUCTS", {name: takes(name, each) for name, each in products._PRODUCTS.items()})
    linear = takes("linear", functional.linear)
    monkeypatch.setattr(products, "functional", SimpleNamespace(linear=linear))
    two, three = Products(nn.Linear(8, 6)).measure([2, 3])
    assert (two.n_rows, three.n_rows) == (2, 3)
    assert three.share_turned == (fastest != "linear") and two.share_turned == (fastest == "turned")
    assert three.taken == (1 / 3 if fastest != "linear" else 1) and three.linear == 1


def test_what_gains_next_to_nothing_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_timed", lambda name, *_: 1.0 if name == "linear" else 0.97)
    (two,) = Products(nn.Linear(8, 6)).measure([2])
    assert (two.linear, two.taken, two.share_turned) == (1, 1, 0)


def test_a_shape_is_measured_once_a_process_for_its_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(products, "_timed", lambda name, *_: seen.append(name) or 1.0)
    Products(nn.Sequential(nn.Linear(8, 6), nn.Linear(8, 6))).measure(ROWS)
    once = len(seen)
    Products(nn.Linear(8, 6)).measure(ROWS)
    assert once == len(seen) > 0
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    Products(nn.Linear(8, 6)).measure(ROWS)
    assert len(seen) == 2 * once


def test_only_plain_float32_layers_on_the_processor_are_touched(turned: list[int]) -> None:
    class Own(nn.Linear):
        pass

    half = nn.Linear(8, 6).bfloat16()
    for layer in (Own(8, 6), half, nn.Conv1d(8, 6, 1), nn.Linear(8, 6, device="meta")):
        assert Products(layer).measure(ROWS) == ()
        with Products(layer).taken():
            assert "forward" not in vars(layer)


# What is computed


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 2), (4, 1), (5,), (1, 7), (2, 4)])
def test_another_product_differs_by_rounding_alone(shape: tuple[int, ...], bias: bool, turned: list[int]) -> None:
    layer = nn.Linear(64, 48, bias=bias)
    own = Products(layer)
    own.measure(ROWS)
    x = torch.randn(*shape, 64)
    with torch.inference_mode():
        expected = layer(x)
        with own.taken():
            got = layer(x)
    assert turned and got.shape == expected.shape and got.is_contiguous()
    assert (got - expected).abs().max() <= CLOSE * expected.abs().max()


@pytest.mark.parametrize("rows", [1, 9, 40])
def test_one_row_and_many_rows_are_the_layers_own_bit_for_bit(rows: int, turned: list[int]) -> None:
    layer = nn.Linear(64, 48)
    own = Products(layer)
    own.measure(range(1, 64))
    x = torch.randn(rows, 64)
    with own.taken():
        assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias)) and turned == []


# Who takes it


def bounds_of(n_requests: int) -> Bounds:
    return Bounds(block_size=4, n_blocks=14, token_budget=9, max_requests=n_requests, prefix_caching=False)


def test_plain_decoding_never_takes_another_product(turned: list[int]) -> None:
    """A solo run, and one text after another, whose prompts are a few rows too."""
    hooked = tiny()
    hooked.products.measure(ROWS)
    run = trace(hooked, PROMPTS[2], max_new_tokens=4)
    assert [token.id for token in run.tokens[2:]] == plain(hooked, PROMPTS[2], 4)
    texts = [Text(ids=tuple(ids), max_new_tokens=3, arrives_s=0.0) for ids in PROMPTS]
    schedulers.run("sequential", hooked, texts, Settings(), bounds_of(2), Job())
    schedulers.run("static", hooked, texts[2:3], Settings(), bounds_of(2), Job())
    assert turned == []
    for name in ("static", "continuous"):
        turned.clear()
        schedulers.run(name, hooked, texts, Settings(), bounds_of(2), Job())
        assert 2 in turned, name


def test_plain_decoding_beside_a_draft_never_takes_another_product(turned: list[int]) -> None:
    hooked = tiny()
    told = Told()
    *_, record = speculate(
        hooked, PROMPTS[2], Settings(max_new_tokens=8), Limits(), modes=["prompt lookup"], n_draft=3, job=told
    )
    assert turned and [each.n_rows for each in record.products] == [2, 3, 4] and record.attempts[0].same_tokens
    hooked.products.measure(ROWS)
    turned.clear()
    assert plain(hooked, PROMPTS[2], 8) == [token.id for token in record.tokens[2:]] and turned == []


def test_nothing_is_measured_once_the_first_pass_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    measured = products._timed
    monkeypatch.setattr(products, "_timed", lambda name, *given: seen.append(name) or measured(name, *given))
    for records in (
        serve(tiny(), ASKED, Settings(), Limits(), **BOUNDS),
        speculate(tiny("qwen3"), PROMPTS[0], Settings(max_new_tokens=6), Limits(), modes=["prompt lookup"], n_draft=5),
    ):
        next(records)
        before = len(seen)
        assert before > 0
        *_, record = records
        assert len(seen) == before and record.products


def test_measuring_has_the_host_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Told()
    hooked = tiny()
    times: list[tuple[bool, bool]] = []
    monkeypatch.setattr(products, "_timed", lambda *_: times.append((job.timing, hooked.guard.locked())) or 1.0)
    next(serve(hooked, ASKED, Settings(), Limits(), job=job, **BOUNDS))
    next(speculate(hooked, PROMPTS[0], Settings(max_new_tokens=6), Limits(), n_draft=7, job=job))
    assert times and set(times) == {(True, True)}


# What is left


def test_between_two_ticks_and_after_the_end_the_layers_are_their_own(turned: list[int]) -> None:
    hooked = tiny()
    for _ in serve(hooked, ASKED, Settings(), Limits(), **BOUNDS):
        assert count_hooks(hooked.model) == 0
    assert turned


@pytest.mark.parametrize("checks", [6, 9, 14])
def test_after_a_stop_the_layers_are_their_own(checks: int, turned: list[int]) -> None:
    hooked = tiny()
    for records in (
        serve(hooked, ASKED, Settings(), Limits(), job=StopsAfter(checks), **BOUNDS),
        speculate(hooked, PROMPTS[0], Settings(max_new_tokens=12), Limits(), job=StopsAfter(checks), n_draft=3),
    ):
        list(records)
        assert count_hooks(hooked.model) == 0 and not hooked.guard.locked()


def test_after_a_failure_the_layers_are_their_own(turned: list[int]) -> None:
    hooked = tiny()
    inside: list[int] = []

    def fails(*_: Any) -> None:
        inside.append(count_hooks(hooked.model))
        raise OSError("in the middle of a pass")

    for records in (
        serve(hooked, ASKED, Settings(), Limits(), **BOUNDS),
        speculate(hooked, PROMPTS[0], Settings(max_new_tokens=12), Limits(), modes=["prompt lookup"]),
    ):
        if inside:
            next(records)  # the plain run, which has no other products
        hook = hooked.anatomy.layers[-1].register_forward_hook(fails)
        with pytest.raises(OSError, match="in the middle"):
            list(records)
        hook.remove()
        assert inside[-1] > 1 and count_hooks(hooked.model) == 0 and not hooked.guard.locked()


# The default model


@pytest.fixture
def written(default_model: HookedModel) -> list[list[int]]:
    return [plain(default_model, ids, 6) for ids in PROMPTS[1:]]


@pytest.mark.long
def test_the_default_model_writes_the_same_together_and_with_a_draft(
    default_model: HookedModel, turned: list[int], written: list[list[int]]
) -> None:
    asked = [replace(each, max_new_tokens=6) for each in ASKED[1:]]
    record = last(serve(default_model, asked, Settings(), Limits(), attention=False))
    assert tokens(record) == written and 3 in turned
    assert all(all(scheduler.same_tokens) for scheduler in record.schedulers) and record.notes == ()
    turned.clear()
    *_, drafted = speculate(
        default_model, "1, 2, 3, 4, 5, 6,", Settings(max_new_tokens=10), Limits(), modes=["own draft"], repeats=1
    )
    (attempt,) = drafted.attempts
    assert turned and attempt.same_tokens and (attempt.acceptance or 0) > 0.3
    assert count_hooks(default_model.model) == 0


@pytest.mark.parametrize("n_rows", [2, 3, 4, 8])
def test_the_default_models_logits_of_a_few_rows_hold_the_stated_tolerance(
    default_model: HookedModel, n_rows: int, turned: list[int]
) -> None:
    own = default_model.products
    own.measure(ROWS)
    ids = torch.arange(500, 500 + n_rows)[None]
    with torch.inference_mode():
        expected = default_model.model(ids).logits
        with own.taken():
            got = default_model.model(ids).logits
    assert turned and (got - expected).abs().max() <= CLOSE * expected.abs().max()


# Half weights


def test_half_weights_that_lose_nothing_multiply_as_the_whole_ones() -> None:
    layer = nn.Linear(64, 48, bias=False)
    layer.weight.data = layer.weight.data.half().float()
    x = torch.randn(1, 3, 64)
    try:
        half = HalfLinear(layer.weight.detach())
    except RuntimeError:
        pytest.skip("this processor has no such product")
    expected = layer(x)
    assert (half(x) - expected).abs().max() <= CLOSE * expected.abs().max()
    whole = nn.Sequential(layer, nn.Sequential(nn.Linear(48, 8, bias=False)))
    halved(whole)
    assert [type(each) for each in whole.modules() if not isinstance(each, nn.Sequential)] == [HalfLinear] * 2


@pytest.mark.parametrize("half_s", [0.5, 2.0])
def test_half_weights_are_taken_where_they_are_faster(half_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(16, 8)
    pays(weight)
    monkeypatch.setattr(
        half_weights, "_seconds", lambda product, *_: half_s if isinstance(product, HalfLinear) else 1.0
    )
    assert pays(weight) == (half_s < 1)
    assert not pays(weight.bfloat16()) and not pays(weight.to("meta"))


def test_a_host_without_such_a_product_keeps_the_whole_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(HalfLinear):
        def __init__(self, weight: Tensor) -> None:
            raise RuntimeError("no such product on this processor")

    monkeypatch.setattr(half_weights, "HalfLinear", Absent)
    assert not pays(torch.randn(16, 8))
