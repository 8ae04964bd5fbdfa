"""What holds on this device, in each precision: `python -m bench.device`, with `--large` for a model of 8 billion.

Every family of the tests, at tiny size: whether a traced run gives the tokens and logits of the library's `generate`,
and what the self-check hides. Then the milliseconds a token that both take, greedy, for the default model's shape and,
with `--large`, for one of 8.0 billion parameters in bfloat16: 512 tokens are read and 48 written, on random weights.
"""

import sys
import time
from collections.abc import Callable

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model import HookedModel, load, trace
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

_PROMPT, _NEW = "w5 w37 w40 w8 w120 w5 w37", 12
_READ, _WRITTEN, _TRIES = 512, 48, 3
_SMALL = dict(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49_152,
    tie_word_embeddings=True,
)
_LARGE = dict(
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128_256,
)


def main() -> None:
    """Print both tables."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name(0) if device == "cuda" else device
    print(f"{name}, torch {torch.__version__}")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for family in FAMILIES:
            hooked = load(model=tiny_model(family).to(dtype).to(device).eval(), tokenizer=tiny_tokenizer())
            hidden = ", ".join(check.name for check in hooked.card.checks if not check.passed)
            print(f"{str(dtype)[6:]:>9} {family:<14} {_agreement(hooked)}; hidden: {hidden or 'nothing'}")
    for shape in (_SMALL, *([_LARGE] if "--large" in sys.argv else [])):
        _speed(shape, device)


def _agreement(hooked: HookedModel) -> str:
    run = trace(hooked, _PROMPT, max_new_tokens=_NEW, additions=False)
    read = torch.tensor([[token.id for token in run.tokens[: run.n_prompt]]], device=hooked.model.device)
    options = dict(max_new_tokens=_NEW, do_sample=False, use_cache=True)
    own = hooked.model.generate(read, **options, return_dict_in_generate=True, output_logits=True)
    same = own.sequences[0].tolist() == [token.id for token in run.tokens]
    gaps = [
        (each[0].float().cpu() - torch.tensor(kept)).abs().max()
        for each, kept in zip(own.logits, run.logits, strict=True)
    ]
    return f"tokens {'equal' if same else 'DIFFER'}, logits differ by {float(max(gaps)):g}"


def _speed(shape: dict[str, int], device: str) -> None:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **shape), dtype=torch.bfloat16).eval()
    hooked = load(model=model, tokenizer=tiny_tokenizer())
    ids = torch.randint(5, 190, (_READ,)).tolist()
    read = torch.tensor([ids], device=device)
    options = dict(max_new_tokens=_WRITTEN, min_new_tokens=_WRITTEN, do_sample=False)
    plain = _seconds(lambda: model.generate(read, **options))
    traced = _seconds(lambda: trace(hooked, ids, max_new_tokens=_WRITTEN, additions=False))
    took = f"generate {1000 * plain / _WRITTEN:.1f} ms a token, traced {1000 * traced / _WRITTEN:.1f}"
    size = sum(each.numel() for each in model.parameters()) / 1e9
    print(f"{size:.2f} billion, bfloat16: {took}, {plain / traced:.2f} of the speed")


def _seconds(call: Callable[[], object]) -> float:
    """The median of some tries, after one that warms up."""
    call()
    taken = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_TRIES // 2]


if __name__ == "__main__":
    main()
