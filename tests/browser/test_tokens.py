"""Text to tokens, in a real browser: pieces, bytes, numbers, marks of the format, and what the model really reads."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from model.records.chat import PromptSpan, Source, Turn
from tests.browser.plain import finished

pytestmark = pytest.mark.cards("tokens")


def test_a_chat_turn_shows_what_the_model_really_reads(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    pane = page.locator(".ts-reads-pane")
    expect(pane).to_contain_text("nothing was added")
    expect(pane.locator(".ts-reads")).to_be_hidden()
    page.get_by_role("button", name="A chat turn").click()
    expect(pane.locator(".ts-reads")).to_be_visible()
    page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")
    typed, prompt = page.evaluate("""(({ head, tokens, nPrompt }) => [head.prompt, tokens.slice(0, nPrompt)
        .map((token) => token.text).join("")])(tokenoscope.store.run)""")
    assert "".join(pane.locator(".ts-read.ts-typed").all_text_contents()) == typed
    assert "".join(pane.locator(".ts-read").all_text_contents()).replace("↵", "") == prompt
    assert "<|im_start|>" in "".join(pane.locator(".ts-read.ts-added").all_text_contents())
    pane.locator(".ts-read").nth(3).click()
    assert page.evaluate("tokenoscope.selection.at.token") == 3
    expect(pane.locator(".ts-read-now")).to_have_count(1)


def test_the_marks_of_the_format_stand_out_and_bytes_are_said(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    page.get_by_role("button", name="A chat turn").click()
    chips = page.locator(".ts-strip .ts-chip")
    expect(chips.first).to_have_class(re.compile("ts-is-special"))
    expect(chips.nth(1)).not_to_have_class(re.compile("ts-is-special"))
    chips.nth(1).click()
    expect(page.locator(".ts-card-tokens .ts-readout")).to_contain_text("bytes 12–17 of the text")
    expect(page.locator(".ts-way-bytes")).to_have_text("73 79 73 74 65 6D")
    expect(page.locator("[data-goes-to=tokens] .ts-rail-value")).to_have_text("“system” 9,690")


@pytest.mark.cards
def test_the_table_and_the_words_say_who_put_each_token_there(plain_server, go):
    page = go(plain_server)
    page.wait_for_selector(".ts-board[data-run]")
    page.get_by_role("button", name="A chat turn").click()
    page.wait_for_function("tokenoscope.store.run.head.settings.chat && tokenoscope.store.run.end")
    page.locator(".ts-card-tokens > .ts-details > summary").press("Enter")
    rows = page.locator(".ts-card-tokens .ts-table tbody tr")
    expect(rows).to_have_count(page.evaluate("tokenoscope.store.run.tokens.length"))
    page.wait_for_function("tokenoscope.store.cards.every((card) => !card.stale)")
    said = page.locator(".ts-card-tokens .ts-table td:last-child").all_inner_texts()
    template = page.evaluate(
        "[...document.querySelectorAll('.ts-text .ts-word')].map((e) => e.matches('.ts-is-template'))"
    )
    written = page.evaluate("tokenoscope.store.run.nPrompt")
    for i, (words, added) in enumerate(zip(said, template, strict=True)):
        start = "written by the model" if i >= written else "added by the chat template" if added else "from the prompt"
        assert words.startswith(start)
    assert said[0] == "added by the chat template, a special token"
    page.evaluate("tokenoscope.selection.set({ token: 1 })")
    expect(page.locator(".ts-card-tokens .ts-readout")).to_contain_text("added by the chat template")


def test_arrow_keys_in_the_strip_go_from_token_to_token(look):
    page = look()
    page.evaluate("tokenoscope.selection.set({ token: 2 })")
    page.locator(".ts-strip").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("tokenoscope.selection.at.token") == 3
    expect(page.locator(".ts-strip .ts-chip").nth(3)).to_have_attribute("aria-selected", "true")


def test_of_a_chat_each_message_is_named_and_what_the_template_added_is_hatched(look):
    whole = finished()
    cuts = (0, 1, 2, 3, whole.n_prompt - 1, whole.n_prompt)
    sources: tuple[tuple[Source, int | None], ...]
    sources = (("template", None), ("system", None), ("assistant", 0), ("user", None), ("template", None))
    spans = tuple(
        PromptSpan(first=first, stop=stop, source=source, turn=turn)
        for (first, stop), (source, turn) in zip(pairwise(cuts), sources, strict=True)
    )
    settings = replace(whole.settings, chat=True, system="b", turns=(Turn(role="assistant", content="c"),))
    written = replace(whole.tokens[whole.n_prompt], text="<think>", marker=True)
    tokens = (*whole.tokens[: whole.n_prompt], written, *whole.tokens[whole.n_prompt + 1 :])
    page = look(replace(whole, settings=settings, tokens=tokens, prompt_spans=spans))
    chips = page.locator(".ts-strip .ts-chip")
    hatched = chips.evaluate_all("all => all.map((each) => each.matches('.ts-from-template'))")
    assert [i for i, each in enumerate(hatched) if each] == [0, whole.n_prompt - 1]
    expect(page.locator(".ts-card-tokens .ts-template-key")).to_be_visible()
    assert page.locator(".ts-read-who").all_inner_texts() == ["system prompt", "turn 1, assistant"]
    looks = page.locator(".ts-read").evaluate_all("all => all.map((each) => each.className.split(' ')[1])")
    assert looks == ["ts-added", *["ts-earlier"] * 2, *["ts-typed"] * (whole.n_prompt - 4), "ts-added"]
    page.evaluate("tokenoscope.selection.set({ token: 2 })")
    expect(page.locator(".ts-card-tokens .ts-readout")).to_contain_text("from earlier turn 1, assistant")
    expect(chips.nth(whole.n_prompt)).to_have_class(re.compile("ts-is-special"))
    chips.nth(whole.n_prompt).click()
    expect(page.locator(".ts-card-tokens .ts-readout")).to_contain_text("written by the model, an added token")
