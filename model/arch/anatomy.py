"""Finds a model's parts by running it once: layers, final norm, head, MLP units. Nothing is named by hand."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from model.arch.attention_calls import watched
from model.arch.block import BlockProbe, block_note
from model.arch.head_outputs import HeadOutputs, HeadProbe, mlp_of
from model.arch.own_attention import OwnAttention, OwnCall
from model.arch.placement import home
from model.arch.positions import LearnedPositions, PositionProbe, Rotary
from model.arch.rounding import CLOSE, epsilon, share
from model.errors import UnknownModel
from model.records.trace import Part
from model.texts import phrase

T = TypeVar("T")
Hooks = Iterable[tuple[Callable[..., Any], Callable[..., None]]]

_NORM_NAMES = ("norm", "ln_f", "norm_f", "final_norm", "final_layernorm", "final_layer_norm")
_LOOKS_AHEAD = 1e-4  # of the largest logit: float32 rounds a hundredth of that, a look at a later token is far more
_LOOKS_AHEAD_ROUNDINGS = 8  # in a shorter precision: a mixture of experts rounds by which tokens an expert is given
_MOST_CHILDREN = 10  # a layer with more parts than this is not searched for the ones that add up


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """Where the parts of one model are. What was not found is None."""

    layers: tuple[nn.Module, ...]
    final_norm: nn.Module | None
    embedding: nn.Module
    head: nn.Module
    d_vocab: int  # rows of the head: it may have more than the tokenizer has words
    unit_outputs: tuple[nn.Module | None, ...]  # of each layer: the matrix that reads the MLP's units
    parts: tuple[tuple[str, ...] | None, ...]  # of each layer: its children whose outputs sum to what it adds
    head_outputs: tuple[HeadOutputs | None, ...]  # of each layer: what its heads give, and to which matrix
    mlps: tuple[nn.Module | None, ...]  # of each layer: of two such children, the one that is not its attention's
    experts: tuple[
        nn.Module | None, ...
    ]  # of each layer: the module that is called with each token's choice of experts
    own_attention: bool  # whether attention is computed without the library's interface, in a way that can be followed
    stream_stays: bool  # whether the residual stream at each layer's entrance stays as it was until the pass is over
    positions: Rotary | LearnedPositions | None  # how layer 0 knows where a token stands
    block: tuple[Part, ...]  # the modules of layer 0 in the order in which they ran
    block_note: str
    failed: Mapping[
        str, str
    ]  # by "units", "parts", "heads", "positions" or "block": what the search for it tripped over

    @property
    def n_experts(self) -> int:
        """Of the layer that has most of them: experts that a router chooses from; 0 without a mixture of experts."""
        weights = (each for module in self.experts if module is not None for each in module.parameters())
        return max((each.shape[0] for each in weights if each.ndim == 3), default=0)  # [expert, ...]: of all in one

    def logits(self, resid: torch.Tensor, config: Any) -> torch.Tensor:
        """What the model would say from this point of the residual stream: final norm, head, and the model's own scale.

        Shapes: resid [..., M] -> float32 [..., V].
        Source: nostalgebraist 2020, the logit lens; the soft caps of Gemma 2 and RecurrentGemma, the scales of
        Cohere and Granite.
        """
        assert self.final_norm is not None
        return after_head(self.head(self.final_norm(resid.to(next(self.head.parameters()).dtype))), config).float()


def after_head(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """What a model makes of what its head gives: the model's own scale and soft cap."""
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def find(model: Any) -> Anatomy:
    """Find the parts of a causal language model, with one forward pass over four tokens, and a second without hooks.

    What the search for a part trips over stands in `failed`, and that part is not found.
    Raises: UnknownModel, if it has no list of layers or no head, or looks ahead, so that it is no model of this kind.
    """
    config = model.config.get_text_config()
    layers, parent = _layers(model, config)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if embedding is None or head is None:
        raise UnknownModel(
            "{kind} has no embedding or no output head: it does not write text. Pick a causal language model.",
            kind=type(model).__name__,
        )
    rounds = epsilon(model)
    probes = [_Probe(layer, config, width, rounds) for layer, width in zip(layers, mlp_widths(config), strict=True)]
    positions, block = PositionProbe(model, layers, embedding), BlockProbe(layers[0], config)
    search, heads = _Search(), HeadProbe(layers)
    hooks = [
        *search.hooks(heads.hooks(), "heads"),
        *search.hooks(block.hooks(), "block"),
        *search.hooks(positions.hooks(), "positions"),
        *(hook for probe in probes for hook in search.hooks(probe.hooks(), "units", "parts")),
    ]
    ids = torch.arange(4, device=home(model))[None] % config.vocab_size
    computed: list[OwnCall] = []

    def computed_own(call: OwnCall) -> None:
        computed.append(call)
        heads.attend_own(call)

    own = OwnAttention(computed_own)
    with attached(hooks), watched(own.left_out), watched(heads.attend), own, torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits
    _require_causal(model, ids, logits)
    block_parts = search.found("block", block.parts, ())
    parts = tuple(search.found("parts", probe.parts, None) for probe in probes)
    head_outputs = search.found("heads", heads.found, (None,) * len(layers))
    return Anatomy(
        layers=layers,
        final_norm=_final_norm(parent, layers),
        embedding=embedding,
        head=head,
        d_vocab=head.weight.shape[0],
        unit_outputs=tuple(search.found("units", probe.unit_output, None) for probe in probes),
        parts=parts,
        head_outputs=head_outputs,
        mlps=tuple(
            mlp_of(layer, names, tuple(probe.given), found)
            for layer, names, probe, found in zip(layers, parts, probes, head_outputs, strict=True)
        ),
        experts=tuple(probe.experts for probe in probes),
        own_attention=bool(computed),
        stream_stays=all(probe.stream_stays for probe in probes),
        positions=search.found("positions", lambda: positions.found(probes[0].entered), None),
        block=block_parts,
        block_note=search.failed.get("block") or block_note(layers, block_parts),
        failed=search.failed,
    )


