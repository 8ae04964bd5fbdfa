"""Putting pieces of one run into another."""

from dataclasses import dataclass

from model.records.fields import setting
from model.records.patching import Piece
from model.requests.request import Request


@dataclass(frozen=True, kw_only=True)
class Patch(Request):
    """Put pieces of a clean run into a corrupt one, and see which bring its answer back."""

    clean: str = setting(kind="record", label="Clean run", help="The run to take from.", flag=None, metavar="CLEAN")
    corrupt: str = setting(
        kind="record",
        label="Corrupt run",
        help="The run to put into: its prompt has as many tokens, and another answer.",
        flag=None,
        metavar="CORRUPT",
    )
    what: Piece = setting(  # noqa: RUF009  (a field)
        "residual",
        kind="choice",
        label="Piece",
        metavar="PIECE",
        choices=(
            ("residual", "Residual stream, at each layer and position"),
            ("heads", "Output of each head, at all positions"),
            ("mlp", "What each MLP adds, at each position"),
            ("key", "Keys, at each layer and position"),
            ("value", "Values, at each layer and position"),
        ),
        help="What is put: the residual stream at a layer's entrance, a head's output, what an MLP adds, or the keys "
        "or values of a layer.",
    )
