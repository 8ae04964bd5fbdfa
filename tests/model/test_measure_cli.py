"""`python -m model --measure`: the table says what the record says; the record is kept, after Ctrl-C as well."""

# pyright: reportPrivateUsage=false

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model import HookedModel
from model.capture import machine
from model.cli.main import main
from model.cli.tables.measure import summary, table
from model.experiments.timing import timing
from model.records.timing import Measurement
from tests.fakes_measured import fake_measurement
from tests.tiny import tiny

PROMPT = "w5 w6 w7 w8 w9"


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny()


@pytest.fixture(autouse=True)
def as_started_by_a_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hooked: HookedModel) -> Iterator[None]:
    """A tiny model, a small probe, a cache folder of its own, and Ctrl-C that works."""
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("TOKENOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "_BUFFER_BYTES", 1024 * 1024)
    monkeypatch.setattr(machine, "_LARGEST", 256)
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def arguments(hooked: HookedModel, *more: str) -> list[str]:
    return ["--measure", PROMPT, "--model", str(hooked.folder), "--max-new-tokens", "6", *more]


def test_it_prints_the_table_of_the_record_that_it_keeps(capsys, hooked: HookedModel, tmp_path: Path) -> None:
    kept = tmp_path / "tiny.measurement"
    assert main(arguments(hooked, "-o", str(kept))) == 0
    out, err = capsys.readouterr()
    record = Measurement.open(kept)
    assert out == table(record) + "\n"
    *notes, written = err.splitlines()
    assert notes == [f"note: {note}" for note in record.notes]
    assert written.startswith(f"wrote {kept}: {kept.stat().st_size:,} bytes.")
    assert (record.hooks, record.n_prompt, record.n_new) == (0, 5, 6)
    assert len(record.ttft) == 3 and len(record.race_lengths) == 4 and len(record.batch_sizes) == 5


def test_json_is_the_record_in_plain_values(capsys, hooked: HookedModel, tmp_path: Path) -> None:
    kept = tmp_path / "tiny.measurement"
    assert main(arguments(hooked, "--json", "-o", str(kept), "--prompt-tokens", "9")) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    record = Measurement.open(kept)
    assert said == json.loads(json.dumps(summary(record)))
    assert (said["n_prompt"], said["hooks"], said["ttft"]) == (9, 0, record.ttft.tolist())
    assert [each["pass"] for each in said["passes"]][:3] == ["prefill", "decode", "decode, batch of 1"]


def test_one_token_alone_is_json_too(capsys, hooked: HookedModel) -> None:
    assert main([*arguments(hooked), "--max-new-tokens", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (said["tpot"], said["itl"]) == ([], [[], [], []])


def row(text: str, begins: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(begins)]
    return [cell.strip() for cell in re.split(r"\s{2,}", line)]


def test_the_table_has_the_medians_with_their_spread() -> None:
    record = fake_measurement()
    text = table(record)
    for name, values in (
        ("time to first token", record.ttft),
        ("inter-token latency", record.itl),
        ("time per output token", record.tpot),
        ("end-to-end", record.end_to_end),
    ):
        shown = [f"{of(values) * 1e3:,.1f}" for of in (np.median, np.min, np.max)]
        assert row(text, name)[1:4] == shown
    assert row(text, "decode speed")[1] == f"{np.median(1 / record.tpot):,.1f}"
    assert row(text, "512")[3] == f"{np.median(record.race_off[5]) / np.median(record.race_on[5]):.1f}x"


def test_the_table_has_the_two_utilisations() -> None:
    record, machine = fake_measurement(), fake_measurement().machine
    work, took = record.decode_work, float(np.median(record.itl))
    mfu, mbu = work.flops / took / machine.matrix_speed, work.n_bytes / took / machine.bandwidth
    assert row(table(record), "decode  ")[-2:] == [f"{mfu:.0%}", f"{mbu:.0%}"]
    work, took = record.prefill_work, float(np.median(record.ttft))
    mfu, mbu = work.flops / took / machine.matrix_speed, work.n_bytes / took / machine.bandwidth
    assert row(table(record), "prefill  ")[-2:] == [f"{mfu:.0%}", f"{mbu:.0%}"]


def test_a_part_that_was_not_measured_is_left_out() -> None:
    text = table(fake_measurement(phases=False, race=False, batch=False))
    assert "with and without" not in text and "TTFT" not in text and "MFU" not in text
    assert "Made-up Processor" in text
    assert summary(fake_measurement(phases=False, race=False, batch=False))["passes"] == []


def test_ctrl_c_keeps_what_was_measured(
    capsys, hooked: HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, kept = timing._Timing._lap, tmp_path / "tiny.measurement"

    def interrupted(self: timing._Timing, length: int) -> Iterator[None]:
        yield from real(self, length)
        if length == 32:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(timing._Timing, "_lap", interrupted)
    assert main(arguments(hooked, "-o", str(kept))) == 130
    out, err = capsys.readouterr()
    record = Measurement.open(kept)
    assert record.race_lengths.tolist() == [16, 32] and not len(record.batch_sizes)
    assert out == table(record) + "\n"
    assert err.splitlines()[-1] == "stopped before all was measured"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--measure", "  "], "the prompt is empty"),
        (["--measure", PROMPT, "--prompt-tokens", "0"], "n_prompt is 0"),
        (
            ["--measure", PROMPT, "--prompt-tokens", "100000"],
            "n_prompt is 100000; this host allows at most 2,048 (TOKENOSCOPE_PROMPT_TOKENS)",
        ),
        (["--measure", PROMPT, "--prompt-tokens", "many"], "--prompt-tokens"),
        (["--measure", PROMPT, "--max-new-tokens", "9999"], "9999"),
        (["--measure", PROMPT, "-o", "no/such/folder/x"], "its folder does not exist"),
        ([PROMPT, "--prompt-tokens", "5"], "--prompt-tokens goes with --measure"),
        (["--measure"], "PROMPT"),
    ],
)
def test_what_it_cannot_measure_it_refuses_in_one_line(
    capsys, hooked: HookedModel, given: list[str], said: str
) -> None:
    assert main([*given, "--model", str(hooked.folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1
