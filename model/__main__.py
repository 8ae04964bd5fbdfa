"""The command line: `python -m model PROMPT` lets a model continue a text; `-o` keeps the run, `--json` prints it.

With `--measure` it times the model on that text instead, without recording it; with `--serve` several texts are
continued together, tick by tick; with `--speculate` it tries drafts before the model.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from model.api.terminal import VERSION, as_called, bug, say
from model.arch.tokens import readable
from model.errors import BadPrompt, BadSetting, BadTrace, NoSpace, Refusal
from model.limits import Limits
from model.records.trace import Settings, Trace
from model.weights import sources as weights
from model.weights.disk import is_full

if TYPE_CHECKING:
    from model.capture.hooked import HookedModel
    from model.records.batching import Batching
    from model.records.speculation import Speculation
    from model.records.timing import Measurement

    Progress = Callable[[int, int, str], None]  # done, in all, what comes now


class _Record(Protocol):
    @property
    def notes(self) -> tuple[str, ...]: ...
    def save(self, path: Path) -> int: ...


R = TypeVar("R", bound=_Record)
_CANDIDATES = 10
_EXAMPLES = """examples:
  python -m model "The capital of France is"
  python -m model "The capital of France is" -o paris.trace
  python -m viz paris.trace -o paris.html          the run as a page to look at
  python -m model "Tell me a joke." --chat --temperature 0.8 --top-p 0.9 --seed 7
  python -m model "1, 2, 3," --max-new-tokens 4 --json
  python -m model --measure "The capital of France is" --prompt-tokens 64 -o paris.measurement
  python -m model --serve "The sky is" "The sky at night is" "Once upon a time" -o three.batching
  python -m model --speculate "Once upon a time" --max-new-tokens 48
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
    prompts = _prompts(given)
    if given.output is not None:
        _check_place(given.output)
    hooked = _load(given.model, limits)
    if given.measure:
        return _measure(hooked, prompts[0], settings, limits, given)
    if given.speculate:
        return _speculate(hooked, prompts[0], settings, limits, given)
    if given.serve:
        return _serve(hooked, prompts, settings, limits, given)
    return _continue(hooked, prompts[0], settings, limits, given)


