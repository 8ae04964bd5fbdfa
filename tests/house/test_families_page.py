"""The page that tells what is shown of each family says what the program finds."""

import pytest

from bench import families
from tests.every_family import EVERY_FAMILY


def told() -> list[str]:
    return families.TABLE.read_text("utf-8").splitlines()


def test_every_family_has_a_line() -> None:
    assert [line.split("|")[1].strip() for line in told() if line.startswith("| ")][2:] == list(EVERY_FAMILY)


def test_a_line_of_a_family_is_found_again() -> None:
    (row,) = families.rows(["llama"])
    assert row.equal and not row.reasons
    (mixture,) = families.rows(["mixtral"])
    assert mixture.reasons.keys() == {"units"} and "a mixture of experts has several" in families.page(iter([mixture]))


@pytest.mark.long
def test_the_page_is_what_the_program_finds() -> None:
    found = list(families.rows(EVERY_FAMILY))
    assert families.page(iter(found)).splitlines() == told()
    assert all(row.equal for row in found if not row.refused)
