"""The command line: what it prints, what it keeps, how it refuses, and what it does when it is interrupted."""

import errno
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from model import Settings, Trace, trace
from model.capture.generation import Generation
from model.cli.arguments import everything, sub_command
from model.cli.flags import read
from model.cli.main import main
from model.records.trace import Step
from model.requests.registry import EXPERIMENTS

PROMPT = "The cat sat on the mat"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(small) -> str:
    """The tiny model as a folder, as a person would name it."""
    return str(small.folder)


@pytest.fixture(autouse=True)
def as_started_by_a_person(monkeypatch, tmp_path):
    """Ctrl-C works, the cache is the default model's own, and the library's loudness is put back."""
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def refusal(capsys, *arguments: str) -> str:
    """The one line on stderr of a refused call."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err[:-1]


def written(path: Path, *after: str) -> str:
    """What is said on stderr of a record that was kept, and then these lines."""
    kept = f"wrote {path}: {path.stat().st_size:,} bytes. To view it: python -m viz {path} -o PAGE.html"
    return "".join(f"{line}\n" for line in (kept, *after))


# What comes out


def test_without_o_or_json_it_prints_the_text_and_nothing_else(capsys, folder, small):
    assert main([PROMPT, "--model", folder, "--max-new-tokens", "5"]) == 0
    whole = trace(small, PROMPT, max_new_tokens=5, additions=False)
    assert capsys.readouterr() == (whole.text + "\n", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_the_model_recommends_is_said_unless_it_was_asked_for(capsys, small, tmp_path):
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    GenerationConfig(do_sample=True, temperature=0.6, top_p=0.95).save_pretrained(tmp_path)
    capsys.readouterr()  # the library draws a bar when it saves
    call, flags = [PROMPT, "--model", str(tmp_path), "--max-new-tokens", "2"], "--temperature 0.6 --top-p 0.95"
    for extra, said in ([], True), (flags.split(), False):
        assert main([*call, *extra]) == 0
        note = f"note: the generation config of {tmp_path.name} recommends {flags}\n"
        assert capsys.readouterr().err == note * said


def summary(capsys, *arguments: str, kept: Path | None = None) -> dict[str, Any]:
    assert main([*arguments, "--json", *(["-o", str(kept)] if kept else [])]) == 0
    out, err = capsys.readouterr()
    assert err == (written(kept) if kept else "")
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.9, "top_k": 50, "top_p": 0.95, "min_p": 0.001, "repetition_penalty": 1.3, "seed": 4}],
    ids=["greedy", "sampled"],
)
def test_json_says_what_the_model_computed_before_any_processor(capsys, folder, small, settings):
    given = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    said = summary(capsys, PROMPT, "--model", folder, "--max-new-tokens", "4", *given)
    whole = trace(small, PROMPT, max_new_tokens=4, additions=False, **settings)

    assert list(said) == ["model", "path", "prompt", "text", "tokens", "steps"]
    assert (said["model"], said["path"], said["prompt"]) == (Path(folder).name, "solo", PROMPT)
    assert said["text"] == whole.text
    assert [token["id"] for token in said["tokens"]] == [token.id for token in whole.tokens]
    assert [token["generated"] for token in said["tokens"]] == [False] * whole.n_prompt + [True] * 4
    assert [step["kind"] for step in said["steps"]] == ["prefill", "decode", "decode", "decode"]

    ids = torch.tensor([[token["id"] for token in said["tokens"]]])
    with torch.inference_mode():
        alone = small.model(ids).logits[0].softmax(dim=-1)
    for place, step in enumerate(said["steps"], start=whole.n_prompt - 1):
        best = alone[place].topk(10)
        assert step["chosen_id"] == said["tokens"][place + 1]["id"]
        assert step["probability"] == pytest.approx(float(alone[place, step["chosen_id"]]), rel=1e-3)
        assert [each["id"] for each in step["candidates"]] == best.indices.tolist()
        assert [each["probability"] for each in step["candidates"]] == pytest.approx(best.values.tolist(), rel=1e-3)
        assert [set(each) for each in step["candidates"]] == [{"id", "text", "probability"}] * 10
        assert [each["text"] for each in step["candidates"]] == [small.reader.text(i) for i in best.indices.tolist()]


def test_json_has_a_step_for_the_end_of_sequence(capsys, folder, small, monkeypatch):
    second = trace(small, PROMPT, max_new_tokens=3).choices[1].id
    monkeypatch.setattr(small.model.generation_config, "eos_token_id", second)
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: small)
    said = summary(capsys, PROMPT, "--model", folder, "--max-new-tokens", "9")
    assert len(said["steps"]) == 2
    assert [token["generated"] for token in said["tokens"]].count(True) == 2


def test_o_keeps_the_run_with_its_lens_and_json_may_stand_beside_it(capsys, folder, small, tmp_path):
    kept = tmp_path / "run.trace"
    said = summary(capsys, PROMPT, "--model", folder, "--max-new-tokens", "3", "--chat", kept=kept)
    again = Trace.open(kept)
    assert [token.id for token in again.tokens] == [token["id"] for token in said["tokens"]]
    assert again.settings == Settings(max_new_tokens=3, chat=True)
    assert again.lens_ids is not None
    assert again.model.source == "folder"

    assert main([PROMPT, "--model", folder, "--max-new-tokens", "2", "-o", str(kept)]) == 0
    assert capsys.readouterr() == ("", written(kept))
    assert Trace.open(kept).n_generated == 2
    assert list(tmp_path.iterdir()) == [kept]


def test_a_minus_reads_standard_input_whole_but_for_its_last_line_break(capsys, folder, monkeypatch):
    typed = " a\x00b </script>\n\n\xe9\u202e\r\n".encode() + b"\xff\n\r\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    assert main(["-", "--model", folder, "--max-new-tokens", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["prompt"] == " a\x00b </script>\n\n\xe9\u202e\r\n\ufffd\n"
    assert re.fullmatch(r"note: 1 broken character .*\n", err)


def test_on_a_terminal_control_characters_are_pictures(capsys, folder, small, monkeypatch):
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: small)
    monkeypatch.setattr(small.reader, "written", lambda *_: "a\x1b[31m\x07\x9b\n\tb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([PROMPT, "--model", folder, "--max-new-tokens", "1"]) == 0
    assert capsys.readouterr().out == "a\u241b[31m\u2407\ufffd\n\tb\n"


NEEDED = {  # what a sub-command can't do without, where it's not one prompt
    "cache": [],
    "fork": ["x", "--step", "3"],
    "attribute": ["x", "--step", "3"],
    "compare": ["x", "y"],
    "patch": ["x", "y"],
    "steer": ["x", "--layer", "2"],
}


def test_every_setting_is_an_option_with_its_neutral_value_and_a_help_text():
    for experiment in EXPERIMENTS:
        parser = sub_command(experiment)
        given = vars(parser.parse_args(NEEDED.get(experiment.name, ["x"])))
        del given["output"], given["json"], given["dtype"], given["device_map"]
        if experiment.name == "serve":
            given["prompt"] = [given["prompt"]] if isinstance(given["prompt"], str) else given["prompt"]
        assert read(experiment.request, given).settings == Settings(), experiment.name
        assert all(action.help for action in parser._actions)
    assert all(action.help for action in everything()._actions)


# Refusals, one line each and exit code 2

BEFORE_TORCH = [
    ([], "PROMPT"),
    (["a", "--surprise"], "--surprise"),
    (["a", "b"], "add --serve"),
    (["a", "--top-k", "many"], "'many'"),
    (["a", "--max-new-tokens", "1.5"], "'1.5'"),
    (["a", "--max-new-tokens", "0"], "max_new_tokens is 0"),
    (["a", "--max-new-tokens", "257"], "at most 256"),
    (["a", "--temperature", "-1"], "temperature is -1.0"),
    (["a", "--temperature", "nan"], "temperature is nan"),
    (["a", "--temperature", "inf"], "temperature is inf"),
    (["a", "--top-k", "-1"], "top_k is -1"),
    (["a", "--top-p", "0"], "top_p is 0.0"),
    (["a", "--top-p", "nan"], "top_p is nan"),
    (["a", "--min-p", "1.5"], "min_p is 1.5"),
    (["a", "--repetition-penalty", "0"], "repetition_penalty is 0.0"),
    (["a", "--repetition-penalty", "-inf"], "--repetition-penalty"),
    (["a", "--seed", "-1"], "seed is -1"),
    ([""], "empty or only blanks"),
    ([" \n\t"], "empty or only blanks"),
    (["-"], "empty or only blanks"),
    (["a", "-o", "{tmp}"], "a folder or a device has that name"),
    (["a", "-o", "/dev/null"], "a folder or a device has that name"),
    (["a", "-o", ""], "a folder or a device has that name"),
    (["a", "-o", "{tmp}/no/such.trace"], "its folder does not exist"),
    (["a", "-o", "{tmp}/" + "x" * 300], "File name too long"),
    (["a", "-o", "{tmp}/table.json/run.trace"], "Not a directory"),
    (["a", "--dtype", "int4"], "dtype is 'int4'"),
    (["a", "--device-map", "autom"], "device_map names 'autom'"),
    (["a", "--model", "{tmp}/nothing"], "no folder"),
    (["a", "--model", "{tmp}/empty"], "no config.json"),
    (["a", "--model", "{tmp}/pickle"], "a pickle"),
    (["a", "--model", "{tmp}/code"], "auto_map"),
    (["a", "--model", "no\nsuch model"], "neither a folder nor a hub id"),
]


@pytest.fixture(scope="module")
def refused_early(tmp_path_factory) -> list[tuple[int, str, str, bool]]:
    """Each call of the table in one process: exit code, stdout, stderr, and whether torch had been imported."""
    tmp = tmp_path_factory.mktemp("early")
    for name, files in {
        "empty": {},
        "pickle": {"config.json": "{}", "pytorch_model.bin": ""},
        "code": {"config.json": '{"auto_map": {}}', "model.safetensors": ""},
    }.items():
        (tmp / name).mkdir()
        for file, content in files.items():
            (tmp / name / file).write_text(content)
    driver = """
