"""What a forward pass must do, predicted from a model's shapes: operations, bytes of weights, bytes of its KV cache."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.pytorch_utils import Conv1D

from model.arch.anatomy import of_layers
from model.arch.placement import fetches_weights
from model.capture.hooked import HookedModel
from model.errors import NotShown
from model.records.timing import Work, kv_bytes
from model.records.trace import ModelCard
from model.texts import phrase


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shapes:
    """What the predictions are made from: sizes of one model's matrices, heads and cache."""

    card: ModelCard
    per_token: int  # numbers in the matrices that each token read is multiplied with
    per_text: int  # numbers in the output head: `generate` asks it for the last position alone
    weight_bytes: int  # of all that a pass reads whole: an embedding table gives single rows, and counts if tied
    number_bytes: int
    windows: tuple[int, ...]  # of each layer: positions that its attention looks back on, itself included; 0: all


def work(model: HookedModel | Shapes, *, n_new: int, n_context: int, batch: int = 1, cached: bool = True) -> Work:
    """What one forward pass over n_new tokens of each text must do, when it attends to n_context of them.

    A multiplication and its addition are two operations: 2 for each number of a matrix and token, and in attention
    two products of n_new x n_context x heads x width each, the full square, as the library's own code computes it.
    Norms, activations, softmax and rotary turns are left out: together they are well below one in a hundred.
    With `cached` False the pass keeps no keys and values.
    Raises: NotShown, for a model with parts that this count does not know, such as a mixture of experts.
    Source: Kaplan et al. 2020, section 2.1 and table 1; Pope et al. 2022, "Efficiently Scaling Transformer
    Inference", section 2, for what is read from memory.
    """
    shapes = model if isinstance(model, Shapes) else shapes_of(model)
    card, before = shapes.card, n_context - n_new
    attended = sum(min(before, window - 1) + n_new if window else n_context for window in shapes.windows)
    attention = 2 * 2 * n_new * attended * card.n_heads * card.d_head

    def cache(n_tokens: int, windows: tuple[int, ...]) -> int:
        return kv_bytes(card, n_tokens, batch=batch, bytes_per_number=shapes.number_bytes, windows=windows)

    return Work(
        batch=batch,
        n_new=n_new,
        n_context=n_context,
        flops=batch * (2 * shapes.per_token * n_new + 2 * shapes.per_text + attention),
        weight_bytes=shapes.weight_bytes,
        kv_read=cache(before, shapes.windows) if cached else 0,
        kv_written=cache(n_new, ()) if cached else 0,
    )


def shapes_of(hooked: HookedModel) -> Shapes:
    """The shapes of a model, if the cost model covers every matrix in it.

    Raises: NotShown, with the name of a matrix that it does not cover.
    """
    model, card = hooked.model, hooked.card
    if fetches_weights(model):
        raise NotShown(
            "the work of {model} cannot be predicted: it lies on {devices}, and its passes wait for weights to be "
            "fetched. Load it where one kind of memory holds it.",
            model=card.name,
            devices=card.device,
        )
    head: Any = hooked.anatomy.head
    matrices = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    known = {id(module.weight): name for name, module in matrices.items()}
    if unknown := _unknown(model, card, known.keys() | tables):
        raise NotShown(
            "the work of {model} cannot be predicted: {unknown}, which the cost model does not cover. "
            "Pick a model of plain layers, such as the default.",
            model=card.name,
            unknown=unknown,
        )
    return Shapes(
        card=card,
        per_token=sum(module.weight.numel() for module in matrices.values() if module is not head),
        per_text=head.weight.numel(),
        weight_bytes=sum(
            each.numel() * each.element_size()
            for each in model.parameters()
            if id(each) in known or id(each) not in tables
        ),
        number_bytes=model.dtype.itemsize,
        windows=windows_of(model),
    )


def windows_of(model: Any) -> tuple[int, ...]:
    """How far back each layer looks, as the library's own cache is told: positions, itself included; 0: all."""
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    return tuple(getattr(layer, "sliding_window", 0) for layer in layers)


def _unknown(model: Any, card: ModelCard, known: set[int]) -> str | None:
    """What keeps the count from being right, in words, or None."""
    config = model.config.get_text_config()
    layers = DynamicCache(config=config).layers
    if config is not model.config:
        return phrase("it reads more than text")
    if other := [layer for layer in layers if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer)]:
        return phrase("its cache has layers of the kind {kind}", kind=type(other[0]).__name__)
    sizes = {name: of_layers(config, name) for name in ("head_dim", "num_key_value_heads", "num_attention_heads")}
    odd = any(getattr(config, name, None) for name in ("kv_lora_rank", "v_head_dim"))
    if len(layers) != card.n_layers or odd or any(len(set(each)) > 1 for each in sizes.values()):
        return phrase("its keys and values are not of one width in every layer")
    if experts := [name for name, _ in model.named_parameters() if "expert" in name]:
        return phrase("{experts} belongs to an expert, which reads some tokens only", experts=experts[0])
    for name, each in model.named_parameters():
        if each.ndim > 1 and id(each) not in known:
            return phrase(
                "{name} has the shape {shape} and is no matrix of a linear layer", name=name, shape=tuple(each.shape)
            )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.weight.numel() != module.in_features * module.out_features:
            return phrase("{name} is packed", name=name)
    return None
