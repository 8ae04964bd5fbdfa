"""What every request shares: a model, checks made from its described fields, and a form as plain values.

A request is frozen. Its fields are the only place where a setting of that kind stands.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.limits import Limits
from model.records.chat import options_of, turns_of
from model.records.fields import Field, fields_of, positions, setting, shown
from model.records.settings import Settings

if TYPE_CHECKING:
    from model.records.trace import ModelCard

MODEL_HELP = "A folder with a model, or the id of one on the Hugging Face hub."
PROMPT_HELP = "The text to continue."
_REPEATS = Field(kind="whole", label="Timed runs", low=1)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for, of any kind. `model` names the one that does the work; None is the host's default."""

    model: str | None = setting(None, kind="model", label="Model", help=MODEL_HELP, metavar="NAME")

    @classmethod
    def fields(cls) -> Mapping[str, Field]:
        """The settings of this kind, by name, in the order of a form."""
        described = dict(fields_of(cls))
        model = described.pop("model")
        return {**described, "model": model}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """A request from plain values, as a form or a program posts them; what is left out has its default.

        Raises: BadSetting or BadPrompt, naming the field, for a value of another type and for a name that it has not.
        """
        if unknown := sorted(values.keys() - cls.fields().keys()):
            raise BadSetting(
                "there is no setting {unknown}; there are {choices}.",
                unknown=shown(unknown[0]),
                choices=", ".join(cls.fields()),
            )
        needed = [each.name for each in dataclasses.fields(cls) if each.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in values]:
            kind = BadPrompt if cls.fields()[missing[0]].kind in ("text", "rows") else BadSetting
            raise kind("{name} is missing. Give it.", name=missing[0])
        return cls(**{name: cls._value(name, cls.fields()[name], given) for name, given in values.items()})

    @classmethod
    def _value(cls, name: str, field: Field, given: Any) -> Any:
        """A posted value as the field holds it: JSON knows no tuples, and a browser no difference of 1 and 1.0."""
        if field.kind == "whole" and isinstance(given, float) and given.is_integer():
            return int(given)
        if field.kind == "text" and not isinstance(given, str):
            raise BadPrompt("{name} is not text. Type a few words for the model to go on from.", name=name)
        if field.kind in ("model", "record") and not (given is None or isinstance(given, str)):
            raise BadSetting("{name} is {given}; it must be a name.", name=name, given=shown(given))
        if field.kind == "positions" and isinstance(given, str):
            return positions(name, given)
        if field.kind == "turns":
            return turns_of(name, given)
        if field.kind == "options":
            return options_of(name, given)
        if field.kind in ("choices", "positions"):
            return tuple(given) if isinstance(given, list | tuple) else given
        return given

    def check(self, limits: Limits, card: "ModelCard | None" = None) -> None:
        """Check every value against the host's limits and, once it is known, the model.

        Raises: Refusal, with the field's name, what was given and what would do.
        """
        self.check_values(limits, card, **{name: getattr(self, name) for name in self.fields()})
        self.check_together(limits, card)

    @classmethod
    def check_values(cls, limits: Limits, card: "ModelCard | None" = None, /, **given: Any) -> None:
        """Check some settings of this kind, each by its field alone, as a call of the library does for its arguments.

        Raises: BadSetting.
        """
        optional = {each.name for each in dataclasses.fields(cls) if each.default is None}
        for name, value in given.items():
            if value is not None or name not in optional:
                cls.fields()[name].check(name, value, limits, card)

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:
        """What more than one field, or more than a bound, decides. Raises: Refusal."""

    @property
    def settings(self) -> Settings:
        """How tokens are chosen, where the request says so, and neutral settings for the rest."""
        names = {each.name for each in dataclasses.fields(Settings)} & self.fields().keys()
        return Settings(**{name: getattr(self, name) for name in names})

    @property
    def models(self) -> Mapping[str, str | None]:
        """The models that the work needs, by role; the target comes last."""
        return {"target": self.model}

    @property
    def records(self) -> Mapping[str, str]:
        """The records that the work needs, by the name of their field."""
        named = ((name, getattr(self, name)) for name, field in self.fields().items() if field.kind == "record")
        return {name: given for name, given in named if given}


def check_repeats(given: int, limits: Limits) -> None:
    """Check how often something is timed, which only a call of the library chooses. Raises: BadSetting."""
    _REPEATS.check("repeats", given, limits)


def check_prompt(given: Any, limits: Limits, name: str = "prompt") -> None:
    """Check that a prompt is text, is not empty and has no more bytes than the host reads.

    Raises: BadPrompt or PromptTooLong.
    """
    if not isinstance(given, str) or not given.strip():
        raise BadPrompt(
            "the {name} is empty. Type a few words for the model to go on from, or choose an example.", name=name
        )
    check_bytes(given, limits, name)


def check_bytes(text: str, limits: Limits, name: str) -> None:
    """Check that a text has no more bytes than the host reads. Raises: PromptTooLong."""
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    if n_bytes > limits.prompt_bytes:
        raise PromptTooLong(
            "the {name} has {n_bytes:,} bytes; this host reads at most {prompt_bytes:,} "
            "(TOKENOSCOPE_PROMPT_BYTES). Shorten it.",
            name=name,
            n_bytes=n_bytes,
            prompt_bytes=limits.prompt_bytes,
        )