# Asking


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadSetting(f"{message}. `{self.prog} --help` says what can be given.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=as_called("python -m model"),
        usage="%(prog)s PROMPT [PROMPT ...] [--measure | --serve | --speculate] [-o FILE] [--json] [settings]",
        description="Let a language model continue a text, and keep what it computed on the way.",
        epilog=as_called(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    neutral = Settings()
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "prompts",
        metavar="PROMPT",
        nargs="+",
        help="the text to go on from, with --serve several; - "
        "reads it from standard input, without its last line break",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"a folder with a model, or the id of one on the Hugging Face "
        f"hub (default: {weights.DEFAULT}, fetched once)",
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="hand the prompt over as a person's turn of a conversation, in the form that this model was taught",
    )

    timed = parser.add_argument_group("how long it takes")
    timed.add_argument(
        "--measure",
        action="store_true",
        help="time the model instead of recording it: prefill and "
        "decode, with its KV cache and without, alone and in batches, beside what this machine can do; "
        "takes about a minute",
    )
    timed.add_argument(
        "--prompt-tokens",
        type=int,
        metavar="N",
        help="with --measure: cut or repeat the prompt to so many tokens (default: as it is)",
    )

    served = parser.add_argument_group("several texts at once")
    served.add_argument(
        "--serve",
        action="store_true",
        help="continue all prompts together in the library's engine "
        "for continuous batching, with a paged cache, then time it beside static batches and one "
        "text after the other",
    )
    served.add_argument(
        "--rate",
        type=float,
        metavar="R",
        default=0.0,
        help="R texts arrive in a second on average, at random; 0: all are there at the start (default: %(default)g)",
    )
    served.add_argument(
        "--blocks", type=int, metavar="N", default=64, help="blocks of the cache (default: %(default)s)"
    )
    served.add_argument(
        "--block-size",
        type=int,
        metavar="N",
        default=8,
        help="tokens that a block holds, at least 4 (default: %(default)s)",
    )
    served.add_argument(
        "--token-budget",
        type=int,
        metavar="N",
        default=32,
        help="the most tokens that a tick reads (default: %(default)s)",
    )
    served.add_argument(
        "--together",
        type=int,
        metavar="N",
        default=8,
        help="the most texts that have a share in a tick, or in a static batch (default: %(default)s)",
    )
    served.add_argument("--no-sharing", action="store_true", help="prompts that begin alike share no blocks")

    drafted = parser.add_argument_group("a draft before the model")
    drafted.add_argument(
        "--speculate",
        action="store_true",
        help="continue the prompt plainly and then with drafts "
        "that the model judges: prompt lookup, its own first layers, and a small draft of its own; "
        "say how often each was right, and what it gained or lost",
    )
    drafted.add_argument(
        "--draft-tokens",
        type=int,
        metavar="N",
        default=2,
        help="the most tokens drafted in a round (default: %(default)s)",
    )
    drafted.add_argument(
        "--exit-layer", type=int, metavar="L", help="layers that early exit runs (default: half of them)"
    )
    drafted.add_argument(
        "--draft-model",
        metavar="NAME",
        help="a smaller model with the same tokenizer that drafts too: a folder, or an id on the hub",
    )

    output = parser.add_argument_group("what comes out (without these: the text that the model wrote)")
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="keep the whole run in a file: every "
        "layer's queries, keys, residual stream, and how each token was chosen; with --measure "
        "the times; with --serve every tick, with --speculate every round",
    )
    output.add_argument(
        "--json",
        action="store_true",
        help="print the tokens, and for each new one the likeliest "
        f"{_CANDIDATES} candidates with their probability before any setting changed it; with "
        "--measure the times",
    )

    how = parser.add_argument_group(
        "how the next token is chosen (top-k, top-p, min-p and seed matter above temperature 0)"
    )
    how.add_argument(
        "--max-new-tokens",
        type=int,
        metavar="N",
        default=neutral.max_new_tokens,
        help="write at most so many tokens (default: %(default)s)",
    )
    how.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        default=neutral.temperature,
        help="0 always takes the likeliest token; above 0 it is drawn, and a higher temperature gives "
        "unlikely tokens more of a chance (default: %(default)g)",
    )
    how.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        default=neutral.top_k,
        help="draw among the K likeliest tokens only; 0 is off (default: %(default)s)",
    )
    how.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        default=neutral.top_p,
        help="draw among the likeliest tokens that together have probability P; 1 is off (default: %(default)g)",
    )
    how.add_argument(
        "--min-p",
        type=float,
        metavar="P",
        default=neutral.min_p,
        help="leave out tokens less likely than P times the likeliest; 0 is off (default: %(default)g)",
    )
    how.add_argument(
        "--repetition-penalty",
        type=float,
        metavar="R",
        default=neutral.repetition_penalty,
        help="above 1 makes tokens that were there already less likely; 1 is off (default: %(default)g)",
    )
    how.add_argument(
        "--seed",
        type=int,
        metavar="S",
        default=neutral.seed,
        help="the same seed draws the same tokens again (default: %(default)s)",
    )
    return parser


def _prompts(given: argparse.Namespace) -> list[str]:
    """What is to be continued. Raises: Refusal, for options that do not go together and for what is no text."""
    if given.prompt_tokens is not None and not given.measure:
        raise BadSetting("--prompt-tokens goes with --measure, and that is missing. Add it, or leave out the length.")
    asked = [f"--{name}" for name in ("measure", "serve", "speculate") if getattr(given, name)]
    if len(asked) > 1:
        raise BadSetting(f"{' and '.join(asked)} were given; they are experiments of their own. Ask for one.")
    if len(given.prompts) > 1 and not given.serve:
        raise BadSetting(
            f"{len(given.prompts)} prompts were given, and one is continued; the second: {given.prompts[1][:80]}. "
            "Put a prompt of several words in quotes, or add --serve. "
            + as_called("`python -m model --help` says what can be given.")
        )
    prompts = [_prompt(each) for each in given.prompts]
    for each in prompts:
        readable(each)
    return prompts


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
        from model.loading.load import load

        return load(source, progress=progress, settle_threads=True)


