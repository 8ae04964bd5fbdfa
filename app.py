"""The app: `python app.py` serves the page on this machine, or on a Hugging Face Space.

The page is up at once; the model loads behind it. Gradio and torch take seconds to import, so they are imported
where they are used: a wrong argument is answered without them.
"""

import argparse
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import BadSetting, Busy, NotAllowed, Refusal
from model.limits import Limits
from model.texts import phrase
from model.weights.device_map import MAPS, read_device_map
from model.weights.sources import DEFAULT, check_here, to_download

if TYPE_CHECKING:
    import gradio as gr

    from model.api.engine import Engine, Models, ModelState, Offers
    from model.records.trace import ModelCard
    from model.weights.sources import Progress
    from viz.server.store import Store
    from viz.server.visitors import Visitors

    Load = Callable[[str, Progress], Engine]

log = logging.getLogger("tokenoscope")

PORT = 7860
PORTS_TO_TRY = 100
ASSETS = Path(__file__).parent / "assets"
TITLE = "Tokenoscope"


@dataclass(frozen=True, kw_only=True)
class App:
    """The page with what stands behind it. `options` go to `demo.launch`."""

    demo: "gr.Blocks"
    visitors: "Visitors"
    store: "Store"
    options: dict[str, Any]


def make_store(limits: Limits, recorded: Path = ASSETS / "recorded") -> "Store":
    """Where records are kept, with those that come with the app: `recorded` holds them."""
    from viz.server.store import Store
    from viz.wire import recorded as recordings

    return Store(limits.store_bytes, limits.disk_bytes, recordings.load(recorded))


def build(models: "Models", limits: Limits, store: "Store") -> App:
    """The whole app around the models that it is given, which may still be loading.

    The first run of the store that comes with the app is what the page opens on.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    from viz.pages import look, measure, other, run, serve
    from viz.server import guard, routes
    from viz.server.visitors import Visitors

    first = next((kept.id for kept in store.shipped() if kept.standing.experiment == "run"), None)
    visitors = Visitors(models, store, limits)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        run.build_page(demo, visitors, limits, first)
    measure.build_page(demo, visitors, limits)
    serve.build_page(demo, visitors, limits)
    other.build_pages(demo, visitors, limits)
    demo.queue(max_size=None, default_concurrency_limit=None)  # the engine has the queue, bounded and in order
    return App(
        demo=demo,
        visitors=visitors,
        store=store,
        options={
            "app_kwargs": {"routes": routes.build_routes(store, models), "middleware": guard.MIDDLEWARE},
            "theme": look.THEME,
            "css": look.css(),
            "head": look.head(first),
            "max_threads": 40,
            "state_session_capacity": 300,
            "max_file_size": "1kb",
            "show_error": False,
            "run_history": False,
            "footer_links": [],
            "enable_monitoring": False,
            "ssr_mode": False,
            "share": False,
            "quiet": True,
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is interrupted. Returns the exit code: 2 for a refusal."""
    asked = _parse(arguments)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    host = asked.host or os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if _on_a_space() else "127.0.0.1")  # noqa: S104
    try:
        limits = Limits.from_environment()
        port = choose_port(host, asked.port or os.environ.get("GRADIO_SERVER_PORT"))
        if asked.device_map:
            read_device_map(asked.device_map)
        if asked.model:
            check_here(asked.model, limits)
    except Refusal as error:
        sys.stderr.write(f"app.py: {error}\n")
        return 2

    store = make_store(limits)
    takes_any = _is_at_home(host) and not limits.models
    models = HostedModels(limits, loader(limits, store, asked.device_map), default=asked.model, takes_any=takes_any)
    app = build(models, limits, store)
    app.demo.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        inbrowser=not asked.no_browser and _has_desktop(),
        **app.options,
    )
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    address = f"http://{shown}:{port}"
    sys.stdout.write(phrase("Tokenoscope is open at {address} (Ctrl+C ends it)", address=address) + "\n")
    sys.stdout.flush()
    try:
        app.demo.block_thread()
    finally:
        models.close()
        store.close()
    return 0


