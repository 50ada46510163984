"""How public code bases turn one trajectory into SR, SPL, NE and nDTW: eight named conventions.

The same metric name means different things in them, so a number without its convention cannot be
compared. What is here was read in the code of each; metres and the success radius are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .names import unknown

# What is done with a NaN or infinite value of one episode before the mean is taken.
Policy = Literal["keep", "zero", "drop"]


@dataclass(frozen=True)
class ForcedStop:
    """The evaluator stops the agent: after more than `idle_steps` steps in which the distance to
    the goal did not change (it reads privileged distance), or after `budget` steps."""

    idle_steps: int
    budget: int


@dataclass(frozen=True)
class VlnConvention:
    """The choices that differ between code bases."""

    name: str
    source: str
    needs_stop: bool  # success asks that STOP was called
    at_radius: bool = False  # a distance equal to the radius still counts
    shortest: Literal["episode", "reset", "reference"] = "reset"  # where L* of SPL comes from
    floor_m: float = 0.0  # the divisor of SPL is at least this
    failure_is_zero: bool = False  # SPL of a failure is 0 even where L* is not finite
    standing_is_zero: bool = False  # SPL of a path of no length is 0, also of a success
    planar: bool = False  # positions without height; NE is the straight distance to the goal
    fidelity: Literal["dtw", "proximity"] = "dtw"  # what is called nDTW
    drops_repeats: bool = True  # points equal to the one before are dropped for nDTW
    forced_stop: ForcedStop | None = None
    nonfinite: Mapping[str, Policy] = field(default_factory=dict)  # "" stands for every metric

    def policy(self, metric: str) -> Policy:
        """What happens to a NaN or infinite value of `metric`."""
        return self.nonfinite.get(metric, self.nonfinite.get("", "keep"))


_ALL = (
    VlnConvention(
        "r2r",
        "Matterport3DSimulator tasks/R2R/eval.py (arXiv:1711.07280); nDTW and CLS, which it does "
        "not have, as in duet",
        needs_stop=False,
        shortest="episode",
        failure_is_zero=True,
    ),
    VlnConvention(
        "duet",
        "VLN-DUET eval_utils (arXiv:2202.11742), also MapGPT, NavGPT-2",
        needs_stop=False,
        shortest="reference",
        floor_m=0.01,
    ),
    VlnConvention(
        "habitat",
        "habitat-lab nav measures (arXiv:1904.01201)",
        needs_stop=True,
        drops_repeats=False,
    ),
    VlnConvention(
        "vlnce",
        "VLN-CE measures (arXiv:2004.02857); its fastdtw (radius 1) is computed exactly here",
        needs_stop=True,
    ),
    VlnConvention(
        "etpnav",
        "ETPNav (arXiv:2304.03047), also AO-Planner: where it stands is the answer, <= radius",
        needs_stop=False,
        at_radius=True,
        drops_repeats=False,
    ),
    VlnConvention(
        "navid",
        "NaVid-VLN-CE evaluation (arXiv:2402.15852), also ActiveVLN, Aux-Think",
        needs_stop=True,
        forced_stop=ForcedStop(idle_steps=25, budget=400),
        nonfinite={"": "zero"},
    ),
    VlnConvention(
        "internnav",
        "InternNav habitat_extensions: NaN SPL counts as 0, infinite NE is left out",
        needs_stop=True,
        nonfinite={"spl": "zero", "navigation_error": "drop"},
    ),
    VlnConvention(
        "vlnpe",
        "InternNav VLN-PE metrics (arXiv:2507.13019): no stop needed, horizontal distances, and "
        "an 'nDTW' that is a mean Gaussian proximity to the reference",
        needs_stop=False,
        shortest="episode",
        standing_is_zero=True,
        planar=True,
        fidelity="proximity",
        drops_repeats=False,
    ),
)
VLN_CONVENTIONS: Mapping[str, VlnConvention] = {c.name: c for c in _ALL}


def vln_convention(name: str) -> VlnConvention:
    """The convention of a name; KeyError lists them."""
    if name not in VLN_CONVENTIONS:
        raise unknown("convention", name, VLN_CONVENTIONS)
    return VLN_CONVENTIONS[name]
