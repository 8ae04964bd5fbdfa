"""A run: the text that the model wrote, and for each token its likeliest candidates."""

from typing import Any

from model.cli.tables.columns import Shown
from model.records.trace import Trace
from model.requests.run import Run
from model.texts import phrase

_CANDIDATES = 10


def table(run: Trace) -> str:
    """What the model wrote, with the special tokens in it, such as <think>, but without the one that ended it."""
    written = run.tokens[run.n_prompt :]
    kept = written[:-1] if run.ended == "end of sequence" else written
    if not any(token.special for token in kept):
        return run.text
    return b"".join(token.data for token in kept).decode("utf-8", "replace")


def summary(run: Trace) -> dict[str, Any]:
    """The tokens, and for each new one the likeliest candidates; probabilities are those before any processor."""
    return {
        "model": run.model.name,
        "path": run.path,
        "prompt": run.prompt,
        "text": run.text,
        "tokens": [{"id": token.id, "text": token.text, "generated": token.generated} for token in run.tokens],
        "steps": [
            {
                "kind": step.kind,
                "chosen_id": choice.id,
                "probability": choice.probability,
                "candidates": [
                    {"id": each.id, "text": run.texts[each.id], "probability": each.probability}
                    for each in choice.candidates[:_CANDIDATES]
                ],
            }
            for step in run.steps
            for choice in step.choices
        ],
    }


def _stopped(run: Trace | None, asked: Run) -> str:
    return phrase(
        "stopped after {n} of {most} new tokens",
        n=0 if run is None else run.n_generated,
        most=asked.max_new_tokens,
    )


SHOWN = Shown(
    doing=phrase("writing"),
    unit=" tokens",
    post_run=phrase("map and lens"),
    table=table,
    summary=summary,
    stopped=_stopped,
    alone=True,
)
