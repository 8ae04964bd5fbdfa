"""The card of the layers in a real browser: the block as it ran, the logit lens, lengths, units, one selection."""

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from model import Trace, trace
from model.records.trace import Check, Part
from tests.fakes import fake_trace
from tests.tiny import tiny

pytestmark = pytest.mark.cards("layers")

WORDS = tuple(f" w{i}" for i in range(40))
GPT2 = (
    ("ln_1", "norm", "stream", 8, 8),
    ("attn.c_attn", "linear", "part", 8, 24),
    ("attn.c_proj", "linear", "part", 8, 8),
    ("ln_2", "norm", "branch", 8, 8),
    ("mlp.c_fc", "linear", "part", 8, 32),
    ("mlp.act", "activation", "part", 32, 32),
    ("mlp.c_proj", "linear", "part", 32, 8),
)
NEOX = (
    ("input_layernorm", "norm", "stream", 8, 8),
    ("attention.query_key_value", "linear", "part", 8, 24),
    ("attention.dense", "linear", "part", 8, 8),
    ("post_attention_layernorm", "norm", "stream", 8, 8),
    ("mlp.dense_h_to_4h", "linear", "part", 8, 32),
    ("mlp.act", "activation", "part", 32, 32),
    ("mlp.dense_4h_to_h", "linear", "part", 32, 8),
)
COHERE = (
    ("input_layernorm", "norm", "stream", 8, 8),
    ("self_attn.q_proj", "linear", "part", 8, 8),
    ("self_attn.k_proj", "linear", "part", 8, 4),
    ("self_attn.v_proj", "linear", "part", 8, 4),
    ("self_attn.o_proj", "linear", "part", 8, 8),
    ("mlp.gate_proj", "linear", "part", 8, 32),
    ("mlp.act_fn", "activation", "part", 32, 32),
    ("mlp.up_proj", "linear", "part", 8, 32),
    ("mlp.down_proj", "linear", "part", 32, 8),
)
GEMMA = (
    *COHERE[:5],
    ("post_attention_layernorm", "norm", "part", 8, 8),
    ("pre_feedforward_layernorm", "norm", "branch", 8, 8),
    *COHERE[5:],
    ("post_feedforward_layernorm", "norm", "part", 8, 8),
)
SINKS = (
    COHERE[0],
    ("self_attn", "other", "part", 8, 8),
    *COHERE[1:5],
    ("post_attention_layernorm", "norm", "branch", 8, 8),
    ("mlp.router", "other", "part", 8, 4),
    ("mlp.experts", "other", "part", 8, 8),
    ("mlp.experts.act_fn", "activation", "part", 8, 8),
)


def parts(*given: tuple[str, Any, Literal["stream", "branch", "part"], int, int]) -> tuple[Part, ...]:
    return tuple(
        Part(
            name=name,
            kind=kind,
            module=kind.title(),
            weight=(d_out, d_in) if kind == "linear" else None,
            bias=False,
            n_parameters=d_in * d_out if kind == "linear" else 0,
            reads=reads,
            d_in=d_in,
            d_out=d_out,
        )
        for name, kind, reads, d_in, d_out in given
    )


