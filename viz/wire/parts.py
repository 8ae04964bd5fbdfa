"""A record as the parts that a browser reads, for every kind: frames to which later ones are only appended.

A run has many parts, each final once it is made (viz/wire/frames.py). Any other record has one, "record": what it says
of itself in words and which pictures there are; it is replaced by that of a newer version.
"""

from collections.abc import Callable, Mapping
from typing import Any

from model.records.lens import missing_columns
from model.records.trace import Trace
from model.requests.registry import named
from model.requests.registry import of_record as of_kind
from viz import views
from viz.view import Record, View, words
from viz.wire import frames
from viz.wire.packing import pack


def all_parts(record: Record) -> list[bytes]:
    """Every part of the record as it is."""
    growing = parts_of(of_kind(type(record)).name)
    return [*growing.newer(record, version=0), *growing.beside(record)]


def parts_of(experiment: str) -> "Parts":
    """What turns the record that this kind makes, as it grows, into parts."""
    return _OF.get(named(experiment).record, Parts)(experiment)


class Parts:
    """A growing record as one part. `replaces`: whether a newer part takes the place of the one before."""

    replaces = True

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment

    def newer(self, record: Any, version: int) -> list[bytes]:
        """What is new since the last time."""
        return [of_record(record, self._experiment, version)]

    def beside(self, record: Any) -> list[bytes]:  # noqa: ARG002
        """What an ended record has by now beside that; measuring it takes up to a second."""
        return []

    def last(self, record: Any) -> list[bytes]:  # noqa: ARG002
        """What is to be said once nothing more comes."""
        return []


class RunParts(Parts):
    """A growing run: its head, its passes, its end, and what is added after it, each once."""

    replaces = False

    def __init__(self, experiment: str) -> None:
        super().__init__(experiment)
        self._made: set[str] = set()  # kinds that come once
        self._steps = 0
        self._columns: set[int] = set()  # of the lens
        self._notes: tuple[str, ...] = ()  # as the end of the run has them

    def newer(self, record: Trace, version: int) -> list[bytes]:  # noqa: ARG002
        """What is new: passes and the end."""
        new = self._once("head", record, frames.head)
        new += [frames.step(record, i) for i in range(self._steps, len(record.steps))]
        self._steps = len(record.steps)
        new += self._new_columns(record)
        if record.over and "end" not in self._made:
            new += self._once("end", record, frames.end)
            self._notes = record.notes
        return new

    def beside(self, record: Trace) -> list[bytes]:
        """What an ended run has by now beside its passes."""
        if "end" not in self._made:
            return []
        found = frames.after_run(record).items()
        return [frame for kind, make in found for frame in self._once(kind, record, make)]

    def last(self, record: Trace) -> list[bytes]:
        """The notes, where there are others since the end: such as why there is no lens."""
        if "end" not in self._made or record.notes == self._notes:
            return []
        return [frames.notes(record)]

    def _new_columns(self, trace: Trace) -> list[bytes]:
        """Columns of the lens that are new, while others are missing: the whole lens is a part of its own."""
        missing = set(missing_columns(trace))
        if trace.lens_ids is None or (trace.over and not missing):
            return []
        found = [at for at in range(trace.lens_ids.shape[1]) if at not in self._columns and at not in missing]
        self._columns.update(found)
        return [frames.lens_columns(trace, found)] if found else []

    def _once(self, kind: str, trace: Trace, make: Callable[[Trace], bytes]) -> list[bytes]:
        if kind in self._made:
            return []
        self._made.add(kind)
        return [make(trace)]


_OF: dict[type, type[Parts]] = {Trace: RunParts}


def of_record(
    record: Record,
    experiment: str,
    version: int = 0,
    *,
    at: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
) -> bytes:
    """The one part of a record that is no run: its words, and which pictures there are.

    A saved page also says what it opens on (`at`), and by name what to know of a picture (`notes`).
    """
    account, extra = views.account_of(record), notes or {}
    data, arrays = account.drawn_from(record)
    about = {
        "experiment": experiment,
        "version": version,
        "title": account.title(record),
        "summary": account.summary(record),
        "facts": account.facts(record),
        "steps": account.steps and account.steps.name,
        "counts": account.counts(record),
        "views": [
            _view(each, record) | ({"note": extra[each.name]} if each.name in extra else {})
            for each in views.all_views(type(record))
        ],
    }
    return pack("record", about | ({"data": data} if data else {}) | ({} if at is None else {"at": at}), arrays)


def _view(shown: View, record: Record) -> dict[str, Any]:
    return {**words(shown), "missing": shown.missing(record)}
