"""The browser's store reads from the frames what the trace holds: run under node."""

import base64
from dataclasses import replace

import numpy as np
import pytest

from model.records import pooling
from model.records.trace import Trace
from tests.fakes import fake_trace
from tests.js.node import in_node
from tests.viz.framed import HOSTILE, big
from viz.wire import packing, parts, roles, slices


def read(trace: Trace, program: str, more: bytes = b"") -> list:
    """What `program` pushes into `said`, with the trace's frames fed into `run`."""
    return in_node(
        f"""
        import {{ parseFrames }} from "@/data/frames.js";
        import {{ Run, WEIGHTS }} from "@/data/store.js";
        import {{ Selection }} from "@/data/selection.js";
        import {{ opening }} from "@/views/loom/opening.js";
        const frames = bytes(given);
        const run = new Run("test");
        run.feed(frames);
        const said = [];
        {program}
        const answer = said;""",
        base64.b64encode(b"".join(parts.all_parts(trace)) + more).decode(),
    )


def test_every_row_is_found_where_the_frames_put_it():
    trace = fake_trace()
    rows = read(
        trace,
        """
        for (let l = 0; l < 4; l += 1) for (let h = 0; h < 6; h += 1) for (let p = 0; p < run.nRead; p += 1)
          said.push(Array.from(run.row(l, h, p), (byte) => WEIGHTS[byte]));""",
    )
    exact = [trace.pattern(l, h)[p, : p + 1] for l in range(4) for h in range(6) for p in range(trace.n_fed)]
    assert len(rows) == len(exact)
    for sent, row in zip(rows, exact, strict=True):
        assert np.abs(np.array(sent) - row).max() <= 0.004


def test_tokens_choices_stages_race_and_lens_arrive():
    trace = fake_trace(HOSTILE, HOSTILE[::-1])
    tokens, choices, lens, end = read(
        trace,
        """
        said.push(run.tokens.map((t) => t.text), run.steps.map((s) => s.choices[0]), run.lensAt(3, 2));
        said.push(run.end.ended);""",
    )
    assert tokens == [token.text for token in trace.tokens]
    assert end == "length"
    for sent, choice in zip(choices, trace.choices, strict=True):
        assert (sent["id"], sent["rank"]) == (choice.id, choice.rank)
        assert [each["text"] for each in sent["candidates"]] == [trace.texts[each.id] for each in choice.candidates]
        assert [s["name"] for s in sent["stages"]] == [s.name for s in choice.stages]
        assert [[c["id"] for c in s["candidates"]] for s in sent["stages"]] == [
            [c.id for c in s.candidates] for s in choice.stages
        ]
        assert [r["time"] for r in sent["runners"]] == pytest.approx([r.time for r in choice.draw], rel=1e-6)
    assert trace.lens_ids is not None
    assert [each["id"] for each in lens] == trace.lens_ids[3, 2].tolist()


def test_a_long_run_takes_its_rows_from_a_layer_asked_for():
    trace = big(300, 2)
    without, held, row = read(
        trace,
        """
        run.layers.clear(); said.push(run.row(2, 4, 299)); run.feed(frames);
        said.push(run.holds(2, 300), Array.from(run.row(2, 4, 299), (byte) => WEIGHTS[byte]));""",
        more=slices.layer(trace, 2),
    )
    assert without is None
    assert held
    assert np.abs(np.array(row) - trace.pattern(2, 4)[299, :300]).max() <= 0.004


def test_a_longer_run_takes_pooled_maps_exact_parts_and_rows():
    trace = fake_trace(tuple(f" p{i}" for i in range(610)), (" a", " b"), d_vocab=1000)
    pooled, map_, part, row, others, little = read(
        trace,
        """
        const list = (data) => Array.from(data), map = run.maps.get("1/4"), one = run.mapParts.get("1/4/300/10");
        said.push(run.isPooled, { size: map.size, cells: map.cells, bytes: list(map.bytes), first: list(map.first) },
          { n: one.n, weights: list(one.weights) }, list(run.row(1, 4, 600)), [run.row(2, 4, 600), run.row(1, 4, 599)],
          { lines: run.little.lines, n: run.little.maps.length });""",
        more=slices.pooled(trace, 1, 4)
        + slices.part(trace, 1, 4, 300, 10)
        + slices.rows(trace, 1, 600)
        + slices.little(trace),
    )
    found = pooling.pooled_map(trace, 1, 4, 3)
    assert pooled
    assert (map_["size"], map_["cells"]) == (3, 204)
    np.testing.assert_array_equal(np.reshape(map_["bytes"], (204, 204)), packing.to_bytes(found.largest))
    np.testing.assert_array_equal(map_["first"], packing.to_bytes(found.first))
    exact = trace.pattern(1, 4)
    np.testing.assert_allclose(np.reshape(part["weights"], (256, 256)), exact[300:556, 10:266], rtol=1e-5, atol=1e-9)
    assert np.abs((np.array(row) / 255) ** 2 - exact[600, :601]).max() <= 0.004
    assert others == [None, None]
    assert (little["lines"], little["n"]) == (22, 4 * 6 * 22 * 22)


