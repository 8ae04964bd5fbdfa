"""Continuing a run from one of its steps with a token that a person chose."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import BadSetting
from model.limits import Limits
from model.records.fields import setting
from model.requests.request import Request

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class Fork(Request):
    """Continue a finished run from one of its steps, as if the model had chosen another token there."""

    run: str = setting(kind="record", label="Run", help="The run to continue.", flag=None, metavar="FILE")
    step: int = setting(
        kind="whole",
        label="Step",
        low=0,
        metavar="N",
        help="The step whose token you choose: 0 is the prefill, which chooses the first.",
    )
    token: str = setting(
        "",
        kind="text",
        label="Token",
        metavar="TEXT",
        placeholder="such as \N{OPEN BOX}Rome, with its blank",
        help="The token to continue with, as text; a space before a word belongs to it.",
    )
    token_id: int | None = setting(
        None,
        kind="whole",
        label="Token id",
        low=0,
        high=lambda _, card: math.inf if card is None else card.d_vocab - 1,
        metavar="N",
        help="The same token by its id in the vocabulary.",
    )

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """A token is named once. Raises: BadSetting."""
        if bool(self.token) == (self.token_id is not None):
            if self.token:
                raise BadSetting("token and token_id were both given; each names the token to go on with. Give one.")
            raise BadSetting("neither token nor token_id was given; one must name the token to go on with.")
