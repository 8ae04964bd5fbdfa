"""The short terms that measured pictures use, and what each means: told where one is pointed at or focused."""

import re
from dataclasses import dataclass

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
        name="Time to first token",
        means="From the moment that the text is asked for to its first token, its choice included: the prefill reads "
        "the whole prompt in it.",
    ),
    Term(
        short="ITL",
        name="Inter-token latency",
        means="From one token to the next: one decode pass, and the choice. Each token has its own.",
    ),
    Term(
        short="TPOT",
        name="Time per output token",
        means="(end-to-end latency \u2212 TTFT) \u00f7 (tokens \u2212 1): the mean ITL of one run.",
    ),
    Term(short="E2E", name="End-to-end latency", means="From the call to the last token: TTFT and every ITL after it."),
    Term(short="Prefill rate", name="Tokens of the prompt a second", means="Tokens of the prompt \u00f7 TTFT."),
    Term(short="Decode rate", name="Tokens written a second", means="1 \u00f7 TPOT: how fast the text grows."),
)
OTHERS = (
    Term(
        short="MBU",
        name="Model bandwidth utilisation",
        means="Bytes that the pass must move, for each second that it took, as a share of the memory speed measured "
        "on this machine.",
    ),
    Term(
        short="MFU",
        name="Model FLOPs utilisation",
        means="Operations that the pass must do, for each second that it took, as a share of the matrix speed "
        "measured on this machine.",
    ),
    Term(
        short="KL",
        name="Kullback-Leibler divergence",
        means="How far a distribution is from another, in nats: 0 where they are equal; at 0.01 hardly a choice "
        "differs; above 1 it is another text.",
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
        means = markup.text(f"{term.name}: {term.means}")
        return f'<span class="ts-term" tabindex="0">{short}<span class="ts-term-means"> {means}</span></span>'

    return _FOUND.sub(tell, markup.text(text))
