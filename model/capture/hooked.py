"""A model that can be watched: what `load` gives, and every experiment works on."""

import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers.utils import logging

from model.arch.anatomy import Anatomy
from model.arch.tokens import Reader
from model.capture.captured import CapturedPasses
from model.capture.generation_config import recommended, recommended_values
from model.capture.products import Products
from model.records.settings import Settings
from model.records.trace import ModelCard
from model.texts import phrase


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HookedModel:
    """A model that can be watched: its weights, its tokenizer, where its parts are, and what was proved about it."""

    model: Any
    tokenizer: Any
    anatomy: Anatomy
    card: ModelCard
    reader: Reader
    captured: CapturedPasses | None = None  # its decode passes, on a device where they are captured
    guard: threading.Lock = field(default_factory=threading.Lock)  # held during a pass: one at a time
    _source: Path | None = None

    def __repr__(self) -> str:
        hidden = [check.name for check in self.card.checks if not check.passed and check.name != "captured"]
        shown = phrase("everything but {choices}", choices=", ".join(hidden)) if hidden else "everything"
        return (
            f"<{self.card.name}: {self.card.n_layers} layers of {self.card.n_heads} heads, {self.card.dtype} on "
            f"{self.card.device}; shows {shown}>"
        )

    @property
    def recommended(self) -> Settings | None:
        """How the model's own generation config would have tokens chosen; None where it says nothing."""
        return recommended(self.model)

    @property
    def recommends(self) -> Mapping[str, float]:
        """The same by name, without what changes nothing."""
        return recommended_values(self.model)

    @cached_property
    def products(self) -> Products:
        """How its linear layers multiply a few rows, for passes that need not be `generate()`'s own bit for bit."""
        return Products(self.model)

    @cached_property
    def folder(self) -> Path:
        """A folder that AutoModelForCausalLM and AutoTokenizer open unaided, in the model's precision.

        It is where the model came from, or, for a model from memory or of another precision, a copy in a temporary
        folder that goes when this object goes.
        """
        if self._source is not None and _stored_dtype(self._source) == self.card.dtype:
            return self._source
        copy = Path(tempfile.mkdtemp(prefix="tokenoscope-model-"))
        weakref.finalize(self, shutil.rmtree, copy, ignore_errors=True)
        with no_bar():
            self.model.save_pretrained(copy)
        self.tokenizer.save_pretrained(copy)
        return copy


@contextmanager
def no_bar() -> Iterator[None]:
    """Switch off transformers' own progress bars, which are drawn into pipes and logs too; `progress` reports here."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _stored_dtype(folder: Path) -> str | None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("dtype") or config.get("torch_dtype")
