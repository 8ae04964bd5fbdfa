"""A form made from fields, and what is posted from it: read as it was meant, or refused by the name on the page."""

import dataclasses
import json
import math
from dataclasses import asdict
from typing import Any

import gradio as gr
import pytest

from model.errors import BadPrompt, BadSetting, PromptTooLong, Refusal
from model.limits import Limits
from model.records.chat import TemplateOption, Turn
from model.requests.batching import Serve, Text
from model.requests.cache import TryCaches
from model.requests.registry import EXPERIMENTS
from model.requests.run import Run
from model.requests.speculation import Speculate
from model.requests.timing import Measure
from tests.app.fakes_engine import FakeEngine, FakeModels
from tests.app.visitor import FORM
from viz.examples import DRAFTED, EXAMPLES, SCENES
from viz.pages import chat, fields, texts
from viz.pages.fields import Form, positions, read

LIMITS = Limits(requests=3, cache_tokens=256, new_tokens=20, prompt_bytes=100)
BATCHING: dict[str, Any] = {
    "texts": json.dumps([["a b", 5], ["a c", 7]]),
    "rate": 1.5,
    "n_blocks": 16,
    "block_size": 8,
    "token_budget": 24,
    "max_requests": 2,
    "prefix_caching": True,
}
SPECULATION: dict[str, Any] = {
    "prompt": "a b",
    "chat": False,
    "modes": ["prompt lookup", "early exit"],
    "n_draft": 4,
    "max_new_tokens": 9,
    "temperature": 0.5,
    "exit_layer": 0,
    "seed": 3,
}


def asked(**form: Any) -> Run:
    return read(Run, {**FORM, "model": "fake-1k", **form}, Limits())


def serving(**values: Any) -> Serve:
    return read(Serve, {**BATCHING, **values}, LIMITS)


def speculating(**values: Any) -> Speculate:
    return read(Speculate, {**SPECULATION, **values}, LIMITS)


def test_a_valid_form_becomes_a_request():
    request = asked(temperature=0.7, top_k=50.0, seed=3, chat=True, model="other")
    assert request == Run(prompt="a b c", max_new_tokens=4, temperature=0.7, top_k=50, seed=3, chat=True, model="other")
    assert isinstance(request.top_k, int)


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        ({"prompt": ""}, BadPrompt, "prompt is empty"),
        ({"prompt": " \n\t"}, BadPrompt, "prompt is empty"),
        ({"prompt": None}, BadPrompt, "Prompt is not text"),
        ({"prompt": {"a": 1}}, BadPrompt, "not text"),
        ({"prompt": "é" * 16_001}, PromptTooLong, "32,002 bytes; .* at most 32,000"),
        ({"temperature": None}, BadSetting, "Temperature is empty; type a number"),
        ({"temperature": math.nan}, BadSetting, "Temperature is nan"),
        ({"temperature": math.inf}, BadSetting, "Temperature is inf"),
        ({"temperature": -0.1}, BadSetting, "Temperature is -0.1"),
        ({"temperature": "hot"}, BadSetting, "Temperature is 'hot'; it must be a finite number"),
        ({"temperature": True}, BadSetting, "Temperature is True; it must be a finite number"),
        ({"temperature": 10**400}, BadSetting, "Temperature is 1000"),
        ({"top_p": 0}, BadSetting, "Top-p is 0"),
        ({"top_p": 1.5}, BadSetting, "Top-p is 1.5"),
        ({"min_p": 1.01}, BadSetting, "Min-p is 1.01"),
        ({"repetition_penalty": 0}, BadSetting, "Repetition penalty is 0"),
        ({"top_k": -1}, BadSetting, "Top-k is -1"),
        ({"top_k": 1.5}, BadSetting, "Top-k is 1.5; it must be a whole number"),
        ({"top_k": [1]}, BadSetting, "Top-k"),
        ({"seed": ""}, BadSetting, "Seed is empty"),
        ({"seed": 1e300}, BadSetting, "Seed is 1000"),
        ({"max_new_tokens": 0}, BadSetting, "New tokens is 0"),
        ({"max_new_tokens": 257}, BadSetting, "New tokens is 257; this host allows at most 256"),
        ({"chat": "yes"}, BadSetting, "Chat is 'yes'"),
        ({"chat": None}, BadSetting, "Chat is None"),
        ({"model": ["\ud800"]}, BadSetting, r"Model is \['\\ud800'\]"),
    ],
)
def test_a_bad_field_is_refused_by_name(form: dict[str, Any], error: type[Refusal], words: str):
    with pytest.raises(error, match=words) as refused:
        asked(**form)
    str(refused.value).encode()  # a sentence that can be sent


