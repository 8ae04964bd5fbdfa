"""A record as files to keep: its own file, and the page that needs nothing else."""

import tempfile
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from model.requests.registry import named
from viz import export
from viz.server.answers import PASSING, record_of
from viz.server.store import Kept, Store


def file(_: Request, store: Store, kept: Kept) -> Response:
    """The record's own file, as `python -m model` saves it."""
    record = record_of(store, kept)
    folder = tempfile.TemporaryDirectory(prefix="tokenoscope-")
    experiment = named(kept.standing.experiment)
    path = Path(folder.name) / f"{experiment.name}{experiment.suffix}"
    try:
        record.save(path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        filename=path.name,
        media_type="application/octet-stream",
        headers=PASSING,
        background=BackgroundTask(folder.cleanup),
    )


def page(_: Request, store: Store, kept: Kept) -> Response:
    """The record's page."""
    shown = export.page(record_of(store, kept))
    held = {"content-disposition": f'attachment; filename="{kept.standing.experiment}.html"'}
    return HTMLResponse(shown, headers=PASSING | held)
