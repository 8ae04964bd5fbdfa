"""Asking why a step chose its token: which parts of the model made it likelier than another."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import BadSetting
from model.limits import Limits
from model.records.fields import same_as, setting
from model.requests.fork import Fork
from model.requests.request import Request

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class Attribute(Request):
    """Tell which heads and MLPs made a step's token likelier than a rival, in logits."""

    run: str = setting(kind="record", label="Run", help="The run to explain.", flag=None, metavar="FILE")
    step: int = same_as(Fork, "step", help="The step to explain: 0 is the prefill, which chooses the first token.")
    token: str = same_as(Fork, "token", help="The token to explain, as text. Default: the one that the step chose.")
    token_id: int | None = same_as(Fork, "token_id")
    rival: str = same_as(
        Fork,
        "token",
        label="Rival",
        placeholder="such as \N{OPEN BOX}Milan, with its blank",
        help="The token to hold against it, as text. Default: the likeliest other one.",
    )
    rival_id: int | None = same_as(Fork, "token_id", label="Rival id")

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """Each token is named once at most, and they are two. Raises: BadSetting."""
        for name, text, given in (("token", self.token, self.token_id), ("rival", self.rival, self.rival_id)):
            if text and given is not None:
                raise BadSetting(
                    "{name} and {name}_id were both given; each names the same token. Give one.", name=name
                )
