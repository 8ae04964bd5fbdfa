"""The contract that every family keeps: a traced run is the library's own, and what is shown is what it computed."""

from typing import Any

import numpy as np
import pytest
import torch

from model import HookedModel, Trace, trace
from model.capture import logit_lens
from tests.fakes import AFTER_RUN
from tests.tiny import FAMILIES, WINDOW, tiny_model

PROMPT = [5, 17, 40, 8, 120, 77, 5, 6, 190, 33, 64, 9, 18, 150, 4, 88, 23, 61, 7, 100]
NEW = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with a penalty": {"repetition_penalty": 1.3},
    "temperature": {"temperature": 1.3, "seed": 1},
    "every processor": {
        "temperature": 0.9,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.02,
        "repetition_penalty": 1.2,
        "seed": 7,
    },
}
# What a family does not show, and a word of the reason it must give.
HIDDEN: dict[str, dict[str, str]] = {
    "gpt_oss": {"units": "mixture"},
    "llama4_text": {"units": "mixture"},
    "granite": {"parts": "sum"},
    "bloom": {"units": "matrix", "parts": "sum", "positions": "ALiBi"},
    # Mixtures of experts.
    "ernie4_5_moe": {"units": "MLP"},
    "flint": {"units": "MLP"},
    "glm4_moe": {"units": "MLP"},
    "granitemoe": {"units": "MLP"},
    "laguna": {"units": "MLP"},
    "mixtral": {"units": "MLP"},
    "qwen3_moe": {"units": "MLP"},
    # A latent, or an index beside it, in place of keys and values.
    "deepseek_v2": {"units": "MLP", "resume": "another form"},
    "deepseek_v32": {"resume": "index"},
    "minicpm3": {"parts": "sum", "resume": "another form"},
    # Layers with a state in place of attention, or beside it.
    "bamba": {"attention": "interface", "resume": "keys"},
    "granitemoehybrid": {"attention": "interface", "units": "MLP", "positions": "neither", "resume": "keys"},
    "jamba": {"attention": "interface", "units": "MLP", "positions": "neither", "resume": "keys"},
    "kimi_linear": {"attention": "interface", "units": "MLP", "positions": "neither", "resume": "keys"},
    "lfm2_moe": {"attention": "interface", "units": "MLP", "resume": "keys"},
    "minimax": {"attention": "interface", "units": "MLP", "parts": "sum", "resume": "keys"},
    "nemotron_h": {"attention": "interface", "units": "MLP", "positions": "neither", "resume": "keys"},
    "qwen3_next": {"attention": "interface", "units": "MLP", "resume": "keys"},
    "recurrent_gemma": {
        "attention": "interface",
        "units": "MLP",
        "positions": "neither",
        "resume": "keys",
    },
    "zamba": {"attention": "interface", "parts": "sum", "positions": "neither", "resume": "keys"},
    "zamba2": {"attention": "interface", "parts": "sum", "positions": "neither", "resume": "keys"},
    # Attention of their own.
    "codegen": {"positions": "neither"},
    "diffllama": {"attention": "more than once", "resume": "more than once"},
    "falcon": {},
    "gpt_neo": {},
    "gpt_neox_japanese": {},
    "gptj": {"positions": "neither"},
    "mpt": {"units": "MLP", "parts": "sum", "positions": "neither"},
    "xglm": {"positions": "neither"},
    # A head of several modules; several residual streams.
    "modernbert-decoder": {"lens": "lens"},
    "qwen4_exp_text": {
        "attention": "interface",
        "residual": "streams",
        "lens": "norm",
        "units": "MLP",
        "parts": "sum",
        "resume": "keys",
    },
}
# Families that keep the contract with tests.every_family's configurations; those of tests.tiny have sharper ones.
SMALL = [
    *("apertus", "arcee", "biogpt", "bitnet", "cohere2", "exaone4", "glm4", "gpt_bigcode", "helium"),
    *("hunyuan_v1_dense", "nanochat", "nemotron", "olmo2", "olmo3", "persimmon", "phi", "qwen2", "seed_oss"),
    *("smollm3", "stablelm", "starcoder2", "vaultgemma"),
    *(family for family in HIDDEN if family not in FAMILIES),
]
# Families whose run with a cache is not one forward pass over everything in the library itself, and how far it is off.
UNLIKE_ONE_PASS = {"deepseek_v32": 0.1, "nemotron_h": 2e-4, "zamba2": 2e-3}


