"""Asks the engines for what visitors want, and follows each job: its record becomes parts in the store.

A visitor is a string, and can reach no job but its own. A job is held only while somebody listens: one whose parts
nobody fetches for a while is stopped, whether it waits, runs or is paused.
"""

import logging
import threading
import time
from dataclasses import dataclass, field, replace

from model.api.engine import Engine, Models
from model.api.job import Job, Status
from model.errors import BadSetting, Busy, Cancelled, NotAllowed, Refusal
from model.limits import Limits
from model.records.fields import shown
from model.records.file import Saved
from model.requests.registry import of_request
from model.requests.request import Request
from model.texts import phrase
from viz.server.store import Kept, Store
from viz.wire.parts import Parts, parts_of
from viz.wire.standing import Standing, StoppedBy

log = logging.getLogger("tokenoscope")

SILENCE_S = 15.0  # for which nobody fetches a job's parts before it is stopped
_GRACE_S = 3.0  # of silence, after which a waiting job gives up its place where the queue is full
_LOOK_S = 0.25
_LONGEST_NAME = 300  # characters of a model's name or of a folder's path
_MORE = 16  # jobs that may be followed beside those of full queues
BROKEN = phrase("An internal error occurred. The host's log has the details.")


@dataclass(eq=False, kw_only=True)
class _Asked:
    """One job that a visitor has asked for, from its request to its end."""

    request: Request
    job: Job
    kept: Kept
    experiment: str
    engine: Engine | None = None  # once it has accepted the request
    stopped_by: StoppedBy = ""
    woken: threading.Event = field(default_factory=threading.Event)

    def stop(self, by: StoppedBy) -> None:
        """End it, whether it has begun or not; who was first is told."""
        self.stopped_by = self.stopped_by or by
        self.woken.set()
        self.job.stop()

    @property
    def silent_s(self) -> float:
        """Seconds for which nobody has fetched its parts."""
        return time.monotonic() - self.kept.heard


