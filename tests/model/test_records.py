"""The laws of a Trace: what contradicts itself is refused before anything draws it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.attention import AttentionRule
from model.errors import BadTrace
from model.records import Trace
from tests.fakes import fake_trace

RULE = AttentionRule(scaling=0.3, window=None, softcap=None, mask=None)


def changed_step(trace: Trace, **changes: Any) -> tuple[Any, ...]:
    return (trace.steps[0], replace(trace.steps[1], **changes), *trace.steps[2:])


CONTRADICTIONS = {
    "a step far away": lambda t: {"steps": changed_step(t, first=10**12)},
    "a step before the start": lambda t: {"steps": changed_step(t, first=-3)},
    "a step that reads nothing": lambda t: {"steps": changed_step(t, n_tokens=0)},
    "a step that reads less than nothing": lambda t: {"steps": changed_step(t, n_tokens=-1)},
    "no prompt": lambda t: {"n_prompt": -1},
    "more tokens than were read": lambda t: {"tokens": (*t.tokens, t.tokens[0])},
    "key heads that no group shares": lambda t: {"keys": np.zeros((4, 5, 8, 8), np.float32)},
    "no rules": lambda t: {"rules": ()},
    "a window of nothing": lambda t: {"rules": (replace(RULE, window=0),) * 4},
    "a soft cap of nothing": lambda t: {"rules": (replace(RULE, softcap=0.0),) * 4},
    "a mask that is not there": lambda t: {"rules": (replace(RULE, mask=0),) * 4},
    "an array of another length": lambda t: {"logits": t.logits[:1]},
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_run_that_contradicts_itself_is_refused(change: Any) -> None:
    trace = fake_trace()
    with pytest.raises(BadTrace):
        replace(trace, **change(trace))


def test_a_run_that_is_whole_is_taken() -> None:
    assert replace(fake_trace(), notes=("a note",)).notes == ("a note",)


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        fake_trace().logits[0, 0] = 1


def test_a_token_without_a_text_is_refused_when_a_file_is_opened(tmp_path: Any) -> None:
    trace = fake_trace()
    replace(trace, texts={}).save(tmp_path / "run.trace")
    with pytest.raises(BadTrace, match="how it reads"):
        Trace.open(tmp_path / "run.trace")


def test_a_run_introduces_itself_in_one_line() -> None:
    assert len(repr(fake_trace())) < 200
    assert "5 prompt tokens, 4 generated" in repr(fake_trace())
