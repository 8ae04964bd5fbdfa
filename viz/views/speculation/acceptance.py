"""Does a draft pay? What each was worth, measured, and from which share of accepted tokens on it would be."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from model.records.speculation import Attempt, Speculation
from viz import theme
from viz.measured import Spread, bars, number, table
from viz.theme import Mode
from viz.view import Html, Selection, view

_LOOKS = {
    "prompt lookup": ("query", "circle"),
    "early exit": ("key", "square"),
    "own draft": ("value", "diamond"),
    "draft model": ("doubt", "triangle-up"),
}
_POINTS = 101  # of a line
_HALVINGS = 40
_EVEN = 0.9  # of a plain pass: a pass over more tokens that took less was not timed well
_SIDES = (-3, 103)  # per cent: a mark at 0 or 100 is drawn whole


@view("Did it pay?", of=Speculation, follows="nothing", needs="attempts")
def acceptance(record: Speculation, _at: Selection, _mode: Mode = "light") -> Html:
    """Accepted: how many of the guesses that the model judged were right. Tokens a pass: how many the text grew by for
    each pass of the model; plain decoding has 1. Tokens a second: medians of runs without recording, and of those of
    plain decoding that took turns with them; speed is the one over the other. Above \u00d71 the draft pays, below it
    costs. With temperature 0 it must write the tokens that plain decoding writes; else tokens are drawn, equally
    likely in both, but not the same ones.
    """
    head = ("draft", "accepted", "tokens a pass", "tokens/s", "plain tokens/s", "speed")
    rows = [
        (
            each.name,
            _accepted(each),
            number(each.tokens_per_pass),
            _rate(each.speculated_tokens, each.speculated_s),
            _rate(each.plain_tokens, each.plain_s),
            _speed(each),
        )
        for each in record.attempts
    ]
    return table(head, rows, below=[_below(record, each) for each in record.attempts])


@view("From where on it pays", of=Speculation, follows="nothing", needs=("attempts", "verify_s"))
def break_even(record: Speculation, _at: Selection, mode: Mode = "light") -> go.Figure:
    """Dashed: how fast each draft would be if this share of its guesses were accepted, reckoned from times measured
    here: one guess, one plain pass, and one pass that judges a whole round. Filled marks: the drafts as they were
    measured, with their slowest and fastest turn. On the line at 1 the draft costs as much as it saves (break-even);
    an open mark shows where a dashed line crosses it. The reckoning takes every round to be full, each guess to be
    right with the same chance, and leaves out what else a round costs: a measured mark below its line shows that.

    Source: Leviathan et al. 2023, theorem 3.8, with the judging pass as long as it was measured.
    """
    ground = theme.GROUND[mode]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 480})
    figure.add_scatter(
        x=list(_SIDES),
        y=[1, 1],
        mode="lines",
        line={"color": ground["ink"], "width": 2},
        name="as fast as plain decoding",
        hoverinfo="skip",
    )
    highest = 1.2
    for i, each in enumerate(record.attempts):
        role, symbol = _LOOKS[each.mode]
        fill, name = theme.ROLES[role][mode].fill, each.mode
        cost, spread = _cost(record, each), _turns(each)
        if cost is not None:
            shares = np.linspace(0, 1, _POINTS)
            predicted = [cost.speedup(share) for share in shares.tolist()]
            highest = max(highest, *predicted)
            figure.add_scatter(
                x=(shares * 100).tolist(),
                y=predicted,
                mode="lines",
                name=f"{name}: predicted",
                legendgroup=name,
                line={"color": fill, "width": 2, "dash": "dash"},
                showlegend=spread is None,
                hovertemplate="%{x:.0f}% accepted: %{y:.2f} times as fast<extra>%{fullData.name}</extra>",
            )
            crossing = cost.break_even()
            if crossing is not None and cost.speedup(0) < 1:
                figure.add_scatter(
                    x=[crossing * 100],
                    y=[1],
                    mode="markers",
                    legendgroup=name,
                    showlegend=False,
                    name=f"{name}: break-even",
                    marker={"color": fill, "symbol": f"{symbol}-open", "size": 12, "line": {"width": 2}},
                    hovertemplate="pays from %{x:.1f}% accepted<extra>%{fullData.name}</extra>",
                )
        if spread is not None and each.acceptance is not None:
            highest = max(highest, spread.high)
            figure.add_scatter(
                x=[each.acceptance * 100],
                y=[spread.median],
                error_y=bars([spread]),
                mode="markers",
                name=name,
                legendgroup=name,
                customdata=[{"attempt": i}],
                marker={"color": fill, "symbol": symbol, "size": 14, "line": {"color": ground["ink"], "width": 1}},
                hovertemplate="%{x:.1f}% accepted: %{y:.2f} times as fast, measured<extra>%{fullData.name}</extra>",
            )
    figure.update_xaxes(title="guesses accepted, %", range=list(_SIDES))
    figure.update_yaxes(title="times as fast as plain decoding", range=[0, highest * 1.08])
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a round costs, in plain passes of the model: so many drafted tokens, and the pass that judges them."""

    n_draft: int
    draft: float  # one drafted token
    verify: float  # the pass that reads n_draft + 1 tokens

    def speedup(self, accepted: float) -> float:
        """Tokens of a round over what it costs, if each guess is right with this chance.

        A round writes 1 + a + a^2 + ... + a^k tokens, which is (1 - a^(k+1)) / (1 - a). Source: Leviathan et al. 2023,
        equation 1.
        """
        tokens = sum(accepted**i for i in range(self.n_draft + 1))
        return tokens / (self.n_draft * self.draft + self.verify)

    def break_even(self) -> float | None:
        """The least chance with which the draft pays; None if it never does."""
        if self.speedup(0) >= 1:
            return 0.0
        low, high = 0.0, 1.0
        if self.speedup(high) < 1:
            return None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.speedup(middle) >= 1 else (middle, high)
        return high


