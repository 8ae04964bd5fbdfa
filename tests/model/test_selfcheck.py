"""The self-check can fail: broken captures are caught, switched off, and say why."""

# pyright: reportPrivateUsage=false

from typing import Any

import numpy as np
import pytest
import torch

from model import Settings, Trace, load, trace
from model.arch.anatomy import find
from model.capture import decoding
from model.capture.tracer import Tracer
from model.errors import NotShown
from model.loading.evidence import random_ids
from tests.fakes import CHECKS
from tests.tiny import tiny, tiny_model, tiny_tokenizer


def passed() -> dict[str, bool]:
    return {check.name: check.passed for check in tiny().card.checks}


def test_an_honest_capture_passes_and_every_hook_fired() -> None:
    assert passed() == dict.fromkeys(CHECKS, True)


def test_a_maskless_capture_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer.attend

    def maskless(
        self: Tracer, original: Any, module: Any, q: Any, k: Any, v: Any, mask: Any, *a: Any, **kw: Any
    ) -> Any:
        return honest(self, original, module, q, k, v, mask, *a, **kw | {"is_causal": False})

    monkeypatch.setattr(Tracer, "attend", maskless)
    hooked = tiny()
    assert not any(check.passed for check in hooked.card.checks)
    assert "differ" in (hooked.card.reason_against("parity") or "")
    run = trace(hooked, [5, 6, 7], max_new_tokens=2)
    with pytest.raises(NotShown, match="tracing changes what this model computes"):
        run.pattern(0, 0)
    (note,) = run.notes  # which the command line prints on stderr, and the page shows beside every picture
    assert "may not be what the model computes unwatched: the logits of 4 steps differ" in note


def test_wrong_keys_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._put

    def shifted(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, layer, rows.roll(1, dims=1) if name == "keys" else rows)

    monkeypatch.setattr(Tracer, "_put", shifted)
    assert passed() == dict.fromkeys(CHECKS, True) | {"attention": False, "resume": False}


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._learn

    def deaf(self: Tracer, layer: int, query: torch.Tensor, key: torch.Tensor, kwargs: dict[str, Any]) -> None:
        honest(self, layer, query, key, {"scaling": 1.0})

    monkeypatch.setattr(Tracer, "_learn", deaf)
    assert passed()["attention"] is False


def test_a_cache_that_is_not_rebuilt_as_it_was_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = decoding.restore

    def shifted(cache: Any, keys: np.ndarray, values: np.ndarray, **kw: Any) -> None:
        honest(cache, keys, np.roll(values, 1, axis=2), **kw)

    monkeypatch.setattr(decoding, "restore", shifted)
    hooked = tiny()
    assert {check.name for check in hooked.card.checks if not check.passed} == {"resume"}
    assert "the logits of step 1 differ" in (hooked.card.reason_against("resume") or "")


def test_a_mask_that_is_not_brought_to_where_it_stood_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = decoding._Stand.take_up

    def forgets(self: Any, earlier: Any) -> None:
        kwargs = dict(self.kwargs)
        honest(self, earlier)
        self.kwargs = kwargs

    monkeypatch.setattr(decoding._Stand, "take_up", forgets)
    assert passed() == dict.fromkeys(CHECKS, True) | {"resume": False}


def test_a_processor_with_a_memory_is_caught() -> None:
    model = tiny_model("llama")
    model.generation_config.guidance_scale = 2.0  # it runs the model on the new tokens alone, and keeps that cache
    card = load(model=model, tokenizer=tiny_tokenizer()).card
    assert {check.name for check in card.checks if not check.passed} == {"resume"}
    assert "scores of step 1" in (card.reason_against("resume") or "")


def test_a_model_that_ends_at_once_is_checked_on_tokens_that_do_not_end_it() -> None:
    model = tiny_model("llama")
    first = decoding.passes(model, random_ids(model.config, find(model)), Settings(max_new_tokens=1), None)
    model.generation_config.eos_token_id = next(first).chosen.choice.id
    checks = {check.name: check for check in load(model=model, tokenizer=tiny_tokenizer()).card.checks}
    assert checks["parity"].detail.startswith("logits of 1 step")
    assert checks["resume"].passed and checks["resume"].detail.startswith("3 passes")


def test_a_family_that_trips_over_it_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(*_: Any, **__: Any) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr(decoding, "restore", trip)
    assert "AttributeError: no such thing" in (tiny().card.reason_against("resume") or "")


@pytest.mark.parametrize(
    ("family", "said"),
    [("deepseek_v3", "another form"), ("gemma3n_text", "layer 2 holds no keys"), ("falcon_h1", "LinearAttention")],
)
def test_a_cache_that_holds_something_else_is_not_rebuilt(family: str, said: str) -> None:
    checks = {check.name: check for check in tiny(family).card.checks}
    assert checks["attention"].passed and not checks["resume"].passed
    assert said in checks["resume"].detail


def test_a_shifted_residual_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._put

    def off(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, layer, rows + 1 if name == "resid" else rows)

    monkeypatch.setattr(Tracer, "_put", off)
    found = passed()
    assert not found["residual"] and not found["lens"] and found["attention"]


def test_hooks_that_never_fire_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracer, "_calls", lambda _: iter(()))
    found = passed()
    assert not found["residual"] and not found["lens"] and not found["units"] and not found["parts"]


def test_what_is_switched_off_is_left_out_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._put

    def attention_alone(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        if name in ("queries", "keys", "values"):
            honest(self, name, layer, rows)

    monkeypatch.setattr(Tracer, "_put", attention_alone)
    monkeypatch.setattr(Tracer, "_keep_units", lambda _: None)
    hooked = tiny()
    monkeypatch.undo()
    run: Trace = trace(hooked, [5, 6, 7], max_new_tokens=2)
    assert run.resid is None and run.lens_ids is None and run.unit_ids is None and run.queries is not None
