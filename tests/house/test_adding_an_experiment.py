"""The experiment that CONTRIBUTING.md adds works as it stands there: four files, an entry, and nothing else."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.house.directions import bad_names, circles, wrong_directions
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
TEXT = "w5 w33 w40 w8 w90 w77 w5"  # no word that begins like a special one: w0, w1, w2
_FILE = re.compile(r"^`((?:model|viz)/[\w/]+\.py)`: .*?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^```python\n( +Experiment\(.*?)^```", re.MULTILINE | re.DOTALL)
_KINDS = re.compile(r"^EXPERIMENTS.*?\n(?=\)\n)", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with the experiment in them."""
    folder, told = tmp_path_factory.mktemp("house"), (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for room in ("model", "viz"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "assets").symlink_to(ROOT / "assets")
    shutil.copy(ROOT / "app.py", folder)
    for name, content in _FILE.findall(told):
        assert not (folder / name).exists()
        (folder / name).write_text(content, "utf-8")
    registry = folder / "model" / "requests" / "registry.py"
    text = registry.read_text("utf-8")
    imports = "from model.records.surprise import Surprise\nfrom model.requests.surprise import FindSurprise\n"
    text = text.replace("from model.requests.run import Run\n", f"from model.requests.run import Run\n{imports}")
    registry.write_text(_KINDS.sub(lambda kinds: kinds[0] + _ENTRY.findall(told)[0], text), "utf-8")
    tiny_model("llama").save_pretrained(folder / "tiny")
    tiny_tokenizer().save_pretrained(folder / "tiny")
    return folder


def run(house: Path, *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=house,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_keeps_to_the_directions(house: Path):
    assert len(_FILE.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))) == 4
    assert wrong_directions(house) == circles(house) == bad_names(house) == []


def test_it_measures_what_the_library_says(house: Path):
    asked = ("-m", "model", "surprise", TEXT, "--model", "tiny")
    done = run(house, *asked, "--json", "-o", "run.surprise")
    assert done.returncode == 0, done.stderr
    ids = torch.tensor([[int(word[1:]) for word in TEXT.split()]])
    with torch.inference_mode():
        loss = tiny_model("llama")(ids, labels=ids).loss  # in nats, the mean over all tokens but the first
    bits = json.loads(done.stdout)["bits"]
    assert np.mean(bits) == pytest.approx(float(loss) / math.log(2), rel=1e-5)
    assert f"bits: float32 [6], {min(bits):.4g} to {max(bits):.4g}" in run(house, *asked).stdout


def test_its_record_becomes_a_page_with_its_picture(house: Path):
    page = run(house, "-m", "viz", "run.surprise", "-o", "run.html")
    assert page.returncode == 0, page.stderr
    assert f"<title>Surprise: {TEXT}" in (house / "run.html").read_text("utf-8")
    program = "from model.records.surprise import Surprise; from viz.pictures import saved\n"
    program += "print(b'How surprising each token was' in b''.join(saved(Surprise.open('run.surprise'))))"
    assert run(house, "-c", program).stdout == "True\n"


def test_it_has_a_page_whose_form_asks_for_it(house: Path):
    program = """
import app
from model.limits import Limits
class Models:
    names, takes_any = ("tiny",), False
limits = Limits()
store = app.make_store(limits)
demo = app.build(Models(), limits, store).demo
print("surprise" in [each.api_name for each in demo.fns.values()])
print("surprise" in [address for address, *_ in demo.pages])
store.close()
"""
    done = run(house, "-c", program)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr


def test_it_is_refused_before_the_model_is_asked(house: Path):
    done = run(house, "-m", "model", "surprise", " ", "--model", "tiny")
    assert (done.returncode, "empty" in done.stderr) == (2, True)
