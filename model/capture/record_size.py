"""How much memory the record of a run will take, predicted from the model's shapes before it runs."""

from model.capture.embeddings import NEIGHBOURS, WORDS
from model.capture.logit_lens import KEPT
from model.records.trace import ModelCard

_UNITS = 8  # strongest MLP units kept at each layer and position
_NUMBER = 4  # bytes: float32 and int32
_CHOICE_BYTES = 30_000  # of the Python objects that tell how one token was chosen, with every stage's candidates
_TOKEN_BYTES = 1_000  # of those that tell of a token and of its neighbours in the embedding map


def trace_bytes(card: ModelCard, n_prompt: int, n_new: int) -> int:
    """An upper estimate of a Trace's bytes, with all that is added after the run.

    It holds for a run that writes n_new tokens; one that ends earlier takes less. Masks that no rule says (see
    `Tracer`) are not foreseen: they take 4 bytes for each pair of positions, and only few families have them.
    """
    n_fed = n_prompt + n_new - 1
    numbers = n_fed * (_attention(card) + _residual(card) + _units(card) + _lens(card) + _positions(card))
    numbers += n_new * card.d_vocab
    if card.reason_against("embeddings") is None:
        words = min(n_prompt + n_new, WORDS, card.d_vocab)
        points = min(words * (1 + NEIGHBOURS), card.d_vocab)
        numbers += words * (card.d_model + 2 * NEIGHBOURS) + 3 * points
    return _NUMBER * numbers + n_new * _CHOICE_BYTES + (n_fed + 1) * _TOKEN_BYTES


def _attention(card: ModelCard) -> int:
    """Numbers a position: queries, keys and values of every layer."""
    shown = card.reason_against("attention") is None
    return card.n_layers * (card.n_heads + 2 * card.n_kv_heads) * card.d_head if shown else 0


def _residual(card: ModelCard) -> int:
    return (card.n_layers + 1) * card.d_model if card.reason_against("residual") is None else 0


def _units(card: ModelCard) -> int:
    """The strongest units, or the experts that were chosen: the card does not say how many, and they are few."""
    return 2 * card.n_layers * _UNITS


def _lens(card: ModelCard) -> int:
    return 2 * (card.n_layers + 1) * KEPT if card.reason_against("lens") is None else 0


def _positions(card: ModelCard) -> int:
    """The rotation's cosines and sines, or a vector: the larger of the two, since the card does not say which."""
    return max(card.d_model, 2 * card.d_head) if card.reason_against("positions") is None else 0
