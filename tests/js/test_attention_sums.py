"""The sums that the attention card unfolds are the model's, whatever a layer does to its scores."""

import base64
from dataclasses import replace

import numpy as np
import pytest

from tests.fakes import fake_trace
from tests.js.node import in_node
from viz.wire import parts, slices

KINDS = ("plain", "window", "cap", "sink", "16 bits", "mask", "mask and sink")
BEGIN = """
    import { Run } from "@/data/store.js";
    import { workOut, hundredths } from "@/views/attention/attention_sums.js";
    const run = new Run("sums");
    for (const each of given.frames) run.feed(bytes(each));
    const { found } = workOut(run, run.vectors.get(2), given.at);
"""


def encoded(*frames: bytes) -> list[str]:
    return [base64.b64encode(frame).decode() for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_the_sums_are_the_models_whatever_the_layer_does_to_its_scores(kind: str):
    trace = fake_trace()
    rule = trace.rules[0]
    if kind in ("window", "cap"):
        rule = replace(rule, window=3) if kind == "window" else replace(rule, softcap=1.5)
    if "sink" in kind:
        trace = replace(trace, sinks=np.full((4, 6), 1.0, np.float32))
    if "mask" in kind:
        hidden = np.where(np.eye(8, dtype=bool) | np.eye(8, k=-2, dtype=bool), 0, np.finfo(np.float32).min)
        trace, rule = replace(trace, masks=hidden[None].astype(np.float32)), replace(rule, mask=0)
    trace = replace(trace, rules=(rule,) * 4)
    found = in_node(
        BEGIN
        + """
        const { weights, sum, sink, bits, note } = found;
        const answer = { weights: [...weights], sum: [...sum], sink, bits, note, shares: hundredths(found) };""",
        {
            "frames": encoded(*parts.all_parts(trace), slices.vectors(trace, 2, small=kind == "16 bits")),
            "at": {"layer": 2, "head": 3, "token": 7},
        },
    )
    exact = trace.pattern(2, 3)[7]
    near = {"16 bits": 2e-3, "sink": 8e-3, "mask": 8e-3, "mask and sink": 8e-3}.get(kind, 1e-5)  # from 8 bits: 8e-3
    assert trace.values is not None
    assert found["weights"] == pytest.approx(exact.tolist(), abs=near)
    assert found["sum"] == pytest.approx((exact @ trace.values[2, 1]).tolist(), abs=8 * near)
    assert found["sink"] == pytest.approx(1 - exact.sum(), abs=0.02)
    assert found["bits"] == (16 if kind == "16 bits" else 32)
    assert ("8 bits" in found["note"] or "8-bit" in found["note"]) == ("sink" in kind or "mask" in kind)
    assert sum(found["shares"]) == pytest.approx(10_000 * (1 - found["sink"]), abs=5.1 if "mask" in kind else 0.51)


@pytest.mark.parametrize(
    ("scaling", "shown"), [(12.0, "0.08333"), (0.125, "8.00"), (128**-0.5, "11.31"), (1.0, "1.00")]
)
def test_what_scores_are_divided_by_is_shown_with_the_digits_that_count(scaling: float, shown: str):
    trace = fake_trace()
    trace = replace(trace, rules=(replace(trace.rules[0], scaling=scaling),) * 4)
    frames = encoded(*parts.all_parts(trace), slices.vectors(trace, 2))
    divisor = in_node(
        BEGIN + "const answer = found.divisor;", {"frames": frames, "at": {"layer": 2, "head": 3, "token": 7}}
    )
    assert divisor == shown
