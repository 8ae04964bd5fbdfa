"""How a record stands, as the browser is told: the frame that ends every answer, and that nobody keeps."""

from dataclasses import asdict, dataclass
from typing import Literal

from model.api.job import OVER, State
from viz.wire.packing import pack

StoppedBy = Literal["", "person", "overtaken", "silence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a record stands."""

    id: str
    experiment: str
    state: State = "waiting"
    place: int = 0  # in the queue; 1 is next, 0 has the model, needs it no more or waits for it to be loaded
    version: int = 0  # of the record
    what: str = ""  # what is being done, for a person
    done: int = 0  # pieces, of `total`
    total: int = 0
    fraction: float | None = None  # of it; None while nobody knows
    eta_s: float | None = None  # seconds left; None while nobody knows
    complete: bool = False  # nothing more comes
    refusal: str = ""  # why it failed, or was not begun
    stopped_by: StoppedBy = ""

    @property
    def over(self) -> bool:
        """Whether the experiment has ended; post-run work may still add to its record."""
        return self.state in OVER

    @property
    def usable(self) -> bool:
        """Whether other experiments may begin with its record: it is whole, or was stopped."""
        return self.over and self.state != "failed"

    def frame(self, n_parts: int) -> bytes:
        """As the last frame of an answer that has brought the parts so far."""
        return pack("status", {**asdict(self), "over": self.over, "parts": n_parts})
