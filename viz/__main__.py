"""The command line: `python -m viz FILE -o PAGE.html` makes one page of a record that needs nothing else."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.api.terminal import VERSION, as_called, bug, say
from model.errors import BadSetting, Refusal
from model.records.trace import Trace
from model.requests.registry import open_record
from model.texts import phrase
from viz import export
from viz.wire import parts, recorded


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where: on stderr, and to a program that reads standard output, the path alone there.

    Returns 0; 2 with one line on stderr for a refusal, 1 for a bug.
    """
    asked = _parser().parse_args(arguments)
    try:
        record = open_record(asked.record)
        target = asked.output or asked.record.with_suffix(".html")
        made = _of_run(asked, record, target) if isinstance(record, Trace) else _of_other(asked, record, target)
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
        path = problem.filename or asked.output
        say(phrase("{path}: {problem}. Give another path.", path=path, problem=problem.strerror))
        return 2
    except Exception as error:  # noqa: BLE001  (whatever else comes is a bug: logged whole, shown as one line)
        say(bug(error))
        return 1
    say(phrase("wrote {path}: {n_bytes:,} bytes", path=target, n_bytes=len(made)))
    if not sys.stdout.isatty():
        print(target)
    return 0


def _of_run(asked: argparse.Namespace, trace: Trace, target: Path) -> bytes:
    if target.suffix == ".frames":
        target.with_suffix(".deep").write_bytes(b"".join(recorded.deep(trace)))
        return b"".join(parts.all_parts(trace))
    charts = export.charts(trace) if asked.charts else ()
    return export.page(trace, charts=charts, light=asked.light).encode("utf-8")


def _of_other(asked: argparse.Namespace, record: Any, target: Path) -> bytes:
    if asked.light or asked.charts or target.suffix == ".frames":
        raise BadSetting(
            "{record} holds a {kind}; --light, --charts and .frames apply to a run only. Leave them out.",
            record=asked.record,
            kind=type(record).__name__,
        )
    return export.page(record).encode("utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=as_called("python -m viz"), description=phrase("Make one self-contained page of a record.")
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "record",
        type=Path,
        metavar="FILE",
        help=as_called(phrase("a record of any kind, as `python -m model` saves it")),
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PAGE.html",
        help=phrase(
            "where to write it; - is standard output (default: beside the record, as .html). A name that ends in "
            ".frames gets the bytes that the app opens on; .deep beside it gets the parts that the app reads later, as "
            "in assets/recorded/"
        ),
    )
    parser.add_argument(
        "--light",
        action="store_true",
        help=phrase("leave out plotly.js, and the vectors and logits that some pictures unfold"),
    )
    parser.add_argument(
        "--charts",
        action="store_true",
        help=phrase("add the pictures of plotly and bertviz below those of the page"),
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
