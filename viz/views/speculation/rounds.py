"""Speculation round by round: the drafted tokens, their verification, and the model's own token."""

from dataclasses import dataclass
from typing import Literal

from model.errors import NotShown
from model.records.speculation import Attempt, Drafted, Round, Speculation
from model.records.trace import Candidate, Token
from model.texts import counted, phrase
from viz import markup, theme
from viz.measured import n_tokens, number, scientific
from viz.theme import Mode
from viz.view import Html, Selection, view

Verdict = Literal["accepted", "rejected", "unverified", "unneeded", "corrected", "bonus", "alone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """The sign and the word of a verdict; its CSS class has the colour."""

    sign: str
    word: str


_MARKS: dict[Verdict, _Mark] = {
    "accepted": _Mark(sign="\u2713", word=phrase("accepted")),
    "rejected": _Mark(sign="\u2717", word=phrase("rejected")),
    "unverified": _Mark(sign="\u2013", word=phrase("not verified")),
    "unneeded": _Mark(sign="\u2013", word=phrase("not needed")),
    "corrected": _Mark(sign="\u25c6", word=phrase("corrected")),
    "bonus": _Mark(sign="\u2605", word=phrase("bonus")),
    "alone": _Mark(sign="\u25cb", word=phrase("no draft")),
}
_EXPLAINED: tuple[tuple[Verdict, str], ...] = (
    ("accepted", phrase("accepted")),
    ("rejected", phrase("rejected")),
    ("corrected", phrase("the model's own token in its place")),
    ("unverified", phrase("drafted after a rejected token: not verified")),
    ("bonus", phrase("all accepted: a bonus token of the model")),
    ("alone", phrase("nothing was drafted: the model's own token")),
)
_PROMPT = 240  # characters of the prompt's end
_LIKELIEST = 3  # tokens of a distribution
_STEPS = 20  # lengths of a bar


@view("The text, round by round", of=Speculation, follows="attempt", needs="attempts")
def rounds(record: Speculation, at: Selection, _mode: Mode = "light") -> Html:
    """Each box is a round: a few drafted tokens, verified in one pass.

    Plain decoding needs a pass for each token. Struck-through tokens were drafted and not kept; all others are the
    text. The first rejected token ends a round, and the model's own token replaces it; if every token is accepted,
    the pass gives one more token, the bonus. Press a box to see its verification.
    """
    attempt, tokens = _attempt(record, at), _tokens(record)
    legend = "".join(f"<span>{_sign(verdict)} {markup.text(words)}</span>" for verdict, words in _EXPLAINED)
    boxes = "".join(_box(one, i, tokens) for i, one in enumerate(attempt.rounds))
    return Html(
        f'<div class="ts-legend">{legend}</div><h3 class="ts-subtitle">{markup.text(_summary(attempt))}</h3>'
        f'<div class="ts-rounds"><span class="ts-rounds-prompt"><bdi>{markup.text(_end_of_prompt(record))}</bdi></span>'
        f"{boxes}</div>"
    )


@view("One round, verified", of=Speculation, follows="round", needs="attempts")
def verification(record: Speculation, at: Selection, _mode: Mode = "light") -> Html:
    """The draft's probability for its token is q, the model's is p.

    At temperature 0 a token is accepted if it is the model's most likely token; nothing is sampled. Otherwise it is
    accepted if a uniform random number between 0 and 1 is at most p / q: always if p is at least q, else with
    probability p / q. After the first rejection the model samples a token from max(p \u2212 q, 0), scaled to sum to
    1. The text therefore follows p exactly, as if there were no draft. A draft that copies has q = 1, so its token is
    accepted with probability p: the model samples a token from p, which either equals the copied token or replaces
    it. Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding".
    """
    attempt, tokens = _attempt(record, at), _tokens(record)
    if at.round >= len(attempt.rounds):
        raise NotShown(
            "{attempt} has no round {round}; it has {n_rounds}.",
            attempt=attempt.name,
            n_rounds=len(attempt.rounds),
            round=at.round,
        )
    one, greedy = attempt.rounds[at.round], record.settings.greedy
    cards = "".join(
        _card(each, verdict, place, one, tokens, greedy=greedy)
        for place, (each, verdict) in enumerate(zip(one.drafted, _verdicts(one), strict=True))
    )
    return Html(
        f'<p class="ts-told">{markup.text(_told(attempt, at.round))}</p>'
        f'<div class="ts-verification-list">{cards}{_own(one, tokens, greedy=greedy)}</div>'
    )


def _attempt(record: Speculation, at: Selection) -> Attempt:
    if at.attempt >= len(record.attempts):
        raise NotShown(
            "this record has no draft {number}; it has {n}.",
            n=len(record.attempts),
            number=at.attempt,
        )
    return record.attempts[at.attempt]


def _verdicts(one: Round) -> list[Verdict]:
    """The verdict on each drafted token; none is needed after the end of the text."""
    after: list[Verdict] = ["rejected"] if one.own == "corrected" else []
    left = len(one.drafted) - one.n_accepted - len(after)
    rest: Verdict = "unverified" if after else "unneeded"
    return [*["accepted"] * one.n_accepted, *after, *[rest] * left]  # pyright: ignore[reportReturnType]


def _own_verdict(one: Round, own: Literal["corrected", "bonus"]) -> Verdict:
    """The verdict of the model's own token: not a bonus if nothing was drafted."""
    return own if one.drafted else "alone"


def _tokens(record: Speculation) -> dict[int, Token]:
    """Every token that the record mentions, by its id; tokens of a text also have their bytes."""
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
    verified = sum(verdict in ("accepted", "rejected") for one in attempt.rounds for verdict in _verdicts(one))
    return counted(
        n,
        "{draft}: {drafted:,} tokens drafted, {verified:,} verified, {accepted:,} accepted; {written:,} written in 1 "
        "pass of the model",
        "{draft}: {drafted:,} tokens drafted, {verified:,} verified, {accepted:,} accepted; {written:,} written in "
        "{n:,} passes of the model",
        draft=attempt.name,
        drafted=attempt.n_drafted,
        verified=verified,
        accepted=attempt.n_accepted,
        written=written,
    )


def _box(one: Round, i: int, tokens: dict[int, Token]) -> str:
    """The tokens of a round in the order of the text: rejected ones before the token that replaces them."""
    said = [_chip(each.id, verdict, tokens) for each, verdict in zip(one.drafted, _verdicts(one), strict=True)]
    if one.own != "none":
        said.append(_chip(one.written[-1], _own_verdict(one, one.own), tokens))
    return (
        f'<span class="ts-round" data-pick="round={i}" data-round="{i}"><span class="ts-round-number">{i}</span>'
        f"{''.join(said)}</span>"
    )


def _chip(token: int, verdict: Verdict, tokens: dict[int, Token]) -> str:
    said = f"{_sign(verdict)}{_text(token, tokens)}"
    return f'<span class="ts-guess ts-{verdict}" title="{markup.text(_MARKS[verdict].word)}">{said}</span>'


def _sign(verdict: Verdict) -> str:
    return f'<strong class="ts-sign ts-sign-{verdict}">{_MARKS[verdict].sign}</strong>'


def _text(token: int, tokens: dict[int, Token]) -> str:
    known = tokens.get(token)
    shown = markup.short(known) if known else phrase("token {token}", token=token)
    return f'<bdi class="ts-token-text">{markup.text(shown)}</bdi>'


def _told(attempt: Attempt, place: int) -> str:
    one = attempt.rounds[place]
    where = phrase("{draft}, round {round}", draft=attempt.name, round=place)
    if not one.drafted:
        return phrase(
            "{where}: {silence}, so the model read {tokens} and decoded one as usual.",
            where=where,
            silence=_silence(attempt, place),
            tokens=n_tokens(one.n_read),
        )
    return phrase(
        "{where}: {n} drafted in {draft_time}, verified in one pass of {verify_time} that read {tokens}. Both times "
        "include the recording.",
        where=where,
        n=len(one.drafted),
        draft_time=theme.duration(one.draft_s),
        verify_time=theme.duration(one.verify_s),
        tokens=n_tokens(one.n_read),
    )


def _silence(attempt: Attempt, place: int) -> str:
    """Why nothing was drafted in a round."""
    copies, last = attempt.mode == "prompt lookup", place == len(attempt.rounds) - 1
    if attempt.mode == "own draft" and place == 0:
        return phrase("the draft reads the model's last hidden state, and there is none yet")
    if copies and last:
        return phrase("there was nothing to copy, or only one token was left to write")
    if copies:
        return phrase("the last tokens do not occur earlier with something to copy after them")
    return phrase("only one token was left to write") if last else phrase("the draft proposed nothing")


def _card(each: Drafted, verdict: Verdict, place: int, one: Round, tokens: dict[int, Token], *, greedy: bool) -> str:
    """A drafted token with its two probabilities, the test and the verdict."""
    bars = [_bar(phrase("q, the draft"), "ts-of-draft", each.q)] if each.q is not None else []
    bars.append(_bar(phrase("p, the model"), "ts-of-model", each.p))
    copies = phrase("The draft copies, and has no probabilities.") if greedy else phrase("The draft copies, so q = 1.")
    without = "" if each.q is not None else f'<p class="ts-aside-line">{markup.text(copies)}</p>'
    test = _test(each, verdict, greedy=greedy)
    likeliest = [
        _likeliest(phrase("The draft's most likely"), each.draft_best, tokens),
        _likeliest(phrase("The model's most likely"), each.target_best, tokens),
    ]
    where = phrase("Position {position}", position=one.first + place)
    return (
        f'<div class="ts-verification ts-{verdict}">{_heading(each.id, verdict, where, tokens)}'
        f"{''.join(bars)}{without}<p>{markup.text(test)}</p>{''.join(likeliest)}</div>"
    )


def _heading(token: int, verdict: Verdict, where: str, tokens: dict[int, Token]) -> str:
    mark = _MARKS[verdict]
    return (
        f'<p class="ts-verification-head"><span class="ts-verification-where">{markup.text(where)}</span>'
        f"{_text(token, tokens)}"
        f'<strong class="ts-verdict ts-sign-{verdict}">{mark.sign} {markup.text(mark.word)}</strong></p>'
    )


def _bar(whose: str, css: str, probability: float) -> str:
    """A probability as a bar and as a number."""
    step = min(max(round(probability * _STEPS), int(probability > 0)), _STEPS)
    return (
        f'<p class="ts-held"><span>{markup.text(whose)}</span><span class="ts-held-track"><span '
        f'class="ts-held-bar {css} ts-share-{step}"></span></span><span>{theme.percent(probability)}</span></p>'
    )


def _test(each: Drafted, verdict: Verdict, *, greedy: bool) -> str:
    """The test in words and numbers."""
    if verdict == "unneeded":
        return phrase("Not needed: the text had ended.")
    if verdict not in ("accepted", "rejected"):
        return phrase("Not verified: it follows a rejected token.")
    if greedy and each.accepted:
        return phrase("Accepted: it is the model's most likely token.")
    if greedy:
        return phrase("Rejected: another token is the model's most likely.")
    return _sampled(each)


def _sampled(each: Drafted) -> str:
    """The test of a token above temperature 0, with its random number if there was one."""
    p = _probability(each.p)
    if each.q is None and each.accepted:
        return phrase(
            "Accepted: the model sampled the same token from p. The probability of that was p / q = {p} / 1.", p=p
        )
    if each.q is None:
        return phrase("Rejected: the model sampled another token from p. The same had p / q = {p} / 1.", p=p)
    if each.random is None:
        if each.accepted:
            return phrase("Accepted: the model sampled the same token from p.")
        return phrase("Rejected: the model sampled another token from p.")
    ratio = each.p / each.q if each.q else float("inf")
    drawn, bound = _told_apart(each.random, ratio)
    values = {"random": drawn, "p": p, "q": _probability(each.q), "bound": bound}
    if not each.accepted:
        return phrase("Rejected: the random number {random} is more than p / q = {p} / {q} = {bound}.", **values)
    if ratio < 1:
        return phrase("Accepted: the random number {random} is at most p / q = {p} / {q} = {bound}.", **values)
    return phrase(
        "Accepted: the random number {random} is at most p / q = {p} / {q} = {bound}. Since p / q is at least 1, such "
        "a token is always accepted.",
        **values,
    )


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as are needed to show that they differ."""
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
    return f'<p class="ts-aside-line">{markup.text(whose)}: {listed} <span class="ts-one-likely">{said[-1]}</span></p>'


def _own(one: Round, tokens: dict[int, Token], *, greedy: bool) -> str:
    """The model's own token, and the distribution that it was sampled from."""
    if one.own == "none":
        return ""
    rejected = one.own == "corrected" and one.drafted[one.n_accepted]
    subtracted = bool(rejected) and rejected.q is not None and rejected.random is not None
    verdict = _own_verdict(one, one.own)
    named = phrase("max(p \u2212 q, 0), scaled") if subtracted else "p"
    likeliest = phrase("The most likely tokens of {distribution}, and the chosen one:", distribution=named)
    bars = "".join(_candidate(each, tokens, chosen=each.id == one.written[-1]) for each in one.own_best)
    where = phrase("Position {position}", position=one.first + len(one.written) - 1)
    why = f"{_whose(verdict)} {_chosen(greedy=greedy, subtracted=subtracted)}"
    return (
        f'<div class="ts-verification ts-{verdict}">{_heading(one.written[-1], verdict, where, tokens)}'
        f'<p>{markup.text(why)}</p><p class="ts-aside-line">{markup.text(likeliest)}</p>{bars}</div>'
    )


def _whose(verdict: Verdict) -> str:
    if verdict == "corrected":
        return phrase("The model's own token, in place of the rejected one.")
    if verdict == "bonus":
        return phrase("The model's own token, after all drafted tokens were accepted.")
    return phrase("The model's own token.")


def _chosen(*, greedy: bool, subtracted: bool) -> str:
    if greedy:
        return phrase("It is the most likely token by p.")
    if subtracted:
        return phrase("It was sampled from max(p \u2212 q, 0), scaled to sum to 1.")
    return phrase("It was sampled from p.")


def _candidate(each: Candidate, tokens: dict[int, Token], *, chosen: bool) -> str:
    step = min(max(round(each.probability * _STEPS), int(each.probability > 0)), _STEPS)
    return (
        f'<p class="ts-held{" ts-chosen" * chosen}">{_text(each.id, tokens)}<span class="ts-held-track"><span '
        f'class="ts-held-bar ts-of-model '
        f'ts-share-{step}"></span></span><span>{theme.percent(each.probability)}</span></p>'
    )
