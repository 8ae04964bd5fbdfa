"""Every sentence is a literal template whose values are those that are given; catalogues keep the values."""

import json
import re
import subprocess
import sys

import pytest

from model.texts import FOLDER
from tests.house.templates import ROOT, calls, every, faults, in_scripts, in_source, sources, unkeyed, unlike


def test_every_call_has_a_literal_template_and_the_values_that_it_shows():
    found = calls()
    assert len(found) > 500
    assert [fault for call in found for fault in faults(call)] == []


@pytest.mark.parametrize(
    "line",
    [
        'phrase("{n} tokens", m=1)',
        'phrase("{n} tokens", n=1, m=2)',
        "phrase(text, n=1)",
        'phrase(f"{n} tokens")',
        'raise BadSetting("{name} is {given}", name=name)',
        'raise type(error)("{sentence}", other=1)',
        'counted(n, "1 token of {all}", "{n} tokens", whole=1)',
        'raise Wrong("it is {held}", way_out="Choose {kind}.", held=1)',
    ],
)
def test_a_call_that_gives_other_values_is_found(line: str):
    assert [fault for call in in_source(line, "one.py") for fault in faults(call)] != []


@pytest.mark.parametrize(
    "line",
    [
        'phrase("{n:,} of {all!r}", n=1, all=2)',
        'phrase("a {brace}")',
        'phrase("{n} tokens", **values)',
        'counted(n, "1 token", "{n:,} tokens")',
        'counted(n, "{who} waits", "{who} wait", who=1)',
        'raise Wrong("it is {held}", way_out="Choose {kind}.", held=1, kind=2)',
        'phrase("{{x}} is {n}", n=1)',
    ],
)
def test_a_call_that_gives_its_values_is_not(line: str):
    assert [fault for call in in_source(line, "one.py") for fault in faults(call)] == []


def test_no_progress_and_nothing_of_the_command_line_is_said_without_a_template():
    assert [each for file in sources() for each in unkeyed(file.read_text("utf-8"), file.name)] == []


@pytest.mark.parametrize(
    "line", ['job.progress(1, 2, "decode")', 'say("stopped")', 'parser.add_argument_group("settings")']
)
def test_what_is_said_without_a_template_is_found(line: str):
    assert len(list(unkeyed(line, "one.py"))) == 1


def test_a_translation_that_shows_other_values_is_found():
    assert unlike({"{n} of {all}": "von {all} sind es {n}", "{n:,} left": "noch {n}"}) == []
    assert unlike({"{n} tokens": "{m} Token", "a": "ein {n}"}) == ["{n} tokens", "a"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_catalogue_shows_the_values_of_the_english_one(path):
    assert unlike(json.loads(path.read_text("utf-8"))) == []


def test_the_templates_are_printed_for_a_translator():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.house.templates"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = json.loads(ran.stdout)
    assert list(printed) == every() and all(template == other for template, other in printed.items())
    assert "Temperature" in printed and "One round, verified" in printed
    wordless = {each for each in in_scripts() if not any(map(str.isalpha, re.sub(r"\{\w+\}", "", each)))}
    assert set(in_scripts()) - wordless <= set(printed)
