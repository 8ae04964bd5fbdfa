"""Running one prompt, with every pass recorded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.limits import Limits
from model.records.chat import TemplateOption, Turn
from model.records.fields import same_as, setting
from model.records.settings import Settings
from model.requests.request import PROMPT_HELP, Request, check_bytes, check_prompt

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class Run(Request):
    """Continue one prompt and record every pass."""

    prompt: str = setting(
        kind="text",
        label="Prompt",
        help=PROMPT_HELP,
        placeholder="Type the beginning of a text. The model continues it.",
        flag=None,
        metavar="PROMPT",
    )
    chat: bool = same_as(Settings, "chat")
    system: str = same_as(Settings, "system")
    turns: tuple[Turn, ...] = same_as(Settings, "turns")
    template_options: tuple[TemplateOption, ...] = same_as(Settings, "template_options")
    max_new_tokens: int = same_as(
        Settings, "max_new_tokens", high=lambda limits, _: limits.new_tokens, variable="TOKENOSCOPE_NEW_TOKENS"
    )
    temperature: float = same_as(Settings, "temperature")
    top_k: int = same_as(Settings, "top_k")
    top_p: float = same_as(Settings, "top_p")
    min_p: float = same_as(Settings, "min_p")
    repetition_penalty: float = same_as(Settings, "repetition_penalty")
    seed: int = same_as(Settings, "seed")

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """Check the prompt and the chat before it. Raises: BadPrompt, BadSetting or PromptTooLong."""
        check_prompt(self.prompt, limits)
        settings = self.settings  # it checks that what belongs to a chat fits together
        said = (settings.system, *(each.content for each in settings.turns))
        options = (each.name + each.value for each in settings.template_options)
        check_bytes("".join((self.prompt, *said, *options)), limits, "chat")