class _Search:
    """Looks for parts, and keeps what a family's own ways make it trip over: the rest is still found."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    def hooks(self, hooks: Hooks, *names: str) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        """The hooks, made safe: what one raises goes to `failed` under these names, and the model's pass goes on."""
        with self._kept(*names):
            for register, hook in hooks:
                yield register, self._safe(hook, names)

    def found(self, name: str, find_it: Callable[[], T], otherwise: T) -> T:
        """What the search for this part gives; `otherwise` where it has failed."""
        if name not in self.failed:
            with self._kept(name):
                return find_it()
        return otherwise

    def _safe(self, hook: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
        def safe(*given: Any) -> None:
            with self._kept(*names):
                hook(*given)

        return safe

    @contextmanager
    def _kept(self, *names: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  (whatever a family trips over hides its own picture)
            kind, told = type(error).__name__, str(error)[:200]
            for name in names:
                self.failed.setdefault(name, phrase("the search for it failed ({kind}: {told})", kind=kind, told=told))


def of_layers(config: Any, name: str) -> tuple[Any, ...]:
    """What a configuration says under this name of each layer; None where it says nothing.

    It may say one thing for all, a list, or, since transformers 5, something of its own for some.
    """
    if config.is_heterogeneous and name in (config.per_layer_attributes or ()):
        return tuple(getattr(each, name, None) for each in config.per_layer_config)
    found = getattr(config, name, None)
    n_layers = config.num_hidden_layers
    return tuple(found) if isinstance(found, list | tuple) and len(found) == n_layers else (found,) * n_layers


def hidden(value: Any) -> torch.Tensor:
    """The hidden states in what a module took or gave: a tensor, or the first of a tuple."""
    return value[0] if isinstance(value, tuple | list) else value


def expert_choice(args: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Which experts a mixture's module was called with, and their weights: [token, chosen] each; None if with none."""
    tables = [each for each in args if isinstance(each, torch.Tensor) and each.ndim == 2]
    for ids in tables:
        for weights in tables:
            if ids.dtype == torch.int64 and weights.is_floating_point() and ids.shape == weights.shape:
                return ids, weights
    return None


def layer_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states that a layer was called with, by position or by name."""
    return args[0] if args else kwargs["hidden_states"]


@contextmanager
def attached(hooks: list[tuple[Callable[..., Any], Callable[..., None]]]) -> Iterator[None]:
    """Hooks that are there inside the block only: pairs of a module's register method, already bound, and the hook."""
    handles = [register(hook) for register, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _require_causal(model: Any, ids: torch.Tensor, logits: torch.Tensor) -> None:
    """Another last token changes nothing before it. Raises: UnknownModel, if it does, as in an encoder."""
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1) % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        before, after = logits[:, :-1].float(), model(input_ids=other, use_cache=False).logits[:, :-1].float()
    most = _LOOKS_AHEAD
    if getattr(model.config, "is_decoder", None) is not False:  # which a family that has encoders sets
        most = max(most, share(epsilon(model), _LOOKS_AHEAD_ROUNDINGS))
    if (before - after).abs().max() > most * before.abs().max():
        raise UnknownModel(
            "{kind} reads later tokens when it works on earlier ones, as an encoder does: it fills gaps and does not "
            "write text. Pick a causal language model.",
            kind=type(model).__name__,
        )


def _layers(model: Any, config: Any) -> tuple[tuple[nn.Module, ...], nn.Module]:
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers > 0
    ]
    if not lists:
        raise UnknownModel(
            "{kind} has no list of {n_layers} layers. Pick a causal language model built of layers.",
            kind=type(model).__name__,
            n_layers=config.num_hidden_layers,
        )
    name, found = min(lists, key=lambda item: item[0].count("."))
    return tuple(found), model.get_submodule(name.rpartition(".")[0])


def _final_norm(parent: nn.Module, layers: tuple[nn.Module, ...]) -> nn.Module | None:
    norms = {
        name: child
        for name, child in parent.named_children()
        if "norm" in type(child).__name__.lower() and child not in layers
    }
    named = [child for name, child in norms.items() if name in _NORM_NAMES]
    return next(iter(named or norms.values()), None)


class _Probe:
    """What one layer took and gave in the probing pass."""

    def __init__(self, layer: nn.Module, config: Any, d_mlp: int, epsilon: float) -> None:
        self.layer, self._d_model, self._d_mlp, self._epsilon = layer, config.hidden_size, d_mlp, epsilon
        self.entered = self.left = torch.empty(0)
        self._stream: list[tuple[torch.Tensor, torch.Tensor]] = []  # as the layer took or gave it, and as it was then
        self.given: dict[str, torch.Tensor] = {}
        self.experts: nn.Module | None = None
        self.from_units: list[tuple[nn.Module, torch.Tensor]] = []

    def hooks(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.entered = self._as_it_is(layer_input(args, kwargs))

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            self.left = self._as_it_is(hidden(output))

        yield lambda hook: self.layer.register_forward_pre_hook(hook, with_kwargs=True), enter
        yield self.layer.register_forward_hook, leave
        for name, child in self.layer.named_children():
            yield child.register_forward_hook, self._child_hook(name)
        for name, module in self.layer.named_modules():
            yield module.register_forward_pre_hook, self._enter_part
            if self._reads_units(name, module):
                yield module.register_forward_hook, self._unit_hook(module)

    def _as_it_is(self, stream: torch.Tensor) -> torch.Tensor:
        copy = stream.clone()
        self._stream.append((stream, copy))
        return copy

    @property
    def stream_stays(self) -> bool:
        """Whether nothing was written later into what the layer took and gave."""
        return bool(self._stream) and all(torch.equal(stream, copy) for stream, copy in self._stream)

    def _enter_part(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if expert_choice(args) is not None:
            self.experts = self.experts or module

    def _child_hook(self, name: str) -> Callable[..., None]:
        def give(_: nn.Module, __: Any, output: Any) -> None:
            tensor = hidden(output)
            if isinstance(tensor, torch.Tensor):
                self.given[name] = tensor.clone()

        return give

    def _unit_hook(self, module: nn.Module) -> Callable[..., None]:
        def give(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            self.from_units.append((module, output.clone()))

        return give

    def _reads_units(self, name: str, module: nn.Module) -> bool:
        """A matrix from a wider space back to the model's width, outside attention: the MLP's last."""
        weight = getattr(module, "weight", None)
        if "att" in name or weight is None or weight.ndim != 2 or not is_linear(module):
            return False
        wide, narrow = max(weight.shape), min(weight.shape)
        return narrow == self._d_model and wide == self._d_mlp and _width_out(module) == narrow

    def unit_output(self) -> nn.Module | None:
        """The matrix that alone makes what a part of the layer gives. One expert of a mixture makes only a share."""
        for module, made in self.from_units:
            if any(
                made.numel() == each.numel() and torch.equal(made.flatten(), each.flatten())
                for each in self.given.values()
            ):
                return module
        return None

    def parts(self) -> tuple[str, ...] | None:
        """The smallest set of children whose outputs sum to what the layer added, if there is one."""
        entered, left = (each.cpu().double() for each in (self.entered, self.left))  # not every device has float64
        added = left - entered
        least = CLOSE * left.abs().amax(dim=-1, keepdim=True)  # of each position: one may be a hundred times larger
        sized = {
            name: each.reshape(added.shape).cpu().double()
            for name, each in self.given.items()
            if each.numel() == added.numel()
        }
        if not sized or len(sized) > _MOST_CHILDREN:
            return None
        for count in range(1, len(sized) + 1):
            for names in itertools.combinations(sized, count):
                given = [sized[name] for name in names]
                gap = (sum(given) - added).abs()
                rounded = count * self._epsilon / 2 * sum((each.abs() for each in given), entered.abs())
                if bool((gap <= torch.maximum(least, rounded)).all()):
                    return names
        return None


def is_linear(module: nn.Module) -> bool:
    """Whether it is a matrix product; Conv1D is that of the GPT-2 family."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def matrix_of(module: Any) -> torch.Tensor:
    """The matrix of such a module as it multiplies: [out, in]. Conv1D keeps it transposed."""
    return module.weight if isinstance(module, nn.Linear) else module.weight.T


def _width_out(module: Any) -> int:
    """Width of what a matrix gives. Conv1D, of the GPT-2 family, keeps its weight transposed."""
    return module.weight.shape[0] if isinstance(module, nn.Linear) else module.weight.shape[1]


def mlp_widths(config: Any) -> tuple[int, ...]:
    """Units of each layer's MLP. GPT-2's config omits the number; it is then 4 x d_model."""
    for name in ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim"):
        widths = of_layers(config, name)
        if any(widths):
            return tuple(width or 0 for width in widths)
    return (4 * config.hidden_size,) * config.num_hidden_layers
