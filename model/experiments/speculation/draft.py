"""The project's draft model: three layers that predict the default model's next tokens from its hidden states.

The draft shares the model's embedding and its output head (the rows of the commonest tokens), and reads, beside each
token, the hidden state from which the model chose it and its residual stream after a few layers before. It writes a
few tokens ahead; the model verifies them all in one pass. `training/draft.py` makes it.
Source: Li et al. 2024, "EAGLE: Speculative Sampling Requires Rethinking Feature Uncertainty"; several layers read:
Li et al. 2025, "EAGLE-3"; the shortened head: Zhao et al. 2025, "FR-Spec".
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers.generation.candidate_generator import CandidateGenerator

from model.arch.anatomy import attached, hidden
from model.arch.placement import home, whole_weight
from model.errors import BadWeights, NotShown

if TYPE_CHECKING:
    from model.capture.hooked import HookedModel

FILE = Path(__file__).parents[3] / "assets" / "draft" / "draft.safetensors"

WORTH_A_ROW = 0.2
"""The least chance of being accepted with which a token is drafted: its row makes the verification pass longer, by
about this share of a pass.

The chance is the product of the draft's highest probabilities up to this token. It is told by the distributions and
not by what is drawn from them: a stop that looked at the drawn token would bias what is written.
"""

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a draft; all but the number of its layers are those of the model that it drafts for."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    rope_theta: float
    eps: float
    n_tokens: int  # that it can draft
    reads: Sequence[int]  # layers of the model, from 0, after which it reads the residual stream


class Layer(nn.Module):
    """One Llama layer: attention over the draft's own keys and values, then the MLP."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, d_kv = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
        self.shape = shape
        self.attn_norm = nn.RMSNorm(shape.d_model, shape.eps)
        self.query = nn.Linear(shape.d_model, width, bias=False)
        self.key = nn.Linear(shape.d_model, d_kv, bias=False)
        self.value = nn.Linear(shape.d_model, d_kv, bias=False)
        self.out = nn.Linear(width, shape.d_model, bias=False)
        self.mlp_norm = nn.RMSNorm(shape.d_model, shape.eps)
        self.gate = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.up = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.down = nn.Linear(shape.d_mlp, shape.d_model, bias=False)

    def heads(self, x: Tensor, rope: KeysValues) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, T, D], keys and values [B, K, T, D] of x [B, T, d_model], positions turned in."""
        normed = self.attn_norm(x)

        def split(projection: nn.Linear) -> Tensor:
            return projection(normed).unflatten(-1, (-1, self.shape.d_head)).transpose(1, 2)

        return _turned(split(self.query), rope), _turned(split(self.key), rope), split(self.value)

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """What came in, x [B, T, d_model], with what attention [B, H, T, D] and the MLP add to it."""
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        normed = self.mlp_norm(x)
        return x + self.down(functional.silu(self.gate(normed)) * self.up(normed))


class Draft(nn.Module):
    """The layers of a draft, without the embedding and the head that it borrows.

    `token_ids` [n_tokens] are the tokens that it can say, by their ids in the model's vocabulary.
    """

    token_ids: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_norm = nn.RMSNorm(shape.d_model, shape.eps)
        self.hidden_norm = nn.RMSNorm(shape.d_model, shape.eps)
        self.fuse = nn.Linear((len(shape.reads) + 1) * shape.d_model, shape.d_model, bias=False)
        self.join = nn.Linear(2 * shape.d_model, shape.d_model, bias=False)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.n_layers))
        self.norm = nn.RMSNorm(shape.d_model, shape.eps)
        self.register_buffer("token_ids", torch.zeros(shape.n_tokens, dtype=torch.int32))
        self.made_for = "another model"  # its name, as the draft's file says it

    def fused(self, thought: Tensor) -> Tensor:
        """One hidden state [B, T, d_model] of what the model thought [B, T, R, d_model]; see `Thoughts`."""
        return self.fuse(functional.rms_norm(thought, thought.shape[-1:], eps=self.shape.eps).flatten(-2))

    def joined(self, embedded: Tensor, hidden: Tensor) -> Tensor:
        """What the first layer reads [B, T, d_model]: each token, and the hidden state before it, fused or guessed."""
        return self.join(torch.cat([self.token_norm(embedded), self.hidden_norm(hidden)], dim=-1))

    def rope(self, first: int, n: int, like: Tensor) -> KeysValues:
        """Cosines and sines [n, D] of n positions from `first` on."""
        half = torch.arange(0, self.shape.d_head, 2, device=like.device) / self.shape.d_head
        angles = torch.arange(first, first + n, device=like.device)[:, None] / self.shape.rope_theta**half
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)

    def forward(self, embedded: Tensor, hidden: Tensor, past: list[KeysValues]) -> Tensor:
        """Guess the hidden state that comes next at each position, [B, T, d_model]; `past` is read and added to."""
        x = self.joined(embedded, hidden)
        first = past[0][0].shape[2] if past else 0
        rope, n = self.rope(first, x.shape[1], x), x.shape[1]
        seen = torch.ones(n, first + n, dtype=torch.bool, device=x.device).tril(first) if n > 1 else None
        for at, layer in enumerate(self._layers()):
            queries, keys, values = layer.heads(x, rope)
            if first:
                keys, values = torch.cat([past[at][0], keys], dim=2), torch.cat([past[at][1], values], dim=2)
            past[at : at + 1] = [(keys, values)]
            x = layer.rest(
                x, functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, enable_gqa=True)
            )
        return self.norm(x)

    def save(self, path: Path, made: dict[str, str]) -> None:
        """Write the draft in float16; `made` says from what and how."""
        state = {name: each.half() if each.is_floating_point() else each for name, each in self.state_dict().items()}
        held = {name: each.cpu().contiguous() for name, each in state.items()}
        save_file(held, path, metadata={"shape": json.dumps(asdict(self.shape)), **made})

    @classmethod
    def open(cls, path: Path) -> "Draft":
        """A draft in float32, which knows the name of the model that it was made for. Raises: BadWeights."""
        try:
            with safe_open(path, framework="pt") as file:
                said = file.metadata() or {}
                with torch.device("meta"):  # without numbers: to draw them would move the process's generator
                    draft = cls(Shape(**json.loads(said["shape"])))
                held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                draft.load_state_dict(held, assign=True)
        except Exception as error:  # safetensors raises an exception of its own that derives from Exception alone
            raise BadWeights(
                "the draft {path} cannot be read: {error}. Fetch the project again.", path=path.name, error=error
            ) from error
        draft.made_for = said.get("made_for", draft.made_for)
        return draft.float().eval()

    def _layers(self) -> Iterator[Layer]:
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer


def own_draft(hooked: "HookedModel") -> Draft:
    """The draft that the project ships, if it fits a model. Raises: NotShown, if it does not; BadWeights."""
    if not FILE.exists():
        raise NotShown(
            "the project's draft model is missing. Fetch the project again, or make it with training/draft.py."
        )
    draft = Draft.open(FILE)
    card, shape = hooked.card, draft.shape
    theirs = (card.d_model, card.n_heads, card.n_kv_heads, card.d_head)
    ours = (shape.d_model, shape.n_heads, shape.n_kv_heads, shape.d_head)
    last = int(draft.token_ids.max())
    reads = all(at < card.n_layers for at in shape.reads)
    borrowed = hooked.anatomy.final_norm is not None and hooked.model.get_output_embeddings() is not None
    if theirs != ours or last >= card.d_vocab or not (reads and borrowed):
        raise NotShown(
            "the project's draft model was trained for {made_for} and does not fit {model}. Load that model, or choose "
            "another draft.",
            made_for=draft.made_for,
            model=card.name,
        )
    return draft.to(home(hooked.model), hooked.model.dtype)


def borrowed_head(hooked: "HookedModel", draft: Draft) -> nn.Linear:
    """The model's output head for the tokens that the draft can write: a copy of those rows [n_tokens, d_model]."""
    rows = whole_weight(hooked.model.get_output_embeddings()).detach()[draft.token_ids.long()]
    head = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
    head.weight = nn.Parameter(rows.to(home(hooked.model)), requires_grad=False)
    return head


