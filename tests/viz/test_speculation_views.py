"""Every guess is drawn with its numbers and its verdict; what a draft must do to pay is reckoned as by hand."""

import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import numpy as np
import pytest

from model.errors import NotShown
from model.records.speculation import Attempt, Drafted, Round, Speculation
from model.records.trace import Candidate, Settings, Token
from tests.fakes_measured import fake_card
from tests.viz.framed import HOSTILE
from viz import markup, theme
from viz.view import Selection, View, as_json
from viz.views import all_views
from viz.views.speculation.acceptance import Cost, acceptance, break_even
from viz.views.speculation.glance import drafting_glance
from viz.views.speculation.rounds import rounds, verification

MODES: list[theme.Mode] = ["light", "dark"]
VIEWS = all_views(Speculation)
N_DRAFT = 3
TEXTS = {i: f" word{i}" for i in range(60)}


def guess(number: int, *, accepted: bool, p: float, q: float | None = 0.5, random: float | None = 0.25) -> Drafted:
    best = (Candidate(id=number, score=1.0, probability=0.4), Candidate(id=40, score=0.5, probability=0.2))
    return Drafted(
        id=number, q=q, p=p, random=random, accepted=accepted, draft_best=best if q else (), target_best=best
    )


def one_round(first: int, guesses: tuple[Drafted, ...], own: Any, number: int = 30) -> Round:
    right = tuple(each.id for each in guesses if each.accepted)
    return Round(
        first=first,
        drafted=guesses,
        n_accepted=len(right),
        written=right if own == "none" else (*right, number),
        own=own,
        own_best=(Candidate(id=number, score=1.0, probability=0.55),) if own != "none" else (),
        n_read=len(guesses) + 1,
        draft_s=0.01,
        verify_s=0.05,
    )


DRAWN = (
    one_round(
        2,
        (
            guess(1, accepted=True, p=0.7),
            guess(2, accepted=False, p=0.1, random=0.61),
            guess(3, accepted=False, p=0.3, random=None),
        ),
        "corrected",
    ),
    one_round(4, (guess(4, accepted=True, p=0.41, q=0.82, random=0.13),), "bonus", 31),
    one_round(6, (), "bonus", 32),
    one_round(7, (guess(5, accepted=True, p=0.9), guess(6, accepted=False, p=0.9)), "none"),
)
GREEDY = tuple(replace(one, drafted=tuple(replace(each, random=None) for each in one.drafted)) for one in DRAWN)
COPIED = tuple(
    replace(one, drafted=tuple(replace(each, q=None, random=None, draft_best=()) for each in one.drafted))
    for one in DRAWN
)


def attempt(mode: Any, played: tuple[Round, ...], **other: Any) -> Attempt:
    written = [each for one in played for each in one.written]
    parts: dict[str, Any] = {
        "n_draft": N_DRAFT,
        "same_tokens": True,
        "plain_s": (1.0, 1.2, 1.4),
        "speculated_s": (0.5, 0.6, 1.4),
        "plain_tokens": 12,
        "speculated_tokens": 12,
        "draft_token_s": 0.005,
        "notes": (f"A note of {mode}.",),
    }
    return Attempt(mode=mode, name=f"the {mode}", rounds=played, tokens=text(written), **parts | other)


def text(written: list[int]) -> tuple[Token, ...]:
    return tuple(
        Token(id=number, text=TEXTS[number], data=b"", span=(i, i + 1), special=False, generated=i > 1)
        for i, number in enumerate((50, 51, *written))
    )


def speculation(*attempts: Attempt, temperature: float = 1.0, sizes: int = N_DRAFT + 1) -> Speculation:
    seconds = np.array([[0.05, 0.04, 0.06], [0.05, 0.06, 0.07], [0.06, 0.07, 0.08], [0.07, 0.075, 0.2]])
    return Speculation(
        model=fake_card(),
        machine="A made-up processor",
        prompt=" word50 word51",
        settings=Settings(max_new_tokens=12, temperature=temperature),
        n_prompt=2,
        tokens=text([1, 2]),
        texts=TEXTS,
        attempts=attempts,
        verify_sizes=np.arange(1, sizes + 1, dtype=np.int32),
        verify_s=seconds[:sizes],
    )


