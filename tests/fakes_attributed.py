"""A made-up attribution of a made-up run: its parts sum to what the run's logits say."""

import numpy as np

from model.records.attribution import Attribution
from model.records.trace import Trace
from tests.fakes import fake_trace


def fake_attribution(run: Trace | None = None, step: int = 0, rival_id: int | None = None) -> Attribution:
    """One step of a run, explained by numbers that only sum up right. Head 1 of layer 2 added most, to the rival."""
    run = fake_trace() if run is None else run
    card, choice, stop = run.model, run.choices[step], run.steps[step].stop
    rival = next(each.id for each in choice.candidates if each.id != choice.id) if rival_id is None else rival_id
    logits = run.logits[step].astype(np.float64)
    chances = np.exp(logits - np.logaddexp.reduce(logits))
    rng = np.random.default_rng(step)
    sources = rng.normal(0, 0.05, (card.n_layers, card.n_heads, stop)).astype(np.float32)
    sources[2, 1] = -2 / stop
    heads, mlps = sources.sum(-1), rng.normal(0, 0.3, card.n_layers).astype(np.float32)
    total = float(logits[choice.id] - logits[rival])
    return Attribution(
        model=card,
        run="made-up",
        prompt=run.prompt,
        n_prompt=run.n_prompt,
        tokens=run.tokens[:stop],
        texts=run.texts,
        step=step,
        token_id=choice.id,
        rival_id=rival,
        chosen_id=choice.id,
        candidates=choice.candidates,
        logits=(float(logits[choice.id]), float(logits[rival])),
        probabilities=(float(chances[choice.id]), float(chances[rival])),
        embedding=total - float(heads.sum() + mlps.sum()) - 0.25,
        biases=0.25,
        remainder=0.0,
        total=total,
        sources_note="",
        notes=(),
        heads=heads,
        mlps=mlps,
        others=np.zeros(card.n_layers, np.float32),
        sources=sources,
    )
