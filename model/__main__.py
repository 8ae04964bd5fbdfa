"""The command line: `python -m model PROMPT` lets a model continue a text; `-o` keeps the run, `--json` prints it.

With `--measure` it times the model on that text instead, without recording it.

Whatever can be refused without torch is refused before torch is imported. Exit codes: 0 done, 2 refused (one line on
stderr), 1 a bug (one line that names a log), 130 stopped with Ctrl-C, 141 the reader of stdout went away.
"""

import argparse
import io
import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from model import weights
from model.command_line import bug, say
from model.disk import is_full
from model.errors import BadPrompt, BadSetting, BadTrace, NoSpace, Refusal
from model.limits import Limits
from model.records import Settings, Trace
from model.tokens import readable

if TYPE_CHECKING:
    from model.loading import HookedModel
    from model.measurements import Measurement

_CANDIDATES = 10
_EXAMPLES = """examples:
  python -m model "The capital of France is"
  python -m model "The capital of France is" -o paris.trace
  python -m viz paris.trace -o paris.html          the run as a page to look at
  python -m model "Tell me a joke." --chat --temperature 0.8 --top-p 0.9 --seed 7
  python -m model "1, 2, 3," --max-new-tokens 4 --json
  python -m model --measure "The capital of France is" --prompt-tokens 64 -o paris.measurement
  python -m model - < story.txt
  python -m model -- "-5 + 3 ="                    a prompt that begins with a minus sign"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for. Returns the exit code; all messages go to stderr, one line each."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its hints are for programmers; ours are the refusals
    try:
        return _run(_parser().parse_args(arguments), Limits.from_environment())
    except Refusal as refusal:
        say(str(refusal))
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except BrokenPipeError:  # as `| head` does
        return 141
    except Exception as error:  # noqa: BLE001 - whatever else comes is a bug: logged whole, shown as one line
        say(bug(error))
        return 1


def _run(given: argparse.Namespace, limits: Limits) -> int:
    settings = Settings(**{name: getattr(given, name) for name in Settings.__slots__})
    limits.check_new_tokens(settings.max_new_tokens)
    if given.prompt_tokens is not None and not given.measure:
        raise BadSetting("--prompt-tokens goes with --measure, and that is missing. Add it, or leave out the length.")
    prompt = _prompt(given.prompt)
    readable(prompt)
    if given.output is not None:
        _check_place(given.output)
    hooked = _load(given.model, limits)
    if given.measure:
        return _measure(hooked, prompt, settings, limits, given)
    with _interrupts() as stopping:
        trace = _generate(hooked, prompt, settings, limits, stopping)
        if given.output is not None:
            trace = _completed(hooked, trace, stopping)
        for note in trace.notes:
            say(f"note: {note}")
        if given.output is not None and trace.steps:
            _keep(trace, given.output)
    if stopping.is_set():
        say(f"stopped after {trace.n_generated} of {settings.max_new_tokens} new tokens")
        return 130
    if given.json:
        _print(json.dumps(_summary(trace), allow_nan=False))
    elif given.output is None:
        _print(_for_terminal(trace.text) if sys.stdout.isatty() else trace.text)
    return 0


# Asking


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadSetting(f"{message}. `{self.prog} --help` says what can be given.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m model",
        usage="%(prog)s PROMPT [--measure] [-o FILE] [--json] [settings]",
        description="Let a language model continue a text, and keep what it computed on the way.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    neutral = Settings()
    parser.add_argument("prompt", metavar="PROMPT", help="the text to go on from; - reads it from standard input, "
                        "without its last line break")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help=f"a folder with a model, or the id of one on the Hugging Face "
                        f"hub (default: {weights.DEFAULT}, fetched once)")  # fmt: skip
    parser.add_argument("--chat", action="store_true", help="hand the prompt over as a person's turn of a "
                        "conversation, in the form that this model was taught")  # fmt: skip

    timed = parser.add_argument_group("how long it takes")
    timed.add_argument("--measure", action="store_true", help="time the model instead of recording it: prefill and "
                       "decode, with its KV cache and without, alone and in batches, beside what this machine can do; "
                       "takes about a minute")  # fmt: skip
    timed.add_argument("--prompt-tokens", type=int, metavar="N", help="with --measure: cut or repeat the prompt to so "
                       "many tokens (default: as it is)")  # fmt: skip

    output = parser.add_argument_group("what comes out (without these: the text that the model wrote)")
    output.add_argument("-o", "--output", metavar="FILE", type=Path, help="keep the whole run in a file: every "
                        "layer's queries, keys, residual stream, and how each token was chosen; with --measure "
                        "the times")  # fmt: skip
    output.add_argument("--json", action="store_true", help="print the tokens, and for each new one the likeliest "
                        f"{_CANDIDATES} candidates with their probability before any setting changed it; with "
                        "--measure the times")  # fmt: skip

    how = parser.add_argument_group(
        "how the next token is chosen (top-k, top-p, min-p and seed matter above temperature 0)"
    )
    how.add_argument("--max-new-tokens", type=int, metavar="N", default=neutral.max_new_tokens,
                     help="write at most so many tokens (default: %(default)s)")  # fmt: skip
    how.add_argument("--temperature", type=float, metavar="T", default=neutral.temperature,
                     help="0 always takes the likeliest token; above 0 it is drawn, and a higher temperature gives "
                     "unlikely tokens more of a chance (default: %(default)g)")  # fmt: skip
    how.add_argument("--top-k", type=int, metavar="K", default=neutral.top_k,
                     help="draw among the K likeliest tokens only; 0 is off (default: %(default)s)")  # fmt: skip
    how.add_argument("--top-p", type=float, metavar="P", default=neutral.top_p,
                     help="draw among the likeliest tokens that together have probability P; 1 is off "
                     "(default: %(default)g)")  # fmt: skip
    how.add_argument("--min-p", type=float, metavar="P", default=neutral.min_p,
                     help="leave out tokens less likely than P times the likeliest; 0 is off "
                     "(default: %(default)g)")  # fmt: skip
    how.add_argument("--repetition-penalty", type=float, metavar="R", default=neutral.repetition_penalty,
                     help="above 1 makes tokens that were there already less likely; 1 is off "
                     "(default: %(default)g)")  # fmt: skip
    how.add_argument("--seed", type=int, metavar="S", default=neutral.seed,
                     help="the same seed draws the same tokens again (default: %(default)s)")  # fmt: skip
    return parser


def _prompt(given: str) -> str:
    if given != "-":
        return given
    if sys.stdin is None:
        raise BadPrompt("the prompt is -, which means standard input, and there is none. Give the prompt itself.")
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")  # what is not UTF-8 is replaced, and told
    return text.removesuffix("\n").removesuffix("\r")


def _check_place(path: Path) -> None:
    """Refuse now what would fail only after the run. Raises: BadTrace, if no file can be written there."""
    if reason := _reason_against(path):
        raise BadTrace(f"{os.fspath(path)!r} cannot be saved: {reason}. Choose another name or folder.")


def _reason_against(path: Path) -> str | None:
    target = Path(os.path.realpath(path))
    try:
        if not stat.S_ISREG(target.stat().st_mode):
            return "a folder or a device has that name"
    except FileNotFoundError:
        if not target.parent.is_dir():
            return "its folder does not exist"
    except (OSError, ValueError) as error:  # a name too long for the disk, a file in place of a folder
        return getattr(error, "strerror", None) or str(error)
    return None if os.access(target.parent, os.W_OK) else "its folder cannot be written to"


# Running


def _load(name: str | None, limits: Limits) -> "HookedModel":
    with weights.progress_bar() as progress:
        source = weights.find(name, limits, progress)
        progress("starting torch", 0, 0)
        from model.loading import load

        return load(source, progress=progress, settle_threads=True)


def _generate(
    hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, stopping: threading.Event
) -> Trace:
    from tqdm import tqdm

    from model.generate import Generation
    from model.tracing import Cancelled

    generation = Generation(hooked, prompt, settings, limits)
    generation.stop_when(stopping.is_set)
    with tqdm(desc="writing", unit=" tokens", total=settings.max_new_tokens, disable=None, leave=False) as bar:
        try:
            for _ in generation:
                bar.update()
        except Cancelled:
            generation.close()
    return generation.trace()


def _completed(hooked: "HookedModel", trace: Trace, stopping: threading.Event) -> Trace:
    """The run with what is added after it, or with a part of that, if the person stops here."""
    from tqdm import tqdm

    from model.additions import additions

    for piece in tqdm(additions(hooked, trace), desc="map and lens", unit=" pieces", disable=None, leave=False):
        if stopping.is_set():
            break
        trace = piece or trace
    return trace


def _measure(hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, given: argparse.Namespace) -> int:
    from tqdm import tqdm

    from model.report import summary, table
    from model.timing import measure

    measured: Measurement | None = None
    with _interrupts() as stopping, tqdm(desc="measuring", disable=None, leave=False) as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(what)

        records = measure(hooked, prompt, settings, limits, n_prompt=given.prompt_tokens, progress=show,
                          cancelled=stopping.is_set)  # fmt: skip
        for record in records:
            measured = record
    if measured is not None:
        for note in measured.notes:
            say(f"note: {note}")
        if given.output is not None:
            measured.save(given.output)
        text = json.dumps(summary(measured), allow_nan=False) if given.json else table(measured)
        _print(_for_terminal(text) if sys.stdout.isatty() else text)
    if stopping.is_set():
        say("stopped before all was measured")
        return 130
    return 0


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Inside, the first Ctrl-C only sets the event, so that the run so far can be kept; the second stops at once."""
    stopping = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: Any) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:  # not where whoever started this program had it ignore Ctrl-C
        signal.signal(signal.SIGINT, note)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


