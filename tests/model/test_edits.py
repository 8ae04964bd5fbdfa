"""Edits of a model while it runs: what they change, what they leave alone, and that nothing of them stays."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface

from model import HookedModel, Trace, ablate, fork, trace, trials
from model.arch.attention_calls import watched
from model.arch.hooks import count_hooks
from model.capture.edited import EditedRun
from model.capture.sites import head_site
from model.errors import BadSetting, BadTrace, Cancelled, NotShown
from model.limits import Limits
from model.records.edits import Edit, edges_of, heads_of
from tests.tiny import shared, sweep, tiny

PROMPT, NEW = "w5 w37 w40 w8 w90 w77", 5
EDITED = ("llama", "gpt2", "gpt_neox", "mistral", "qwen3", "gemma2", "gpt_oss", "opt", "cohere", "llama4_text")
OWN = ("bloom", "falcon, alibi")  # attention without the library's interface
FAMILIES = pytest.mark.parametrize("family", sweep(EDITED + OWN, ("llama", "gpt2", "gemma2", "bloom")))


def written(hooked: HookedModel, **settings: Any) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW, additions=False, **settings)


def edited(hooked: HookedModel, run: Trace, *edits: Edit, **given: Any) -> Trace:
    going = EditedRun(hooked, run, edits, Limits(), **given)
    for _ in going:
        pass
    return going.trace()


def alike(one: Trace, other: Trace) -> bool:
    assert one.arrays().keys() == other.arrays().keys() - {"edit_vectors"}
    return all(array.tobytes() == other.arrays()[name].tobytes() for name, array in one.arrays().items())


# Nothing


@FAMILIES
def test_ablating_nothing_and_taking_over_ones_own_outputs_change_nothing(family: str) -> None:
    hooked = shared(family)
    run = written(hooked, temperature=0.9, seed=3)
    assert alike(run, ablate(hooked, run, additions=False))
    again = ablate(hooked, run, heads=((0, 1), (2, 3)), mode="resample", reference=run, additions=False)
    assert alike(run, again) and again.edits and count_hooks(hooked.model) == 0


@pytest.mark.parametrize("family", ["llama", "gpt_oss", "gpt_neox"])
def test_a_layers_own_parts_and_its_own_stream_change_nothing(family: str) -> None:
    hooked = shared(family)
    run = written(hooked)
    assert run.resid is not None
    assert alike(run, ablate(hooked, run, mlps=(0,), layers=(1,), mode="resample", reference=run, additions=False))
    for layer in (0, 2, 3):
        put = Edit(what="stream", mode="put", layer=layer, position=4, vector=0)
        assert alike(run, edited(hooked, run, put, vectors=run.resid[layer, 4][None]))


# Three routes


def weights_without(hooked: HookedModel, heads: Sequence[tuple[int, int]]) -> HookedModel:
    """A copy of a model whose output projections read nothing of some heads."""
    other = tiny(hooked.card.family if hooked.card.family != "falcon" else "falcon, alibi")
    for layer, head in heads:
        site = head_site(other, layer, head)
        weight: Any = site.module.weight
        with torch.no_grad():
            (weight if type(site.module).__name__ == "Conv1D" else weight.T)[site.columns] = 0
    return other


@FAMILIES
def test_a_head_without_its_weights_is_the_same(family: str) -> None:
    hooked, heads = shared(family), ((0, 1), (1, 2))
    run = written(hooked)
    found, other = ablate(hooked, run, heads=heads, additions=False), written(weights_without(hooked, heads))
    assert [each.id for each in found.tokens] == [each.id for each in other.tokens]
    np.testing.assert_allclose(found.logits, other.logits, atol=1e-5 * np.abs(other.logits).max())
    assert np.abs(found.logits[0] - run.logits[0]).max() > 1e-2


def gpt2_logits(model: Any, ids: list[int], without: Sequence[tuple[int, int]]) -> torch.Tensor:
    """GPT-2 in plain torch, some heads left out: the logits after each token. Radford et al. 2019."""
    body, n_heads = model.transformer, model.config.n_head

    def norm(x: torch.Tensor, by: Any) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, keepdim=True, correction=0) + by.eps
        ).sqrt() * by.weight + by.bias

    x = body.wte.weight[ids] + body.wpe.weight[: len(ids)]
    later = torch.ones(len(ids), len(ids)).triu(1).bool()
    for place, block in enumerate(body.h):
        attention, mlp = block.attn, block.mlp
        made = norm(x, block.ln_1) @ attention.c_attn.weight + attention.c_attn.bias
        queries, keys, values = (each.view(len(ids), n_heads, -1).transpose(0, 1) for each in made.split(x.shape[1], 1))
        scores = (queries @ keys.transpose(1, 2)) / queries.shape[-1] ** 0.5
        given = scores.masked_fill(later, -torch.inf).softmax(-1) @ values
        for layer, head in without:
            if layer == place:
                given[head] = 0
        x = x + given.transpose(0, 1).reshape(len(ids), -1) @ attention.c_proj.weight + attention.c_proj.bias
        up = norm(x, block.ln_2) @ mlp.c_fc.weight + mlp.c_fc.bias
        active = 0.5 * up * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3)))
        x = x + active @ mlp.c_proj.weight + mlp.c_proj.bias
    return norm(x, body.ln_f) @ model.lm_head.weight.T


@torch.inference_mode()
def test_a_head_left_out_of_a_reimplementation_is_the_same() -> None:
    hooked, heads = shared("gpt2"), ((0, 1), (1, 2), (1, 3))
    found = ablate(hooked, written(hooked), heads=heads, additions=False)
    ids = [each.id for each in found.tokens[:-1]]
    own = gpt2_logits(hooked.model, ids, heads)[found.n_prompt - 1 :].numpy()
    np.testing.assert_allclose(found.logits, own, atol=2e-5 * np.abs(own).max())
    assert np.abs(gpt2_logits(hooked.model, ids, ())[found.n_prompt - 1 :].numpy() - own).max() > 1e-2


@pytest.mark.parametrize(
    ("family", "mlp"),
    [
        ("llama", "mlp"),
        ("gpt2", "mlp"),
        ("gemma2", "post_feedforward_layernorm"),
        ("opt", "fc2"),
        ("gpt_neox", "mlp"),
        ("falcon, alibi", "mlp"),
    ],
)
def test_an_mlp_and_a_layer_without_weights_are_the_same(family: str, mlp: str) -> None:
    hooked, other, bare = shared(family), tiny(family), tiny(family)
    run = written(hooked)
    for parts in ([other.anatomy.layers[1].get_submodule(mlp)], layer_parts(bare, 1)):
        for module in parts:
            last: Any = [each for each in module.modules() if isinstance(getattr(each, "weight", None), torch.Tensor)][
                -1
            ]
            with torch.no_grad():
                last.weight.fill_(-1 if "Gemma2RMSNorm" in type(last).__name__ else 0)  # which adds 1 to its weight
                if getattr(last, "bias", None) is not None:
                    last.bias.zero_()
    for found, own in (
        (ablate(hooked, run, mlps=(1,), additions=False), written(other)),
        (ablate(hooked, run, layers=(1,), additions=False), written(bare)),
    ):
        np.testing.assert_allclose(found.logits, own.logits, atol=1e-5 * np.abs(own.logits).max())
    assert found.resid is not None and np.array_equal(found.resid[1], found.resid[2])


def layer_parts(hooked: HookedModel, layer: int) -> list[Any]:
    names = hooked.anatomy.parts[layer]
    assert names is not None
    return [hooked.anatomy.layers[layer].get_submodule(name) for name in names]


# Where and with what


def given_to(hooked: HookedModel, layer: int, run: Any) -> np.ndarray:
    """What a layer's output projection is given while `run` is called: [S, H * E]."""
    rows: list[torch.Tensor] = []
    module = head_site(hooked, layer, 0).module
    handle = module.register_forward_hook(lambda _, args, __: rows.append(args[0][0].clone()))
    run()
    handle.remove()
    return torch.cat(rows).numpy()


