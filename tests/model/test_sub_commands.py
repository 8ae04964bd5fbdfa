"""Sub-commands, made from the registry: what is one, what is a prompt, and that flags ask for the same."""

import json
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from model import CacheTrials, HookedModel, Speculation, Trace, trace
from model.cli.arguments import Asked, parse, sub_command
from model.cli.flags import fields as given_by
from model.cli.flags import flag
from model.cli.main import main
from model.cli.tables.cache import summary, table
from model.errors import BadPrompt, BadSetting, BadTrace, Refusal
from model.limits import Limits
from model.records.fields import setting
from model.requests.batching import Serve, Text
from model.requests.cache import TryCaches
from model.requests.registry import EXPERIMENTS, Experiment, named
from model.requests.request import Request
from model.requests.run import Run
from model.requests.speculation import Speculate
from model.requests.timing import Measure
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", [each.name for each in EXPERIMENTS])
OF_A_PROMPT = pytest.mark.parametrize("kind", [each.name for each in EXPERIMENTS if "prompt" in given_by(each.request)])
PROMPT = "w5 w37 w40"


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny()


def asked(*arguments: str) -> Asked:
    return parse(arguments, Limits())


# What is a sub-command, and what is a prompt


@KINDS
def test_a_sub_commands_name_alone_is_a_prompt(kind: str) -> None:
    assert asked(kind).request == Run(prompt=kind)
    assert asked("--", kind).request == Run(prompt=kind)
    assert asked("--json", kind).request == Run(prompt=kind)
    assert asked("--max-new-tokens", "3", "--", kind).request == Run(prompt=kind, max_new_tokens=3)


@OF_A_PROMPT
def test_followed_by_anything_it_is_the_sub_command(kind: str) -> None:
    assert asked(kind, "a").experiment.name == kind
    assert asked(kind, "--", "-a").experiment.name == kind
    assert asked(kind, kind).experiment.name == kind
    with pytest.raises(BadPrompt if kind == "cache" else BadSetting, match=r"PROMPT|no prompt"):
        asked(kind, "--json")


@pytest.mark.parametrize("words", ["measured", "Serve", "run away", "-"])
def test_what_only_looks_like_one_is_a_prompt(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.cli.arguments._standard_input", lambda: "run")
    assert asked(words, "--seed", "3").request == Run(prompt="run" if words == "-" else words, seed=3)


@pytest.mark.parametrize(
    ("flags", "sub"),
    [
        (["a", "--temperature", "0.5", "--chat"], ["run", "a", "--temperature", "0.5", "--chat"]),
        (["--measure", "a", "--prompt-tokens", "7"], ["measure", "a", "--prompt-tokens", "7"]),
        (
            ["--serve", "a", "b", "--max-new-tokens", "5", "--rate", "2", "--no-prefix-caching", "--temperature", "0"],
            ["serve", "a", "b", "--max-new-tokens", "5", "--rate", "2", "--no-prefix-caching"],
        ),
        (
            ["a", "--speculate", "--draft-tokens", "3", "--exit-layer", "2", "--draft-model", "other"],
            ["speculate", "a", "--draft-tokens", "3", "--exit-layer", "2", "--draft-model", "other"],
        ),
    ],
)
def test_a_flag_and_a_sub_command_ask_for_the_same(flags: list[str], sub: list[str]) -> None:
    assert asked(*flags) == asked(*sub)


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["measure", "a", "--prompt-tokens", "7"], Measure(prompt="a", n_prompt=7)),
        (
            ["serve", "a", "b", "--max-new-tokens", "5", "--blocks", "9", "--together", "2", "--no-prefix-caching"],
            Serve(
                texts=(Text(prompt="a", max_new_tokens=5), Text(prompt="b", max_new_tokens=5)),
                n_blocks=9,
                max_requests=2,
                prefix_caching=False,
            ),
        ),
        (
            ["speculate", "a", "--draft-model", "other"],
            Speculate(prompt="a", draft="other", modes=("prompt lookup", "early exit", "own draft", "draft model")),
        ),
        (
            ["speculate", "a", "--drafts", "early exit, own draft", "--exit-layer", "1"],
            Speculate(prompt="a", modes=("early exit", "own draft"), exit_layer=1),
        ),
        (
            ["cache", "a", "--window", "8", "--sink", "2", "--drop", "3, 5, 8-11", "--model", "m"],
            TryCaches(prompt="a", window=8, sink=2, dropped=(3, 5, 8, 9, 10, 11), model="m"),
        ),
    ],
)
def test_what_is_given_becomes_the_request(arguments: list[str], request_: Any) -> None:
    assert asked(*arguments).request == request_


