"""`python -m tokenoscope PROMPT` is `python -m model PROMPT`, from any folder."""

import sys

from model.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
