"""What is shown of every causal family of the installed transformers, tried on a tiny random model of each.

`python -m bench.families [FAMILY ...]` prints the table; `--write` puts that of all families into docs/families.md. A
family takes a fraction of a second: its model is made, loaded with its self-check, and run beside `generate`.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from model import load, trace
from model.errors import Refusal
from tests.every_family import EVERY_FAMILY, made_of
from tests.tiny import tiny_model, tiny_tokenizer

TABLE = Path(__file__).parents[1] / "docs" / "families.md"
PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
NEW = 5
COLUMNS = {
    "attention": "attention",
    "residual": "stream",
    "lens": "lens",
    "units": "units",
    "parts": "parts",
    "embeddings": "embeddings",
    "positions": "positions",
    "resume": "resume",
}  # a check of a model's card -> the heading of its column
_MEASURED = re.compile(r" by [\d.e+-]+(?= of its size)")  # a gap's last digits are the machine's


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is shown of one family. `reasons` say why not, by check; `refused` is why it is not run at all."""

    family: str
    equal: bool = False  # tokens and logits are those of `generate`, bit for bit
    cache_bytes: tuple[int, int] = (0, 0)  # after the prompt, and after the last pass
    reasons: dict[str, str]
    refused: str = ""


def main() -> None:
    """Print the table, or write it where the README links to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=EVERY_FAMILY, metavar="FAMILY")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    text = page(rows(options.families))
    if options.write:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(text, "utf-8")
    else:
        print(text)


def rows(families: Sequence[str]) -> Iterator[Row]:
    """Try these families, one after the other."""
    return (tried(family) for family in families)


def tried(family: str) -> Row:
    """Make a tiny model of this family, load it, and run it beside the library's own `generate`."""
    if several := made_of(family):
        return Row(family=family, reasons={}, refused=f"not tried: made of several models ({', '.join(several)})")
    try:
        model = tiny_model(family)
    except Exception as error:  # noqa: BLE001  (whatever the library trips over)
        return Row(family=family, reasons={}, refused=f"transformers does not make it small ({_told(error)})")
    try:
        return _run(family, model)
    except Refusal as refusal:
        return Row(family=family, reasons={}, refused=str(refusal))
    except Exception as error:  # noqa: BLE001  (of the family's own pass)
        return Row(family=family, reasons={}, refused=f"its own forward pass fails ({_told(error)})")


def _run(family: str, model: Any) -> Row:
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    run = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False)
    own = model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=NEW,
        do_sample=False,
        use_cache=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logits = torch.cat(own.logits)
    return Row(
        family=family,
        equal=[token.id for token in run.tokens] == own.sequences[0].tolist()
        and torch.equal(torch.from_numpy(run.logits.copy()), logits),
        cache_bytes=(run.steps[0].kv_bytes, run.steps[-1].kv_bytes),
        reasons={check.name: check.detail for check in hooked.card.checks if not check.passed},
    )


def page(found: Iterator[Row]) -> str:
    """The table in Markdown, with each reason told once below it."""
    notes: dict[str, int] = {}
    lines = [_line(row, notes) for row in found]
    heads = ["family", "equal", *COLUMNS.values(), "cache, bytes"]
    reasons = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([_OPENING, _cells(heads), _cells(["---"] * len(heads)), *lines, "", *reasons, ""])


def _line(row: Row, notes: dict[str, int]) -> str:
    def note(reason: str) -> str:
        reason = _MEASURED.sub("", reason)
        return f"[{notes.setdefault(reason, len(notes) + 1)}]"

    if row.refused:
        return _cells([row.family, note(row.refused), *[""] * (len(COLUMNS) + 1)])
    marks = [note(row.reasons[check]) if check in row.reasons else "yes" for check in COLUMNS]
    first, last = row.cache_bytes
    return _cells([row.family, "yes" if row.equal else "no", *marks, f"{first:,} to {last:,}"])


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


_OPENING = f"""# What is shown of each family

Every causal language model of transformers {transformers.__version__}, as a random model of three narrow layers, which
reads {len(PROMPT)} tokens and writes {NEW}: `python -m bench.families --write` makes this page, and a test compares it.

**equal**: tokens and logits are those of the library's own `generate`, bit for bit. Then what the self-check proves
at load, so that the page shows it: **attention** patterns, the residual **stream**, the logit **lens**, MLP **units**,
the **parts** that each layer adds, **embeddings**, **positions**, and whether a fork can **resume** on the recorded
keys and values (if not, its passes are run again). A number in brackets is the reason why not, below. **cache, bytes**:
what the cache holds after the prompt and after the last pass. A checkpoint may differ from its family's tiny model; its
own check decides.
"""

if __name__ == "__main__":
    main()
