"""A model in half precision keeps the contract of a float32 one, and its self-check can fail as theirs does."""

# pyright: reportPrivateUsage=false

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from model import Ask, HookedModel, Limits, Settings, fork, load, measure, serve, speculate, trace, trials
from model.arch import anatomy
from model.arch.anatomy import Anatomy
from model.arch.rounding import why_texts_differ
from model.capture.tracer import Tracer
from model.cli.arguments import sub_command
from model.cli.main import main
from model.errors import BadSetting, NotANumber, NotShown
from model.loading import selfcheck
from model.records.trace import Trace
from model.requests.registry import EXPERIMENTS, named
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint in bfloat16."""
    place = tmp_path / "half"
    tiny_model("qwen3").to(torch.bfloat16).save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def test_a_folder_is_loaded_in_the_precision_that_is_asked_for(folder: Path) -> None:
    for asked, dtype in [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
    ]:
        hooked = load(folder, dtype=asked)
        assert {each.dtype for each in hooked.model.parameters()} == {dtype}
        assert hooked.card.dtype == str(dtype).removeprefix("torch.")
        own = AutoModelForCausalLM.from_pretrained(hooked.folder)
        assert own.dtype == dtype and (hooked.folder == folder) == (dtype == torch.bfloat16)
        assert torch.equal(own(torch.tensor([PROMPT])).logits, hooked.model(torch.tensor([PROMPT])).logits)


def test_auto_is_the_checkpoints_own_precision_on_an_accelerator(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.loading.load._device", lambda: "cpu:0")  # by its name, no processor
    assert load(folder).card.dtype == "bfloat16"
    assert load(folder, dtype="float32").card.dtype == "float32"


@pytest.mark.parametrize("given", ["float8", "half", "", torch.int8])
def test_another_precision_is_refused(folder: Path, given: Any) -> None:
    with pytest.raises(BadSetting, match="one of auto, float32, bfloat16, float16"):
        load(folder, dtype=given)


def test_a_model_from_memory_keeps_its_precision() -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    with pytest.raises(BadSetting, match=r"model.to\(torch.float16\)"):
        load(model=model, tokenizer=tiny_tokenizer(), dtype="float16")
    assert load(model=model, tokenizer=tiny_tokenizer(), dtype="bfloat16").card.dtype == "bfloat16"


def test_what_torch_cannot_compute_in_a_precision_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr(nn.Linear, "forward", missing)
    with pytest.raises(NotShown, match=r"cannot run half in float16 on cpu: .*Half.* Load it with dtype float32"):
        load(folder, dtype="float16")


def test_an_overflow_names_the_precision_that_it_happens_in() -> None:
    model = tiny_model("llama").to(torch.float16)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(6e4)
    with pytest.raises(NotANumber, match=r"overflow in float16\. Load other weights, or load these in float32"):
        load(model=model, tokenizer=tiny_tokenizer())


def test_the_command_line_runs_and_forks_in_the_precision_of_the_run(folder: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run.trace"
    asked = ["--model", str(folder), "--max-new-tokens", "5"]
    assert main(["w5 w17 w40", *asked, "--dtype", "bfloat16", "-o", str(run)]) == 0
    made = Trace.open(run)
    assert made.model.dtype == "bfloat16"
    again = ["fork", str(run), "--step", "2", "--token-id", str(made.choices[2].id), "--model", str(folder)]
    assert main([*again, "-o", str(tmp_path / "fork.trace")]) == 0
    assert np.array_equal(Trace.open(tmp_path / "fork.trace").logits, made.logits)
    assert main([*again, "--dtype", "float32"]) == 2
    assert "dtype bfloat16), but half (dtype float32) is loaded" in capsys.readouterr().err


@pytest.mark.parametrize("experiment", [each.name for each in EXPERIMENTS])
def test_every_kind_takes_a_precision(experiment: str) -> None:
    said = sub_command(named(experiment)).format_help()
    assert "--dtype NAME" in said and "bfloat16" in said


def test_measuring_serving_drafting_and_compressing_work_in_half_precision(dtype: torch.dtype) -> None:
    hooked, settings, limits = shared("llama", dtype=dtype), Settings(max_new_tokens=6), Limits()
    name = hooked.card.dtype
    *_, measured = measure(hooked, PROMPT, settings, limits, repeats=1)
    assert measured.model.dtype == name and measured.machine.dtype == name
    *_, served = serve(hooked, [Ask(prompt="w5 w6 w7"), Ask(prompt="w9 w10")], settings, limits)
    assert name in served.machine and served.block_bytes == 2 * 3 * 2 * 12 * 2 * 8  # keys, layers, heads, width, bytes
    *_, drafted = speculate(hooked, PROMPT, settings, limits, modes=("prompt lookup", "early exit"), repeats=1)
    assert name in drafted.machine and len(drafted.attempts) == 2
    run = trace(hooked, PROMPT, max_new_tokens=6, additions=False)
    *_, tried = trials(hooked, run)
    exact, *others = tried.trials
    assert exact.n_bytes == run.steps[-1].kv_bytes > min(each.n_bytes for each in others)
    assert np.isfinite(tried.kl).all() and not tried.kl[0].any()


def test_a_text_that_rounding_makes_another_says_so(dtype: torch.dtype) -> None:
    hooked = shared("llama", dtype=dtype)
    asked = [Ask(prompt=f"w{at} w{at + 9} w{at + 20}") for at in range(5, 9)]
    *_, served = serve(hooked, asked, Settings(max_new_tokens=32), Limits(), n_blocks=64)
    told = any("has other tokens" in note for note in served.notes)
    why = why_texts_differ(hooked.model)
    assert why is not None and f"computes in {hooked.card.dtype}, which rounds by" in why
    assert (why in served.notes) == told
    assert why_texts_differ(shared("llama").model) is None
