"""Pictures of a record that the program draws, asked for one by one."""

import json
import re
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from model.records.batching import Batching
from model.records.trace import Settings, Trace
from model.requests.timing import Measure
from tests.app.fakes_served import drafted, served
from tests.app.running import House
from tests.app.site import RECORDS, Site
from tests.app.views_served import VIEWS
from tests.fakes import fake_trace
from viz import theme, views
from viz.markup import ASSETS
from viz.server import drawings
from viz.server.routes import PREFIX
from viz.wire import packing


def test_pictures_of_a_run_come_as_pages_that_reach_nothing(done):
    site, _, record = done
    listed = site.get(f"{PREFIX}/views?of=run").json()
    assert {each["name"] for each in listed} >= {"passes", "embedding_map", "head_view", "model_view"}
    for each in listed:
        assert each["lead"].endswith(".")
        assert each["follows"] in ("step", "layer", "token")
        for dark in ("", "&dark=1"):
            answer = site.get(f"{record}/view/{each['name']}?layer=1&token=2&frame=1{dark}")
            assert answer.status_code == 200
            policy = answer.headers.get_list("content-security-policy")[0]
            assert policy.startswith("sandbox allow-scripts; default-src 'none'")
            assert "allow-same-origin" not in policy
            ground = theme.GROUND["dark" if dark else "light"]
            assert f"background: {ground['card']}" in answer.text
            assert theme.GROUND["light" if dark else "dark"]["card"] not in answer.text
            assert len(answer.content) < 600_000  # plotly.js comes once, by its own address
    assert site.get(f"{PREFIX}/views?of=nothing").status_code == 404
    assert {each["name"] for each in site.get(f"{PREFIX}/views?of=serve").json()} >= {"lanes", "blocks"}


def test_lines_between_tokens_are_drawn_of_a_run_that_comes_with_the_app(house: House):
    site = Site(house, ASSETS / "recorded")
    lines = f"{RECORDS}/1-a-fact/view/head_view?layer=9&frame=1"
    whole, others = site.get(lines), site.get(f"{lines}&without_first=1")
    assert (whole.status_code, others.status_code) == (200, 200)
    assert "Paris" in whole.text and whole.text != others.text
    assert site.get(f"{RECORDS}/1-a-fact/view/model_view?frame=1").status_code == 200
    assert "0 to 29" in site.get(f"{RECORDS}/1-a-fact/view/head_view?layer=30&frame=1").text
    assert "does not include its arrays" in site.get(f"{RECORDS}/1-a-fact/view/passes?frame=1").text


def test_the_charts_script_is_that_of_the_installed_package(done):
    site, _, record = done
    chart = site.get(f"{record}/view/passes?frame=1").text
    address = re.findall(r'<script src="([^"]*)"', chart)
    assert len(address) == 1
    script = site.get(f"{record}/view/{address[0]}")
    assert script.text == get_plotlyjs()
    assert script.headers["content-type"].startswith("text/javascript")


def test_a_picture_that_cannot_be_drawn_says_why_in_its_frame(done):
    site, _, record = done
    layers = fake_trace().model.n_layers
    wanted = {
        f"{record}/view/head_view?layer={layers}": f"0 to {layers - 1}",
        f"{record}/view/nothing": "no view",
        f"{RECORDS}/gone/view/passes": "no longer kept",
    }
    for wrong, sentence in wanted.items():
        for frame in ("frame=1", "frame=1&dark=1"):
            answer = site.get(f"{wrong}{'&' if '?' in wrong else '?'}{frame}")
            assert answer.status_code == 404
            assert sentence in answer.text
            assert "sandbox allow-scripts" in answer.headers["content-security-policy"]


