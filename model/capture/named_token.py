"""The token of a step that a person names by its text."""

from model.capture.hooked import HookedModel
from model.errors import BadSetting
from model.records.fields import shown
from model.records.trace import Trace
from model.texts import phrase

_NAMED = 5  # likely tokens that a refusal names


def id_of(hooked: HookedModel, run: Trace, step: int, token: str, name: str = "token") -> int:
    """The token that reads so: the likeliest at this step, else the tokenizer's own, else any of the vocabulary.

    `name` is what the caller calls it. Raises: BadSetting.
    """
    likely = [each.id for choice in run.choices[max(step, 0) :][:1] for each in choice.candidates]
    reads, cut = hooked.reader.text, _ids(hooked, token)
    if token and "\ufffd" not in token:  # which stands for any fragment of a character
        for ids in (likely, cut if len(cut) == 1 else [], sorted(hooked.tokenizer.get_vocab().values())):
            if found := [each for each in ids if reads(each) == token]:
                return found[0]
    parts = ", ".join(shown(reads(each)) for each in cut[:_NAMED])
    named = ", ".join(f"{shown(reads(each))} ({each})" for each in likely[:_NAMED])
    raise BadSetting(
        "{name} is {token}; {model} has no such token (the tokenizer splits it into {n}: {parts}). Give the exact text "
        "of one token, or its {name}_id. The likeliest at this step: {likely}.",
        name=name,
        token=shown(token),
        model=hooked.card.name,
        n=len(cut),
        parts=parts,
        likely=named or phrase("unknown"),
    )


def _ids(hooked: HookedModel, text: str) -> list[int]:
    return hooked.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