class HostedModels:
    """The models that this host offers: the default is loaded from the start, another when a visitor asks for it.

    Two at most stay in memory. Where a third is wanted, one that nobody uses makes room for it.
    """

    RESIDENT = 2

    def __init__(self, limits: Limits, load: "Load", default: str | None = None, *, takes_any: bool = False) -> None:
        self.names = tuple(dict.fromkeys((default or DEFAULT, *limits.models)))
        self.takes_any = takes_any
        self._offered = self.names
        self._told: set[str] = set()  # models whose download was announced, and may begin
        self._load = load
        self._engines: dict[str, Engine] = {}
        self._states: dict[str, ModelState] = {}
        self._failures: dict[str, Refusal] = {}
        self._failed: dict[str, ModelState] = {}  # what those that were asked for in vain say
        self._lock = threading.Lock()
        self.engine(self.names[0])

    def state(self, name: str) -> "ModelState":
        """Whether the model by that name is here, or how far it is."""
        from model.api.engine import ModelState

        return (
            self._states.get(name)
            or self._failed.get(name)
            or ModelState(phase="away", text=phrase("{name} is loaded when a run needs it.", name=name))
        )

    def engine(self, name: str) -> "Engine | None":
        """The engine of that model, or None while it is on its way. Asking for it sets it going.

        Raises: Refusal, if it could not be loaded, or if there is no room for it now. The next request tries again.
        """
        with self._lock:
            if (failure := self._failures.pop(name, None)) is not None:
                self._failed[name] = self._states.pop(name)  # it stands until somebody asks again
                raise failure
            if (engine := self._engines.get(name)) is None and name not in self._states:
                self._make_room()
                self._failed.pop(name, None)
                self._say(name, "loading", phrase("Loading {name}\u2026", name=name), None)
                threading.Thread(target=self._bring, args=(name,), name=f"load {name}", daemon=True).start()
            return engine

    def close(self) -> None:
        """End every run and let the models go."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()

    def _make_room(self) -> None:
        loading = {name for name, state in self._states.items() if state.phase == "loading"}
        if len(loading | self._engines.keys()) < self.RESIDENT:
            return
        for name, engine in self._engines.items():
            stats = engine.stats()
            if name != self.names[0] and stats.waiting + stats.running + stats.paused == 0:
                del self._engines[name], self._states[name]
                engine.close()
                return
        raise Busy(
            "This host keeps {resident} models in memory, and all are in use. Try again in a minute, or choose {name}.",
            resident=self.RESIDENT,
            name=self.names[0],
        )

    def _bring(self, name: str) -> None:
        try:
            self._announce(name)
            engine = self._load(name, lambda what, done, total: self._report(name, what, done, total))
            card, offers = engine.card, engine.offers
        except Refusal as error:
            failure = error
        except Exception:
            log.exception("%s could not be loaded", name)
            failure = Refusal(
                "{name} could not be loaded: an internal error occurred. The host's log has the details.", name=name
            )
        else:
            gc.freeze()  # what is loaded stays: to look through it for garbage would hold up a run for no gain
            with self._lock:
                self._engines[name] = engine
                self.names = tuple(dict.fromkeys((*self.names, name)))
                self._say(name, "ready", _ready(card), 1.0, offers)
            return
        with self._lock:
            self._failures[name] = failure
            self._say(name, "failed", str(failure), None)
        if name == self.names[0]:
            sys.stderr.write(f"app.py: {failure}\n")  # the host asked for it, and may have no page open

    def _announce(self, name: str) -> None:
        """Before a model that somebody named is downloaded, its size is told. Raises: Refusal, the first time."""
        if name in self._offered or name in self._told or not (size := to_download(name)):
            return
        self._told.add(name)
        raise NotAllowed(
            "{name} is not on this machine: its download is {size:.1f} MB. Ask for it again to begin.",
            name=name,
            size=size / 1e6,
        )

    def _report(self, name: str, what: str, done: int, total: int) -> None:
        fraction = min(done / total, 1.0) if total else None
        said = phrase("Getting the model: {what}", what=what)
        if fraction is not None:
            said = phrase("Getting the model: {what}, {fraction:.0%}", what=what, fraction=fraction)
        self._say(name, "loading", said, fraction)

    def _say(self, name: str, phase: Any, text: str, fraction: float | None, offers: "Offers | None" = None) -> None:
        from model.api.engine import ModelState

        self._states[name] = ModelState(phase=phase, text=text, fraction=fraction, offers=offers)


def _ready(card: "ModelCard") -> str:
    return phrase(
        "Ready: {model}, {n_layers} layers \u00d7 {n_heads} heads, {device}, {dtype}",
        model=card.name,
        n_layers=card.n_layers,
        n_heads=card.n_heads,
        device=card.device,
        dtype=card.dtype,
    )


def choose_port(host: str, wanted: str | int | None) -> int:
    """The port to listen on: the wanted one, or the first free one from 7860 on, said in a sentence if it is another.

    Raises: BadSetting, if the wanted port is no port or is busy, or if all that were tried are busy.
    """
    if wanted is not None:
        if not str(wanted).isascii() or not str(wanted).isdigit() or not 0 < int(wanted) < 65536:
            raise BadSetting("the port is {wanted!r}; it must be a whole number from 1 to 65535.", wanted=wanted)
        if _is_free(host, int(wanted)):
            return int(wanted)
        raise BadSetting(
            "port {wanted} is busy: another program uses it, perhaps an earlier start of this one. "
            "End it, or choose another port with --port.",
            wanted=wanted,
        )
    for port in range(PORT, PORT + PORTS_TO_TRY):
        if _is_free(host, port):
            if port != PORT:
                said = phrase("Port {busy} is busy, so the page is on port {port}.", busy=PORT, port=port)
                sys.stdout.write(f"{said}\n")
            return port
    raise BadSetting(
        "ports {port} to {last} are all busy. Choose another port with --port.", port=PORT, last=PORT + PORTS_TO_TRY - 1
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="app.py", description=phrase("Serve the page: watch a language model run."))
    parser.add_argument(
        "--model", help=phrase("a hub id or a local folder, instead of the default ({model})", model=DEFAULT)
    )
    parser.add_argument(
        "--device-map",
        metavar="NAME",
        help=phrase(
            "spread models over devices: {choices}, or one device, such as cuda:1 (default: each model on one device)",
            choices=", ".join(MAPS),
        ),
    )
    parser.add_argument("--host", help=phrase("address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)"))
    parser.add_argument(
        "--port", help=phrase("port (default: GRADIO_SERVER_PORT, else the first free one from {port} on)", port=PORT)
    )
    parser.add_argument("--no-browser", action="store_true", help=phrase("do not open the page in a browser"))
    return parser.parse_args(arguments)


def loader(limits: Limits, store: "Store", device_map: str | None = None) -> "Load":
    """The function that loads a model and starts its engine; all engines share one clock and one store."""
    from model.api.clock import Clock

    clock = Clock()

    def load(name: str, progress: "Progress") -> "Engine":
        from model.engine.engine import Engine
        from model.loading.load import load as load_model

        hooked = load_model(name, device_map=device_map, progress=progress, limits=limits, settle_threads=True)
        return Engine(hooked, limits, clock=clock, room=store)

    return load


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name != "nt":  # there it would bind a port that another program listens on
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _on_a_space() -> bool:
    return "SPACE_ID" in os.environ


def _is_at_home(host: str) -> bool:
    """Whether the page is for this machine alone: a loopback address, and nothing that says it is passed on."""
    return host in ("127.0.0.1", "::1", "localhost") and not _on_a_space() and not os.environ.get("GRADIO_ROOT_PATH")


def _has_desktop() -> bool:
    """Whether a browser could open here: somebody sits at a screen, and this is no host and no remote shell."""
    if not sys.stdout.isatty() or _on_a_space() or {"CI", "SSH_CONNECTION"} & os.environ.keys():
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


if __name__ == "__main__":
    sys.exit(main())
