"""What recording costs: traced runs against plain `generate()` and against transformers' own outputs, side by side.

`python -m bench.trace [--pairs 7] [--quick] [-o FILE]` prints the measurements and whether they meet the targets, and
writes both as JSON. Time is CPU time on one thread, in one process, the variants taking turns; peak memory is that of
a child process for each variant, which never saw the others. Exit code 1 when a target is missed; `--quick` only tries
that everything runs, on short lengths, and judges nothing.
"""

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUIETLY = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # of a child
TEXT = (
    "A language model reads its prompt once, all tokens together, and keeps a key and a value for each of them. "
    "Every new token then needs only its own query: it is compared with the keys that are already there. "
)

Lengths = tuple[int, int]  # prompt tokens, new tokens


def main() -> int:
    """Measure everything, print it, and say which targets were met."""
    options = _options()
    if options.child:
        print(json.dumps(_CHILDREN[options.child](**json.loads(options.given))))
        return 0
    pairs, runs, prefill = (
        (1, [(16, 8), (64, 8)], 128) if options.quick else (options.pairs, [(16, 64), (512, 32)], 2048)
    )
    repeats = 1 if options.quick else 3
    result: dict[str, Any] = {"machine": _machine(), "pairs": pairs, "quick": options.quick}
    result["load_before"] = os.getloadavg()
    speed = _child("speed", pairs=pairs, runs=runs, prefill=prefill)
    result["runs"], result["prefill"] = speed["runs"], speed["prefill"]
    for run in [*result["runs"], result["prefill"]]:
        run["peak_bytes"] = {
            variant: [
                _child("peak", variant=variant, folder=speed["folder"], lengths=run["lengths"]) for _ in range(repeats)
            ]
            for variant in run["cpu_s"]
        }
    result["load"] = {
        variant: [_child("load", variant=variant, folder=speed["folder"]) for _ in range(pairs)]
        for variant in ("plain", "traced")
    }
    result["load_after"] = os.getloadavg()
    result["versions"] = speed["versions"]
    result["targets"] = _targets(result)
    print(_report(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if options.quick or all(target["met"] for target in result["targets"]) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trace", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=7, help="turns each variant takes (default 7)")
    parser.add_argument("--quick", action="store_true", help="one short turn each, to see that it runs; judges nothing")
    parser.add_argument("-o", "--output", type=Path, help="write the measurements as JSON to this file too")
    parser.add_argument("--child", choices=list(_CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--given", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(what: str, **given: Any) -> Any:
    """Measure in a process of its own, on one thread; this process stays without torch, so it adds nothing."""
    command = [sys.executable, "-m", "bench.trace", "--child", what, "--given", json.dumps(given)]
    done = subprocess.run(command, env={**os.environ, **QUIETLY}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------ what is measured, each in a child process


def measure_speed(pairs: int, runs: list[Lengths], prefill: int) -> dict[str, Any]:
    """CPU seconds of each variant in turns, what each keeps, and what the browser is sent for each step."""
    import torch
    import transformers

    from model import load

    torch.set_num_threads(1)
    hooked = load()
    hooked.model.generation_config.eos_token_id = None  # every run has its full length
    folder = str(hooked.folder)
    everything = _open_plain(folder, "eager")
    everything.generation_config.eos_token_id = None

    def measure(lengths: Lengths, outputs: bool) -> dict[str, Any]:
        ids = _prompt(hooked.tokenizer, lengths[0])
        variants = {
            "plain": lambda: _plain(hooked.model, ids, lengths[1]),
            "traced": lambda: _traced(hooked, ids, lengths[1]),
        }
        if outputs:
            variants["outputs"] = lambda: _with_outputs(everything, ids, lengths[1])
        return {"lengths": lengths, **_take_turns(variants, pairs, lengths)}

    return {
        "runs": [measure(lengths, True) for lengths in runs],
        "prefill": measure((prefill, 1), False),
        "folder": folder,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def measure_peak(variant: str, folder: str, lengths: Lengths) -> int:
    """Most memory, in bytes, that a process of its own needs to load the model and run one variant once."""
    import torch

    torch.set_num_threads(1)
    ids = _prompt(_open_tokenizer(folder), lengths[0])
    if variant == "traced":
        from model import load

        hooked = load()
        hooked.model.generation_config.eos_token_id = None
        kept = _traced(hooked, ids, lengths[1])
    else:
        model = _open_plain(folder, "eager" if variant == "outputs" else "sdpa")
        model.generation_config.eos_token_id = None
        kept = (_with_outputs if variant == "outputs" else _plain)(model, ids, lengths[1])
    peak = _peak_bytes()
    del kept  # held until here: what a run keeps belongs to its peak
    return peak


def measure_load(variant: str, folder: str) -> dict[str, float]:
    """Seconds from a started Python to a model that can run: the imports, then the model and its tokenizer."""
    import_wall, import_cpu = time.perf_counter(), time.process_time()
    if variant == "traced":
        import torch

        from model import load

        opened: Callable[[], Any] = load
    else:
        import torch
        import transformers

        _ = transformers.AutoModelForCausalLM, transformers.AutoTokenizer  # imported when first named

        def opened() -> Any:
            return _open_plain(folder, "sdpa"), _open_tokenizer(folder)

    torch.set_num_threads(1)
    load_wall, load_cpu = time.perf_counter(), time.process_time()
    opened()
    return {
        "import_wall_s": load_wall - import_wall,
        "import_cpu_s": load_cpu - import_cpu,
        "load_wall_s": time.perf_counter() - load_wall,
        "load_cpu_s": time.process_time() - load_cpu,
    }


_CHILDREN: dict[str, Callable[..., Any]] = {"speed": measure_speed, "peak": measure_peak, "load": measure_load}


def _take_turns(variants: dict[str, Callable[[], Any]], pairs: int, lengths: Lengths) -> dict[str, Any]:
    """A B C, B C A, ...: what slows the machine for a while slows all variants alike."""
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    kept = {name: _kept(name, run(), lengths) for name, run in variants.items()}  # the first run also warms up
    if kept["plain"]["ids"] != kept["traced"]["ids"]:
        raise SystemExit("the traced run chose other tokens than the plain one: nothing to compare")
    names = list(variants)
    for turn in range(pairs):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            began = time.process_time()
            result = variants[name]()
            cpu[name].append(time.process_time() - began)
            del result
    return {
        "cpu_s": cpu,
        "kept_bytes": {name: each["bytes"] for name, each in kept.items()},
        "file_bytes": kept["traced"]["file_bytes"],
        "wire": kept["traced"]["wire"],
    }


def _kept(name: str, result: Any, lengths: Lengths) -> dict[str, Any]:
    if name == "plain":
        _require_length(result.shape[1] - lengths[0], lengths)
        return {"bytes": 0, "ids": result[0].tolist()}
    if name == "outputs":
        _require_length(result.sequences.shape[1] - lengths[0], lengths)
        tensors = [each for passes in (result.attentions, result.hidden_states) for layers in passes for each in layers]
        return {"bytes": sum(each.numel() * each.element_size() for each in tensors)}
    _require_length(result.n_generated, lengths)
    with tempfile.TemporaryDirectory() as folder:
        file_bytes = result.save(Path(folder) / "run.trace")
    return {
        "bytes": sum(each.nbytes for each in result.arrays().values()),
        "file_bytes": file_bytes,
        "wire": _wire_bytes(result),
        "ids": [token.id for token in result.tokens],
    }


def _require_length(n_new: int, lengths: Lengths) -> None:
    if n_new != lengths[1]:
        raise SystemExit(f"a run of {lengths[0]}+{lengths[1]} tokens ended after {n_new} new ones: nothing to compare")


def _wire_bytes(trace: Any) -> dict[str, Any]:
    """Bytes of the frames that the browser pulls: the prefill's, and each decode step's."""
    from viz.wire import frames

    steps = [len(frames.step(trace, i)) for i in range(len(trace.steps))]
    return {"head": len(frames.head(trace)), "prefill": steps[0], "decode": steps[1:]}


# ------------------------------------------------------------ the variants


def _plain(model: Any, ids: list[int], n_new: int) -> Any:
    import torch

    return model.generate(torch.tensor([ids]), max_new_tokens=n_new, do_sample=False)


def _with_outputs(model: Any, ids: list[int], n_new: int) -> Any:
    """What transformers itself offers: every map and every hidden state, which only the eager attention can give."""
    import torch

    return model.generate(
        torch.tensor([ids]),
        max_new_tokens=n_new,
        do_sample=False,
        output_attentions=True,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )


def _traced(hooked: Any, ids: list[int], n_new: int) -> Any:
    from model import trace

    return trace(hooked, ids, max_new_tokens=n_new, additions=False)  # they come after a run


def _open_plain(folder: str, attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
    )
    return model.eval().requires_grad_(False)


def _open_tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _prompt(tokenizer: Any, n_tokens: int) -> list[int]:
    once = tokenizer(TEXT)["input_ids"]
    return (once * (n_tokens // len(once) + 1))[:n_tokens]


def _peak_bytes() -> int:
    """Not ru_maxrss on Linux: a child inherits it from the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ------------------------------------------------------------ what it says


def _targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    prefill, last = result["prefill"], result["runs"][-1]
    read = f"prefill of {prefill['lengths'][0]:,}"
    targets = [
        _target(
            f"traced speed / plain speed, {_title(run)}", statistics.median(_ratios(run, "plain", "traced")), least=0.92
        )
        for run in result["runs"]
    ]
    kept = last["file_bytes"] / last["kept_bytes"]["outputs"]
    targets.append(_target(f"trace file / outputs kept, {_title(last)}", kept, most=1 / 3))
    peaks = _peak(prefill, "traced") / _peak(prefill, "plain")
    targets.append(_target(f"traced peak memory / plain peak memory, {read}", peaks, most=1.4))
    times = statistics.median(_ratios(prefill, "traced", "plain"))
    targets.append(_target(f"traced CPU / plain CPU, {read}", times, most=1.15))
    return targets


def _target(what: str, measured: float, *, least: float = 0.0, most: float = float("inf")) -> dict[str, Any]:
    bound = f"at least {least:.2f}" if least else f"at most {most:.2f}"
    return {"what": what, "measured": measured, "bound": bound, "met": least <= measured <= most}


def _ratios(run: dict[str, Any], above: str, below: str) -> list[float]:
    return [one / other for one, other in zip(run["cpu_s"][above], run["cpu_s"][below], strict=True)]


def _peak(run: dict[str, Any], variant: str) -> float:
    return statistics.median(run["peak_bytes"][variant])


def _title(run: dict[str, Any]) -> str:
    return f"{run['lengths'][0]:,}+{run['lengths'][1]}"


def _report(result: dict[str, Any]) -> str:
    before, after = result["load_before"][0], result["load_after"][0]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{result['machine']}; {versions}; one thread; load {before:.1f} before, {after:.1f} after",
        f"medians of {result['pairs']} interleaved turns, [least, most]; ratios are within a turn",
        "",
        f"{'tokens':>9}  {'variant':<8} {'CPU s':>22} {'tokens/s':>9} {'of plain':>20} {'peak MB':>8} {'kept MB':>8}",
    ]
    for run in [*result["runs"], result["prefill"]]:
        lines += [_row(run, variant) for variant in run["cpu_s"]]
    lines += [
        "",
        "plain: generate(), sdpa. traced: trace(), without the lens. outputs: generate(), eager, with "
        "output_attentions and output_hidden_states.",
    ]
    lines += [_wire_line(run) for run in result["runs"]]
    lines += [_load_line(variant, turns) for variant, turns in result["load"].items()]
    lines += ["", *(_verdict(target, result["quick"]) for target in result["targets"])]
    return "\n".join(lines)


def _row(run: dict[str, Any], variant: str) -> str:
    cpu = run["cpu_s"][variant]
    n_tokens = run["lengths"][1] if run["lengths"][1] > 1 else run["lengths"][0]  # of a prefill: what it reads
    return (
        f"{_title(run):>9}  {variant:<8} {_spread(cpu):>22} {n_tokens / statistics.median(cpu):>9.1f} "
        f"{_spread(_ratios(run, 'plain', variant)):>20} {_peak(run, variant) / 1e6:>8.0f} "
        f"{run['kept_bytes'][variant] / 1e6:>8.1f}"
    )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _wire_line(run: dict[str, Any]) -> str:
    wire, decode = run["wire"], run["wire"]["decode"]
    return (
        f"on the wire, {_title(run)}: prefill {wire['prefill'] / 1e3:.1f} kB, a decode step "
        f"{statistics.median(decode) / 1e3:.1f} kB (at most {max(decode) / 1e3:.1f}); "
        f"trace file {run['file_bytes'] / 1e6:.1f} MB"
    )


def _load_line(variant: str, turns: list[dict[str, float]]) -> str:
    said = {"plain": "from_pretrained, model and tokenizer", "traced": "load(), self-check included"}[variant]
    wall, cpu = ([turn[name] for turn in turns] for name in ("load_wall_s", "load_cpu_s"))
    imports = statistics.median(turn["import_cpu_s"] for turn in turns)
    return f"load time, {said}: {_spread(wall)} s, CPU {_spread(cpu)} s; the imports before it: CPU {imports:.2f} s"


def _verdict(target: dict[str, Any], quick: bool) -> str:
    word = "not judged" if quick else "PASS" if target["met"] else "MISS"
    return f"{word}: {target['what']} = {target['measured']:.3f} ({target['bound']})"


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return (
        f"{name or platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
