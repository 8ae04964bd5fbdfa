"""What an experiment is given to work with: models by role, records by field, and the host's limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.errors import BadSetting, BadTrace
from model.limits import Limits
from model.records.file import Saved
from model.records.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Hooked models by role ("target", "draft"), and records by the name of the request's field."""

    models: Mapping[str, Any]
    limits: Limits
    records: Mapping[str, Saved] = field(default_factory=dict)

    @property
    def target(self) -> Any:
        """The model that does the work."""
        return self.models["target"]

    def run(self, name: str) -> Trace:
        """The record of this field, once it is known to be a run.

        Raises: BadSetting, where none was given; BadTrace, for another kind.
        """
        record = self.records.get(name)
        if record is None:
            raise BadSetting("{name} is missing. Choose a finished run or a saved one.", name=name)
        if not isinstance(record, Trace):
            kind = type(record).__name__
            raise BadTrace("{name} is a {kind}; it must be a run. Choose a saved run.", name=name, kind=kind)
        return record
