"""The app in this process, on a free port, with the fake engine behind it."""

import contextlib
import functools
import gc
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app import App, build, make_store
from model.api.engine import Models
from model.limits import Limits
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.visitor import Visitor
from viz.server.store import Store


@dataclass(frozen=True, kw_only=True)
class Served:
    """An app that answers, and what stands behind it."""

    url: str
    app: App
    engine: FakeEngine
    models: FakeModels
    visitors: list[Visitor] = field(default_factory=list)

    def visitor(self) -> Visitor:
        self.visitors.append(Visitor(self.url))
        return self.visitors[-1]

    def close(self) -> None:
        """End the jobs and close the tabs; the app itself goes on."""
        for visitor in self.visitors:
            visitor.leave()
        self.engine.close()


@contextlib.contextmanager
def serving(models: Models, limits: Limits, recorded: Path, store: Store | None = None) -> Iterator[tuple[str, App]]:
    """An app on a free port, with its address; `recorded` is where the records are that come with it."""
    store = store or make_store(limits, recorded)
    app = build(models, limits, store)
    if isinstance(models, FakeModels):
        models.keep_in(store)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app.demo.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, **app.options)
    yield f"http://127.0.0.1:{port}", app
    app.demo.close(verbose=False)
    store.close()
    with warnings.catch_warnings():  # Gradio leaves event loops and sockets to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


Apps = Callable[[Limits, tuple[str, ...], Path | None], tuple[str, App, FakeModels]]


@pytest.fixture(scope="session")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apps]:
    """Apps by limits, models and recorded runs, one of each kind for all tests: starting one takes a second."""
    nothing = tmp_path_factory.mktemp("no-recorded-runs")
    with contextlib.ExitStack() as ends:

        @functools.cache
        def app(limits: Limits, names: tuple[str, ...], recorded: Path | None) -> tuple[str, App, FakeModels]:
            models = FakeModels(FakeEngine(), *names)
            return *ends.enter_context(serving(models, limits, recorded or nothing)), models

        yield app


@pytest.fixture
def serve(apps: Apps) -> Iterator[Callable[..., Served]]:
    """Puts a fresh engine behind an app, another one where the test needs other limits, models or recorded runs."""
    with contextlib.ExitStack() as ends:

        def start(
            engine: FakeEngine | None = None,
            *,
            ready: bool = True,
            limits: Limits | None = None,
            names: tuple[str, ...] = (),
            recorded: Path | None = None,
        ) -> Served:
            engine = engine or FakeEngine()
            url, app, models = apps(limits or Limits(), names, recorded)
            models.use(engine, ready=ready)
            served = Served(url=url, app=app, engine=engine, models=models)
            ends.callback(served.close)
            return served

        yield start


def forgive_open_sockets(folder: Path, items: list[pytest.Item]) -> None:
    """Gradio leaves event loops for the garbage collector to find, and its use of pandas warns: no fault of ours."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:.*no_silent_downcasting"))
            item.add_marker(pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"))
