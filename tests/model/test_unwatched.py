"""For models that are not watched the transformers library is as it was: its functions, its look-up, what they give."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.eager_paged import eager_paged_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama

from model import load, trace
from model.arch.attention_calls import watched
from model.errors import Cancelled
from tests.tiny import shared, tiny, tiny_model, tiny_tokenizer

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18]

_PROGRAM = """
import sys
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

def state():
    interfaces = (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)
    return [{key: each[key] for key in each.valid_keys()} for each in interfaces], AttentionInterface.get_interface

def own(*args, **kwargs): ...

AttentionInterface.register("sdpa", own)
before = state()
import model
for name in model.__all__:
    getattr(model, name)
import model.experiments.batching.paged
assert state() == before
"""


def test_importing_the_project_changes_nothing() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def functions() -> tuple[Any, ...]:
    names = ("sdpa", "paged|eager")
    return AttentionInterface.get_interface, *(ALL_ATTENTION_FUNCTIONS[name] for name in names)


def test_after_a_run_everything_is_as_it_was() -> None:
    before = functions()
    trace(shared(), PROMPT, max_new_tokens=2)
    assert functions() == before == (before[0], sdpa_attention_forward, eager_paged_attention_forward)
    assert "eager" not in ALL_ATTENTION_FUNCTIONS.valid_keys()


def test_after_a_run_that_fails_everything_is_as_it_was() -> None:
    before = functions()

    def stop(*_: Any, **__: Any) -> None:
        raise Cancelled

    with pytest.raises(Cancelled), watched(stop):
        shared().model(torch.tensor([PROMPT]))
    assert functions() == before


def test_a_model_in_another_thread_is_given_the_librarys_own_function() -> None:
    found: list[Any] = []

    def look() -> None:
        found.append(ALL_ATTENTION_FUNCTIONS.get_interface("sdpa", stop))

    def stop(*_: Any, **__: Any) -> None:
        raise AssertionError

    with watched(stop):
        other = threading.Thread(target=look)
        other.start()
        other.join()
    assert found == [sdpa_attention_forward]


@pytest.mark.parametrize("how", ["by name", "in order"])
def test_arguments_are_taken_by_any_name(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(AttentionInterface):
        """The interface as a model would call it that names everything, or nothing."""

        def get_interface(self, attn_implementation: Any, default: Any) -> Any:
            found = ALL_ATTENTION_FUNCTIONS.get_interface(attn_implementation, default)

            def call(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
                if how == "in order":
                    return found(module, query, key, value, mask, **kwargs)
                return found(module=module, query=query, key=key, value=value, attention_mask=mask, **kwargs)

            return call

    expected = trace(shared(), PROMPT, max_new_tokens=3)
    monkeypatch.setattr(modeling_llama, "ALL_ATTENTION_FUNCTIONS", Named())
    hooked = tiny()
    assert all(check.passed for check in hooked.card.checks), hooked.card.checks
    run = trace(hooked, PROMPT, max_new_tokens=3)
    assert expected.queries is not None and run.queries is not None
    assert run.queries.tobytes() == expected.queries.tobytes() and run.rules == expected.rules


def test_a_family_that_names_its_mask_runs_watched_and_unwatched() -> None:
    """Doge gives its mask by name."""
    hooked = shared("doge")
    assert hooked.card.reason_against("parity") is None and hooked.card.reason_against("attention") is None
    run = trace(hooked, PROMPT, max_new_tokens=4)
    own = tiny_model("doge").generate(torch.tensor([PROMPT]), max_new_tokens=4, do_sample=False)
    assert [token.id for token in run.tokens] == own[0].tolist()


def test_a_mask_of_its_own_for_each_head_is_kept() -> None:
    model = tiny_model("doge")
    for name, weights in model.named_parameters():
        if name.endswith(".A"):
            torch.nn.init.normal_(weights)
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    assert hooked.card.reason_against("attention") is None
    run = trace(hooked, PROMPT, max_new_tokens=2)
    assert all(rule.mask_each_head for rule in run.rules)
    assert run.masks is not None and len(run.masks) == 3 * 4  # each layer's differ


def test_a_family_with_an_eager_function_of_another_name_is_left_alone() -> None:
    """An attention module whose file calls its function otherwise, as phi4_multimodal's encoders do."""
    assert ALL_ATTENTION_FUNCTIONS.get_interface("eager", test_importing_the_project_changes_nothing) is (
        test_importing_the_project_changes_nothing
    )
