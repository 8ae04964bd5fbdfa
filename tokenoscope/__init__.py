"""Watch a real language model run: `from tokenoscope import load, trace` is all a notebook needs.

These are the names of `model`, for those who installed the library: `model` and `viz` then stand inside this package.
"""

from typing import TYPE_CHECKING

from model import __all__ as __all__
from model import __getattr__ as __getattr__  # each name is loaded when it is first asked for
from model import __version__ as __version__

if TYPE_CHECKING:
    from model import *  # noqa: F403
