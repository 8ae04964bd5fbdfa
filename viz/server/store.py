"""Keeps the records of all visitors, of every kind: bounded bytes in memory, finished ones on disk, then gone.

What is counted against the bound: the arrays and parts of every record in memory, what its other objects take beside
them, and what was reserved for those that still grow. Only a record that is complete leaves: first to a temporary
folder, from where it comes back when it is asked for, and then for good. Records that come with the app never leave.
"""

import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from model.api.job import Job
from model.errors import NoSpace, Refusal
from model.records.file import Saved
from model.texts import phrase
from viz.wire import packing
from viz.wire.recorded import Recorded
from viz.wire.standing import Standing

log = logging.getLogger("tokenoscope")

_LEAST = 50_000  # bytes that a record takes, however small: so that a bound on bytes bounds their number
_OBJECTS = 8  # a record's Python objects take about an eighth of its arrays; with its parts, at most three eighths
GONE = phrase("This record is no longer kept: newer ones took its place, or the program was restarted.")


@dataclass(eq=False, kw_only=True)
class Kept:
    """One record: its parts so far, the newest version of it, and how it stands."""

    id: str
    standing: Standing
    shipped: Recorded | None = None  # it comes with the app
    parts: tuple[bytes, ...] | None = ()  # None while they are on disk alone
    n_parts: int = 0  # how many were made; of a part that is replaced, which version it is
    record: Saved | None = None
    kind: type[Saved] | None = None  # of the record, which may be on disk
    changed: int = 0  # grows with every part and every change of its status
    reserved: int = 0
    n_bytes: int = 0  # what its record and its parts take, in memory or not
    disk_bytes: int = 0  # of its files; 0 where it has none
    heard: float = field(default_factory=time.monotonic)  # when its parts were asked for last

    @property
    def in_memory(self) -> int:
        """Bytes that count against the bound."""
        size = max(self.n_bytes, self.reserved)
        if self.parts is None or not (size or self.standing.complete):  # it is on disk, or waits and has nothing
            return 0
        return size if self.shipped else size + _LEAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one look at a record finds: the parts asked for, and how it stands once they are there."""

    parts: tuple[bytes, ...]
    status: bytes  # a frame
    n_parts: int
    changed: int
    complete: bool


class Store:
    """Records by id. Ids are unguessable: whoever knows one may look at that record. Safe to use from any thread."""

    def __init__(self, most_bytes: int, disk_bytes: int, shipped: Mapping[str, Recorded] | None = None) -> None:
        self._most, self._most_on_disk = most_bytes, disk_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()  # the one used last stands last
        self._lock = threading.RLock()
        self._moving = threading.Lock()  # one record at a time goes to disk or comes back
        self._mover: threading.Thread | None = None
        self._need: int | None = None  # bytes for which the mover is to make room
        self._folder: Path | None = None
        for name, each in (shipped or {}).items():
            self._kept[name] = _shipped(name, each)

    # For the engine

    def check(self, job: Job) -> None:
        """Check that the job's record is not larger than the whole store. Raises: NoSpace, with both sizes."""
        with self._lock:
            if (need := _expected(job)) > (most := self._most - self._shipped_bytes()):
                raise _too_large(need, most)

    def reserve(self, job: Job) -> bool:
        """Keep room for the job's record; False if there is none now, and others are moved out to make some."""
        need = _expected(job)
        with self._lock:
            kept = self._kept.get(job.id)
            if kept is None or kept.reserved:
                return True
            if self.held_bytes() + need + _LEAST <= self._most:
                kept.reserved = max(need, 1)
                return True
        self._move_out_later(need + _LEAST)
        return False

    # For whoever follows a job

    def open(self, standing: Standing) -> Kept:
        """Begin a record that has nothing to show yet."""
        with self._lock:
            self._kept[standing.id] = kept = Kept(id=standing.id, standing=standing)
            return kept

    def add(self, kept: Kept, record: Saved, new: Iterable[bytes], *, replaces: int | None = None) -> None:
        """Append parts and keep the newer record; with `replaces`, its version, the new part is the only one.

        Raises: NoSpace, if this record alone needs more than the whole store; nothing of it is kept then.
        """
        with self._lock:
            parts = tuple(new)
            kept.parts = parts if replaces is not None else (kept.parts or ()) + parts
            kept.n_parts = len(kept.parts) if replaces is None else replaces
            kept.record, kept.kind = record, type(record)
            kept.n_bytes = sum(map(len, kept.parts)) + _bytes_of(record)
            kept.changed += 1
            if kept.n_bytes > (most := self._most - self._shipped_bytes()):
                needed, kept.n_bytes = kept.n_bytes, 0
                kept.record, kept.parts, kept.n_parts = None, (), 0
                raise _too_large(needed, most)
            over = self.held_bytes() > self._most
        if over:
            self._move_out_later(0)

    def tell(self, kept: Kept, standing: Standing) -> None:
        """How it stands now. One that is complete needs no more room than it takes, and may leave."""
        with self._lock:
            if standing == kept.standing:
                return
            kept.standing = standing
            kept.changed += 1
            if standing.complete:
                kept.reserved = 0
                self._kept.move_to_end(kept.id)
            over = standing.complete and self.held_bytes() > self._most
        if over:
            self._move_out_later(0)

    # For whoever looks

    def get(self, record_id: str) -> Kept | None:
        """The record by that id, or None if it has left or never was here."""
        with self._lock:
            if (kept := self._kept.get(record_id)) is not None and kept.shipped is None:
                self._kept.move_to_end(record_id)
            return kept

    def held(self, record_ids: Iterable[str]) -> list[str]:
        """Those of the ids under which a record is here; asking makes none of them the one used last."""
        with self._lock:
            return [each for each in record_ids if each in self._kept]

    def shipped(self) -> list[Kept]:
        """Those that come with the app, in order."""
        with self._lock:
            return [kept for kept in self._kept.values() if kept.shipped is not None]

    def read(self, kept: Kept, since: int) -> Reading | None:
        """Its parts from one on, and how it stands; None if it left meanwhile."""
        kept.heard = time.monotonic()
        with self._lock:
            held, standing = kept.parts, kept.standing
            status = standing.frame(kept.n_parts)
            found = Reading(
                parts=(), status=status, n_parts=kept.n_parts, changed=kept.changed, complete=standing.complete
            )
            path = self._file(kept, "parts") if held is None else None
        if held is None:
            try:
                held = tuple(packing.split(path.read_bytes())) if path is not None else ()
            except FileNotFoundError:
                return None
        first = since if len(held) == found.n_parts else 0 if since < found.n_parts else len(held)
        return replace(found, parts=held[first:])

    def record(self, kept: Kept) -> Saved | None:
        """The record itself, from disk if need be; None if it left meanwhile, or has nothing to show yet."""
        with self._lock:
            if kept.record is not None or not kept.disk_bytes:
                return kept.record
        self._move_out(kept.n_bytes + _LEAST)
        with self._moving:
            return kept.record if kept.record is not None else self._brought_back(kept)

    def enrich(self, kept: Kept, change: Callable[[Any], Saved]) -> None:
        """Put a richer copy in the place of a complete record. Its parts stay; what is on disk is written anew later.

        A record that left memory meanwhile stays as it is.
        """
        with self._moving, self._lock:
            if kept.record is None or kept.parts is None or not kept.standing.complete:
                return
            kept.record = change(kept.record)
            kept.n_bytes = sum(map(len, kept.parts)) + _bytes_of(kept.record)
            if kept.disk_bytes:
                self._delete(kept)
            over = self.held_bytes() > self._most
        if over:
            self._move_out_later(0)

    def held_bytes(self) -> int:
        """What all records in memory take, what is reserved included."""
        with self._lock:
            return sum(kept.in_memory for kept in self._kept.values())

    def disk_bytes(self) -> int:
        """What the files of records take."""
        with self._lock:
            return sum(kept.disk_bytes for kept in self._kept.values())

    @property
    def folder(self) -> Path | None:
        """Where its files are; None before there was one."""
        return self._folder

    def close(self) -> None:
        """Delete its files; what is in memory stays."""
        self.settle()
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def settle(self) -> None:
        """Wait until what is being moved out is out."""
        with self._lock:
            mover = self._mover
        if mover is not None:
            mover.join()

    # To disk and back

    def _move_out_later(self, need: int) -> None:
        """In a thread of its own: whoever asks for room holds an engine up meanwhile."""
        with self._lock:
            self._need = max(self._need or 0, need)
            if self._mover is None:
                self._mover = threading.Thread(target=self._move_out_all, name="store", daemon=True)
                self._mover.start()

    def _move_out_all(self) -> None:
        """As long as anybody asks for room."""
        while True:
            with self._lock:
                need, self._need = self._need, None
                if need is None:
                    self._mover = None
                    return
            self._move_out(need)

    def _move_out(self, need: int) -> None:
        """Move those used least recently out of memory, until so many bytes more have room or none is left."""
        with self._moving:
            while self.held_bytes() + need > self._most and (kept := self._next_out()) is not None:
                if kept.record is not None and not kept.disk_bytes:
                    self._write(kept)
                with self._lock:
                    kept.record, kept.parts = None, None
                    if not kept.disk_bytes:
                        self._kept.pop(kept.id, None)
                    self._bound_disk()

    def _next_out(self) -> Kept | None:
        with self._lock:
            there = (
                kept for kept in self._kept.values() if kept.standing.complete and not kept.shipped and kept.in_memory
            )
            return next(there, None)

    def _write(self, kept: Kept) -> None:
        """Its files; one that cannot be written leaves for good, and the log says why."""
        record, parts = kept.record, kept.parts
        assert record is not None and parts is not None, "only what is in memory is moved out"
        try:
            size = record.save(self._file(kept, "record"))
            size += self._file(kept, "parts").write_bytes(b"".join(parts))
        except (Refusal, OSError) as error:
            log.warning("a record could not be kept on disk: %s", error)
            self._delete(kept)
            return
        kept.disk_bytes = max(size, _LEAST)

    def _brought_back(self, kept: Kept) -> Saved | None:
        assert kept.kind is not None, "what is on disk was a record"
        try:
            record = kept.kind.open(self._file(kept, "record"))
            parts = tuple(packing.split(self._file(kept, "parts").read_bytes()))
        except (Refusal, OSError):
            return None
        with self._lock:
            kept.record, kept.parts = record, parts
        return record

    def _bound_disk(self) -> None:
        """Delete the files used least recently until the others fit; a record that is nowhere else leaves for good."""
        on_disk = [kept for kept in self._kept.values() if kept.disk_bytes]
        while on_disk and self.disk_bytes() > self._most_on_disk:
            kept = on_disk.pop(0)
            self._delete(kept)
            if kept.parts is None:
                del self._kept[kept.id]

    def _delete(self, kept: Kept) -> None:
        kept.disk_bytes = 0
        for what in ("record", "parts"):
            self._file(kept, what).unlink(missing_ok=True)

    def _file(self, kept: Kept, what: str) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="tokenoscope-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder / f"{kept.id}.{what}"

    def _shipped_bytes(self) -> int:
        return sum(kept.n_bytes for kept in self._kept.values() if kept.shipped)


