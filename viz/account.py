"""What a kind of record tells of itself in words: each kind has one Account, in its folder of viz/views/."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from model.records.batching import Batching
from model.records.speculation import Speculation
from model.texts import listed, phrase
from viz import theme
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
    drawn_from: Callable[[Any], tuple[dict[str, Any], list[tuple[str, np.ndarray]]]] = lambda _: ({}, [])
    # what a script of the page draws from, where it does: as JSON, and arrays by name
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


def few_rows(record: Batching | Speculation) -> list[str]:
    """What the host measured of matrix products with a few rows, in a sentence; none where nothing was measured."""
    measured = record.products
    values = {
        "rows": listed([theme.count(each.n_rows) for each in measured]),
        "linear": listed([f"{each.linear:.2f}" for each in measured]),
        "taken": listed([f"{each.taken:.2f}" for each in measured]),
    }
    if not measured:
        return []
    if not any(each.share_turned for each in measured):
        return [
            phrase(
                "Measured here: the matrix products of a pass over {rows} tokens take {linear} times as long as those "
                "over one. Torch's own product was the fastest of those tried.",
                **values,
            )
        ]
    return [
        phrase(
            "Measured here: the matrix products of a pass over {rows} tokens take {taken} times as long as those over "
            "one; with torch's own product it would be {linear}. Such passes swap the operands where that is faster, "
            "which changes results by rounding; plain decoding does not.",
            **values,
        )
    ]
