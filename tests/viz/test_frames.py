"""The frames say what the trace says, in few bytes, and no token text can break them."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from model.errors import NotShown
from model.records.chat import PromptSpan, Turn
from model.records.edits import Edit
from model.records.trace import Check, Origin
from tests.fakes import AFTER_RUN, MAP, fake_trace
from tests.viz.framed import HOSTILE, big, unpack, weights
from viz import markup
from viz.views import account_of
from viz.wire import frames, packing, parts, recorded, roles, slices


def test_every_attention_weight_arrives_within_four_thousandths():
    trace = fake_trace()
    for i, step in enumerate(trace.steps):
        _, blobs = packing.unpack(frames.step(trace, i))
        for position, rows in enumerate(unpack(blobs["attention"], step.first, step.n_tokens), start=step.first):
            exact = np.stack(
                [[trace.pattern(layer, head)[position, : position + 1] for head in range(6)] for layer in range(4)]
            )
            assert np.abs(weights(rows) - exact).max() <= 0.004


RECORDED = sorted((markup.ASSETS / "recorded").glob("*.frames"))


def test_there_are_recorded_runs():
    assert len(RECORDED) >= 3


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_run_is_in_the_frames_format_of_today(path: Path):
    """It fails when the format changes: `bash assets/recorded/make.sh` records them again."""
    kept = [packing.unpack(frame) for frame in packing.split(path.read_bytes())]
    kinds = [about["kind"] for about, _ in kept]
    n_steps = kinds.count("step")
    assert kinds == ["head", *["step"] * n_steps, "end", "heads", "units", "embeddings", "lens"]
    fresh = {about["kind"]: (about, blobs) for about, blobs in map(packing.unpack, parts.all_parts(fake_trace()))}
    for about, blobs in kept:
        like, arrays = fresh[about["kind"]]
        # only where some token is a part of a character, and of a chat
        assert about.keys() - {"hexes", "spans"} == like.keys()
        assert {name: array.dtype for name, array in blobs.items()} == {n: a.dtype for n, a in arrays.items()}
    head, last = kept[0][0], kept[n_steps][0]
    assert head["model"].keys() == fresh["head"][0]["model"].keys()
    assert head["settings"].keys() == fresh["head"][0]["settings"].keys()
    assert all(reason is None for reason in head["shows"].values())
    assert kept[-1][1]["ids"].shape[1] == last["first"] + last["n_tokens"]
    n_layers, n_chosen = head["model"]["n_layers"], sum(len(about["choices"]) for about, _ in kept[1 : n_steps + 1])
    run = recorded.load(path.parent)[path.stem]
    assert list(run.places) == [*(("vectors", i) for i in range(n_layers)), *(("logits", i) for i in range(n_chosen))]
    for kind, number in list(run.places)[:: n_layers - 1]:
        part, blobs = packing.unpack(run.part(kind, number))
        assert (part["kind"], part["bits"]) == (kind, 16)
        assert blobs["logits"].shape == (head["model"]["d_vocab"],) if kind == "logits" else len(blobs) == 3


def test_the_byte_of_a_weight_errs_by_at_most_four_thousandths_everywhere():
    every = np.linspace(0, 1, 200_001)
    assert np.abs(weights(packing.to_bytes(every)) - every).max() <= 0.004


@pytest.mark.parametrize("first", [0, 1, 7])
def test_packed_rows_are_unpacked_where_they_were(first: int):
    rng = np.random.default_rng(0)
    weights = np.tril(rng.random((2, 3, 12, 12)))[..., first:, :].astype(np.float32)
    past = np.arange(12)[None, :] <= np.arange(first, 12)[:, None]
    found = packing.unpacked_rows(packing.packed_rows(weights, first), first)
    assert found.shape == weights.shape
    np.testing.assert_allclose(found, weights * past, atol=0.004)


def test_the_head_carries_the_card_the_settings_and_the_prompt():
    trace = fake_trace()
    about, _ = packing.unpack(frames.head(trace))
    assert about["kind"] == "head"
    assert about["model"]["name"] == trace.model.name
    assert about["model"]["d_vocab"] == trace.model.d_vocab
    assert about["settings"]["top_k"] == trace.settings.top_k
    assert about["prompt"] == trace.prompt
    assert [each["text"] for each in about["tokens"]] == [each.text for each in trace.tokens[: trace.n_prompt]]
    read = trace.tokens[: trace.n_prompt]
    assert [bytes.fromhex(each["hex"]) for each in about["tokens"]] == [each.data for each in read]


def test_the_head_says_where_the_tokens_of_a_chat_come_from():
    trace = fake_trace()
    assert "spans" not in packing.unpack(frames.head(trace))[0]
    spans = (
        PromptSpan(first=0, stop=2, source="template", turn=None),
        PromptSpan(first=2, stop=3, source="assistant", turn=0),
        PromptSpan(first=3, stop=5, source="user", turn=None),
    )
    settings = replace(trace.settings, chat=True, turns=(Turn(role="assistant", content="hi"),))
    tokens = (replace(trace.tokens[0], marker=True), *trace.tokens[1:])
    head, _ = packing.unpack(frames.head(replace(trace, settings=settings, tokens=tokens, prompt_spans=spans)))
    assert head["spans"] == [asdict(span) for span in spans]
    assert head["settings"]["turns"] == [{"role": "assistant", "content": "hi"}]
    assert [token.get("marker", False) for token in head["tokens"]] == [True, False, False, False, False]


def test_a_step_carries_its_choice_stage_by_stage_and_the_race():
    trace = fake_trace()
    for i, step in enumerate(trace.steps):
        about, blobs = packing.unpack(frames.step(trace, i))
        (choice,), (sent,) = step.choices, about["choices"]
        assert (about["pass"], about["first"], about["n_tokens"]) == (step.kind, step.first, step.n_tokens)
        assert (about["kv_bytes"], about["seconds"]) == (step.kv_bytes, step.seconds)
        assert (sent["id"], sent["probability"], sent["rank"]) == (choice.id, choice.probability, choice.rank)
        assert [token["id"] for token in about["tokens"]] == [choice.id]
        at = 0
        for stage, kept in zip((None, *sent["stages"]), (choice, *choice.stages), strict=True):
            count = sent["n_candidates"] if stage is None else stage["n_candidates"]
            assert blobs["ids"][at : at + count].tolist() == [each.id for each in kept.candidates]
            exact = [(each.score, each.probability) for each in kept.candidates]
            np.testing.assert_allclose(blobs["numbers"][at : at + count, :2], exact, rtol=1e-6)
            at += count
        runners = blobs["numbers"][at : at + sent["n_runners"]]
        assert blobs["ids"][at:].tolist() == [each.id for each in choice.draw]
        np.testing.assert_allclose(runners, [(r.probability, r.wait, r.time) for r in choice.draw], rtol=1e-6)
        assert {int(i) for i in blobs["ids"]} == {int(i) for i in about["texts"]}
        assert all(about["texts"][str(each.id)] == trace.texts[each.id] for each in choice.candidates)


def test_a_continued_run_tells_who_chose_and_where_it_came_from():
    trace = fake_trace()
    unlikely = int(trace.logits[1].argmin())  # no candidate, and nobody drew it
    chosen = replace(trace.steps[1].choices[0], id=unlikely, chosen_by="person", draw=())
    steps = (trace.steps[0], replace(trace.steps[1], choices=(chosen,)), *trace.steps[2:])
    origin = Origin(
        run="one.trace",
        step=1,
        token_id=unlikely,
        instead_of=11,
        n_reused=6,
        n_replayed=0,
        recorded_s=0.5,
        restore_s=0.25,
        note="",
    )
    forked = replace(trace, steps=steps, origin=origin)
    head, _ = packing.unpack(frames.head(forked))
    assert head["origin"] == {
        **asdict(origin),
        "saved_s": 0.25,
        "token": trace.texts[unlikely],
        "instead_of_token": trace.texts[11],
    }
    told = [packing.unpack(frames.step(forked, i))[0] for i in range(3)]
    assert [each["choices"][0].get("chosen_by") for each in told] == [None, "person", None]
    assert told[1]["texts"][str(unlikely)] == trace.texts[unlikely]
    assert "origin" not in packing.unpack(frames.head(trace))[0]


def test_norms_are_those_of_the_residual_stream():
    trace = fake_trace()
    assert trace.resid is not None
    sent = np.concatenate([packing.unpack(frames.step(trace, i))[1]["norms"] for i in range(len(trace.steps))], axis=1)
    np.testing.assert_allclose(sent, np.linalg.norm(trace.resid, axis=-1), rtol=1e-6)


def test_a_run_that_may_be_long_says_up_to_what_length_its_lens_is_whole():
    trace = fake_trace()
    long = replace(trace, settings=replace(trace.settings, max_new_tokens=512 + 2 - 5))
    assert "lens_up_to" not in packing.says(frames.head(trace))
    assert packing.says(frames.head(long))["lens_up_to"] == 512
    assert packing.says(frames.head(long))["maps_up_to"] == 512


def test_columns_of_the_lens_arrive_as_they_are_asked_for():
    trace = fake_trace()
    assert trace.lens_ids is not None and trace.lens_probs is not None
    about, blobs = packing.unpack(slices.lens(trace, [6, 2]))
    assert (about["kind"], about["positions"]) == ("lens_slice", [6, 2])
    np.testing.assert_array_equal(blobs["ids"], trace.lens_ids[:, [6, 2]])
    np.testing.assert_array_equal(blobs["probabilities"], trace.lens_probs[:, [6, 2]])
    with pytest.raises(NotShown, match="not computed yet"):
        slices.lens(fake_trace(lens=False), [0])


def test_the_lens_arrives_exactly():
    trace = fake_trace()
    assert trace.lens_ids is not None
    about, blobs = packing.unpack(frames.lens(trace))
    np.testing.assert_array_equal(blobs["ids"], trace.lens_ids)
    np.testing.assert_array_equal(blobs["probabilities"], trace.lens_probs)
    assert about["texts"] == {str(i): trace.texts[i] for i in np.unique(trace.lens_ids).tolist()}
    with pytest.raises(NotShown):
        frames.lens(fake_trace(lens=False))


def test_the_heads_arrive_as_they_were_measured():
    trace = fake_trace()
    about, blobs = packing.unpack(frames.heads(trace))
    found = roles.measure(trace)
    assert (about["classes"], about["words"]) == (list(roles.CLASSES), list(roles.WORDS))
    assert (about["rows"], about["rows_same"], about["rows_after"]) == (6, found.rows_same, found.rows_after)
    for name in ("shares", "possible", "word"):
        np.testing.assert_array_equal(blobs[name], getattr(found, name))
    assert blobs["shares"].shape == (4, 6, 6)
    assert blobs["word"].dtype == np.uint8


def test_units_travel_with_runs_that_are_not_long():
    trace = fake_trace()
    _, blobs = packing.unpack(frames.units(trace))
    np.testing.assert_array_equal(blobs["ids"], trace.unit_ids)
    np.testing.assert_array_equal(blobs["values"], trace.unit_values)
    with pytest.raises(NotShown, match="302 tokens"):
        frames.units(big(300, 3))
    assert not {"units"} & frames.after_run(big(300, 3)).keys()


def test_the_map_arrives_whole_with_the_texts_of_all_its_points():
    trace = fake_trace()
    about, blobs = packing.unpack(frames.embeddings(trace))
    assert trace.embed_ids is not None
    assert about["own"] == len({token.id for token in trace.tokens})
    assert about["texts"] == {str(i): trace.texts[i] for i in trace.embed_ids.tolist()}
    np.testing.assert_array_equal(np.float32(about["shares"]), trace.embed_shares)
    held = {
        "ids": "embed_ids",
        "xy": "embed_xy",
        "near": "embed_near",
        "cosine": "embed_cosine",
        "vectors": "embeddings",
        "cos": "rotary_cos",
        "sin": "rotary_sin",
    }
    for name, source in held.items():
        np.testing.assert_array_equal(blobs[name], getattr(trace, source))
    assert (about["position"], about["why"]) == ("rotary", None)


def test_positions_are_rotary_or_learned_or_a_reason():
    whole = fake_trace()
    bare = replace(whole, rotary_cos=None, rotary_sin=None)
    learned = replace(bare, position_vectors=np.ones((whole.n_fed, whole.model.d_model), np.float32))
    about, blobs = packing.unpack(frames.embeddings(learned))
    assert (about["position"], about["why"]) == ("learned", None)
    np.testing.assert_array_equal(blobs["positions"], learned.position_vectors)
    failed = Check(name="positions", passed=False, detail="a bias in its scores tells positions")
    checks = tuple(failed if each.name == "positions" else each for each in whole.model.checks)
    about, blobs = packing.unpack(frames.embeddings(replace(bare, model=replace(whole.model, checks=checks))))
    assert (about["position"], about["why"]) == (None, "a bias in its scores tells positions")
    assert not {"cos", "sin", "positions"} & blobs.keys()
    with pytest.raises(NotShown):
        frames.embeddings(replace(whole, **dict.fromkeys(AFTER_RUN)))


@pytest.mark.parametrize("missing", ["queries", "unit_ids", "embed_ids", "lens_ids"])
def test_what_is_not_there_has_no_frame_and_nothing_else_is_lost(missing: str):
    kinds = {"queries": "heads", "unit_ids": "units", "embed_ids": "embeddings", "lens_ids": "lens"}
    gone = {
        "queries": ("queries", "keys", "values"),
        "unit_ids": ("unit_ids", "unit_values"),
        "embed_ids": MAP,
        "lens_ids": ("lens_ids", "lens_probs"),
    }[missing]
    whole = fake_trace()
    trace = replace(whole, rules=() if missing == "queries" else whole.rules, **dict.fromkeys(gone))
    found = [packing.unpack(each)[0]["kind"] for each in parts.all_parts(trace)]
    assert found[found.index("end") + 1 :] == [kind for each, kind in kinds.items() if each != missing]


def test_the_end_says_how_it_ended_and_what_it_took():
    trace = fake_trace()
    about, _ = packing.unpack(frames.end(trace))
    assert (about["ended"], about["text"], about["n_fed"]) == ("length", trace.text, trace.n_fed)
    assert about["kv_bytes"] == trace.steps[-1].kv_bytes
    assert about["seconds"] == pytest.approx(sum(step.seconds for step in trace.steps))


def test_a_decode_step_of_the_default_shape_takes_at_most_40_kB_at_128_tokens():
    trace = big(29, 100)
    last = trace.steps[-1]
    assert last.first + last.n_tokens == 128
    assert len(frames.step(trace, len(trace.steps) - 1)) <= 40_000


def test_frames_of_a_run_in_progress_never_change():
    whole = fake_trace()
    assert whole.resid is not None
    assert whole.logits is not None
    assert whole.unit_ids is not None
    assert whole.unit_values is not None
    early = replace(
        whole,
        tokens=whole.tokens[:7],
        steps=whole.steps[:2],
        ended="running",
        **dict.fromkeys(AFTER_RUN),
        **{name: getattr(whole, name)[:, :, :6] for name in ("queries", "keys", "values")},
        resid=whole.resid[:, :6],
        logits=whole.logits[:2],
        unit_ids=whole.unit_ids[:, :6],
        unit_values=whole.unit_values[:, :6],
    )
    assert parts.all_parts(early) == parts.all_parts(whole)[:3]
    kinds = [packing.unpack(each)[0]["kind"] for each in parts.all_parts(whole)]
    assert kinds == ["head", "step", "step", "step", "step", "end", "heads", "units", "embeddings", "lens"]


def test_hostile_texts_survive_whole():
    trace = fake_trace(HOSTILE, HOSTILE[::-1])
    about, _ = packing.unpack(frames.head(trace))
    assert [each["text"] for each in about["tokens"]] == list(HOSTILE)
    written = [packing.unpack(frames.step(trace, i))[0]["tokens"][0]["text"] for i in range(len(HOSTILE))]
    assert written == list(HOSTILE[::-1])


def test_a_frame_is_a_length_and_a_safetensors_file_with_strict_json():
    for frame in parts.all_parts(fake_trace(HOSTILE, ("a", "b"))):
        assert packing.frame_bytes(frame) == len(frame)
        about, blobs = packing.unpack(frame)
        assert packing.says(frame) == about
        held = safetensors.numpy.load(frame[4:])
        assert {name: array.tolist() for name, array in held.items()} == {n: a.tolist() for n, a in blobs.items()}
        header = frame[packing.START : packing.START + packing.header_bytes(frame)]
        metadata = json.loads(header, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["__metadata__"]
        json.loads(metadata["about"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert metadata["kind"] == about["kind"]


def test_arrays_stand_at_multiples_of_their_items_within_a_frame():
    odd = packing.pack("x", {}, [("a", np.ones(3, np.uint8)), ("b", np.ones(5, np.float32)), ("c", np.ones(1, "f2"))])
    for frame in (odd, *parts.all_parts(fake_trace())):
        header = json.loads(frame[packing.START : packing.START + packing.header_bytes(frame)])
        start = packing.START + packing.header_bytes(frame)
        sizes = {"U8": 1, "U16": 2, "F16": 2, "I32": 4, "F32": 4}
        places = [(start + each["data_offsets"][0], sizes[each["dtype"]]) for n, each in header.items() if n[0] != "_"]
        assert all(place % size == 0 for place, size in places)
    assert packing.unpack(odd)[1]["b"].tolist() == [1] * 5


def test_frames_that_are_cut_short_are_no_frames():
    frame = packing.pack("x", {"a": "\ud800"}, [("b", np.ones(3, np.int32))])
    assert packing.split(frame * 3) == [frame] * 3
    with pytest.raises(ValueError, match="bytes"):
        packing.unpack(frame[:-1])


def test_numbers_that_are_not_finite_arrive_as_null():
    trace = fake_trace()
    odd = replace(trace.steps[0].choices[0], logit=float("-inf"), entropy=float("nan"))
    first = replace(trace.steps[0], choices=(odd,))
    about, _ = packing.unpack(frames.step(replace(trace, steps=(first, *trace.steps[1:])), 0))
    assert about["choices"][0]["logit"] is None
    assert about["choices"][0]["entropy"] is None


def test_a_model_that_shows_no_attention_sends_the_reason():
    whole = fake_trace()
    checks = tuple(
        replace(c, passed=False, detail="rows sum to 3") if c.name == "attention" else c for c in whole.model.checks
    )
    trace = replace(whole, model=replace(whole.model, checks=checks), queries=None, keys=None, values=None, rules=())
    assert packing.unpack(frames.head(trace))[0]["shows"]["attention"] == "rows sum to 3"
    assert "attention" not in packing.unpack(frames.step(trace, 0))[1]
    with pytest.raises(NotShown, match="rows sum to 3"):
        slices.layer(trace, 0)


def test_the_bytes_of_candidates_that_are_parts_of_a_character_travel_with_their_texts():
    trace = fake_trace()
    part = trace.choices[0].candidates[3].id
    trace = replace(trace, texts={**trace.texts, part: "\ufffd"}, fragments={part: b"\xf0\x9f"})
    about, _ = packing.unpack(frames.step(trace, 0))
    assert about["hexes"] == {str(part): "f09f"}
    assert about["texts"][str(part)] == "\ufffd"
    assert "hexes" not in packing.unpack(frames.step(fake_trace(), 0))[0]


def test_an_edited_run_says_so_in_its_head_and_its_summary():
    edit = Edit(what="head", layer=2, head=3)
    run = replace(fake_trace(), edits=(edit,))
    about, _ = packing.unpack(frames.head(run))
    assert about["edits"][0]["said"] == edit.said == "head 3 of layer 2 set to zero, for every token"
    assert "edited: head 3 of layer 2 set to zero, for every token" in account_of(run).summary(run)
    plain, _ = packing.unpack(frames.head(fake_trace()))
    assert "edits" not in plain and "edited" not in account_of(fake_trace()).summary(fake_trace())
