"""How the weights of a GGUF file are quantised."""

from collections import Counter
from pathlib import Path


def scheme_of(file: Path) -> str:
    """The scheme that most of a GGUF file's bytes are in: "Q4_1"."""
    from gguf import GGUFReader

    sizes: Counter[str] = Counter()
    for tensor in GGUFReader(file).tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
    return sizes.most_common(1)[0][0]
