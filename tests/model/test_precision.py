"""A model in half precision keeps the contract of a float32 one, and its self-check can fail as theirs does."""

# pyright: reportPrivateUsage=false

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model import HookedModel, fork, load, trace
from model.arch import anatomy
from model.arch.anatomy import Anatomy
from model.capture.tracer import Tracer
from model.loading import selfcheck
from model.records.trace import Trace
from tests.fakes import CHECKS
from tests.model.test_families import HIDDEN, PROMPT, SETTINGS
from tests.tiny import FAMILIES, shared, tiny, tiny_model, tiny_tokenizer

SHORT = [torch.bfloat16, torch.float16]
ROUNDS = {torch.bfloat16: 0.004, torch.float16: 0.0005}  # half of the step between 1 and the next number


@pytest.fixture(params=SHORT, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def passed(hooked: HookedModel) -> dict[str, bool]:
    return {check.name: check.passed for check in hooked.card.checks}


def test_a_family_shows_in_half_precision_what_it_shows_in_float32(family: str, dtype: torch.dtype) -> None:
    card = shared(family, dtype=dtype).card
    assert card.dtype == str(dtype).removeprefix("torch.")
    found = {check.name: check.detail for check in card.checks if not check.passed}
    assert found.keys() == HIDDEN.get(family, {}).keys()
    assert all(word in found[name] for name, word in HIDDEN.get(family, {}).items())


@pytest.mark.parametrize("settings", [SETTINGS["greedy"], SETTINGS["every processor"]], ids=["greedy", "sampled"])
def test_a_traced_run_is_the_librarys_own_in_the_same_precision(
    family: str, dtype: torch.dtype, settings: dict[str, Any]
) -> None:
    hooked = shared(family, dtype=dtype)
    traced = trace(hooked, PROMPT, max_new_tokens=5, additions=False, **settings)
    torch.manual_seed(int(settings.get("seed", 0)))
    sampling = {"do_sample": True} if settings else {"do_sample": False}
    own = hooked.model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=5,
        output_logits=True,
        return_dict_in_generate=True,
        **{**sampling, **{name: value for name, value in settings.items() if name != "seed"}},
    )
    assert [token.id for token in traced.tokens] == own.sequences[0].tolist()
    assert np.array_equal(traced.logits, torch.cat(own.logits).float().numpy())


def test_what_is_kept_is_what_the_model_used_number_for_number(dtype: torch.dtype) -> None:
    run = trace(shared("mistral", dtype=dtype), PROMPT, max_new_tokens=4, additions=False)
    for name in ("queries", "keys", "values", "resid"):
        kept = run.arrays()[name]
        assert kept.dtype == np.float32
        assert np.array_equal(torch.tensor(kept).to(dtype).float().numpy(), kept), f"{name} holds other numbers"


