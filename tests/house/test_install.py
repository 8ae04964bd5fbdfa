"""The library works from any folder once it is installed, under one name of its own."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import model
from model.records.trace import Trace
from setup import inside, requirements
from tests.tiny import tiny_model, tiny_tokenizer
from viz.views import all_views

ROOT = Path(__file__).parents[2]
NEEDED = ("model", "viz", "assets", "tokenoscope", "app.py", "setup.py", "pyproject.toml", "MANIFEST.in")
NEEDED = (*NEEDED, "requirements.txt", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.{}(sys.argv[1]))"


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**kept, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build needs of the clone, elsewhere: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("clone")
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the library in it, by way of a source archive."""
    folder = tmp_path_factory.mktemp("installed")
    built = run(sys.executable, "-c", BUILD.format("build_sdist"), folder, cwd=clone)
    assert built.returncode == 0, built.stderr
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    archive, packages = folder / built.stdout.splitlines()[-1], folder / "packages"
    done = run(sys.executable, "-m", "pip", "install", *offline, "--target", packages, archive, cwd=folder)
    assert done.returncode == 0, done.stderr
    return packages


@pytest.fixture(scope="module")
def recorded(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the installed library recorded, in a folder of somebody's own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    tiny_model("llama").save_pretrained(folder / "tiny")
    tiny_tokenizer().save_pretrained(folder / "tiny")
    program = (
        "from tokenoscope import load, trace\n"
        "run = trace(load('tiny'), 'w1 w2 w3', max_new_tokens=3)\n"
        "run.save('run.trace')\n"
        "print('<iframe' in run._repr_html_())"
    )
    done = run(sys.executable, "-c", program, cwd=folder, PYTHONPATH=str(installed))
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    return folder / "run.trace"


@pytest.mark.slow
def test_an_installed_library_takes_one_name_and_says_its_version(installed: Path, tmp_path: Path):
    program = (
        "import importlib.util, json, sys\n"
        "from importlib.metadata import version\n"
        "import tokenoscope\n"
        "free = [name for name in ('model', 'viz', 'app', 'assets') if importlib.util.find_spec(name) is None]\n"
        "loaded = [name for name in ('torch', 'gradio') if name in sys.modules]\n"
        "print(json.dumps([free, loaded, tokenoscope.__version__, version('tokenoscope'), tokenoscope.__all__]))"
    )
    done = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(installed))
    free, loaded, *versions, names = json.loads(done.stdout)
    assert (free, loaded, versions) == (["model", "viz", "app", "assets"], [], [model.__version__] * 2)
    assert names == model.__all__


@pytest.mark.slow
def test_every_file_of_the_clone_that_a_program_reads_is_installed(installed: Path):
    there = files(ROOT, "model", "viz", "assets") | files(ROOT / "tokenoscope", ".") | {Path("app.py")}
    there -= files(ROOT, "assets/readme")
    assert files(installed / "tokenoscope", ".") == there


def files(root: Path, *folders: str) -> set[Path]:
    found = {file for folder in folders for file in (root / folder).rglob("*") if file.is_file()}
    return {file.relative_to(root) for file in found if "__pycache__" not in file.parts}


@pytest.mark.slow
def test_every_installed_module_is_imported_and_only_the_page_needs_gradio(installed: Path, tmp_path: Path):
    program = (
        "import importlib, pkgutil, sys, tokenoscope\n"
        "found = [each.name for each in pkgutil.walk_packages(tokenoscope.__path__, 'tokenoscope.')]\n"
        "page = ('tokenoscope.viz.pages.', 'tokenoscope.viz.server.')\n"
        "for name in found:\n"
        "    if not name.startswith(page): importlib.import_module(name)\n"
        "print(any(each in sys.modules for each in ('gradio', 'starlette')), len(found) > 100)\n"
        "for name in found: importlib.import_module(name)"
    )
    done = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.returncode, done.stdout) == (0, "False True\n"), done.stderr


@pytest.mark.slow
def test_the_installed_pictures_are_those_of_the_clone(installed: Path, tmp_path: Path):
    program = "from tokenoscope.viz.views import all_views; print([each.title for each in all_views()])"
    done = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(installed))
    assert ast.literal_eval(done.stdout) == [each.title for each in all_views()], done.stderr


@pytest.mark.slow
def test_an_installed_library_records_a_run_that_this_one_opens(recorded: Path):
    assert Trace.open(recorded).n_generated == 3


@pytest.mark.slow
@pytest.mark.parametrize("program", ["tokenoscope", "tokenoscope-page"])
def test_both_command_lines_say_what_they_are_called(installed: Path, tmp_path: Path, program: str):
    done = run(installed / "bin" / program, "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.returncode, done.stdout.startswith(f"usage: {program} ")) == (0, True), done.stderr
    assert "python -m" not in done.stdout
    said = run(installed / "bin" / program, "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert said.stdout == f"tokenoscope {model.__version__}\n", said.stderr


@pytest.mark.slow
def test_the_installed_command_lines_record_a_run_and_make_its_page(installed: Path, recorded: Path, tmp_path: Path):
    asked = ["w4 w5", "--model", recorded.parent / "tiny", "--max-new-tokens", "2", "-o", "two.trace"]
    done = run(sys.executable, "-m", "tokenoscope", *asked, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    page = run(installed / "bin" / "tokenoscope-page", "two.trace", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (page.returncode, page.stdout) == (0, "two.html\n"), page.stderr
    assert (tmp_path / "two.html").stat().st_size > 1_000_000  # plotly.js and the page's scripts are in it


@pytest.mark.slow
def test_a_clone_is_not_installed_as_it_stands(clone: Path, tmp_path: Path):
    done = run(sys.executable, "-c", BUILD.format("build_editable"), tmp_path, cwd=clone)
    assert done.returncode == 1
    assert "PYTHONPATH" in done.stderr.splitlines()[-1]


def test_imports_of_our_own_modules_are_written_for_the_inside_of_the_package():
    ours = "from model.records import file  # é\nfrom viz import (\n    export,\n)\nimport model.limits as limits, os\n"
    theirs = "from models import model\nimport modelling\nfrom . import model\nx = 'from model import y'\n"
    assert inside(ours + theirs, "x.py") == (
        "from tokenoscope.model.records import file  # é\nfrom tokenoscope.viz import (\n    export,\n)\n"
        "import tokenoscope.model.limits as limits, os\n" + theirs
    )
    late = "def late():\n    é = 1; from model import load\n"
    assert inside(late, "x.py") == late.replace("model", "tokenoscope.model")


@pytest.mark.parametrize(
    "source",
    ["import model", "import os, viz.export", "import_module('viz.export')", "importlib.util.find_spec('viz')"],
)
def test_an_import_that_has_no_form_inside_the_package_ends_the_build(source: str):
    with pytest.raises(SyntaxError, match=r"x\.py, line 2"):
        inside(f"\n{source}", "x.py")


def test_what_only_the_page_needs_is_asked_for_by_name():
    needed, extras = requirements("# a comment\n\ntorch>=2  # why\ngradio>=6,<7  # why\nstarlette>=1\n")
    assert (needed, extras) == (["torch>=2"], {"app": ["gradio>=6,<7", "starlette>=1"]})
