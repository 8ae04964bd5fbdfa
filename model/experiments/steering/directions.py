"""Directions of the residual stream: from one prompt to another, or towards a token."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from model.capture.generation import Generation
from model.capture.hooked import HookedModel
from model.capture.sites import stream_site
from model.errors import BadSetting, NotShown
from model.limits import Limits
from model.records.fields import shown
from model.records.settings import Settings
from model.texts import phrase


def direction(
    hooked: HookedModel,
    layer: int = 0,
    *,
    toward: str = "",
    away: str = "",
    token: str = "",
    token_id: int | None = None,
) -> np.ndarray:
    """A direction to steer in: float32 [M].

    With `toward` and `away`, two texts: the difference of their residual streams at a layer's entrance, at the last
    position of each. With `token`, the text of one, or `token_id`: its row of the output head, its unembedding, which
    is the same for every layer.
    Raises: Refusal, for a layer, a text or a token that is not there.
    Source: Turner et al. 2023, "Activation Addition" (the difference of two prompts).
    """
    if toward or away:
        both = Between(hooked, layer, toward, away, Limits.from_environment())
        for _ in both.computing():
            pass
        return both.vector
    return unembedding(hooked, id_of(hooked, token) if token_id is None else token_id)


class Between:
    """The difference of two texts' residual streams. Raises: Refusal, at once, for a layer or a text."""

    def __init__(self, hooked: HookedModel, layer: int, toward: str, away: str, limits: Limits) -> None:
        stream_site(hooked, layer)
        self._layer = layer
        self._texts = [Generation(hooked, text, Settings(max_new_tokens=1), limits) for text in (toward, away)]

    def stop_when(self, cancelled: Callable[[], bool]) -> None:
        """Ask this before every layer; when it says yes, the pass ends at once with `Cancelled`."""
        for text in self._texts:
            text.stop_when(cancelled)

    def computing(self) -> Iterator[None]:
        """Read both texts, one at each value. Raises: Cancelled."""
        for text in self._texts:
            next(text)
            yield None

    @property
    def vector(self) -> np.ndarray:
        """What the first text's last position has more than the second's: float32 [M]."""
        ends = [text.trace().resid for text in self._texts]
        assert ends[0] is not None and ends[1] is not None
        return ends[0][self._layer, -1] - ends[1][self._layer, -1]


def unembedding(hooked: HookedModel, token_id: int) -> np.ndarray:
    """A token's row of the output head: float32 [M]. Raises: BadSetting, NotShown."""
    weight, d_model = hooked.anatomy.head.weight, hooked.card.d_model
    assert isinstance(weight, torch.Tensor)
    if weight.shape[1] != d_model:
        raise NotShown(
            "{model} has no direction of a token: its head reads {width} numbers, and its stream is {d_model} wide. "
            "Give two texts.",
            model=hooked.card.name,
            width=weight.shape[1],
            d_model=d_model,
        )
    if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < len(weight):
        raise BadSetting(
            "token_id is {token_id}; {model} has tokens 0 to {last}. Choose among them.",
            token_id=shown(token_id),
            model=hooked.card.name,
            last=len(weight) - 1,
        )
    return weight[token_id].detach().float().cpu().numpy().copy()


def id_of(hooked: HookedModel, token: str) -> int:
    """The token that reads so, a blank before a word included. Raises: BadSetting."""
    cut = hooked.tokenizer(token, add_special_tokens=False, verbose=False)["input_ids"]
    for ids in (cut if len(cut) == 1 else [], sorted(hooked.tokenizer.get_vocab().values())):
        if token and (found := next((each for each in ids if hooked.reader.text(each) == token), None)) is not None:
            return found
    parts = ", ".join(shown(hooked.reader.text(each)) for each in cut[:5])
    raise BadSetting(
        "token is {token}; {model} has no such token (the tokenizer splits it into {n}: {parts}). Give the exact text "
        "of one token.",
        token=shown(token),
        model=hooked.card.name,
        n=len(cut),
        parts=parts or phrase("none"),
    )
