"""The routes beside Gradio as tests ask them: on a plain Starlette app, over a house."""

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.app.running import House
from viz.server import guard
from viz.server.routes import PREFIX, build_routes
from viz.server.store import Store
from viz.wire import packing, parts, recorded
from viz.wire.standing import Standing

RECORDS = f"{PREFIX}/records"


class Site(TestClient):
    """The routes over a store and a house."""

    def __init__(self, house: House, shipped: Path | None = None) -> None:
        self.house = house
        if shipped is not None:
            house.store = Store(10**9, 10**9, recorded.load(shipped))
        app = Starlette(routes=build_routes(house.store, house.models), middleware=guard.MIDDLEWARE)
        super().__init__(app, raise_server_exceptions=True)

    def keep(self, record: Any, experiment: str, version: int = 1, *, complete: bool = True) -> str:
        """Put a record into the store as it is; returns its address."""
        kept = self.house.store.open(Standing(id=f"kept{version}", experiment=experiment, state="running"))
        made = parts.parts_of(experiment)
        new = [*made.newer(record, version), *made.beside(record)]
        self.house.store.add(kept, record, new, replaces=version if made.replaces else None)
        state = "done" if complete else "running"
        standing = Standing(id=kept.id, experiment=experiment, state=state, version=version, complete=complete)
        self.house.store.tell(kept, standing)
        return f"{RECORDS}/{kept.id}"


def said(body: bytes) -> dict[str, Any]:
    """The status that ends an answer."""
    about = packing.says(packing.split(body)[-1])
    assert about["kind"] == "status"
    return about
