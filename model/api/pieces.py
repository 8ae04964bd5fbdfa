"""Turns a library's callback loop into pieces between which other jobs can run.

An experiment yields where others may have the model. A library's own loop, such as `generate`, only calls a function
at times; `in_pieces` turns each such call into a yield, and `Contexts` undoes in the meantime what the work has changed
in the model and the process.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

from model.errors import Cancelled

R = TypeVar("R")


def in_pieces(work: Callable[[Callable[[], None]], R]) -> Generator[None, None, R]:
    """Do `work(pause)`, with a yield at each `pause()` that it calls, and return its result or raise its error.

    The work has a thread of its own, and either that thread or the caller's runs, never both: like a generator that
    yields from inside the functions it calls. Closing it makes `pause` raise Cancelled and waits for the work to end.
    """
    go_on, paused = threading.Semaphore(0), threading.Semaphore(0)
    result: Future[R] = Future()
    closing = False

    def pause() -> None:
        paused.release()
        go_on.acquire()
        if closing:
            raise Cancelled

    def run() -> None:
        go_on.acquire()
        try:
            result.set_result(work(pause))
        except BaseException as error:  # noqa: BLE001  (raised where the result is asked for)
            result.set_exception(error)
        paused.release()

    thread = threading.Thread(target=run, name="in pieces", daemon=True)
    thread.start()
    try:
        while True:
            go_on.release()
            paused.acquire()
            if result.done():
                break
            yield
    except GeneratorExit:
        closing = True
        go_on.release()
        raise
    finally:
        thread.join()
    return result.result()


class Contexts:
    """Context managers that work is done in, each made anew when they are entered again: see `left`."""

    def __init__(self, *makes: Callable[[], AbstractContextManager[Any]]) -> None:
        self._makes, self._inside = makes, ExitStack()

    def __enter__(self) -> "Contexts":
        with ExitStack() as stack:
            for make in self._makes:
                stack.enter_context(make())
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._inside.__exit__(*error)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Leave all of them for the block, then enter them again."""
        self._inside.close()
        try:
            yield
        finally:
            self.__enter__()
