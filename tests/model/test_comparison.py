"""Two runs compared by their records: where they part, and by how much."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import Comparison, HookedModel, Trace, compare, trace
from model.cli.main import main
from model.errors import BadTrace
from tests.tiny import shared

PROMPT = "w5 w37 w40 w8 w120"
NEW = 5


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return shared("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW)


@pytest.fixture(scope="module")
def other(hooked: HookedModel) -> Trace:
    """The same prompt with its third token changed."""
    return trace(hooked, "w5 w37 w99 w8 w120", max_new_tokens=NEW)


def test_a_run_beside_itself_differs_in_nothing(run: Trace) -> None:
    found = compare(run, run)
    assert found.first_differs is None and found.differing == () and found.n_aligned == run.n_fed
    assert found.kl is not None and found.variation is not None and found.attention is not None
    assert len(found.positions) == run.n_generated and not found.notes
    assert not found.kl.any() and not found.variation.any() and not found.attention.any()
    assert found.lens is not None and not found.lens.any()
    assert np.array_equal(found.chosen[:, 0], found.chosen[:, 1])


def test_prompts_of_as_many_tokens_are_aligned_by_position(run: Trace, other: Trace) -> None:
    found = compare(run, other)
    assert found.first_differs == 2 and found.differing == (2,) and found.n_aligned >= run.n_prompt
    p, q = (torch.tensor(each.logits[0]).double().softmax(-1).numpy() for each in (run, other))
    assert found.kl is not None and found.variation is not None and found.attention is not None
    assert found.positions[0] == run.n_prompt - 1
    assert found.kl[0] == pytest.approx((p * np.log(p / q)).sum(), rel=1e-9) and found.kl[0] > 0
    assert found.variation[0] == pytest.approx(np.abs(p - q).sum() / 2)
    chosen = run.choices[0].id
    assert found.chosen[0].tolist() == pytest.approx([p[chosen], q[chosen]])
    rows = [each.pattern_rows(0, found.n_aligned, layer=1, head=3) for each in (run, other)]
    expected = np.abs(rows[0] - rows[1]).sum(-1).mean() / 2
    assert found.attention[1, 3] == pytest.approx(expected, rel=1e-5)
    assert compare(other, run).attention == pytest.approx(found.attention)


def test_prompts_of_other_lengths_are_aligned_as_far_as_they_are_equal(hooked: HookedModel, run: Trace) -> None:
    longer = trace(hooked, f"{PROMPT} w7", max_new_tokens=NEW)
    found = compare(run, longer)
    assert found.n_aligned == min(run.n_prompt, found.first_differs or run.n_prompt)
    assert len(found.positions) == 0 and found.attention is not None and not found.attention.any()


def test_other_models_are_compared_as_far_as_they_can_be(run: Trace) -> None:
    found = compare(run, trace(shared("gpt2"), PROMPT, max_new_tokens=NEW))
    assert found.kl is not None and found.kl[0] > 0
    assert any("other weights" in note or "different weights" in note for note in found.notes)


def test_it_comes_back_from_its_file_and_from_the_command_line(
    capsys: Any, run: Trace, other: Trace, tmp_path: Path
) -> None:
    run.save(tmp_path / "one.trace")
    other.save(tmp_path / "two.trace")
    call = ["compare", str(tmp_path / "one.trace"), str(tmp_path / "two.trace")]
    assert main([*call, "-o", str(tmp_path / "both.comparison")]) == 0
    said = capsys.readouterr().out
    assert "They first differ at position 2: 'w40' in A, 'w99' in B" in said and "KL, nats" in said
    back = Comparison.open(tmp_path / "both.comparison")
    assert back.a.name == "one.trace" and np.array_equal(back.positions, compare(run, other).positions)
    assert main([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["first_differs"] == 2 and told["b"]["n_prompt"] == run.n_prompt
    assert main(["compare", str(tmp_path / "one.trace"), str(tmp_path / "both.comparison")]) == 2
    assert "the record b is a Comparison; only runs can be compared" in capsys.readouterr().err


def test_a_run_without_a_step_is_refused(run: Trace) -> None:
    empty = Trace(
        model=run.model,
        settings=run.settings,
        prompt=run.prompt,
        text="",
        n_prompt=run.n_prompt,
        tokens=run.tokens[: run.n_prompt],
        texts=run.texts,
        steps=(),
        ended="stopped",
        logits=run.logits[:0],
    )
    with pytest.raises(BadTrace, match="without a step cannot be compared"):
        compare(run, empty)