# Answering


def _summary(trace: Trace) -> dict[str, Any]:
    """The run in few words. Probabilities are of the full vocabulary, before any processor."""
    return {
        "model": trace.model.name,
        "prompt": trace.prompt,
        "text": trace.text,
        "tokens": [{"id": token.id, "text": token.text, "generated": token.generated} for token in trace.tokens],
        "steps": [
            {
                "kind": step.kind,
                "chosen_id": choice.id,
                "probability": choice.probability,
                "candidates": [
                    {"id": each.id, "text": trace.texts[each.id], "probability": each.probability}
                    for each in choice.candidates[:_CANDIDATES]
                ],
            }
            for step in trace.steps
            for choice in step.choices
        ],
    }


def _keep(trace: Trace, path: Path) -> None:
    n_bytes = trace.save(path)
    if sys.stderr.isatty():
        say(f"{path}: {n_bytes:,} bytes. To look at the run: python -m viz {path} -o PAGE.html")


def _print(text: str) -> None:
    """Write to stdout, now. Raises: BrokenPipeError, if nobody reads it; NoSpace, if its disk is full."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal or a pipe may not know all characters
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left must not fail again at exit
        if is_full(error):
            raise NoSpace(
                "the answer could not be written: the disk under standard output is full. "
                "Free some space, or write to another disk."
            ) from error
        raise


def _for_terminal(text: str) -> str:
    """The text with control characters as their pictures, since a terminal would obey them."""
    pictures = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    return text.translate(pictures | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD))


if __name__ == "__main__":
    sys.exit(main())
