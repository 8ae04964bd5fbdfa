"""Finds where a source tree touches what another object keeps private, also where a type checker sees Any."""

import ast
from collections.abc import Iterator
from pathlib import Path

OF_THE_LIBRARIES = {  # what torch and transformers keep private and offer in no other way
    "model/arch/block.py": {"_DropoutNd"},
    "model/arch/placement.py": {"_hf_hook"},  # accelerate's, on a module of a spread model
    "model/arch/hooks.py": {"_global_{kind}", "_{kind}"},  # torch's tables of hooks
    "model/capture/cache_layers.py": {"_supports_default_dynamic_cache"},
    "model/capture/captured.py": {"_attn_implementation", "_can_compile_fullgraph", "_optimize_model_for_decode"},
    "model/capture/decoding.py": {"_optimize_model_for_decode", "_update_model_kwargs_for_generation"},
    "model/experiments/batching/paged.py": {
        "_attn_implementation",
        "_can_set_attn_implementation",
        "_create_batch_processor",
        "_generation_step",
    },
    "model/experiments/speculation/assisted.py": {"_get_candidate_generator", "_speculative_sampling"},
    "model/loading/load.py": {"_attn_implementation"},
}
_OWN = ("self", "cls", "super()")
_BY_NAME = ("getattr", "setattr", "delattr")
_READ = ("model", "viz", "tokenoscope", "bench", "training")


def touched(root: Path) -> list[str]:
    """Every private name of another object or module in the sources, but for those of the libraries."""
    files = [
        root / "app.py",
        root / "setup.py",
        *(file for each in _READ for file in sorted(root.glob(f"{each}/**/*.py"))),
    ]
    return [found for file in files if file.exists() for found in _touched_in(file, str(file.relative_to(root)))]


def _touched_in(file: Path, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"), filename=str(file))):
        for used in _private(node):
            if used not in OF_THE_LIBRARIES.get(name, ()):
                yield f"{name}, line {getattr(node, 'lineno', 0)}: {ast.unparse(node)}"


def _private(node: ast.AST) -> list[str]:
    """The private names that this node reads from something else."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in _OWN:
        names = [node.attr]
    elif isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in _BY_NAME and ast.unparse(node.args[0]) not in _OWN:
        names = [_written(node.args[1])]
    else:
        return []
    return [name for name in names if name.startswith("_") and not name.startswith("__")]


def _written(node: ast.expr) -> str:
    """A name in a string: f"_global_{kind}" is "_global_{kind}"; empty if it is a variable."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_written(each) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    return str(node.value) if isinstance(node, ast.Constant) else ""
