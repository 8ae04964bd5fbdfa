"""Writing to disk with a clear word when there is no room: checked before, and noticed while it happens."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import BadSetting, NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@contextmanager
def room_for(folder: Path, n_bytes: int, what: str, *, setting: str = "TOKENOSCOPE_CACHE") -> Iterator[None]:
    """Makes the folder, and guards the writing of about `n_bytes` of `what` into it.

    `setting` names the environment variable that would move the folder to another disk.

    Raises: NoSpace, if the disk has too little room before or runs full during the block; BadSetting, if the
    folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _READ_ONLY:
            raise BadSetting(
                f"the folder {folder} can't be written ({error.strerror}). "
                f"Set {setting} to a folder that can be written."
            ) from error
        raise (_no_room(folder, n_bytes, what, setting) if error.errno in _FULL else error) from error
    if shutil.disk_usage(folder).free < n_bytes:
        raise _no_room(folder, n_bytes, what, setting)
    try:
        yield
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
        f"{what} needs {n_bytes:,} bytes in {folder}, and that disk has {free:,} free. "
        f"Make room there, or set {setting} to a folder on a larger disk."
    )
