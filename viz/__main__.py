"""The command line: `python -m viz FILE.trace -o PAGE.html` makes one page of a run that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.command_line import bug, say
from model.errors import Refusal
from model.records import Trace
from viz import export, frames, recorded


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where. Returns 0; 2 with one line on stderr for a refusal, 1 for a bug."""
    asked = _parser().parse_args(arguments)
    try:
        trace = Trace.open(asked.trace)
        target = asked.output or asked.trace.with_suffix(".html")
        if target.suffix == ".frames":
            target.with_suffix(".deep").write_bytes(b"".join(recorded.deep(trace)))
            made = b"".join(frames.all_frames(trace))
        else:
            charts = export.charts(trace) if asked.charts else ()
            made = export.page(trace, charts=charts, light=asked.light).encode("utf-8")
        if target == Path("-"):
            sys.stdout.buffer.write(made)
            return 0
        target.write_bytes(made)
    except Refusal as refusal:
        say(str(refusal))
        return 2
    except BrokenPipeError:  # as `| head` does
        return 141
    except OSError as problem:
        say(f"{problem.filename or asked.output}: {problem.strerror}. Give another path.")
        return 2
    except Exception as error:  # noqa: BLE001  (whatever else comes is a bug: logged whole, shown as one line)
        say(bug(error))
        return 1
    print(target)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m viz", description="Make one self-contained page of a run.")
    parser.add_argument("trace", type=Path, metavar="FILE.trace", help="a run saved by `python -m model ... -o FILE`")
    parser.add_argument("-o", "--output", type=Path, metavar="PAGE.html",
                        help="where to write it; - is standard output (default: beside the run, as .html). "
                        "A name that ends in .frames gets the bytes that the app opens on, and .deep beside it "
                        "what the app reads of them one by one, as in assets/runs/")  # fmt: skip
    parser.add_argument("--light", action="store_true",
                        help="leave out plotly.js, and the vectors and logits that some pictures unfold")  # fmt: skip
    parser.add_argument("--charts", action="store_true",
                        help="also hold plotly's and bertviz's pictures of the run, below the page's own")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
