"""An ablation as an experiment, and from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model import HookedModel, Trace, ablate, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.cli.main import main
from model.errors import BadSetting, BadTrace
from model.limits import Limits
from model.records.cache import CacheTrials
from model.requests.ablation import Ablate
from model.requests.registry import of_request
from tests.model.jobs import StopsWhen, Told
from tests.tiny import tiny

PROMPT, NEW = "w5 w37 w40 w8 w90", 5


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW)


def begin(hooked: HookedModel, job: Job, records: dict[str, Any], **given: Any) -> Iterator[Trace | None]:
    request = Ablate.read({"run": "/somewhere/one.trace", **given})
    request.check(Limits(), hooked.card)
    inputs = Inputs(models={"target": hooked}, limits=Limits(), records=records)
    return of_request(request).function()(inputs, request, job)


def test_a_record_comes_after_every_pass_and_the_replay_before_them_gives_the_model_away(
    hooked: HookedModel, run: Trace
) -> None:
    job = Told()
    found: Trace | None = None
    n_none = 0
    for value in begin(hooked, job, {"run": run}, heads="1.2", mode="mean"):
        assert not hooked.guard.locked()
        n_none += value is None and found is None
        found = value or found
    assert found is not None and n_none == NEW
    own = ablate(hooked, run, heads=((1, 2),), mode="mean")
    assert own.text == found.text and own.edits == found.edits and found.lens_ids is not None
    assert job.said[0] == (0, NEW, "replay of the unedited outputs") and job.said[-1] == (NEW, NEW, "decode")
    assert sum(array.nbytes for array in found.arrays().values()) <= job.expected_bytes


def test_stopped_it_ends_with_what_it_has_and_the_model_is_free(hooked: HookedModel, run: Trace) -> None:
    for after in (1, 2):
        values: list[Trace | None] = []
        job = StopsWhen(lambda after=after, values=values: len(values) >= after)
        values.extend(begin(hooked, job, {"run": run}, layers=(1,)))
        assert values[-1] is not None and values[-1].ended == "stopped" and values[-1].edits
        assert not hooked.guard.locked() and not job.is_settled


def test_the_reference_is_told_by_its_files_name_alone(hooked: HookedModel, run: Trace) -> None:
    records = {"run": run, "reference": run}
    asked = {"heads": "1.2", "mode": "resample", "reference": "/home/somebody/other.trace"}
    *_, found = (each for each in begin(hooked, Job(), records, **asked) if each)
    assert found.edits[0].said == "head 2 of layer 1 set to what it gave in other.trace, for every token"


def test_a_form_posts_an_empty_reference_where_none_is_chosen(hooked: HookedModel, run: Trace) -> None:
    *_, found = (each for each in begin(hooked, Job(), {"run": run}, heads="1.2", reference="") if each)
    assert found.edits and not found.edits[0].label


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no head, MLP, layer or edge was named"),
        ({"heads": "1.2", "mode": "half"}, "mode is 'half'; it can be zero, mean, resample"),
        ({"heads": "1.2", "when": "never"}, "when is 'never'; it can be all, prefill, decode"),
        ({"heads": "1.2", "mode": "resample"}, "Give a reference"),
        ({"heads": "1.2", "reference": "a"}, "reference goes with the mode resample only"),
        ({"heads": "1,2"}, "heads has '1'; write LAYER.HEAD"),
        ({"edges": "1-2"}, "edges has '1-2'; write QUERY>KEY"),
        ({"heads": "9.2"}, "layer is 9; LlamaForCausalLM has layers 0 to 2"),
    ],
)
def test_what_means_nothing_is_refused_at_once(
    hooked: HookedModel, run: Trace, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadSetting, match=said):
        begin(hooked, Job(), {"run": run}, **given)


def test_what_is_no_run_is_refused_at_once(hooked: HookedModel) -> None:
    with pytest.raises(BadSetting, match=r"run is missing\. Choose a finished run"):
        begin(hooked, Job(), {}, heads="1.2")
    other = CacheTrials.open(Path(__file__).parents[1] / "samples" / "caches.trials")
    with pytest.raises(BadTrace, match="run is a CacheTrials; it must be a run"):
        begin(hooked, Job(), {"run": other}, heads="1.2")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, hooked: HookedModel) -> str:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    return str(hooked.folder)


def test_a_file_in_and_a_file_out(capsys: Any, loaded: str, hooked: HookedModel, run: Trace, tmp_path: Path) -> None:
    run.save(tmp_path / "one.trace")
    own = ablate(hooked, run, heads=((1, 2), (0, 3)), mlps=(2,), edges=((4, 1, 2),))
    call = ["ablate", str(tmp_path / "one.trace"), "--heads", "1.2, 0.3", "--mlps", "2", "--edges", "4>1@2"]
    assert main([*call, "--model", loaded]) == 0
    said = capsys.readouterr()
    assert said.out == own.text + "\n" and said.err.startswith("note: Edited: head 2 of layer 1 set to zero, for every")
    assert main([*call, "--model", loaded, "-o", str(tmp_path / "two.trace"), "--json"]) == 0
    told, kept = json.loads(capsys.readouterr().out), Trace.open(tmp_path / "two.trace")
    assert kept.edits == own.edits and kept.text == told["text"] == own.text
    assert [each["said"] for each in told["edits"]] == [each.said for each in own.edits]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "no head, MLP, layer or edge was named"),
        (["--heads", "9"], "write LAYER.HEAD"),
        (["--heads", "9.9"], "layer is 9"),
        (["--heads", "1.1", "--mode", "resample"], "Give a reference"),
        (["--mode", "half", "--heads", "1.1"], "it can be zero, mean, resample"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_one_line(
    capsys: Any, loaded: str, run: Trace, tmp_path: Path, flags: list[str], said: str
) -> None:
    run.save(tmp_path / "one.trace")
    assert main(["ablate", str(tmp_path / "one.trace"), "--model", loaded, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1