@KINDS
def test_help_lists_all_flags_of_the_kind_and_no_other(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([kind, "--help"])
    said = capsys.readouterr().out
    own = {flag(name, field) for name, (field, _) in given_by(named(kind).request).items() if field.flag is not None}
    listed = {word.strip(",") for line in said.splitlines() for word in line.split()[:1] if word[:2] == "--"}
    assert own <= listed <= own | {"--dtype", "--device-map", "--json", "--output"}
    assert (named(kind).request.__doc__ or "").partition("\n")[0] in said


@KINDS
def test_every_field_of_a_request_can_be_given(kind: str) -> None:
    request = named(kind).request
    needless = {"texts"} if "model" in request.fields() else {"texts", "model"}  # a comparison is made without a model
    assert {each.name for each in fields(request)} - needless <= set(given_by(request))
    assert all(action.help for action in sub_command(named(kind))._actions)


@dataclass(frozen=True, kw_only=True)
class Counted(Request):
    """Try a setting that has no default."""

    count: int = setting(kind="whole", label="Count", metavar="N")


def test_a_setting_without_a_default_must_be_given() -> None:
    parser = sub_command(Experiment(name="count", request=Counted, record=Trace, run="", suffix=""))
    assert Counted.read({"count": parser.parse_args(["--count", "3"]).count}).count == 3
    with pytest.raises(BadSetting, match="--count"):
        parser.parse_args([])
    with pytest.raises(BadSetting, match="count is missing"):
        Counted.read({})


# Refused before a model is looked for


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--rate", "2"], "--rate goes with --serve, and that is missing. Add it, or leave out --rate."),
        (["--measure", "a", "--draft-tokens", "2", "--exit-layer", "2"], "--exit-layer goes with --speculate"),
        (["--serve", "a", "--temperature", "0.5"], "--temperature does not go with --serve"),
        (["serve", "a", "--temperature", "0.5"], "`python -m model serve --help` says"),
        (["measure", "a", "b"], "unrecognized arguments: b"),
        (["measure", " "], "empty or only blanks"),
        (["serve", "a", " "], "empty or only blanks"),
        (["serve", *("a" * 13)], "at most 12 at once (TOKENOSCOPE_REQUESTS)"),
        (["serve", "a", "--blocks", "5000"], "at most 4,096 (TOKENOSCOPE_CACHE_TOKENS)"),
        (["cache", "a", "--drop", "3; 5"], "such as 3, 5, 8-11"),
        (["cache", "a", "--window", "0"], "window is 0"),
        (["cache", "--run", "no/such.trace"], "cannot be opened"),
        (["speculate", "a", "--drafts", "guessing"], "it can be prompt lookup"),
        (["speculate", "a", "--drafts", "draft model"], "name another model"),
        (["speculate", "a", "--max-new-tokens", "1"], "max_new_tokens is 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys: Any, arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_a_long_prompt_is_the_pages_bound_and_not_the_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Limits] = []

    def carry_out(asked: Asked, limits: Limits) -> int:
        seen.append(limits)
        return 0

    monkeypatch.setenv("TOKENOSCOPE_PROMPT_BYTES", "10")
    monkeypatch.setattr("model.cli.main.carry_out", carry_out)
    assert main(["a prompt of more than ten bytes"]) == 0 and seen
    with pytest.raises(Refusal, match="TOKENOSCOPE_PROMPT_BYTES"):
        parse(["a prompt of more than ten bytes"], Limits(prompt_bytes=10))


def test_nothing_of_this_imports_torch() -> None:
    program = (
        "from model.cli.arguments import parse\nfrom model.limits import Limits\nimport sys\n"
        "parse(['cache', 'a', '--drop', '0'], Limits()), parse(['--serve', 'a', 'b'], Limits())\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Cache trials


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, hooked: HookedModel) -> str:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    return str(hooked.folder)


def test_cache_trials_of_a_prompt_as_a_table_a_file_and_json(capsys: Any, loaded: str, tmp_path: Path) -> None:
    kept = tmp_path / "w.trials"
    call = ["cache", PROMPT, "--model", loaded, "--max-new-tokens", "5", "--window", "3", "--sink", "1", "--drop", "0"]
    assert main([*call, "-o", str(kept)]) == 0
    record = CacheTrials.open(kept)
    out, err = capsys.readouterr()
    assert out == table(record) + "\n"
    assert err.startswith(f"wrote {kept}: {kept.stat().st_size:,} bytes.") and err.count("\n") == 1
    assert [each.name for each in record.trials] == [
        *("exact", "int8", "int4", "window 3", "sink 1 + window 3", "without position 0")
    ]
    rows = [line for line in out.splitlines() if line.startswith("window 3 ")]
    assert f"{record.trials[3].n_bytes:,}" in rows[0] and f"{record.kl[3].mean():.4f}" in rows[0]
    assert main([*call, "--json"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said == json.loads(json.dumps(summary(record)))


def test_cache_trials_of_a_saved_run_replay_it(capsys: Any, loaded: str, hooked: HookedModel, tmp_path: Path) -> None:
    run = trace(hooked, PROMPT, max_new_tokens=4, temperature=1.0, seed=3, additions=False)
    run.save(tmp_path / "one.trace")
    assert main(["cache", "--run", str(tmp_path / "one.trace"), "--model", loaded, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tokens"] == [token.id for token in run.tokens]


def test_what_is_no_run_cannot_be_replayed(capsys: Any, loaded: str) -> None:
    other = ROOT / "tests" / "samples" / "drafted.speculation"
    assert main(["cache", "--run", str(other), "--model", loaded]) == 2
    assert "is a Speculation; it must be a run" in capsys.readouterr().err
    with pytest.raises(BadTrace):
        asked("cache", "--run", str(ROOT / "README.md"))


def test_a_run_of_a_sub_command_is_the_run_without_it(capsys: Any, loaded: str, tmp_path: Path) -> None:
    texts, records = [], []
    for call in (["run", PROMPT], [PROMPT]):
        kept = tmp_path / "one.trace"
        assert main([*call, "--model", loaded, "--max-new-tokens", "3"]) == 0
        texts.append(capsys.readouterr().out)
        assert main([*call, "--model", loaded, "--max-new-tokens", "3", "-o", str(kept)]) == 0
        records.append(Trace.open(kept).text)
    assert texts[0] == texts[1] == records[0] + "\n" == records[1] + "\n"


def test_a_draft_model_is_loaded_beside_the_target(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, hooked: HookedModel, tmp_path: Path
) -> None:
    other, kept = tiny(), tmp_path / "one.speculation"
    folders = {str(hooked.folder): hooked, str(other.folder): other}
    monkeypatch.setattr("model.loading.load.load", lambda source, **_: folders[str(source.folder)])
    call = ["speculate", PROMPT, "--model", str(hooked.folder), "--draft-model", str(other.folder)]
    assert main([*call, "--drafts", "draft model", "--max-new-tokens", "4", "-o", str(kept)]) == 0
    assert [each.mode for each in Speculation.open(kept).attempts] == ["draft model"]
    assert "acceptance" in capsys.readouterr().out
