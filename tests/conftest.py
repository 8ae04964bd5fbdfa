"""What several suites share: the default model's folder, and one thread for torch."""

import os
from pathlib import Path

import pytest

from model.limits import Limits

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported; programs that tests start inherit it


@pytest.fixture(scope="session")
def default_folder() -> Path:
    """The embedded default model, fetched and converted if it is not here yet."""
    import torch

    from model.weights import find

    torch.set_num_threads(1)  # the suite shares its machine, and sums come out alike on every one
    return find(None, Limits.from_environment()).folder
