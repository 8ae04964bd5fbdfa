"""One function for every sentence: English templates are the keys of other languages."""

import json
import subprocess
import sys

import pytest

from model import texts
from model.errors import BadSetting
from model.texts import counted, listed, phrase, read_catalogue, translated


def test_values_stand_where_the_template_names_them_and_text_in_them_is_no_template():
    assert phrase("{n:,} of {all}", n=3000, all="{n}") == "3,000 of {n}"
    assert phrase("a {brace}") == translated("a {brace}") == "a {brace}"
    assert str(BadSetting("{name} is {given}", name="{given}", given=1)) == "{given} is 1"
    assert [counted(n, "1 token", "{n} tokens") for n in (0, 1, 2)] == ["0 tokens", "1 token", "2 tokens"]


def test_another_language_is_one_more_file(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "FOLDER", tmp_path)
    (tmp_path / "de.json").write_text(json.dumps({"{n} of {all}": "von {all} sind es {n}"}))
    monkeypatch.setattr(texts, "CATALOGUE", read_catalogue("de"))
    assert phrase("{n} of {all}", n=3, all=7) == str(BadSetting("{n} of {all}", n=3, all=7)) == "von 7 sind es 3"
    assert phrase("not there") == "not there"
    with pytest.raises(SystemExit, match=r"'xx'; there are: en, de\."):
        read_catalogue("xx")


def test_the_host_names_its_language_when_it_starts():
    ran = subprocess.run(
        [sys.executable, "-c", "import model.texts"],
        env={"TOKENOSCOPE_LANGUAGE": "xx"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.strip()) == (1, "TOKENOSCOPE_LANGUAGE is 'xx'; there are: en.")


def test_words_are_listed_with_a_last_one():
    assert [listed(words) for words in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == ["", "A", "A and B", "A, B and C"]
