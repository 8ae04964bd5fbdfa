"""A llama so small that all that it computes can be worked out by hand: two layers, two query heads that share one key
head, four numbers a token. What a run records of it is set beside formulas in plain Python, which call no layer.

The weights are chosen for it. All embeddings are of signs, so their root mean square is 1 and the first norm (eps 0)
only scales them. Heads are two wide, so the rotation turns one pair of numbers, by the position in radians. In layer 0
head 0 asks with zeros, so it spreads evenly; head 1 asks with (±1, 0) and every key is (±1, 0), so its score of row i
on key j is ± cos(i - j) / sqrt(2).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from model import HookedModel, Trace, load, trace
from model.records import attention

Vector = Sequence[float]
PROMPT, NEW = [0, 1, 2], 3  # a prefill of three tokens and two decode steps
N_LAYERS, N_HEADS, WIDTH, D_HEAD, N_UNITS = 2, 2, 4, 2, 8
EMBEDDING = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [-1, 1, 1, -1], [1, -1, -1, 1]]
HEAD = [[1, 0, 0, 0], [0, 1, 0, 1], [0, -1, 2, 0], [-1, 0, 1, 1], [0, 1, -1, -2]]
ATTENTION_NORM = [[1, 2, 1, 0.5], [1, 1, 2, 1]]
MLP_NORM = [[1, 1, 1, 1], [0.5, 1, 1, 2]]
FINAL_NORM = [1, 2, 1, 0.5]
QUERY = [  # by layer: two heads of two rows
    [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]],
]
KEY = [[[1, 0, 0, 0], [0, 0, 0, 0]], [[0, 1, 0, 0], [1, 0, 0, 0]]]
VALUE = [[[0, 1, 0, 0], [0, 0, 0, 1]], [[0, 0, 1, 0], [1, 0, 0, -1]]]
OUTPUT = [  # what is added of head 0's two numbers and head 1's two
    [[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 2]],
    [[0.5, 0, 0, 0], [0, 0, 0, -1], [0, 0, 0.5, 0], [0, 1, 0, 0]],
]
GATE, UP = [1, -1, 2, 0.5, 1, -0.5, 1, 3], [1, 1, 0.5, -1, 2, 1, -1, 0.25]  # of each unit


def matrix(rows: Sequence[Vector], x: Vector) -> list[float]:
    return [sum(weight * each for weight, each in zip(row, x, strict=True)) for row in rows]


def norm(x: Vector, scale: Vector) -> list[float]:
    size = math.sqrt(sum(each * each for each in x) / len(x))
    return [each / size * by for each, by in zip(x, scale, strict=True)]


def turned(pair: Vector, position: int) -> list[float]:
    (a, b), cos, sin = pair, math.cos(position), math.sin(position)
    return [a * cos - b * sin, b * cos + a * sin]


def softmax(scores: Vector) -> list[float]:
    powers = [math.exp(each - max(scores)) for each in scores]
    return [each / sum(powers) for each in powers]


def added(x: Vector, more: Vector) -> list[float]:
    return [a + b for a, b in zip(x, more, strict=True)]


def units_of(x: Vector) -> list[float]:
    """Unit u: its gate looks at number u mod 4, and lets through the next one."""
    gates = [GATE[u] * x[u % 4] for u in range(N_UNITS)]
    return [g / (1 + math.exp(-g)) * UP[u] * x[(u + 1) % 4] for u, g in enumerate(gates)]


def mlp_out(units: Vector) -> list[float]:
    """Number m gets half of unit m, and loses unit m + 4."""
    return [units[m] / 2 - units[m + 4] for m in range(WIDTH)]


class ByHand:
    """All that the model computes of these tokens, by name: what each layer's parts take and give at each position."""

    def __init__(self, ids: list[int]) -> None:
        x = [[float(each) for each in EMBEDDING[token]] for token in ids]
        self.resid, self.layers = [x], [{} for _ in range(N_LAYERS)]
        for layer, kept in enumerate(self.layers):
            self._attend(layer, x, kept)
            x = [added(each, out) for each, out in zip(x, kept["attention_out"], strict=True)]
            kept["units"] = [units_of(norm(each, MLP_NORM[layer])) for each in x]
            kept["mlp_out"] = [mlp_out(each) for each in kept["units"]]
            x = [added(each, out) for each, out in zip(x, kept["mlp_out"], strict=True)]
            self.resid.append(x)
        self.logits = [self.said(each) for each in x]

    @staticmethod
    def said(x: Vector) -> list[float]:
        return matrix(HEAD, norm(x, FINAL_NORM))

    def _attend(self, layer: int, x: Sequence[Vector], kept: dict[str, Any]) -> None:
        normed = [norm(each, ATTENTION_NORM[layer]) for each in x]
        asked = [matrix(QUERY[layer], each) for each in normed]
        heads = [slice(0, 2), slice(2, 4)]
        kept["queries"] = [[turned(each[head], i) for i, each in enumerate(asked)] for head in heads]
        kept["keys"] = [turned(matrix(KEY[layer], each), j) for j, each in enumerate(normed)]
        kept["values"] = [matrix(VALUE[layer], each) for each in normed]
        kept["scores"] = [
            [[dot(query, key) / math.sqrt(D_HEAD) for key in kept["keys"][: i + 1]] for i, query in enumerate(of_head)]
            for of_head in kept["queries"]
        ]
        kept["pattern"] = [[softmax(row) for row in of_head] for of_head in kept["scores"]]
        kept["z"] = [
            [mixed(row, kept["values"]) for row in of_head] for of_head in kept["pattern"]
        ]  # [head][position], two numbers
        both = zip(*kept["z"], strict=True)
        kept["attention_out"] = [matrix(OUTPUT[layer], [*one, *other]) for one, other in both]


def dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def mixed(weights: Vector, values: Sequence[Vector]) -> list[float]:
    return [sum(weight * value[i] for weight, value in zip(weights, values, strict=False)) for i in range(D_HEAD)]


def written_by_hand() -> list[int]:
    """The prompt, and each next token: the one with the highest logit after the last, clearly above the next."""
    ids = list(PROMPT)
    for _ in range(NEW):
        last = ByHand(ids).logits[-1]
        first, second = sorted(last, reverse=True)[:2]
        assert first - second > 0.1, "the weights make a choice that rounding could turn"
        ids.append(last.index(first))
    return ids


@pytest.fixture(scope="module")
def model() -> Any:
    config = LlamaConfig(
        vocab_size=len(EMBEDDING),
        hidden_size=WIDTH,
        intermediate_size=N_UNITS,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=1,
        head_dim=D_HEAD,
        max_position_embeddings=64,
        rms_norm_eps=0.0,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    made: Any = LlamaForCausalLM(config).eval()
    set_to(made.model.embed_tokens.weight, EMBEDDING)
    set_to(made.lm_head.weight, HEAD)
    set_to(made.model.norm.weight, FINAL_NORM)
    unit = np.eye(WIDTH)
    for i, layer in enumerate(made.model.layers):
        set_to(layer.input_layernorm.weight, ATTENTION_NORM[i])
        set_to(layer.post_attention_layernorm.weight, MLP_NORM[i])
        for name, rows in (("q_proj", QUERY), ("k_proj", KEY), ("v_proj", VALUE), ("o_proj", OUTPUT)):
            set_to(getattr(layer.self_attn, name).weight, rows[i])
        set_to(layer.mlp.gate_proj.weight, [GATE[u] * unit[u % 4] for u in range(N_UNITS)])
        set_to(layer.mlp.up_proj.weight, [UP[u] * unit[(u + 1) % 4] for u in range(N_UNITS)])
        set_to(layer.mlp.down_proj.weight, np.concatenate([unit / 2, -unit], axis=1))
    return made


def set_to(weight: torch.Tensor, numbers: Any) -> None:
    with torch.no_grad():
        weight.copy_(torch.tensor(np.array(numbers), dtype=torch.float32))


@pytest.fixture(scope="module")
def hooked(model: Any) -> HookedModel:
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(len(EMBEDDING))}, unk_token="w0"))
    return load(model=model, tokenizer=PreTrainedTokenizerFast(tokenizer_object=words))


