"""The embedding map and the positions are the model's own, against computations that share nothing with them."""

# pyright: reportPrivateUsage=false

from dataclasses import replace

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, trace
from model.arch.positions import Rotary
from model.capture import embeddings
from model.capture.embeddings import NEIGHBOURS, map_steps, principal
from model.capture.post_run import post_run, with_post_run
from tests.fakes import AFTER_RUN, MAP
from tests.tiny import FAMILIES, N_WORDS, shared, tiny

NEW = 4
PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
LEARNED = {"gpt2": 0, "opt": 2}  # rows before position 0
INTERLEAVED = ("cohere", "llama4_text")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def whole_map(run: Trace) -> tuple[np.ndarray, ...]:
    found = (run.embed_ids, run.embeddings, run.embed_xy, run.embed_shares, run.embed_near, run.embed_cosine)
    return tuple(each for each in found if each is not None)


def test_neighbours_are_those_of_all_pairs_of_the_whole_vocabulary(
    hooked: HookedModel, run: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = hooked.model.get_input_embeddings().weight.detach()
    every = torch.nn.functional.cosine_similarity(table[:, None], table[None], dim=-1)
    own = list(dict.fromkeys(token.id for token in run.tokens))
    monkeypatch.setattr(embeddings, "_CHUNK", 50)
    in_pieces = with_post_run(hooked, replace(run, **dict.fromkeys(AFTER_RUN)))
    for each in (run, in_pieces):
        ids, rows, _, _, near, cosine = whole_map(each)
        assert ids[: len(own)].tolist() == own and len(set(ids.tolist())) == len(ids)
        assert np.array_equal(rows, table[own].numpy())
        assert near.shape == cosine.shape == (len(own), NEIGHBOURS)
        for word, token_id in enumerate(own):
            others = every[token_id].clone()
            others[token_id] = -2
            best = others.topk(NEIGHBOURS)
            assert ids[near[word]].tolist() == best.indices.tolist()
            assert np.abs(cosine[word] - best.values.numpy()).max() <= 1e-6
        assert all(each.texts[i] == f"w{i}" for i in ids.tolist())


def test_the_map_is_of_the_rows_of_all_its_points(hooked: HookedModel, run: Trace) -> None:
    ids, _, points, shares, _, _ = whole_map(run)
    rows = hooked.model.get_input_embeddings().weight.detach()[ids.tolist()].double()
    centred = rows - rows.mean(dim=0)
    spread, directions = torch.linalg.eigh(centred.T @ centred)
    expected = (centred @ directions[:, [-1, -2]]).numpy()
    expected *= np.sign((expected * points).sum(axis=0))  # either side of a direction may come first
    assert np.abs(points - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(shares - (spread[[-1, -2]] / spread.sum()).numpy()).max() <= 1e-6


def test_angles_are_position_times_frequency(hooked: HookedModel, run: Trace, family: str) -> None:
    if family in LEARNED or family == "bloom":
        assert run.rotary_cos is None and run.rotary_sin is None
        return
    assert run.rotary_cos is not None and run.rotary_sin is not None
    kinds = getattr(hooked.model.config, "layer_types", None) or [""]
    module = hooked.model.get_submodule("gpt_neox" if family == "gpt_neox" else "model").rotary_emb
    name = "inv_freq" if hasattr(module, "inv_freq") else f"{kinds[0]}_inv_freq"
    angles = np.arange(run.n_fed)[:, None] * getattr(module, name).double().numpy()
    assert run.rotary_cos.shape == angles.shape
    assert np.abs(run.rotary_cos - np.cos(angles)).max() <= 1e-5
    assert np.abs(run.rotary_sin - np.sin(angles)).max() <= 1e-5


def test_the_rotation_is_the_one_that_made_the_queries(family: str) -> None:
    """Queries of the same token at several positions are the first one's, turned."""
    if family in LEARNED or family == "bloom":
        return
    hooked = shared(family)
    run = trace(hooked, [7] * 9, max_new_tokens=1)
    assert run.queries is not None and run.rotary_cos is not None and run.rotary_sin is not None
    pairs = run.rotary_cos.shape[1]
    turned = run.queries[0, 0, :, : 2 * pairs]
    halves = (turned[:, ::2], turned[:, 1::2]) if family in INTERLEAVED else (turned[:, :pairs], turned[:, pairs:])
    numbers = halves[0] + 1j * halves[1]
    rotation = run.rotary_cos + 1j * run.rotary_sin
    assert np.abs(numbers - numbers[0] * rotation).max() <= 1e-4 * np.abs(numbers).max()


def test_learned_positions_are_what_is_added_to_a_tokens_vector(hooked: HookedModel, run: Trace, family: str) -> None:
    if family not in LEARNED:
        assert run.position_vectors is None
        return
    assert run.position_vectors is not None and run.embeddings is not None and run.resid is not None
    table = (
        hooked.model.get_parameter(
            "transformer.wpe.weight" if family == "gpt2" else "model.decoder.embed_positions.weight"
        )
        .detach()
        .numpy()
    )
    assert np.array_equal(run.position_vectors, table[LEARNED[family] :][: run.n_fed])
    own = list(dict.fromkeys(token.id for token in run.tokens))
    rows = run.embeddings[[own.index(token.id) for token in run.tokens[:-1]]]
    assert np.array_equal(rows + run.position_vectors, run.resid[0])


@pytest.mark.parametrize("kinds", [("full", "sliding"), ("sliding", "full")], ids=["full", "sliding"])
def test_of_two_kinds_of_rotation_the_one_of_layer_0_is_shown(
    kinds: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [f"{kind}_attention" for kind in (kinds[0], kinds[1], kinds[1])]
    monkeypatch.setitem(FAMILIES, "gemma3_text", FAMILIES["gemma3_text"] | {"layer_types": layers})
    hooked = tiny("gemma3_text")
    run = trace(hooked, PROMPT, max_new_tokens=1)
    assert run.rotary_sin is not None
    both = {kind: getattr(hooked.model.model.rotary_emb, f"{kind}_attention_inv_freq").numpy() for kind in kinds}
    assert np.abs(run.rotary_sin[1] - np.sin(both[kinds[0]])).max() <= 1e-5
    assert np.abs(run.rotary_sin[1] - np.sin(both[kinds[1]])).max() > 0.1


def test_a_looked_up_row_is_what_enters_layer_0_of_a_llama() -> None:
    run = trace(shared("llama"), PROMPT, max_new_tokens=2)
    assert run.embed_ids is not None and run.embeddings is not None and run.resid is not None
    for position, token in enumerate(run.tokens[:-1]):
        row = run.embeddings[run.embed_ids.tolist().index(token.id)]
        assert np.array_equal(row, run.resid[0, position])


def test_an_embedding_that_scales_says_by_how_much() -> None:
    details = {check.name: check.detail for check in shared("gemma2").card.checks}
    assert f"times {48**0.5:.6g}" in details["embeddings"]


def test_a_rotation_that_layer_0_was_not_given_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Rotary.answer
    monkeypatch.setattr(Rotary, "answer", lambda self, n: tuple(each.roll(1, -2) for each in honest(self, n)))
    hooked = tiny()
    assert "not what layer 0 was given" in (hooked.card.reason_against("positions") or "")
    run = trace(hooked, PROMPT, max_new_tokens=2)
    assert run.rotary_cos is None and run.embed_ids is not None


def test_a_run_of_too_many_words_goes_without_a_map_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "WORDS", 9)
    run = trace(shared(), PROMPT, max_new_tokens=2)
    assert not run.arrays().keys() & set(MAP) and run.rotary_cos is not None and run.lens_ids is not None
    assert any("embedding map is left out" in note and "the limit is 9" in note for note in run.notes)


def test_the_map_comes_before_the_lens_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_CHUNK", 50)
    hooked = shared()
    bare = trace(hooked, PROMPT, max_new_tokens=2, additions=False)
    assert not bare.arrays().keys() & set(AFTER_RUN)
    pieces = list(map_steps(hooked, bare))
    assert pieces[:-1] == [None] * -(-N_WORDS // 50)
    first, *_, last = [piece for piece in post_run(hooked, bare) if piece is not None]
    assert first.embed_ids is not None and first.lens_ids is None
    assert last.embed_ids is first.embed_ids and last.lens_ids is not None


def test_a_vocabulary_of_a_few_words_has_as_many_neighbours_as_there_are() -> None:
    table = torch.eye(3) + 0.1
    pieces = embeddings._nearest(table, torch.tensor([2, 0]))
    next(pieces)
    with pytest.raises(StopIteration) as done:
        next(pieces)
    ids, cosine = done.value.value
    assert [set(row) for row in ids.tolist()] == [{0, 1}, {1, 2}]
    assert cosine.shape == (2, 2)


@pytest.mark.parametrize("n", [5, 20], ids=["few", "many"])
def test_principal_components_keep_distances_of_a_plane_and_say_their_share(n: int) -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(n, 2)) * [5, 1]
    turned = plane @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]
    points, shares = principal(turned.astype(np.float32) + 3)
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points[None], axis=-1), apart, atol=1e-5)
    assert shares.sum() == pytest.approx(1) and shares[0] > shares[1]
    assert np.array_equal(principal(turned)[0], principal(turned.copy())[0])
    assert all(points[np.abs(points[:, axis]).argmax(), axis] > 0 for axis in (0, 1))


def test_one_point_lies_in_the_middle_of_its_map() -> None:
    points, shares = principal(np.ones((1, 8), np.float32))
    assert points.tolist() == [[0, 0]] and shares.tolist() == [0, 0]