def test_a_mean_is_the_unedited_runs_at_every_position() -> None:
    hooked = tiny("llama")
    run = written(hooked)
    mean = given_to(hooked, 1, lambda: written(hooked)).mean(0)
    site = head_site(hooked, 1, 2)
    going = EditedRun(hooked, run, [Edit(what="head", mode="mean", layer=1, head=2)], Limits())
    assert going.beginning == "replay of the unedited outputs" and len(list(going.resuming())) == NEW
    found = given_to(hooked, 1, lambda: [*going])[:, site.columns]
    np.testing.assert_allclose(found, np.tile(mean[site.columns], (len(found), 1)), atol=1e-6)


def test_prefill_and_decode_are_the_prompts_positions_and_the_others() -> None:
    hooked = shared("llama")
    run = written(hooked)
    first, later, both = (
        ablate(hooked, run, layers=(1,), when=when, additions=False) for when in ("prefill", "decode", "all")
    )
    assert np.array_equal(first.logits[0], both.logits[0]) and np.array_equal(later.logits[0], run.logits[0])
    assert not np.array_equal(later.logits[1], run.logits[1])
    for found, added in ((first, [False, True]), (later, [True, False]), (both, [False, False])):
        assert found.resid is not None
        moved = (found.resid[2] != found.resid[1]).any(-1)
        assert [moved[: run.n_prompt].all(), moved[run.n_prompt :].all()] == added


