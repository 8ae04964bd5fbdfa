"""A run computed anew with heads, MLPs, layers or edges of attention switched off, to a complete Trace."""

from collections.abc import Sequence

from model.capture.edited import EditedRun
from model.capture.hooked import HookedModel
from model.capture.post_run import with_post_run
from model.errors import BadSetting
from model.limits import Limits
from model.records.edits import MODES, WHENS, Edit, Mode, When
from model.records.fields import check_choice, shown
from model.records.trace import Trace

_EDGE = ("query", "key", "layer", "head")


def ablate(
    hooked: HookedModel,
    run: Trace,
    heads: Sequence[tuple[int, int]] = (),
    mlps: Sequence[int] = (),
    layers: Sequence[int] = (),
    edges: Sequence[Sequence[int]] = (),
    mode: Mode = "zero",
    when: When = "all",
    reference: Trace | None = None,
    *,
    additions: bool = True,
) -> Trace:
    """Run a prompt again with parts of the model switched off: what it would have written without them.

    `heads` are pairs of layer and head; `mlps` and `layers` are layers; `edges` are (query, key), (query, key, layer)
    or (query, key, layer, head): the token at position `query` then does not look at the one at `key`, and its other
    weights sum to 1. `mode` is what stands in place of an output: "zero", "mean" over this run's positions, or
    "resample", what the part gave at the same position of the `reference`. `when` is "prefill" (the prompt's
    positions), "decode" (those that are written) or "all". The settings are the run's own; no cache is taken over. The
    new run's `edits` say what was changed. A head's output is its slice of what goes into the output projection.
    Raises: Refusal, for a part that is not there, or that cannot be edited in this model, or another model's run.
    Source: Michel et al. 2019 (zero), Wang et al. 2022 (mean, "Interpretability in the Wild", section 2.1), Geva et
    al. 2023 (attention knock-out, section 4).
    """
    edits = edits_of(heads, mlps, layers, edges, mode, when)
    edited = EditedRun(hooked, run, edits, Limits.from_environment(), reference=reference)
    for _ in edited:
        pass
    return with_post_run(hooked, edited.trace()) if additions else edited.trace()


def edits_of(
    heads: Sequence[tuple[int, int]],
    mlps: Sequence[int],
    layers: Sequence[int],
    edges: Sequence[Sequence[int]],
    mode: Mode,
    when: When,
    label: str = "",
) -> tuple[Edit, ...]:
    """What is switched off, as a run says it; `label` is what its reference is called. Raises: BadSetting."""
    check_choice("mode", mode, MODES)
    check_choice("when", when, WHENS)
    label = label if mode == "resample" else ""
    for pair in heads:
        if len(pair) != 2:
            raise BadSetting("heads has {given}; each is a layer and a head, such as (9, 3).", given=shown(pair))
    for edge in edges:
        if not 2 <= len(edge) <= len(_EDGE):
            raise BadSetting(
                "edges has {given}; each is a query and a key position, and a layer and a head where it is cut in one.",
                given=shown(edge),
            )
    return (
        *(Edit(what="head", mode=mode, when=when, label=label, layer=layer, head=head) for layer, head in heads),
        *(Edit(what="mlp", mode=mode, when=when, label=label, layer=layer) for layer in mlps),
        *(Edit(what="layer", mode=mode, when=when, label=label, layer=layer) for layer in layers),
        *(Edit(what="edge", **dict(zip(_EDGE, edge, strict=False))) for edge in edges),
    )
