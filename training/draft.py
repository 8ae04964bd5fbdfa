"""Trains the default model's draft on text that the default model itself writes: `python -m training.draft MODEL OUT`.

On several GPUs: `torchrun --nproc-per-node 4 -m training.draft MODEL OUT`; each writes texts of its own and learns from
them, and gradients are averaged.

Recipe, from a seed and the model's folder alone:
1. Requests: the model writes the user's turn of its own chat template, from nothing (as in Magpie, Xu et al. 2024).
2. Answers: it answers those, a third of them greedily, a third at temperature 0.7, a third at 1.
3. Free text: the first tokens of random stretches of the answers, without the template, are continued in the same way.
4. The draft learns at each position the model's whole next-token distribution (cross-entropy over the tokens that it
   can say), reading the model's hidden states in a first step and its own guesses of them in the steps after it, as
   when it drafts (EAGLE-3's training-time test, Li et al. 2025).
One text in sixteen is held out: on at most 480 of those in each process the agreement of each drafted token with the
model's likeliest one is measured, where the model wrote, and written beside the loss. A held-out free text may begin
with tokens of an answer that is learned from.
The draft in assets/draft was made so on two NVIDIA H200, with the settings that stand as defaults: texts of 21.5
million tokens in all, template and openings included, written in 270 s, and 10,401 steps in 661 s. Its curve is
assets/draft/loss.json. How many steps fit into the minutes depends on the machine, so that another run gives another
draft: `--steps 10401 --minutes 999` comes nearest.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from model.experiments.speculation.draft import Draft, Layer, Shape

Text = tuple[int, list[int]]  # ids, and how many of them stood there before the model wrote

SEED = 20261124
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # which is good for a look at the code only
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))  # which torchrun sets
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
USER = f"{SYSTEM}<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
END = (0, 2)  # <|endoftext|>, <|im_end|>
TEMPERATURES = (0.0, 0.7, 1.0)
REQUEST_TOKENS, TEXT_TOKENS, SEED_TOKENS = 48, 256, 8
STEPS_AHEAD = 4
HELD_OUT = 16


def main() -> None:
    """Write the texts, or read those that are kept, and train on them."""
    asked = _arguments()
    torch.set_float32_matmul_precision("high")
    if WORLD > 1:
        if DEVICE == "cuda":
            torch.cuda.set_device(RANK)
        dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
    texts = _texts(asked)
    if not asked.only_texts:
        train(_target(asked, torch.float32), texts, asked)
    if WORLD > 1:
        dist.destroy_process_group()


def _target(asked: argparse.Namespace, dtype: torch.dtype) -> Any:
    target: Any = AutoModelForCausalLM.from_pretrained(asked.model, dtype=dtype)
    return target.to(DEVICE).eval()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the default model")
    parser.add_argument("out", type=Path, help="folder for draft.safetensors and loss.json")
    parser.add_argument("--texts", type=Path, help="folder that keeps what the model wrote; it is read if it is there")
    parser.add_argument("--only-texts", action="store_true", help="write them, and train another time")
    parser.add_argument("--rows", type=int, default=6144, help="texts that each process writes at once")
    parser.add_argument("--batches", type=int, default=4, help="times that so many are written, of each kind")
    parser.add_argument("--steps", type=int, default=100_000, help="at the most")
    parser.add_argument("--batch", type=int, default=40, help="texts a step, of each process")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument(
        "--reads", type=int, nargs="*", default=[9, 19], help="layers that the draft reads beside the last"
    )
    parser.add_argument("--tokens", type=int, default=8192, help="that the draft can say: the commonest ones")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument(
        "--minutes", type=float, default=11, help="the rate falls with them if they end first, and training ends"
    )
    parser.add_argument("--made-for", default="SmolLM2-135M-Instruct")
    return parser.parse_args()


def _texts(asked: argparse.Namespace) -> list[Text]:
    kept = None if asked.texts is None else asked.texts / f"texts-{RANK}.json"
    if kept is not None and kept.exists():
        return [tuple(text) for text in json.loads(kept.read_text())]
    torch.manual_seed(SEED + RANK)
    writer, tokenizer = _target(asked, torch.bfloat16), AutoTokenizer.from_pretrained(asked.model)
    started, texts = time.perf_counter(), []
    for _ in range(asked.batches):
        texts += write_texts(writer, tokenizer, asked.rows)
        _say(
            f"texts of {sum(len(ids) for _, ids in texts):,} tokens in all after {time.perf_counter() - started:.0f} s"
        )
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")  # what bears the final name is whole, whenever the run ends
        part.write_text(json.dumps(texts))
        part.replace(kept)
    return texts


def write_texts(target: Any, tokenizer: Any, rows: int) -> list[Text]:
    """Texts as token ids: so many chats, and as much free text."""
    user, assistant = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (USER, ASSISTANT))
    hot = torch.ones(rows, device=DEVICE)
    requests = [_cut(each) for each in _continued(target, [user] * rows, REQUEST_TOKENS, hot)]
    prompts = [user + each + assistant for each in requests]
    answers = _continued(target, prompts, TEXT_TOKENS - REQUEST_TOKENS, _temperatures(rows))
    answers = [_cut(each, keep_end=True) for each in answers]
    openings = [_opening(each) for each in answers]
    free = _continued(target, openings, TEXT_TOKENS - SEED_TOKENS, _temperatures(rows))
    free = [_cut(each, keep_end=True) for each in free]
    texts = [(len(user), prompt + answer) for prompt, answer in zip(prompts, answers, strict=True)]
    texts += [(len(opening), opening + each) for opening, each in zip(openings, free, strict=True)]
    return [(n_given, ids) for n_given, ids in texts if len(ids) > n_given + SEED_TOKENS]


def _temperatures(rows: int) -> Tensor:
    return torch.tensor(TEMPERATURES, device=DEVICE).repeat(rows // 3 + 1)[:rows]


def _cut(ids: list[int], *, keep_end: bool = False) -> list[int]:
    """What stands before the first mark that ends a text, or that mark with it."""
    end = next((at for at, each in enumerate(ids) if each in END), len(ids))
    return ids[: end + keep_end]


def _opening(ids: list[int]) -> list[int]:
    at = int(torch.randint(max(len(ids) - 2 * SEED_TOKENS, 1), ()))
    opening = [each for each in ids[at : at + SEED_TOKENS] if each not in END]
    return opening or [504]


@torch.inference_mode()
def _continued(target: Any, prompts: list[list[int]], n_new: int, temperatures: Tensor) -> list[list[int]]:
    """n_new tokens after each prompt: prompts are padded on the left, and rows that have ended write on unread."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[END[0]] * (longest - len(each)) + each for each in prompts], device=DEVICE)
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in prompts], device=DEVICE)
    cache, written = DynamicCache(config=target.config), []
    for _ in range(n_new):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = target(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        ids = _drawn(output.logits[:, -1].float(), temperatures)
        written.append(ids)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
    return torch.cat(written, dim=-1).tolist()


def _drawn(logits: Tensor, temperatures: Tensor) -> Tensor:
    """A token a row [B, 1]; at temperature 0 the likeliest. Gumbel's trick: the largest of logits and noise."""
    noise = -torch.empty_like(logits).exponential_().log()
    return (logits + temperatures[:, None] * noise).argmax(dim=-1, keepdim=True)


def train(target: Any, texts: list[Text], asked: argparse.Namespace) -> None:
    """Train a draft on the texts; it is kept now and then with its curve: loss, and agreement on held-out texts."""
    torch.manual_seed(SEED)
    draft = Draft(_shape(target.config, asked)).to(DEVICE)
    _begin(draft, target)
    torch.manual_seed(SEED + RANK)
    order = torch.randperm(len(texts)).tolist()
    n_held = len(texts) // HELD_OUT
    held, kept = [texts[at] for at in order[:n_held]], [texts[at] for at in order[n_held:]]
    draft.token_ids.copy_(_commonest(kept, asked.tokens, target.config.vocab_size))
    read = [*asked.reads, len(target.model.layers) - 1]
    learned, unseen = Read.by(target, kept, read), Read.by(target, held[: 480 // asked.batch * asked.batch], read)
    learn = Learning(draft, target)
    optimizer = torch.optim.AdamW(draft.parameters(), lr=asked.rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    n_tokens = int(_summed(torch.tensor(sum(len(ids) for _, ids in texts), device=DEVICE)))
    curve: list[dict[str, Any]] = []
    started, losses, done = time.perf_counter(), [], 0.0
    for step in range(asked.steps):
        if step % 25 == 0:  # the same in all processes
            done = float(_mean(torch.tensor(time.perf_counter() - started, device=DEVICE))) / (60 * asked.minutes)
        _set_rate(optimizer, asked.rate, step, max(step / asked.steps, min(done, 1.0)))
        loss = learn(*learned.rows(torch.randint(len(kept), (asked.batch,))))
        for parameter in draft.parameters():
            _mean(parameter.grad)
        torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.clone())
        over = done >= 1
        if (step + 1) % 1000 == 0 or step + 1 in (1, asked.steps) or over:
            row = {
                "step": step + 1,
                "loss": float(_mean(torch.stack(losses).mean())),
                **_agreement(draft, target, unseen, asked.batch),
            }
            curve.append(row)
            losses = []
            _say(f"{time.perf_counter() - started:5.0f} s {json.dumps(row)}")
            if RANK == 0:
                _keep(draft, n_tokens, curve, asked)
        if over:
            break


def _keep(draft: Draft, n_tokens: int, curve: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    asked.out.mkdir(parents=True, exist_ok=True)
    draft.save(
        asked.out / "draft.safetensors", {"made_for": asked.made_for, "seed": str(SEED), "tokens": str(n_tokens)}
    )
    settings = {
        name: value for name, value in vars(asked).items() if name not in ("model", "out", "texts", "only_texts")
    }
    told = {"seed": SEED, "processes": WORLD, "settings": settings, "tokens": n_tokens, "curve": curve}
    (asked.out / "loss.json").write_text(json.dumps(told, indent=1) + "\n")


def _say(text: str) -> None:
    if RANK == 0:
        print(text, flush=True)


def _summed(value: Tensor | None) -> Any:
    """The sum over all processes, in place."""
    if WORLD > 1:
        dist.all_reduce(value)
    return value


def _mean(value: Tensor | None) -> Any:
    """The mean over all processes, in place."""
    return _summed(value).div_(WORLD)


def _shape(config: Any, asked: argparse.Namespace) -> Shape:
    return Shape(
        n_layers=asked.layers,
        d_model=config.hidden_size,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        d_head=config.head_dim,
        d_mlp=config.intermediate_size,
        rope_theta=config.rope_parameters["rope_theta"],
        eps=config.rms_norm_eps,
        n_tokens=asked.tokens,
        reads=tuple(asked.reads),
    )


def _commonest(texts: list[Text], n_tokens: int, d_vocab: int) -> Tensor:
    ids = torch.tensor([each for n_given, text in texts for each in text[n_given:]], device=DEVICE)
    counts = _summed(torch.bincount(ids, minlength=d_vocab))
    best = counts.topk(n_tokens).indices
    _say(f"{n_tokens} tokens are {counts[best].sum() / counts.sum():.2%} of the texts")
    return best.sort().values.int()


def _begin(draft: Draft, target: Any) -> None:
    """Begin with the target's own last layers; the new parts begin small."""
    torch.nn.init.normal_(draft.join.weight, std=0.02)
    torch.nn.init.zeros_(draft.fuse.weight)
    torch.nn.init.eye_(draft.fuse.weight[:, -draft.shape.d_model :])
    draft.norm.load_state_dict(target.model.norm.state_dict())
    names = {
        "attn_norm": "input_layernorm",
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "out": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }
    for layer, own in zip(draft.layers, target.model.layers[-len(draft.layers) :], strict=True):
        for name, theirs in names.items():
            getattr(layer, name).load_state_dict(own.get_submodule(theirs).state_dict())


def _set_rate(optimizer: torch.optim.Optimizer, highest: float, step: int, done: float) -> None:
    """It rises over the first steps and falls like a cosine as `done`, the share of the training, goes to 1."""
    warm = min(1.0, (step + 1) / 100)
    for group in optimizer.param_groups:
        group["lr"] = highest * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True, kw_only=True)
class Read:
    """Texts one after another, and what the model thought over them: it is computed once."""

    ids: Tensor  # [N]
    thought: Tensor  # [N, R, d_model] float16: after the layers that are read, and after the last norm
    starts: Tensor  # [texts]
    lengths: Tensor  # [texts]
    given: Tensor  # [texts] tokens that the model did not write
    longest: int

    @classmethod
    @torch.no_grad()
    def by(cls, target: Any, texts: list[Text], read: list[int]) -> "Read":
        rows = [ids[: TEXT_TOKENS + 64] for _, ids in texts]
        thought = []
        for first in range(0, len(rows), 128):
            ids, real = _padded(rows[first : first + 128])
            states = target.model(input_ids=ids, output_hidden_states=True).hidden_states
            thought.append(torch.stack([states[at + 1][real] for at in read], dim=1).half())
        lengths = torch.tensor([len(row) for row in rows], device=DEVICE)
        return cls(
            ids=torch.tensor([each for row in rows for each in row], device=DEVICE),
            thought=torch.cat(thought),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            given=torch.tensor([n_given for n_given, _ in texts], device=DEVICE),
            longest=max(map(len, rows)),
        )

    def rows(self, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids [B, T], thoughts [B, T, R, d_model], and the slots [B, T-1] whose answer the model wrote itself."""
        which = which.to(DEVICE)
        at = torch.arange(self.longest, device=DEVICE)
        tokens = (self.starts[which, None] + at).clamp(max=len(self.ids) - 1)
        answered = at[1:] + 1  # by slot t: token t+2
        counted = (at[1:] < self.lengths[which, None]) & (answered >= self.given[which, None])
        return self.ids[tokens], self.thought[tokens].float(), counted


class Learning:
    """Loss and gradients of a batch. On a GPU one CUDA graph, replayed: they are thousands of small kernels."""

    def __init__(self, draft: Draft, target: Any) -> None:
        self._draft, self._target = draft, target
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[Tensor] = []
        self._loss = torch.zeros(())

    def __call__(self, *rows: Tensor) -> Tensor:
        if DEVICE != "cuda":
            return self._learned(rows)
        if self._graph is None:
            self._capture(rows)
        assert self._graph is not None
        for given, row in zip(self._given, rows, strict=True):
            given.copy_(row)
        self._graph.replay()
        return self._loss

    def _learned(self, rows: Sequence[Tensor]) -> Tensor:
        self._draft.zero_grad(set_to_none=True)
        ahead = _steps_ahead(self._draft, self._target, *rows)
        loss = torch.stack([0.8**at * each for at, (each, _) in enumerate(ahead)]).sum()
        loss.backward()
        return loss.detach()

    def _capture(self, rows: Sequence[Tensor]) -> None:
        self._given = [each.clone() for each in rows]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is allocated and chosen at first is not for the graph
            for _ in range(3):
                self._learned(self._given)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = self._learned(self._given)


def _steps_ahead(
    draft: Draft, target: Any, ids: Tensor, thought: Tensor, counted: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Loss of each step ahead, and whether its likeliest token is the target's at each slot that counts.

    Slot t reads token t+1 and what was thought over t, and answers for token t+2. In step j it reads what step j-1
    guessed at slot t-1 in place of that thought, and attends to what step 1 computed up to slot t-j+1, then to each
    later step's own slot after that.
    """
    with torch.no_grad():
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = target.lm_head(thought[:, 1:, -1]).float()
        wanted = logits.argmax(-1)
        goal = (logits.log_softmax(-1))[..., draft.token_ids.long()].exp()
        del logits
    head = target.lm_head.weight.detach()[draft.token_ids.long()]
    embedded = target.model.embed_tokens(ids[:, 1:]).detach()
    pasts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in draft.layers]
    guess, results = thought[:, :-1], []
    for step in range(STEPS_AHEAD):
        if step:
            guess = torch.cat([torch.zeros_like(guess[:, :1]), guess[:, :-1]], dim=1)
            counted = counted & (torch.arange(counted.shape[1], device=DEVICE) >= step)
        with torch.autocast(DEVICE, torch.bfloat16):
            guess = _step(draft, embedded, guess if step else draft.fused(guess), pasts)
            scores = functional.linear(guess, head)
        logs = scores.float().log_softmax(-1)
        loss = -((goal * logs).sum(-1) * counted).sum() / counted.sum()
        said = draft.token_ids.long()[scores.argmax(-1)]
        results.append((loss, torch.where(counted, (said == wanted).int(), -1)))
    return results


def _step(draft: Draft, embedded: Tensor, guess: Tensor, pasts: list[list[tuple[Tensor, Tensor]]]) -> Tensor:
    x = draft.joined(embedded, guess)
    rope = draft.rope(0, x.shape[1], x)
    for layer, past in zip(draft.layers, pasts, strict=True):
        assert isinstance(layer, Layer)
        queries, keys, values = layer.heads(x, rope)
        groups = queries.shape[1] // keys.shape[1]
        past.append((keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)))
        x = layer.rest(x, _attended(queries, past))
    return draft.norm(x)


def _attended(queries: Tensor, past: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention of the latest step: to step 1 up to slot t-j+1, and to one slot of each step after that."""
    n, behind = queries.shape[2], len(past) - 1
    if not behind:
        return functional.scaled_dot_product_attention(queries, *past[0], is_causal=True)
    scale = queries.shape[-1] ** -0.5
    seen = torch.ones(n, n, dtype=torch.bool, device=queries.device).tril(-behind)
    scores = [(queries @ past[0][0].mT * scale).masked_fill(~seen, -1e4)]
    shifted = [
        (_later(keys, behind - at), _later(values, behind - at)) for at, (keys, values) in enumerate(past[1:], 1)
    ]
    scores += [(queries * keys).sum(-1, keepdim=True) * scale for keys, _ in shifted]
    weights = torch.cat(scores, dim=-1).float().softmax(-1).to(queries.dtype)
    attended = weights[..., :n] @ past[0][1]
    for at, (_, values) in enumerate(shifted):
        attended = attended + weights[..., n + at : n + at + 1] * values
    return attended


def _later(x: Tensor, by: int) -> Tensor:
    """The slots of x [B, H, T, D] moved on by so many slots."""
    return x if not by else torch.cat([torch.zeros_like(x[:, :, :by]), x[:, :, :-by]], dim=2)


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids [B, T] padded on the right, and which are text."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [END[0]] * (longest - len(row)) for row in rows], device=DEVICE)
    lengths = torch.tensor([len(row) for row in rows], device=DEVICE)
    return ids, torch.arange(longest, device=DEVICE) < lengths[:, None]


@torch.no_grad()
def _agreement(draft: Draft, target: Any, unseen: Read, batch: int) -> dict[str, Any]:
    """On held-out texts: loss of the first step, and how often each drafted token is the target's likeliest."""
    losses: list[Tensor] = []
    right = torch.zeros(2, STEPS_AHEAD, device=DEVICE)  # agreed, counted
    for which in torch.arange(len(unseen.lengths)).split(batch):
        steps = _steps_ahead(draft, target, *unseen.rows(which))
        losses.append(steps[0][0])
        for at, (_, matches) in enumerate(steps):
            right[:, at] += torch.stack([(matches == 1).sum(), (matches >= 0).sum()])
    agreed, counted = _summed(right).tolist()
    shares = [round(one / all_, 4) for one, all_ in zip(agreed, counted, strict=True)]
    return {"held_out_loss": float(_mean(torch.stack(losses).mean())), "held_out_agreement": shares}


if __name__ == "__main__":
    main()
