"""The paged KV cache after a tick: the text that uses each block, and the block table of each text."""

from collections.abc import Sequence

from model.records.batching import Batching, BlockTable, Tick
from model.texts import counted, phrase
from viz import markup, served, theme
from viz.served import css_class, letter
from viz.theme import Mode
from viz.view import Html, Selection, view

_DRAWN = 128  # blocks at most
_LISTED = 24  # blocks of one block table at most
_EIGHTHS = 8
_QUOTED = 90  # characters of the text in shared blocks
_NAMED = 2  # texts named by their letters in one block


@view("Blocks: which text holds which part of the cache", of=Batching, follows="tick", needs="ticks")
def blocks(record: Batching, at: Selection, _mode: Mode = "light") -> Html:
    """The paged KV cache: each field is a block, its letter the text in it.

    The cache is divided into blocks of equal size; a text takes any free block when it needs one. The bar shows how
    full a block is. A double frame: several texts with the same prefix use this block (prefix caching; only full
    blocks are shared). A dashed frame: no text uses the block now; its tokens stay cached for a text with the same
    prefix. The block tables below list the blocks of each text in order.
    """
    tick = served.tick_of(record, at)
    users = served.blocks_in_use(tick)
    past = served.history(record)
    kept = {block: past.last_user(block, at.tick) for block in set(tick.cached_blocks) - users.keys()}
    fill = _part_full(record, tick)
    drawn = _drawn(record)
    cells = "".join(
        _cell(block, users[block], fill.get(block))
        if block in users
        else _kept(block, kept[block])
        if block in kept
        else f"<li>{block}</li>"
        for block in drawn
    )
    left = record.n_blocks - len(drawn)
    not_drawn = counted(left, "1 more block is not drawn.", "{n:,} more blocks are not drawn.")
    more = f'<p class="ts-sentence">{markup.text(not_drawn)}</p>' if left else ""
    names = (phrase("text"), phrase("in this tick"), phrase("tokens"), phrase("block table, in the order of the text"))
    head = "".join(f'<th scope="col">{markup.text(each)}</th>' for each in names)
    rows = "".join(_row(record, at.tick, request) for request in range(len(record.requests)))
    return Html(
        f'<p class="ts-told">{markup.text(_told(record, tick, users, len(kept)))}</p>'
        f'<ul class="ts-blocks">{cells}</ul>{more}'
        f'<div class="ts-measured ts-tables"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _part_full(record: Batching, tick: Tick) -> dict[int, int]:
    """Blocks that are not full, and how many tokens each holds, in eighths of a block and at least one."""
    part: dict[int, int] = {}
    for table in tick.block_tables:
        for place, block in enumerate(table.blocks if table.request not in tick.freed else ()):
            held = min(max(table.n_tokens - place * record.block_size, 0), record.block_size)
            if held < record.block_size:
                part[block] = min(max(round(held / record.block_size * _EIGHTHS), int(held > 0)), _EIGHTHS - 1)
    return part


def _drawn(record: Batching) -> list[int]:
    """All blocks; of a larger cache those that the run ever used, the same ones in each tick."""
    if record.n_blocks <= _DRAWN:
        return list(range(record.n_blocks))
    return list(served.history(record).used[:_DRAWN])


def _cell(block: int, users: list[int], fill: int | None) -> str:
    """A block in use; a shared one has a bar in as many colours as there are texts that use it."""
    part = f" ts-f{fill}" if fill is not None else ""
    if len(users) == 1:
        classes = f"{css_class(users[0])}{part}"
        quote = '"' * (" " in classes)  # HTML needs no others, and a full cache has a hundred of these in every tick
        return f"<li class={quote}{classes}{quote} data-request={users[0]}>{block} {letter(users[0])}</li>"
    who = f"\u00d7{len(users)}" if len(users) > _NAMED else "".join(map(letter, users))
    bar = "".join(f"<span class={css_class(user)} data-request={user}></span>" for user in users)
    return f'<li class="ts-shared{part}">{block} {who}<span class=ts-users>{bar}</span></li>'


def _kept(block: int, last: int | None) -> str:
    whose = letter(last) if last is not None else ""
    return f"<li class=ts-kept>{block} ({whose})</li>"


def _row(record: Batching, number: int, request: int) -> str:
    """What a text did in the tick, and its block table; each tick has a row for each text, so that rows stay put."""
    tick = record.ticks[number]
    table = next((each for each in tick.block_tables if each.request == request), None)
    state = served.doing(record, request)[number]
    did = _did(record, tick, request) if table else served.said_of(state)
    if state in ("waiting", "idle"):
        did = f"{did}: {served.why_not(record, tick, request)}"
    blocks = _listed(record, tick, table) if table else phrase("no block")
    return (
        f'<tr data-request="{request}"><th scope="row"><strong class="ts-letter {css_class(request)}">'
        f"{letter(request)}</strong></th><td>{markup.text(did)}</td><td>{table.n_tokens if table else 0}</td>"
        f"<td>{markup.text(blocks)}</td></tr>"
    )


def _listed(record: Batching, tick: Tick, table: BlockTable) -> str:
    """The blocks in the order of the text, and the number of tokens in the last one."""
    listed = _numbers(table.blocks)
    if table.request in tick.freed:
        return phrase("{blocks}: freed", blocks=listed)
    size = record.block_size
    last = table.n_tokens - (len(table.blocks) - 1) * size
    return phrase("{blocks}; the last holds {last} of {size} tokens", blocks=listed, last=last, size=size)


def _numbers(blocks: Sequence[int]) -> str:
    """The numbers of the first blocks, and how many more there are."""
    listed, more = ", ".join(map(str, blocks[:_LISTED])), len(blocks) - _LISTED
    return phrase("{blocks} and {more} more", blocks=listed, more=more) if more > 0 else listed


def _did(record: Batching, tick: Tick, request: int) -> str:
    chunk = served.chunk_of(tick, request)
    if chunk is None:
        return phrase("not scheduled")
    if chunk.written is None:
        return phrase("read {n}", n=chunk.n_tokens)
    token = served.token_at(record, request, chunk.first + chunk.n_tokens)
    if token and token.id == chunk.written:
        return phrase("read {n}, wrote {token}", n=chunk.n_tokens, token=markup.short(token, 14))
    return phrase("read {n}, wrote 1", n=chunk.n_tokens)


def _who_shares(record: Batching, tick: Tick, users: dict[int, list[int]]) -> str:
    """Shared blocks by the texts that use them: how many use each, and the text in them."""
    together: dict[tuple[int, ...], list[int]] = {}
    for block, each in sorted(users.items()):
        if len(each) > 1:
            together.setdefault(tuple(each), []).append(block)
    return " ".join(
        counted(
            len(blocks),
            "{texts} share block {blocks} ({users} users), which holds \u201c{held}\u201d.",
            "{texts} share blocks {blocks} ({users} users each), which hold \u201c{held}\u201d.",
            texts=served.letters(list(texts)),
            blocks=_numbers(blocks),
            users=len(texts),
            held=_held(record, tick, texts[0], set(blocks)),
        )
        for texts, blocks in together.items()
    )


def _held(record: Batching, tick: Tick, request: int, blocks: set[int]) -> str:
    """The text in these blocks, shortened in the middle."""
    table, size = next(each for each in tick.block_tables if each.request == request), record.block_size
    positions = [place * size + at for place, block in enumerate(table.blocks) if block in blocks for at in range(size)]
    tokens = [served.token_at(record, request, each) for each in positions]
    text = " ".join("".join(each.text for each in tokens if each).split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED // 2]} \u2026 {text[-_QUOTED // 2 :]}"


def _told(record: Batching, tick: Tick, users: dict[int, list[int]], n_kept: int) -> str:
    shared = [len(each) for each in users.values() if len(each) > 1]
    saved = sum(shared) - len(shared)
    counts = [
        phrase(
            "{used} of {all} blocks are in use after this tick, {free} free",
            used=len(users),
            all=record.n_blocks,
            free=tick.n_free_blocks,
        ),
        phrase("{n} cached and available", n=n_kept) if n_kept else "",
        phrase(
            "{n} shared, which saves {saved} ({size})",
            n=len(shared),
            saved=saved,
            size=theme.size(saved * record.block_bytes),
        )
        if shared
        else "",
    ]
    told = [
        f"{', '.join(filter(None, counts))}.",
        _who_shares(record, tick, users),
        phrase(
            "A block holds {n} tokens; over all layers it takes {size}.",
            n=record.block_size,
            size=theme.size(record.block_bytes),
        ),
        ""
        if record.prefix_caching
        else phrase("Prefix caching is off: texts with the same prefix each hold their own copy."),
        counted(
            len(tick.preempted),
            "{texts} was preempted: its blocks were freed.",
            "{texts} were preempted: their blocks were freed.",
            texts=served.letters(list(tick.preempted)),
        )
        if tick.preempted
        else "",
    ]
    return " ".join(filter(None, told))