def test_a_short_reference_edits_as_far_as_it_goes_and_says_so() -> None:
    hooked = shared("llama")
    run, short = written(hooked), trace(hooked, "w9 w9 w9 w9 w9 w9 w9", max_new_tokens=2, additions=False)
    found = ablate(hooked, run, mlps=(0,), mode="resample", reference=short, additions=False)
    assert "The reference run ends with position 7" in found.notes[-1]
    only = ablate(hooked, run, mlps=(0,), mode="resample", when="prefill", reference=short, additions=False)
    assert not any("reference run ends" in note for note in only.notes)
    less = trace(hooked, "w9", max_new_tokens=1, additions=False)
    with pytest.raises(BadSetting, match=r"the reference has 1 positions and the prompt 6"):
        ablate(hooked, run, mlps=(0,), mode="resample", reference=less)


def test_of_a_fork_the_prompt_alone_is_run_anew_and_it_says_so() -> None:
    hooked = shared("llama")
    run = written(hooked)
    forked = fork(hooked, run, step=1, token_id=9, additions=False)
    found = ablate(hooked, forked, additions=False)
    assert alike(run, found) and found.origin is None and all(each.chosen_by == "model" for each in found.choices)
    assert "a person chose the token of step 1" in found.notes[-1]


# Edges


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "gemma2", "gpt_neox", "opt", "deepseek_v3"])
def test_an_edge_that_is_cut_has_no_weight_and_the_rest_sums_to_one(family: str) -> None:
    hooked = shared(family)
    run = written(hooked)
    found = ablate(hooked, run, edges=((3, 1), (7, 2, 1), (7, 4, 2, 3)), additions=False)
    weights = np.stack([[found.pattern(layer, head) for head in range(4)] for layer in range(3)])
    before = np.stack([[run.pattern(layer, head) for head in range(4)] for layer in range(3)])
    assert (weights[:, :, 3, 1] == 0).all() and (weights[1, :, 7, 2] == 0).all() and weights[2, 3, 7, 4] == 0
    assert (before[:, :, 3, 1] > 0).all() and (weights[0, :, 7, 2] > 0).all() and (weights[2, :3, 7, 4] > 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert np.array_equal(weights[0, :, :3], before[0, :, :3])


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "gemma2", "gpt_oss"])
def test_the_recorded_pattern_of_a_cut_edge_is_what_attention_computed(family: str) -> None:
    """The weights in the record, times the values, are what the output projection was given."""
    hooked = tiny(family)
    run = written(hooked)
    going = EditedRun(
        hooked, run, [Edit(what="edge", query=4, key=0), Edit(what="edge", query=7, key=3, layer=1, head=2)], Limits()
    )
    given = given_to(hooked, 1, lambda: [*going])
    found = going.trace()
    assert found.values is not None
    own = [found.pattern(1, head) @ found.values[1, head // (4 // found.values.shape[1])] for head in range(4)]
    np.testing.assert_allclose(given, np.concatenate(own, -1), atol=2e-5 * np.abs(given).max())


def test_edges_that_lead_nowhere_are_refused() -> None:
    hooked = shared("llama")
    run = written(hooked)
    with pytest.raises(BadSetting, match="the edge 2>3 is none of this run"):
        ablate(hooked, run, edges=((2, 3),))
    with pytest.raises(BadSetting, match=r"the token at 1 nothing to look at, in head 2 of layer 0"):
        ablate(hooked, run, edges=((1, 0), (1, 1, 0, 2)))
    with pytest.raises(NotShown, match=r"BloomForCausalLM cannot be edited like this: its family computes attention"):
        ablate(shared("bloom"), written(shared("bloom")), edges=((2, 1),))


# What stays


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
def test_after_a_pass_that_breaks_off_the_model_computes_as_before(error: type[BaseException]) -> None:
    hooked = tiny("llama")
    run, look_up = written(hooked), AttentionInterface.get_interface
    entered: list[int] = []

    def cancelled() -> bool:
        entered.append(1)
        if len(entered) > 5:  # within the second pass
            raise error
        return False

    edits = [Edit(what="layer", layer=0), Edit(what="edge", query=5, key=1), Edit(what="head", layer=2, head=1)]
    going = EditedRun(hooked, run, edits, Limits())
    going.stop_when(cancelled)
    next(going)
    assert count_hooks(hooked.model) == 0, "between two passes others may have the model"
    with pytest.raises(error):
        next(going)
    assert count_hooks(hooked.model) == 0 and not hooked.guard.locked()
    assert AttentionInterface.get_interface is look_up
    assert alike(run, written(hooked))


def test_listeners_to_attention_stand_one_inside_the_other() -> None:
    hooked = shared("llama")
    said: list[str] = []

    def listener(name: str) -> Any:
        def listen(original: Any, *args: Any, **kwargs: Any) -> Any:
            said.append(name)
            return original(*args, **kwargs)

        return listen

    with watched(listener("outer")), watched(listener("inner")), torch.inference_mode():
        hooked.model(torch.tensor([[5, 6]]))
    assert said == ["outer", "inner"] * 3


# The record


def test_an_edited_run_says_so_in_its_file_and_its_notes(tmp_path: Path) -> None:
    hooked = shared("llama")
    run = written(hooked)
    assert run.resid is not None
    add = Edit(what="stream", mode="add", layer=3, vector=0, strength=2.0, norm=1.5, stream_norm=9.0, label="w5")
    cut = Edit(what="edge", query=4, key=0, layer=2)
    found = edited(hooked, run, add, cut, vectors=run.resid[0, :1])
    found.save(tmp_path / "edited.trace")
    opened = Trace.open(tmp_path / "edited.trace")
    assert opened.edits == found.edits == (add, cut) and opened.edit_vectors is not None
    assert np.array_equal(opened.edit_vectors, run.resid[0, :1])
    said = (
        "Edited: 2 times w5 added to the residual stream at the entrance of layer 3, for every token: length 1.5, "
        "beside the stream's own 9; the token at 4 does not look at the token at 0, in layer 2."
    )
    assert opened.notes[0] == said and "edited: 2 times w5" in repr(opened)


def test_a_run_that_was_not_edited_is_the_file_that_it_was(tmp_path: Path) -> None:
    written(shared("llama")).save(tmp_path / "one.trace")
    raw = (tmp_path / "one.trace").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert "edits" not in json.loads(header["__metadata__"]["record"]) and "edit_vectors" not in header


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layer": 9}, "an edit names layer 9; the last is 3"),
        ({"vector": 1}, "an edit names vector 1; there are 1"),
    ],
)
def test_an_edit_of_what_is_not_there_makes_no_record(wrong: dict[str, Any], said: str) -> None:
    run = written(shared("llama"))
    put = Edit(what="stream", mode="put", layer=3, position=2, vector=0)
    whole = replace(run, edits=(put,), edit_vectors=np.zeros((1, 48), np.float32))
    with pytest.raises(BadTrace, match=said):
        replace(whole, edits=(replace(put, **wrong),))
    for incomplete in ({"strength": None, "mode": "add"}, {"mode": "mean"}, {"what": "head", "mode": "zero"}):
        with pytest.raises(BadTrace, match="does not say what it changes"):
            replace(put, **incomplete)


