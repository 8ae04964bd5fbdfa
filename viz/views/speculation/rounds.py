"""Speculation round by round: what was drafted, how the model judged it, and where its own token came from."""

from dataclasses import dataclass
from typing import Literal

from model.errors import NotShown
from model.records.speculation import Attempt, Drafted, Round, Speculation
from model.records.trace import Candidate, Token
from viz import markup, theme
from viz.measured import number, scientific
from viz.theme import Mode
from viz.view import Html, Selection, view

Verdict = Literal["accepted", "refused", "unjudged", "unneeded", "corrected", "bonus", "alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """How a verdict is marked, in shape and in word; its colour is its CSS class's."""

    sign: str
    word: str


_MARKS: dict[Verdict, _Mark] = {
    "accepted": _Mark(sign="\u2713", word="accepted"),
    "refused": _Mark(sign="\u2717", word="refused"),
    "unjudged": _Mark(sign="\u2013", word="not judged"),
    "unneeded": _Mark(sign="\u2013", word="not needed"),
    "corrected": _Mark(sign="\u25c6", word="corrected"),
    "bonus": _Mark(sign="\u2605", word="bonus"),
    "alone": _Mark(sign="\u25cb", word="without a guess"),
}
_EXPLAINED: tuple[tuple[Verdict, str], ...] = (
    ("accepted", "accepted, and written"),
    ("refused", "refused"),
    ("corrected", "the model's own token in its place"),
    ("unjudged", "drafted after a refused one: not judged"),
    ("bonus", "all accepted: one more of the model's own"),
    ("alone", "nothing was guessed: the model's own"),
)
_INSTEAD = {"corrected": ", in place of the refused one", "bonus": ", after all that were accepted", "alone": ""}
_PROMPT = 240  # characters of the prompt's end
_LIKELIEST = 3  # tokens of a distribution
_STEPS = 20  # lengths of a bar


@view("The text, round by round", of=Speculation, follows="attempt", needs="attempts")
def rounds(record: Speculation, at: Selection, _mode: Mode = "light") -> Html:
    """Each box is a round: a draft guessed a few tokens, and the model judged all of them in one pass, where plain
    decoding needs a pass for each token. What is struck through was guessed and not kept; all the rest is the text.
    The first wrong guess ends a round, and the model's own token takes its place; where every guess was right, the
    pass gives one more token as a bonus. Press a box to see how it was judged.
    """
    attempt, tokens = _attempt(record, at), _tokens(record)
    legend = "".join(f"<span>{_sign(verdict)} {markup.text(words)}</span>" for verdict, words in _EXPLAINED)
    boxes = "".join(_box(one, i, tokens) for i, one in enumerate(attempt.rounds))
    return Html(
        f'<div class="ts-legend">{legend}</div><h3 class="ts-subtitle">{markup.text(_summary(attempt))}</h3>'
        f'<div class="ts-rounds"><span class="ts-rounds-prompt"><bdi>{markup.text(_end_of_prompt(record))}</bdi></span>'
        f"{boxes}</div>"
    )


@view("One round, judged", of=Speculation, follows="round", needs="attempts")
def judged_round(record: Speculation, at: Selection, _mode: Mode = "light") -> Html:
    """How likely the draft held its token is q, how likely the model holds it p. With temperature 0 a token passes
    if it is the model's likeliest, and nothing is drawn. Else the draft's token passes if a number drawn evenly
    between 0 and 1 is at most p / q: always where the model holds it as likely or more, else with the chance p / q.
    After the first refusal the model draws a token from what it holds more likely than the draft did, max(p \u2212 q,
    0), scaled to sum to 1. So the text follows p, as if there were no draft. A draft that copies holds its token for
    certain: q is 1, and it passes with the chance p. So the model just draws a token from p, which is the copied one
    or is written in its place.

    Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding".
    """
    attempt, tokens = _attempt(record, at), _tokens(record)
    if at.round >= len(attempt.rounds):
        raise NotShown(
            "{attempt} has no round {round}; it has {n_rounds}.",
            attempt=attempt.name,
            n_rounds=len(attempt.rounds),
            round=at.round + 1,
        )
    one, greedy = attempt.rounds[at.round], record.settings.greedy
    cards = "".join(
        _judged(each, verdict, place, one, tokens, greedy=greedy)
        for place, (each, verdict) in enumerate(zip(one.drafted, _verdicts(one), strict=True))
    )
    return Html(
        f'<p class="ts-told">{markup.text(_told(attempt, at.round))}</p>'
        f'<div class="ts-judged-list">{cards}{_own(one, tokens, greedy=greedy)}</div>'
    )


def _attempt(record: Speculation, at: Selection) -> Attempt:
    if at.attempt >= len(record.attempts):
        raise NotShown(
            "this record has no draft {number}; it has {n}.",
            n=len(record.attempts),
            number=at.attempt + 1,
        )
    return record.attempts[at.attempt]


def _verdicts(one: Round) -> list[Verdict]:
    """Of each drafted token; a text that ended within the round needs no more of them."""
    after: list[Verdict] = ["refused"] if one.own == "corrected" else []
    left = len(one.drafted) - one.n_accepted - len(after)
    rest: Verdict = "unjudged" if after else "unneeded"
    return [*["accepted"] * one.n_accepted, *after, *[rest] * left]  # pyright: ignore[reportReturnType]


def _own_verdict(one: Round, own: Literal["corrected", "bonus"]) -> Verdict:
    """What the model's own token is called: no bonus where nothing was guessed."""
    return own if one.drafted else "alone"


def _tokens(record: Speculation) -> dict[int, Token]:
    """Every token that is mentioned, by its id; of those in a text also the bytes."""
    known = {
        each: Token(id=each, text=text, data=b"", span=(0, 0), special=False, generated=True)
        for each, text in record.texts.items()
    }
    texts = (record.tokens, *(attempt.tokens for attempt in record.attempts))
    return known | {token.id: token for text in texts for token in text}


def _end_of_prompt(record: Speculation) -> str:
    whole = "".join(token.text for token in record.tokens[: record.n_prompt])
    return whole if len(whole) <= _PROMPT else f"\u2026{whole[-_PROMPT:]}"


def _summary(attempt: Attempt) -> str:
    n, written = len(attempt.rounds), sum(len(each.written) for each in attempt.rounds)
    judged = sum(verdict in ("accepted", "refused") for one in attempt.rounds for verdict in _verdicts(one))
    return (
        f"{attempt.name}: {theme.count(attempt.n_drafted)} tokens drafted, {theme.count(judged)} judged, "
        f"{theme.count(attempt.n_accepted)} accepted; {theme.count(written)} written in {theme.count(n)} "
        f"{'pass' if n == 1 else 'passes'} of the model"
    )


def _box(one: Round, i: int, tokens: dict[int, Token]) -> str:
    """The tokens of a round in the order of the text: those that did not stay stand before what took their place."""
    said = [_chip(each.id, verdict, tokens) for each, verdict in zip(one.drafted, _verdicts(one), strict=True)]
    if one.own != "none":
        said.append(_chip(one.written[-1], _own_verdict(one, one.own), tokens))
    return (
        f'<span class="ts-round" data-pick="round={i}" data-round="{i}"><span class="ts-round-number">{i + 1}</span>'
        f"{''.join(said)}</span>"
    )


def _chip(token: int, verdict: Verdict, tokens: dict[int, Token]) -> str:
    said = f"{_sign(verdict)}{_text(token, tokens)}"
    return f'<span class="ts-guess ts-{verdict}" title="{_MARKS[verdict].word}">{said}</span>'


def _sign(verdict: Verdict) -> str:
    return f'<strong class="ts-sign ts-sign-{verdict}">{_MARKS[verdict].sign}</strong>'


def _text(token: int, tokens: dict[int, Token]) -> str:
    known = tokens.get(token)
    return f'<bdi class="ts-token-text">{markup.text(markup.short(known) if known else f"token {token}")}</bdi>'


def _told(attempt: Attempt, place: int) -> str:
    one, where = attempt.rounds[place], f"{attempt.name}, round {place + 1} of {len(attempt.rounds)}"
    n, read = len(one.drafted), "1 token" if one.n_read == 1 else f"{theme.count(one.n_read)} tokens"
    if not n:
        return f"{where}: {_silence(attempt, place)}, so that the model read {read} and wrote as it does alone."
    return (
        f"{where}: {n} drafted in {theme.duration(one.draft_s)}, judged in one pass of {theme.duration(one.verify_s)} "
        f"that read {read}. Both times include the recording."
    )


def _silence(attempt: Attempt, place: int) -> str:
    """Why nothing was guessed in a round."""
    copies, last = attempt.mode == "prompt lookup", place == len(attempt.rounds) - 1
    if attempt.mode == "own draft" and place == 0:
        return "the draft reads what the model last thought, which is nothing yet"
    if copies and last:
        return "there was nothing to copy, or only one token was left to write"
    if copies:
        return "neither the last two tokens nor the last one stood earlier with something to copy after them"
    return "only one token was left to write" if last else "the draft had nothing to say"


def _judged(each: Drafted, verdict: Verdict, place: int, one: Round, tokens: dict[int, Token], *, greedy: bool) -> str:
    """A drafted token with its two probabilities, the test and the verdict."""
    held = [_bar("q", "the draft", "ts-of-draft", each.q)] if each.q is not None else []
    held.append(_bar("p", "the model", "ts-of-model", each.p))
    copies = "it holds no probabilities" if greedy else "it holds this token for certain, q = 1"
    without = "" if each.q is not None else f'<p class="ts-aside-line">The draft copies: {copies}.</p>'
    test = _test(each, verdict, greedy=greedy)
    likeliest = [
        _likeliest("The draft's likeliest", each.draft_best, tokens),
        _likeliest("The model's likeliest", each.target_best, tokens),
    ]
    return (
        f'<div class="ts-judged ts-{verdict}">{_heading(each.id, verdict, f"Position {one.first + place}", tokens)}'
        f"{''.join(held)}{without}<p>{markup.text(test)}</p>{''.join(likeliest)}</div>"
    )


def _heading(token: int, verdict: Verdict, where: str, tokens: dict[int, Token]) -> str:
    return (
        f'<p class="ts-judged-head"><span class="ts-judged-where">{where}</span>{_text(token, tokens)}'
        f'<strong class="ts-verdict ts-sign-{verdict}">{_MARKS[verdict].sign} {_MARKS[verdict].word}</strong></p>'
    )


def _bar(letter: str, whose: str, css: str, probability: float) -> str:
    """A probability as a length and as a number."""
    step = min(max(round(probability * _STEPS), int(probability > 0)), _STEPS)
    return (
        f'<p class="ts-held"><span>{letter}, {whose}</span><span class="ts-held-track"><span class="ts-held-bar {css} '
        f'ts-share-{step}"></span></span><span>{theme.percent(probability)}</span></p>'
    )


def _test(each: Drafted, verdict: Verdict, *, greedy: bool) -> str:
    """The test in words and numbers."""
    passed = {"accepted": "Accepted", "refused": "Refused"}.get(verdict)
    if verdict == "unneeded":
        return "Not needed: the text had ended."
    if passed is None:
        return "Not judged: it was guessed to follow a token that was refused."
    if greedy:
        is_likeliest = "it is the model's likeliest" if each.accepted else "another token is the model's likeliest"
        return f"{passed}: {is_likeliest}."
    if each.q is None or each.random is None:
        same = "the same token" if each.accepted else "another token"
        chance = "" if each.q is not None else f"; the chance of the same was p / q = {_probability(each.p)} / 1"
        return f"{passed}: the model drew {same} from p{chance}."
    ratio = each.p / each.q if each.q else float("inf")
    drawn, bound = _told_apart(each.random, ratio)
    least = " As p / q is at least 1, such a token always passes." if ratio >= 1 else ""
    is_most, sign = ("is at most", "\u2264") if each.accepted else ("is more than", ">")
    return (
        f"Random number {drawn} {is_most} p / q = {_probability(each.p)} / {_probability(each.q)} = {bound}: "
        f"{drawn} {sign} {bound}, {passed.lower()}.{least}"
    )


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they are not equal."""
    digits = 3
    while digits < 9 and one != other and f"{one:.{digits}f}" == f"{other:.{digits}f}":
        digits += 1
    return tuple(_probability(each) if digits == 3 else f"{each:.{digits}f}" for each in (one, other))  # pyright: ignore[reportReturnType]


def _probability(value: float) -> str:
    if value == float("inf"):
        return "\u221e"
    return number(value) if value >= 0.001 or value == 0 else scientific(value)


def _likeliest(whose: str, best: tuple[Candidate, ...], tokens: dict[int, Token]) -> str:
    if not best:
        return ""
    said = [f"{_text(each.id, tokens)} {theme.percent(each.probability)}" for each in best[:_LIKELIEST]]
    listed = " ".join(f'<span class="ts-one-likely">{each},</span>' for each in said[:-1])
    return f'<p class="ts-aside-line">{whose}: {listed} <span class="ts-one-likely">{said[-1]}</span></p>'


def _own(one: Round, tokens: dict[int, Token], *, greedy: bool) -> str:
    """The model's own token, and the distribution that it came from."""
    if one.own == "none":
        return ""
    refused = one.own == "corrected" and one.drafted[one.n_accepted]
    subtracted = bool(refused) and refused.q is not None and refused.random is not None
    verdict = _own_verdict(one, one.own)
    instead = _INSTEAD[verdict]
    if greedy:
        why = f"The model's own token{instead}: its likeliest here, by p."
    elif subtracted:
        why = f"The model's own token{instead}: drawn from max(p \u2212 q, 0), scaled to sum to 1."
    else:
        why = f"The model's own token{instead}: drawn from p."
    named = "max(p \u2212 q, 0), scaled" if subtracted else "p"
    bars = "".join(_candidate(each, tokens, chosen=each.id == one.written[-1]) for each in one.own_best)
    where = f"Position {one.first + len(one.written) - 1}"
    return (
        f'<div class="ts-judged ts-{verdict}">{_heading(one.written[-1], verdict, where, tokens)}'
        f'<p>{markup.text(why)}</p><p class="ts-aside-line">Likeliest of {markup.text(named)}, and what was taken:</p>'
        f"{bars}</div>"
    )


def _candidate(each: Candidate, tokens: dict[int, Token], *, chosen: bool) -> str:
    step = min(max(round(each.probability * _STEPS), int(each.probability > 0)), _STEPS)
    return (
        f'<p class="ts-held{" ts-chosen" * chosen}">{_text(each.id, tokens)}<span class="ts-held-track"><span '
        f'class="ts-held-bar ts-of-model '
        f'ts-share-{step}"></span></span><span>{theme.percent(each.probability)}</span></p>'
    )
