"""Serving several texts at once, through a paged cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.limits import Limits
from model.records.batching import letter
from model.records.fields import Field, fields_of, same_as, setting, shown
from model.records.settings import Settings
from model.requests.request import Request, check_prompt
from model.requests.run import Run
from model.texts import phrase

if TYPE_CHECKING:
    from model.records.trace import ModelCard

_DRAWN = 128  # blocks that a picture shows at most
_SMALLEST_BLOCK = 4  # tokens: transformers' engine takes no smaller ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One of several texts to be continued."""

    prompt: str = same_as(Run, "prompt", help="A text to continue; several may be given.")
    max_new_tokens: int = same_as(Run, "max_new_tokens")


@dataclass(frozen=True, kw_only=True)
class Serve(Request):
    """Continue several texts together, tick by tick, and time them under three schedulers."""

    texts: tuple[Text, ...] = setting(
        kind="rows", row=Text, label="Texts", help="The texts to continue, and how many tokens to write for each."
    )
    chat: bool = same_as(Settings, "chat")
    rate: float = setting(
        0.0,
        kind="number",
        label="Arrivals",
        unit="texts a second",
        low=0,
        high=1000,
        slider=(0, 5),
        step=0.5,
        metavar="R",
        help="Random arrivals at this average rate. 0: all texts arrive at the start.",
    )
    n_blocks: int = setting(
        64,
        kind="whole",
        label="Blocks of the cache",
        low=1,
        high=lambda limits, _: limits.cache_tokens,
        variable="TOKENOSCOPE_CACHE_TOKENS",
        slider=(4, _DRAWN),
        flag="blocks",
        metavar="N",
        help="With few blocks, texts wait or are preempted.",
    )
    block_size: int = setting(
        8,
        kind="whole",
        label="Tokens a block",
        low=_SMALLEST_BLOCK,
        high=lambda limits, _: limits.cache_tokens,
        variable="TOKENOSCOPE_CACHE_TOKENS",
        slider=(_SMALLEST_BLOCK, 32),
        step=4,
        metavar="N",
        help="All tokens of a block belong to one text.",
    )
    token_budget: int = setting(
        32,
        kind="whole",
        label="Token budget",
        low=1,
        high=lambda limits, _: limits.cache_tokens,
        variable="TOKENOSCOPE_CACHE_TOKENS",
        slider=(4, 256),
        metavar="N",
        help="The most tokens that one tick reads; a longer prompt is read in chunks.",
    )
    max_requests: int = setting(
        8,
        kind="whole",
        label="Texts at once",
        low=1,
        high=lambda limits, _: limits.requests,
        variable="TOKENOSCOPE_REQUESTS",
        flag="together",
        metavar="N",
        help="The most texts in one tick, or in a static batch; the others wait.",
    )
    prefix_caching: bool = setting(
        True,
        kind="switch",
        label="Prefix caching",
        flag="no-prefix-caching",
        help="Prompts with the same prefix share blocks.",
    )
    seed: int = same_as(Settings, "seed", help="The seed of the random arrivals.")

    @classmethod
    def _value(cls, name: str, field: Field, given: Any) -> Any:
        return _texts(given) if name == "texts" else super()._value(name, field, given)

    @property
    def settings(self) -> Settings:
        """Every choice is the likeliest token; each text has its own number of new tokens."""
        most = max((each.max_new_tokens for each in self.texts), default=1)
        return Settings(max_new_tokens=most, chat=self.chat, seed=self.seed)

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """Texts, their sum, and room for their tokens. Raises: Refusal."""
        _check_texts(self.texts, limits)
        check_cache(self.n_blocks, self.block_size, limits)


def check_cache(n_blocks: int, block_size: int, limits: Limits) -> None:
    """Check that this host allows a cache of so many blocks of `block_size` tokens. Raises: BadSetting."""
    if n_blocks * block_size > limits.cache_tokens:
        raise BadSetting(
            "{n_blocks:,} blocks of {block_size} tokens hold {n_tokens:,} tokens; this host allows at most "
            "{cache_tokens:,} (TOKENOSCOPE_CACHE_TOKENS). Ask for fewer or smaller blocks.",
            n_blocks=n_blocks,
            block_size=block_size,
            n_tokens=n_blocks * block_size,
            cache_tokens=limits.cache_tokens,
        )


def check_number_of_texts(n: int, limits: Limits) -> None:
    """Check that there is a text to serve, and no more than this host allows. Raises: BadPrompt, BadSetting."""
    if n > limits.requests:
        raise BadSetting(
            "{n} texts were given; this host serves at most {most} at once (TOKENOSCOPE_REQUESTS). Remove some.",
            n=n,
            most=limits.requests,
        )
    if not n:
        raise BadPrompt("there is no text to serve. Add one, and type a few words for the model to go on from.")


def _texts(given: Any) -> tuple[Text, ...]:
    """Rows as a form or a program posts them: lists of [prompt, new tokens], or tables with these two names.

    New tokens may be left out of a table.
    """
    if isinstance(given, tuple) and all(isinstance(each, Text) for each in given):
        return given
    rows = [_row(each) for each in given] if isinstance(given, list | tuple) else [None]
    if any(row is None for row in rows):
        raise BadSetting("texts is {given}; it must be a list of texts with their new tokens.", given=shown(given))
    return tuple(Text(**row) for row in rows if row is not None)


def _row(given: Any) -> dict[str, Any] | None:
    """The values of one row by name, or None if it is none."""
    names = tuple(fields_of(Text))
    if isinstance(given, list | tuple) and len(given) == len(names):
        return dict(zip(names, given, strict=True))
    known = isinstance(given, Mapping) and "prompt" in given and given.keys() <= set(names)
    return dict(given) if known else None


def _check_texts(texts: tuple[Text, ...], limits: Limits) -> None:
    check_number_of_texts(len(texts), limits)
    new_tokens = fields_of(Text)["max_new_tokens"]
    for at, each in enumerate(texts):
        if not isinstance(each.prompt, str) or not each.prompt.strip():
            raise BadPrompt(
                "text {letter} is empty. Type a few words for the model to go on from, or remove it.", letter=letter(at)
            )
        new_tokens.check(phrase("max_new_tokens of text {letter}", letter=letter(at)), each.max_new_tokens, limits)
        check_prompt(each.prompt, limits, phrase("prompt of text {letter}", letter=letter(at)))
    n_bytes = sum(len(each.prompt.encode("utf-8", "surrogatepass")) for each in texts)
    if n_bytes > limits.prompt_bytes:
        raise PromptTooLong(
            "the texts have {n_bytes:,} bytes together; this host reads at most {prompt_bytes:,} "
            "(TOKENOSCOPE_PROMPT_BYTES). Shorten them.",
            n_bytes=n_bytes,
            prompt_bytes=limits.prompt_bytes,
        )
