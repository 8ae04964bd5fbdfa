"""A small, valid Trace made of random numbers, for tests of what draws and stores records. numpy only, no model."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from model.records.attention import AttentionRule
from model.records.trace import Candidate, Check, Choice, ModelCard, Part, Runner, Settings, Stage, Step, Token, Trace

CHECKS = ("parity", "attention", "residual", "lens", "units", "parts", "embeddings", "positions", "resume")
MAP = ("embed_ids", "embeddings", "embed_xy", "embed_shares", "embed_near", "embed_cosine")
AFTER_RUN = (*MAP, "rotary_cos", "rotary_sin", "position_vectors", "lens_ids", "lens_probs")  # arrive when it has ended
NEIGHBOURS = 6


def fake_trace(
    prompt: tuple[str, ...] = ("The", " capital", " of", " France", " is"),
    written: tuple[str, ...] = (" Paris", ".", "\n", "It"),
    *,
    n_layers: int = 4,
    n_heads: int = 6,
    n_kv_heads: int = 2,
    d_head: int = 8,
    d_vocab: int = 300,
    lens: bool = True,
    sampled: bool = True,
    seed: int = 0,
    token_ids: Mapping[str, int] | None = None,
) -> Trace:
    """A run of a model that does not exist: shapes, laws and texts are right, the numbers are noise.

    `token_ids` are those of some of the words, where it matters which.
    """
    rng = np.random.default_rng(seed)
    n_prompt, n_new = len(prompt), len(written)
    fed, d_model = n_prompt + n_new - 1, n_heads * d_head
    words = (*prompt, *written)
    ids = [(token_ids or {}).get(word, 10 + words.index(word)) for word in words]
    texts = {i: f" word{i}" for i in range(d_vocab)} | dict(zip(ids, words, strict=True))

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    logits = floats(n_new, d_vocab) * 3
    for row, token in enumerate(ids[n_prompt:]):
        logits[row, token] = logits[row].max() + 1
    steps = tuple(
        Step(
            kind="prefill" if i == 0 else "decode",
            first=0 if i == 0 else n_prompt + i - 1,
            n_tokens=n_prompt if i == 0 else 1,
            kv_bytes=2 * n_layers * n_kv_heads * d_head * 4 * (n_prompt + i),
            seconds=0.08 if i == 0 else 0.05,
            choices=(_choice(logits[i], ids[n_prompt + i], rng, sampled),),
        )
        for i in range(n_new)
    )
    return Trace(
        model=_card(n_layers, n_heads, n_kv_heads, d_model, d_head, d_vocab),
        settings=Settings(max_new_tokens=n_new, temperature=0.8 if sampled else 0.0, top_k=50 if sampled else 0),
        prompt="".join(prompt),
        text="".join(written),
        n_prompt=n_prompt,
        tokens=_tokens(words, ids, n_prompt),
        texts=texts,
        steps=steps,
        ended="length",
        rules=(AttentionRule(scaling=d_head**-0.5, window=None, softcap=None, mask=None),) * n_layers,
        queries=floats(n_layers, n_heads, fed, d_head),
        keys=floats(n_layers, n_kv_heads, fed, d_head),
        values=floats(n_layers, n_kv_heads, fed, d_head),
        resid=floats(n_layers + 1, fed, d_model),
        logits=logits,
        unit_ids=rng.integers(0, 4 * d_model, size=(n_layers, fed, 8), dtype=np.int32),
        unit_values=floats(n_layers, fed, 8),
        lens_ids=rng.integers(0, d_vocab, size=(n_layers + 1, fed, 5), dtype=np.int32) if lens else None,
        lens_probs=np.sort(rng.random((n_layers + 1, fed, 5), dtype=np.float32) / 5)[..., ::-1].copy()
        if lens
        else None,
        **_map(ids, d_vocab, d_model),
        **_rotation(fed, d_head),
    )


def _map(ids: list[int], d_vocab: int, d_model: int) -> dict[str, Any]:
    """The map of a table of noise: neighbours and directions are those of the table."""
    table = np.random.default_rng(7).normal(size=(d_vocab, d_model)).astype(np.float32)
    own = list(dict.fromkeys(ids))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosine = unit[own] @ unit.T
    cosine[np.arange(len(own)), own] = -2
    near = np.argsort(-cosine, axis=1)[:, :NEIGHBOURS]
    points = list(dict.fromkeys([*own, *near.ravel().tolist()]))
    centred = table[points] - table[points].mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return {
        "embed_ids": np.array(points, np.int32),
        "embeddings": table[own],
        "embed_xy": (left[:, :2] * sizes[:2]).astype(np.float32),
        "embed_shares": (sizes[:2] ** 2 / (sizes**2).sum()).astype(np.float32),
        "embed_near": np.vectorize(points.index, otypes=[np.int32])(near),
        "embed_cosine": np.take_along_axis(cosine, near, axis=1),
    }


def _rotation(fed: int, d_head: int) -> dict[str, Any]:
    angles = np.arange(fed)[:, None] * 10_000.0 ** (-np.arange(d_head // 2) * 2 / d_head)
    return {"rotary_cos": np.cos(angles).astype(np.float32), "rotary_sin": np.sin(angles).astype(np.float32)}


def _block(d_model: int, d_kv: int) -> tuple[Part, ...]:
    """A layer as llama has it."""
    wide = 4 * d_model

    def norm(name: str, reads: Literal["stream", "branch"]) -> Part:
        return Part(
            name=name,
            kind="norm",
            module="LlamaRMSNorm",
            weight=(d_model,),
            bias=False,
            n_parameters=d_model,
            reads=reads,
            d_in=d_model,
            d_out=d_model,
        )

    def linear(name: str, d_in: int, d_out: int) -> Part:
        return Part(
            name=name,
            kind="linear",
            module="Linear",
            weight=(d_out, d_in),
            bias=False,
            n_parameters=d_in * d_out,
            reads="part",
            d_in=d_in,
            d_out=d_out,
        )

    return (
        norm("input_layernorm", "stream"),
        linear("self_attn.q_proj", d_model, d_model),
        linear("self_attn.k_proj", d_model, d_kv),
        linear("self_attn.v_proj", d_model, d_kv),
        linear("self_attn.o_proj", d_model, d_model),
        norm("post_attention_layernorm", "branch"),
        linear("mlp.gate_proj", d_model, wide),
        Part(
            name="mlp.act_fn",
            kind="activation",
            module="SiLUActivation",
            weight=None,
            bias=False,
            n_parameters=0,
            reads="part",
            d_in=wide,
            d_out=wide,
        ),
        linear("mlp.up_proj", d_model, wide),
        linear("mlp.down_proj", wide, d_model),
    )


def _card(n_layers: int, n_heads: int, n_kv_heads: int, d_model: int, d_head: int, d_vocab: int) -> ModelCard:
    return ModelCard(
        name="fake-1k",
        source="memory",
        note="random numbers, for tests",
        family="llama",
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=4 * d_model,
        d_vocab=d_vocab,
        n_ctx=512,
        n_parameters=1000,
        weights_bytes=4000,
        dtype="float32",
        device="cpu",
        attention="sdpa",
        torch="0",
        transformers="0",
        checks=tuple(Check(name=name, passed=True, detail="made up") for name in CHECKS),
        block=_block(d_model, n_kv_heads * d_head),
        block_note="",
    )


def _tokens(words: tuple[str, ...], ids: list[int], n_prompt: int) -> tuple[Token, ...]:
    tokens, at = [], 0
    for place, (word, token_id) in enumerate(zip(words, ids, strict=True)):
        data = word.encode()
        tokens.append(
            Token(
                id=token_id, text=word, data=data, span=(at, at + len(data)), special=False, generated=place >= n_prompt
            )
        )
        at += len(data)
    return tuple(tokens)


def _choice(logits: np.ndarray, chosen: int, rng: np.random.Generator, sampled: bool) -> Choice:
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    entropy = float(-(probabilities * np.log(probabilities)).sum())
    best = np.argsort(-logits)
    candidates = tuple(
        Candidate(id=int(i), score=float(logits[i]), probability=float(probabilities[i])) for i in best[:20]
    )
    stages = tuple(
        Stage(name=name, setting=setting, alive=alive, removed_mass=mass, entropy=entropy, candidates=candidates[:10])
        for name, setting, alive, mass in (("temperature", 0.8, len(logits), 0.0), ("top-k", 50.0, 50, 0.1))
    )
    waits = rng.exponential(size=5)
    racers = (chosen, *(int(i) for i in best[:5] if i != chosen))[:5]
    runners = sorted(
        (
            Runner(id=i, probability=float(probabilities[i]), wait=float(w), time=float(w / probabilities[i]))
            for i, w in zip(racers, waits, strict=True)
        ),
        key=lambda runner: (runner.id != chosen, runner.time),
    )
    return Choice(
        id=chosen,
        probability=float(probabilities[chosen]),
        logit=float(logits[chosen]),
        rank=int((logits > logits[chosen]).sum()),
        entropy=entropy,
        candidates=candidates,
        stages=stages if sampled else (),
        draw=tuple(runners) if sampled else (),
    )
