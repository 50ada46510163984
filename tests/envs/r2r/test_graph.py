"""Graphs: shortest paths against networkx, and every way a file can be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.errors import DataError, DataMissing
from pilotage.envs.r2r.graph import ScanGraph, read_graph


def as_networkx(graph: ScanGraph) -> nx.Graph:
    found = nx.Graph()
    found.add_nodes_from(range(len(graph.viewpoints)))
    for i, j in np.argwhere(graph.adjacent):
        gap = graph.position[i] - graph.position[j]
        found.add_edge(int(i), int(j), weight=float(np.sqrt((gap**2).sum())))
    return found


def check_against_networkx(graph: ScanGraph) -> None:
    lengths = dict(nx.all_pairs_dijkstra_path_length(as_networkx(graph)))
    n = len(graph.viewpoints)
    expected = np.array([[lengths[i].get(j, np.inf) for j in range(n)] for i in range(n)])
    np.testing.assert_allclose(graph.distance, expected, rtol=1e-12)


def test_shortest_paths_equal_those_of_networkx(building: R2RData) -> None:
    for scan in ("synthetic00", "synthetic01"):
        check_against_networkx(building.graph(scan))


def test_shortest_paths_of_a_real_scan(data_path: Callable[[str], Path]) -> None:
    path = data_path("r2r/connectivity/17DRP5sb8fy_connectivity.json")
    check_against_networkx(read_graph(path, "17DRP5sb8fy"))


def test_a_route_walks_edges_and_is_as_long_as_the_distance(building: R2RData) -> None:
    graph = building.graph("synthetic00")
    n = len(graph.viewpoints)
    for start, goal in [(0, n - 1), (n - 1, 3), (5, 5)]:
        route = graph.route(start, goal)
        assert (route[0], route[-1]) == (start, goal)
        assert all(graph.adjacent[a, b] for a, b in pairwise(route))
        length = sum(graph.edge_length[a, b] for a, b in pairwise(route))
        assert length == pytest.approx(graph.distance[start, goal])


def test_separate_parts_are_infinitely_far_apart() -> None:
    adjacent = np.zeros((3, 3), bool)
    adjacent[0, 1] = adjacent[1, 0] = True
    graph = ScanGraph("split", ("a", "b", "c"), np.eye(3), adjacent)
    assert np.isinf(graph.distance[0, 2])
    with pytest.raises(ValueError, match="no path from a to c"):
        graph.route(0, 2)


def test_viewpoints_that_are_not_included_are_left_out(building: R2RData) -> None:
    path = building.root / "r2r/connectivity/synthetic00_connectivity.json"
    entries = json.loads(path.read_text())
    left_out = [e["image_id"] for e in entries if not e["included"]]
    assert len(left_out) == 1
    graph = building.graph("synthetic00")
    assert len(graph.viewpoints) == len(entries) - 1
    with pytest.raises(DataError, match="is not in the graph of scan synthetic00"):
        graph.number(left_out[0], "here")


def damage(entries: list[dict[str, Any]], what: str) -> str:
    if what == "truncated":
        return json.dumps(entries)[:-40]
    if what == "not a list":
        return json.dumps({"entries": entries})
    if what == "missing key":
        del entries[3]["pose"]
    elif what == "short row":
        entries[3]["unobstructed"].pop()
    elif what == "one way":
        row = entries[0]["unobstructed"]
        row[row.index(True)] = False
    elif what == "nan":
        entries[2]["pose"][7] = float("nan")
    elif what == "word":
        entries[2]["pose"][7] = "seven"
    elif what == "twice":
        entries[1]["image_id"] = entries[0]["image_id"]
    elif what == "empty":
        for entry in entries:
            entry["included"] = False
    return json.dumps(entries)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", "is no JSON .* cut off"),
        ("not a list", "expected a list, found a dict"),
        ("missing key", "entry 3: there is no 'pose'"),
        ("short row", "entry 3: 'unobstructed' has 17 entries for 18 viewpoints"),
        ("one way", "are joined in one direction only"),
        ("nan", "positions must be finite"),
        ("word", "entry 2: 'seven' in 'pose' is no number"),
        ("twice", "a viewpoint id occurs twice"),
        ("empty", "no viewpoint is included"),
    ],
)
def test_a_damaged_graph_is_refused_by_name(copy: Path, what: str, message: str) -> None:
    path = copy / "r2r/connectivity/synthetic00_connectivity.json"
    path.write_text(damage(json.loads(path.read_text()), what))
    with pytest.raises(DataError, match=message):
        R2RData(copy).graph("synthetic00")


def test_a_missing_graph_says_how_to_get_it(copy: Path) -> None:
    with pytest.raises(DataMissing, match=r"other_connectivity.json is not there; `pilotage data`"):
        R2RData(copy).graph("other")
