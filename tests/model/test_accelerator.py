"""What recording asks of an accelerator: one copy a name and pass, and no waiting while a pass runs."""

# pyright: reportPrivateUsage=false

from collections import Counter
from typing import Any

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from model import trace
from model.capture import buffers
from model.capture.buffers import Buffers
from model.capture.decoding import passes
from model.capture.device import SentTogether
from model.capture.tracer import Tracer
from model.records.trace import Settings
from tests.tiny import shared

PROMPT, NEW = [5, 37, 40, 8, 120, 5, 37, 40, 99, 17, 18], 5
FAMILIES = ["llama", "gemma2", "gpt_oss", "gemma4_text", "falcon, alibi", "openai-gpt"]


class Waits(TorchDispatchMode):
    """Counts how often the program asks for a number that an accelerator would have to compute first."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "equal", "is_nonzero", "nonzero"):
            self.counted[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_oss", "qwen3"])
def test_nothing_is_waited_for_in_a_pass_that_is_recorded(family: str) -> None:
    hooked = shared(family)
    counted: list[Counter[str]] = []
    for tracer in (None, Tracer(hooked.anatomy, len(PROMPT) + NEW)):
        with Waits() as waits:
            list(passes(hooked.model, PROMPT, Settings(max_new_tokens=NEW), tracer))
        counted.append(waits.counted)
    assert counted[1] == counted[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_wait_on_the_device_make_the_same_record(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = shared(family)
    at_once = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    monkeypatch.setattr(buffers, "_on_host", lambda _: False)
    waited = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    assert waited.arrays().keys() == at_once.arrays().keys()
    for name, array in at_once.arrays().items():
        assert np.array_equal(array, waited.arrays()[name]), name
    assert waited.rules == at_once.rules and waited.notes == at_once.notes


def test_rows_of_many_passes_are_filed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked, n_new = shared("llama"), 2 * buffers._MOST_FLIGHTS + 9
    at_once = trace(hooked, PROMPT, max_new_tokens=n_new, additions=False)
    monkeypatch.setattr(buffers, "_on_host", lambda _: False)
    waited = trace(hooked, PROMPT, max_new_tokens=n_new, additions=False)
    assert waited.n_generated == n_new
    assert all(np.array_equal(array, waited.arrays()[name]) for name, array in at_once.arrays().items())


def test_a_pass_leaves_the_device_in_one_copy_and_a_prompt_in_one_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = shared("llama")
    names = {"keys", "queries", "resid", "unit_ids", "unit_values", "values"}
    passes_of: list[list[set[str]]] = []
    begin = Buffers.begin

    class Noted(SentTogether):
        def __init__(self, numbers: Any) -> None:
            passes_of[-1].append(set(numbers))
            super().__init__(numbers)

    def sent(self: Buffers, name: str, layer: int | None, *rest: Any) -> None:
        assert layer is None, "every layer by itself"
        passes_of[-1].append({name})
        honest(self, name, layer, *rest)

    honest = Buffers._send
    monkeypatch.setattr(buffers, "_on_host", lambda _: False)
    monkeypatch.setattr(buffers, "SentTogether", Noted)
    monkeypatch.setattr(Buffers, "_send", sent)
    monkeypatch.setattr(Buffers, "begin", lambda self, *at: (passes_of.append([]), begin(self, *at))[1])
    trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    prompt, *decoded = passes_of
    assert sorted(map(sorted, prompt)) == sorted([name] for name in names)
    assert decoded == [[names]] * (NEW - 1)