RECORD = speculation(attempt("own draft", DRAWN), attempt("prompt lookup", COPIED, draft_token_s=0.0001))


def words(html: object) -> str:
    return unescape(re.sub(r"<[^>]*>", "", str(html)))


def cards(record: Speculation, place: int, of: int = 0) -> list[str]:
    """The words of each card of a round."""
    html = str(verification.draw(record, Selection(attempt=of, round=place)))
    return [words(each) for each in html.split('<div class="ts-verification ')[1:]]


def traces(record: Speculation) -> dict[str, Any]:
    figure: Any = break_even.draw(record, Selection())
    return {each.name: each for each in figure.data}


def test_the_views_stand_in_the_order_in_which_they_teach():
    assert [each.name for each in VIEWS] == ["drafting_glance", "rounds", "verification", "acceptance", "break_even"]
    assert [each.follows for each in VIEWS] == ["nothing", "attempt", "round", "nothing", "nothing"]
    assert [each.name for each in VIEWS if each.glance] == ["drafting_glance"]


def glance(*attempts: Attempt) -> tuple[list[str], str]:
    """The large numbers, and all words."""
    html = str(drafting_glance.draw(speculation(*attempts), Selection()))
    return re.findall("<strong>(.*?)</strong>", html), words(html)


def test_a_large_number_for_each_draft_and_a_conclusion_stand_first():
    fast = attempt("prompt lookup", GREEDY, speculated_s=(0.5, 0.6, 0.7))  # plain: 1.0, 1.2, 1.4
    slow = attempt("early exit", GREEDY, speculated_s=(2.0, 2.4, 2.8))
    large, said = glance(slow, fast)
    assert large == ["\u00d70.500", "\u00d72.00"]
    n_written = sum(len(each.written) for each in GREEDY)
    assert f"{n_written / len(GREEDY):.2f} tokens a pass" in said and theme.percent(fast.acceptance or 0) in said
    assert "Yes: with the prompt lookup, 2.00 times as fast as plain decoding. The text is the same." in said
    assert "No: with the early exit, 0.500 times the speed" in glance(slow)[1]
    assert "No: even the fastest, the early exit, has 0.500 times" in glance(slow, replace(slow, name="other"))[1]
    mixed = replace(fast, speculated_s=(0.5, 0.6, 1.5))
    assert "Not clear: the prompt lookup was faster than plain decoding in some runs" in glance(mixed)[1]
    assert "the early exit wrote another text." in glance(fast, replace(slow, same_tokens=False))[1]
    assert "Tokens are sampled" in glance(replace(fast, same_tokens=None))[1]


def test_a_draft_that_is_not_timed_yet_has_no_speed_and_no_conclusion():
    untimed = attempt("own draft", DRAWN, plain_s=(), speculated_s=())
    html = str(drafting_glance.draw(speculation(untimed), Selection()))
    assert "<strong>\u2013</strong>" in html and html.count("ts-late") == 1 and "ts-glance-answer" not in html


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shown", VIEWS, ids=[each.name for each in VIEWS])
def test_a_record_that_still_grows_draws_or_says_why(shown: View, mode: theme.Mode):
    untimed = attempt("own draft", DRAWN, plain_s=(), speculated_s=(), draft_token_s=None, notes=())
    for record in (RECORD, speculation(sizes=0), speculation(untimed, sizes=0), speculation(untimed)):
        told = json.loads(as_json(shown, record, Selection(), mode))
        assert [told[part] is not None for part in ("figure", "html", "missing")].count(True) == 1
        assert "NaN" not in json.dumps(told["figure"]) and told["lead"]


