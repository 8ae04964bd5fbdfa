"""What a host measured of products with a few rows, for the record of a batch or a draft. Frozen values, no numpy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FewRows:
    """All matrix products of one pass that reads a few tokens, beside those of a pass that reads one, on this host.

    `linear` and `taken` are times as long as torch's `linear` takes for one row: with torch's `linear`, and with the
    products that the passes took, each weight matrix's fastest.
    """

    n_rows: int
    linear: float
    taken: float
    share_turned: float  # of the weights, those whose product takes its operands turned round
