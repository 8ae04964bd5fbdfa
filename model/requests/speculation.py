"""Continuing a prompt speculatively: a draft proposes tokens, the model verifies them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from model.errors import BadSetting
from model.limits import Limits
from model.records.fields import same_as, setting, shown
from model.records.settings import Settings
from model.requests.run import Run

if TYPE_CHECKING:
    from model.records.trace import ModelCard

Mode = Literal["prompt lookup", "early exit", "own draft", "draft model"]
MODES: tuple[Mode, ...] = get_args(Mode)
_USUAL: tuple[Mode, ...] = ("prompt lookup", "early exit", "own draft")


@dataclass(frozen=True, kw_only=True)
class Speculate(Run):
    """Continue one prompt by plain decoding, then speculatively with each draft."""

    modes: tuple[Mode, ...] = setting(
        _USUAL,
        kind="choices",
        label="Drafts",
        flag="drafts",
        metavar="NAMES",
        choices=(
            ("prompt lookup", "Prompt lookup: copy from the text"),
            ("early exit", "Early exit: the first layers of the same model"),
            ("own draft", "Own draft: a few layers trained for this model"),
            ("draft model", "Draft model: a smaller one of this host"),
        ),
        help="What drafts the tokens that the model verifies.",
    )
    draft: str | None = setting(
        None,
        kind="model",
        label="Draft model",
        flag="draft-model",
        metavar="NAME",
        help="A smaller model with the same tokenizer that drafts.",
    )
    n_draft: int = setting(
        2,
        kind="whole",
        label="Drafted tokens a round",
        low=1,
        high=16,
        slider=(1, 10),
        flag="draft-tokens",
        metavar="N",
        help="How many tokens are drafted before the model verifies them.",
    )
    exit_layer: int | None = setting(
        None,
        kind="whole",
        label="Early exit: layers that run",
        low=1,
        slider=(0, 64),
        metavar="L",
        high=lambda _, card: 10_000 if card is None else max(1, card.n_layers - 1),
        help="How many layers early exit runs. Default: half of them.",
    )
    max_new_tokens: int = same_as(Run, "max_new_tokens", low=2)
    temperature: float = same_as(
        Settings,
        "temperature",
        help="At 0 the text is exactly that of plain decoding.",
    )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """As of every request; naming a draft model adds the mode "draft model" if no modes were given."""
        if values.get("draft") is not None and "modes" not in values:
            values = {**values, "modes": (*_USUAL, "draft model")}
        return super().read(values)

    @property
    def models(self) -> Mapping[str, str | None]:
        """The draft model, if it is to draft, before the target."""
        drafts = self.draft is not None and "draft model" in self.modes
        return {**({"draft": self.draft} if drafts else {}), "target": self.model}

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:
        """Check the drafts, and that a draft model is named where one drafts. Raises: Refusal."""
        super().check_together(limits, card)
        check_modes(self.modes)
        if "draft model" in self.modes and (self.draft is None or self.draft == self.model):
            raise BadSetting(
                "draft is {draft}; name another model than the target, with its tokenizer.", draft=shown(self.draft)
            )


def check_modes(modes: Sequence[str]) -> None:
    """Check that at least one draft was chosen, and that each is one there is. Raises: BadSetting."""
    if not modes:
        raise BadSetting("modes is empty; choose at least one of {choices}.", choices=", ".join(MODES))
    for mode in modes:
        if mode not in MODES:
            raise BadSetting("modes has {mode}; it can be {choices}.", mode=shown(mode), choices=", ".join(MODES))
