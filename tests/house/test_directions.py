"""The directions of the house hold in the tree as it is, and each check is seen to find what it looks for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.directions import (
    BY_NAME,
    FLOORS,
    bad_names,
    circles,
    homeless,
    long_modules,
    misplaced_pages,
    wrong_directions,
)

ROOT = Path(__file__).parents[2]


def test_every_import_points_down():
    assert wrong_directions(ROOT) == []


def test_the_model_stands_on_at_most_eight_floors():
    rooms = [room for floor in FLOORS for room in floor if room.startswith("model.")]
    ground = {"model.texts", "model.errors", "model.limits"}  # single files, one floor together
    assert 1 + sum(any(room.startswith("model.") for room in floor if room not in ground) for floor in FLOORS) <= 8
    folders = {f"model.{each.name}" for each in (ROOT / "model").iterdir() if (each / "__init__.py").exists()}
    assert folders <= set(rooms), "a room of model/ stands on no floor"


def test_every_module_stands_on_a_floor_and_pages_alone_need_gradio():
    assert homeless(ROOT) == misplaced_pages(ROOT) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(ROOT) == []


def test_every_file_is_named_for_what_is_in_it():
    assert bad_names(ROOT) == []


def test_every_module_is_short_enough_to_read():
    assert long_modules(ROOT) == []


@pytest.mark.parametrize(
    ("start", "kept_out"),
    [
        ("import model", ["torch", "transformers", "viz", "gradio"]),
        (
            "import model.weights.sources, model.errors, model.limits, model.records.trace",
            ["torch", "transformers", "gguf"],
        ),
        ("import model.records.file", ["torch", "transformers"]),
        ("import viz", ["torch", "transformers", "gradio"]),
        (
            "import importlib, pkgutil, viz\n"
            "for found in pkgutil.walk_packages(viz.__path__, 'viz.'):\n"
            "    if 'pages' not in found.name and '__main__' not in found.name: importlib.import_module(found.name)",
            ["torch", "transformers", "gradio"],
        ),
    ],
)
def test_a_running_program_leaves_out_what_it_does_not_need(start: str, kept_out: list[str]):
    program = f"{start}\nimport sys\nprint([name for name in {kept_out} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def tree(folder: Path, **files: str) -> Path:
    """A source tree with these files: `model__x` stands for model/x.py, `model` for model/__init__.py."""
    for name, content in {"model": "", "viz": "", **files}.items():
        path = Path(*name.split("__"))
        file = folder / (path / "__init__.py" if name in ("model", "viz") else path.with_suffix(".py"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def test_a_tree_that_keeps_to_the_directions_passes(tmp_path: Path):
    source = tree(
        tmp_path,
        app="import gradio\nfrom model.engine.engine import Engine\nfrom viz.views import tokens",
        model__records="import numpy",
        model__engine="import torch\nfrom model.records.trace import Trace\nfrom . import records",
        viz__views__tokens="from model.records.trace import Trace\nfrom model import errors\nfrom viz.view import view",
        viz__view="import plotly",
        viz__pages__run="import gradio as gr",
        model__errors="",
    )
    for find in (wrong_directions, circles, bad_names, long_modules, homeless, misplaced_pages):
        assert find(source) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model__engine", "import viz"),
        ("model__engine", "from viz.theme import BLUE"),
        ("model__engine", "import gradio"),
        ("model__engine", "def draw():\n    import plotly.graph_objects as go"),
        ("model__engine", "from bertviz import head_view"),
        ("model__engine", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from viz.theme import Theme"),
        ("model__engine", "from importlib import import_module\nimport_module('plotly')"),
        ("model__engine", "from app import page"),
        ("model__records__a", "from model.requests.run import Run"),
        ("model__records__a", "from model.experiments import generation"),
        ("model__arch__a", "from model.capture import hooked"),
        ("viz__theme", "from viz.views import layers"),
        ("viz__wire__a", "from viz.server.store import Store"),
        ("viz__server__a", "from viz.pages import run"),
        ("viz__server__a", "import gradio"),
        ("viz__frames", "import app"),
        ("viz__frames", "import transformers"),
        ("viz__frames", "import torch"),
        ("viz__frames", "def late():\n    from torch import Tensor"),
        ("viz__frames", "from model.engine.engine import Engine"),
        ("viz__frames", "from model import load"),
        ("viz__frames", "from model import engine"),
        ("viz__frames", "from ..model import engine"),
        ("viz__frames", "import model"),
        ("viz__frames", "import gradio"),
        ("viz__views__tokens", "import gradio"),
        ("viz__views__tokens", "from viz.views.layers import strip"),
        ("viz__views__tokens", "from . import layers"),
        ("viz__pages__run", "from model.engine.engine import Engine"),
        ("model__engine", "from model.experiments.generation import run"),
        ("model__engine", "def late():\n    import model.experiments.generation.run"),
        ("model__experiments__a__run", "from model.engine.engine import Engine"),
        ("model__experiments__a__run", "from model.experiments.b.run import run"),
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, file: str, content: str):
    assert len(wrong_directions(tree(tmp_path, **{"model__engine": "", "viz__views__layers": "", file: content}))) == 1


def test_a_module_that_is_looked_up_by_name_may_stand_above_where_that_is_listed(tmp_path: Path):
    ((importer, target),) = BY_NAME
    by_name = f"from importlib import import_module\nimport_module({target!r})"
    files = {importer.replace(".", "__"): by_name, "viz__export": ""}
    assert wrong_directions(tree(tmp_path / "a", **files)) == []
    assert len(wrong_directions(tree(tmp_path / "b", **{**files, "model__records__b": by_name}))) == 1


def test_a_module_on_no_floor_and_a_page_without_gradio_are_found(tmp_path: Path):
    files = {
        "model__late": "",
        "viz__pages__a": "from gradio.themes import Base",
        "viz__pages__b": "from viz.pages import a",
        "viz__pages__c": "from viz.pages import d",
        "viz__pages__d": "import json",
    }
    source = tree(tmp_path, **files)
    assert homeless(source) == ["model.late"]
    assert misplaced_pages(source) == ["viz.pages.c", "viz.pages.d"]


@pytest.mark.parametrize(
    "files",
    [
        {"model__a": "import model.b", "model__b": "from model.a import x"},
        {"model__a": "from model import b", "model__b": "from model.c import x", "model__c": "from . import a"},
        {"model__a": "def late():\n    from model import b", "model__b": "import model.a"},
        {"viz": "from viz.a import x", "viz__a": "import viz"},
    ],
)
def test_a_circle_is_found_through_functions_too(tmp_path: Path, files: dict[str, str]):
    assert len(circles(tree(tmp_path, **files))) == 1


def test_an_import_for_types_alone_closes_no_circle(tmp_path: Path):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from model.b import B\nelse:\n    import model.c"
    assert circles(tree(tmp_path, model__a=typed, model__b="import model.a", model__c="")) == []
    assert len(circles(tree(tmp_path, model__c="import model.a"))) == 1


@pytest.mark.parametrize("name", ["model__utils", "viz__views__helpers", "viz__Common", "model__manager"])
def test_a_name_that_says_nothing_is_found(tmp_path: Path, name: str):
    assert len(bad_names(tree(tmp_path, **{name: ""}))) == 1


def test_a_module_one_line_too_long_is_found(tmp_path: Path):
    assert long_modules(tree(tmp_path, model__a="x = 1\n" * 450)) == []
    assert long_modules(tree(tmp_path, model__a="x = 1\n" * 451)) == ["model.a: 451 lines"]