class Thoughts:
    """Hidden states of the target's latest pass [1, T, R, d_model]: R of each token.

    They are those after the layers that the draft reads and, last, the one from which the next token was chosen.
    """

    latest: Tensor | None = None


@contextmanager
def thoughts(hooked: "HookedModel", reads: Sequence[int], kept: Thoughts) -> Iterator[None]:
    """Inside this context every pass leaves the residual stream after the layers `reads` and after the final norm in
    `kept`.

    Hooks of our own, taken off again: to ask the library for hidden states leaves two hooks on every layer for good.
    """
    assert hooked.anatomy.final_norm is not None
    read = [hooked.anatomy.layers[at] for at in reads]
    held: dict[nn.Module, Tensor] = {}
    where = home(hooked.model)  # as the draft is; layers of a spread model may be elsewhere

    def hold(layer: nn.Module, _args: Any, output: Any) -> None:
        held[layer] = hidden(output)

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        kept.latest = torch.stack([each.to(where) for each in (*(held[layer] for layer in read), output)], dim=2)

    with attached(
        [
            *((layer.register_forward_hook, hold) for layer in read),
            (hooked.anatomy.final_norm.register_forward_hook, keep),
        ]
    ):
        yield


class OwnDraft(CandidateGenerator):
    """Drafts for one run of assisted generation: asked before each pass of the model, it says up to n_draft tokens.

    It says fewer, or none, where they are hardly worth their rows: see `WORTH_A_ROW`.
    """

    def __init__(
        self,
        hooked: "HookedModel",
        draft: Draft,
        head: nn.Module,
        thought: Thoughts,
        *,
        n_draft: int,
        max_length: int,
        sample: bool,
        processors: Any,
    ) -> None:
        self._draft, self._thought, self._n_draft, self._max_length = draft, thought, n_draft, max_length
        self._sample, self._processors = sample, processors
        self._embed = hooked.model.get_input_embeddings()
        self._d_vocab = hooked.card.d_vocab
        self._said = draft.token_ids.long()
        self._head = head
        self._past: list[KeysValues] = []
        self._n_past = 0  # positions of which the past holds what the model itself computed

    @torch.inference_mode()
    def get_candidates(self, input_ids: Tensor, **_: Any) -> Any:
        """The text with the drafted tokens after it [1, n + k], and the draft's scores of each [1, k, V]."""
        n_draft = min(self._n_draft, self._max_length - input_ids.shape[1] - 1)
        if self._thought.latest is None or n_draft < 1:  # nothing has been thought yet, or nothing is left to say
            return input_ids, None
        guess = self._read(input_ids, self._thought.latest[:, : input_ids.shape[1] - 1 - self._n_past])
        scores: list[Tensor] = []
        text, hope = input_ids, 1.0
        while len(scores) < n_draft:
            if scores:
                guess = self._draft(self._embed(text[:, -1:]), guess, self._past)
            said = self._scores(text, guess)
            hope *= float(said.softmax(dim=-1).max())
            if hope < WORTH_A_ROW:
                break
            scores.append(said)
            text = torch.cat([text, self._choose(said)], dim=-1)
        return text, torch.stack(scores, dim=1) if scores else None

    def update_candidate_strategy(self, input_ids: Tensor, scores: Tensor, num_matches: int) -> None:
        """The number of drafted tokens stays the same."""

    def _read(self, input_ids: Tensor, thought: Tensor) -> Tensor:
        """Read what the model has thought since the last round, in place of what was guessed of it."""
        self._past = [(keys[:, :, : self._n_past], values[:, :, : self._n_past]) for keys, values in self._past]
        new = input_ids[:, self._n_past + 1 :]
        self._n_past = input_ids.shape[1] - 1
        return self._draft(self._embed(new), self._draft.fused(thought), self._past)[:, -1:]

    def _scores(self, text: Tensor, guess: Tensor) -> Tensor:
        """Scores over the whole vocabulary [1, V]: minus infinity for what the draft cannot say."""
        scores = guess.new_full(
            (1, self._d_vocab), -torch.inf, dtype=torch.float32
        )  # float32, as the model's scores for verification
        scores[:, self._said] = self._head(guess[:, -1]).float()
        return self._processors(text, scores) if len(self._processors) else scores

    def _choose(self, scores: Tensor) -> Tensor:
        if self._sample:
            return torch.multinomial(scores.softmax(dim=-1), num_samples=1)
        return scores.argmax(dim=-1, keepdim=True)


def _turned(x: Tensor, rope: KeysValues) -> Tensor:
    """Rotary positions, as Llama's code turns them: the two halves of a head are the two coordinates."""
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