def test_a_missing_prompt_is_refused():
    with pytest.raises(BadPrompt, match="Prompt is missing"):
        read(Run, {"chat": False}, Limits())


def test_half_a_character_is_counted_and_left_to_the_one_who_reads_the_prompt():
    assert asked(prompt="a\ud800b 😀").prompt == "a\ud800b 😀"
    with pytest.raises(PromptTooLong, match="33,000 bytes") as refused:
        asked(prompt="\ud800" * 11_000)
    str(refused.value).encode()


def test_every_example_can_be_run():
    for example in (*EXAMPLES, *DRAFTED):
        assert asked(prompt=example.prompt, chat=example.chat).prompt == example.prompt
    for scene in SCENES:
        posted = {**scene.engine, "texts": texts.value(scene.texts, Limits())}
        assert read(Serve, posted, Limits()).texts == scene.texts


def test_texts_are_read_as_they_were_typed():
    request = serving()
    assert request.texts == (Text(prompt="a b", max_new_tokens=5), Text(prompt="a c", max_new_tokens=7))
    assert (request.rate, request.n_blocks, request.block_size, request.token_budget) == (1.5, 16, 8, 24)
    assert (request.max_requests, request.prefix_caching) == (2, True)
    assert request.settings.greedy


def test_a_text_with_a_draft_is_read_as_it_was_typed():
    request = speculating()
    assert (request.modes, request.n_draft, request.exit_layer) == (("prompt lookup", "early exit"), 4, None)
    assert (request.settings.temperature, request.settings.seed, request.settings.max_new_tokens) == (0.5, 3, 9)
    assert speculating(exit_layer=7).exit_layer == 7
    both = speculating(modes=["draft model"], draft="two", model="one")
    assert dict(both.models) == {"draft": "two", "target": "one"}
    assert dict(speculating(draft="two").models) == {"target": None}, "nobody asked for a draft model"


def test_what_is_left_out_is_left_out():
    measure = {"prompt": "a", "chat": False, "n_prompt": 0, "max_new_tokens": 5}
    assert read(Measure, measure, LIMITS).n_prompt is None
    assert read(Measure, {**measure, "n_prompt": 7.0}, LIMITS).n_prompt == 7
    assert read(Measure, {**measure, "n_prompt": None}, LIMITS).n_prompt is None
    with pytest.raises(BadSetting, match="Prompt length is False"):
        read(Measure, {**measure, "n_prompt": False}, LIMITS)
    trials = {"prompt": "a", "max_new_tokens": 5, "run": None, "window": 3, "sink": 1, "dropped": "3, 5-6"}
    assert read(TryCaches, trials, LIMITS).dropped == (3, 5, 6)
    assert read(TryCaches, {**trials, "run": "x", "prompt": ""}, LIMITS).run == "x"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"texts": "[]"}, BadPrompt, "no text"),
        ({"texts": json.dumps([["a", 1]] * 4)}, BadSetting, "4 texts.*at most 3.*TOKENOSCOPE_REQUESTS"),
        ({"texts": json.dumps([["a", 1], ["  ", 1]])}, BadPrompt, "text B is empty"),
        ({"texts": json.dumps([["a", 21]])}, BadSetting, "New tokens of text A is 21.*at most 20"),
        ({"texts": json.dumps([["a", 0]])}, BadSetting, "New tokens of text A is 0"),
        ({"texts": json.dumps([["a", 1.5]])}, BadSetting, "New tokens of text A is 1.5"),
        ({"texts": json.dumps([["a", None]])}, BadSetting, "New tokens of text A is empty"),
        ({"texts": json.dumps([["é" * 30, 1], ["é" * 30, 1]])}, PromptTooLong, "120 bytes.*at most 100"),
        ({"texts": "[[1, 2]]"}, BadPrompt, "text A"),
        ({"texts": "[1]"}, BadSetting, r"Texts is \[1\]"),
        ({"texts": "{"}, BadSetting, "Texts is '{'"),
        ({"texts": "[" * 100_000}, BadSetting, "Texts is"),
        ({"texts": None}, BadSetting, "Texts is None"),
        ({"n_blocks": 33}, BadSetting, "33 blocks of 8 tokens hold 264 tokens.*256.*TOKENOSCOPE_CACHE_TOKENS"),
        ({"n_blocks": 0}, BadSetting, "Blocks of the cache is 0"),
        ({"block_size": "8"}, BadSetting, "Tokens a block is '8'"),
        ({"token_budget": 1e9}, BadSetting, "Token budget is 1000000000"),
        ({"max_requests": 4}, BadSetting, "Texts at once is 4"),
        ({"max_requests": True}, BadSetting, "Texts at once is True"),
        ({"rate": float("nan")}, BadSetting, "Arrivals is nan"),
        ({"rate": -1}, BadSetting, "Arrivals is -1"),
        ({"prefix_caching": "yes"}, BadSetting, "Prefix caching is 'yes'"),
    ],
)
def test_what_cannot_be_served_is_refused(values: dict[str, Any], kind: type[Refusal], words: str):
    with pytest.raises(kind, match=words):
        serving(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modes": []}, "Drafts is empty"),
        ({"modes": None}, "Drafts is empty"),
        ({"modes": ["guess"]}, "'guess'"),
        ({"modes": [["own draft"]]}, "own draft"),
        ({"n_draft": 0}, "Drafted tokens a round is 0"),
        ({"n_draft": 33}, "Drafted tokens a round is 33"),
        ({"exit_layer": -1}, "Early exit: layers that run is -1"),
        ({"modes": ["draft model"]}, "Draft model is None"),
        ({"modes": ["draft model"], "draft": "one", "model": "one"}, "Draft model is 'one'"),
        ({"max_new_tokens": 21}, "New tokens is 21"),
        ({"temperature": -1}, "Temperature is -1"),
    ],
)
def test_what_cannot_be_drafted_is_refused(values: dict[str, Any], words: str):
    with pytest.raises(BadSetting, match=words):
        speculating(**values)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("3", (3,)),
        (" 3, 5 8-11,9", (3, 5, 8, 9, 10, 11)),
        ("2–4", (2, 3, 4)),
    ],
)
def test_positions_are_read_as_a_person_writes_them(text: str, found: tuple[int, ...]):
    assert positions("dropped", text) == found


