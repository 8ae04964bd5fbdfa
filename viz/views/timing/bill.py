"""What a model takes in memory: its weights, the KV cache of its users, and the numbers on the way."""

from dataclasses import dataclass

import plotly.graph_objects as go

from model.records.timing import Measurement, kv_bytes
from model.records.trace import ModelCard
from model.texts import counted, phrase
from viz import markup, theme
from viz.measured import table
from viz.theme import Mode
from viz.view import Html, Selection, view

_BITS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16}
_LEAST_WORKING_BITS = 16  # numbers on the way are not kept in fewer, however few the stored ones have
_EACH_USER = 24  # as many as can be told apart side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Bytes. Weights and cache are exact for the model's own precision; activations are an estimate."""

    weights: int
    kv_cache: int  # of all users
    activations: int
    bits: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.kv_cache + self.activations


def bill(card: ModelCard, context: int, users: int, bits: int | None = None, *, windows: tuple[int, ...] = ()) -> Bill:
    """The memory of a model that holds `users` texts of `context` tokens, with `bits` for each number (None: its own).

    Weights: as loaded, scaled to these bits; scales of a quantised format come on top. KV cache: `kv_bytes`, with the
    `windows` of a Measurement. Activations are an estimate: what the prefill of all users' whole context at once
    holds at its widest place, inside one layer's MLP (the residual stream, what will be added to it, and two vectors
    as wide as the MLP, for each token), and the logits of each text's last token; at 16 bits or more.
    """
    own = _BITS.get(card.dtype, 32)
    bits = bits or own
    working = max(bits, _LEAST_WORKING_BITS)
    numbers = users * (context * 2 * (card.d_model + card.d_mlp) + card.d_vocab)
    return Bill(
        weights=card.weights_bytes * bits // own,
        kv_cache=kv_bytes(card, context, batch=users, bytes_per_number=bits / 8, windows=windows),
        activations=numbers * working // 8,
        bits=bits,
    )


@view("Memory, to scale", of=Measurement, follows="load")
def memory_bill(record: Measurement, at: Selection, mode: Mode = "light") -> go.Figure:
    """The weights are needed once; the KV cache once for each user's tokens.

    Weights and cache are exact, from the model's own shapes; the activations are an estimate, drawn with a dashed
    outline.
    """
    owed = bill(record.model, at.context, at.users, at.bits, windows=record.windows)
    unit, word = next(
        (each for each in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if owed.total >= 2 * each[0]), (1.0, phrase("bytes"))
    )
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 260, "barmode": "stack"})
    card = theme.GROUND[mode]["card"]
    pieces = at.users if at.users <= _EACH_USER else 1
    for name, n_bytes, role, shape, count in (
        (phrase("weights"), owed.weights, "weight", "", 1),
        (phrase("KV cache"), owed.kv_cache, "value", "x", pieces),
    ):
        for i in range(count):
            figure.add_bar(
                orientation="h",
                x=[n_bytes / count / unit],
                y=[phrase("memory")],
                legendgroup=name,
                showlegend=i == 0,
                name=f"{name} {theme.size(n_bytes)}",
                width=0.7,
                marker={
                    "color": theme.ROLES[role][mode].fill,
                    "line": {"color": card, "width": 1},
                    "pattern": {"shape": shape, "fgcolor": card, "fillmode": "overlay", "solidity": 0.2},
                },
                hovertemplate=_said(name, n_bytes, count, i),
            )
    figure.add_bar(
        orientation="h",
        x=[owed.activations / unit],
        y=[phrase("memory")],
        name=phrase("activations, about {size}", size=theme.size(owed.activations)),
        width=0.7,
        marker={
            "color": card,
            "pattern": {
                "shape": ".",
                "fgcolor": theme.ROLES["doubt"][mode].text,
                "fillmode": "overlay",
                "solidity": 0.2,
            },
        },
        hovertemplate=phrase("activations: about {size} (estimated)", size=theme.size(owed.activations))
        + "<extra></extra>",
    )
    left = (owed.weights + owed.kv_cache) / unit
    figure.add_shape(
        type="rect",
        x0=left,
        x1=owed.total / unit,
        y0=-0.35,
        y1=0.35,
        line={"color": theme.ROLES["doubt"][mode].text, "width": 2, "dash": "dash"},
    )
    figure.update_xaxes(
        title=phrase("{unit}; {size} in total", unit=word, size=theme.size(owed.total)),
        rangemode="tozero",
        showgrid=True,
    )
    figure.update_yaxes(showticklabels=False, ticks="")
    return figure


@view("Memory, in numbers", of=Measurement, follows="load", folded=True)
def bill_table(record: Measurement, at: Selection, _mode: Mode = "light") -> Html:
    """The same bytes as numbers.

    The estimate of the activations is for the prefill of all users' full context at once, at its widest place, the
    MLP of one layer; no layer keeps its activations for the next.
    """
    owed = bill(record.model, at.context, at.users, at.bits, windows=record.windows)
    first = phrase(
        "{model}: {context:,} tokens of context, {users}, {bits} bits a number.",
        model=record.model.name,
        context=at.context,
        users=counted(at.users, "1 user", "{n:,} users"),
        bits=owed.bits,
    )
    if at.context > record.model.n_ctx:
        longer = phrase("The model was trained for at most {n:,} tokens.", n=record.model.n_ctx)
        first = f"{first} {longer}"
    rows = (
        (phrase("weights"), theme.size(owed.weights), owed.weights),
        (phrase("KV cache"), theme.size(owed.kv_cache), owed.kv_cache),
        (phrase("activations"), phrase("about {size}", size=theme.size(owed.activations)), owed.activations),
        (phrase("total"), phrase("about {size}", size=theme.size(owed.total)), owed.total),
    )
    return Html(
        f'<p class="ts-sentence">{markup.text(first)}</p>'
        + table(
            ("", phrase("bytes"), phrase("share")),
            [(name, size, theme.percent(n_bytes / owed.total)) for name, size, n_bytes in rows],
        )
    )


def _said(name: str, n_bytes: int, count: int, i: int) -> str:
    size = theme.size(n_bytes / count)
    if count == 1:
        return f"{name}: {size}<extra></extra>"
    return (
        phrase("{name} of user {user} of 0\u2013{last}: {size}", name=name, user=i, last=count - 1, size=size)
        + "<extra></extra>"
    )
