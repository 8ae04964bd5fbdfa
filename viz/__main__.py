"""The command line: `python -m viz FILE.trace -o PAGE.html` makes one page of a run that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.errors import Refusal
from model.records import Trace
from viz import export


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where. Returns 0; 2 with one line on stderr for a refusal."""
    asked = _parser().parse_args(arguments)
    try:
        trace = Trace.open(asked.trace)
        to_stdout = asked.output == Path("-")
        page = export.page(trace, charts=export.charts(trace) if asked.charts else ())
        if to_stdout:
            sys.stdout.buffer.write(page.encode("utf-8"))
            return 0
        target = asked.output or asked.trace.with_suffix(".html")
        target.write_text(page, encoding="utf-8")
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    except OSError as problem:
        print(f"{problem.filename or asked.output}: {problem.strerror}. Give another path.", file=sys.stderr)
        return 2
    print(target)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m viz", description="Make one self-contained page of a run.")
    parser.add_argument("trace", type=Path, metavar="FILE.trace", help="a run saved by `python -m model ... -o FILE`")
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE.html",
                        help="where to write it; - is standard output (default: beside the run, as .html)")  # fmt: skip
    parser.add_argument("--charts", action="store_true",
                        help="also hold the plotly charts and bertviz's head view (adds about 5 MB)")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
