"""What the arguments ask for: a kind of experiment, its request, and where the answer goes. No torch."""

import argparse
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.api.terminal import VERSION, as_called
from model.arch.tokens import readable
from model.cli.flags import Parser, add_argument, add_flags, fields, flag, read
from model.errors import BadPrompt, BadSetting, BadTrace
from model.limits import Limits
from model.requests.registry import EXPERIMENTS, Experiment, named, open_record
from model.requests.request import Request
from model.texts import listed, phrase
from model.weights.device_map import MAPS, read_device_map
from model.weights.precision import PRECISIONS, check_precision

_PROG = as_called("python -m model")
_FLAGS = ("measure", "serve", "speculate")  # kinds that a flag asks for as well
_OF_THE_CALL = ("dtype", "device_map", "output", "json")  # what no request has
_WHAT = phrase("Let a language model continue a text, and record what it computes.")
_EXAMPLES = """  python -m model "The capital of France is"
  python -m model "The capital of France is" -o paris.trace
  python -m viz paris.trace -o paris.html
  python -m model "Tell me a joke." --chat --temperature 0.8 --top-p 0.9 --seed 7
  python -m model "1, 2, 3," --max-new-tokens 4 --json
  python -m model measure "The capital of France is" --prompt-tokens 64 -o paris.measurement
  python -m model serve "The sky is" "The sky at night is" "Once upon a time" -o three.batching
  python -m model speculate "Once upon a time" --max-new-tokens 48
  python -m model ablate paris.trace --heads 23.4 -o without.trace
  python -m model cache --run paris.trace --window 8 --sink 2 --drop "3, 5"
  python -m model - < story.txt
  python -m model -- "-5 + 3 ="
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call of the command line."""

    experiment: Experiment[Any, Any]
    request: Request
    records: Mapping[str, Any]  # that the request names, by its fields
    dtype: str | None  # the models' precision; None: the record's that the request names, or auto
    device_map: str | None  # how they are spread over devices; None: each on one
    output: Path | None
    json: bool


def parse(arguments: Sequence[str], limits: Limits) -> Asked:
    """What is asked for, checked as far as it can be without a model. Raises: Refusal."""
    experiment, given = _given(list(arguments))
    dtype, device_map, output, as_json = (given.pop(name) for name in _OF_THE_CALL)
    if dtype is not None:
        check_precision(dtype)
    if device_map is not None:
        read_device_map(device_map)
    _read_prompts(given)
    request = read(experiment.request, given)
    request.check(limits)
    if output is not None:
        _check_place(output)
    records = {name: open_record(path) for name, path in request.records.items()}
    return Asked(
        experiment=experiment,
        request=request,
        records=records,
        dtype=dtype,
        device_map=device_map,
        output=output,
        json=as_json,
    )


def page_limits_off(limits: Limits) -> Limits:
    """The limits without the page's bound on prompt bytes: a file may be longer than what visitors may send."""
    return replace(limits, prompt_bytes=sys.maxsize)


