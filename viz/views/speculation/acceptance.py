"""Does speculation pay? The measured speedup of each draft, and the acceptance rate at which it breaks even."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from model.records.speculation import Attempt, Speculation
from model.texts import phrase
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
_LABELS = {
    "prompt lookup": phrase("prompt lookup"),
    "early exit": phrase("early exit"),
    "own draft": phrase("own draft"),
    "draft model": phrase("draft model"),
}
_POINTS = 101  # of a line
_HALVINGS = 40
_NAME = "<extra>%{fullData.name}</extra>"  # of the trace, beside what is pointed at
_EVEN = 0.9  # of a plain pass: a pass over more tokens that took less was not timed well
_SIDES = (-3, 103)  # per cent: a mark at 0 or 100 is drawn whole


@view("Did it pay?", of=Speculation, follows="nothing", needs="attempts")
def acceptance(record: Speculation, _at: Selection, _mode: Mode = "light") -> Html:
    """How many drafted tokens were accepted, and whether that was faster.

    Accepted: the share of the verified draft tokens that the model accepted. Tokens a pass: new tokens for each pass
    of the model; plain decoding has 1. Tokens a second: medians of runs without recording, in turns with plain
    decoding; the speedup is the ratio of the two. Above \u00d71 the draft pays, below \u00d71 it costs. At
    temperature 0 the tokens must equal those of plain decoding; above 0 they are sampled from the same distribution,
    so they differ.
    """
    head = (
        phrase("draft"),
        phrase("accepted"),
        phrase("tokens a pass"),
        phrase("tokens/s"),
        phrase("plain tokens/s"),
        phrase("speedup"),
    )
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


@view("Where it breaks even", of=Speculation, follows="nothing", needs=("attempts", "verify_s"))
def break_even(record: Speculation, _at: Selection, mode: Mode = "light") -> go.Figure:
    """Measured speedups (marks) beside the speedup that each acceptance rate would give (dashed).

    The prediction is made from times measured here: one drafted token, one plain pass, and one pass that verifies a
    whole round. Thin lines reach from the slowest turn to the fastest. At 1 the draft costs as much as it saves
    (break-even); an open mark shows where a dashed line crosses it. The prediction assumes that every round is full
    and that each drafted token is accepted with the same probability, and ignores all other costs of a round; a
    measured mark below its line shows those. Source: Leviathan et al. 2023, theorem 3.8, with the verification pass
    as long as it was measured.
    """
    ground = theme.GROUND[mode]
    figure = go.Figure(layout={"template": theme.plotly_template(mode), "height": 480})
    figure.add_scatter(
        x=list(_SIDES),
        y=[1, 1],
        mode="lines",
        line={"color": ground["ink"], "width": 2},
        name=phrase("as fast as plain decoding"),
        hoverinfo="skip",
    )
    highest = 1.2
    for i, each in enumerate(record.attempts):
        role, symbol = _LOOKS[each.mode]
        fill, name = theme.ROLES[role][mode].fill, _LABELS[each.mode]
        cost, spread = _cost(record, each), _turns(each)
        if cost is not None:
            shares = np.linspace(0, 1, _POINTS)
            predicted = [cost.speedup(share) for share in shares.tolist()]
            highest = max(highest, *predicted)
            figure.add_scatter(
                x=(shares * 100).tolist(),
                y=predicted,
                mode="lines",
                name=phrase("{name}: predicted", name=name),
                legendgroup=name,
                line={"color": fill, "width": 2, "dash": "dash"},
                showlegend=spread is None,
                hovertemplate=phrase("{share}% accepted: \u00d7{speedup}", share="%{x:.0f}", speedup="%{y:.2f}")
                + _NAME,
            )
            crossing = cost.break_even()
            if crossing is not None and cost.speedup(0) < 1:
                figure.add_scatter(
                    x=[crossing * 100],
                    y=[1],
                    mode="markers",
                    legendgroup=name,
                    showlegend=False,
                    name=phrase("{name}: break-even", name=name),
                    marker={"color": fill, "symbol": f"{symbol}-open", "size": 12, "line": {"width": 2}},
                    hovertemplate=phrase("pays from {share}% accepted", share="%{x:.1f}") + _NAME,
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
                hovertemplate=phrase(
                    "{share}% accepted: \u00d7{speedup}, measured", share="%{x:.1f}", speedup="%{y:.2f}"
                )
                + _NAME,
            )
    figure.update_xaxes(title=phrase("drafted tokens accepted, %"), range=list(_SIDES))
    figure.update_yaxes(title=phrase("speedup over plain decoding"), range=[0, highest * 1.08])
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a round costs, in plain passes of the model: the drafted tokens, and the pass that verifies them."""

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
        """The lowest acceptance rate at which the draft pays; None if it never does."""
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
    """From medians of the timed runs; None if some are missing, or impossible: see `_uneven`."""
    verify, passes = _verify_cost(record, attempt), _passes(record)
    if verify is None or verify < _EVEN or attempt.draft_token_s is None:
        return None
    return Cost(n_draft=attempt.n_draft, draft=attempt.draft_token_s / passes[1], verify=verify)