@pytest.mark.parametrize("text", ["a", "-3", "5-3", "1-999999", "١", "1;2", "1.5"])
def test_other_positions_are_refused_with_the_words_they_came_in(text: str):
    with pytest.raises(BadSetting, match="Evict positions of the prompt has") as refused:
        read(TryCaches, {"prompt": "a", "max_new_tokens": 5, "dropped": text}, LIMITS)
    assert ascii(text) in str(refused.value)


# Components


@pytest.fixture
def made() -> dict[str, dict[str, Any]]:
    """A component for every field of every kind."""
    found: dict[str, dict[str, Any]] = {}
    with gr.Blocks():
        for experiment in EXPERIMENTS:
            form = Form(request=experiment.request, limits=LIMITS, models=FakeModels(FakeEngine(), "one", "two"))
            found[experiment.name] = form.make(*experiment.request.fields())
    return found


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_a_form_begins_with_what_is_asked_and_ends_with_the_model(experiment):
    names = list(experiment.request.fields())
    assert "model" not in names[:-1]
    assert sorted(names) == sorted(set(names))


CHAT: dict[str, Any] = {
    "chat": True,
    "system": "Be brief.",
    "turns": json.dumps([["user", "hi: you"], ["assistant", "hello"]]),
    "template_options": json.dumps({"enable_thinking": "false"}),
}