def test_a_picture_follows_the_selection_and_the_theme(house: House):
    site, kept = Site(house), house.finished(house.ask("ann", Measure(prompt="a b c")))
    bill = f"{RECORDS}/{kept.id}/view/memory_bill"
    one, more = site.get(f"{bill}?users=1").json(), site.get(f"{bill}?users=3&context=4096&bits=8").json()
    assert one != more
    assert one == site.get(f"{bill}?users=1&unknown=7").json()
    assert set(one) == {"name", "title", "lead", "more", "follows", "folded", "glance", "figure", "html", "missing"}
    phases = f"{RECORDS}/{kept.id}/view/phases"
    assert site.get(phases).json() != site.get(f"{phases}?dark=1").json()
    assert site.get(f"{bill}?users=0").status_code == 404


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small views in place of the real ones."""
    monkeypatch.setattr(views, "all_views", lambda kind=Trace: tuple(VIEWS.get(kind, [])))


def three(**more: Any) -> Batching:
    return served(("a b c d e f g h", "a b c d x", "k l m"), (4, 8, 3), **more)


@pytest.mark.usefixtures("seen")
def test_a_record_of_served_texts_says_what_can_be_selected(house: House):
    site, record = Site(house), three()
    body = site.get(f"{site.keep(record, 'serve')}/parts").content
    about = packing.says(packing.split(body)[0])
    assert about["counts"] == {
        "starts": [1],
        "why": "; the largest batch",
        "ticks": len(record.ticks),
        "layers": record.model.n_layers,
        "heads": record.model.n_heads,
        "requests": ["A", "B", "C"],
    }
    assert len(record.ticks[1].scheduled) == 3
    assert [each["follows"] for each in about["views"]] == ["nothing", "tick", "pick"]
    assert any("a b c d x" in each for each in about["facts"])
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    told = packing.says(packing.split(site.get(f"{site.keep(drafts, 'speculate', 2)}/parts").content)[0])["counts"]
    rounds = [len(each.rounds) for each in drafts.attempts]
    assert told == {"attempts": ["prompt lookup", "early exit"], "rounds": rounds, "best": 0, "starts": [0, 0]}


@pytest.mark.usefixtures("seen")
def test_every_tick_has_its_picture_and_its_words_and_the_newer_ones_can_be_had_alone(house: House, monkeypatch):
    site, record = Site(house), three()
    view = f"{site.keep(record, 'serve')}/view/by_tick"
    got = site.get(f"{view}?along=tick").json()
    assert [each["html"] for each in got] == [
        f"<p>{t.n_free_blocks} free after tick {i}</p>" for i, t in enumerate(record.ticks)
    ]
    assert got[0]["words"] == "read 12 of at most 12 tokens; for A and B; C waits; 37 of 40 blocks are free after it"
    assert site.get(f"{view}?along=tick&from=5").json() == got[5:]
    monkeypatch.setattr(drawings, "AT_ONCE", 3)
    assert site.get(f"{view}?along=tick&from=5").json() == got[5:8]
    assert site.get(f"{view}?along=tick&from=999").json() == []
    assert site.get(f"{view}?along=tick&from={'0' * 12}{'9' * 5000}").json() == got[:3], "too many digits are none"
    assert site.get(f"{view}?along=round").status_code == 404


@pytest.mark.usefixtures("seen")
def test_rounds_are_those_of_the_attempt(house: House):
    site = Site(house)
    drafts = drafted("a b", Settings(max_new_tokens=9), ("prompt lookup", "early exit"))
    view = f"{site.keep(drafts, 'speculate')}/view/by_round"
    got = site.get(f"{view}?along=round&attempt=1").json()
    assert len(got) == len(drafts.attempts[1].rounds)
    assert "early exit, round 1" in got[1]["html"]
    assert got[0]["words"] == "3 drafted, 1 accepted, 1 corrected, 2 written"
    assert site.get(f"{view}?along=round&attempt=7").json() == []


@pytest.mark.usefixtures("seen")
def test_one_picture_is_drawn_for_what_is_selected_and_none_by_another_name(house: House):
    site = Site(house)
    record = site.keep(three(), "serve")
    drawn = site.get(f"{record}/view/by_pick?tick=2&layer=1&head=3").json()
    assert json.dumps("tick 2, layer 1, head 3") in json.dumps(drawn["figure"])
    refused = site.get(f"{record}/view/%3Cb%3E")
    assert refused.status_code == 404
    assert "'<b>'" in refused.text