import contextlib, io, json, sys
from model.cli.main import main
for arguments in json.load(open(sys.argv[1])):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue(), "torch" in sys.modules]))
"""
    table = tmp / "table.json"
    table.write_text(json.dumps([[each.replace("{tmp}", str(tmp)) for each in call] for call, _ in BEFORE_TORCH]))
    limits = {name: value for name, value in os.environ.items() if not name.startswith("TOKENOSCOPE_")}
    done = subprocess.run(
        [sys.executable, "-c", driver, str(table)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        env=limits,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("call", range(len(BEFORE_TORCH)), ids=[" ".join(call)[:40] for call, _ in BEFORE_TORCH])
def test_refused_before_torch_is_imported(refused_early, call):
    code, out, err, torch_came = refused_early[call]
    assert (code, out) == (2, "")
    assert re.fullmatch(r"[^\n]+\n", err)
    assert BEFORE_TORCH[call][1] in err
    assert not torch_came


def test_a_usage_error_says_where_help_is(capsys):
    assert "`python -m model --help`" in refusal(capsys, "a", "--surprise")


def test_a_bad_limit_in_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("TOKENOSCOPE_NEW_TOKENS", "few")
    assert "TOKENOSCOPE_NEW_TOKENS is 'few'" in refusal(capsys, "a")


def test_the_host_s_limit_on_new_tokens_can_be_moved(capsys, monkeypatch, folder):
    monkeypatch.setenv("TOKENOSCOPE_NEW_TOKENS", "3")
    assert "max_new_tokens is 4; this host allows at most 3" in refusal(capsys, "a", "--max-new-tokens", "4")
    assert main(["a", "--model", folder, "--max-new-tokens", "3"]) == 0


def test_what_only_the_tokenizer_or_the_model_can_refuse(capsys, folder):
    line = refusal(capsys, " a" * 2100, "--model", folder)
    assert "2,100 tokens" in line
    assert "at most 2,048" in line
    assert "gives no tokens" in refusal(capsys, "\x04", "--model", folder)


def test_a_refusal_repeats_what_was_given_without_obeying_it(capsys):
    line = refusal(capsys, "a", "--\x1b[31mred\nand \u202e a second line")
    assert "--\\x1b[31mred and \\u202e a second line" in line
    assert "\u202e" not in line


def test_a_full_disk_under_the_file(capsys, folder, tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("model.records.file.os.fsync", full)
    line = refusal(capsys, "a", "--model", folder, "--max-new-tokens", "1", "-o", str(tmp_path / "run.trace"))
    assert "No space left" in line
    assert "Free some space" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_standard_output(capsys, folder, monkeypatch):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["a", "--model", folder, "--max-new-tokens", "1"]) == 2
    assert "disk under standard output is full" in capsys.readouterr().err


# Bugs, interruptions, pipes


def test_a_bug_is_one_line_that_names_a_log_with_the_traceback(capsys, folder, tmp_path, monkeypatch):
    def fail(_: Generation) -> Step:
        raise RuntimeError("made to fail\nin two lines")

    monkeypatch.setenv("TOKENOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Generation, "__next__", fail)
    assert main(["a", "--model", folder]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "made to fail" not in err
    [log] = (tmp_path / "cache" / "logs").iterdir()
    assert str(log) in err
    assert "Traceback" in log.read_text()
    assert "made to fail\nin two lines" in log.read_text()


def test_a_bug_where_no_log_can_be_kept_in_the_cache(capsys, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("TOKENOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("model.cli.arguments.readable", lambda _: 1 / 0)
    assert main(["a"]) == 1
    [log] = tmp_path.glob("error-*.log")
    assert str(log) in capsys.readouterr().err
    assert "ZeroDivisionError" in log.read_text()


def interrupt_at(monkeypatch, step: int) -> None:
    original, taken = Generation.__next__, []

    def interrupted(self: Generation) -> Step:
        taken.append(self)
        if len(taken) == step:
            signal.raise_signal(signal.SIGINT)
        return original(self)

    monkeypatch.setattr(Generation, "__next__", interrupted)


def test_ctrl_c_keeps_the_run_so_far(capsys, folder, small, tmp_path, monkeypatch):
    whole = trace(small, PROMPT, max_new_tokens=9, additions=False)
    interrupt_at(monkeypatch, 4)
    kept = tmp_path / "run.trace"
    assert main([PROMPT, "--model", folder, "--max-new-tokens", "9", "-o", str(kept)]) == 130
    assert capsys.readouterr() == ("", written(kept, "stopped after 3 of 9 new tokens"))
    again = Trace.open(kept)
    assert (again.ended, again.n_generated) == ("stopped", 3)
    assert [token.id for token in again.tokens] == [token.id for token in whole.tokens[: len(again.tokens)]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_the_first_token_keeps_nothing(capsys, folder, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 1)
    assert main([PROMPT, "--model", folder, "--json", "-o", str(tmp_path / "run.trace")]) == 130
    assert capsys.readouterr() == ("", "stopped after 0 of 32 new tokens\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_model_is_fetched(capsys, monkeypatch):
    monkeypatch.setattr("model.weights.sources.find", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main([PROMPT]) == 130
    assert capsys.readouterr() == ("", "stopped\n")


def test_a_second_ctrl_c_stops_at_once(capsys, folder, monkeypatch):
    def twice(self: Generation) -> Step:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second Ctrl-C was not heard")

    monkeypatch.setattr(Generation, "__next__", twice)
    assert main([PROMPT, "--model", folder]) == 130
    assert capsys.readouterr() == ("", "stopped\n")


def test_a_reader_that_goes_away_is_no_error(capsys, folder, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main([PROMPT, "--model", folder, "--max-new-tokens", "1", "--json"]) == 141
    assert capsys.readouterr().err == ""


# Real processes: a pipe, and a terminal


def command(folder: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "model", PROMPT, "--model", folder, "--max-new-tokens", "3", *more]


def test_in_a_pipe_there_is_the_answer_and_no_bar(folder, small, tmp_path):
    kept = tmp_path / "run.trace"
    done = subprocess.run(command(folder, "--json", "-o", str(kept)), cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, written(kept))
    assert json.loads(done.stdout)["text"] == trace(small, PROMPT, max_new_tokens=3, additions=False).text
    assert Trace.open(kept).n_generated == 3


@pytest.mark.long
def test_on_a_terminal_there_are_bars_for_opening_and_writing(folder, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    kept = tmp_path / "run.trace"
    process = subprocess.Popen(command(folder, "-o", str(kept)), cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 4096):
            drawn += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.communicate()[0] == b""
    assert process.returncode == 0
    for each in (b"starting torch", b"opening", b"writing", b"map and lens", b"python -m viz"):
        assert each in drawn
    assert b"Loading weights" not in drawn