def _shipped(name: str, each: Recorded) -> Kept:
    standing = Standing(
        id=name,
        experiment=each.experiment,
        state="done",
        version=1,
        complete=True,
    )
    size = sum(map(len, each.frames)) + (0 if each.record is None else _bytes_of(each.record))
    return Kept(
        id=name,
        standing=standing,
        shipped=each,
        parts=each.frames,
        n_parts=len(each.frames),
        record=each.record,
        kind=None if each.record is None else type(each.record),
        n_bytes=size,
    )


def _expected(job: Job) -> int:
    """What the job's record will take, its parts and other objects included."""
    return job.expected_bytes + job.expected_bytes * 3 // _OBJECTS


def _bytes_of(record: Saved) -> int:
    """What its arrays take, each buffer once and whole, though a view may show a part of it; and its other objects."""
    owners: dict[int, int] = {}
    for array in record.arrays().values():
        owner = array.base if isinstance(array.base, np.ndarray) else array
        owners[id(owner)] = owner.nbytes
    total = sum(owners.values())
    return total + total // _OBJECTS


def _too_large(needed: int, most: int) -> NoSpace:
    return NoSpace(
        "this needs {needed:,.0f} MB; this host keeps {most:,.0f} MB of records in memory. Shorten the "
        "prompt, ask for fewer new tokens, or raise TOKENOSCOPE_STORE_BYTES.",
        needed=needed / 1e6,
        most=most / 1e6,
    )
