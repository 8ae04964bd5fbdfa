"""What the page Serve fetches of a record: every tick's pictures at once, in pieces, and one for what is picked."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model.records.batching import Batching
from model.records.trace import Settings
from tests.app.fakes_served import drafted, served
from tests.app.views_served import VIEWS
from tests.fakes_measured import fake_measurement
from viz import measured_page
from viz.server import serving_routes
from viz.server.routes import PREFIX


@pytest.fixture
def fetch(serve, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Keeps a record as one that was asked for, and fetches what the page fetches of it."""
    monkeypatch.setattr(measured_page, "views_of", lambda kind: VIEWS.get(kind, []))
    running = serve()

    def of(record: Any, path: str, status: int = 200, **query: Any) -> Any:
        running.app.experiments._keep("it", record)
        answer = httpx.get(f"{running.url}{PREFIX}/experiments/it/{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json() if status == 200 and path != "file" else answer

    return of


def three(**more: Any) -> Batching:
    return served(("a b c d e f g h", "a b c d x", "k l m"), (4, 8, 3), **more)


def test_the_overview_says_what_can_be_picked_and_draws_what_follows_nothing(fetch):
    record = three()
    told = fetch(record, "pictures")
    assert told["counts"] == {
        "starts": [1],
        "why": "; no tick serves more texts at once",
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": ["A", "B", "C"],
    }
    assert len(record.ticks[1].shares) == 3
    assert [(each["follows"], each["html"] is None) for each in told["pictures"]] == [
        ("nothing", False),
        ("tick", True),
        ("pick", True),
    ]
    assert any("a b c d x" in each for each in told["facts"])
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    counts = fetch(drafts, "pictures")["counts"]
    assert counts == {"attempts": ["prompt lookup", "early exit"], "best": 0, "starts": [0, 0]}


def test_every_tick_has_its_picture_and_its_words_and_the_newer_ones_can_be_had_alone(fetch, monkeypatch):
    record = three()
    got = fetch(record, "frames")
    drawn = got["frames"]["by_tick"]
    assert [each["html"] for each in drawn] == [
        f"<p>{t.n_free} free after tick {i}</p>" for i, t in enumerate(record.ticks)
    ]
    assert got["words"][0] == "read 12 of at most 12 tokens, for A and B; C waits; after it 37 of 40 blocks are free"
    assert (got["from"], got["count"], len(got["words"])) == (0, len(record.ticks), len(record.ticks))
    newer = fetch(record, "frames", **{"from": 5})
    assert newer["frames"]["by_tick"] == drawn[5:]
    monkeypatch.setattr(serving_routes, "AT_ONCE", 3)
    assert fetch(record, "frames", **{"from": 5})["frames"]["by_tick"] == drawn[5:8]
    assert fetch(record, "frames", **{"from": 999})["words"] == []


def test_rounds_are_those_of_the_attempt(fetch):
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    got = fetch(drafts, "frames", attempt=1)
    assert got["count"] == len(drafts.attempts[1].rounds)
    assert "early exit, round 1" in got["frames"]["by_round"][1]["html"]
    assert got["words"][0] == "3 drafted, 1 accepted, one corrected: 2 written"
    assert fetch(drafts, "frames", attempt=7)["count"] == 0


def test_one_picture_is_drawn_for_what_is_picked_and_none_by_another_name(fetch):
    record = three()
    drawn = fetch(record, "picture", name="by_pick", tick=2, layer=1, head=3)
    assert json.dumps("tick 2, layer 1, head 3") in json.dumps(drawn["figure"])
    refused = fetch(record, "picture", 404, name="<b>")
    assert "'<b>'" in refused.text
    assert fetch(fake_measurement(), "frames", 404).text == "This record is none of texts that were served or drafted."


def test_a_number_of_many_digits_in_an_address_counts_as_none(fetch):
    assert fetch(three(), "frames", **{"from": "0" * 12 + "9" * 5000})["from"] == 0


def test_old_records_leave_when_their_arrays_take_too_much_room(serve):
    experiments = serve().app.experiments
    size = three().weights.nbytes
    experiments._most_bytes, before = 2 * size, experiments._most_bytes
    try:
        for name in ("one", "two", "three"):
            experiments._keep(name, three())
        assert [experiments.get(name) is not None for name in ("one", "two", "three")] == [False, True, True]
        experiments._most_bytes = 10
        experiments._keep("alone", three())
        assert experiments.get("alone") is not None, "the one just made is kept, whatever its size"
    finally:
        experiments._most_bytes = before
