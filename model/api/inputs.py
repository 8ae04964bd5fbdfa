"""What an experiment is given to work with: models by role, records by field, and the host's limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.limits import Limits
from model.records.file import Saved


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