@pytest.fixture
def show(look: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the page on this run."""

    def open_page(run: Trace, **window: Any) -> Page:
        page = look(run, "step=0", **window)
        page.locator(".ts-card-layers[data-at]").scroll_into_view_if_needed()
        if run.model.block:
            page.locator(".ts-block").wait_for()
        return page

    return open_page


def select(page: Page, **at: int) -> None:
    page.evaluate("at => tokenoscope.selection.set(at)", at)
    place = "{token}".format(**page.evaluate("tokenoscope.selection.at"))
    layer = page.evaluate("tokenoscope.selection.at.layer")
    expect(page.locator(".ts-card-layers")).to_have_attribute("data-at", re.compile(rf"^\d+/{layer}/\d+/{place}$"))


def with_block(run: Trace, block: tuple[Part, ...], note: str = "") -> Trace:
    return replace(run, model=replace(run.model, block=block, block_note=note))


def at(page: Page) -> dict[str, int]:
    return page.evaluate("tokenoscope.selection.at")


def test_every_part_that_ran_is_drawn_once_with_its_shape_and_size(show: Callable[..., Page]):
    run = fake_trace()
    page = show(run)
    said = [part.get_attribute("aria-label") or "" for part in page.locator(".ts-block-part").all()]
    names = [re.search(r"\(([\w.]+)\):", each) for each in said]
    assert sorted(found[1] for found in names if found) == sorted(part.name for part in run.model.block)
    for part in run.model.block:
        (label,) = [each for each in said if f"({part.name}):" in each]
        assert (f"{part.n_parameters:,} parameters" if part.n_parameters else "no parameters") in label
        if part.kind == "linear":
            assert f"from {part.d_in} to {part.d_out} numbers" in label
    assert page.locator(".ts-block-plus").all_text_contents().count("+") == 2
    assert page.locator(".ts-block-head").count() == run.model.n_heads
    assert page.locator(".ts-block-keys").count() == page.locator(".ts-block-values").count() == run.model.n_kv_heads


@pytest.mark.parametrize(
    ("block", "kinds", "enters", "rows"),
    [
        (
            GPT2,
            ["attention", "mlp"],
            ["sum", "sum"],
            [["norm", "fused", "output"], ["norm", "widen", "activation", "narrow"]],
        ),
        (
            NEOX,
            ["attention", "mlp"],
            ["sum", "fork"],
            [["norm", "fused", "output"], ["norm", "widen", "activation", "narrow"]],
        ),
        (
            COHERE,
            ["attention", "mlp"],
            ["sum", "norm"],
            [["norm", "query key value", "output"], ["gate up", "activation", "narrow"]],
        ),
        (
            GEMMA,
            ["attention", "mlp"],
            ["sum", "sum"],
            [["norm", "query key value", "output", "norm"], ["norm", "gate up", "activation", "narrow", "norm"]],
        ),
        (
            SINKS,
            ["attention", "experts"],
            ["sum", "sum"],
            [["norm", "query key value", "output"], ["norm", "router", "experts"]],
        ),
    ],
    ids=["gpt2", "parallel", "one norm for both", "norms after", "experts"],
)
def test_a_layer_is_drawn_as_it_is_whatever_its_family(
    show: Callable[..., Page], block: Any, kinds: list[str], enters: list[str], rows: list[list[str]]
):
    page = show(with_block(fake_trace(), parts(*block)))
    found = page.evaluate("""async () => {
        const { branchesOf } = await import("/gradio_api/tokenoscope/assets/js/views/layers/parts.js");
        return branchesOf(tokenoscope.store.run.head.model.block).map((branch) => [branch.kind, branch.enters,
            branch.rows.map((row) => row.map((piece) => piece.role).join(" "))]);
    }""")
    assert [branch[0] for branch in found] == kinds
    assert [branch[1] for branch in found] == enters
    assert [branch[2] for branch in found] == rows
    assert page.locator(".ts-block-part").count() == sum(len(row.split()) for branch in rows for row in branch)


def test_a_layer_that_could_not_be_taken_apart_says_why(show: Callable[..., Page]):
    page = show(with_block(fake_trace(), (), "its layers are compiled."))
    expect(page.locator(".ts-card-layers .ts-empty").first).to_have_text(
        "The parts of a layer are not shown: its layers are compiled."
    )
    assert page.locator(".ts-block").count() == 0


def test_a_part_says_what_it_does_by_pointer_and_by_keyboard(show: Callable[..., Page]):
    page = show(fake_trace())
    page.locator(".ts-block-key rect").hover()
    expect(page.locator(".ts-block-readout")).to_have_text(re.compile(r"^keys \(self_attn.k_proj\): computes the keys"))
    page.mouse.move(0, 0)
    page.locator(".ts-block-part").first.focus()
    expect(page.locator(".ts-block-readout")).to_have_text(re.compile(r"^norm \(input_layernorm\)"))
    page.keyboard.press("ArrowUp")
    expect(page.locator(".ts-block-readout")).to_have_text(re.compile(r"^queries \(self_attn.q_proj\)"))


def test_the_list_is_the_lens_of_the_selected_token(show: Callable[..., Page]):
    run = fake_trace()
    assert run.lens_ids is not None and run.lens_probs is not None
    ids = run.lens_ids.copy()
    ids[3, 4, 0] = run.tokens[5].id  # after layer 2, token 4 is followed by what was really written
    page = show(replace(run, lens_ids=ids))
    for token, layer in ((4, 2), (6, 0)):
        select(page, token=token, layer=layer)
        guesses = page.locator(".ts-level-guess").all_inner_texts()
        assert guesses == [run.texts[i].replace(" ", "␣").replace("\n", "↵") for i in ids[::-1, token, 0].tolist()]
        assert page.locator(".ts-level.ts-current .ts-level-name").all_inner_texts() == [f"layer {layer}"]
        value = page.locator(".ts-rail-row[data-goes-to=layers] .ts-rail-value")
        expect(value).to_have_text(re.compile(rf"^layer {layer}: "))  # drawn when the selection rests
        glance = value.inner_text()
        said = re.fullmatch(rf"layer {layer}: \d+% “(.+)”", glance)
        assert said, glance
        assert len(glance) <= 23
        assert guesses[3 - layer].startswith(said[1].removesuffix("…"))
    select(page, token=4)
    agreeing = [
        name
        for level, name in enumerate(("input", *(f"layer {i}" for i in range(4))))
        if ids[level, 4, 0] == run.tokens[5].id
    ]
    assert page.locator(".ts-level.ts-agrees .ts-level-name").all_inner_texts() == agreeing[::-1]
    page.get_by_text("layer 3", exact=True).click()
    assert (at(page)["layer"], page.evaluate("tokenoscope.selection.locked")) == (3, True)


def test_the_map_keeps_the_selected_token_among_its_words_and_a_click_goes_there(show: Callable[..., Page]):
    page = show(fake_trace(WORDS, (" x", " y")), width=1440, height=900)
    word_map, all_tokens = page.locator(".ts-lens-map canvas"), page.locator(".ts-lens > .ts-canvas-box canvas")
    expect(all_tokens).to_be_visible()
    for token in (39, 0, 20, 21, 3):
        select(page, token=token)
        box = word_map.bounding_box()
        assert box
        word_map.click(position={"x": 3, "y": 22 + 9})  # the first cell that has words, in the last layer
        first = at(page)["token"]
        word_map.click(position={"x": box["width"] - 3, "y": 22 + 9})
        assert first <= token <= at(page)["token"]
        assert at(page)["layer"] == 3
    box = all_tokens.bounding_box()
    assert box
    all_tokens.click(position={"x": box["width"] - 2, "y": box["height"] - 18})
    assert at(page)["token"] == 40
    word_map.focus()
    page.keyboard.press("ArrowLeft")
    assert at(page)["token"] == 39


SELECTED = "(token) => window.tokenoscope.selection.at.token === token"


def test_the_map_ends_at_the_selected_token_unless_the_pointer_is_in_it(show: Callable[..., Page]):
    page = show(fake_trace(WORDS, (" x", " y")), width=1440, height=900)
    word_map = page.locator(".ts-lens-map canvas")
    for token in (39, 20, 12, 30):
        page.mouse.move(0, 0)
        select(page, token=token)
        box = word_map.bounding_box()
        assert box
        columns = int(box["width"] // 58)
        assert columns < token
        word_map.click(position={"x": 3, "y": 22 + 9})
        page.wait_for_function(SELECTED, arg=token - columns + 1)
        word_map.click(position={"x": box["width"] - 30, "y": 22 + 9})
        page.wait_for_function(SELECTED, arg=token)  # a click in it does not move it


def test_only_what_differs_is_written(show: Callable[..., Page]):
    page = show(fake_trace())
    select(page, token=4, layer=1)
    page.evaluate("""() => {
        window.changed = [];
        const note = (all) => changed.push(...all.map((one) => one.target.className ?? "text"));
        const watcher = new MutationObserver(note);
        const all = { subtree: true, childList: true, characterData: true, attributes: true };
        watcher.observe(document.querySelector(".ts-levels"), all);
    }""")
    select(page, layer=2)
    assert sorted(page.evaluate("changed")) == ["ts-level", "ts-level ts-current"]


def test_units_are_those_of_the_selected_place_with_their_signs(show: Callable[..., Page]):
    run = fake_trace()
    assert run.unit_ids is not None and run.unit_values is not None
    page = show(run)
    select(page, token=3, layer=2)
    assert page.locator(".ts-unit-name").all_inner_texts() == [f"unit {i}" for i in run.unit_ids[2, 3]]
    shown = [float(each.replace("−", "-")) for each in page.locator(".ts-unit .ts-bar-number").all_inner_texts()]
    np.testing.assert_allclose(shown, run.unit_values[2, 3], rtol=5e-3)


def test_missing_units_and_lens_say_why(show: Callable[..., Page]):
    run = fake_trace()
    checks = [each for each in run.model.checks if each.name not in ("units", "lens")]
    without = [Check(name=name, passed=False, detail=f"no {name} here") for name in ("units", "lens")]
    run = replace(
        run,
        model=replace(run.model, checks=(*checks, *without)),
        unit_ids=None,
        unit_values=None,
        lens_ids=None,
        lens_probs=None,
    )
    page = show(run)
    said = page.locator(".ts-card-layers .ts-empty:visible").all_inner_texts()
    assert [re.sub(".*: ", "", each) for each in said] == ["no lens here.", "no units here."]


def test_a_stopped_run_says_so_where_its_lens_would_be(show: Callable[..., Page]):
    page = show(replace(fake_trace(), ended="stopped", lens_ids=None, lens_probs=None))
    expect(page.locator(".ts-card-layers .ts-empty:visible")).to_have_text(
        "This run was stopped. The logit lens is added afterwards, unless that was stopped too."
    )
    expect(page.locator(".ts-rail-row[data-goes-to=layers] .ts-rail-value")).to_have_text("run was stopped")


def test_a_long_table_says_that_it_goes_on_and_none_of_its_cells_is_cut(show: Callable[..., Page]):
    page = show(fake_trace(), width=1440, height=900)
    sheet = page.locator(".ts-card-layers .ts-details")
    sheet.locator("summary").click()
    sheet.locator("tbody tr").first.wait_for()
    rows = sheet.locator("tbody tr").count()
    expect(sheet.locator(".ts-scroll + .ts-note")).to_have_text(f"{rows} rows; the table scrolls.")
    assert sheet.locator(".ts-scroll").evaluate("box => box.scrollWidth <= box.clientWidth")
    for at, side in ((0, "left"), (2, "left"), (3, "right")):
        expect(sheet.locator("th").nth(at)).to_have_css("text-align", side)


def test_the_first_tokens_length_is_told_where_it_stands_out(show: Callable[..., Page]):
    run = fake_trace()
    assert run.resid is not None
    resid = run.resid.copy()
    page = show(run)
    assert "an outlier" not in page.locator(".ts-card-layers").inner_text()
    page.close()
    resid[3, 0] *= 1000
    page = show(replace(run, resid=resid))
    longest = float(np.linalg.norm(resid[3, 0]))
    expect(page.locator(".ts-card-layers")).to_contain_text(f"reaches {longest:,.0f}")


def test_the_code_beside_the_numbers_runs_on_the_saved_trace(
    show: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hooked = tiny("llama")
    run = trace(hooked, "w5 w9 w12 w17", max_new_tokens=3, temperature=0.0)
    page = show(run)
    select(page, token=2, layer=1)
    sheet = page.locator(".ts-card-layers .ts-details")
    sheet.locator("summary").click()
    code = sheet.locator("code").inner_text()
    run.save(tmp_path / "run.trace")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model.loading.load.load", lambda: hooked)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code, {})
    lines = printed.getvalue().splitlines()
    expect(sheet.locator("tbody tr").nth(3)).to_be_visible()
    rows = [row.locator("td").all_inner_texts() for row in sheet.locator("tbody tr").all()]
    for level in range(4):
        _, length, word, chance = lines[level].split()
        assert float(length) == pytest.approx(float(rows[level][1]), rel=1e-3)
        assert word == rows[level][2]
        assert float(chance) == pytest.approx(float(rows[level][3].strip("%")) / 100, rel=2e-2)
    assert run.unit_ids is not None
    assert str(run.unit_ids[1, 2, 0]) in lines[4]
    assert lines[5].startswith("input_layernorm ")
