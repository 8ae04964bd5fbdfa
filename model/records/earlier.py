"""The names of earlier file formats: one table, by which files of those formats still open.

A file states the version of its format, and is read by the names of that version alone: a file that mixes the names of
two versions is refused, as is one with an unknown name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Format = tuple[str, int]
"""The class of a record and the version of its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What one earlier format calls fields and values: by class, earlier field -> field; by class and field, earlier
    value -> value. Anything else is called as it is now.
    """

    fields: Mapping[str, Mapping[str, str]]
    values: Mapping[tuple[str, str], Mapping[str, str]]


EARLIER: Mapping[Format, Names] = {
    ("Batching", 1): Names(
        fields={
            "Batching": {"sharing": "prefix_caching", "ways": "schedulers"},
            "Tick": {
                "shares": "scheduled",
                "tables": "block_tables",
                "put_back": "preempted",
                "n_free": "n_free_blocks",
                "cached": "cached_blocks",
                "shared": "shared_blocks",
                "reused": "n_cached_tokens",
                "keys": "key_lengths",
                "stray": "cross_request_weight",
            },
        },
        values={("TimedScheduler", "name"): {"one by one": "sequential"}},
    ),
}
