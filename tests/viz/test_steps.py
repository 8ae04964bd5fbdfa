"""Ticks and rounds as steps: which is worth looking at first, and what each is told as."""

from tests.fakes_serving import PREEMPTED, fake_batching
from tests.viz.test_speculation_views import attempt, guess, one_round, speculation
from viz.view import Selection
from viz.views.batching.ticks import TICKS, first_tick
from viz.views.speculation.turns import ROUNDS, first_round, first_seen

SILENT = one_round(2, (), "bonus", 30)
REFUSED = one_round(3, (guess(1, accepted=False, p=0.1),), "corrected", 31)
RIGHT = one_round(4, (guess(2, accepted=True, p=0.9),), "bonus", 32)
DRAFTS = speculation(attempt("prompt lookup", (SILENT, REFUSED)), attempt("early exit", (SILENT, REFUSED, RIGHT)))


def test_the_draft_of_which_most_was_accepted_is_seen_first_where_that_begins():
    assert [first_round(each) for each in DRAFTS.attempts] == [1, 2]
    assert first_round(attempt("own draft", (SILENT,))) == 0
    assert first_seen(DRAFTS) == Selection(attempt=1, round=2)
    assert first_seen(speculation()) == Selection()


def test_the_tick_that_preempts_a_text_is_seen_first_else_the_one_that_serves_most():
    record = fake_batching()
    assert first_tick(record) == (PREEMPTED[0], "here the blocks run out, and a text is preempted")
    before = fake_batching(n_ticks=PREEMPTED[0], n_schedulers=0)
    most, why = first_tick(before)
    assert most == 2
    assert all(len(each.scheduled) <= len(before.ticks[most].scheduled) for each in before.ticks)
    assert why == "the largest batch"


def test_every_step_can_be_picked_and_is_told():
    record = fake_batching()
    told = [TICKS.words(record, each) for each in TICKS.picks(record, 0)]
    assert told[0].startswith("read 8 of at most 8 tokens; for")
    assert len(set(told)) == len(record.ticks)
    assert ROUNDS.picks(DRAFTS, 1) == [Selection(attempt=1, round=i) for i in range(3)]
    assert ROUNDS.picks(DRAFTS, 2) == []
    assert [ROUNDS.words(DRAFTS, each) for each in ROUNDS.picks(DRAFTS, 1)] == [
        "nothing was drafted, and the model decoded one token as usual",
        "1 drafted, 0 accepted, 1 corrected, 1 written",
        "1 drafted, 1 accepted, 1 bonus token, 2 written",
    ]
