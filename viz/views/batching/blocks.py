"""The paged cache after a tick: which block holds whose tokens, and the block table of each text."""

from model.records.batching import Batching, Table, Tick
from viz import markup, served, theme
from viz.served import css_class, letter
from viz.theme import Mode
from viz.view import Html, Selection, view

_DRAWN = 128  # blocks one by one
_LISTED = 24  # blocks of one table
_EIGHTHS = 8
_QUOTED = 90  # characters of what stands in shared blocks
_NAMED = 2  # texts by their letters in one block


@view("Blocks: who holds which part of the cache", of=Batching, follows="tick", needs="ticks")
def blocks(record: Batching, at: Selection, _mode: Mode = "light") -> Html:
    """The KV cache, what the model keeps of every token that it has read, is cut into blocks of equal size; a text
    takes one when it needs it, wherever one is free (paged cache). Each field is a block: its number, and the letter
    of the text whose tokens it holds; the bar shows how full it is. A double frame: texts that begin alike share this
    block; only full ones are shared. A dashed frame: nobody uses it now, and it is kept for a text that may begin so.
    The block table below tells in which order to read.
    """
    tick = served.tick_of(record, at)
    users = _users(tick)
    past = served.history(record)
    kept = {block: past.last_user(block, at.tick) for block in set(tick.cached) - users.keys()}
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
    more = f'<p class="ts-sentence">{theme.count(left)} more blocks are not drawn.</p>' if left else ""
    rows = "".join(_row(record, at.tick, request) for request in range(len(record.requests)))
    return Html(
        f'<p class="ts-told">{markup.text(_told(record, tick, users, len(kept)))}</p>'
        f'<ul class="ts-blocks">{cells}</ul>{more}'
        '<div class="ts-measured ts-tables"><table><thead><tr><th scope="col">text</th><th scope="col">in this tick'
        '</th><th scope="col">tokens</th><th scope="col">block table, in the order of the text</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


_STATES = {"not here": "not asked for yet"}
_NO_BLOCK = "no block"


def _users(tick: Tick) -> dict[int, list[int]]:
    """Who uses each block after the tick."""
    users: dict[int, list[int]] = {}
    for table in tick.tables:
        for block in table.blocks if table.request not in tick.freed else ():
            users.setdefault(block, []).append(table.request)
    return users


def _part_full(record: Batching, tick: Tick) -> dict[int, int]:
    """Blocks that are not full, and how many tokens each holds, in eighths of a block and at least one."""
    part: dict[int, int] = {}
    for table in tick.tables:
        for place, block in enumerate(table.blocks if table.request not in tick.freed else ()):
            held = min(max(table.n_tokens - place * record.block_size, 0), record.block_size)
            if held < record.block_size:
                part[block] = min(max(round(held / record.block_size * _EIGHTHS), int(held > 0)), _EIGHTHS - 1)
    return part


def _drawn(record: Batching) -> list[int]:
    """All blocks; of a larger cache those that the run ever used, in every tick the same ones."""
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
    """What a text did in the tick, and its block table; all of them in every tick, so that nothing jumps."""
    tick = record.ticks[number]
    table = next((each for each in tick.tables if each.request == request), None)
    state = served.doing(record, request)[number]
    did = _did(record, tick, request) if table else _STATES.get(state, state)
    did += f": {served.why_not(record, tick, request)}" if state in ("waiting", "idle") else ""
    return (
        f'<tr data-request="{request}"><th scope="row"><strong class="ts-letter {css_class(request)}">'
        f"{letter(request)}</strong></th><td>{markup.text(did)}</td><td>{table.n_tokens if table else 0}</td>"
        f"<td>{_listed(record, tick, table) if table else _NO_BLOCK}</td></tr>"
    )


def _listed(record: Batching, tick: Tick, table: Table) -> str:
    """The blocks in the order of the text, and how full the last one is."""
    listed, more = ", ".join(map(str, table.blocks[:_LISTED])), len(table.blocks) - _LISTED
    listed += f" and {more} more" if more > 0 else ""
    if table.request in tick.freed:
        return f"{listed}: given back"
    size = record.block_size
    last = table.n_tokens - (len(table.blocks) - 1) * size
    return f"{listed}; last one {last} of {size} full"


def _did(record: Batching, tick: Tick, request: int) -> str:
    share = served.share_of(tick, request)
    if share is None:
        return "no share"
    token = served.token_at(record, request, share.first + share.n_tokens)
    written = ""
    if share.written is not None:
        written = f", wrote {markup.short(token, 14)}" if token and token.id == share.written else ", wrote one"
    return f"read {share.n_tokens}{written}"


def _who_shares(record: Batching, tick: Tick, users: dict[int, list[int]]) -> str:
    """Which texts share which blocks, those of the same texts together, how many use each, and what stands there."""
    together: dict[tuple[int, ...], list[int]] = {}
    for block, each in sorted(users.items()):
        if len(each) > 1:
            together.setdefault(tuple(each), []).append(block)
    told = [
        f"{served.letters(list(texts))} share block{'s' * (len(blocks) > 1)} {', '.join(map(str, blocks[:_LISTED]))}"
        + (f" and {len(blocks) - _LISTED} more" if len(blocks) > _LISTED else "")
        + f" ({len(texts)} users{' each' * (len(blocks) > 1)}), which hold{'s' * (len(blocks) == 1)} "
        f"\u201c{_held(record, tick, texts[0], set(blocks))}\u201d"
        for texts, blocks in together.items()
    ]
    return f". {'; '.join(told)}" if told else ""


def _held(record: Batching, tick: Tick, request: int, blocks: set[int]) -> str:
    """What stands in these blocks of a text, shortened in the middle."""
    table, size = next(each for each in tick.tables if each.request == request), record.block_size
    positions = [place * size + at for place, block in enumerate(table.blocks) if block in blocks for at in range(size)]
    tokens = [served.token_at(record, request, each) for each in positions]
    text = " ".join("".join(each.text for each in tokens if each).split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED // 2]} \u2026 {text[-_QUOTED // 2 :]}"


def _told(record: Batching, tick: Tick, users: dict[int, list[int]], n_kept: int) -> str:
    told = [f"{len(users)} of {record.n_blocks} blocks are used after this tick, {tick.n_free} free"]
    told.append(f"{n_kept} kept and not used, there for whoever needs one" if n_kept else "")
    shared = [len(each) for each in users.values() if len(each) > 1]
    saved = sum(shared) - len(shared)
    told.append(
        f"{len(shared)} shared, which saves {saved} ({theme.size(saved * record.block_bytes)})" if shared else ""
    )
    first = ", ".join(filter(None, told)) + _who_shares(record, tick, users)
    whose = "its" if len(tick.put_back) == 1 else "their"
    back = f" {served.letters(list(tick.put_back))} had to give {whose} blocks back." if tick.put_back else ""
    off = "" if record.sharing else " Sharing is off: texts that begin alike hold the same tokens once each."
    return (
        f"{first}. A block holds {record.block_size} tokens, over all layers: {theme.size(record.block_bytes)}."
        f"{off}{back}"
    )
