"""A fork: a run continued from a step with another token, by the library, as an experiment, from the command line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, fork, load, trace
from model.api.inputs import Inputs
from model.api.job import Job
from model.cli.main import main
from model.engine.engine import Engine
from model.errors import BadPrompt, BadSetting, BadTrace, Refusal
from model.limits import Limits
from model.records.file import Saved
from model.requests.fork import Fork
from model.requests.registry import named, of_record, of_request
from tests.fakes import AFTER_RUN
from tests.model.jobs import StopsWhen, Told
from tests.model.waiting import ended
from tests.tiny import tiny

PROMPT = "w5 w37 w40 w8 w120"
NEW = 6
SAMPLED: dict[str, Any] = {"temperature": 1.1, "top_k": 60, "seed": 4}


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW, **SAMPLED)


def another(run: Trace, step: int) -> int:
    return next(each.id for each in run.choices[step].candidates if each.id not in (run.choices[step].id, 1))


def begin(hooked: HookedModel, job: Job, record: Saved | None, **given: Any) -> Iterator[Trace | None]:
    values: dict[str, Any] = {"run": "its id", "step": 2, "token_id": 9, **given}
    request = Fork(**values)
    request.check(Limits(), hooked.card)
    inputs = Inputs(models={"target": hooked}, limits=Limits(), records={"run": record} if record else {})
    return of_request(request).function()(inputs, request, job)


# By the library


def test_its_step_chose_that_token_and_what_comes_after_a_run_is_there(hooked: HookedModel, run: Trace) -> None:
    found = fork(hooked, run, step=3, token_id=another(run, 3))
    assert found.choices[3].id == another(run, 3) == found.tokens[run.n_prompt + 3].id
    assert [each.id for each in found.tokens[: run.n_prompt + 3]] == [
        each.id for each in run.tokens[: run.n_prompt + 3]
    ]
    assert found.lens_ids is not None and found.embed_ids is not None and found.rotary_cos is not None
    assert fork(hooked, run, 3, another(run, 3), additions=False).lens_ids is None
    assert (found.settings, found.prompt) == (run.settings, run.prompt)


def test_the_token_that_was_chosen_gives_the_same_run(hooked: HookedModel, run: Trace) -> None:
    for step in range(run.n_generated):
        found = fork(hooked, run, step=step, token_id=run.choices[step].id)
        assert [each.id for each in found.tokens] == [each.id for each in run.tokens]
        for name, array in run.arrays().items():
            assert array.tobytes() == found.arrays()[name].tobytes(), name


def test_another_token_gives_what_generate_writes_after_it(hooked: HookedModel) -> None:
    greedy = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    token = another(greedy, 2)
    found = fork(hooked, greedy, step=2, token_id=token)
    prefix = [each.id for each in greedy.tokens[: greedy.n_prompt + 2]] + [token]
    own = hooked.model.generate(torch.tensor([prefix]), max_new_tokens=NEW - 3, do_sample=False)
    assert [each.id for each in found.tokens] == own[0].tolist()


def test_a_token_is_named_by_what_it_reads_as(hooked: HookedModel, run: Trace) -> None:
    likely = run.choices[1].candidates[4].id
    unlikely = next(each for each in range(3, 199) if each not in {some.id for some in run.choices[1].candidates})
    for token in (likely, unlikely):
        assert fork(hooked, run, 1, token=f"w{token}", additions=False).choices[1].id == token


def test_a_token_that_the_tokenizer_would_cut_is_found_in_the_vocabulary(
    hooked: HookedModel, run: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a SentencePiece tokenizer does, which puts a blank of its own before " Rome"."""
    unlikely = next(each for each in range(3, 199) if each not in {some.id for some in run.choices[1].candidates})
    monkeypatch.setattr("model.capture.named_token._ids", lambda *_: [5, 6])
    assert fork(hooked, run, 1, token=f"w{unlikely}", additions=False).choices[1].id == unlikely


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (
            "w5 w6",
            r"token is 'w5 w6'; LlamaForCausalLM has no such token \(the tokenizer splits it into 2: 'w5', 'w6'\)",
        ),
        ("w999", r"no such token \(the tokenizer splits it into 1: 'w3'\)"),
        ("", r"no such token \(the tokenizer splits it into 0: \)"),
        ("\ufffd", "no such token"),
    ],
)
def test_a_text_that_is_no_token_is_refused_with_likely_ones(
    hooked: HookedModel, run: Trace, token: str, said: str
) -> None:
    best = run.choices[1].candidates[0]
    with pytest.raises(BadSetting, match=rf"{said}.* token_id. The likeliest at this step: 'w{best.id}' \({best.id}\)"):
        fork(hooked, run, 1, token=token)