def test_a_chat_is_read_as_it_stands_in_the_form():
    request = asked(**CHAT)
    assert request.system == "Be brief."
    assert request.turns == (Turn(role="user", content="hi: you"), Turn(role="assistant", content="hello"))
    assert request.template_options == (TemplateOption(name="enable_thinking", value="false"),)
    form = Form(request=Run, limits=LIMITS, models=FakeModels(FakeEngine()))
    assert {name: form.shown(name, getattr(request, name)) for name in CHAT} == CHAT
    again = {name: getattr(request, name) for name in ("turns", "template_options")}
    posted = json.loads(json.dumps({name: [asdict(each) for each in rows] for name, rows in again.items()}))
    assert asked(**{**CHAT, **posted}) == request, "as a list of one's own runs posts it"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"turns": "not json"}, "Earlier turns is 'not json'; it must be a list"),
        ({"turns": '"user"'}, "Earlier turns is 'user'; it must be a list of turns"),
        ({"turns": '[["bob", "hi"]]'}, r"Earlier turns has \['bob', 'hi'\]; a turn says who spoke"),
        ({"turns": '[["user", "  "]]'}, r"Earlier turns has nothing in turn 1 \(user\)"),
        ({"turns": "[" * 100_000}, "Earlier turns is"),
        ({"template_options": "{"}, "Template options is"),
        ({"template_options": '{"a": 1.5}'}, "Template options has"),
        ({"system": 5}, "System prompt is not text"),
        ({"chat": False}, "System prompt is given, but chat is off. Turn chat on, or leave it out"),
    ],
)
def test_a_chat_that_no_editor_posts_is_refused_by_the_name_on_the_page(form: dict[str, Any], words: str):
    with pytest.raises(Refusal, match=words):
        asked(**{**CHAT, **form})


def test_what_belongs_to_a_chat_stays_on_the_page_while_chat_is_off():
    assert asked(**chat.without_chat({**FORM, **CHAT, "chat": False})) == asked()
    assert chat.without_chat(CHAT) == CHAT


def test_every_field_has_the_component_of_its_kind(made):
    run = made["run"]
    assert isinstance(run["prompt"], gr.Textbox) and isinstance(run["chat"], gr.Checkbox)
    assert isinstance(run["seed"], gr.Number) and isinstance(run["model"], gr.Dropdown)
    assert isinstance(made["speculate"]["modes"], gr.CheckboxGroup)
    assert isinstance(made["serve"]["texts"], gr.HTML)
    assert isinstance(made["ablate"]["mode"], gr.Dropdown) and made["ablate"]["mode"].value == "zero"
    assert [value for _, value in made["patch"]["what"].choices] == ["residual", "heads", "mlp", "key", "value"]
    assert isinstance(run["turns"], gr.HTML) and isinstance(run["template_options"], gr.HTML)
    assert made["cache"]["run"].visible == "hidden"
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens"):
        assert isinstance(run[name], gr.Slider), name
    assert (run["max_new_tokens"].minimum, run["max_new_tokens"].maximum) == (1, 20)
    assert (made["measure"]["n_prompt"].minimum, made["measure"]["n_prompt"].value) == (0, 0)
    assert made["measure"]["n_prompt"].label == "Prompt length, tokens"


def test_what_a_form_opens_with_may_be_posted_as_it_is(made):
    """Each default lies within its slider, and the host's bounds hold for it."""
    for experiment in EXPERIMENTS:
        components = made[experiment.name]
        needed = [each.name for each in dataclasses.fields(experiment.request) if each.default is dataclasses.MISSING]
        if any(experiment.request.fields()[name].kind == "record" for name in needed):
            continue  # as a fork, which has nothing to begin with: a run, a step and a token are chosen
        posted = {name: each.value for name, each in components.items() if name not in ("run", "draft")}
        posted |= {"prompt": "a"} if "prompt" in posted else {}
        posted |= {"texts": json.dumps([["a", 3]])} if "texts" in posted else {}
        small = {"n_blocks": 8, "max_new_tokens": 3}
        read(experiment.request, {**posted, **{n: v for n, v in small.items() if n in posted}}, LIMITS)
        for name, each in components.items():
            if isinstance(each, gr.Slider):
                assert each.minimum <= each.value <= each.maximum, name


def test_with_one_model_there_is_nothing_to_choose():
    with gr.Blocks():
        form = Form(request=Speculate, limits=LIMITS, models=FakeModels(FakeEngine(), "one"))
        made = form.make("modes", "draft", "model")
    assert set(made) == {"modes"}
    assert "draft model" not in [value for _, value in made["modes"].choices]


def test_where_any_model_may_be_named_its_name_is_typed():
    models = FakeModels(FakeEngine(), "one")
    models.takes_any = True
    with gr.Blocks():
        made = Form(request=Speculate, limits=LIMITS, models=models).make("modes", "draft", "model")
    assert set(made) == {"modes", "model"}
    assert made["model"].allow_custom_value and "folder" in made["model"].info


def test_a_field_that_refuses_is_called_as_on_the_page():
    described = Run.fields()
    assert fields.labelled("temperature is hot.", described) == "Temperature is hot."
    assert fields.labelled("the prompt is empty.", described) == "the prompt is empty."
