"""Running a prompt again with parts of the model switched off."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.errors import BadSetting
from model.limits import Limits
from model.records.edits import Mode, When, edges_of, heads_of
from model.records.fields import setting
from model.requests.request import Request

if TYPE_CHECKING:
    from model.records.trace import ModelCard


@dataclass(frozen=True, kw_only=True)
class Ablate(Request):
    """Run a prompt again with heads, MLPs, layers or edges of attention switched off."""

    run: str = setting(kind="record", label="Run", help="The run to compute anew.", flag=None, metavar="FILE")
    heads: str = setting(
        "",
        kind="text",
        label="Heads",
        metavar="LAYER.HEAD",
        placeholder="such as 9.3, 10.4",
        help="Attention heads to switch off, as LAYER.HEAD: 9.3 is head 3 of layer 9, both counted from 0.",
    )
    mlps: tuple[int, ...] = setting(
        (),
        kind="positions",
        label="MLPs",
        placeholder="such as 3, 5, 8-11",
        metavar="LAYERS",
        help="Layers whose MLP is switched off.",
    )
    layers: tuple[int, ...] = setting(
        (),
        kind="positions",
        label="Layers",
        placeholder="such as 3, 5, 8-11",
        metavar="LAYERS",
        help="Layers that are switched off: neither their attention nor their MLP adds anything.",
    )
    edges: str = setting(
        "",
        kind="text",
        label="Edges",
        metavar="QUERY>KEY",
        placeholder="such as 5>0, 7>2@9.3",
        help="Pairs of positions, as QUERY>KEY: the token at 5 does not look at the token at 0; 5>0@9 in layer 9, "
        "5>0@9.3 in head 3 of layer 9, without either in every layer.",
    )
    mode: Mode = setting(  # noqa: RUF009  (a field)
        "zero",
        kind="choice",
        label="What stands in its place",
        metavar="MODE",
        choices=(
            ("zero", "Zero"),
            ("mean", "Its mean over the run"),
            ("resample", "What it gave in the reference run"),
        ),
        help="Of heads, MLPs and layers: zero, the mean over the run's positions, or what the part gave at the same "
        "position of the reference run.",
    )
    when: When = setting(  # noqa: RUF009  (a field)
        "all",
        kind="choice",
        label="When",
        metavar="WHEN",
        choices=(
            ("all", "For every token"),
            ("prefill", "For the prompt's tokens"),
            ("decode", "For the written tokens"),
        ),
        help="For the prompt's tokens (prefill), for those that are written (decode), or for all of them.",
    )
    reference: str | None = setting(
        None,
        kind="record",
        label="Reference run",
        metavar="FILE",
        help="With resample: the run whose outputs are taken over.",
    )

    def check_together(self, limits: Limits, card: "ModelCard | None") -> None:  # noqa: ARG002
        """Something is switched off, and a reference goes with resampling. Raises: BadSetting."""
        if not (heads_of("heads", self.heads) or self.mlps or self.layers or edges_of("edges", self.edges)):
            raise BadSetting("no head, MLP, layer or edge was named to switch off. Name one.")
        if (self.mode == "resample") != bool(self.reference):
            if not self.reference:
                raise BadSetting("mode is resample, which takes over what a reference run computed. Give a reference.")
            raise BadSetting("reference goes with the mode resample only. Choose that, or leave out the reference.")