def _cost(record: Speculation, attempt: Attempt) -> Cost | None:
    """From medians of what was timed; None where that is not all there, or cannot be: see `_uneven`."""
    judging, passes = _judging(record, attempt), _passes(record)
    if judging is None or judging < _EVEN or attempt.draft_token_s is None:
        return None
    return Cost(n_draft=attempt.n_draft, draft=attempt.draft_token_s / passes[1], verify=judging)


def _passes(record: Speculation) -> dict[int, float]:
    """Seconds of a pass by the tokens that it reads, medians of the tries; empty while they are not timed."""
    if not record.verify_s.size:
        return {}
    return dict(zip(record.verify_sizes.tolist(), np.median(record.verify_s, axis=1).tolist(), strict=True))


def _judging(record: Speculation, attempt: Attempt) -> float | None:
    """A pass that judges a whole round, in plain passes."""
    passes = _passes(record)
    plain, judging = passes.get(1), passes.get(attempt.n_draft + 1)
    return None if plain is None or judging is None else judging / plain


def _uneven(record: Speculation, attempt: Attempt) -> str:
    """A pass over more tokens cannot take much less time than one over a single token."""
    judging = _judging(record, attempt)
    if judging is None or judging >= _EVEN:
        return ""
    return (
        f"A pass that judges {attempt.n_draft} came out at {number(judging)} of a plain pass, which cannot be: the "
        "machine was too busy to reckon from where on it would pay."
    )


def _turns(attempt: Attempt) -> Spread | None:
    """How many times as fast as plain decoding: by the medians, and in the slowest and the fastest turn."""
    median = attempt.speedup
    if median is None:
        return None
    return Spread(median=median, low=min(median, *attempt.turns), high=max(median, *attempt.turns))


def _accepted(attempt: Attempt) -> str:
    return "nothing judged" if attempt.acceptance is None else theme.percent(attempt.acceptance)


def _speed(attempt: Attempt) -> str:
    return "not timed" if attempt.speedup is None else f"\u00d7{attempt.speedup:.2f}"


def _rate(tokens: int, seconds: tuple[float, ...]) -> str:
    """Tokens a second of the run of median length."""
    return number(tokens / float(np.median(seconds))) if seconds else "not timed"


def _below(record: Speculation, attempt: Attempt) -> str:
    """The spread, whether the tokens are the same, what was noted, and from where on it would pay."""
    same = {
        None: "",
        True: "It wrote the same tokens as plain decoding.",
        False: "It did NOT write the tokens of plain decoding.",
    }[attempt.same_tokens]
    spread, cost = _turns(attempt), _cost(record, attempt)
    turns = "" if spread is None else f"Slowest turn \u00d7{spread.low:.2f}, fastest \u00d7{spread.high:.2f}."
    pays = _uneven(record, attempt) if cost is None else _pays_from(cost, _passes(record)[1])
    return " ".join(filter(None, (turns, same, *attempt.notes, pays)))


def _pays_from(cost: Cost, plain_s: float) -> str:
    took = (
        f"One drafted token takes {theme.percent(cost.draft)} of the time of a plain pass ({theme.duration(plain_s)}), "
        f"judging {cost.n_draft} takes {number(cost.verify)} times as long as one"
    )
    crossing = cost.break_even()
    if crossing is None:
        return f"{took}: reckoned from that, it would not pay even if every guess were right."
    if cost.speedup(0) >= 1:
        return f"{took}: reckoned from that, it pays whatever is accepted."
    share = theme.percent(crossing)
    return f"{took}: reckoned from that alone, it would pay from {share} accepted on, if every round were full."