@pytest.fixture(scope="module")
def run(hooked: HookedModel) -> Trace:
    return trace(hooked, PROMPT, max_new_tokens=NEW)


@pytest.fixture(scope="module")
def hand() -> ByHand:
    return ByHand(written_by_hand()[:-1])  # the last one is read by nobody


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-6, atol=1e-6)


# Numbers


def test_the_first_layer_in_numbers(run: Trace):
    assert run.resid is not None and run.queries is not None and run.keys is not None and run.values is not None
    assert run.resid[0, :3].tolist() == EMBEDDING[:3]
    assert (run.queries[0, 0] == 0).all()
    c, s = math.cos, math.sin
    same(run.queries[0, 1, :3], [[1, 0], [c(1), s(1)], [-c(2), -s(2)]])  # the third number of a token, turned
    same(run.keys[0, 0, :3], [[1, 0], [c(1), s(1)], [c(2), s(2)]])  # all three begin with 1
    same(run.values[0, 0, :3], [[2, 0.5], [-2, -0.5], [2, -0.5]])  # numbers 1 and 3, scaled by 2 and 1/2
    same(run.pattern(0, 0)[:3, :3], [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
    z = run.pattern(0, 0) @ run.values[0, 0]
    same(z[:3], [[2, 0.5], [0, 0], [2 / 3, -1 / 6]])
    root = math.sqrt(2)
    e = [math.exp(-c(2) / root), math.exp(-c(1) / root), math.exp(-1 / root)]
    same(run.pattern(0, 1)[2, :3], [each / sum(e) for each in e])
    near, far = math.exp(1 / root), math.exp(c(1) / root)
    same(run.pattern(0, 1)[1, :2], [far / (near + far), near / (near + far)])


def test_the_bytes_of_the_cache(run: Trace):
    one = N_LAYERS * (1 * D_HEAD + 1 * D_HEAD) * 4  # a key and a value of one head in each layer, in float32
    assert one == 32
    assert [step.kv_bytes for step in run.steps] == [96, 128, 160]
    assert [(step.kind, step.first, step.n_tokens) for step in run.steps] == [
        ("prefill", 0, 3),
        ("decode", 3, 1),
        ("decode", 4, 1),
    ]


# Formulas, at every position that was read, in the prefill and in both decode steps


def test_the_tokens_are_those_that_the_formulas_choose(run: Trace):
    assert [token.id for token in run.tokens] == written_by_hand()
    assert run.n_fed == 5


def test_the_residual_stream(run: Trace, hand: ByHand):
    same(run.resid, hand.resid)


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_queries_keys_and_values(run: Trace, hand: ByHand, layer: int):
    assert run.queries is not None and run.keys is not None and run.values is not None
    kept = hand.layers[layer]
    same(run.queries[layer], kept["queries"])
    same(run.keys[layer], [kept["keys"]])
    same(run.values[layer], [kept["values"]])


@pytest.mark.parametrize("layer", range(N_LAYERS))
@pytest.mark.parametrize("head", range(N_HEADS))
def test_scores_pattern_and_what_a_head_takes(run: Trace, hand: ByHand, layer: int, head: int):
    assert run.queries is not None and run.keys is not None and run.values is not None
    kept = hand.layers[layer]
    assert run.rules[layer].scaling == pytest.approx(1 / math.sqrt(2))
    scores = attention.scores(run.queries[layer, head], run.keys[layer, 0], run.rules[layer])
    pattern = run.pattern(layer, head)
    for i in range(run.n_fed):
        same(scores[i, : i + 1], kept["scores"][head][i])
        same(pattern[i, : i + 1], kept["pattern"][head][i])
        assert not pattern[i, i + 1 :].any()
    same(pattern @ run.values[layer, 0], kept["z"][head])


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_units_of_the_mlp(run: Trace, hand: ByHand, layer: int):
    assert run.unit_ids is not None and run.unit_values is not None
    for position, units in enumerate(hand.layers[layer]["units"]):
        ids, values = run.unit_ids[layer, position], run.unit_values[layer, position]
        assert sorted(ids.tolist()) == list(range(N_UNITS))
        same(values, [units[unit] for unit in ids])
        assert (np.diff(np.abs(values)) <= 1e-6).all(), "the strongest first"


@pytest.mark.parametrize(("name", "part"), [("attention_out", "self_attn"), ("mlp_out", "mlp")])
def test_what_the_parts_of_a_layer_give(model: Any, hand: ByHand, name: str, part: str):
    given: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        given.append(output[0] if isinstance(output, tuple) else output)

    hooks = [getattr(layer, part).register_forward_hook(keep) for layer in model.model.layers]
    with torch.inference_mode():
        model(torch.tensor([written_by_hand()[:-1]]))
    for hook in hooks:
        hook.remove()
    for found, kept in zip(given, hand.layers, strict=True):
        same(found.numpy().reshape(-1, WIDTH), kept[name])


def test_logits_probabilities_and_entropy(run: Trace, hand: ByHand):
    for step, choice in enumerate(run.choices):
        logits = hand.logits[len(PROMPT) - 1 + step]
        chances = softmax(logits)
        same(run.logits[step], logits)
        assert choice.rank == 0
        same([choice.logit, choice.probability], [max(logits), max(chances)])
        same(choice.entropy, -sum(each * math.log(each) for each in chances))
        found = {each.id: each.probability for each in choice.candidates}
        same([found[i] for i in range(len(chances))], chances)


def test_the_logit_lens_at_every_place(run: Trace, hand: ByHand):
    assert run.lens_ids is not None and run.lens_probs is not None
    for level, stream in enumerate(hand.resid):
        for position, x in enumerate(stream):
            chances = softmax(hand.said(x))
            same(run.lens_probs[level, position], [chances[each] for each in run.lens_ids[level, position]])


def test_the_rotation_and_the_embeddings(run: Trace):
    assert run.rotary_cos is not None and run.rotary_sin is not None
    assert run.embeddings is not None and run.embed_ids is not None
    same(run.rotary_cos[:, 0], [math.cos(i) for i in range(run.n_fed)])
    same(run.rotary_sin[:, 0], [math.sin(i) for i in range(run.n_fed)])
    for token, vector in zip(run.embed_ids, run.embeddings, strict=False):
        assert vector.tolist() == EMBEDDING[token]


def test_all_of_it_is_proved_when_it_is_loaded(hooked: HookedModel):
    assert [check.name for check in hooked.card.checks if not check.passed] == []
    assert (hooked.card.n_heads, hooked.card.n_kv_heads, hooked.card.d_head) == (2, 1, 2)


BROKEN: dict[str, Callable[[ByHand], None]] = {
    "resid": lambda hand: hand.resid[1][4].__setitem__(2, hand.resid[1][4][2] + 1e-5),
    "logits": lambda hand: hand.logits[4].__setitem__(0, hand.logits[4][0] + 1e-5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_hundred_thousandth_more_is_seen(run: Trace, name: str):
    hand = ByHand(written_by_hand()[:-1])
    BROKEN[name](hand)
    expected = hand.resid if name == "resid" else hand.logits[len(PROMPT) - 1 :]
    with pytest.raises(AssertionError):
        same(getattr(run, name), expected)
