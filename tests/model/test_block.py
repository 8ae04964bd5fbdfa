"""The parts of a layer are those that ran, in their order, with the shapes that they multiply by."""

import pytest
import torch
from torch import nn

from model import HookedModel
from model.arch import anatomy
from model.arch.block import BlockProbe, block_note
from tests.tiny import FAMILIES, shared, tiny

_GATED = ("mlp.gate_proj part 48>96", "mlp.act_fn part 96>96", "mlp.up_proj part 48>96", "mlp.down_proj part 96>48")
_LLAMA = (
    "input_layernorm stream 48>48",
    "self_attn.q_proj part 48>48",
    "self_attn.k_proj part 48>24",
    "self_attn.v_proj part 48>24",
    "self_attn.o_proj part 48>48",
    "post_attention_layernorm branch 48>48",
    *_GATED,
)
_WIDE = ("self_attn.q_proj part 48>64", "self_attn.k_proj part 48>32", "self_attn.v_proj part 48>32")
_GEMMA_NORMS = (
    "self_attn.o_proj part 64>48",
    "post_attention_layernorm part 48>48",
    "pre_feedforward_layernorm branch 48>48",
    *_GATED,
    "post_feedforward_layernorm part 48>48",
)
BLOCKS = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "granite": _LLAMA,
    "cohere": tuple(each for each in _LLAMA if not each.startswith("post_")),
    "qwen3": (
        _LLAMA[0],
        "self_attn.q_proj part 48>64",
        "self_attn.q_norm part 16>16",
        "self_attn.k_proj part 48>32",
        "self_attn.k_norm part 16>16",
        "self_attn.v_proj part 48>32",
        "self_attn.o_proj part 64>48",
        *_LLAMA[5:],
    ),
    "gemma2": (_LLAMA[0], *_WIDE, *_GEMMA_NORMS),
    "gemma3_text": (_LLAMA[0], *_WIDE, "self_attn.q_norm part 16>16", "self_attn.k_norm part 16>16", *_GEMMA_NORMS),
    "gpt2": (
        "ln_1 stream 48>48",
        "attn.c_attn part 48>144",
        "attn.c_proj part 48>48",
        "ln_2 branch 48>48",
        "mlp.c_fc part 48>192",
        "mlp.act part 192>192",
        "mlp.c_proj part 192>48",
    ),
    "opt": (
        "self_attn_layer_norm stream 48>48",
        "self_attn.q_proj part 48>48",
        "self_attn.k_proj part 48>48",
        "self_attn.v_proj part 48>48",
        "self_attn.out_proj part 48>48",
        "final_layer_norm branch 48>48",
        "fc1 part 48>96",
        "activation_fn part 96>96",
        "fc2 part 96>48",
    ),
    "gpt_neox": (
        "input_layernorm stream 48>48",
        "attention.query_key_value part 48>144",
        "attention.dense part 48>48",
        "post_attention_layernorm stream 48>48",
        "mlp.dense_h_to_4h part 48>96",
        "mlp.act part 96>96",
        "mlp.dense_4h_to_h part 96>48",
    ),
    "bloom": (
        "input_layernorm stream 48>48",
        "self_attention.query_key_value part 48>144",
        "self_attention.dense part 48>48",
        "post_attention_layernorm branch 48>48",
        "mlp.dense_h_to_4h part 48>192",
        "mlp.gelu_impl part 192>192",
        "mlp.dense_4h_to_h part 192>48",
    ),
    "gpt_oss": (
        _LLAMA[0],
        "self_attn part 48>48",
        *_WIDE,
        "self_attn.o_proj part 64>48",
        _LLAMA[5],
        "mlp.router part 48>4",
        "mlp.experts part 48>48",
    ),
    "llama4_text": (
        _LLAMA[0],
        *_WIDE,
        "self_attn.qk_norm part 16>16",
        "self_attn.o_proj part 64>48",
        _LLAMA[5],
        "feed_forward.router part 48>2",
        "feed_forward.experts part 48>48",
        "feed_forward.experts.act_fn part 96>96",
        "feed_forward.shared_expert.gate_proj part 48>96",
        "feed_forward.shared_expert.activation_fn part 96>96",
        "feed_forward.shared_expert.up_proj part 48>96",
        "feed_forward.shared_expert.down_proj part 96>48",
    ),
}
PARALLEL = ("gpt_neox", "cohere")


@pytest.fixture(scope="module", params=FAMILIES)
def hooked(request: pytest.FixtureRequest) -> HookedModel:
    return shared(request.param)


def test_the_parts_are_those_of_the_family_in_the_order_in_which_they_run(hooked: HookedModel) -> None:
    card = hooked.card
    assert tuple(f"{part.name} {part.reads} {part.d_in}>{part.d_out}" for part in card.block) == BLOCKS[card.family]
    assert any(part.reads == "branch" for part in card.block) is (card.family not in PARALLEL)
    assert card.block_note == ""


def test_every_parameter_of_the_layer_stands_in_one_part_with_its_shape(hooked: HookedModel) -> None:
    layer = hooked.anatomy.layers[0]
    assert sum(part.n_parameters for part in hooked.card.block) == sum(each.numel() for each in layer.parameters())
    for part in hooked.card.block:
        module = layer.get_submodule(part.name)
        assert (part.module, part.bias) == (type(module).__name__, getattr(module, "bias", None) is not None)
        if part.kind == "linear":
            assert part.weight == (part.d_out, part.d_in)
        if part.kind == "activation":
            assert part.weight is None and part.n_parameters == 0
    kinds = {part.name: part.kind for part in hooked.card.block}
    assert all((kind == "norm") is ("norm" in name or "ln_" in name) for name, kind in kinds.items())


def test_a_fused_matrix_turned_as_it_multiplies() -> None:
    hooked = shared("gpt2")
    part = next(part for part in hooked.card.block if part.name == "attn.c_attn")
    matrix: nn.Module = hooked.anatomy.layers[0].get_submodule(part.name)
    assert part.weight is not None and isinstance(matrix.weight, torch.Tensor)
    assert part.weight == tuple(matrix.weight.T.shape) == (144, 48)


def test_layers_built_otherwise_are_told() -> None:
    hooked = tiny("llama")
    layers = list(hooked.anatomy.layers)
    layers[1].mlp = nn.Sequential(nn.Linear(48, 8), nn.Linear(8, 48))
    assert block_note(layers, hooked.card.block) == "1 of the 3 layers differ from layer 0 (1)."
    assert "differ" not in block_note(layers[:1], hooked.card.block)


def test_an_expert_that_did_not_run_is_told_and_not_listed() -> None:
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.experts[1](x)

    layer = Mixture()
    probe = BlockProbe(layer, None)
    with anatomy.attached(list(probe.hooks())):
        layer(torch.randn(1, 3, 4))
    assert [(part.name, part.reads) for part in probe.parts()] == [("experts.1", "stream")]
    assert "Of layer 0's 60 parameters, 40 stand in modules that did not run" in block_note([layer], probe.parts())


def test_what_is_nearly_the_stream_is_not_the_stream() -> None:
    class Nudge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mid = x + self.first(x * (1 + 1e-6))
            return self.second(mid) + self.third(mid * (1 + 1e-6))

    layer = Nudge()
    probe = BlockProbe(layer, None)
    with anatomy.attached(list(probe.hooks())):
        layer(torch.randn(1, 3, 4))
    assert [(part.name, part.reads) for part in probe.parts()] == [
        ("first", "part"),
        ("second", "branch"),
        ("third", "part"),
    ]