def test_a_step_a_token_and_a_model_that_are_not_there_are_refused(hooked: HookedModel, run: Trace) -> None:
    with pytest.raises(BadSetting, match="step is 6; this run has steps 0 to 5"):
        fork(hooked, run, step=NEW, token="w9")
    with pytest.raises(BadSetting, match=r"token_id is 199; .* has tokens 0 to 198"):
        fork(hooked, run, step=0, token_id=199)
    with pytest.raises(
        BadTrace,
        match=r"made by LlamaForCausalLM .*only the model that made a run can replay it, continue it or add to it",
    ):
        fork(tiny("gpt2"), run, step=0, token_id=5)


def test_a_fork_of_a_fork_from_a_file(hooked: HookedModel, run: Trace, tmp_path: Path) -> None:
    fork(hooked, run, step=1, token_id=another(run, 1)).save(tmp_path / "one.trace")
    first = Trace.open(tmp_path / "one.trace")
    second = fork(hooked, first, step=3, token_id=another(first, 3))
    second.save(tmp_path / "two.trace")
    found = Trace.open(tmp_path / "two.trace")
    assert [each.chosen_by == "person" for each in found.choices] == [False, True, False, True, False, False]
    assert found.origin is not None
    assert (found.origin.step, found.origin.instead_of) == (3, first.choices[3].id)
    assert np.array_equal(found.logits[:4], first.logits[:4])


# As an experiment


def test_a_record_that_is_a_trace_is_still_a_runs() -> None:
    assert of_record(Trace).name == "run" and named("fork").record is Trace
    assert of_request(Fork(run="a", step=0, token_id=1)).name == "fork"


def test_the_run_so_far_is_there_at_once_then_a_record_after_every_pass(hooked: HookedModel, run: Trace) -> None:
    job = Told()
    seen: list[tuple[int, bool]] = []
    record: Trace | None = None
    for value in begin(hooked, job, run, step=2, token="w9", token_id=None):
        assert not hooked.guard.locked()
        if value is not None and not (job.is_settled and value.lens_ids is not None):
            seen.append((value.n_generated, job.is_settled))
        record = value or record
    assert record is not None and record.origin is not None and record.lens_ids is not None
    passes = dict.fromkeys(each for each in seen if not each[1])  # after each, what of the lens there was time for
    assert list(passes) == [(3, False), (4, False), (5, False), (6, False)]
    assert record.ended == "length" and record.origin.run == "its id"
    assert [done for done, _, _ in job.said] == [0, 0, 3, 4, 5, 6] and {total for _, total, _ in job.said} == {NEW}
    assert [what for _, _, what in job.said][:2] == ["restore", "restore"]
    assert sum(array.nbytes for array in record.arrays().values()) <= job.expected_bytes


def test_a_folder_is_not_told(hooked: HookedModel, run: Trace) -> None:
    *_, found = (each for each in begin(hooked, Job(), run, run="/home/somebody/one.trace") if each)
    assert found.origin is not None and found.origin.run == "one.trace"


def test_stopped_it_keeps_what_it_took_over(hooked: HookedModel, run: Trace) -> None:
    for after in (1, 2, 3):
        values: list[Trace | None] = []
        job = StopsWhen(lambda after=after, values=values: len(values) >= after)
        values.extend(begin(hooked, job, run, step=2))
        last = values[-1]
        assert last is not None and last.ended == "stopped" and 3 <= last.n_generated <= 4
        assert last.embed_ids is None and not job.is_settled