def bytes_within(whole: Any) -> int:
    """Bytes of every tensor of more than one axis that a value leads to, each counted once."""
    seen: dict[int, Any] = {}

    def visit(value: Any) -> None:
        if id(value) in seen or isinstance(value, type | torch.dtype | torch.device):
            return
        seen[id(value)] = value
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
        for each in (*inner, *vars(value).values()) if hasattr(value, "__dict__") else inner:
            visit(each)

    visit(whole)
    return sum(each.nbytes for each in seen.values() if isinstance(each, torch.Tensor) and each.ndim > 1)


@pytest.fixture(scope="module", params=[*FAMILIES, *SMALL])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.long
def test_what_is_hidden_says_why(hooked: HookedModel, family: str) -> None:
    hidden = {check.name: check.detail for check in hooked.card.checks if not check.passed}
    assert hidden.keys() == HIDDEN.get(family, {}).keys(), hidden
    for name, word in HIDDEN.get(family, {}).items():
        assert word in hidden[name]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[] if name in ("greedy", "every processor") else pytest.mark.long)
        for name, settings in SETTINGS.items()
    ],
)
def test_a_traced_run_is_the_librarys_own_run_bit_for_bit(hooked: HookedModel, settings: dict[str, Any]) -> None:
    traced = trace(hooked, PROMPT, max_new_tokens=NEW, additions=False, **settings)
    torch.manual_seed(int(settings.get("seed", 0)))
    sampling = {"do_sample": True, "top_k": 0} if settings.get("temperature") else {"do_sample": False}
    own = hooked.model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=NEW,
        use_cache=True,  # MPT's own default is not to
        output_logits=True,
        output_scores=True,
        return_dict_in_generate=True,
        **{**sampling, **{k: v for k, v in settings.items() if k != "seed"}},
    )
    assert [token.id for token in traced.tokens] == own.sequences[0].tolist()
    assert np.array_equal(traced.logits, torch.cat(own.logits).numpy())
    for choice, scores in zip(traced.choices, own.scores, strict=True):
        last = choice.stages[-1].candidates if choice.stages else choice.candidates
        assert [scores[0, each.id].item() for each in last] == [each.score for each in last]
        if choice.stages:
            assert choice.stages[-1].alive == int(torch.isfinite(scores).sum())


def test_the_run_with_a_cache_equals_one_forward_pass_over_everything(hooked: HookedModel, run: Trace) -> None:
    whole = trace(hooked, [token.id for token in run.tokens[:-1]], max_new_tokens=1, additions=False)
    assert len(whole.steps) == 1 and whole.n_fed == run.n_fed
    assert run.arrays().keys() - set(AFTER_RUN) == whole.arrays().keys()
    if hooked.card.family in UNLIKE_ONE_PASS:
        with torch.no_grad():
            own = hooked.model(torch.tensor([[token.id for token in run.tokens[:-1]]]), use_cache=False).logits[0, -1]
        gap = np.abs(run.logits[-1] - own.numpy()).max() / np.abs(own.numpy()).max()
        assert gap > UNLIKE_ONE_PASS[hooked.card.family], "the library's own runs are alike: it can be compared"
        return
    for name in {"queries", "keys", "values", "resid"} & whole.arrays().keys():
        size = np.abs(whole.arrays()[name]).max()
        assert np.abs(run.arrays()[name] - whole.arrays()[name]).max() <= 1e-4 * size, name
    assert np.abs(run.logits[-1] - whole.logits[-1]).max() <= 1e-4 * np.abs(whole.logits).max()


def test_the_rebuilt_pattern_is_the_models_own(hooked: HookedModel, run: Trace, family: str) -> None:
    if "attention" in HIDDEN.get(family, {}):
        assert run.queries is None
        return
    if UNLIKE_ONE_PASS.get(family, 0) > 1e-2:
        return
    independent = tiny_model(family)
    independent.set_attn_implementation("eager")
    independent.config._attn_implementation = "eager"  # Falcon does not let itself be told
    ids = torch.tensor([[token.id for token in run.tokens[:-1]]])
    with torch.no_grad():
        own = independent(ids, output_attentions=True, use_cache=False).attentions
    for layer, weights in enumerate(own):
        for head in range(run.model.n_heads):
            assert np.abs(run.pattern(layer, head) - weights[0, head].numpy()).max() <= 1e-5


