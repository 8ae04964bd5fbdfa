"""A text with drafts before the model, in words."""

from model.records.speculation import Speculation
from viz import steps, theme
from viz.account import Account, in_chat


def _facts(record: Speculation) -> list[str]:
    written = record.tokens[record.n_prompt :]
    text = "".join(token.text for token in written)
    return [
        f"Prompt, {theme.several(record.n_prompt, 'token')}: {record.prompt}",
        f"Written by plain decoding, without a draft, {theme.several(len(written), 'token')}: {text}",
        f"Settings: {_drafting(record)}",
        f"Machine: {record.machine}",
        *record.notes,
    ]


def _drafting(record: Speculation) -> str:
    """How tokens were chosen, how many were guessed at once, and how the prompt was given."""
    asked = record.settings
    limits = {
        "top-k": (asked.top_k, 0),
        "top-p": (asked.top_p, 1),
        "min-p": (asked.min_p, 0),
        "repetition penalty": (asked.repetition_penalty, 1),
    }
    chosen = [f"temperature {asked.temperature:g}"]
    chosen += [f"{name} {value:g}" for name, (value, off) in limits.items() if value != off]
    chosen.append(f"seed {asked.seed}" + " (nothing is drawn)" * asked.greedy)
    most = sorted({each.n_draft for each in record.attempts})
    guess = "guess" if most == [1] else "guesses"
    guesses = [f"at most {' or '.join(map(theme.count, most))} {guess} a round"] if most else []
    new = f"at most {theme.count(asked.max_new_tokens)} tokens to write"
    return "; ".join([", ".join(chosen), *guesses, new, in_chat(record)])


ACCOUNT = Account(
    of=Speculation,
    what="Drafted",
    summary=lambda record: f"{record.model.name} writes with a draft before it.",
    facts=_facts,
    counts=lambda record: {
        "attempts": [each.name for each in record.attempts],
        "rounds": [len(each.rounds) for each in record.attempts],
        "best": steps.first_seen(record).attempt,
        "starts": [steps.first_round(each) for each in record.attempts],
    },
    first=steps.first_seen,
    steps="round",
)
