"""How long a model takes on this machine, measured without recording: its phases, the cache race, batches.

Frozen values, numpy only. Axes of the arrays, by letter: R repeated runs, I intervals between a run's tokens,
P context lengths that were probed, Q tries of one probe, B batch sizes.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from model.errors import BadTrace
from model.records.file import Saved, Shape
from model.records.trace import ModelCard, Settings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Machine:
    """The machine that measured, and the two speeds that bound what it can do, measured on it by a short probe."""

    processor: str  # as the system names it
    system: str  # such as "Linux 6.1, x86_64"
    cores: int  # that this process may use
    threads: int  # that torch worked with
    device: str
    dtype: str  # of the model's numbers, and of the probe's
    torch: str
    bandwidth: float  # bytes a second read from memory: the median of the probe's tries
    bandwidth_span: tuple[float, float]  # the slowest and the fastest try
    matrix_speed: float  # floating-point operations a second in a large matrix product: the median
    matrix_span: tuple[float, float]
    probed: str  # when, in UTC, such as "2026-11-23 12:00"; a probe is kept and used again

    @property
    def ridge(self) -> float:
        """Operations a byte at which reading memory and computing take equally long on this machine."""
        return self.matrix_speed / self.bandwidth

    def mbu(self, work: "Work", seconds: float) -> float:
        """Model bandwidth utilisation: the bytes that a pass of so many seconds must move, as a share of what this
        machine moves meanwhile. Source: Databricks 2023, "LLM Inference Performance Engineering".
        """
        return work.n_bytes / seconds / self.bandwidth

    def mfu(self, work: "Work", seconds: float) -> float:
        """Model FLOPs utilisation: a pass's operations a second, as a share of this machine's matrix speed.

        Source: Chowdhery et al. 2022, "PaLM", section 4.1.
        """
        return work.flops / seconds / self.matrix_speed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What one forward pass must do, predicted from the model's shapes alone: nothing here was measured.

    A multiplication and the addition after it are two operations. Numbers that stay inside the processor between one
    layer and the next (activations) are not counted as bytes.
    """

    batch: int  # texts at once
    n_new: int  # tokens of each that the pass reads
    n_context: int  # tokens of each that it attends to, the new ones included
    flops: int  # floating-point operations
    weight_bytes: int  # read once a pass, whatever it reads
    kv_read: int  # bytes of keys and values that were in the cache before
    kv_written: int

    @property
    def n_bytes(self) -> int:
        """Bytes that the pass moves between memory and processor."""
        return self.weight_bytes + self.kv_read + self.kv_written

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations for each byte moved."""
        return self.flops / self.n_bytes


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Measurement(Saved):
    """How long a model takes on this machine: repeated runs without hooks, with and without its KV cache.

    Times are seconds by the wall clock. ttft [R] from the call to the first token, choice included; itl [R, I] from
    each token to the next. The cache race: at each context length race_lengths [P], race_on [P, Q] is a decode pass
    that has the cache of all tokens but the last, and race_off [P, Q] the same token without a cache, by reading the
    whole text again; race_difference [P] is the largest absolute difference between the logits of both, and
    race_scale [P] the largest absolute logit.
    Batches: batch_seconds [B, Q] is a decode pass for batch_sizes [B] copies of the text at once.

    race_on_work, race_off_work and batch_work are predictions, one for each length or size. A part that has not been
    measured yet has no rows.
    """

    model: ModelCard
    machine: Machine
    prompt: str
    settings: Settings
    n_prompt: int  # tokens
    n_new: int  # tokens written in each run
    warm_up: int  # runs before those that count
    hooks: int  # found on the model's modules while it was timed; 0, or the times would not be the model's own
    taken: str  # when, in UTC
    text: str  # what the model wrote, the same in every run
    prefill_work: Work
    decode_work: Work  # of the decode pass in the middle of the run
    race_on_work: tuple[Work, ...] = ()
    race_off_work: tuple[Work, ...] = ()
    race_tokens: tuple[tuple[int, int], ...] = ()  # at each length, the likeliest token with the cache and without
    batch_work: tuple[Work, ...] = ()
    windows: tuple[int, ...] = ()  # of each layer: positions that it looks back on, itself included; 0: all
    notes: tuple[str, ...] = ()  # what a person should know, such as why a part is missing

    ttft: Annotated[np.ndarray, Shape("float64", "R")]
    itl: Annotated[np.ndarray, Shape("float64", "R I")]
    race_lengths: Annotated[np.ndarray, Shape("int32", "P")]
    race_on: Annotated[np.ndarray, Shape("float64", "P Q")]
    race_off: Annotated[np.ndarray, Shape("float64", "P Q")]
    race_difference: Annotated[np.ndarray, Shape("float64", "P")]
    race_scale: Annotated[np.ndarray, Shape("float64", "P")]
    batch_sizes: Annotated[np.ndarray, Shape("int32", "B")]
    batch_seconds: Annotated[np.ndarray, Shape("float64", "B Q")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.itl.shape[1] != max(self.n_new - 1, 0):
            raise BadTrace(
                "{n_new} tokens have {n_intervals} intervals between them, but the record has {n_itl}.",
                n_new=self.n_new,
                n_intervals=self.n_new - 1,
                n_itl=self.itl.shape[1],
            )
        parts = {
            "race_on_work": "race_lengths",
            "race_off_work": "race_lengths",
            "race_tokens": "race_lengths",
            "batch_work": "batch_sizes",
        }
        for name, lengths in parts.items():
            if len(getattr(self, name)) != len(getattr(self, lengths)):
                raise BadTrace(
                    "{name} has {n} entries; it should have {expected}.",
                    name=name,
                    n=len(getattr(self, name)),
                    expected=len(getattr(self, lengths)),
                )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Times and speeds are those of real passes: there are tries where there are rows, and all are above zero."""
        speeds = (self.machine.bandwidth, self.machine.matrix_speed)
        if not all(math.isfinite(speed) and speed > 0 for speed in speeds):
            raise BadTrace(
                "the machine reads {n_bytes} bytes and does {n_flops} operations a second.",
                n_bytes=speeds[0],
                n_flops=speeds[1],
            )
        for name in ("ttft", "itl", "race_on", "race_off", "batch_seconds"):
            times = getattr(self, name)
            tried = times.ndim == 1 or times.shape[1] > 0 or name == "itl"
            if (len(times) and not tried) or not np.all(np.isfinite(times) & (times > 0)):
                raise BadTrace("{name} holds a time that no pass can take, or a row without a measurement.", name=name)

    @property
    def tpot(self) -> np.ndarray:
        """Time per output token of each run: the mean of its intervals, seconds [R]; NaN where one token has none."""
        return self.itl.mean(axis=1) if self.itl.shape[1] else np.full(len(self.itl), np.nan)

    @property
    def end_to_end(self) -> np.ndarray:
        """End-to-end latency of each run: from the call to its last token, seconds [R]."""
        return self.ttft + self.itl.sum(axis=1)


def kv_bytes(
    card: ModelCard, n_context: int, *, batch: int = 1, bytes_per_number: float = 4, windows: tuple[int, ...] = ()
) -> int:
    """Size of a KV cache that has read n_context tokens of each of `batch` texts, in bytes, predicted.

    Two numbers, a key's and a value's, for each layer, key/value head, width and token. A layer with a window keeps
    one token less than its window: the one that it reads next takes the last place. `windows` is that of a
    Measurement; empty where every layer keeps all.
    Source: Pope et al. 2022, "Efficiently Scaling Transformer Inference", section 2.1.
    """
    kept = [min(n_context, window - 1) if window else n_context for window in windows or (0,) * card.n_layers]
    return round(2 * batch * sum(kept) * card.n_kv_heads * card.d_head * bytes_per_number)
