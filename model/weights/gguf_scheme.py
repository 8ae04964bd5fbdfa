"""How the weights of a GGUF file are quantised."""

from collections import Counter
from pathlib import Path

_FRACTION = 0.01  # of the bytes: less is not worth a word


def scheme_of(file: Path) -> str:
    """The schemes that a GGUF file's weights are in, the one with most bytes first: "Q4_1, Q8_0"."""
    from gguf import GGUFReader

    sizes: Counter[str] = Counter()
    for tensor in GGUFReader(file).tensors:
        if len(tensor.shape) > 1:  # norms and biases stay in F32
            sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
    least = _FRACTION * sizes.total()
    return ", ".join(name for name, size in sizes.most_common() if size >= least)
