"""The command line: `python -m model PROMPT` lets a model continue a text; sub-commands do the other experiments.

Whatever can be refused without torch is refused before torch is imported. Exit codes: 0 done, 2 refused (one line on
stderr), 1 a bug (one line that names a log), 130 stopped with Ctrl-C, 141 the reader of stdout went away.
"""

import sys

from model.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