def test_the_check_says_how_closely_in_this_precision(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    details = {check.name: check.detail for check in shared(dtype=dtype).card.checks}
    for check in ("attention", "parts"):
        _, said = details[check].split(f"; in {name} within ")
        assert 0 < float(said.partition("%")[0]) <= 100 * 2 * ROUNDS[dtype]
    assert all(name not in details[check] for check in ("parity", "residual", "resume"))  # exact
    assert all("float32 within" not in check.detail for check in shared().card.checks)


def test_a_hidden_token_is_kept_as_hidden_whatever_number_stands_for_it(dtype: torch.dtype) -> None:
    run = trace(shared("llama4_text", dtype=dtype), PROMPT, max_new_tokens=2, additions=False)
    assert run.masks is not None
    assert set(np.unique(run.masks)) == {np.float32(0), np.finfo(np.float32).min}


def test_a_maskless_capture_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Tracer.attend

    def maskless(
        self: Tracer, original: Any, module: Any, q: Any, k: Any, v: Any, mask: Any, *a: Any, **kw: Any
    ) -> Any:
        return honest(self, original, module, q, k, v, mask, *a, **kw | {"is_causal": False})

    monkeypatch.setattr(Tracer, "attend", maskless)
    assert not any(passed(tiny(dtype=dtype)).values())


def test_a_pattern_that_forgets_the_mask_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(
        "model.records.attention.visible", lambda _, positions, n_keys: np.ones((len(positions), n_keys), bool)
    )
    assert passed(tiny(dtype=dtype)) == dict.fromkeys(CHECKS, True) | {"attention": False}


def test_another_layers_keys_are_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Tracer._put

    def elsewhere(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, (layer + 1) % 3 if name == "keys" else layer, rows)

    monkeypatch.setattr(Tracer, "_put", elsewhere)
    assert passed(tiny(dtype=dtype)) == dict.fromkeys(CHECKS, True) | {"attention": False, "resume": False}


def test_a_scale_that_is_off_by_less_than_the_precision_rounds_is_caught(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    honest = Tracer._learn

    def nearly(self: Tracer, layer: int, query: torch.Tensor, key: torch.Tensor, kwargs: dict[str, Any]) -> None:
        honest(self, layer, query, key, kwargs | {"scaling": kwargs["scaling"] * (1 + ROUNDS[dtype] / 4)})

    monkeypatch.setattr(Tracer, "_learn", nearly)
    assert passed(tiny(dtype=dtype)) == dict.fromkeys(CHECKS, True) | {"attention": False}


def test_an_attention_that_is_not_what_ran_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Tracer.attend

    def changed(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        result = honest(self, *args, **kwargs)
        for passes in (self.outputs or {}).values():
            passes[-1].ran.mul_(1.2)
        return result

    monkeypatch.setattr(Tracer, "attend", changed)
    assert not passed(tiny("qwen3", dtype))["attention"]


def test_a_lens_with_a_wrong_norm_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Anatomy.logits

    def unnormed(self: Anatomy, resid: torch.Tensor, config: Any) -> torch.Tensor:
        object.__setattr__(self, "final_norm", nn.Identity())
        return honest(self, resid, config)

    monkeypatch.setattr(Anatomy, "logits", unnormed)
    assert passed(tiny(dtype=dtype)) == dict.fromkeys(CHECKS, True) | {"lens": False}


def test_a_lens_that_norms_twice_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Anatomy.logits

    def twice(self: Anatomy, resid: torch.Tensor, config: Any) -> torch.Tensor:
        assert self.final_norm is not None
        return honest(self, self.final_norm(resid.to(dtype)), config)

    model = tiny_model("gpt2")
    with torch.no_grad():
        model.transformer.ln_f.weight.normal_(1, 0.1)
    monkeypatch.setattr(Anatomy, "logits", twice)
    checks = load(model=model.to(dtype), tokenizer=tiny_tokenizer()).card.checks
    assert [check.name for check in checks if not check.passed] == ["lens"]


def test_parts_of_which_one_is_missing_are_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr("model.arch.anatomy._Probe.parts", lambda _: ("mlp",))
    assert passed(tiny(dtype=dtype)) == dict.fromkeys(CHECKS, True) | {"parts": False}


def test_a_small_part_is_no_rounding(dtype: torch.dtype) -> None:
    """Attention that adds a twentieth of what it would: less than the precision rounds of the largest number."""
    model = tiny_model("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(0.01)
        model.get_input_embeddings().weight[:, 0] = 50.0
    found = anatomy.find(model.to(dtype))
    assert set(found.parts) == {("self_attn", "mlp")}


def test_a_shifted_residual_is_caught(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    honest = Tracer._put

    def off(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, layer, rows * (1 + 2 * ROUNDS[dtype]) if name == "resid" else rows)

    monkeypatch.setattr(Tracer, "_put", off)
    assert not passed(tiny(dtype=dtype))["residual"]


def test_a_fork_goes_on_from_the_recorded_cache_bit_for_bit(dtype: torch.dtype) -> None:
    hooked = shared("qwen3", dtype=dtype)
    run = trace(hooked, PROMPT, max_new_tokens=5, additions=False)
    same = fork(hooked, run, 2, run.choices[2].id, additions=False)
    assert [token.id for token in same.tokens] == [token.id for token in run.tokens]
    assert np.array_equal(same.logits, run.logits)
    for name in ("queries", "keys", "values", "resid"):
        assert np.array_equal(same.arrays()[name], run.arrays()[name]), name


def test_a_record_is_saved_and_opened_as_it_was(dtype: torch.dtype, tmp_path: Any) -> None:
    run = trace(shared("gpt_oss", dtype=dtype), PROMPT, max_new_tokens=3)
    run.save(tmp_path / "short.trace")
    again = Trace.open(tmp_path / "short.trace")
    assert again.model.dtype == str(dtype).removeprefix("torch.")
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in run.arrays().items())


def test_a_device_that_does_not_repeat_is_measured_and_said(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    model = tiny_model("llama").to(dtype)
    noise = torch.Generator().manual_seed(0)

    def unsteady(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output * (1 + ROUNDS[dtype] * torch.randn(output.shape, generator=noise).to(dtype))

    model.model.layers[1].mlp.register_forward_hook(unsteady)
    checks = {check.name: check for check in load(model=model, tokenizer=tiny_tokenizer()).card.checks}
    assert checks["parity"].passed and "within the device's own spread" in checks["parity"].detail
    assert checks["attention"].passed and not checks["resume"].passed

    honest = Tracer.attend

    def wrong(self: Tracer, original: Any, module: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
        return honest(self, original, module, -q, *args, **kwargs)

    monkeypatch.setattr(Tracer, "attend", wrong)
    again = selfcheck.check(model, anatomy.find(model))
    assert not again[0].passed and "differ by up to" in again[0].detail
