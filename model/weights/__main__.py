"""`python -m model.weights` fetches the default model, with a bar on a terminal, and prints its folder."""

import sys

from model.errors import Refusal
from model.limits import Limits
from model.weights.sources import find, progress_bar


def _main() -> int:
    """Fetches the default model, with a bar on a terminal, and prints its folder."""
    try:
        with progress_bar() as show:
            source = find(None, Limits.from_environment(), show)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    print(f"{source.name} ({source.note}): {source.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
