"""The command line of one kind of experiment, made from the described fields of its request."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

from model.errors import BadSetting
from model.records.fields import Field, fields_of
from model.requests.request import Request
from model.texts import phrase, translated
from model.weights.sources import DEFAULT

_TYPES: dict[str, Any] = {"whole": int, "number": float}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are refusals, shown as one line."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for arguments that it cannot read. Raises: BadSetting."""
        raise BadSetting("{message}. `{prog} --help` says what can be given.", message=message, prog=self.prog)


def fields(kind: type[Request]) -> Mapping[str, tuple[Field, Any]]:
    """What can be given of this kind, by name, with its default: its fields, and those of its rows."""
    found: dict[str, tuple[Field, Any]] = {}
    defaults = {each.name: each.default for each in dataclasses.fields(kind)}
    for name, field in kind.fields().items():
        if field.row is None:
            found[name] = field, defaults[name]
        else:
            row = {each.name: each.default for each in dataclasses.fields(field.row)}
            found |= {column: (described, row[column]) for column, described in fields_of(field.row).items()}
    return found


def add_argument(kind: type[Request], parser: Any) -> None:
    """The arguments that take no flag: a prompt, several of them, or a file."""
    several = any(field.row is not None for field in kind.fields().values())
    for name, (field, default) in fields(kind).items():
        if field.flag is None:
            needed = default is dataclasses.MISSING
            parser.add_argument(
                name,
                metavar=field.metavar,
                nargs="+" if several else None if needed else "?",
                default=argparse.SUPPRESS,
                help=_positional_help(field),
            )


def add_flags(kind: type[Request], parser: Any, *, without: Mapping[str, Any] | None = None) -> None:
    """A flag for each other setting; what is not given has the default of the request's own field."""
    for name, (field, default) in fields(kind).items():
        if field.flag is None or name in (without or {}):
            continue
        how: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if default is dataclasses.MISSING:
            how["required"] = True
        if field.kind == "switch":
            how |= {"action": "store_false" if default is True else "store_true", "help": _switch_help(field, default)}
        else:
            how |= {"type": _TYPES.get(field.kind, str), "metavar": field.metavar, "help": _help(field, default)}
        if field.kind in ("turns", "options"):
            how["action"] = "append"
        parser.add_argument(flag(name, field), **how)


def flag(name: str, field: Field) -> str:
    """What it is called on the command line, such as --max-new-tokens."""
    return f"--{(field.flag or name).replace('_', '-')}"


def read(kind: type[Request], given: Mapping[str, Any]) -> Request:
    """The request that these values ask for, rows made of the texts that were given. Raises: BadSetting, BadPrompt."""
    values = dict(given)
    for name, field in kind.fields().items():
        if field.kind == "choices" and name in values:
            values[name] = tuple(each.strip() for each in values[name].split(",") if each.strip())
        if field.row is not None:
            columns = {column: values.pop(column) for column in fields_of(field.row) if column in values}
            texts = columns.pop("prompt", [])
            values[name] = [{"prompt": text} | columns for text in texts]
    return kind.read(values)


def _positional_help(field: Field) -> str:
    said = translated(field.help)
    if field.kind != "text":
        return said
    return f"{said} {phrase('- reads it from standard input, without its last line break.')}"


def _help(field: Field, default: Any) -> str:
    label = translated(field.label)
    if field.unit:
        label = phrase("{label} ({unit})", label=label, unit=translated(field.unit))
    told = [f"{label}.", translated(field.help)]
    choices = ", ".join(value for value, _ in field.choices)
    if field.choices:
        several = field.kind == "choices"
        told.append(
            phrase("Any of {choices}, separated by commas.", choices=choices)
            if several
            else phrase("One of {choices}.", choices=choices)
        )
    if field.kind == "model" and field.label == "Model":
        told.append(phrase("Default: {model}, downloaded once.", model=DEFAULT))
    if default not in (dataclasses.MISSING, None, "", ()):
        words = (default,) if isinstance(default, str) else default
        shown = ", ".join(words) if isinstance(words, tuple) else f"{default:g}"
        told.append(phrase("Default: {value}.", value=shown))
    said = " ".join(filter(None, told))
    return said.replace("%", "%%")


def _switch_help(field: Field, default: Any) -> str:
    label = translated(field.label)
    if default is True:
        label = phrase("No {label}", label=label.lower())
    return f"{label}. {translated(field.help)}".replace("%", "%%")
