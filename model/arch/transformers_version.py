"""The release of transformers whose private parts are known here, and what is said where another one is installed."""

import transformers

from model.errors import NotShown

KNOWN = "5.23"  # of transformers


def is_known() -> bool:
    """Whether the installed version is the known one."""
    return transformers.__version__.startswith(f"{KNOWN}.")


def other_version(what: str, done: str, why: str) -> NotShown:
    """The refusal where a part of the library is not as it is known: what it is, what is done with it, what is odd."""
    return NotShown(
        "the {what} of transformers {version} differs from that of {known}, the version whose {what} can be {done} "
        "here ({why}). "
        'Install the known one: pip install "transformers~={known}.0".',
        what=what,
        version=transformers.__version__,
        known=KNOWN,
        done=done,
        why=why,
    )