def test_rows_sum_to_one_or_leave_the_rest_to_the_sink_and_nobody_sees_the_future(run: Trace, family: str) -> None:
    if run.queries is None:
        return
    rows = run.pattern_rows(0, run.n_fed)
    assert np.all(np.triu(rows, k=1) == 0)
    sums = rows.sum(axis=-1)
    assert run.sinks is not None or family != "gpt_oss"
    if run.sinks is not None:
        assert sums.max() <= 1 + 1e-6 and sums.min() < 0.99  # what is missing went to the sink
    else:
        assert np.abs(sums - 1).max() <= 1e-5


def test_a_window_hides_what_is_further_back(run: Trace, family: str) -> None:
    windows = {rule.window for rule in run.rules} - {None}
    if family in ("mistral", "gemma2", "gemma3_text", "gpt_oss"):
        assert windows == {WINDOW}
    for layer, rule in enumerate(run.rules):
        if rule.window is not None:
            assert np.all(np.tril(run.pattern(layer, 0), k=-rule.window) == 0)


def test_a_mask_that_no_rule_says_is_kept_as_it_was(run: Trace, family: str) -> None:
    if family != "llama4_text":
        assert run.masks is None or family in (*SMALL, "bloom")
        return
    assert run.masks is not None
    chunked = next(layer for layer, rule in enumerate(run.rules) if rule.mask is not None)
    assert run.pattern(chunked, 0)[WINDOW, :WINDOW].max() == 0  # the first token of the second chunk sees itself only


def test_the_last_layer_of_the_lens_gives_the_logits(hooked: HookedModel, run: Trace) -> None:
    if "lens" in HIDDEN.get(hooked.card.family, {}):
        assert run.lens_ids is None
        return
    assert run.lens_ids is not None and run.lens_probs is not None
    for step, position in enumerate(range(run.n_prompt - 1, run.n_fed)):
        lens = logit_lens.logits(hooked, run, run.model.n_layers, position)
        assert np.abs(lens - run.logits[step]).max() <= 1e-5 * np.abs(run.logits[step]).max()
        chances = np.exp(run.logits[step] - run.logits[step].max())
        assert run.lens_ids[-1, position, 0] == run.logits[step].argmax()
        assert abs(run.lens_probs[-1, position, 0] - (chances / chances.sum()).max()) <= 1e-5


def test_the_strongest_units_are_the_strongest(hooked: HookedModel, run: Trace) -> None:
    if run.unit_values is None:
        return
    assert run.unit_ids is not None
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Any:
        return lambda _, args: seen.__setitem__(layer, args[0].clone())

    handles = [
        module.register_forward_pre_hook(keep(layer))
        for layer, module in enumerate(hooked.anatomy.unit_outputs)
        if module is not None
    ]
    with torch.no_grad():
        hooked.model(torch.tensor([PROMPT]), use_cache=False)
    for handle in handles:
        handle.remove()
    for layer, units in seen.items():
        units = units.reshape(len(PROMPT), -1)
        kept = units.gather(-1, torch.tensor(run.unit_ids[layer, : len(PROMPT)]).long())
        assert np.allclose(kept.numpy(), run.unit_values[layer, : len(PROMPT)], atol=1e-6)
        assert np.allclose(kept.abs().max(-1).values, units.abs().max(-1).values, atol=1e-6)


def test_kv_bytes_are_the_caches_own(hooked: HookedModel, run: Trace) -> None:
    """All that can be reached from the cache of the library's own run, wherever a family keeps it."""
    own = hooked.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=NEW, do_sample=False, use_cache=True, return_dict_in_generate=True
    )
    assert run.steps[-1].kv_bytes == bytes_within(own.past_key_values)
    for step in run.steps:
        assert not step.layer_bytes or sum(step.layer_bytes) <= step.kv_bytes
