"""What the self-check proves things on: a traced run on random ids, and how closely two numbers must agree."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

import numpy as np
import torch

from model.arch.anatomy import Anatomy, attached, hidden, of_layers
from model.arch.placement import home
from model.arch.positions import tensors
from model.arch.rounding import epsilon, share
from model.capture.decoding import Pass, passes
from model.capture.tracer import Tracer
from model.records.trace import Settings
from model.texts import phrase

_LENGTH = 27  # tokens of the check's prompt: no multiple of a usual chunk, so that decoding starts inside one
_LONGEST_WINDOW = 64
N_NEW = 4  # tokens that it writes

K = TypeVar("K")


class Failed(Exception):
    """A proof that did not hold, in words: a template and its values."""

    def __init__(self, template: LiteralString, /, **values: object) -> None:
        super().__init__(phrase(template, **values))


@dataclass(slots=True)
class Rounded:
    """What a comparison missed by, where the model's precision allows more than float32 would: shares of a size."""

    missed: float = 0.0
    allowed: float = 0.0

    def add(self, missed: float, allowed: float) -> None:
        """One more comparison."""
        self.missed, self.allowed = max(self.missed, missed), max(self.allowed, allowed)


class Evidence:
    """A traced run on random ids, and the same run by the library alone."""

    def __init__(self, model: Any, anatomy: Anatomy, *, forced: Sequence[int] = ()) -> None:
        self.model, self.anatomy = model, anatomy
        self.config = model.config.get_text_config()
        self.epsilon = epsilon(model)
        self.spread = 0.0  # of the device: what two untraced runs differ by, as a share of the logits' size
        self.rounded = Rounded()
        self.ids = random_ids(self.config, anatomy)
        self.tracer = Tracer(anatomy, len(self.ids) + N_NEW, outputs=True)
        self.looked_up = torch.empty(0)  # what the embedding gave in the first pass: [token, width]
        self.given: list[torch.Tensor] = []  # every tensor that layer 0 was called with in the first pass
        with attached(list(self._first_calls())):
            settings = Settings(max_new_tokens=N_NEW)
            self.passes: list[Pass] = list(passes(model, self.ids, settings, self.tracer, forced=forced))
        self.followed = forced or [each.chosen.choice.id for each in self.passes]  # the token after each pass
        self.n_fed = self.passes[-1].step.stop
        self.arrays = self.tracer.arrays(self.n_fed)

    def _first_calls(self) -> Iterator[tuple[Callable[..., Any], Callable[..., None]]]:
        def embed(_: Any, __: Any, output: Any) -> None:
            output = hidden(output)
            if not self.looked_up.numel():
                self.looked_up = output.detach().reshape(-1, output.shape[-1]).clone()

        def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.given = self.given or tensors((args, kwargs))

        yield self.anatomy.embedding.register_forward_hook, embed
        first = self.anatomy.layers[0]
        yield lambda hook: first.register_forward_pre_hook(hook, with_kwargs=True), enter

    def whole(self) -> "Evidence":
        """This, or, where its run came to its end too soon, that of a run on tokens that do not end it."""
        if len(self.passes) == N_NEW:
            return self
        found: Any = self.model.generation_config.eos_token_id
        ends = {found} if isinstance(found, int) else set(found or ())
        forced = [each for each in self.ids if each not in ends][:N_NEW]
        other = Evidence(self.model, self.anatomy, forced=forced)
        other.spread = self.spread
        return other

    @property
    def standing(self) -> list[int]:
        """The passes whose tokens no later pass read again: the arrays hold what these computed."""
        return [at for at in range(len(self.passes)) if not self._read_again(at)]

    def _read_again(self, at: int) -> bool:
        return any(each.step.first < self.passes[at].step.stop for each in self.passes[at + 1 :])

    def require_layers(self, name: str) -> None:
        """Every layer handed something over under this name, and all of it has one shape."""
        if name in self.tracer.buffers.misfits:
            raise Failed("{misfit}", misfit=self.tracer.buffers.misfits[name])
        silent = [layer for layer in range(len(self.anatomy.layers)) if (name, layer) not in self.tracer.buffers.filled]
        if silent:
            raise Failed(
                "{n_silent} of {n_layers} layers (the first: {first}) gave no {name}",
                n_silent=len(silent),
                n_layers=len(self.anatomy.layers),
                first=silent[0],
                name=name,
            )

    def require_found(self, name: str) -> None:
        """The search for this part did not trip over the family."""
        if name in self.anatomy.failed:
            raise Failed("{why}", why=self.anatomy.failed[name])

    def allowed(self, n_roundings: float = 0) -> float:
        """What may be missed after so many roundings, on a device that may not repeat its own numbers."""
        return max(share(self.epsilon, n_roundings), 2 * self.spread)

    def require_close(self, ours: np.ndarray, theirs: torch.Tensor, what: str, *, n_roundings: int = 0) -> None:
        """Equal within a share of each row's own size: one position may be a hundred times larger than another."""
        rows, allowed = theirs.float().cpu().numpy(), self.allowed(n_roundings)
        off = float((np.abs(ours - rows) / size(rows)).max())
        if not off <= allowed:
            raise Failed("{what} is off by {off:.2g} of its size", what=what, off=off)
        self.rounded.add(off, allowed)

    @property
    def prompt_inputs(self) -> dict[str, torch.Tensor]:
        """The prompt, as the model takes it."""
        return {"input_ids": torch.tensor([self.ids], device=home(self.model))}


@contextmanager
def watched_outputs(places: list[tuple[Callable[..., Any], K]], given: dict[K, torch.Tensor]) -> Iterator[None]:
    """Inside the block, what the modules at these places give lands in `given`: [token, width] each."""

    def keeper(key: K) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            given[key] = hidden(output).reshape(-1, hidden(output).shape[-1]).clone()

        return hook

    with attached([(register, keeper(key)) for register, key in places]):
        yield


def size(rows: np.ndarray) -> np.ndarray:
    """The largest number of each row, and never 0: what a difference is a share of."""
    return np.maximum(np.abs(rows).max(axis=-1, keepdims=True), 1e-12)


def random_ids(config: Any, anatomy: Anatomy) -> list[int]:
    """The check's prompt: longer than a short window, so that the window shows, and no longer than the context."""
    window = max((each for each in of_layers(config, "sliding_window") if each), default=0)
    length = window + 11 if 0 < window <= _LONGEST_WINDOW else _LENGTH
    length = max(1, min(length, getattr(config, "max_position_embeddings", 10**9) - N_NEW))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(min(config.vocab_size, anatomy.d_vocab), (length,), generator=generator).tolist()