def test_every_guess_stands_in_its_round_and_only_the_text_is_not_struck_through():
    for at, one in enumerate(RECORD.attempts):
        html = str(rounds.draw(RECORD, Selection(attempt=at)))
        boxes = html.split('data-pick="round=')[1:]
        assert len(boxes) == len(one.rounds)
        for i, (box, played) in enumerate(zip(boxes, one.rounds, strict=True)):
            assert box.startswith(f'{i}" data-round="{i}"')
            chips = re.findall(r'ts-guess ts-(\w+)".*?word(\d+)</bdi>', box)
            assert [int(number) for _, number in chips[: len(played.drafted)]] == [each.id for each in played.drafted]
            kept = [int(number) for name, number in chips if name in ("accepted", "corrected", "bonus", "alone")]
            assert kept == list(played.written)
        assert one.name in words(html) and "word50 word51" in words(html)


def test_a_verification_has_both_probabilities_the_number_and_the_verdict_of_every_guess():
    for at, one in enumerate(RECORD.attempts):
        for place, played in enumerate(one.rounds):
            told = cards(RECORD, place, at)
            assert len(told) == len(played.drafted) + (played.own != "none")
            for card, each in zip(told, played.drafted, strict=False):
                assert f"word{each.id}" in card and theme.percent(each.p) in card
                assert each.q is None or theme.percent(each.q) in card
                verified = each.accepted or ("rejected" in card)
                assert each.random is None or not verified or f"{each.random:.3g}" in card


def test_the_verdict_is_said_in_words_and_numbers():
    accepted, refused, after, own = cards(RECORD, 0)
    assert "Accepted: the random number 0.250 is at most p / q = 0.700 / 0.500 = 1.40." in accepted
    assert "Since p / q is at least 1, such a token is always accepted" in accepted and "\u2713 accepted" in accepted
    assert "Rejected: the random number 0.610 is more than p / q = 0.100 / 0.500 = 0.200." in refused
    assert "\u2717 rejected" in refused and "always accepted" not in refused
    assert "not verified" in after and "random" not in after
    assert "sampled from max(p \u2212 q, 0), scaled to sum to 1" in own and "55.0%" in own and "\u25c6 corrected" in own
    bonus = cards(RECORD, 1)[-1]
    assert "sampled from p." in bonus and "max(" not in bonus and "\u2605 bonus" in bonus
    assert "no draft" in cards(RECORD, 2)[-1] and "bonus" not in cards(RECORD, 2)[-1]
    assert "the text had ended" in cards(RECORD, 3)[-1]


def test_with_temperature_0_a_guess_passes_if_it_is_the_likeliest():
    record = speculation(attempt("own draft", GREEDY), temperature=0.0)
    accepted, refused, _, own = cards(record, 0)
    assert "Accepted: it is the model's most likely token." in accepted
    assert "Rejected: another token is the model's most likely." in refused
    assert "the most likely token by p" in own and "max(" not in own
    assert "random" not in "".join(cards(record, 0))


def test_a_copied_guess_passes_if_the_model_drew_it():
    accepted, refused, _, own = cards(RECORD, 0, 1)
    assert "The draft copies, so q = 1." in accepted
    assert "the model sampled the same token from p. The probability of that was p / q = 0.700 / 1." in accepted
    assert "Rejected: the model sampled another token from p. The same had p / q = 0.100 / 1." in refused
    assert "sampled from p." in own and "max(" not in own
    greedy = cards(speculation(attempt("prompt lookup", COPIED), temperature=0.0), 0)[0]
    assert "has no probabilities" in greedy and "q = 1" not in greedy and "probability" not in greedy
    assert "has q = 1, so its token is accepted with probability p" in verification.caption


def test_two_numbers_that_read_alike_get_more_digits():
    close = guess(1, accepted=False, p=0.35001, q=0.5, random=0.70004)
    record = speculation(attempt("own draft", (one_round(2, (close,), "corrected"),)))
    assert "number 0.70004 is more than p / q = 0.350 / 0.500 = 0.70002" in cards(record, 0)[0]


