"""Patched goals of planners, and the sites inside them, against networks edited by hand."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from pilotage.envs.pathgraph.alpine import alpine_dag, reachable
from pilotage.planners.alpine import PathGPT, PathGPTConfig, complete, construct
from pilotage.planners.mlmu import MazeNet, MazeNetConfig, save_net
from pilotage.planners.tdb import TDB, TDBConfig
from pilotage.scripts import bench_alpine, patch_planners
from pilotage.scripts.patch_planners import Lines, Place, swapped
from pilotage.scripts.planner_sites import MAZE_NET, PATH_NET, TDB_NET
from pilotage.steering import Intervention, ModelMap, Steerer, describe_model
from pilotage.steering.captures import capture

OFF = Intervention("ablate", "layers.1.mlp.down_proj:in", 1.0, neurons=torch.tensor([0, 3, 5]))


def path_net() -> tuple[PathGPT, ModelMap, tuple[torch.Tensor, ...]]:
    net = PathGPT(PathGPTConfig(9, d_model=16, n_layers=2, n_heads=2))
    return net, PATH_NET, (torch.randint(0, 9, (3, 6)),)


def maze_net() -> tuple[MazeNet, ModelMap, tuple[object, ...]]:
    net = MazeNet(MazeNetConfig(3, d_model=16, n_layers=2, prompt="walls"))
    tokens = torch.randint(0, 19, (3, 6))
    seen = torch.ones(3, 6, 6, dtype=torch.bool)
    return net, MAZE_NET, (tokens, seen, seen[:, :2], 4)


def tdb_net() -> tuple[TDB, ModelMap, tuple[object, ...]]:
    net = TDB(TDBConfig(4, 4, context=8, d_model=16, n_layers=2, n_heads=2))
    return net, TDB_NET, (torch.randint(0, 4, (3, 6)), torch.randint(0, 4, (3, 5)))


@pytest.mark.parametrize("make", [path_net, maze_net, tdb_net])
def test_planners_are_read_and_steered_at_the_same_sites(make) -> None:  # type: ignore[no-untyped-def]
    """Neurons off is a weight's columns at zero; the stream is what the block gives; a row without
    an edit keeps its bits."""
    torch.manual_seed(0)
    net, names, inputs = make()
    net.eval()
    describe_model(net, names)
    run = net.vectors if isinstance(net, TDB) else net
    block = net.get_submodule(names.layers)[1]  # type: ignore[index]
    given: list[torch.Tensor] = []
    handle = block.register_forward_hook(lambda m, i, out: given.append(out.detach()))
    with torch.no_grad(), capture(net, ["layers.1.resid:out"]) as seen:
        plain = run(*inputs)
    handle.remove()
    assert torch.equal(seen.activations("layers.1.resid:out"), given[0].flatten(0, 1))
    with torch.no_grad(), Steerer(net, n_rows=3) as steerer:
        steerer.set_row(1, [OFF])
        length = given[0].shape[1]
        groups = torch.zeros(3, length, dtype=torch.int8)
        steerer.begin([0, 1, 2], groups, "prefill", 0, np.zeros(3, int), np.ones(3, bool))
        steered = run(*inputs)
        assert steerer.receipt(1)["interventions"][0]["edited_tokens"]["prefill"] == length
    down: nn.Linear = block.ffn_out  # type: ignore[assignment]
    with torch.no_grad():
        down.weight[:, [0, 3, 5]] = 0.0
        by_hand = run(*inputs)
    assert torch.equal(steered[0], plain[0])
    assert torch.equal(steered[2], plain[2])
    assert torch.allclose(steered[1], by_hand[1], atol=1e-5)
    assert not torch.allclose(steered[1], plain[1], atol=1e-4)


def test_a_goal_patched_at_the_entrance_is_the_other_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a network that a graph was written into: the paths are those of a run with that goal."""
    graph = alpine_dag(12, p=0.3, seed=1)
    reach = reachable(graph)
    pairs = tuple((int(s), int(t)) for s, t in np.argwhere(reach) if reach[s].sum() > 1)
    data = bench_alpine.AlpineData(graph, (), pairs, ())
    net = construct(graph)
    monkeypatch.setattr(bench_alpine, "load", lambda folder: (net, data))
    rows = patch_planners.alpine_rows(Path("anywhere"), 20, seed=0)
    of = {(row["site"], row["tokens"]): row for row in rows}
    assert of["none", ""]["to its goal"].startswith("100.0")
    assert of["none", ""]["to the other"].startswith("0.0")
    moved = of["layers.0.resid:in", "goal"]
    assert moved["to the other"].startswith("100.0")
    assert moved["to its goal"].startswith("0.0")
    for site in ("layers.0.resid:in", "layers.0.resid:out"):
        assert of[site, "source"]["to its goal"].startswith("100.0")
    assert of["layers.0.resid:out", "here"]["to the other"].startswith("100.0")
    for s, t, other in patch_planners._triples(pairs, reach, 20, 0):
        assert reach[s, t]
        assert reach[s, other]
        assert t != other
        (path,) = complete(net, [(s, other)])
        assert nx.is_path(graph, path)


def test_the_random_twin_is_as_far_away() -> None:
    torch.manual_seed(1)
    net, names, _ = path_net()
    net.eval()
    describe_model(net, names)
    own, other = torch.randint(0, 9, (2, 3, 5))
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[:, 1] = True
    lines = Lines(lambda: net(own)[:, -1], lambda: net(other)[:, -1], {"goal": mask})
    site = "layers.0.resid:out"
    entered: list[torch.Tensor] = []
    net.blocks[1].register_forward_pre_hook(lambda m, args: entered.append(args[0].detach()))
    seen = {}
    with torch.no_grad():
        for name, noise in (("patch", None), ("random", torch.Generator().manual_seed(0))):
            swapped(net, Place(site, "goal"), lines, noise)
            seen[name] = entered[-1]
        net(own)
        net(other)
    mine, theirs = entered[-2:]
    assert torch.allclose(seen["patch"][:, 1], theirs[:, 1], atol=1e-6)
    assert torch.equal(seen["patch"][:, 0], mine[:, 0])
    far = (seen["random"] - mine)[:, 1].norm(dim=-1)
    assert torch.allclose(far, (theirs - mine)[:, 1].norm(dim=-1), rtol=1e-4)
    assert not torch.allclose(seen["random"][:, 1], theirs[:, 1], atol=1e-2)


def test_mazes_have_a_row_a_place_and_bad_folders_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(2)
    save_net(MazeNet(MazeNetConfig(3, d_model=16, n_layers=1, prompt="walls")), tmp_path / "maze")
    rows = patch_planners.maze_rows(tmp_path / "maze", 8, seed=0)
    sites = ["none", *["layers.0.resid:in"] * 3, *["layers.0.resid:out"] * 3]
    assert [row["site"] for row in rows] == sites
    assert {row["tokens"] for row in rows} == {"", "goal", "other prompt", "path"}
    assert patch_planners.main(["--alpine", str(tmp_path)]) == 2
    assert "patch_planners: " in capsys.readouterr().err
    config = MazeNetConfig(3, "teacherless", d_model=16, n_layers=1)
    save_net(MazeNet(config), tmp_path / "whole")
    with pytest.raises(ValueError, match="writes all of a path at once"):
        patch_planners.maze_rows(tmp_path / "whole", 8, seed=0)
