"""A patch map: pieces of one run in another, one by one, and what they bring back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, PatchMap, Trace, ablate, patch, trace
from model.api.job import Job
from model.arch.hooks import count_hooks
from model.capture.edited import EditedRun
from model.capture.edits import Change, Edits
from model.capture.sites import head_site, mlp_site, stream_site
from model.capture.variants import Variants
from model.cli.main import main
from model.cli.tables.patch import table
from model.errors import BadSetting, BadTrace, NotShown
from model.experiments.patching.patch import patch_in_layers
from model.limits import Limits
from model.records.edits import Edit
from model.records.patching import PIECES, Piece
from tests.model.jobs import StopsAfter, Told
from tests.tiny import shared, sweep, tiny

CLEAN, CORRUPT = "w5 w37 w40 w8 w90 w77", "w5 w37 w60 w8 w91 w77"
CLOSE = 1e-4  # of the largest logit
FAMILIES = pytest.mark.parametrize(
    "family",
    sweep(
        ("llama", "gpt2", "gpt_neox", "mistral", "gemma2", "gpt_oss", "opt", "cohere", "llama4_text"), ("llama", "gpt2")
    ),
)


def written(hooked: HookedModel, prompt: str, n_new: int = 2) -> Trace:
    return trace(hooked, prompt, max_new_tokens=n_new, additions=False)


@pytest.fixture(scope="module")
def hooked() -> HookedModel:
    return tiny("llama")


@pytest.fixture(scope="module")
def pair(hooked: HookedModel) -> tuple[Trace, Trace]:
    clean, corrupt = written(hooked, CLEAN), written(hooked, CORRUPT)
    assert clean.choices[0].id != corrupt.choices[0].id
    return clean, corrupt


def both(hooked: HookedModel) -> tuple[Trace, Trace]:
    """Two runs with other answers."""
    clean = written(hooked, CLEAN)
    runs = (trace(hooked, CORRUPT, max_new_tokens=2, temperature=3, seed=seed, additions=False) for seed in range(9))
    return clean, next(each for each in runs if each.choices[0].id != clean.choices[0].id)


def share(found: PatchMap, logits: np.ndarray) -> float:
    difference = logits[found.clean_id] - logits[found.corrupt_id]
    return float((difference - found.corrupt_difference) / (found.clean_difference - found.corrupt_difference))


def slack(found: PatchMap, run: Trace) -> float:
    whole = abs(found.clean_difference - found.corrupt_difference)
    return CLOSE * float(np.abs(run.logits[0]).max()) / whole


# What it is


@FAMILIES
def test_a_cell_of_the_stream_is_the_run_with_that_value_put_there(family: str) -> None:
    hooked = shared(family)
    clean, corrupt = both(hooked)
    found = patch(hooked, clean, corrupt)
    assert clean.resid is not None and found.recovered.shape == (hooked.card.n_layers, clean.n_prompt)
    assert found.differs == (2, 4) and not found.recovered[:, :2].any()
    for layer in range(hooked.card.n_layers):
        for at in range(2, clean.n_prompt):
            put = Edit(what="stream", mode="put", layer=layer, position=at, vector=0)
            going = EditedRun(hooked, corrupt, [put], Limits(), vectors=clean.resid[layer, at][None])
            next(going)
            own = share(found, going.trace().logits[0])
            assert found.recovered[layer, at] == pytest.approx(own, abs=slack(found, corrupt)), (layer, at)
    assert np.abs(found.recovered).max() > 0.05


@FAMILIES
def test_everything_at_the_first_layer_gives_the_other_run(family: str) -> None:
    hooked = shared(family)
    clean, corrupt = both(hooked)
    text = Variants(hooked, [each.id for each in corrupt.tokens[: corrupt.n_prompt]], lambda: None)
    assert clean.resid is not None
    for layer in range(hooked.card.n_layers):
        whole = torch.tensor(clean.resid[layer, : clean.n_prompt])
        own = torch.tensor(text_stream(corrupt, layer))
        site = stream_site(hooked, layer)
        changes = [Change(site=site, value=whole, row=0), Change(site=site, value=own, row=1)]
        other, itself = text.edited(Edits(hooked.anatomy, changes, n_rows=2), 2, layer).numpy()
        np.testing.assert_allclose(other, clean.logits[0], atol=CLOSE * np.abs(clean.logits[0]).max())
        np.testing.assert_allclose(itself, corrupt.logits[0], atol=CLOSE * np.abs(corrupt.logits[0]).max())


def text_stream(run: Trace, layer: int) -> np.ndarray:
    assert run.resid is not None
    return run.resid[layer, : run.n_prompt]


def plainly(hooked: HookedModel, run: Trace, module: Any, change: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits after a run's prompt by the model as it is, and what a module gave, which `change` may change."""
    given: list[torch.Tensor] = []

    def hook(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        given.append(output.clone())
        if change is None:
            return None
        changed = output.clone()
        change(changed)
        return changed

    handle = module.register_forward_hook(hook)
    with torch.inference_mode():
        logits = hooked.model(torch.tensor([[each.id for each in run.tokens[: run.n_prompt]]])).logits[0, -1]
    handle.remove()
    return logits, given[0]


@pytest.mark.parametrize(("what", "name"), [("key", "k_proj"), ("value", "v_proj")])
@pytest.mark.parametrize("family", ["llama", "mistral", "cohere"])
def test_keys_and_values_are_what_their_matrix_gives(family: str, what: Piece, name: str) -> None:
    """A key or value put at the attention is the same as one put where it is made, before its rotation."""
    hooked = tiny(family)
    clean, corrupt = both(hooked)
    found = patch(hooked, clean, corrupt, what)
    for layer in range(hooked.card.n_layers):
        module = hooked.anatomy.layers[layer].get_submodule(f"self_attn.{name}")
        _, own = plainly(hooked, clean, module)
        for at in range(clean.n_prompt):

            def put(rows: torch.Tensor, own: torch.Tensor = own, at: int = at) -> None:
                rows[0, at] = own[0, at]

            logits, _ = plainly(hooked, corrupt, module, put)
            assert found.recovered[layer, at] == pytest.approx(share(found, logits.numpy()), abs=slack(found, corrupt))
    assert np.abs(found.recovered).max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt"])
def test_an_mlp_is_what_its_part_adds_and_a_head_is_its_slice(family: str) -> None:
    hooked = tiny(family)
    clean, corrupt = both(hooked)
    mlps, heads = patch(hooked, clean, corrupt, "mlp"), patch(hooked, clean, corrupt, "heads")
    assert heads.recovered.shape == (hooked.card.n_layers, hooked.card.n_heads)
    for layer in range(hooked.card.n_layers):
        module = mlp_site(hooked, layer).module
        _, own = plainly(hooked, clean, module)
        for at in range(2, clean.n_prompt):

            def put(rows: torch.Tensor, own: torch.Tensor = own, at: int = at) -> None:
                rows.view(own.shape)[..., at, :] = own[..., at, :]

            logits, _ = plainly(hooked, corrupt, module, put)
            assert mlps.recovered[layer, at] == pytest.approx(share(mlps, logits.numpy()), abs=slack(mlps, corrupt))
        for head in range(hooked.card.n_heads):
            edited = ablate(
                hooked,
                corrupt,
                heads=((layer, head),),
                mode="resample",
                when="prefill",
                reference=clean,
                additions=False,
            )
            own_share = share(heads, edited.logits[0])
            assert heads.recovered[layer, head] == pytest.approx(own_share, abs=slack(heads, corrupt))


# On its way


def test_it_grows_by_layers_and_stopped_it_keeps_whole_ones(hooked: HookedModel, pair: tuple[Trace, Trace]) -> None:
    job, whole = Told(), patch(hooked, *pair)
    seen = [each for each in patch_in_layers(hooked, *pair, "residual", job=job) if each is not None]
    assert [each.done for each in seen] == [(), (2,), (2, 1), (2, 1, 0)]
    assert [done for done, _, _ in job.said] == [0, 1, 3, 6] and job.expected_bytes > whole.recovered.nbytes
    ends: set[tuple[int, ...]] = set()
    for checks in range(0, 40, 3):
        *_, last = (
            each for each in patch_in_layers(hooked, *pair, "value", job=StopsAfter(checks)) if each is not None
        )
        ends.add(last.done)
        assert count_hooks(hooked.model) == 0 and not hooked.guard.locked()
        done = np.isfinite(last.recovered).all(1)
        assert sorted(last.done) == np.flatnonzero(done).tolist()
    assert ends == {(), (2,), (2, 1), (2, 1, 0)}
    again = written(hooked, CLEAN)
    assert all(array.tobytes() == again.arrays()[name].tobytes() for name, array in pair[0].arrays().items())


@pytest.mark.parametrize("what", PIECES)
def test_more_pieces_than_a_pass_holds_are_put_in_several(
    hooked: HookedModel, pair: tuple[Trace, Trace], what: Piece, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = patch(hooked, *pair, what)
    monkeypatch.setattr("model.capture.variants._TOKENS", 2 * pair[0].n_prompt)
    values = list(patch_in_layers(hooked, *pair, what, job=Job()))
    assert values.count(None) == 6 and values[-1] is not None
    np.testing.assert_allclose(values[-1].recovered, whole.recovered, atol=slack(whole, pair[1]))


# What is refused


def test_what_cannot_be_compared_is_refused(hooked: HookedModel, pair: tuple[Trace, Trace]) -> None:
    clean, corrupt = pair
    with pytest.raises(BadSetting, match=r"the clean prompt has 6 tokens and the corrupt one 2"):
        patch(hooked, clean, written(hooked, "w5 w6"))
    with pytest.raises(BadSetting, match=r"both prompts are answered by the same token, 'w\d+'"):
        patch(hooked, clean, clean)
    with pytest.raises(BadSetting, match="what is 'query'; it can be residual, heads, mlp, key, value"):
        patch(hooked, clean, corrupt, "query")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadTrace, match="by an edited model"):
        patch(hooked, clean, ablate(hooked, corrupt, heads=((0, 0),), additions=False))
    with pytest.raises(BadTrace, match="only the model that made a run"):
        patch(shared("gpt2"), clean, corrupt)
    found = patch(hooked, clean, corrupt)
    for wrong in ({"recovered": found.recovered[:2]}, {"done": (3,)}, {"clean": found.clean[:2]}, {"what": "heads"}):
        with pytest.raises(BadTrace, match="does not fit prompts"):
            replace(found, **wrong)
    with pytest.raises(BadTrace, match="whose text is missing"):
        replace(found, texts={})


def test_what_a_family_does_not_let_put_is_refused_with_the_reason() -> None:
    hooked = tiny("bloom")
    clean, corrupt = both(hooked)
    for what, said in (("key", "without the library's interface"), ("mlp", "no parts of its layers were found")):
        with pytest.raises(NotShown, match=said):
            patch(hooked, clean, corrupt, what)  # pyright: ignore[reportArgumentType]
    assert np.isfinite(patch(hooked, clean, corrupt, "heads").recovered).all()
    assert head_site(hooked, 0, 0).side == "input"


# From the command line


def test_two_files_in_and_one_out(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, hooked: HookedModel, pair: tuple[Trace, Trace], tmp_path: Path
) -> None:
    monkeypatch.setattr("model.loading.load.load", lambda *_, **__: hooked)
    for name, run in zip(("clean", "corrupt"), pair, strict=True):
        run.save(tmp_path / f"{name}.trace")
    call = ["patch", str(tmp_path / "clean.trace"), str(tmp_path / "corrupt.trace"), "--model", str(hooked.folder)]
    own = patch(hooked, *pair)
    assert main([*call, "-o", str(tmp_path / "one.patch")]) == 0
    assert capsys.readouterr().out == table(own) + "\n"
    kept = PatchMap.open(tmp_path / "one.patch")
    assert np.array_equal(kept.recovered, own.recovered) and kept.done == own.done == (2, 1, 0)
    assert "residual of" in repr(kept) and kept.prompt == "".join(token.text for token in kept.corrupt)
    assert main([*call, "--what", "heads", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert np.array_equal(np.array(said["recovered"], np.float32), patch(hooked, *pair, "heads").recovered)
    assert main([*call, "--what", "query"]) == 2
    assert "what is 'query'; it can be residual" in capsys.readouterr().err