def test_an_edited_run_is_not_gone_on_with_by_the_model_as_it_is() -> None:
    hooked = shared("llama")
    found = ablate(hooked, written(hooked), heads=((0, 0),), additions=False)
    for go_on in (
        lambda: fork(hooked, found, step=1, token_id=9),
        lambda: trials(hooked, found),
        lambda: ablate(hooked, found, heads=((0, 1),)),
    ):
        with pytest.raises(BadTrace, match=r"by an edited model \(head 0 of layer 0 set to zero, for every token\)"):
            go_on()


def test_heads_and_edges_are_read_as_a_person_writes_them() -> None:
    assert heads_of("heads", " 9.3, 10.4;0.0 ") == ((9, 3), (10, 4), (0, 0)) and heads_of("heads", "") == ()
    assert edges_of("edges", "5>0, 7>2@9 8>1@9.3") == ((5, 0), (7, 2, 9), (8, 1, 9, 3))
    for wrong in ("9", "9.x", "9.3.1", "-1.2", "\u0661.2"):
        with pytest.raises(BadSetting, match=r"heads has .*; write LAYER.HEAD, such as 9.3, 10.4"):
            heads_of("heads", wrong)
    for wrong in ("5", "5>", "5>0@", "5>0@9.", "5-0"):
        with pytest.raises(BadSetting, match=r"edges has .*; write QUERY>KEY"):
            edges_of("edges", wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"heads": ((3, 0),)}, "layer is 3; LlamaForCausalLM has layers 0 to 2"),
        ({"heads": ((2, 4),)}, "head is 4; layer 2 has heads 0 to 3"),
        ({"mlps": (-1,)}, "layer is -1"),
        ({"layers": (True,)}, "layer is True"),
        ({"heads": ((1, 2, 3),)}, r"heads has \(1, 2, 3\)"),
        ({"edges": ((1,),)}, r"edges has \(1,\)"),
        ({"heads": ((1, 2),), "mode": "half"}, "mode is 'half'; it can be zero, mean, resample"),
        ({"heads": ((1, 2),), "when": "later"}, "when is 'later'; it can be prefill, decode, all"),
        ({"heads": ((1, 2),), "mode": "resample"}, "Give a reference"),
    ],
)
def test_what_is_not_there_is_refused(given: dict[str, Any], said: str) -> None:
    hooked = shared("llama")
    with pytest.raises(BadSetting, match=said):
        ablate(hooked, written(hooked), **given)


