"""A Measurement and CacheTrials of a model that was never timed, for tests of what draws and stores them. numpy only.

Shapes, bytes and operations are those of a small model of 135 million parameters; seconds and divergences are made up,
as large as two cores of a laptop give them.
"""

from dataclasses import replace

import numpy as np

from model.records.cache import CacheKind, CacheTrial, CacheTrials
from model.records.timing import Machine, Measurement, Work
from model.records.trace import ModelCard, Settings
from tests.fakes import fake_trace

REPEATS, TRIES = 3, 3
LENGTHS = (16, 32, 64, 128, 256, 512)
BATCHES = (1, 2, 4, 8, 16)
PROMPT = ("The", " capital", " of", " France", " is")
WRITTEN = (
    " Paris",
    ".",
    " It",
    " is",
    " the",
    " largest",
    " city",
    " of",
    " France",
    ",",
    " and",
    " it",
    " lies",
    " on",
    " the",
    " river",
    " Seine",
    ".",
    " Its",
    " people",
    " call",
    " it",
    " so",
    ".",
)
_KV_TOKEN = 2 * 30 * 3 * 64 * 4  # bytes of keys and values


def fake_measurement(
    *,
    phases: bool = True,
    race: bool = True,
    batch: bool = True,
    n_prompt: int = 24,
    n_new: int = 24,
    prompt: str = "",
    text: str = "",
    seed: int = 0,
) -> Measurement:
    """A whole measurement, or one whose later parts are still to come: those have no rows."""
    rng = np.random.default_rng(seed)
    runs, lengths, sizes = REPEATS if phases else 0, LENGTHS if race else (), BATCHES if batch else ()
    on_work = tuple(_work(1, length) for length in lengths)
    off_work = tuple(_work(length, length) for length in lengths)
    batch_work = tuple(_work(1, n_prompt + n_new // 2, batch=size) for size in sizes)
    scale = 20 + 6 * rng.random(len(lengths))
    return Measurement(
        model=fake_card(),
        machine=fake_machine(),
        prompt=prompt or "".join(PROMPT),
        settings=Settings(max_new_tokens=n_new),
        n_prompt=n_prompt,
        n_new=n_new,
        warm_up=1,
        hooks=0,
        taken="2026-11-23 12:04",
        text=text or "".join(WRITTEN),
        prefill_work=_work(n_prompt, n_prompt),
        decode_work=_work(1, n_prompt + n_new // 2),
        race_on_work=on_work,
        race_off_work=off_work,
        race_tokens=tuple((284 + i, 284 + i) for i in range(len(lengths))),
        batch_work=batch_work,
        notes=("the race's text is the prompt, repeated up to each length.",) if race else (),
        ttft=_spread(rng, np.full(runs, 0.12)),
        itl=_spread(rng, np.full((runs, max(n_new - 1, 0)), 0.06)),
        race_lengths=np.array(lengths, np.int32),
        race_on=_spread(rng, _tries([0.058 + 2.5e-5 * length for length in lengths])),
        race_off=_spread(rng, _tries([0.062 + 4.1e-3 * length for length in lengths])),
        race_difference=scale * 10.0 ** rng.uniform(-6.3, -5.8, len(lengths)),
        race_scale=scale,
        batch_sizes=np.array(sizes, np.int32),
        batch_seconds=_spread(rng, _tries([0.052 + 0.0075 * size for size in sizes])),
    )


def fake_trials(
    prompt: tuple[str, ...] = PROMPT, written: tuple[str, ...] = WRITTEN, *, n_trials: int = 7, seed: int = 0
) -> CacheTrials:
    """The exact cache, and as many smaller ones as asked for; divergences grow where the cache is cut harder."""
    rng = np.random.default_rng(seed)
    trace, n_prompt, n_new = fake_trace(prompt, written, sampled=False), len(prompt), len(written)
    ids = [token.id for token in trace.tokens[n_prompt:]]
    fed = n_prompt + np.arange(n_new)
    kinds: list[tuple[CacheKind, str, int, int, tuple[int, ...], np.ndarray, float]] = [
        ("exact", "exact", 0, 0, (), fed * _KV_TOKEN, 0.0),
        ("int8", "int8", 0, 0, (), fed * (_KV_TOKEN // 4 + 720), 2e-6),
        ("int4", "int4", 0, 0, (), fed * (_KV_TOKEN // 8 + 720), 4e-3),
        ("window", "window 8", 0, 8, (), np.minimum(fed, 8) * _KV_TOKEN, 1.4),
        ("window", "window 16", 0, 16, (), np.minimum(fed, 16) * _KV_TOKEN, 0.5),
        ("sink + window", "sink 4 + window 8", 4, 8, (), np.minimum(fed, 12) * _KV_TOKEN, 0.03),
        ("dropped", "without 2 positions", 0, 0, (1, 3), (fed - 2) * _KV_TOKEN, 0.2),
    ]
    kinds = kinds[:n_trials]
    kl = np.array([typical * rng.lognormal(0, 0.9, n_new) for *_, typical in kinds]).reshape(len(kinds), n_new)
    for row, (kind, _, sink, window, *_rest) in zip(kl, kinds, strict=True):
        if kind in ("window", "sink + window"):
            row[fed <= sink + window] = 0
    changed = [next((n for n in range(2, n_new) if row[n] > 0.25), None) for row in kl]
    chosen = np.tile(np.array(ids, np.int32), (len(kinds), 1))
    for row, first in zip(chosen, changed, strict=True):
        if first is not None:
            row[first] = ids[first - 1]
    return CacheTrials(
        model=fake_card(),
        prompt=trace.prompt,
        settings=trace.settings,
        n_prompt=n_prompt,
        tokens=trace.tokens,
        texts={each: trace.texts[each] for each in sorted(set(ids))},
        trials=tuple(
            CacheTrial(
                kind=kind,
                name=name,
                sink=sink,
                window=window,
                dropped=dropped,
                n_bytes=int(sizes[-1]),
                first_changed=first,
            )
            for (kind, name, sink, window, dropped, sizes, _), first in zip(kinds, changed, strict=True)
        ),
        kl=kl,
        chosen=chosen,
        kv_bytes=np.array([sizes for *_, sizes, _ in kinds], np.int64).reshape(len(kinds), n_new),
    )


def fake_card() -> ModelCard:
    """A model with the shapes of the embedded default."""
    return replace(
        fake_trace().model,
        name="fake-135M",
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_model=576,
        d_head=64,
        d_mlp=1536,
        d_vocab=49_152,
        n_ctx=8192,
        n_parameters=134_515_008,
        weights_bytes=538_060_032,
    )


def fake_machine() -> Machine:
    """Two cores of a laptop."""
    return Machine(
        processor="Made-up Processor 2.4 GHz",
        system="Linux 6.1, x86_64",
        cores=2,
        threads=2,
        device="cpu",
        dtype="float32",
        torch="0",
        bandwidth=16e9,
        bandwidth_span=(14.2e9, 16.9e9),
        matrix_speed=85e9,
        matrix_span=(78e9, 88e9),
        probed="2026-11-23 12:00",
    )


def _work(n_new: int, n_context: int, *, batch: int = 1) -> Work:
    linear = 2 * 106_168_320 * n_new + 2 * 576 * 49_152  # the head reads the last position alone
    attention = 30 * 2 * 2 * n_new * n_context * 9 * 64
    return Work(
        batch=batch,
        n_new=n_new,
        n_context=n_context,
        flops=batch * (linear + attention),
        weight_bytes=538_060_032,
        kv_read=batch * (n_context - n_new) * _KV_TOKEN,
        kv_written=batch * n_new * _KV_TOKEN,
    )


def _tries(seconds: list[float]) -> np.ndarray:
    """[P, Q]: every try takes what it should."""
    return np.repeat(np.array(seconds, np.float64).reshape(-1, 1), TRIES, axis=1)


def _spread(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    return seconds * rng.lognormal(0, 0.06, seconds.shape)