def sub_command(experiment: Experiment[Any, Any]) -> Parser:
    """The arguments of one kind."""
    parser = Parser(
        prog=f"{_PROG} {experiment.name}",
        description=experiment.about,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_argument(experiment.request, parser)
    _add_output(parser)
    settings = parser.add_argument_group(phrase("settings"))
    add_flags(experiment.request, settings)
    _add_precision(settings)
    return parser


def everything() -> Parser:
    """The arguments without a sub-command: a prompt to continue, or one of three other kinds by its flag."""
    run = named("run").request
    parser = Parser(
        prog=_PROG,
        usage="%(prog)s PROMPT [PROMPT ...] [--measure | --serve | --speculate] [-o FILE] [--json] [settings]\n"
        f"       %(prog)s {{{','.join(each.name for each in EXPERIMENTS)}}} ...",
        description=f"{_WHAT}\n\n{_sub_commands()}",
        epilog=as_called(f"{phrase('examples:')}\n{_EXAMPLES}"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "prompts",
        metavar="PROMPT",
        nargs="+",
        help=phrase(
            "the text to continue, with --serve several; - reads it from standard input, without its last line break"
        ),
    )
    _add_output(parser)
    choosing = parser.add_argument_group(phrase("how the next token is chosen"))
    add_flags(run, choosing)
    _add_precision(choosing)
    known = dict(fields(run))
    for name in _FLAGS:
        experiment = named(name)
        group = parser.add_argument_group(phrase("with --{name}", name=name))
        group.add_argument(f"--{name}", action="store_true", help=experiment.about.removesuffix("."))
        add_flags(experiment.request, group, without=known)
        known |= fields(experiment.request)
    return parser


def _given(arguments: list[str]) -> tuple[Experiment[Any, Any], dict[str, Any]]:
    """The kind, and what was given by field. A sub-command's name alone is a prompt."""
    if len(arguments) > 1 and (found := next((each for each in EXPERIMENTS if each.name == arguments[0]), None)):
        return found, vars(sub_command(found).parse_args(arguments[1:]))
    given = vars(everything().parse_args(arguments))
    asked = [name for name in _FLAGS if given.pop(name)]
    if len(asked) > 1:
        flags = listed([f"--{name}" for name in asked])
        raise BadSetting("{flags} were given; they are separate experiments. Choose one.", flags=flags)
    experiment = named(asked[0] if asked else "run")
    prompts = given.pop("prompts")
    several = any(field.row is not None for field in experiment.request.fields().values())
    if len(prompts) > 1 and not several:
        raise BadSetting(
            "{n} prompts were given, but only one can be continued; the second is: {second}. Put a prompt of several "
            "words in quotes, or add --serve. `{prog} --help` says what can be given.",
            n=len(prompts),
            second=prompts[1][:80],
            prog=_PROG,
        )
    return experiment, {**_fitting(experiment, given), "prompt": prompts if several else prompts[0]}


def _fitting(experiment: Experiment[Any, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given, without neutral settings that this kind has not. Raises: BadSetting, for others of those."""
    own = fields(experiment.request)
    for name in [each for each in given if each not in own and each not in _OF_THE_CALL]:
        homes = [each for each in ("run", *_FLAGS) if name in fields(named(each).request)]
        field, default = fields(named(homes[0]).request)[name]
        if given[name] == default:
            del given[name]
        elif "run" in homes:
            raise BadSetting(
                "{flag} does not go with --{experiment}. Leave it out.",
                flag=flag(name, field),
                experiment=experiment.name,
            )
        else:
            home = f"--{homes[0]}"
            raise BadSetting(
                "{flag} goes with {home}, and that is missing. Add it, or leave out {flag}.",
                flag=flag(name, field),
                home=home,
            )
    return given


def _add_precision(group: Any) -> None:
    """Beside the model's name: in which precision it is loaded."""
    said = phrase(
        "Precision in which models are loaded: {choices}. auto is the checkpoint's own on an accelerator, and float32 "
        "on the processor. Default: that of the saved run, if one is named, otherwise auto.",
        choices=", ".join(PRECISIONS),
    )
    group.add_argument("--dtype", metavar="NAME", default=None, help=said)
    spread = phrase(
        "How models are spread over devices: {choices}, or one device, such as cuda:1. auto fills the accelerators, "
        "then the CPU, then the disk, for a model that is larger than one of them. Default: all of it on one device.",
        choices=", ".join(MAPS),
    )
    group.add_argument("--device-map", metavar="NAME", default=None, help=spread)


def _add_output(parser: Parser) -> None:
    output = parser.add_argument_group(phrase("output (without these: a text or a table)"))
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help=as_called(phrase("save the record in a file, which python -m viz draws")),
    )
    output.add_argument("--json", action="store_true", help=phrase("print the record as JSON"))


def _sub_commands() -> str:
    width = max(len(each.name) for each in EXPERIMENTS) + 1
    rows = [f"  {each.name:<{width}} {each.about.removesuffix('.')}" for each in EXPERIMENTS]
    return "\n".join([phrase("sub-commands, each with its own --help:"), *rows])


def _read_prompts(given: dict[str, Any]) -> None:
    """Standard input in the place of -. Raises: BadPrompt, for what is no text."""
    prompt = given.get("prompt")
    if isinstance(prompt, list):
        given["prompt"] = [_prompt(each) for each in prompt]
    elif prompt is not None:
        given["prompt"] = _prompt(prompt)


def _prompt(given: str) -> str:
    text = _standard_input() if given == "-" else given
    readable(text)
    return text


def _standard_input() -> str:
    if sys.stdin is None:
        raise BadPrompt("the prompt is -, which means standard input, and there is none. Give the prompt itself.")
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")  # what is not UTF-8 is replaced, and told
    return text.removesuffix("\n").removesuffix("\r")


def _check_place(path: Path) -> None:
    """Refuse now what would fail only after the run. Raises: BadTrace, if no file can be written there."""
    if reason := _reason_against(path):
        raise BadTrace(
            "{path!r} cannot be saved: {reason}. Choose another name or folder.", path=os.fspath(path), reason=reason
        )


def _reason_against(path: Path) -> str | None:
    target = Path(os.path.realpath(path))
    try:
        if not stat.S_ISREG(target.stat().st_mode):
            return phrase("a folder or a device has that name")
    except FileNotFoundError:
        if not target.parent.is_dir():
            return phrase("its folder does not exist")
    except (OSError, ValueError) as error:  # a name too long for the disk, a file in place of a folder
        return getattr(error, "strerror", None) or str(error)
    return None if os.access(target.parent, os.W_OK) else phrase("its folder cannot be written to")