class Visitors:
    """Every visitor's jobs."""

    def __init__(self, models: Models, store: Store, limits: Limits, *, silence_s: float = SILENCE_S) -> None:
        self.models, self.store, self.limits = models, store, limits
        self._silence_s = silence_s
        self._most = 2 * limits.queue + limits.paused_runs + _MORE  # followers, each a thread
        self._asked: dict[str, list[_Asked]] = {}  # of each visitor, those not over, in order
        self._lock = threading.Lock()

    def ask(self, visitor: str, request: Request, *, held: bool = False) -> str:
        """Begin what is asked for. Returns the id of the job, and of its record, at once.

        The visitor's earlier job goes on until the new one is accepted. With `held`, the new one makes one value and is
        then paused. Raises: Refusal, for what cannot be done.
        """
        self._check(request)
        job, experiment = Job(), of_request(request).name
        if held:
            job.step()
        standing = Standing(id=job.id, experiment=experiment)
        with self._lock:
            if sum(map(len, self._asked.values())) >= self._most:
                raise Busy("This host is at its limit of visitors. Try again in a minute.")
            asked = _Asked(request=request, job=job, kept=self.store.open(standing), experiment=experiment)
            before = [each for each in self._asked.get(visitor, ()) if each.engine is None]
            self._asked.setdefault(visitor, []).append(asked)
        for each in before:
            each.stop("overtaken")
        threading.Thread(target=self._follow, args=(visitor, asked), name=f"job {job.id}", daemon=True).start()
        return job.id

    def stop(self, visitor: str) -> None:
        """End what the visitor has asked for; what was made so far stays."""
        self._stop(visitor, "person")

    def leave(self, visitor: str) -> None:
        """The visitor has closed the page: nothing more is done for it."""
        self._stop(visitor, "silence")

    def pause(self, visitor: str) -> None:
        """Hold the visitor's job after the value that is being computed."""
        if (job := self._latest(visitor)) is not None:
            job.pause()

    def resume(self, visitor: str) -> None:
        """Let the visitor's paused job go on."""
        if (job := self._latest(visitor)) is not None:
            job.resume()

    def step(self, visitor: str) -> None:
        """Let the visitor's job compute one more value, then hold it."""
        if (job := self._latest(visitor)) is not None:
            job.step()

    def followed(self) -> int:
        """How many jobs are not over yet."""
        with self._lock:
            return sum(map(len, self._asked.values()))

    def _stop(self, visitor: str, by: StoppedBy) -> None:
        with self._lock:
            going = list(self._asked.get(visitor, ()))
        for each in going:
            each.stop(by)

    def _latest(self, visitor: str) -> Job | None:
        with self._lock:
            begun = [each for each in self._asked.get(visitor, ()) if each.engine is not None]
            return begun[-1].job if begun else None

    def _check(self, request: Request) -> None:
        for name in request.models.values():
            if name is None or name in self.models.names or (self.models.takes_any and len(name) <= _LONGEST_NAME):
                continue
            raise NotAllowed("this host does not offer the model {name}. Choose one of the list.", name=shown(name))
        request.check(self.limits)

    # In the thread of each job

    def _follow(self, visitor: str, asked: _Asked) -> None:
        """From the request to the end of its post-run work; the record is held by the store alone then."""
        refusal = ""
        try:
            self._begin(visitor, asked)
            self._record(asked)
        except Cancelled:
            pass
        except Refusal as error:
            refusal = str(error)
        except Exception:
            log.exception("a job could not be followed")
            refusal = BROKEN
        if refusal:
            asked.job.stop()
        self._forget(visitor, asked)
        self._end(asked, refusal)

    def _forget(self, visitor: str, asked: _Asked) -> None:
        with self._lock:
            left = [each for each in self._asked[visitor] if each is not asked]
            self._asked[visitor] = left
            if not left:
                del self._asked[visitor]

    def _begin(self, visitor: str, asked: _Asked) -> None:
        """Wait for its models, then let the engine have it. Raises: Refusal; Cancelled, if it was stopped meanwhile."""
        engines = {role: self._engine(asked, name) for role, name in asked.request.models.items()}
        target = engines.pop("target")
        records = {name: self._needed(record_id) for name, record_id in asked.request.records.items()}
        while True:
            try:
                asked.job.check()
                target.submit(asked.request, asked.job, records=records, drafts=engines)
                break
            except Busy:
                if not self._made_place(target):
                    raise
        with self._lock:
            asked.engine = target
            all_of_them = self._asked[visitor]
            before = all_of_them[: all_of_them.index(asked)]
        for each in before:
            each.stop("overtaken")

    def _engine(self, asked: _Asked, name: str | None) -> Engine:
        name = name or self.models.names[0]
        while (engine := self.models.engine(name)) is None:
            what = phrase("Your run starts when the model is there. {model}", model=self.models.state(name).text)
            self.store.tell(asked.kept, replace(asked.kept.standing, what=what))
            asked.woken.wait(_LOOK_S)
            self._listen(asked)
            asked.job.check()
        return engine

    def _needed(self, record_id: str) -> Saved:
        kept = self.store.get(record_id)
        record = self.store.record(kept) if kept is not None and kept.standing.usable else None
        if record is None:
            raise BadSetting(
                "the record {record_id} is no longer kept with its arrays, or is not finished. Run it again first.",
                record_id=shown(record_id),
            )
        return record

    def _made_place(self, engine: Engine) -> bool:
        """Stop the waiting job to which nobody has listened for longest, where that is long; whether there was one."""
        with self._lock:
            waiting = [
                each
                for all_of_one in self._asked.values()
                for each in all_of_one
                if each.engine is engine and each.job.status.state == "waiting" and each.silent_s > _GRACE_S
            ]
        if not waiting:
            return False
        max(waiting, key=lambda each: each.silent_s).stop("silence")
        return True

    def _record(self, asked: _Asked) -> None:
        """Turn what is new of the record into parts until nothing more comes. Raises: NoSpace."""
        parts, version = parts_of(asked.experiment), 0
        for status in asked.job.updates(wait_s=_LOOK_S):
            self._listen(asked)
            record = asked.job.record
            if record is not None and status.version != version:
                version = status.version
                self._add(asked, record, parts, parts.newer(record, version), version)
            self.store.tell(asked.kept, _standing(asked, status))
            if record is not None and status.over and asked.stopped_by != "silence":
                self._add(asked, record, parts, parts.beside(record), version)  # the end has been told by now
                if status.complete:
                    self._add(asked, record, parts, parts.last(record), version)

    def _add(self, asked: _Asked, record: Saved, parts: Parts, new: list[bytes], version: int) -> None:
        if new:
            self.store.add(asked.kept, record, new, replaces=version if parts.replaces else None)

    def _listen(self, asked: _Asked) -> None:
        if asked.silent_s > self._silence_s:
            asked.stop("silence")

    def _end(self, asked: _Asked, refusal: str) -> None:
        """Say that nothing more comes, and why it failed or never began if so."""
        now = asked.kept.standing
        if refusal:
            now = replace(now, state="failed", refusal=refusal)
        elif not now.over:
            now = replace(now, state="stopped", stopped_by=asked.stopped_by)
        self.store.tell(asked.kept, replace(now, place=0, what="", eta_s=None, fraction=None, complete=True))


def _standing(asked: _Asked, status: Status) -> Standing:
    """What the page is told, before everything is there."""
    error = asked.job.error if status.state == "failed" else None
    return replace(
        asked.kept.standing,
        state=status.state,
        place=status.place,
        version=status.version,
        what="" if status.over else status.what,
        done=status.done,
        total=status.total,
        fraction=status.done / status.total if status.total and not status.over else None,
        eta_s=status.eta_s,
        refusal="" if error is None else str(error) if isinstance(error, Refusal) else BROKEN,
        stopped_by=asked.stopped_by if status.state == "stopped" else "",
    )
