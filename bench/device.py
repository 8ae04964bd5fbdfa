"""What holds on this device, in each precision: `python -m bench.device`, with `--large` for a model of 8 billion.

Every family of the tests, at tiny size: whether a traced run gives the tokens and logits of the library's `generate`,
the same of captured decode passes where the device has them, and what the self-check hides. Then milliseconds a decode
step, greedy, after a prompt of 512 tokens and over 47 steps, on random weights in bfloat16, for the default model's
shape and, with `--large`, for one of 8.0 billion parameters: of `generate`, of the same loop here without and with a
tracer, of a whole run that makes a record, and of the three where decode passes are captured. The sides take turns.
`--speed` prints the times alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from model import HookedModel, Limits, Settings, load, trace
from model.capture.captured import CapturedPasses
from model.capture.decoding import passes
from model.capture.generation import Generation
from model.capture.tracer import Tracer
from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer

_SAID = ("parity", "captured")
_PROMPT, _NEW = "w5 w37 w40 w8 w120 w5 w37", 12
_READ, _WRITTEN, _TRIES = 512, 48, 5
SMALL = dict(
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
    """Print both tables, or the second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name(0) if device == "cuda" else device
    print(f"{name}, torch {torch.__version__}")
    for dtype in () if "--speed" in sys.argv else (torch.float32, torch.bfloat16, torch.float16):
        for family in FAMILIES:
            hooked = load(model=tiny_model(family).to(dtype).to(device).eval(), tokenizer=tiny_tokenizer())
            hidden = ", ".join(check.name for check in hooked.card.checks if not check.passed)
            said = f"{_agreement(_solo(hooked))}; hidden: {hidden or 'nothing'}"
            captured = f"; captured: {_agreement(hooked)}" if _captured(hooked) is not None else ""
            print(f"{str(dtype)[6:]:>9} {family:<14} {said}{captured}")
    for shape in (SMALL, *([_LARGE] if "--large" in sys.argv else [])):
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
    ids, settings, limits = torch.randint(5, 190, (_READ,)).tolist(), Settings(max_new_tokens=_WRITTEN), Limits()

    def loop(captured: CapturedPasses | None = None, *, traced: bool = False) -> float:
        tracer = Tracer(hooked.anatomy, _READ + _WRITTEN) if traced else None
        return _a_step(passes(model, ids, settings, tracer, captured=captured))

    def run(of: HookedModel) -> float:
        return _a_step(Generation(of, ids, settings, limits))

    ways: dict[str, Callable[[], float]] = {
        "generate()": lambda: _generated(model, ids),
        "loop": loop,
        "loop, traced": lambda: loop(traced=True),
        "run": lambda: run(_solo(hooked)),
    }
    if (captured := _captured(hooked)) is not None:
        ways |= {
            "captured loop": lambda: loop(captured),
            "captured loop, traced": lambda: loop(captured, traced=True),
            "captured run": lambda: run(hooked),
        }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + _TRIES):
        for name, way in ways.items():
            took[name].append(way())
    steps = {name: median(each[1:]) for name, each in took.items()}  # the first of each warms up
    size = sum(each.numel() for each in model.parameters()) / 1e9
    print(f"{size:.2f} billion, bfloat16, {_READ} + {_WRITTEN} tokens, ms a decode step, medians of {_TRIES}:")
    for name, seconds in steps.items():
        low, high = min(took[name][1:]), max(took[name][1:])
        speed = steps["captured loop" if name.startswith("captured") else "loop"] / seconds
        print(f"  {name:<22} {1000 * seconds:6.2f} ({1000 * low:.2f} to {1000 * high:.2f}), speed {speed:.3f}")
    print("\n".join(f"  {check.name}: {check.detail}" for check in hooked.card.checks if check.name in _SAID))


def _solo(hooked: HookedModel) -> HookedModel:
    """The same model, no pass of which is captured."""
    return replace(hooked, captured=None)


def _captured(hooked: HookedModel) -> CapturedPasses | None:
    return None if hooked.card.reason_against("captured") is not None else hooked.captured


def _a_step(run: Iterator[object]) -> float:
    """Seconds a decode step of a run takes: all after the first, which reads the prompt."""
    next(run)
    _wait()
    began, n_steps = time.perf_counter(), 0
    for _ in run:
        n_steps += 1
    _wait()
    return (time.perf_counter() - began) / n_steps


def _generated(model: torch.nn.Module, ids: list[int]) -> float:
    """Seconds a decode step of the library's own run takes: a whole run less one that writes a single token."""
    whole, first = (_seconds(model, ids, n_new) for n_new in (_WRITTEN, 1))
    return (whole - first) / (_WRITTEN - 1)


def _seconds(model: torch.nn.Module, ids: list[int], n_new: int) -> float:
    read = torch.tensor([ids], device=next(model.parameters()).device)
    _wait()
    began = time.perf_counter()
    model.generate(read, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=False)  # pyright: ignore
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