def _passes(record: Speculation) -> dict[int, float]:
    """Seconds of a pass by the tokens that it reads, medians of the tries; empty while they are not timed."""
    if not record.verify_s.size:
        return {}
    return dict(zip(record.verify_sizes.tolist(), np.median(record.verify_s, axis=1).tolist(), strict=True))


def _verify_cost(record: Speculation, attempt: Attempt) -> float | None:
    """The cost of a pass that verifies a full round, in plain passes."""
    passes = _passes(record)
    plain, verify = passes.get(1), passes.get(attempt.n_draft + 1)
    return None if plain is None or verify is None else verify / plain


def _uneven(record: Speculation, attempt: Attempt) -> str:
    """A pass over more tokens cannot take much less time than one over a single token."""
    verify = _verify_cost(record, attempt)
    if verify is None or verify >= _EVEN:
        return ""
    return phrase(
        "A pass that verifies {n} tokens was measured at {ratio} of a plain pass, which is impossible: the machine was "
        "too busy to predict the break-even point.",
        n=attempt.n_draft,
        ratio=number(verify),
    )


def _turns(attempt: Attempt) -> Spread | None:
    """How many times as fast as plain decoding: by the medians, and in the slowest and the fastest turn."""
    median = attempt.speedup
    if median is None:
        return None
    return Spread(median=median, low=min(median, *attempt.turns), high=max(median, *attempt.turns))


def _accepted(attempt: Attempt) -> str:
    return phrase("nothing verified") if attempt.acceptance is None else theme.percent(attempt.acceptance)


def _speed(attempt: Attempt) -> str:
    return phrase("not timed") if attempt.speedup is None else f"\u00d7{attempt.speedup:.2f}"


def _rate(tokens: int, seconds: tuple[float, ...]) -> str:
    """Tokens a second of the run of median length."""
    return number(tokens / float(np.median(seconds))) if seconds else phrase("not timed")


def _below(record: Speculation, attempt: Attempt) -> str:
    """The spread, whether the tokens are the same, what was noted, and from where on it would pay."""
    same = {
        None: "",
        True: phrase("Same tokens as plain decoding."),
        False: phrase("The tokens differ from those of plain decoding."),
    }[attempt.same_tokens]
    spread, cost = _turns(attempt), _cost(record, attempt)
    turns = (
        ""
        if spread is None
        else phrase("Slowest turn \u00d7{low:.2f}, fastest \u00d7{high:.2f}.", low=spread.low, high=spread.high)
    )
    pays = _uneven(record, attempt) if cost is None else _pays_from(cost, _passes(record)[1])
    return " ".join(filter(None, (turns, same, *attempt.notes, pays)))


def _pays_from(cost: Cost, plain_s: float) -> str:
    took = phrase(
        "One drafted token takes {share} of a plain pass ({duration}); verifying {n} takes {times} plain passes.",
        share=theme.percent(cost.draft),
        duration=theme.duration(plain_s),
        n=cost.n_draft,
        times=number(cost.verify),
    )
    crossing = cost.break_even()
    if crossing is None:
        return phrase("{took} At these times it would not pay even if every drafted token were accepted.", took=took)
    if cost.speedup(0) >= 1:
        return phrase("{took} At these times it pays at any acceptance rate.", took=took)
    share = theme.percent(crossing)
    return phrase(
        "{took} At these times it would pay from an acceptance rate of {share}, if every round were full.",
        took=took,
        share=share,
    )