@pytest.mark.parametrize(
    ("family", "given", "said"),
    [
        ("openai-gpt", {"heads": ((1, 0),)}, "no matrix was found that reads what its heads give"),
        ("gemma4_text", {"mlps": (1,)}, "the parts of layer 1 are not one attention and one MLP"),
        ("granite", {"mlps": (1,)}, "no parts of its layers were found"),
        ("bloom", {"layers": (1,)}, "no parts of its layers were found"),
    ],
)
def test_what_a_family_does_not_let_edit_is_refused_with_the_reason(family: str, given: Any, said: str) -> None:
    hooked = shared(family)
    with pytest.raises(NotShown, match=said):
        ablate(hooked, written(hooked), **given)


def test_a_replay_is_cancelled_within_a_pass() -> None:
    hooked = tiny("llama")
    run, entered = written(hooked), list[int]()
    going = EditedRun(hooked, run, [Edit(what="mlp", mode="mean", layer=1)], Limits())
    going.stop_when(lambda: entered.append(1) or len(entered) > 2)
    with pytest.raises(Cancelled):
        next(going)
    assert len(entered) == 3 and going.n_steps == 0 and count_hooks(hooked.model) == 0
    assert alike(run, written(hooked))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_in_half_precision_nothing_changes_by_nothing_either(family: str) -> None:
    hooked = shared(family, dtype=torch.bfloat16)
    run = written(hooked)
    assert run.resid is not None
    assert alike(
        run, ablate(hooked, run, heads=((1, 2),), layers=(0,), mode="resample", reference=run, additions=False)
    )
    put = Edit(what="stream", mode="put", layer=2, position=7, vector=0)
    assert alike(run, edited(hooked, run, put, vectors=run.resid[2, 7][None]))
