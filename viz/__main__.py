"""The command line: `python -m viz FILE -o PAGE.html` makes one page of a record that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.api.terminal import VERSION, as_called, bug, say
from model.errors import BadSetting, Refusal
from model.records import file as storage
from model.records.batching import Batching
from model.records.cache import CacheTrials
from model.records.speculation import Speculation
from model.records.timing import Measurement
from model.records.trace import Trace
from viz import export, measured_page
from viz.wire import frames, recorded


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where. Returns 0; 2 with one line on stderr for a refusal, 1 for a bug."""
    asked = _parser().parse_args(arguments)
    try:
        kind = _KINDS.get(storage.kind_of(asked.record))
        target = asked.output or asked.record.with_suffix(".html")
        made = _of_run(asked, target) if kind is None else _of_measured(asked, target, kind)
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


_Kind = type[Measurement] | type[CacheTrials] | type[Batching] | type[Speculation]
_KINDS: dict[str, _Kind] = {each.__name__: each for each in (Measurement, CacheTrials, Batching, Speculation)}


def _of_run(asked: argparse.Namespace, target: Path) -> bytes:
    trace = Trace.open(asked.record)
    if target.suffix == ".frames":
        target.with_suffix(".deep").write_bytes(b"".join(recorded.deep(trace)))
        return b"".join(frames.all_frames(trace))
    charts = export.charts(trace) if asked.charts else ()
    return export.page(trace, charts=charts, light=asked.light).encode("utf-8")


def _of_measured(asked: argparse.Namespace, target: Path, kind: _Kind) -> bytes:
    if asked.light or asked.charts or target.suffix == ".frames":
        raise BadSetting(
            f"{asked.record} holds a {kind.__name__}; --light, --charts and .frames are for a run alone. "
            "Leave them out."
        )
    return measured_page.measured_page(kind.open(asked.record)).encode("utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=as_called("python -m viz"), description="Make one self-contained page of a record."
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "record",
        type=Path,
        metavar="FILE",
        help=as_called("a run, a measurement, cache trials, served texts or drafts, as `python -m model` saves them"),
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PAGE.html",
        help="where to write it; - is standard output (default: beside the record, as .html). "
        "A name that ends in .frames gets the bytes that the app opens on, and .deep beside it "
        "what the app reads of them one by one, as in assets/runs/",
    )
    parser.add_argument(
        "--light", action="store_true", help="leave out plotly.js, and the vectors and logits that some pictures unfold"
    )
    parser.add_argument(
        "--charts",
        action="store_true",
        help="also hold plotly's and bertviz's pictures of the run, below the page's own",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
