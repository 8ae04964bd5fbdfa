"""One visitor of the page, without a browser: presses its buttons as Gradio's page does, and follows records."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.patience import PATIENCE_S
from viz.wire import packing

FORM: dict[str, Any] = {
    "prompt": "a b c",
    "chat": False,
    "system": "",
    "turns": "[]",
    "template_options": "{}",
    "max_new_tokens": 4,
    "temperature": 0,
    "top_k": 0,
    "top_p": 1,
    "min_p": 0,
    "repetition_penalty": 1,
    "seed": 0,
}
RECORDS = "/gradio_api/tokenoscope/records"


class Visitor:
    """A session of its own. `told` grows with every status of the record that it follows."""

    def __init__(self, url: str) -> None:
        self.session = secrets.token_hex(6)
        self.told: list[dict[str, Any]] = []
        self.parts: list[str] = []  # kinds of the parts that came
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S)
        config = self.http.get("/config").json()
        self._ids = {each["api_name"]: each["id"] for each in config["dependencies"]}
        self._left = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, **form: Any) -> dict[str, Any]:
        """Press Run with these values, and follow what comes of it. Returns what the press came to."""
        return self.ask("run", [*{**FORM, **form}.values()])

    def ask(self, experiment: str, data: list[Any]) -> dict[str, Any]:
        """Press the button of an experiment with whatever values, as raw JSON."""
        answer = self.press(experiment, data)
        if answer["id"]:
            self.follow(answer["id"])
        return answer

    def press(self, name: str, data: list[Any] | None = None) -> Any:
        """Press a button by its name, such as run-stop; returns the first of what it answers."""
        body = json.dumps({"data": data or [], "session_hash": self.session, "fn_index": self._ids[name]})
        answer = self.http.post(f"/gradio_api/run/{name}", content=body, headers={"content-type": "application/json"})
        answer.raise_for_status()
        return next(iter(answer.json()["data"]), None)

    def follow(self, record: str) -> None:
        """Fetch its parts as they come, as a page does, until it is complete or the tab is closed."""
        thread = threading.Thread(target=self._follow, args=(record,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a status of which this holds; returns it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := next((status for status in self.told if what(status)), None):
                return found
            time.sleep(0.01)
        raise AssertionError(f"never told; last told was {self.told[-1:]}")

    def finished(self) -> dict[str, Any]:
        """Wait until nothing more comes; returns the last status."""
        return self.until(lambda status: status["complete"])

    def leave(self) -> None:
        """Close the tab."""
        self._left.set()
        for thread in self._threads:
            thread.join()
        self.http.close()

    def _follow(self, record: str) -> None:
        since, complete = 0, False
        with httpx.Client(base_url=str(self.http.base_url), timeout=PATIENCE_S) as client:
            while not complete and not self._left.is_set():
                body = client.get(f"{RECORDS}/{record}/parts", params={"since": since, "follow": 1}).content
                for about in map(packing.says, packing.split(body)):
                    if about["kind"] == "status":
                        self.told.append(about)
                        since, complete = about["parts"], about["complete"]
                    else:
                        self.parts.append(about["kind"])
