"""A record of any kind, for one that has no table of its own: its fields by name, and what its arrays hold."""

from typing import Any

import numpy as np

from model.cli.tables.columns import Shown
from model.records.file import Saved
from model.records.schema import encode_fields, form_of
from model.records.trace import ModelCard
from model.texts import phrase


def table(record: Saved) -> str:
    """A line for each field: texts and numbers as they are, sequences by their length, arrays by shape and range."""
    return "\n".join(f"{name}: {_said(value)}" for name, value in _fields(record).items())


def summary(record: Saved) -> dict[str, Any]:
    """Every field in plain values; the model by its name, and numbers that are not finite as null."""
    plain = encode_fields(record, form_of(type(record)))
    arrays = {name: _plain(array) for name, array in record.arrays().items()}
    names = {name: value.name for name, value in _fields(record).items() if isinstance(value, ModelCard)}
    return plain | arrays | names


def _fields(record: Saved) -> dict[str, Any]:
    form = form_of(type(record))
    return {name: getattr(record, name) for name in (*form.plain, *record.arrays())}


def _said(value: Any) -> str:
    if isinstance(value, ModelCard):
        return value.name
    if isinstance(value, np.ndarray):
        return _range(value)
    return f"{len(value):,}" if isinstance(value, tuple | dict) else str(value)


def _range(array: np.ndarray) -> str:
    shape = f"{array.dtype} {list(array.shape)}"
    return (
        phrase(
            "{shape}, {min:.4g} to {max:.4g}, {mean:.4g} on average",
            shape=shape,
            min=array.min(),
            max=array.max(),
            mean=array.mean(),
        )
        if array.size
        else shape
    )


def _plain(array: np.ndarray) -> Any:
    values = array.astype(object)
    values[~np.isfinite(array)] = None
    return values.tolist()


SHOWN = Shown(
    doing=phrase("working"),
    table=table,
    summary=summary,
    stopped=lambda _record, _request: phrase("stopped before all was done"),
)