def test_what_follows_the_end_arrives_as_the_trace_has_it():
    trace = fake_trace()
    words, shares, units, near, xy, cos, point = read(
        trace,
        """
        const list = (data) => Array.from(data), e = run.embeddings;
        said.push([0, 1, 2, 3].map((l) => run.wordOf(l, 5)), list(run.heads.shares), list(run.units.values),
          list(e.near), list(e.xy), list(e.cos), e.pointOf.get(run.tokens[7].id));""",
    )
    found = roles.measure(trace)
    assert words == [roles.WORDS[found.word[layer, 5]] for layer in range(4)]
    held = (
        (shares, found.shares),
        (units, trace.unit_values),
        (near, trace.embed_near),
        (xy, trace.embed_xy),
        (cos, trace.rotary_cos),
    )
    for sent, exact in held:
        assert exact is not None
        np.testing.assert_allclose(sent, exact.ravel(), rtol=1e-6)
    assert point == 7


@pytest.mark.parametrize("small", [False, True])
def test_vectors_and_logits_are_decoded_whatever_their_size(small: bool):
    trace = fake_trace()
    assert trace.keys is not None
    tiny = trace.keys.copy()
    tiny[2, 0, :5, 0] = (0, -0.0, 6e-8, -3e-5, 65504)  # zero, the smallest half, one below the normal ones, the largest
    trace = replace(trace, keys=tiny)
    keys, queries, values, scores, bits = read(
        trace,
        """
        const found = run.vectors.get(2), chosen = run.logits.get(1);
        said.push(...[found.keys, found.queries, found.values, chosen.scores].map((data) => Array.from(data)),
          [found.bits, chosen.bits]);""",
        more=slices.vectors(trace, 2, small=small) + slices.logits(trace, 1, small=small),
    )
    assert bits == ([16, 16] if small else [32, 32])
    for sent, exact in ((keys, trace.keys), (queries, trace.queries), (values, trace.values)):
        assert exact is not None
        wanted = exact[2].astype(np.float16) if small else exact[2]
        np.testing.assert_array_equal(np.float32(sent), wanted.astype(np.float32).ravel())
    np.testing.assert_allclose(scores, trace.logits[1], atol=np.ptp(trace.logits[1]) / 65_535 if small else 0)


def test_frames_cut_short_are_refused():
    (said,) = read(
        fake_trace(),
        """
        let refused = 0;
        for (let cut = 1; cut < 400; cut += 1)
          try { parseFrames(frames.subarray(0, frames.length - cut)); } catch { refused += 1; }
        said.push(refused);""",
    )
    ends = np.cumsum([len(frame) for frame in parts.all_parts(fake_trace())])
    whole = sum(1 for end in ends if ends[-1] - 400 < end < ends[-1])
    assert said == 399 - whole


def test_fragments_of_one_character_are_joined_with_their_own_alone():
    trace = fake_trace(("a", "b", "c", "d", "e"), ("f", "g"))
    said = read(
        trace,
        """
        const parts = ["e4bb80", "e4", "b988", "41", "e2"];
        parts.forEach((hex, i) => { run.tokens[i].hex = hex; run.tokens[i].text = i === 3 ? "A" : "\\ufffd"; });
        run.tokens[0].hex = "e4bb"; run.tokens[1].hex = "80"; run.tokens[2].hex = "e4b988";
        said.push(...parts.map((_, i) => run.joined(i)));""",
    )
    assert said == [None, {"text": "\u4ec0", "first": 0}, {"text": "\u4e48", "first": 2}, None, None]


def test_the_selection_stays_within_the_run_and_brings_the_pass_of_a_token():
    trace = fake_trace()
    said = read(
        trace,
        """
        const selection = new Selection();
        selection.open(run, () => opening(run), false);
        const say = () => said.push({ ...selection.at });
        say();
        selection.set({ step: 2 }); say();
        selection.set({ token: 1 }); say();
        selection.set({ token: 7 }); say();
        selection.set({ step: -5, layer: 99, head: -1 }); say();
        selection.preview({ layer: 1 }); say();
        selection.preview(null); selection.set({ head: 2 }, { lock: true }); selection.preview({ layer: 1 }); say();
        selection.unlock(); selection.preview({ layer: 1 }); say();""",
    )
    first, stepped, back, ahead, clamped, hovered, locked, unlocked = said
    assert (first["step"], first["token"] <= 4) == (0, True), "a token that the prefill reads"
    assert (stepped["step"], stepped["token"]) == (2, 6)
    assert (back["step"], back["token"]) == (2, 1)
    assert (ahead["step"], ahead["token"]) == (3, 7)
    assert (clamped["step"], clamped["layer"], clamped["head"], clamped["token"]) == (0, 3, 0, 4)
    assert hovered["layer"] == 1
    assert (locked["layer"], locked["head"]) == (3, 2)
    assert unlocked["layer"] == 1
