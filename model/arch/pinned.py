"""The release of transformers whose private parts are known here, and what is said where another one is installed."""

import transformers

from model.errors import NotShown

PINNED = "5.23"  # of transformers


def is_pinned() -> bool:
    """Whether the installed release is the pinned one."""
    return transformers.__version__.startswith(f"{PINNED}.")


def other_release(what: str, done: str, why: str) -> NotShown:
    """The refusal where a part of the library is not as it is known: what it is, what is done with it, what is odd."""
    return NotShown(
        f"the {what} of transformers {transformers.__version__} is built in another way than that of {PINNED}, "
        f"which is the one that can be {done} here ({why}). "
        f'Install the pinned one: pip install "transformers~={PINNED}.0".'
    )
