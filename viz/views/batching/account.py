"""Served texts in words."""

from model.records.batching import Batching
from viz import steps, theme
from viz.account import Account, in_chat
from viz.measured import number
from viz.served import letter

_ENDED = {
    "length": "as long as was asked",
    "end of sequence": "the model ended it",
    "running": "not done",
    "waiting": "not begun",
    "stopped": "stopped",
    "no block left": "no block was left",
}


def _facts(record: Batching) -> list[str]:
    """What became of each text, and in what cache."""
    told = [
        f"{letter(i)}, {theme.several(each.n_prompt, 'token')}: {each.prompt} \u2192 {each.text} ({_ENDED[each.ended]})"
        for i, each in enumerate(record.requests)
    ]
    cache = f"{record.n_blocks} blocks of {record.block_size} tokens, {theme.size(record.block_bytes)} each"
    sharing = "on" if record.sharing else "off"
    engine = (
        f"a tick reads at most {theme.count(record.token_budget)} tokens (token budget) of at most "
        f"{theme.count(record.max_requests)} texts; sharing of blocks by prompts that begin alike: {sharing}"
    )
    most = [f"{letter(i)} {theme.count(each.max_new_tokens)}" for i, each in enumerate(record.requests)]
    settings = (
        f"temperature {record.settings.temperature:g}; tokens to write at most: {', '.join(most)}; {in_chat(record)}"
    )
    return [
        *told,
        f"Asked for: {_arrivals(record)}",
        f"Engine: {engine}",
        f"Cache: {cache}",
        f"Settings: {settings}",
        f"Machine: {record.machine}",
        *record.notes,
    ]


def _arrivals(record: Batching) -> str:
    """When the texts came, and how many a second that is."""
    last = max(each.arrives_s for each in record.requests)
    if last == 0:
        return "all at the start"
    times = [
        f"after {theme.duration(each.arrives_s)}" if each.arrives_s else "at the start" for each in record.requests
    ]
    each_at = [f"{letter(i)} {when}" for i, when in enumerate(times)]
    if len(each_at) == 1:
        return each_at[0]
    return f"{', '.join(each_at)}: {number((len(each_at) - 1) / last)} a second on average"


ACCOUNT = Account(
    of=Batching,
    what="Served",
    summary=lambda record: f"{record.model.name} serves {len(record.requests)} texts at once.",
    facts=_facts,
    prompt=lambda record: record.requests[0].prompt,
    counts=lambda record: {
        "starts": [steps.first_seen(record).tick],
        "why": steps.why_first(record),
        "ticks": len(record.ticks),
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": [letter(i) for i in range(len(record.requests))],
    },
    first=steps.first_seen,
    steps="tick",
)
