"""Asking where two runs differ."""

from collections.abc import Mapping
from dataclasses import dataclass

from model.records.fields import Field, setting
from model.requests.request import Request


@dataclass(frozen=True, kw_only=True)
class Compare(Request):
    """Tell where two runs differ, and by how much, from their records alone."""

    a: str = setting(kind="record", label="First run", help="The first run.", flag=None, metavar="A")
    b: str = setting(kind="record", label="Second run", help="The run beside it.", flag=None, metavar="B")

    @classmethod
    def fields(cls) -> Mapping[str, Field]:
        """The two runs: no model is needed."""
        return {name: field for name, field in super().fields().items() if name != "model"}

    @property
    def models(self) -> Mapping[str, str | None]:
        """None."""
        return {}
