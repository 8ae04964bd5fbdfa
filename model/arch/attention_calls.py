"""Hands the attention calls of a pass to whoever watches it; for all others the library is as it was.

The models of the transformers library ask its AttentionInterface for the function that computes their attention. Inside
`watched`, a model that asks in the same thread is given that very function with a listener in front of it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface

Attention = Callable[..., Any]
Listener = Callable[..., Any]  # called with the function and what it was called with; gives what the function gives

TAKES = ("module", "query", "key", "value", "attention_mask")
"""What the library's interface takes, in this order."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def in_float32(original: Attention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What this function gives for the same numbers, computed in float32; None from one that cannot compute in it."""

    def widened(each: Any) -> Any:
        return each.float() if isinstance(each, torch.Tensor) and each.is_floating_point() else each

    given = original(*map(widened, args), **{name: widened(each) for name, each in kwargs.items()})[0]
    return given if given.dtype == torch.float32 else None


@contextmanager
def watched(listener: Listener) -> Iterator[None]:
    """Inside the block, attention that is computed in this thread goes through the listener.

    Inside another such block it goes through the outer listener first: what that one calls is this one.
    """
    outer = _LISTENER.get()

    token = _LISTENER.set(listener if outer is None else partial(_after, outer, listener))
    try:
        with _LOOK_UP:
            yield
    finally:
        _LISTENER.reset(token)


def _after(outer: Listener, inner: Listener, original: Attention, *args: Any, **kwargs: Any) -> Any:
    return outer(partial(inner, original), *args, **kwargs)


class _LookUp:
    """The interface's look-up, replaced while at least one thread watches. Safe to enter from any thread."""

    def __init__(self) -> None:
        self._lock, self._watching = threading.Lock(), 0
        self._own = AttentionInterface.get_interface

    def __enter__(self) -> None:
        with self._lock:
            if self._watching == 0:
                own = self._own = AttentionInterface.get_interface

                def get_interface(self: AttentionInterface, attn_implementation: str, default: Attention) -> Attention:
                    found, listener = own(self, attn_implementation, default), _LISTENER.get()
                    return found if listener is None else partial(listener, found)

                AttentionInterface.get_interface = get_interface
            self._watching += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._watching -= 1
            if self._watching == 0:
                AttentionInterface.get_interface = self._own


_LOOK_UP = _LookUp()
