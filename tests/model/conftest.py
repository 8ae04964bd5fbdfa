"""A tiny random Llama that reads and writes with the default model's own tokenizer, shared by the suites of model/."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from model import HookedModel, Trace, load, trace
from model.engine.engine import Engine
from model.limits import Limits
from model.records import file as storage
from tests.model.stored import VERSION, sample
from tests.tiny import changed, shared


@pytest.fixture(scope="module", autouse=True)
def shared_models_stay_as_they_are() -> Iterator[None]:
    yield
    assert changed() == [], "a test of this file changed a model that all tests share: it takes tiny(), not shared()"


@pytest.fixture(scope="module")
def hooked(family: str) -> HookedModel:
    """The tiny model of the family that a file's own fixture names."""
    return shared(family)


@pytest.fixture(scope="module")
def run(hooked: HookedModel, request: pytest.FixtureRequest) -> Trace:
    """Its run of the file's prompt, as long as the file says."""
    return trace(hooked, request.module.PROMPT, max_new_tokens=request.module.NEW)


@pytest.fixture(scope="session")
def tokenizer(default_folder: Path):
    """The default model's tokenizer."""
    return AutoTokenizer.from_pretrained(default_folder)


@pytest.fixture(scope="session")
def small(tokenizer) -> HookedModel:
    """Three random layers, their weights large enough for each token to count."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(5)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.25)
    return load(model=model, tokenizer=tokenizer)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file with a made-up record in it."""
    path = tmp_path / "run.trace"
    storage.save(sample(), path, version=VERSION)
    return path


@pytest.fixture
def engine(small) -> Iterator[Engine]:
    engine = Engine(small, Limits(queue=3))
    yield engine
    engine.close()