def test_tokens_are_text_whatever_is_in_them():
    for hostile in HOSTILE:
        record = replace(
            RECORD,
            texts=dict.fromkeys(TEXTS, hostile),
            tokens=hostile_tokens(RECORD.tokens, hostile),
            attempts=tuple(
                replace(each, name=hostile, notes=(hostile,), tokens=hostile_tokens(each.tokens, hostile))
                for each in RECORD.attempts
            ),
        )
        for shown in VIEWS:
            drawn = shown.draw(record, Selection())
            held = drawn if isinstance(drawn, str) else json.dumps(json.loads(str(drawn.to_json())))
            assert (
                "own draft" in held or "word" in held or markup.text(hostile)[:20] in held
            )  # there is something to read
            assert "<script" not in held and "</script" not in held and "\x00" not in held
            if shown is acceptance:
                assert held.count(markup.text(hostile)) >= 2 * len(record.attempts)  # names and notes
            if shown in (rounds, verification):
                whole = Token(id=0, text=hostile, data=b"", span=(0, 0), special=False, generated=True)
                assert markup.text(markup.short(whole)) in held


def hostile_tokens(tokens: tuple[Token, ...], hostile: str) -> tuple[Token, ...]:
    return tuple(replace(each, text=hostile) for each in tokens)


def test_the_page_keeps_every_element_and_its_style_every_length():
    kept = (markup.ASSETS / "js" / "core" / "tables.js").read_text(encoding="utf-8")
    allowed, attributes, *_ = (
        set(re.findall(r'"([\w-]+)"', line))
        for line in kept.splitlines()
        if "[" in line[:40] and line.startswith("const")
    )
    style = (markup.ASSETS / "css" / "views" / "rounds.css").read_text(encoding="utf-8")
    assert all(f".ts-share-{i} {{ width: {5 * i}% }}" in style for i in range(21))
    for shown in (rounds, verification, acceptance):
        for place in range(len(DRAWN)):
            html = str(shown.draw(RECORD, Selection(round=place)))
            assert {each.upper() for each in re.findall(r"<(\w+)", html)} <= allowed
            assert set(re.findall(r' ([\w-]+)="', html)) <= attributes
    classes = set(re.findall(r"ts-[\w-]+", str(rounds.draw(RECORD, Selection())))) - {"ts-legend", "ts-subtitle"}
    assert all(f".{each}" in style for each in classes - {"ts-sign", "ts-token-text"})


@pytest.mark.parametrize("mode", MODES)
def test_words_stand_apart_from_every_ground_they_stand_on(mode: theme.Mode):
    for role in ("value", "key", "query", "generated", "prompt"):
        assert theme.contrast(theme.ROLES[role][mode].text, theme.GROUND[mode]["card"]) >= 4.5
    for ground in ("card", "sunk"):
        assert theme.contrast(theme.GROUND[mode]["muted"], theme.GROUND[mode][ground]) >= 4.5


def test_text_is_at_least_14_pixels():
    style = (markup.ASSETS / "css" / "views" / "rounds.css").read_text(encoding="utf-8")
    assert min(map(int, re.findall(r"font-size: (\d+)px", style))) >= 14
    figure = json.loads(as_json(break_even, RECORD, Selection(), "light"))["figure"]
    assert all(int(size) >= 14 for size in re.findall(r'"font": {"size": (\d+)', json.dumps(figure)))


def test_what_a_round_costs_and_gives_at_both_ends():
    cost = Cost(n_draft=3, draft=0.1, verify=1.5)
    assert cost.speedup(0) == pytest.approx(1 / 1.8)  # nothing is right: one token for the whole cost
    assert cost.speedup(1) == pytest.approx(4 / 1.8)  # all are: three guesses and the bonus
    assert cost.speedup(0.5) == pytest.approx(1.875 / 1.8)  # (1 - 1/16) / (1 - 1/2)
    crossing = cost.break_even()
    assert crossing is not None and cost.speedup(crossing) == pytest.approx(1)
    assert Cost(n_draft=1, draft=0.5, verify=1.0).break_even() == pytest.approx(0.5)  # 1 + a = 1.5
    assert Cost(n_draft=3, draft=1.0, verify=1.5).break_even() is None  # 4 tokens for 4.5 passes
    assert Cost(n_draft=3, draft=0.0, verify=0.9).break_even() == 0


