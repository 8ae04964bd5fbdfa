"""The self-check can fail: broken captures are caught, switched off, and say why."""

# pyright: reportPrivateUsage=false

from typing import Any

import pytest
import torch

from model import Trace, trace
from model.capture.tracer import Tracer
from model.errors import NotShown
from tests.fakes import CHECKS
from tests.tiny import tiny


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


def test_wrong_keys_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._put

    def shifted(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, layer, rows.roll(1, dims=1) if name == "keys" else rows)

    monkeypatch.setattr(Tracer, "_put", shifted)
    assert passed() == dict.fromkeys(CHECKS, True) | {"attention": False}


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._learn

    def deaf(self: Tracer, layer: int, query: torch.Tensor, kwargs: dict[str, Any]) -> None:
        honest(self, layer, query, {"scaling": 1.0})

    monkeypatch.setattr(Tracer, "_learn", deaf)
    assert passed()["attention"] is False


def test_a_shifted_residual_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tracer._put

    def off(self: Tracer, name: str, layer: int, rows: torch.Tensor) -> None:
        honest(self, name, layer, rows + 1 if name == "resid" else rows)

    monkeypatch.setattr(Tracer, "_put", off)
    found = passed()
    assert not found["residual"] and not found["lens"] and found["attention"]


def test_hooks_that_never_fire_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracer, "_hooks", lambda _: iter(()))
    found = passed()
    assert not found["residual"] and not found["lens"] and not found["units"] and not found["parts"]


def test_what_is_switched_off_is_left_out_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracer, "_hooks", lambda _: iter(()))
    hooked = tiny()
    monkeypatch.undo()
    run: Trace = trace(hooked, [5, 6, 7], max_new_tokens=2)
    assert run.resid is None and run.lens_ids is None and run.unit_ids is None and run.queries is not None
