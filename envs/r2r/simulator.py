"""A simulator with the interface of Matterport3DSimulator, without pictures.

Code that was written against `MatterSim.Simulator` (Anderson et al. 2018, arXiv:1711.07280) runs
against this one: the same methods, state fields, angles and errors. It is plain Python and serves
one or a few episodes; the fast world is `R2RVectorEnv`, whose tables are tested against this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .dataset import shared_data
from .graph import ScanGraph

_TURN = 2 * math.pi


@dataclass
class ViewPoint:
    """A place one can go to. Angles in radians relative to the camera, distances in metres."""

    viewpointId: str
    ix: int
    x: float
    y: float
    z: float
    rel_heading: float = 0.0
    rel_elevation: float = 0.0
    rel_distance: float = 0.0


@dataclass
class SimState:
    """State of one episode. `rgb` and `depth` stay empty: there are no pictures here."""

    scanId: str
    location: ViewPoint
    heading: float = 0.0
    elevation: float = 0.0
    viewIndex: int = 0
    step: int = 0
    navigableLocations: list[ViewPoint] = field(default_factory=list)
    rgb: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    depth: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 1), np.uint16))


class MatterSim:
    """`newEpisode`, `makeAction` and `getState` of Matterport3DSimulator.

    `graph_of` gives the graph of a scan (default: the data folder). Rendering setters are accepted
    and do nothing. `ix` numbers included viewpoints only.
    """

    def __init__(self, graph_of: Callable[[str], ScanGraph] | None = None) -> None:
        self._graph_of = graph_of or shared_data().graph
        self._width, self._height, self._vfov = 320, 240, 0.8
        self._limits = (-0.94, 0.94)
        self._discretized, self._restricted, self._batch = False, True, 1
        self._initialized = False
        self._states: list[SimState] = []
        self._rng = np.random.default_rng(1)

    def setCameraResolution(self, width: int, height: int) -> None:
        self._before_initialize()
        self._width, self._height = width, height

    def setCameraVFOV(self, vfov: float) -> None:
        """Vertical field of view in radians."""
        self._before_initialize()
        self._vfov = vfov

    def setElevationLimits(self, low: float, high: float) -> bool:
        """Radians; True when they are sensible: low in (-pi/2, 0], high in [0, pi/2)."""
        self._before_initialize()
        if not (-math.pi / 2 < low <= 0 <= high < math.pi / 2):
            return False
        self._limits = (low, high)
        return True

    def setDiscretizedViewingAngles(self, value: bool) -> None:
        self._before_initialize()
        self._discretized = value

    def setRestrictedNavigation(self, value: bool) -> None:
        self._before_initialize()
        self._restricted = value

    def setBatchSize(self, size: int) -> None:
        self._before_initialize()
        self._batch = size

    def setSeed(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def setRenderingEnabled(self, value: bool) -> None: ...
    def setDepthEnabled(self, value: bool) -> None: ...
    def setPreloadingEnabled(self, value: bool) -> None: ...
    def setCacheSize(self, size: int) -> None: ...

    def _before_initialize(self) -> None:
        if self._initialized:
            raise RuntimeError("MatterSim: call setters before initialize")

    def initialize(self) -> None:
        self._initialized = True

    def newEpisode(
        self,
        scanIds: Sequence[str],
        viewpointIds: Sequence[str],
        headings: Sequence[float],
        elevations: Sequence[float],
    ) -> None:
        """Begin one episode per batch entry; ValueError for lists of another length, DataError for
        an unknown viewpoint. An empty viewpoint id is drawn at random.
        """
        self.initialize()
        lists = (scanIds, viewpointIds, headings, elevations)
        if {len(values) for values in lists} != {self._batch}:
            raise ValueError(
                f"MatterSim: newEpisode needs {self._batch} scans, viewpoints, headings and "
                f"elevations, got {[len(values) for values in lists]}"
            )
        states = []
        for scan, viewpoint, heading, elevation in zip(*lists):
            graph = self._graph_of(scan)
            if viewpoint:
                ix = graph.number(viewpoint, "MatterSim.newEpisode")
            else:
                ix = int(self._rng.integers(len(graph.viewpoints)))
            state = SimState(scan, self._viewpoint(graph, ix))
            self._look(state, heading, elevation)
            states.append(state)
        self._states = states
        self._populate()

    def newRandomEpisode(self, scanIds: Sequence[str]) -> None:
        """Random viewpoint and heading in each scan, level."""
        headings = self._rng.uniform(0, _TURN, len(scanIds)).tolist()
        self.newEpisode(scanIds, [""] * len(scanIds), headings, [0.0] * len(scanIds))

    def makeAction(
        self, index: Sequence[int], heading: Sequence[float], elevation: Sequence[float]
    ) -> None:
        """Go to `navigableLocations[index]` (0 stays), then turn by heading and elevation.

        With discretised views only the signs count, 30 deg each. Raises RuntimeError before
        `newEpisode`, IndexError for an index that is not navigable; nothing has moved then.
        """
        if not self._states:
            raise RuntimeError("MatterSim: newEpisode must be called before makeAction")
        for i, (state, chosen) in enumerate(zip(self._states, index)):
            if not 0 <= chosen < len(state.navigableLocations):
                raise IndexError(
                    f"MatterSim: Invalid action index: {chosen} in environment {i} of {self._batch}"
                )
        for state, chosen, turn, tilt in zip(self._states, index, heading, elevation):
            graph = self._graph_of(state.scanId)
            state.location = self._viewpoint(graph, state.navigableLocations[chosen].ix)
            state.step += 1
            if self._discretized:
                turn, tilt = (float(np.sign(value)) * _TURN / 12 for value in (turn, tilt))
            self._look(state, state.heading + turn, state.elevation + tilt)
        self._populate()

    def getState(self) -> list[SimState]:
        return self._states

    @staticmethod
    def _viewpoint(graph: ScanGraph, ix: int) -> ViewPoint:
        return ViewPoint(graph.viewpoints[ix], ix, *graph.position[ix].tolist())

    def _look(self, state: SimState, heading: float, elevation: float) -> None:
        state.heading = heading % _TURN
        if not self._discretized:
            state.elevation = max(min(elevation, self._limits[1]), self._limits[0])
            return
        step = _TURN / 12
        column = math.floor(state.heading / step + 0.5) % 12  # half a step goes up, as lround
        row = 0 if elevation < -step / 2 else 2 if elevation > step / 2 else 1
        state.heading, state.elevation = column * step, (row - 1) * step
        state.viewIndex = 12 * row + column

    def _populate(self) -> None:
        half_field = self._vfov * self._width / self._height / 2
        for state in self._states:
            graph = self._graph_of(state.scanId)
            here = state.location
            places = []
            for ix in np.flatnonzero(graph.adjacent[here.ix]).tolist():
                place = self._viewpoint(graph, ix)
                east, north, up = place.x - here.x, place.y - here.y, place.z - here.z
                bearing = math.atan2(east, north) - state.heading
                place.rel_heading = math.remainder(bearing, _TURN)
                place.rel_elevation = math.atan2(up, math.hypot(east, north)) - state.elevation
                place.rel_distance = math.hypot(east, north, up)
                if not self._restricted or abs(place.rel_heading) <= half_field:
                    places.append(place)
            places.sort(key=lambda p: math.hypot(p.rel_heading, p.rel_elevation))
            state.navigableLocations = [here, *places]