def test_the_chart_holds_what_was_reckoned_dashed_and_what_was_measured_as_marks():
    drawn = traces(RECORD)
    for one, draft_s in zip(RECORD.attempts, (0.005, 0.0001), strict=True):
        line, point = drawn[f"{one.mode}: predicted"], drawn[one.mode]
        cost = 3 * draft_s / 0.05 + 0.075 / 0.05  # medians of the passes of 1 and of 4 tokens
        assert line.line.dash == "dash"
        assert (line.x[0], line.x[-1]) == (0, 100)
        assert (line.y[0], line.y[-1]) == (pytest.approx(1 / cost), pytest.approx(4 / cost))
        assert list(point.x) == [pytest.approx(100 * 3 / 4)]  # accepted three, refused one
        assert list(point.y) == [pytest.approx(1.2 / 0.6)]
        assert point.y[0] + point.error_y.array[0] == pytest.approx(2)
        assert point.y[0] - point.error_y.arrayminus[0] == pytest.approx(1)
        crossing = drawn[f"{one.mode}: break-even"]
        assert list(crossing.y) == [1]
        assert sum((crossing.x[0] / 100) ** i for i in range(4)) == pytest.approx(cost)
    assert list(drawn["as fast as plain decoding"].y) == [1, 1]
    assert len({each.marker.symbol for each in (drawn[one.mode] for one in RECORD.attempts)}) == len(RECORD.attempts)


def test_the_table_says_what_each_draft_was_worth_and_from_where_on_it_pays():
    told = words(acceptance.draw(RECORD, Selection()))
    assert "75.0%" in told and "\u00d72.00" in told and "Slowest turn \u00d71.00, fastest \u00d72.00." in told
    assert "A note of own draft." in told and "A note of prompt lookup." in told
    own = Cost(n_draft=3, draft=0.1, verify=1.5).break_even()
    assert (
        own is not None
        and f"it would pay from an acceptance rate of {theme.percent(own)}, if every round were full" in told
    )
    assert "Same tokens as plain decoding." in told
    dear = speculation(attempt("early exit", DRAWN, draft_token_s=0.05, same_tokens=False, speculated_s=(), plain_s=()))
    told = words(acceptance.draw(dear, Selection()))
    assert "would not pay even if every drafted token were accepted" in told and "not timed" in told
    assert "The tokens differ from those of plain decoding." in told
    silent = speculation(attempt("prompt lookup", DRAWN[2:3], same_tokens=None))
    assert "nothing verified" in words(acceptance.draw(silent, Selection()))
    assert "prompt lookup" not in traces(silent)  # no place for its mark


def test_nothing_is_reckoned_from_a_pass_over_more_tokens_that_came_out_shorter():
    seconds = RECORD.verify_s.copy()
    seconds[-1] = seconds[0] * 0.3  # as a busy machine once told
    busy = replace(RECORD, verify_s=seconds)
    told = words(acceptance.draw(busy, Selection()))
    assert (
        "A pass that verifies 3 tokens was measured at 0.300 of a plain pass, which is impossible" in told
        and "pays from" not in told
    )
    assert not any("predicted" in name for name in traces(busy))


def test_an_attempt_or_a_round_that_is_not_there_is_refused_kindly():
    for shown, at in (
        (rounds, Selection(attempt=2)),
        (verification, Selection(attempt=9)),
        (verification, Selection(round=4)),
    ):
        with pytest.raises(NotShown, match="has no"):
            shown.draw(RECORD, at)


def test_why_nothing_was_guessed_is_said():
    silent = one_round(2, (), "bonus", 30)
    for mode, played, place, why in (
        ("own draft", (silent, silent), 0, "there is none yet"),
        ("own draft", (silent, silent), 1, "only one token was left to write"),
        ("prompt lookup", (silent, silent), 0, "the last tokens do not occur earlier"),
        ("prompt lookup", (silent,), 0, "nothing to copy, or only one token was left"),
    ):
        assert why in str(verification.draw(speculation(attempt(mode, played)), Selection(round=place)))
