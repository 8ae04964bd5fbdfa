"""No object touches what another keeps private; what is taken from the libraries so is named, and really used."""

from pathlib import Path

import pytest

from tests.house.private_names import OF_THE_LIBRARIES, touched

ROOT = Path(__file__).parents[2]


def test_nothing_private_of_another_object_is_touched():
    assert touched(ROOT) == []


def test_what_is_excepted_is_used():
    for name, used in OF_THE_LIBRARIES.items():
        text = (ROOT / name).read_text("utf-8")
        assert all(each in text for each in used), name


@pytest.mark.parametrize(
    "line",
    [
        "engine._queue",
        "other.thing._name = 3",
        "from model.engine.engine import _Turn",
        "import model.x as x; x._hidden()",
        "self.other._name",
        'getattr(engine, "_queue")',
        'getattr(module, f"_{kind}_hooks")',
        'setattr(engine, "_queue", 3)',
        "def f(a):\n    return [each._b for each in a]",
    ],
)
def test_a_private_name_of_another_object_is_found(tmp_path: Path, line: str):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "one.py").write_text(line)
    assert len(touched(tmp_path)) == 1


@pytest.mark.parametrize(
    "line",
    [
        *("self._name", "cls._name", "super()._name()", "a.__class__", "a.name", "_own = 1; print(_own)"),
        *('getattr(self, "_name")', 'getattr(a, "name")', "getattr(a, name)"),
    ],
)
def test_what_is_ones_own_is_not(tmp_path: Path, line: str):
    (tmp_path / "app.py").write_text(line)
    assert touched(tmp_path) == []
