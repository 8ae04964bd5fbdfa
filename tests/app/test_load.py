"""Bursts of visitors: no run is lost, and the memory of the process stays within the store's bound and a margin."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOUND = 100_000_000  # TOKENOSCOPE_STORE_BYTES of the loaded app
MARGIN = 500_000_000  # what the process may grow beyond it

pytestmark = pytest.mark.long


def burst(*more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.app.load", "--store-bytes", str(BOUND), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_thirty_runs_of_120_tokens_stay_within_the_stores_bound_and_a_margin():
    found = burst()
    assert (found["done"], found["lost"]) == (30, [])
    assert found["held"] <= BOUND
    assert found["grown"] <= BOUND + MARGIN


def test_thirty_visitors_with_prompts_of_300_tokens_lose_no_run():
    found = burst("--prompt-tokens", "300")
    assert (found["done"], found["lost"]) == (30, [])
    assert found["held"] <= BOUND
