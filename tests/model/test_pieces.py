"""Work that calls back becomes pieces: in turns with its caller, ended by closing, and undone while others work."""

# pyright: reportPrivateUsage=false

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest

from model import HookedModel, Settings, trace
from model.api.job import Job
from model.api.pieces import Contexts, in_pieces
from model.errors import Cancelled
from model.experiments.speculation import speculative
from model.experiments.speculation.speculative import speculate_in_runs
from model.limits import Limits
from model.records.speculation import Speculation
from model.requests.speculation import Mode
from tests.model.drafted import NEW, PROMPT, SAMPLED
from tests.model.test_speculative_ends import state
from tests.tiny import shared


def test_work_and_its_caller_take_turns_and_the_result_comes_back():
    seen: list[str] = []

    def work(pause: Callable[[], None]) -> str:
        for at in range(3):
            seen.append(f"work {at}")
            pause()
        return "done"

    def caller() -> Iterator[None]:
        seen.append((yield from in_pieces(work)))

    for at, _ in enumerate(caller()):
        seen.append(f"caller {at}")
    assert seen == ["work 0", "caller 0", "work 1", "caller 1", "work 2", "caller 2", "done"]


def test_an_error_comes_out_where_the_work_was_asked_to_go_on():
    def work(pause: Callable[[], None]) -> None:
        pause()
        raise ZeroDivisionError

    pieces = in_pieces(work)
    next(pieces)
    with pytest.raises(ZeroDivisionError):
        next(pieces)


def test_closing_cancels_the_work_and_waits_for_it():
    ended: list[bool] = []

    def work(pause: Callable[[], None]) -> None:
        try:
            pause()
        except Cancelled:
            ended.append(True)
            raise

    pieces = in_pieces(work)
    next(pieces)
    pieces.close()
    assert ended == [True]
    assert "in pieces" not in {each.name for each in threading.enumerate()}


def test_contexts_are_left_in_order_and_entered_again():
    seen: list[str] = []

    @contextmanager
    def named(name: str) -> Iterator[None]:
        seen.append(f"+{name}")
        yield
        seen.append(f"-{name}")

    with Contexts(lambda: named("a"), lambda: named("b")) as around:
        with around.left():
            seen.append("out")
    assert seen == ["+a", "+b", "-b", "-a", "out", "+a", "+b", "-b", "-a"]


def speculation(hooked: HookedModel, mode: Mode, prompt: Any, settings: dict[str, Any]) -> Iterator[Speculation | None]:
    asked = Settings(max_new_tokens=NEW, **settings)
    return speculate_in_runs(
        hooked,
        prompt,
        asked,
        Limits.from_environment(),
        modes=[mode],
        n_draft=2,
        exit_layer=1 if mode == "early exit" else None,
        draft=shared(copy=1) if mode == "draft model" else None,
        repeats=1,
        job=Job(),
    )


def recorded(pieces: Iterator[Speculation | None]) -> list[Any]:
    """What the recorded run says but for its times."""
    record = next(each for each in pieces if each is not None and each.attempts)
    rounds = [asdict(replace(each, draft_s=0.0, verify_s=0.0)) for each in record.attempts[0].rounds]
    return [[token.id for token in record.attempts[0].tokens], rounds]


def check_others_between(
    hooked: HookedModel, mode: Mode, prompt: Any, settings: dict[str, Any], monkeypatch: Any
) -> None:
    whole = recorded(speculation(hooked, mode, prompt, settings))
    drawn = {"max_new_tokens": 3, "temperature": 1.0, "seed": 4}
    alone = trace(hooked, prompt, additions=False, **drawn)
    before, n_pauses = state(hooked), 0
    monkeypatch.setattr(speculative, "_PIECE_S", 0.0)

    def with_others() -> Iterator[Speculation | None]:
        nonlocal n_pauses
        for record in speculation(hooked, mode, prompt, settings):
            if record is None:
                n_pauses += 1
            if record is None and n_pauses % 6 == 1:
                assert state(hooked) == before
                assert (trace(hooked, prompt, additions=False, **drawn).logits == alone.logits).all()
            yield record

    assert recorded(with_others()) == whole
    assert n_pauses > NEW, "a pause after each pass of plain decoding, and after each round"


@pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("mode", ["prompt lookup", "early exit", "draft model"])
def test_others_that_have_the_model_between_two_passes_change_nothing_and_see_nothing(
    mode: Mode, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    check_others_between(shared(), mode, PROMPT, settings, monkeypatch)


@pytest.mark.long
def test_others_between_two_passes_of_the_draft_of_our_own(default_model: HookedModel, monkeypatch: pytest.MonkeyPatch):
    check_others_between(default_model, "own draft", "Once upon a time", SAMPLED, monkeypatch)


def test_a_speculation_that_is_closed_between_two_passes_leaves_everything_as_before(monkeypatch: pytest.MonkeyPatch):
    hooked = shared()
    before = state(hooked)
    monkeypatch.setattr(speculative, "_PIECE_S", 0.0)
    pieces = speculation(hooked, "early exit", PROMPT, SAMPLED)
    for _ in range(NEW + 4):
        next(pieces)
    pieces.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert state(hooked) == before
    assert hooked.guard.acquire(blocking=False)
    hooked.guard.release()
