"""Records that come with the app. Of a run NAME.frames is sent whole; of NAME.deep beside it, one frame at a time.
Any other kind is its own file, as the command line saves it: its pictures are drawn when they are asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import NotShown
from model.records.file import Saved
from model.records.trace import Token, Trace
from model.requests.registry import EXPERIMENTS
from viz import views
from viz.views.trace.heads import Looks
from viz.wire import packing, slices
from viz.wire.parts import parts_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """A finished record that needs no model. Its name begins with its place among the others, as in "1-a-fact"."""

    name: str
    experiment: str
    frames: tuple[bytes, ...]
    record: Saved | None = None  # the record itself; of a run only its frames come along
    prompt: str = ""
    chat: bool = False
    asked: Mapping[str, Any] = field(
        default_factory=dict
    )  # the values that a form asks with for the same; not of a run
    deep: Path | None = None
    places: Mapping[tuple[str, int], tuple[int, int]] = field(default_factory=dict, repr=False)  # in it: begin, length

    @property
    def label(self) -> str:
        """Its name for a person."""
        return self.name.lstrip("0123456789-").replace("-", " ")

    @property
    def texts(self) -> list[str]:
        """Its prompt, or its texts, as a form shows them."""
        return [each.prompt for each in self.asked["texts"]] if "texts" in self.asked else [self.prompt]

    def part(self, kind: str, number: int) -> bytes:
        """The frame of one layer's "vectors" or of one choice's "logits". Raises: NotShown, if it was not recorded."""
        if self.deep is None or (place := self.places.get((kind, number))) is None:
            held = sum(each == kind for each, _ in self.places)
            if not held:
                raise NotShown("this recorded run has no {kind}. Run its prompt yourself to see them.", kind=kind)
            raise NotShown(
                "this recorded run has no {kind} {number}: it has 0 to {last}. Run its prompt yourself to see them.",
                kind=kind,
                number=number,
                last=held - 1,
            )
        with self.deep.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])


def load(folder: Path) -> dict[str, Recorded]:
    """Every record of a folder, by name, in the order of the names. Raises: BadTrace, for a file that is damaged."""
    kinds = {kind.suffix: kind for kind in EXPERIMENTS if kind.record is not Trace}
    found = {path.stem: _run(path) for path in folder.glob("*.frames")}
    for path in folder.iterdir() if folder.is_dir() else ():
        if (kind := kinds.get(path.suffix)) is not None:
            found[path.stem] = _other(path, kind.name, kind.record.open(path))
    return dict(sorted(found.items()))


def deep(trace: Trace) -> Iterator[bytes]:
    """What NAME.deep holds of a run: every layer's vectors, then every choice's logits, at half their size."""
    if trace.queries is not None:
        yield from (slices.vectors(trace, layer, small=True) for layer in range(trace.model.n_layers))
    yield from (slices.logits(trace, index, small=True) for index in range(trace.n_generated))


def looks(run: Recorded) -> Looks:
    """Where the tokens of a run that comes with the app look, from the bytes that are sent of it.

    Raises: NotShown, for a run so long that summaries are sent in their place.
    """
    frames = [packing.unpack(frame) for frame in run.frames]
    head = next(about for about, _ in frames if about["kind"] == "head")
    steps = [(about, arrays) for about, arrays in frames if about["kind"] == "step"]
    if any("attention" not in arrays for _, arrays in steps):
        raise NotShown("This recorded run does not include its attention. Press Run to see it for your own run.")
    n_read = steps[-1][0]["first"] + steps[-1][0]["n_tokens"]
    tokens = [*head["tokens"], *(token for about, _ in steps for token in about["tokens"])][:n_read]

    def rows(layer: int, count: int) -> np.ndarray:
        weights = np.zeros((head["model"]["n_heads"], n_read, n_read), np.float32)
        for about, arrays in steps:
            found = packing.unpacked_rows(arrays["attention"][layer], about["first"])
            weights[:, about["first"] : about["first"] + about["n_tokens"], : found.shape[-1]] = found
        return weights[:, :count, :count]

    return Looks(
        tokens=tuple(_token(each) for each in tokens),
        n_layers=head["model"]["n_layers"],
        n_heads=head["model"]["n_heads"],
        rows=rows,
    )


def _token(told: Mapping[str, Any]) -> Token:
    return Token(
        id=told["id"],
        text=told["text"],
        data=bytes.fromhex(told["hex"]),
        span=(told["span"][0], told["span"][1]),
        special=told["special"],
        generated=told["generated"],
    )


def _other(path: Path, experiment: str, record: Saved) -> Recorded:
    prompt = getattr(record, "prompt", "")
    return Recorded(
        name=path.stem,
        experiment=experiment,
        frames=tuple(parts_of(experiment).newer(record, 1)),
        record=record,
        prompt=prompt,
        asked=views.account_of(record).asked(record),
    )


def _run(path: Path) -> Recorded:
    frames = tuple(packing.split(path.read_bytes()))
    head = packing.says(frames[0])
    beside = path.with_suffix(".deep")
    return Recorded(
        name=path.stem,
        experiment="run",
        frames=frames,
        prompt=head["prompt"],
        chat=head["settings"]["chat"],
        deep=beside if beside.exists() else None,
        places=_places(beside) if beside.exists() else {},
    )


def _places(path: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """Where each frame begins and how long it is: from what each says of itself, without reading its numbers."""
    found, at, size = {}, 0, path.stat().st_size
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            start = file.read(packing.START)
            about = packing.says(start + file.read(packing.header_bytes(start)))
            number = about["layer"] if about["kind"] == "vectors" else about["index"]
            length = packing.frame_bytes(start)
            found[about["kind"], number] = (at, length)
            at += length
    return found
