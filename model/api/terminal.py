"""How both command lines speak to a person: one line on stderr, and a log for what is a bug."""

import os
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

from model import __version__
from model.errors import Refusal
from model.limits import Limits
from model.texts import phrase

VERSION = f"tokenoscope {__version__}"
_INSTALLED = not __name__.startswith("model.")


def as_called(text: str) -> str:
    """A text that names the command lines, with the names that they have here: others once they are installed."""
    if not _INSTALLED:
        return text
    return text.replace("python -m model", "tokenoscope").replace("python -m viz", "tokenoscope-page")


def say(message: str) -> None:
    """One line on stderr, whatever the message repeats."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(message.split()))
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def bug(error: Exception) -> str:
    """Keep the traceback in the cache folder, or where it can be kept; a line that says where."""
    name = type(error).__name__
    places = [Path(tempfile.gettempdir())]
    with suppress(Refusal):
        places.insert(0, Limits.from_environment().cache / "logs")
    for folder in places:
        file = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(traceback.format_exception(error)), "utf-8", "backslashreplace")
        except OSError:
            continue
        return phrase("this is a bug ({name}). Details: {file}", name=name, file=file)
    return phrase("this is a bug ({name}). It says: {error}", name=name, error=error)