def test_what_is_no_run_of_this_model_is_refused_at_once(hooked: HookedModel, run: Trace) -> None:
    with pytest.raises(BadSetting, match="run is missing"):
        begin(hooked, Job(), None)
    with pytest.raises(BadTrace, match="is a Saved; it must be a run"):
        begin(hooked, Job(), Saved.__new__(Saved))
    with pytest.raises(BadSetting, match="step is 99; this run has steps"):
        begin(hooked, Job(), run, step=99)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "neither token nor token_id was given"),
        ({"token": "w5", "token_id": 5}, "token and token_id were both given"),
        ({"token_id": 199}, "token_id is 199; it must be a whole number from 0 to 198"),
        ({"token_id": 5, "step": -1}, "step is -1; it must be a whole number of at least 0"),
        ({"token": 5}, "token is not text"),
        ({"token_id": 5, "run": 3}, "run is 3; it must be a name"),
        ({"token_id": 5, "steps": 3}, "there is no setting 'steps'"),
    ],
)
def test_a_request_that_means_nothing_is_refused(hooked: HookedModel, given: dict[str, Any], said: str) -> None:
    with pytest.raises((BadSetting, BadPrompt), match=said):
        Fork.read({"run": "one", "step": 0, **given}).check(Limits(), hooked.card)


def test_an_engine_continues_a_run_that_it_is_given(hooked: HookedModel, run: Trace) -> None:
    engine = Engine(hooked, Limits())
    try:
        job = Job()
        engine.submit(Fork(run="its id", step=2, token="w9"), job, records={"run": run})
        ended(job)
        assert job.status.state == "done" and job.record.choices[2].id == 9
        with pytest.raises(Refusal, match="this run has steps"):
            engine.submit(Fork(run="its id", step=20, token="w9"), Job(), records={"run": run})
    finally:
        engine.close()


# From the command line


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, hooked: HookedModel) -> str:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    return str(hooked.folder)


def test_a_file_in_and_a_file_out(capsys: Any, loaded: str, hooked: HookedModel, run: Trace, tmp_path: Path) -> None:
    run.save(tmp_path / "one.trace")
    own = fork(hooked, run, step=3, token="w9")
    call = ["fork", str(tmp_path / "one.trace"), "--step", "3", "--model", loaded]
    assert main([*call, "--token", "w9"]) == 0
    assert capsys.readouterr().out == own.text + "\n"
    assert main([*call, "--token-id", "9", "-o", str(tmp_path / "two.trace"), "--json"]) == 0
    said, kept = json.loads(capsys.readouterr().out), Trace.open(tmp_path / "two.trace")
    assert kept.text == said["text"] == own.text and kept.lens_ids is not None
    assert [each["chosen_by"] for each in said["steps"]] == [each.chosen_by for each in own.choices]
    assert kept.origin is not None and kept.origin.run == "one.trace"
    assert said["origin"]["n_reused"] == kept.origin.n_reused == run.n_prompt + 3
    assert said["origin"]["saved_s"] == kept.origin.saved_s


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--step", "2"], "neither token nor token_id was given"),
        (["--token", "w5"], "the following arguments are required: --step"),
        (["--step", "9", "--token", "w5"], "this run has steps 0 to 5"),
        (["--step", "1", "--token", "w5 w6"], "no such token"),
    ],
)
def test_what_cannot_be_continued_is_refused_in_one_line(
    capsys: Any, loaded: str, run: Trace, tmp_path: Path, flags: list[str], said: str
) -> None:
    run.save(tmp_path / "one.trace")
    assert main(["fork", str(tmp_path / "one.trace"), "--model", loaded, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


# The default model


@pytest.mark.long
def test_the_default_model_goes_on_with_rome(default_folder: Path) -> None:
    hooked = load()
    run = replace(trace(hooked, "The capital of Italy is", max_new_tokens=6), **dict.fromkeys(AFTER_RUN))
    found = fork(hooked, run, step=3, token_id=7268)
    assert found.choices[3].id == 7268 and found.tokens[run.n_prompt + 3].text == found.texts[7268]
    assert fork(hooked, run, step=0, token=" Rome").text.startswith(" Rome")
    assert found.origin is not None and found.origin.n_reused == run.n_prompt + 3 and found.origin.saved_s > 0
