"""A beam search as a tree: what each pass ranked, which of it went on, and the text that won."""

from model.records.beams import BeamSearch
from model.records.trace import Token
from model.texts import phrase
from viz import markup, theme
from viz.theme import Mode
from viz.view import Html, Selection, view

_WIDE, _GAP = 111, 18  # of a token's box, and between two passes
_HIGH, _ROW, _LOW = 38, 50, 26  # of a box, from beam to beam, and of one that was dropped
_TOP = 26  # for the number of the pass
_LETTERS, _FEWER = 12, 6  # of a token that goes on, and of one that was dropped

Place = tuple[int, int]


@view("The beams, pass by pass", of=BeamSearch, follows="nothing", needs="ids")
def beam_tree(record: BeamSearch, _at: Selection, _mode: Mode = "light") -> Html:
    """Each column is a pass: the likeliest texts go on, the pale ones are dropped.

    A box is one more token with its probability after the text that it goes on from. A pass ranks all continuations
    of all beams together by the sum of their log-probabilities, so that several can come from one beam, and another
    beam can end. The thick line is the text that won; the dashed one is greedy decoding, for as long as its text was
    among the beams. Point at a box to see the whole text and its sum.
    """
    best = set(record.path(record.answers[0].step, record.answers[0].rank)) if record.answers else set()
    greedy = set(record.greedy())
    finished = {(each.step, each.rank) for each in record.answers}
    places = {(s, r): y for s in range(len(record.ids)) for r, y in _column(record, s, finished).items()}
    lines = [_line(record, place, places, best, greedy) for place in places]
    boxes = [_box(record, place, y, best, finished) for place, y in places.items()]
    heads = [
        f'<text class="ts-beam-pass" x="{_left(s) + _WIDE / 2}" y="14">{markup.text(_head(s))}</text>'
        for s in range(len(record.ids))
    ]
    wide = _left(len(record.ids)) - _GAP + 2
    high = max(places.values()) + _HIGH + 4
    label = markup.text(phrase("tree of the beams; the texts stand in the table below"))
    svg = (
        f'<svg class="ts-beam-tree" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img" '
        f'aria-label="{label}">{"".join(heads + lines + boxes)}</svg>'
    )
    return Html(f'{_legend()}<div class="ts-beam-scroll" tabindex="0" role="group" aria-label="{label}">{svg}</div>')


def _column(record: BeamSearch, step: int, finished: set[Place]) -> dict[int, int]:
    """How high each continuation of a pass stands that is drawn: the beams, then as many others."""
    ranks = [rank for rank in range(record.ids.shape[1]) if record.ids[step, rank] >= 0]
    on = {rank: int(record.beams[step, rank]) for rank in ranks if record.beams[step, rank] >= 0}
    ended = [rank for rank in ranks if (step, rank) in finished]
    rest = [rank for rank in ranks if rank not in on and rank not in ended][: record.n_beams]
    column = {rank: _TOP + _ROW * beam for rank, beam in on.items()}
    free = [beam for beam in range(record.n_beams + len(ended)) if beam not in on.values()]
    column |= {rank: _TOP + _ROW * beam for rank, beam in zip(ended, free, strict=False)}
    below = max(column.values(), default=_TOP - _ROW) + _ROW + 6
    return column | {rank: below + (_LOW + 4) * i for i, rank in enumerate(rest)}


def _line(record: BeamSearch, place: Place, places: dict[Place, int], best: set[Place], greedy: set[Place]) -> str:
    """From the box that it goes on from; none in the first pass."""
    step, rank = place
    if step == 0:
        return ""
    before = record.path(step, rank)[-2]
    if before not in places:
        return ""
    dropped = record.beams[step, rank] < 0 and place not in best
    x1, y1 = _left(step - 1) + _WIDE, places[before] + _HIGH / 2
    x2, y2 = _left(step), places[place] + (_LOW if dropped else _HIGH) / 2
    path = f"M{x1} {y1} C{x1 + _GAP / 2} {y1} {x2 - _GAP / 2} {y2} {x2} {y2}"
    kind = " ts-of-best" if place in best else " ts-is-dropped" if dropped else ""
    drawn = f'<path class="ts-beam-line{kind}" d="{path}"/>'
    return drawn + (f'<path class="ts-beam-line ts-of-greedy" d="{path}"/>' if place in greedy else "")


def _box(record: BeamSearch, place: Place, y: int, best: set[Place], finished: set[Place]) -> str:
    step, rank = place
    x, token = _left(step), _token(record, place)
    share = theme.percent(record.probability(step, rank))
    told = phrase(
        "{text}; {share} after the text before it, sum of log-probabilities {sum}",
        text=_text(record, place),
        share=share,
        sum=f"{record.scores[place]:.2f}",
    )
    goes_on = record.beams[place] >= 0 or place in finished
    name = markup.text(markup.short(token, _LETTERS if goes_on else _FEWER))
    kind = " ts-of-best" if place in best else "" if goes_on else " ts-is-dropped"
    if not goes_on:
        body = (
            f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_LOW}" rx="5"/>'
            f'<text x="{x + 7}" y="{y + 17}">{name}</text>'
            f'<text class="ts-beam-share" x="{x + _WIDE - 6}" y="{y + 17}">{share}</text>'
        )
    else:
        end = f'<text class="ts-beam-end" x="{x + _WIDE - 8}" y="{y + 16}">\u25a0</text>' if place in finished else ""
        body = (
            f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6"/>'
            f'<text class="ts-beam-token" x="{x + 8}" y="{y + 16}">{name}</text>{end}'
            f'<text x="{x + 8}" y="{y + 31}">{share}</text>'
        )
    return f'<g class="ts-beam{kind}"><title>{markup.text(told)}</title>{body}</g>'


def _legend() -> str:
    kinds = (
        ("ts-of-best", phrase("the text that won")),
        ("ts-of-greedy", phrase("greedy decoding")),
        ("ts-is-dropped", phrase("dropped")),
    )
    lines = "".join(
        f'<span><svg width="26" height="10" aria-hidden="true"><path class="ts-beam-line {name}" d="M0 5H26"/></svg> '
        f"{markup.text(words)}</span>"
        for name, words in kinds
    )
    return f'<div class="ts-legend">{lines}<span>\u25a0 {markup.text(phrase("a finished text"))}</span></div>'


def _head(step: int) -> str:
    return phrase("pass 0: prefill") if step == 0 else phrase("pass {n}", n=step)


def _left(step: int) -> int:
    return 1 + step * (_WIDE + _GAP)


def _token(record: BeamSearch, place: Place) -> Token:
    token_id = int(record.ids[place])
    return Token(id=token_id, text=record.texts[token_id], data=b"", span=(0, 0), special=False, generated=True)


def _text(record: BeamSearch, place: Place) -> str:
    return "".join(record.texts[each] for each in record.ids_of(*place))
