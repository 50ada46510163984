"""What is navigable from where: a graph worked out by hand, and the scalar simulator as oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.errors import DataError
from pilotage.envs.r2r.graph import ScanGraph, read_graph
from pilotage.envs.r2r.simulator import MatterSim
from pilotage.envs.r2r.views import MAX_CANDIDATES, view_tables

DEG = math.pi / 180


def simulator(graph: ScanGraph, *, restricted: bool = True, discretized: bool = True) -> MatterSim:
    sim = MatterSim(lambda scan: graph)
    sim.setCameraResolution(640, 480)
    sim.setCameraVFOV(60 * DEG)
    sim.setDiscretizedViewingAngles(discretized)
    sim.setRestrictedNavigation(restricted)
    sim.initialize()
    return sim


def names(sim: MatterSim) -> str:
    return "".join(place.viewpointId for place in sim.getState()[0].navigableLocations)


def test_a_view_offers_what_lies_within_40_degrees_nearest_first(star: ScanGraph) -> None:
    """From c: n at 0, u at 30 (45 up), w at -45, e at 90, d at 180 degrees."""
    sim = simulator(star)
    sim.newEpisode(["star"], ["c"], [0.0], [0.0])
    assert names(sim) == "cnu"  # w is 45 off
    sim.makeAction([0], [-1.0], [0.0])  # looks to -30: n is 30 off, w 15
    assert names(sim) == "cwn"
    sim.newEpisode(["star"], ["c"], [30 * DEG], [0.0])
    # n is 30 off; u straight ahead but 45 up
    assert names(sim) == "cnu"
    sim.makeAction([0], [0.0], [1.0])  # looks up by 30: u is 15 off, n sqrt(30^2 + 30^2)
    assert names(sim) == "cun"
    sim.newEpisode(["star"], ["c"], [60 * DEG], [0.0])
    assert names(sim) == "ceu"  # e is 30 off; u 30 off and 45 up
    free = simulator(star, restricted=False)
    free.newEpisode(["star"], ["c"], [0.0], [0.0])
    assert names(free) == "cnwued"  # 0, 45, sqrt(30^2 + 45^2) = 54, 90, 180


def test_relative_angles_and_distances(star: ScanGraph) -> None:
    sim = simulator(star)
    sim.newEpisode(["star"], ["c"], [330 * DEG], [0.0])
    state = sim.getState()[0]
    here, w, n = state.navigableLocations
    assert (here.rel_heading, here.rel_elevation, here.rel_distance) == (0, 0, 0)
    assert w.rel_heading == pytest.approx(-15 * DEG)
    assert n.rel_heading == pytest.approx(30 * DEG)  # across north
    assert w.rel_distance == pytest.approx(math.sqrt(8))
    sim.newEpisode(["star"], ["c"], [30 * DEG], [30 * DEG])
    assert sim.getState()[0].navigableLocations[1].rel_elevation == pytest.approx(15 * DEG)


def test_moving_keeps_the_heading_and_actions_use_signs_only(star: ScanGraph) -> None:
    sim = simulator(star)
    sim.newEpisode(["star"], ["c"], [14 * DEG], [0.0])  # snaps to 0
    assert (sim.getState()[0].heading, sim.getState()[0].viewIndex) == (0.0, 12)
    sim.makeAction([1], [0.0], [0.0])
    state = sim.getState()[0]
    assert (state.location.viewpointId, state.heading, state.step) == ("n", 0.0, 1)
    assert names(sim) == "n"
    sim.makeAction([0], [0.001], [-7.0])
    state = sim.getState()[0]
    assert state.heading == pytest.approx(30 * DEG)
    assert state.elevation == pytest.approx(-30 * DEG)
    assert state.viewIndex == 1
    sim.makeAction([0], [-5.0], [-1.0])  # elevation stays at the lowest
    assert (sim.getState()[0].viewIndex, sim.getState()[0].elevation) == (0, -30 * DEG)
    sim.makeAction([0], [-5.0], [1.0])
    assert sim.getState()[0].viewIndex == 11 + 12


def test_half_a_step_of_heading_goes_up(star: ScanGraph) -> None:
    sim = simulator(star)
    for degrees, column in [(14.9, 0), (15.1, 1), (344.9, 11), (345.1, 0), (359.0, 0), (-1, 0)]:
        sim.newEpisode(["star"], ["c"], [degrees * DEG], [0.0])
        assert sim.getState()[0].viewIndex == 12 + column, degrees


def test_continuous_angles_are_kept_within_the_limits(star: ScanGraph) -> None:
    sim = simulator(star, discretized=False)
    sim.newEpisode(["star"], ["c"], [0.1], [0.2])
    sim.makeAction([0], [0.25], [3.0])
    state = sim.getState()[0]
    assert state.heading == pytest.approx(0.35)
    assert state.elevation == 0.94


def test_mistakes_with_the_simulator_are_named(star: ScanGraph) -> None:
    sim = simulator(star)
    with pytest.raises(RuntimeError, match="newEpisode must be called"):
        sim.makeAction([0], [0.0], [0.0])
    with pytest.raises(DataError, match="viewpoint 'x' is not in the graph of scan star"):
        sim.newEpisode(["star"], ["x"], [0.0], [0.0])
    with pytest.raises(ValueError, match="newEpisode needs 1 scans"):
        sim.newEpisode(["star", "star"], ["c"], [0.0], [0.0])
    sim.newEpisode(["star"], ["c"], [0.0], [0.0])
    with pytest.raises(IndexError, match="Invalid action index: 3 in environment 0 of 1"):
        sim.makeAction([3], [0.0], [0.0])
    assert sim.getState()[0].step == 0
    with pytest.raises(RuntimeError, match="setters before initialize"):
        sim.setBatchSize(2)


def test_random_episodes_repeat_with_the_seed(star: ScanGraph) -> None:
    found = []
    for _ in range(2):
        sim = simulator(star)
        sim.setSeed(7)
        sim.newRandomEpisode(["star"])
        state = sim.getState()[0]
        found.append((state.location.viewpointId, state.heading))
    assert found[0] == found[1]


def check_against_the_simulator(graph: ScanGraph, viewpoints: range) -> None:
    """Every view of every viewpoint: the same places, in the same order, at the same angles."""
    tables = view_tables(graph)
    sim = simulator(graph)
    for v in viewpoints:
        best: dict[int, tuple[float, int]] = {}
        for view in range(36):
            sim.newEpisode(
                [graph.scan],
                [graph.viewpoints[v]],
                [view % 12 * 30 * DEG],
                [(view // 12 - 1) * 30 * DEG],
            )
            state = sim.getState()[0]
            assert state.viewIndex == view
            places = state.navigableLocations[1:]
            columns = tables.navigable[v, view]
            assert tables.n_navigable[v, view] == len(places)
            assert (columns[len(places) :] == -1).all()
            assert tables.neighbour[v, columns[: len(places)]].tolist() == [p.ix for p in places]
            for place in places:
                angle = math.hypot(place.rel_heading, place.rel_elevation)
                if place.ix not in best or angle < best[place.ix][0] - 1e-9:
                    best[place.ix] = (angle, view)
        count = tables.count[v]
        # panoramic agents list neighbours as they meet them, each with its best view
        assert tables.neighbour[v, :count].tolist() == list(best)
        assert tables.view[v, :count].tolist() == [view for _, view in best.values()]
        assert (tables.neighbour[v, count:] == -1).all()


def test_tables_equal_the_simulator(building: R2RData, star: ScanGraph) -> None:
    check_against_the_simulator(star, range(6))
    graph = building.graph("synthetic00")
    check_against_the_simulator(graph, range(len(graph.viewpoints)))


def test_tables_of_a_real_scan_equal_the_simulator(data_path: Callable[[str], Path]) -> None:
    path = data_path("r2r/connectivity/17DRP5sb8fy_connectivity.json")
    graph = read_graph(path, "17DRP5sb8fy")
    check_against_the_simulator(graph, range(len(graph.viewpoints)))


def test_navigable_places_agree_with_the_published_list(data_path: Callable[[str], Path]) -> None:
    """NavGPT's files hold heading, elevation and distance of neighbours, by the real simulator."""
    from pilotage.envs.r2r.files import read_json

    listed = read_json(data_path("r2r/text/navigable/1LXtFkjw3qL_navigable.json"), dict)
    path = data_path("r2r/connectivity/1LXtFkjw3qL_connectivity.json")
    graph = read_graph(path, "1LXtFkjw3qL")
    tables = view_tables(graph)
    assert set(listed) == set(graph.viewpoints)
    for v, viewpoint in enumerate(graph.viewpoints):
        count = tables.count[v]
        ids = [graph.viewpoints[i] for i in tables.neighbour[v, :count]]
        assert set(ids) == set(listed[viewpoint])
        for k, name in enumerate(ids):
            known = listed[viewpoint][name]
            gap = math.remainder(tables.heading[v, k] - known["heading"], 2 * math.pi)
            assert abs(gap) < 1e-5
            assert tables.elevation[v, k] == pytest.approx(known["elevation"], abs=1e-5)
            assert tables.distance[v, k] == pytest.approx(known["distance"], abs=1e-4)


def test_a_viewpoint_with_too_many_neighbours_is_refused(star: ScanGraph) -> None:
    n = MAX_CANDIDATES + 2
    adjacent = ~np.eye(n, dtype=bool)
    position = np.random.default_rng(0).normal(size=(n, 3))
    crowd = ScanGraph("crowd", tuple(map(str, range(n))), position, adjacent)
    with pytest.raises(DataError, match="has 17 neighbours, at most 16 fit"):
        view_tables(crowd)
    lonely = replace(star, adjacent=np.zeros((6, 6), bool))
    assert view_tables(lonely).count.tolist() == [0] * 6
