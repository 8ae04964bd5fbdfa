"""A step says when each of its layers was entered, as recorded, where that can be known."""

from dataclasses import replace

import numpy as np
import pytest

from model import trace
from model.errors import BadTrace
from tests.tiny import FAMILIES, shared

PROMPT = [5, 17, 40, 8]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_layers_are_entered_one_after_the_other_within_the_steps_time(family: str):
    hooked = shared(family)
    run = trace(hooked, PROMPT, additions=False, max_new_tokens=3)
    for step in run.steps:
        assert len(step.entered_s) == hooked.card.n_layers + 1
        assert step.entered_s[0] > 0
        assert (np.diff([*step.entered_s, step.seconds]) > 0).all()


def test_they_stand_in_the_file_and_must_be_in_order(tmp_path):
    run = trace(shared(), PROMPT, additions=False, max_new_tokens=2)
    run.save(tmp_path / "run.trace")
    again = type(run).open(tmp_path / "run.trace")
    assert [step.entered_s for step in again.steps] == [step.entered_s for step in run.steps]
    for bad in (
        run.steps[0].entered_s[:-1],
        run.steps[0].entered_s[::-1],
        (float("nan"),) * len(run.steps[0].entered_s),
    ):
        with pytest.raises(BadTrace, match="not in order"):
            replace(run, steps=(replace(run.steps[0], entered_s=bad), *run.steps[1:]))
