"""Running a prompt again with a vector added to the residual stream."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import BadSetting
from model.limits import Limits
from model.records.edits import When
from model.records.fields import same_as, setting
from model.requests.ablation import Ablate
from model.requests.request import Request, check_bytes

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class Steer(Request):
    """Run a prompt again with a direction added to the residual stream."""

    run: str = same_as(Ablate, "run")
    layer: int = setting(
        kind="whole",
        label="Layer",
        low=0,
        high=lambda _, card: 10_000 if card is None else card.n_layers,
        metavar="N",
        help="At whose entrance the direction is added; the number of layers stands for the end of the stream.",
    )
    strength: float = setting(
        1.0,
        kind="number",
        label="Strength",
        slider=(-8, 8),
        step=0.1,
        metavar="X",
        help="The direction is multiplied by it; below 0, it points the other way.",
    )
    toward: str = setting(
        "",
        kind="text",
        label="Toward",
        metavar="TEXT",
        placeholder="such as: I love this",
        help="With away: the direction is from that text's residual stream to this one's, at their last positions.",
    )
    away: str = setting(
        "", kind="text", label="Away from", metavar="TEXT", placeholder="such as: I hate this", help="See toward."
    )
    token: str = setting(
        "",
        kind="text",
        label="Token",
        metavar="TEXT",
        placeholder="such as \N{OPEN BOX}Rome, with its blank",
        help="In place of two texts: the direction is this token's row of the output head.",
    )
    when: When = same_as(Ablate, "when")  # noqa: RUF009  (a field)

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """There is one direction. Raises: BadSetting, PromptTooLong."""
        texts = bool(self.toward), bool(self.away)
        if any(texts) and self.token:
            raise BadSetting("token and a text were both given; each names the direction. Give one.")
        if not self.token and not all(texts):
            raise BadSetting("the direction is missing. Give the texts toward and away, or a token.")
        check_bytes(self.toward, limits, "toward")
        check_bytes(self.away, limits, "away")
