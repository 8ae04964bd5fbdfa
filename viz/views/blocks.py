"""The paged cache after a tick: which block holds whose tokens, and the block table of each text."""

from model.serving import Batching, Table, Tick
from viz import markup, served, theme
from viz.served import css_class, letter
from viz.theme import Mode
from viz.view import Html, Pick, view

_DRAWN = 128  # blocks one by one
_LISTED = 24  # blocks of one table
_EIGHTHS = 8
_NAMED = 2  # texts by their letters in one block


@view("Blocks: who holds which part of the cache", of=Batching, follows="tick", needs="ticks")
def blocks(record: Batching, at: Pick, _mode: Mode = "light") -> Html:
    """The KV cache, what the model keeps of every token that it has read, is cut into blocks of equal size; a text
    takes one when it needs it, wherever one is free (paged cache). Each field is a block: its number, and the letter
    of the text whose tokens it holds; the bar shows how full it is. A double frame: texts that begin alike share this
    block. A dashed frame: nobody uses it now, and it is kept for a text that may begin so. The block table below tells
    in which order to read.
    """
    tick = served.tick_of(record, at)
    users = _users(tick)
    kept = _last_users(record, at.tick, set(tick.cached) - users.keys())
    fill = _part_full(record, tick)
    drawn = _drawn(record)
    cells = "".join(_cell(block, users.get(block), kept.get(block, _NOBODY), fill.get(block)) for block in drawn)
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
_NOBODY = -1  # the last user of a block that is not kept
_UNKNOWN = -2  # of one that is kept, and that nobody was seen to use


def _users(tick: Tick) -> dict[int, list[int]]:
    """Who uses each block after the tick."""
    users: dict[int, list[int]] = {}
    for table in tick.tables:
        for block in table.blocks if table.request not in tick.freed else ():
            users.setdefault(block, []).append(table.request)
    return users


def _last_users(record: Batching, number: int, kept: set[int]) -> dict[int, int]:
    """Whose tokens stand in the blocks that nobody uses now."""
    found = dict.fromkeys(kept, _UNKNOWN)
    for tick in reversed(record.ticks[: number + 1]):
        if _UNKNOWN not in found.values():
            break
        for table in tick.tables:
            for block in table.blocks:
                if found.get(block) == _UNKNOWN:
                    found[block] = table.request
    return found


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
    used = {block for tick in record.ticks for table in tick.tables for block in table.blocks}
    used |= {block for tick in record.ticks for block in tick.cached}
    return sorted(used)[:_DRAWN]


def _cell(block: int, users: list[int] | None, last: int, fill: int | None) -> str:
    if users:
        classes = css_class(users[0]) + " ts-shared" * (len(users) > 1) + (f" ts-f{fill}" if fill is not None else "")
        quote = '"' * (" " in classes)  # HTML needs no others, and a full cache has a hundred of these in every tick
        several = len(users) > _NAMED
        who = f"\u00d7{len(users)}" if several else "".join(map(letter, users))
        return f"<li class={quote}{classes}{quote} data-request={users[0]}>{block} {who}</li>"
    if last == _NOBODY:
        return f"<li>{block}</li>"
    whose = f" ({letter(last)})" if last != _UNKNOWN else " ()"
    return f"<li class=ts-kept>{block}{whose}</li>"


def _row(record: Batching, number: int, request: int) -> str:
    """What a text did in the tick, and its block table; all of them in every tick, so that nothing jumps."""
    tick = record.ticks[number]
    table = next((each for each in tick.tables if each.request == request), None)
    state = served.doing(record, request)[number]
    did = _did(record, tick, request) if table else _STATES.get(state, state)
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


def _told(record: Batching, tick: Tick, users: dict[int, list[int]], n_kept: int) -> str:
    told = [f"{len(users)} of {record.n_blocks} blocks are used, {tick.n_free} free"]
    told.append(f"{n_kept} kept and not used" if n_kept else "")
    shared = [len(each) for each in users.values() if len(each) > 1]
    saved = sum(shared) - len(shared)
    told.append(
        f"{len(shared)} shared, which saves {saved} ({theme.size(saved * record.block_bytes)})" if shared else ""
    )
    first = ", ".join(filter(None, told))
    whose = "its" if len(tick.put_back) == 1 else "their"
    back = f" {served.letters(list(tick.put_back))} had to give {whose} blocks back." if tick.put_back else ""
    off = "" if record.sharing else " Sharing is off: texts that begin alike hold the same tokens once each."
    return (
        f"{first}. A block holds {record.block_size} tokens, over all layers: {theme.size(record.block_bytes)}."
        f"{off}{back}"
    )