def _continue(hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, given: argparse.Namespace) -> int:
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


def _generate(
    hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, stopping: threading.Event
) -> Trace:
    from tqdm import tqdm

    from model.capture.generation import Generation
    from model.capture.tracer import Cancelled

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

    from model.experiments.generation.additions import additions

    for piece in tqdm(additions(hooked, trace), desc="map and lens", unit=" pieces", disable=None, leave=False):
        if stopping.is_set():
            break
        trace = piece or trace
    return trace


def _measure(hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, given: argparse.Namespace) -> int:
    from model.cli.tables import summary, table
    from model.experiments.timing.timing import measure

    def make(show: "Progress", stopping: threading.Event) -> "Iterator[Measurement]":
        return measure(
            hooked, prompt, settings, limits, n_prompt=given.prompt_tokens, progress=show, cancelled=stopping.is_set
        )

    return _followed("measuring", make, given, table, summary, "stopped before all was measured")


def _serve(
    hooked: "HookedModel", prompts: Sequence[str], settings: Settings, limits: Limits, given: argparse.Namespace
) -> int:
    from model.cli.tables import served_summary, served_table
    from model.experiments.batching.batching import Ask, arrivals, serve

    times = arrivals(len(prompts), given.rate, settings.seed)
    asked = [
        Ask(prompt=prompt, max_new_tokens=settings.max_new_tokens, arrives_s=at)
        for prompt, at in zip(prompts, times, strict=True)
    ]

    def make(show: "Progress", stopping: threading.Event) -> "Iterator[Batching]":
        return serve(
            hooked,
            asked,
            settings,
            limits,
            block_size=given.block_size,
            n_blocks=given.blocks,
            token_budget=given.token_budget,
            max_requests=given.together,
            sharing=not given.no_sharing,
            repeats=3,
            attention=given.output is not None,
            progress=show,
            cancelled=stopping.is_set,
        )

    return _followed("serving", make, given, served_table, served_summary, "stopped before all was served and timed")


def _speculate(
    hooked: "HookedModel", prompt: str, settings: Settings, limits: Limits, given: argparse.Namespace
) -> int:
    from model.cli.tables import drafted_summary, drafted_table
    from model.experiments.speculation.speculative import Mode, speculate

    draft = None if given.draft_model is None else _load(given.draft_model, limits)
    modes: list[Mode] = ["prompt lookup", "early exit", "own draft", *(["draft model"] if draft else [])]

    def make(show: "Progress", stopping: threading.Event) -> "Iterator[Speculation]":
        return speculate(
            hooked,
            prompt,
            settings,
            limits,
            modes=modes,
            n_draft=given.draft_tokens,
            exit_layer=given.exit_layer,
            draft=draft,
            progress=show,
            cancelled=stopping.is_set,
        )

    return _followed("speculating", make, given, drafted_table, drafted_summary, "stopped before all was timed")


def _followed(
    doing: str,
    make: "Callable[[Progress, threading.Event], Iterator[R]]",
    given: argparse.Namespace,
    table: "Callable[[R], str]",
    summary: "Callable[[R], dict[str, Any]]",
    unfinished: str,
) -> int:
    """Let an experiment run to its last record, or to Ctrl-C; keep that and print it. Returns the exit code."""
    from tqdm import tqdm

    record: R | None = None
    with _interrupts() as stopping, tqdm(desc=doing, disable=None, leave=False) as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(what)

        for record in make(show, stopping):  # noqa: B007 - the last one is what is wanted
            pass
    if record is not None:
        for note in record.notes:
            say(f"note: {note}")
        if given.output is not None:
            record.save(given.output)
        text = json.dumps(summary(record), allow_nan=False) if given.json else table(record)
        _print(_for_terminal(text) if sys.stdout.isatty() else text)
    if stopping.is_set():
        say(unfinished)
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
        page = as_called("python -m viz")
        say(f"{path}: {n_bytes:,} bytes. To look at the run: {page} {path} -o PAGE.html")


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
