"""Finds where a source tree touches another object's private names, also where no type checker can know its type."""

import ast
from collections.abc import Iterator
from pathlib import Path

OF_THE_LIBRARIES = {  # what torch and transformers keep private and offer in no other way
    "model/arch/block.py": {"_DropoutNd"},
    "model/capture/cache_layers.py": {"_supports_default_dynamic_cache"},
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


def touched(root: Path) -> list[str]:
    """Every private name of another object or module in model/, viz/ and app.py, but for those of the libraries."""
    files = [root / "app.py", *sorted(root.glob("model/**/*.py")), *sorted(root.glob("viz/**/*.py"))]
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
    else:
        return []
    return [name for name in names if name.startswith("_") and not name.startswith("__")]
