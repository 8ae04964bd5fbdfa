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
        f"the {what} of transformers {transformers.__version__} is built in another way than that of {KNOWN}, "
        f"which is the one that can be {done} here ({why}). "
        f'Install the known one: pip install "transformers~={KNOWN}.0".'
    )
