"""What a kind of record tells of itself in words: each kind has one Account, in its folder of viz/views/."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from model.records.batching import Batching
from model.records.speculation import Speculation
from model.texts import phrase
from viz.view import Follows, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What records of a kind are moved over by: the ticks of served texts, or the rounds of a draft."""

    name: Literal["tick", "round"]
    picks: Callable[[Any, int], list[Selection]]  # every step, where there are several drafts of that one
    places: Callable[[Any, Follows], list[Selection]]  # every place of which a picture that follows this has one
    words: Callable[[Any, Selection], str]  # what happened there, in one line of plain text


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a record of this kind is told: its functions take the record."""

    of: type
    what: str  # before its title; empty for none
    summary: Callable[[Any], str]  # what the record is, in one sentence
    facts: Callable[[Any], list[str]]  # what was run, where, and what a person should know of it
    prompt: Callable[[Any], str] = lambda record: record.prompt
    counts: Callable[[Any], dict[str, Any]] = lambda _: {}  # what can be selected, and what is worth looking at first
    asked: Callable[[Any], dict[str, Any]] = lambda _: {}  # the values that a form asks with for such a record
    first: Callable[[Any], Selection] = lambda _: Selection()  # what is worth looking at first
    steps: Steps | None = None  # what its record is moved over by, where its pictures follow that

    def title(self, record: Any) -> str:
        """What the record is called: what was done, how its prompt begins, and the model."""
        begins = f"{' '.join(self.prompt(record).split())[:60]} \u2013 {record.model.name}"
        return phrase("{what}: {record}", what=self.what, record=begins) if self.what else begins


def in_chat(record: Batching | Speculation) -> str:
    """How the prompts were given, for a list of settings."""
    if record.settings.chat:
        return phrase("prompts in the model's chat template")
    return phrase("prompts as typed, without a chat template")
