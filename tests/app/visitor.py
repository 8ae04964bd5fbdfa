"""One visitor of the page, without a browser: speaks to Gradio's queue as its page does, and keeps what it is told."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
from gradio_client.utils import apply_diff

from tests.patience import PATIENCE_S

FORM = {
    "prompt": "a b c",
    "chat": False,
    "max_new_tokens": 4,
    "temperature": 0,
    "top_k": 0,
    "top_p": 1,
    "min_p": 0,
    "repetition_penalty": 1,
    "seed": 0,
}


class Visitor:
    """A session of its own. `told` grows with every notice that its page would get, `answered` with every request of
    which nothing more will be told."""

    def __init__(self, url: str) -> None:
        self.session = secrets.token_hex(6)
        self.told: list[dict[str, Any]] = []
        self.answered: list[str] = []
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S)
        config = self.http.get("/config").json()
        self._ids = {each["api_name"]: each["id"] for each in config["dependencies"]}
        self._streams: list[tuple[threading.Thread, httpx.Client]] = []

    def run(self, **form: Any) -> None:
        """Press Run with these values, and go on at once."""
        self.post_run([*{**FORM, **form}.values()])

    def post_run(self, data: list[Any]) -> None:
        """Press Run with whatever values, as raw JSON."""
        body = json.dumps({"data": data, "fn_index": self._ids["run"], "session_hash": self.session})
        answer = self.http.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        answer.raise_for_status()
        event = answer.json()["event_id"]
        if not any(thread.is_alive() for thread, _ in self._streams):
            client = httpx.Client(base_url=str(self.http.base_url), timeout=PATIENCE_S)
            thread = threading.Thread(target=self._listen, args=(client,), daemon=True)
            self._streams.append((thread, client))
            thread.start()
        self._last_event = event

    def press(self, name: str) -> None:
        """Press Pause, Resume, Step or Stop."""
        self.http.post(f"/gradio_api/run/{name}", json={"data": [], "session_hash": self.session}).raise_for_status()

    def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a notice of which this holds; returns it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := next((notice for notice in self.told if what(notice)), None):
                return found
            time.sleep(0.01)
        raise AssertionError(f"never told; last told was {self.told[-1:]}")

    def finished(self) -> dict[str, Any]:
        """Wait for the end of the run; returns the last notice."""
        return self.until(lambda notice: notice["done"])

    def leave(self) -> None:
        """Close the tab."""
        for _, client in self._streams:
            client.close()
        self.http.close()

    def _listen(self, client: httpx.Client) -> None:
        values: dict[str, Any] = {}
        try:
            with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
                for line in stream.iter_lines():
                    if line.startswith("data:"):
                        self._hear(json.loads(line[5:]), values)
        except (httpx.HTTPError, OSError, RuntimeError):
            return  # the test has closed the tab

    def _hear(self, message: dict[str, Any], values: dict[str, Any]) -> None:
        event = str(message.get("event_id"))
        if message["msg"] == "process_generating" and message["success"]:
            data = message["output"]["data"]
            values[event] = apply_diff(values[event], data[0]) if event in values else data[0]
            self.told.append(values[event])
        elif message["msg"] == "process_completed":
            if not message["success"]:
                self.told.append({"error": message["output"], "done": True, "refusal": "", "state": "broken"})
            self.answered.append(event)
