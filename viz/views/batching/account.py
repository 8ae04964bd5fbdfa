"""Served texts in words."""

from typing import Any

from model.records.batching import Batching
from model.requests.batching import Text
from model.texts import counted, phrase
from viz import theme
from viz.account import Account, few_rows, in_chat
from viz.measured import n_tokens, number
from viz.served import letter
from viz.view import Selection
from viz.views.batching.ticks import TICKS, first_tick

_ENDED = {
    "length": phrase("length limit"),
    "end of sequence": phrase("end of sequence"),
    "running": phrase("not finished"),
    "waiting": phrase("not started"),
    "stopped": phrase("stopped"),
    "no block left": phrase("no free block"),
}


def _facts(record: Batching) -> list[str]:
    """What became of each text, and in what cache."""
    told = [
        f"{letter(i)}, {n_tokens(each.n_prompt)}: {each.prompt} \u2192 {each.text} ({_ENDED[each.ended]})"
        for i, each in enumerate(record.requests)
    ]
    cache = phrase(
        "{n_blocks} blocks of {block_size} tokens, {size} each",
        n_blocks=record.n_blocks,
        block_size=record.block_size,
        size=theme.size(record.block_bytes),
    )
    engine = phrase(
        "a tick reads at most {budget:,} tokens (the token budget) of at most {texts:,} texts; prefix caching is "
        "{state}",
        budget=record.token_budget,
        texts=record.max_requests,
        state=phrase("on") if record.prefix_caching else phrase("off"),
    )
    most = [f"{letter(i)} {theme.count(each.max_new_tokens)}" for i, each in enumerate(record.requests)]
    settings = phrase(
        "temperature {temperature:g}; new tokens at most: {most}; {in_chat}",
        temperature=record.settings.temperature,
        most=", ".join(most),
        in_chat=in_chat(record),
    )
    return [
        *told,
        phrase("Arrivals: {arrivals}", arrivals=_arrivals(record)),
        phrase("Engine: {engine}", engine=engine),
        phrase("Cache: {cache}", cache=cache),
        phrase("Settings: {settings}", settings=settings),
        phrase("Machine: {machine}", machine=record.machine),
        *few_rows(record),
        *record.notes,
    ]


def _arrivals(record: Batching) -> str:
    """When the texts came, and how many a second that is."""
    last = max(each.arrives_s for each in record.requests)
    if last == 0:
        return phrase("all at the start")
    times = [
        phrase("after {duration}", duration=theme.duration(each.arrives_s))
        if each.arrives_s
        else phrase("at the start")
        for each in record.requests
    ]
    each_at = [f"{letter(i)} {when}" for i, when in enumerate(times)]
    if len(each_at) == 1:
        return each_at[0]
    return phrase(
        "{times}: {rate} a second on average", times=", ".join(each_at), rate=number((len(each_at) - 1) / last)
    )


def _asked(record: Batching) -> dict[str, Any]:
    """The texts and the engine; of random arrivals the rate is not kept."""
    texts = tuple(Text(prompt=each.prompt, max_new_tokens=each.max_new_tokens) for each in record.requests)
    names = ("n_blocks", "block_size", "token_budget", "max_requests", "prefix_caching")
    all_at_once = {} if any(each.arrives_s for each in record.requests) else {"rate": 0.0}
    return {"texts": texts, **all_at_once, **{name: getattr(record, name) for name in names}}


ACCOUNT = Account(
    of=Batching,
    what=phrase("Served"),
    summary=lambda record: counted(
        len(record.requests), "{model} serves 1 text.", "{model} serves {n} texts at once.", model=record.model.name
    ),
    facts=_facts,
    prompt=lambda record: record.requests[0].prompt,
    counts=lambda record: {
        "starts": [first_tick(record)[0]],
        "why": f"; {first_tick(record)[1]}",
        "ticks": len(record.ticks),
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": [letter(i) for i in range(len(record.requests))],
    },
    asked=_asked,
    first=lambda record: Selection(tick=first_tick(record)[0]),
    steps=TICKS,
)
