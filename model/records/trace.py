"""The values that the rest of the program passes around: what one run of a model computed, frozen. numpy only.

Axes of the arrays, by letter: L layers, H query heads, G key/value heads, S positions that were fed to the model
(prompt and generated tokens, without the last one, which nobody read), D width of a head, E width of a value,
M width of the model, N generated tokens, V vocabulary, U units kept of each MLP, K tokens kept at each place of the
logit lens, R recorded masks, P points of the embedding map, W of them the run's own tokens, J neighbours of each,
X experts that each token is sent to, C directions of the map (2), F pairs of numbers that a rotary embedding turns,
A vectors of edits.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, LiteralString

import numpy as np

from model.errors import BadSetting, NotShown
from model.records import attention, trace_checks
from model.records.attention import AttentionRule
from model.records.chat import PromptSpan
from model.records.edits import Edit, all_said
from model.records.file import Saved, Shape
from model.records.schema import added
from model.records.settings import Settings
from model.texts import phrase

Path = Literal["solo", "captured"]  # how decode passes ran: each by itself, or replayed from one that was captured
Ended = Literal["running", "end of sequence", "length", "criterion", "stopped"]
Name = Literal[
    "parity", "attention", "residual", "lens", "units", "parts", "embeddings", "positions", "resume", "captured"
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """One thing the program proved about a model when it loaded it, or the reason why it does not show that thing."""

    name: Name
    passed: bool
    detail: str  # what was measured, or why it is switched off


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One module of a layer, as it ran: what it is, the shape of its weight, and where its input came from.

    A part has weights of its own, or no module inside it. Dropout, which does nothing in a run, is left out. `reads`
    is "stream" where the input equalled the layer's own, number for number, "branch" where it equalled the stream
    after the layer's first addition to it, and "part" where another part or a step without a name made it.
    """

    name: str  # its path inside the layer, such as "self_attn.q_proj"
    kind: Literal["norm", "linear", "activation", "rotary", "other"]
    module: str  # its class, such as "Linear"
    weight: tuple[int, ...] | None  # as it multiplies, (out, in); None without one, or with several
    bias: bool
    n_parameters: int
    reads: Literal["stream", "branch", "part"]
    d_in: int  # width of what it was given
    d_out: int  # width of what it gave


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelCard:
    """Which model ran, its shape, and what of it could be shown."""

    name: str
    source: Literal["package", "hub", "folder", "memory"]
    note: str  # what a person should know of these weights, such as how they were quantised; may be empty
    family: str  # the library's name of the architecture, such as "llama"
    n_layers: int
    n_heads: int  # this and the next: of the largest layer, where they differ
    n_kv_heads: int
    d_model: int
    d_head: int  # this and the next: of the widest layer
    d_mlp: int
    d_vocab: int
    n_ctx: int  # the longest context the model was made for
    n_parameters: int
    weights_bytes: int
    dtype: str
    device: str
    attention: str  # the implementation it ran on: "sdpa" or "eager"
    torch: str
    transformers: str
    checks: tuple[Check, ...]
    block: tuple[Part, ...]  # the modules of layer 0 in the order in which they ran
    block_note: str  # in words: which layers are built otherwise, or why there is no block; empty if all are alike
    fingerprint: str = added("")  # a digest of a sample of its weights; empty in records from before there was one
    n_experts: int = added(0)  # of the layer that has most; 0 for a model without, and in records from before

    def reason_against(self, name: str) -> str | None:
        """Why this cannot be shown for this model, or None if it can."""
        for check in self.checks:
            if check.name == name:
                return None if check.passed else check.detail
        return phrase("the model was never checked for {name}", name=name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Token:
    """One token: a piece of text that the model reads or writes as a single number."""

    id: int
    text: str  # what it reads as; a fragment of a character reads as U+FFFD
    data: bytes  # the bytes it stands for; empty where the tokenizer gives none
    span: tuple[int, int]  # first and last-plus-one byte in the text of the whole run
    special: bool  # a mark of the format, such as <|im_start|>, not text
    generated: bool
    marker: bool = added(False)  # text, but added to the vocabulary whole, such as <think> or <tool_call>


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One token the model could have said, and how likely it was at this stage."""

    id: int
    score: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One processor's change to the distribution, in the order in which they ran."""

    name: str  # such as "temperature", "top-k", "top-p"
    setting: float | None  # the number it was given, if it has one
    alive: int  # tokens that can still be chosen after it
    removed_mass: float  # probability, before this stage, of the tokens that it removed
    entropy: float  # of what is left, in nats
    candidates: tuple[Candidate, ...]  # the likeliest after it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runner:
    """One token in the race that draws the next one: the smallest time wins."""

    id: int
    probability: float  # after all processors
    wait: float  # its random time from an exponential distribution, drawn with the run's seed
    time: float  # wait / probability


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """How one token was chosen: the raw distribution, each processor's stage, and the draw, as they ran."""

    id: int
    probability: float  # raw: over the full vocabulary, before any processor
    logit: float
    rank: int  # 0: it was the likeliest
    entropy: float  # of the raw distribution, in nats
    candidates: tuple[Candidate, ...]  # the likeliest, raw
    stages: tuple[Stage, ...]
    draw: tuple[Runner, ...]  # the winner first, then the next to arrive; empty when greedy, or a person chose
    chosen_by: Literal["model", "person"] = added("model")  # a person's choice stands beside what the model offered


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One forward pass: the prefill reads the whole prompt, each decode step one new token.

    A reread also reads tokens that earlier passes have read: the model keeps no cache, or dropped it and built it anew.
    What it computed for them stands in the record in place of what the earlier passes had.
    """

    kind: Literal["prefill", "chunk", "decode", "verify", "reread"]
    first: int  # position of the first token this pass reads
    n_tokens: int
    kv_bytes: int  # size of the KV cache after this pass, from its tensors
    seconds: float  # of this recorded pass and choice; recording makes it longer
    choices: tuple[Choice, ...]  # empty for a chunk
    entered_s: tuple[float, ...] = added(())  # seconds from the step's beginning to each layer's entrance and, last, to
    # the end of the last layer, as recorded; empty where the device runs behind the program, so that nobody knows
    layer_bytes: tuple[int, ...] = added(())  # of kv_bytes, what the cache holds for each layer; empty where all alike
    state_bytes: tuple[int, ...] = added(())  # of these, what is a state of fixed size; empty where no layer keeps one

    @property
    def stop(self) -> int:
        """The position after the last token that this pass reads."""
        return self.first + self.n_tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """The run that this one was continued from, the token that a person chose there, and what was not computed again.

    All steps up to that one are the earlier run's own: their numbers, and the seconds that they took there.
    """

    run: str  # what the earlier run was called: a file or an id; empty where it had no name
    step: int  # index in `steps` whose token a person chose
    token_id: int  # what they chose
    instead_of: int  # what the earlier run had chosen there
    n_reused: int  # positions that were not computed again: the record gave their keys and values
    n_replayed: int  # positions that were run again to rebuild the cache
    recorded_s: float  # seconds that the passes over the reused positions took in the earlier run
    restore_s: float  # seconds that it took here to stand where the earlier run stood
    note: str  # why passes were replayed; empty where none were

    @property
    def saved_s(self) -> float:
        """Seconds that the record of the earlier run saved; 0 where its passes were replayed."""
        return 0.0 if self.n_replayed else self.recorded_s - self.restore_s


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trace(Saved):
    """One generation, with what the model computed in it. Arrays are read-only.

    Shapes: queries [L, H, S, D] and keys [L, G, S, D] after the model's own rotation and norms, values [L, G, S, E];
    where layers differ in key heads or in widths, `AttentionRule` says how those of the smaller ones are filled up;
    resid [L+1, S, M] the residual stream at each layer's entrance and, last, at the end, before the final norm;
    logits [N, V] raw, of each generated token; unit_ids and unit_values [L, S, U] the strongest MLP units;
    sinks [L, H] learned sink scores; masks [R, S, S] what the model added to the scores where no simple rule says it;
    expert_ids and expert_weights [L, S, X] of a mixture of experts, which of them each token was sent to and with what
    weight, as they were called (-1 and 0 in layers without);
    lens_ids and lens_probs [L+1, S, K] the logit lens; -1 as an id in a column that is not there yet.

    The embedding map: embed_ids [P] the run's own token ids, each once, in order of first appearance, then their
    neighbours; embeddings [W, M] the own tokens' rows of the embedding table; embed_xy [P, C] where each point's row
    lies on the two directions in which they differ most, and embed_shares [C] each direction's share of the variance;
    embed_near [W, J] which points are nearest to each own token in the whole vocabulary, nearest first, and
    embed_cosine [W, J] how near. Positions: rotary_cos and rotary_sin [S, F] as layer 0 turns queries and keys by
    them, or position_vectors [S, M] as they are added to the embeddings. edit_vectors [A, M]: what `edits` add to the
    residual stream or put in its place.

    An array is None where the model does not show it (`model.reason_against` says why); the map, the positions and
    the lens arrive after the run.
    """

    VERSION: ClassVar[int] = 2

    model: ModelCard
    settings: Settings
    prompt: str  # as typed
    text: str  # what the model wrote, without special tokens
    n_prompt: int
    tokens: tuple[Token, ...]
    texts: dict[int, str]  # what every token id that this record mentions reads as
    fragments: dict[int, bytes] = field(default_factory=dict)  # the bytes of those that are parts of a character
    steps: tuple[Step, ...]
    ended: Ended  # "criterion": one of the model's generation config, such as its stop strings
    notes: tuple[str, ...] = ()  # what a person should know, such as replaced characters
    rules: tuple[AttentionRule, ...] = ()  # one a layer; empty where attention is not shown
    origin: Origin | None = added(None)  # noqa: RUF009  (a field; None: the run began with its prompt)
    prompt_spans: tuple[PromptSpan, ...] = added(())
    # from the first token to the last; empty in a plain prompt, and where template and messages are not told apart
    path: Path = added("solo")  # noqa: RUF009  (a field)
    edits: tuple[Edit, ...] = added(())  # what was changed inside the model; empty: nothing

    queries: Annotated[np.ndarray | None, Shape("float32", "L H S D")] = None
    keys: Annotated[np.ndarray | None, Shape("float32", "L G S D")] = None
    values: Annotated[np.ndarray | None, Shape("float32", "L G S E")] = None
    resid: Annotated[np.ndarray | None, Shape("float32", "L+1 S M")] = None
    logits: Annotated[np.ndarray, Shape("float32", "N V")]
    unit_ids: Annotated[np.ndarray | None, Shape("int32", "L S U")] = None
    unit_values: Annotated[np.ndarray | None, Shape("float32", "L S U")] = None
    expert_ids: Annotated[np.ndarray | None, Shape("int32", "L S X")] = None
    expert_weights: Annotated[np.ndarray | None, Shape("float32", "L S X")] = None
    sinks: Annotated[np.ndarray | None, Shape("float32", "L H")] = None
    masks: Annotated[np.ndarray | None, Shape("float32", "R S S")] = None
    lens_ids: Annotated[np.ndarray | None, Shape("int32", "L+1 S K")] = None
    lens_probs: Annotated[np.ndarray | None, Shape("float32", "L+1 S K")] = None
    embed_ids: Annotated[np.ndarray | None, Shape("int32", "P")] = None
    embeddings: Annotated[np.ndarray | None, Shape("float32", "W M")] = None
    embed_xy: Annotated[np.ndarray | None, Shape("float32", "P C")] = None
    embed_shares: Annotated[np.ndarray | None, Shape("float32", "C")] = None
    embed_near: Annotated[np.ndarray | None, Shape("int32", "W J")] = None
    embed_cosine: Annotated[np.ndarray | None, Shape("float32", "W J")] = None
    rotary_cos: Annotated[np.ndarray | None, Shape("float32", "S F")] = None
    rotary_sin: Annotated[np.ndarray | None, Shape("float32", "S F")] = None
    position_vectors: Annotated[np.ndarray | None, Shape("float32", "S M")] = None
    edit_vectors: Annotated[np.ndarray | None, Shape("float32", "A M")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        trace_checks.check_parts(self)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """How each generated token was chosen, in order."""
        return tuple(choice for step in self.steps for choice in step.choices)

    @property
    def n_generated(self) -> int:
        """Tokens that the model wrote, an end-of-sequence token included."""
        return sum(len(step.choices) for step in self.steps)

    @property
    def over(self) -> bool:
        """Whether the model writes no more; what is added after a run may still be missing."""
        return self.ended != "running"

    @property
    def n_fed(self) -> int:
        """Positions that went through the model: all tokens but the last, which nobody read."""
        return self.steps[-1].stop if self.steps else 0

    def read_again(self, step: int) -> bool:
        """Whether a later pass read tokens of this one again, so that the record holds what that one computed."""
        return any(each.first < self.steps[step].stop for each in self.steps[step + 1 :])

    @property
    def resid_pre(self) -> np.ndarray:
        """The residual stream at each layer's entrance: float32 [L, S, M]. Entry 0 is the embedding."""
        return self._shown("resid", "residual")[:-1]

    @property
    def resid_final(self) -> np.ndarray:
        """The residual stream after the last layer, before the final norm: float32 [S, M]."""
        return self._shown("resid", "residual")[-1]

    def pattern(self, layer: int, head: int) -> np.ndarray:
        """How much each token (row) looks back at each token (column): float32 [query, key], S by S.

        Raises: NotShown, if this model's attention cannot be rebuilt; BadSetting, for a layer or head it does not have.
        """
        return self.pattern_rows(0, self.n_fed, layer=layer, head=head)

    def pattern_rows(self, first: int, stop: int, *, layer: int | None = None, head: int | None = None) -> np.ndarray:
        """Rows first to stop-1 of the attention patterns, over keys 0 to stop-1.

        Shape: float32 [query, key] of one layer and head; [H, query, key] of one layer; [L, H, query, key] of all.
        """
        if layer is None:
            self._shown("queries", "attention")
            if len(set(self.rules)) == 1 and self.rules[0].mask is None:
                return self._pattern_alike(np.arange(first, stop))
            return np.stack([self.pattern_rows(first, stop, layer=each) for each in range(len(self.rules))])
        return self.pattern_at(np.arange(first, stop), layer=layer, head=head)

    def pattern_at(self, positions: np.ndarray, *, layer: int, head: int | None = None) -> np.ndarray:
        """These rows of one layer's attention patterns, in one pass; positions ascend, keys end with the last of them.

        Shape: float32 [query, key] of one head; [H, query, key] of the layer.
        """
        queries, keys = self._shown("queries", "attention"), self._shown("keys", "attention")
        _check_index("there is no layer {given}: this model has layers 0 to {last}.", layer, len(self.rules))
        if head is not None:
            _check_index("there is no head {given}: this model has heads 0 to {last}.", head, queries.shape[1])
        stop, n_kv = int(positions[-1]) + 1, keys.shape[1]
        group = queries.shape[1] // n_kv
        heads = slice(None) if head is None else slice(head, head + 1)
        own = slice(None) if head is None else slice(head // group, head // group + 1)
        shape = (n_kv, group) if head is None else (1, 1)  # keys are shared by a group of heads, not copied for each
        rule = self.rules[layer]
        rows = attention.pattern(
            queries[layer][heads, positions].reshape(*shape, len(positions), -1),
            keys[layer, own, None, :stop],
            rule,
            positions=positions,
            sink=None if self.sinks is None else self.sinks[layer, heads].reshape(shape),
            mask=self._mask(rule, heads, positions, shape),
        )
        rows = rows.reshape(-1, len(positions), stop)
        return rows if head is None else rows[0]

    def _mask(
        self, rule: AttentionRule, heads: slice, positions: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray | None:
        """What the model added to these rows' scores: [query, key], or [*shape, query, key] where heads differ."""
        if self.masks is None or rule.mask is None:
            return None
        stop = int(positions[-1]) + 1
        if not rule.mask_each_head:
            return self.masks[rule.mask, positions, :stop]
        own = attention.masks_of(rule, self.masks, self.model.n_heads)
        assert own is not None
        return own[heads][:, positions, :stop].reshape(*shape, len(positions), stop)

    def _pattern_alike(self, positions: np.ndarray) -> np.ndarray:
        """These rows of every layer in one go, where all layers follow one rule: a step of many small ones is slow."""
        queries, keys = self._shown("queries", "attention"), self._shown("keys", "attention")
        (n_layers, n_heads), n_kv, stop = queries.shape[:2], keys.shape[1], int(positions[-1]) + 1
        shape = (n_layers, n_kv, n_heads // n_kv)
        rows = attention.pattern(
            queries[:, :, positions].reshape(*shape, len(positions), -1),
            keys[:, :, None, :stop],
            self.rules[0],
            positions=positions,
            sink=None if self.sinks is None else self.sinks.reshape(shape),
        )
        return rows.reshape(n_layers, n_heads, len(positions), stop)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read a run from its file. Raises: BadTrace, if the file is damaged, cut short or not a trace."""
        trace = super().open(path)
        trace_checks.check_mentions(trace)
        return trace

    def __repr__(self) -> str:
        edited = f", edited: {all_said(self.edits)}" if self.edits else ""
        return (
            f"<Trace of {self.model.name}{edited}: {self.n_prompt} prompt tokens, {self.n_generated} generated "
            f"({self.ended}), {self.prompt[-40:]!r} -> {self.text[:40]!r}>"
        )

    def _repr_html_(self) -> str | None:
        """A notebook shows the run as a small page, where the part of the program that draws is there.

        It is looked up by name when a notebook asks, so that this part knows no screen and works without one.
        """
        root = __name__.rpartition("model.")[0]  # of the clone: nothing; of the installed package: its name and a dot
        if importlib.util.find_spec(f"{root}viz") is None:
            return None
        return importlib.import_module(f"{root}viz.export").notebook_html(self)

    def _shown(self, name: str, check: str) -> np.ndarray:
        array = getattr(self, name)
        if array is None:
            raise NotShown(
                "{model} does not show its {check}: {reason}.",
                model=self.model.name,
                check=check,
                reason=self.model.reason_against(check) or phrase("this run did not record it"),
            )
        return array


def _check_index(template: LiteralString, given: int, count: int) -> None:
    if not 0 <= given < count:
        raise BadSetting(template, given=given, last=count - 1)
