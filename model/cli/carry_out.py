"""One experiment from the command line: models loaded, work followed with a bar, its record kept and printed."""

import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model.api.inputs import Inputs
from model.api.job import Job
from model.api.terminal import as_called, say
from model.cli.arguments import Asked
from model.cli.flags import flag
from model.cli.tables.columns import Shown
from model.errors import NoSpace, NotShown
from model.limits import Limits
from model.requests.request import Request
from model.texts import phrase
from model.weights import sources as weights
from model.weights.disk import is_full
from model.weights.precision import PRECISIONS

_TABLES = f"{__package__}.tables"


def carry_out(asked: Asked, limits: Limits) -> int:
    """Do it to its end, or to Ctrl-C; keep and print what there is. Returns the exit code."""
    shown = _shown(asked.experiment.name)
    models = _loaded(asked.request.models, _precision(asked), asked.device_map, limits)
    inputs = Inputs(models=models, records=asked.records, limits=limits)
    if models:
        if reason := asked.experiment.fits(inputs.target.card):
            raise NotShown("{reason}", reason=reason)
        _say_recommended(inputs.target, asked.request)
    job = _BarJob(shown)
    with _interrupts(job):
        work = asked.experiment.function()(inputs, asked.request, job)
        record = _followed(work, job, shown, post_run=asked.output is not None)
        if record is not None:
            for note in getattr(record, "notes", ()):
                say(phrase("note: {note}", note=note))
            if asked.output is not None:
                _keep(record, asked.output)
    if record is not None and not (shown.alone and (job.stopped() or (asked.output is not None and not asked.json))):
        text = json.dumps(shown.summary(record), allow_nan=False) if asked.json else shown.table(record)
        _print(_for_terminal(text) if sys.stdout.isatty() else text)
    if job.stopped():
        say(shown.stopped(record, asked.request))
        return 130
    return 0


def _shown(experiment: str) -> Shown:
    """How the record is printed: by the kind's own table, or plainly where it has none."""
    own = f"{_TABLES}.{experiment}"
    return import_module(own if find_spec(own) else f"{_TABLES}.plain").SHOWN


def _precision(asked: Asked) -> str:
    """What was asked for; else that of the saved record to go on with, which no other precision repeats."""
    made = (record.model.dtype for record in asked.records.values())
    own = next(made, "auto")
    return asked.dtype or (own if own in PRECISIONS else "auto")


def _loaded(names: Mapping[str, str | None], dtype: str, device_map: str | None, limits: Limits) -> dict[str, Any]:
    """The models by role. All are found before the first is loaded: what is refused is refused before torch comes."""
    if not names:
        return {}
    with weights.progress_bar() as progress:
        found = {role: weights.find(name, limits, progress) for role, name in names.items()}
        progress(phrase("starting torch"), 0, 0)
        from model.loading.load import load

        return {
            role: load(source, dtype=dtype, device_map=device_map, progress=progress, settle_threads=True)
            for role, source in found.items()
        }


def _say_recommended(hooked: Any, request: Request) -> None:
    """Say what the model recommends of the settings that this kind has, unless that is what was asked for."""
    known = request.fields()
    wanted = {name: value for name, value in hooked.recommends.items() if name in known}
    if any(getattr(request.settings, name) != value for name, value in wanted.items()):
        flags = " ".join(f"{flag(name, known[name])} {value:g}" for name, value in wanted.items())
        say(phrase("note: the generation config of {model} recommends {flags}", model=hooked.card.name, flags=flags))


class _BarJob(Job):
    """A job whose progress is a bar on the terminal; nothing where stderr is none."""

    def __init__(self, shown: Shown) -> None:
        from tqdm import tqdm

        super().__init__()
        self.bar = tqdm(desc=shown.doing, unit=shown.unit or "it", disable=None, leave=False)

    def progress(self, done: int, total: int, what: str) -> None:
        super().progress(done, total, what)
        self.bar.total, self.bar.n = total, done
        self.bar.set_postfix_str(what)


def _followed(work: Iterator[Any], job: _BarJob, shown: Shown, *, post_run: bool) -> Any:
    """The last record; what is added after the run only where it is wanted, with a bar of its own."""
    from tqdm import tqdm

    record = None
    with job.bar:
        for value in work:
            record = record if value is None else value
            if job.is_settled:
                break
    if post_run and job.is_settled:
        for value in tqdm(work, desc=shown.post_run, unit=" pieces", disable=None, leave=False):
            record = record if value is None else value
            if job.stopped():
                break
    return record


@contextmanager
def _interrupts(job: Job) -> Iterator[None]:
    """Inside, the first Ctrl-C only stops the job, so that the record so far can be kept; the second stops at once."""
    before = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: Any) -> None:
        job.stop()
        signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:  # not where whoever started this program had it ignore Ctrl-C
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _keep(record: Any, path: Path) -> None:
    """Save it, and say on stderr what was written: standard output has the answer alone."""
    n_bytes = record.save(path)
    page = as_called("python -m viz")
    say(
        phrase(
            "wrote {path}: {n_bytes:,} bytes. To view it: {page} {path} -o PAGE.html",
            path=path,
            n_bytes=n_bytes,
            page=page,
        )
    )


def _print(text: str) -> None:
    """Write to stdout, now. Raises: BrokenPipeError, if nobody reads it; NoSpace, if its disk is full."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal or a pipe may not know all characters
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left must not fail again at exit
        if is_full(error):
            raise NoSpace(
                "the answer could not be written: the disk under standard output is full. "
                "Free some space, or write to another disk."
            ) from error
        raise


def _for_terminal(text: str) -> str:
    """The text with control characters as their pictures, since a terminal would obey them."""
    pictures = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    return text.translate(pictures | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD))
