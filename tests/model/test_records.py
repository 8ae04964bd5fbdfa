"""The laws of a Trace: what contradicts itself is refused before anything draws it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.errors import BadTrace
from model.records.attention import AttentionRule
from model.records.trace import Origin, Trace
from tests.fakes import AFTER_RUN, MAP, fake_trace

RULE = AttentionRule(scaling=0.3, window=None, softcap=None, mask=None)


def changed_step(trace: Trace, **changes: Any) -> tuple[Any, ...]:
    return (trace.steps[0], replace(trace.steps[1], **changes), *trace.steps[2:])


def forked(trace: Trace, **changes: Any) -> dict[str, Any]:
    """What makes of a run one in which a person chose the token of step 1."""
    chosen = replace(trace.steps[1].choices[0], chosen_by="person", draw=())
    origin = Origin(
        run="run.trace",
        step=1,
        token_id=chosen.id,
        instead_of=11,
        n_reused=6,
        n_replayed=0,
        recorded_s=0.5,
        restore_s=0.25,
        note="",
    )
    return {"steps": changed_step(trace, choices=(chosen,)), "origin": replace(origin, **changes)}


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
    "half a map": lambda t: {"embed_xy": None},
    "half a rotation": lambda t: {"rotary_sin": None},
    "a map of another run": lambda t: {"embed_ids": t.embed_ids[::-1].copy()},
    "a neighbour that is no point": lambda t: {"embed_near": t.embed_near + len(t.embed_ids)},
    "a neighbour before the first": lambda t: {"embed_near": t.embed_near - 99},
    "an origin whose step the model chose": lambda t: {"origin": forked(t)["origin"]},
    "an origin at a step that is not there": lambda t: forked(t, step=4),
    "an origin before the first step": lambda t: forked(t, step=-3),
    "an origin of another token": lambda t: forked(t, token_id=11),
    "more reused than was read": lambda t: forked(t, n_reused=9),
    "a map in three dimensions": lambda t: {"embed_xy": np.zeros((len(t.embed_ids), 3), np.float32)},
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


@pytest.mark.parametrize("mentioned", ["by the run", "by its map", "by its origin"])
def test_a_token_without_a_text_is_refused_when_a_file_is_opened(tmp_path: Any, mentioned: str) -> None:
    trace = fake_trace(lens=False, sampled=False)
    if mentioned == "by the run":
        trace = replace(trace, texts={}, **dict.fromkeys(AFTER_RUN))
    elif mentioned == "by its origin":
        texts = {i: text for i, text in trace.texts.items() if i != 299}
        replace(trace, texts=texts, **dict.fromkeys(AFTER_RUN)).save(tmp_path / "run.trace")
        assert Trace.open(tmp_path / "run.trace")  # nothing else names it
        trace = replace(trace, texts=texts, **dict.fromkeys(AFTER_RUN), **forked(trace, instead_of=299))
    else:
        assert trace.embed_ids is not None
        named = {each.id for choice in trace.choices for each in choice.candidates}
        only_near = next(i for i in trace.embed_ids.tolist()[::-1] if i not in named)
        trace = replace(trace, texts={i: text for i, text in trace.texts.items() if i != only_near})
    trace.save(tmp_path / "run.trace")
    with pytest.raises(BadTrace, match="whose text is missing"):
        Trace.open(tmp_path / "run.trace")


def test_a_run_introduces_itself_in_one_line() -> None:
    assert len(repr(fake_trace())) < 200
    assert "5 prompt tokens, 4 generated" in repr(fake_trace())


def test_a_run_comes_back_from_its_file_whole(tmp_path: Any) -> None:
    trace = fake_trace()
    trace.save(tmp_path / "run.trace")
    back = Trace.open(tmp_path / "run.trace")
    assert back.arrays().keys() == trace.arrays().keys() >= {*MAP, "rotary_cos", "rotary_sin"}
    for name, array in trace.arrays().items():
        assert (array.dtype, array.tobytes()) == (back.arrays()[name].dtype, back.arrays()[name].tobytes()), name
    assert [repr(part) for part in back.model.block] == [repr(part) for part in trace.model.block]


def test_a_continued_run_comes_back_with_its_origin_and_who_chose(tmp_path: Any) -> None:
    trace = fake_trace()
    trace = replace(trace, **forked(trace))
    trace.save(tmp_path / "run.trace")
    back = Trace.open(tmp_path / "run.trace")
    assert repr(back.origin) == repr(trace.origin) and back.origin is not None
    assert [each.chosen_by for each in back.choices] == ["model", "person", "model", "model"]
    assert back.origin.saved_s == 0.25
    assert replace(back.origin, n_replayed=6, n_reused=0).saved_s == 0


def test_a_run_from_before_runs_were_continued_opens_and_a_plain_run_is_the_file_it_was(tmp_path: Any) -> None:
    fake_trace().save(tmp_path / "run.trace")
    raw = (tmp_path / "run.trace").read_bytes()
    header = raw[: 8 + int.from_bytes(raw[:8], "little")]
    assert b"entropy" in header and b"chosen_by" not in header and b"origin" not in header
    back = Trace.open(tmp_path / "run.trace")
    assert back.origin is None and {each.chosen_by for each in back.choices} == {"model"}


def test_a_run_of_an_older_program_is_refused_with_the_way_out(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Trace, "VERSION", Trace.VERSION - 1)
    fake_trace().save(tmp_path / "run.trace")
    monkeypatch.undo()
    with pytest.raises(BadTrace, match=r"an older Tokenoscope .*Record the run again\."):
        Trace.open(tmp_path / "run.trace")
