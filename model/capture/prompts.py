"""A prompt as the model will read it, and whether it fits the model and the host."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

from model.arch.tokens import Prompt, encode
from model.capture.hooked import HookedModel
from model.errors import BadPrompt, BadSetting, PromptTooLong
from model.limits import Limits
from model.records.trace import Settings
from model.requests.run import Run


def read_prompt(hooked: HookedModel, prompt: str | Sequence[int], settings: Settings) -> Prompt:
    """A prompt of either kind as the model will read it. Raises: BadPrompt, BadSetting."""
    if isinstance(prompt, str):
        chat = {name: getattr(settings, name) for name in ("chat", "system", "turns", "template_options")}
        read = encode(hooked.tokenizer, prompt, **chat)
        _check_rows(hooked, read)
        typed = (read.text, settings.system, *(each.content for each in settings.turns))
        losses = dict.fromkeys(note for text in typed if text for note in hooked.reader.losses(text))
        return replace(read, notes=(*read.notes, *losses))
    if settings.system or settings.turns or settings.template_options:
        raise BadSetting(
            "the prompt is token ids, which are read as they are, but a system prompt, turns or template options are "
            "given, which the chat template would put around text. Give the prompt as text, or leave them out."
        )
    given = list(prompt)
    bad = [each for each in given if not isinstance(each, Integral) or not 0 <= each < hooked.card.d_vocab]
    if bad:
        raise BadPrompt(
            "the prompt has the token id {bad!r}; token ids of this model are whole numbers from 0 to {last}.",
            bad=bad[0],
            last=hooked.card.d_vocab - 1,
        )
    if not given:
        raise BadPrompt(
            "the prompt has no token ids; give text, or ids from 0 to {last}.", last=hooked.card.d_vocab - 1
        )
    ids = tuple(int(each) for each in given)
    return Prompt(text=hooked.tokenizer.decode(list(ids)), ids=ids, notes=())


def _check_rows(hooked: HookedModel, read: Prompt) -> None:
    """The embedding has a row for every token. Raises: BadPrompt."""
    n_rows = hooked.model.get_input_embeddings().weight.shape[0]
    beyond = next((each for each in read.ids if each >= n_rows), None)
    if beyond is not None:
        raise BadPrompt(
            "the prompt has the token {token!r} (id {id}): this model's tokenizer has {n_tokens:,} tokens, but its "
            "embedding only {n_rows:,} rows, since tokens were added without resizing it. Leave that token out (turn "
            "chat off, if the chat template adds it), or resize the embedding and save the model again.",
            token=hooked.reader.text(beyond),
            id=beyond,
            n_tokens=len(hooked.tokenizer),
            n_rows=n_rows,
        )


def check_lengths(hooked: HookedModel, n_prompt: int, settings: Settings | None, limits: Limits) -> None:
    """Check that a run of so many tokens fits this model and this host; without settings, nothing is written after it.

    Raises: PromptTooLong, BadSetting.
    """
    n_ctx, n_new = hooked.card.n_ctx, 0 if settings is None else settings.max_new_tokens
    if settings is not None:
        Run.check_values(limits, max_new_tokens=n_new)
    if n_prompt > limits.prompt_tokens:
        raise PromptTooLong(
            "the prompt has {n_prompt:,} tokens; this host allows at most {most:,} "
            "(TOKENOSCOPE_PROMPT_TOKENS). Shorten it.",
            n_prompt=n_prompt,
            most=limits.prompt_tokens,
        )
    if n_new == 0 and n_prompt > n_ctx:
        raise PromptTooLong(
            "the text has {n_prompt:,} tokens; {model} reads at most {n_ctx:,} at once. Shorten it, or pick a model "
            "with a longer context.",
            n_prompt=n_prompt,
            model=hooked.card.name,
            n_ctx=n_ctx,
        )
    if n_prompt + n_new > n_ctx:
        raise PromptTooLong(
            "the prompt's {n_prompt:,} tokens and {max_new_tokens:,} new ones make {n_together:,}; {model} reads at "
            "most {n_ctx:,} at once. Shorten the prompt, ask for fewer new tokens, or pick a model with a longer "
            "context.",
            n_prompt=n_prompt,
            max_new_tokens=n_new,
            n_together=n_prompt + n_new,
            model=hooked.card.name,
            n_ctx=n_ctx,
        )
