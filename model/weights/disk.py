"""Writing to disk with a clear word when there is no room: checked before, and noticed while it happens."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import BadSetting, NoSpace, Refusal
from model.texts import phrase

_FULL = (errno.ENOSPC, errno.EDQUOT)


def make_folder(folder: Path, *, setting: str = "TOKENOSCOPE_CACHE") -> None:
    """Makes the folder, and its parents, unless it is there. `setting` is the environment variable that moves it.

    Raises: BadSetting, if it can't be made or written to; NoSpace.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise _no_room(folder, 4096, phrase("a folder"), setting) from error
        raise BadSetting(
            "the folder {folder} can't be made ({strerror}). Set {setting} to a folder that can be written.",
            folder=folder,
            strerror=error.strerror,
            setting=setting,
        ) from error
    if not os.access(folder, os.W_OK):
        raise BadSetting(
            "the folder {folder} can't be written to. Set {setting} to a folder that can be written.",
            folder=folder,
            setting=setting,
        )


@contextmanager
def room_for(folder: Path, n_bytes: int, what: str, *, setting: str = "TOKENOSCOPE_CACHE") -> Iterator[None]:
    """Guards the writing of about `n_bytes` of `what` into a folder, which is made if need be.

    Raises: NoSpace, if the disk has too little room before or runs full during the block; BadSetting, if the
    folder can't be written.
    """
    make_folder(folder, setting=setting)
    if shutil.disk_usage(folder).free < n_bytes:
        raise _no_room(folder, n_bytes, what, setting)
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        if is_full(error):
            raise _no_room(folder, n_bytes, what, setting) from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk is full, in Python's words or in those of a library written in Rust."""
    return getattr(error, "errno", None) in _FULL or says_full(str(error))


def says_full(text: str) -> bool:
    """Whether the output of another program or library says that the disk is full."""
    return "No space left on device" in text or "os error 28" in text or "Disk quota exceeded" in text


def _no_room(folder: Path, n_bytes: int, what: str, setting: str) -> NoSpace:
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    return NoSpace(
        "{what} needs {n_bytes:,} bytes in {folder}, and that disk has {free:,} free. "
        "Make room there, or set {setting} to a folder on a larger disk.",
        what=what,
        n_bytes=n_bytes,
        folder=folder,
        free=free,
        setting=setting,
    )
