"""The short terms that measured pictures use, and what each means: told where one is pointed at or focused."""

import re
from dataclasses import dataclass

from model.texts import phrase
from viz import markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One quantity, and what it means."""

    short: str
    name: str
    means: str


LATENCY = (
    Term(
        short="TTFT",
        name=phrase("Time to first token"),
        means=phrase(
            "From the request to the first token, sampling included: the prefill, which reads the whole prompt."
        ),
    ),
    Term(
        short="ITL",
        name=phrase("Inter-token latency"),
        means=phrase("From one token to the next: one decode pass, and the sampling. Each token has its own."),
    ),
    Term(
        short="TPOT",
        name=phrase("Time per output token"),
        means=phrase("(end-to-end latency \u2212 TTFT) \u00f7 (tokens \u2212 1): the mean ITL of one run."),
    ),
    Term(
        short="E2E",
        name=phrase("End-to-end latency"),
        means=phrase("From the call to the last token: TTFT and every ITL after it."),
    ),
    Term(
        short=phrase("Prefill rate"), name=phrase("Prompt tokens a second"), means=phrase("Prompt tokens \u00f7 TTFT.")
    ),
    Term(
        short=phrase("Decode rate"),
        name=phrase("New tokens a second"),
        means=phrase("1 \u00f7 TPOT: how fast the model generates."),
    ),
)
OTHERS = (
    Term(
        short="MBU",
        name=phrase("Model bandwidth utilisation"),
        means=phrase(
            "The bytes that a pass must move, for each second that it took, as a share of the memory speed measured on "
            "the same machine."
        ),
    ),
    Term(
        short="MFU",
        name=phrase("Model FLOPs utilisation"),
        means=phrase(
            "The operations that a pass must do, for each second that it took, as a share of the matrix speed measured "
            "on the same machine."
        ),
    ),
    Term(
        short="KL",
        name=phrase("Kullback-Leibler divergence"),
        means=phrase(
            "How much one distribution differs from another, in nats: 0 if they are equal; at 0.01 the most likely "
            "token rarely changes; above 1 the text is a different one."
        ),
    ),
)

_KNOWN = {term.short: term for term in (*LATENCY, *OTHERS)}
_FOUND = re.compile(rf"\b({'|'.join(map(re.escape, _KNOWN))})\b")


def explained(text: str) -> str:
    """Plain text as markup in which each known term, where it first stands, has its definition with it."""
    told: set[str] = set()

    def tell(match: re.Match[str]) -> str:
        short = match[1]
        if short in told:
            return short
        told.add(short)
        term = _KNOWN[short]
        means = markup.text(phrase("{term}: {meaning}", term=term.name, meaning=term.means))
        return f'<span class="ts-term" tabindex="0">{short}<span class="ts-term-means"> {means}</span></span>'

    return _FOUND.sub(tell, markup.text(text))
