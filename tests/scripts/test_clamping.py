"""`--clamp` and `--release`: trainings with clamps, stopped and gone on; the bench's parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest
import torch

from pilotage.envs.pathgraph.alpine import AlpineData, make_dataset
from pilotage.planners.alpine import PathGPT, PathGPTConfig, construct
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.scripts.bench_clamped_training import PARTS, held, judge, main
from pilotage.scripts.clamping import path_net_clamps
from pilotage.scripts.planner_sites import PATH_NET
from pilotage.scripts.train_planners import Alpine, run_alpine
from pilotage.scripts.trainings import claim
from pilotage.steering import describe_model
from pilotage.steering.captures import capture
from pilotage.steering.clamp_specs import random_units
from pilotage.steering.training_clamps import TrainingClamps

FFN = "layers.0.mlp.down_proj:in"
HEAD = "layers.1.self_attn.o_proj:in[heads 1 of 2]@start"


class Stop(Exception):
    pass


def train(state: Path | None = None, stop_at: int = -1, release: str = "3:7") -> PathGPT:
    def tell(step: int, *_: object) -> None:
        if step == stop_at:
            raise Stop

    return train_alpine(
        make_dataset(12, n_walks=2),
        AlpineRecipe(n_iterations=10, learning_rate=0.01),
        n_layers=2,
        n_heads=2,
        d_model=16,
        every=1,
        tell=tell,
        state=state,
        clamp=path_net_clamps(f"{FFN}[0-9]@0; {HEAD}", release),
    )


@pytest.mark.parametrize("stop_at", [2, 5, 8])
def test_a_clamped_training_goes_on_bit_for_bit(stop_at: int, tmp_path: Path) -> None:
    """Stopped while held, while being released, and when free; something is held to the start."""
    whole, state = train(), tmp_path / "state.safetensors"
    with pytest.raises(Stop):
        train(state, stop_at)
    again = train(state)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(ValueError, match="is of another training: its clamps"):
        train(state, release="3:8")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in whole.modules())


def test_weights_that_lead_to_what_is_held_only_decay() -> None:
    """Until the release, AdamW multiplies them by 1 - rate * decay and does nothing else."""
    recipe = AlpineRecipe(n_iterations=6, learning_rate=0.01)
    start: dict[str, torch.Tensor] = {}

    def clamp(net: PathGPT) -> TrainingClamps:
        start.update({k: v.clone() for k, v in net.state_dict().items()})
        make = path_net_clamps(f"{FFN}[0-9]@0", "")
        assert make is not None
        return make(net)

    net = train_alpine(make_dataset(12, n_walks=2), recipe, d_model=16, clamp=clamp)
    shrunk = 1.0
    for step in range(6):
        shrunk *= 1 - recipe.rate(step) * recipe.weight_decay
    now, before = net.state_dict()["blocks.0.ffn_in.weight"], start["blocks.0.ffn_in.weight"]
    torch.testing.assert_close(now[:10], shrunk * before[:10], atol=1e-8, rtol=1e-5)
    assert (now[10:] - shrunk * before[10:]).abs().amax(1).min() > 1e-3


def test_the_command_trains_with_clamps(tmp_path: Path) -> None:
    options = Alpine(str(tmp_path / "a"), 12, 0.5, 2, iterations=4, every=2)
    held_ = replace(options, out=str(tmp_path / "b"), clamp=f"{FFN}[all]@0", release="2:4")
    for o in (options, held_):
        run_alpine(o)
    free, clamped = (
        json.loads((tmp_path / n / "log.jsonl").read_text().splitlines()[1]) for n in "ab"
    )
    assert free["loss"] != clamped["loss"]
    training = json.loads((tmp_path / "b" / "net.json").read_text())["training"]
    assert f"--clamp '{FFN}[all]@0' --release 2:4" in training["command"]
    with pytest.raises(ValueError, match="--release 2:4 without --clamp"):
        run_alpine(replace(options, out=str(tmp_path / "c"), release="2:4"))


def test_a_folder_from_before_an_option_goes_on_with_its_default(tmp_path: Path) -> None:
    claim(tmp_path, Alpine())
    path = tmp_path / "options.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("clamp", "release")}
    path.write_text(json.dumps(old))
    claim(tmp_path, Alpine())
    with pytest.raises(ValueError, match=r"clamp '' \(now 'x'\)"):
        claim(tmp_path, Alpine(clamp="x"))


def test_conditions_hold_as_many_units_as_they_say() -> None:
    net = PathGPT(PathGPTConfig(9, 8, d_model=16, n_layers=2))
    n = {
        part: {c.site.layer: c.intervention.n_neurons for c in held(part, net, 5)}
        for part in ("free", *PARTS, "both FFNs")
    }
    assert (n["free"], n["FFN 0"], n["FFN 1"]) == ({}, {0: 64}, {1: 64})
    assert n["both FFNs"] == {0: 64, 1: 64}
    assert sum(n["random half"].values()) == 64
    assert len(n["random half"]) == 2
    first, second = (c.intervention.neurons for c in held("random half", net, 5))
    assert torch.cat([first, second + 64]).tolist() == random_units(64, 128, 5).tolist()


def test_lines_are_judged_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 -> 1 -> 2 and 0 -> 3: of 6 steps 4 are edges, and 3 of these still lead to the target."""
    graph = nx.DiGraph([(0, 1), (1, 2), (0, 3)])
    data = AlpineData(graph, (), ((0, 2), (0, 2), (0, 1), (0, 2)), ())
    paths = [[0, 1, 2], [0, 3], [0, 2, 1], [0, 1]]
    monkeypatch.setattr("pilotage.scripts.bench_clamped_training.complete", lambda *_: paths)
    found = judge(construct(graph), data)
    assert found.valid == 0.25
    assert found.edges == pytest.approx(4 / 6)
    assert found.leads == pytest.approx(3 / 4)


def test_the_bench_prints_a_row_a_condition(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "--nodes",
                "8",
                "--iterations",
                "4",
                "--width",
                "8",
                "--seeds",
                "1",
                "--processes",
                "1",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "held until 2, let go until 2" in out
    for name in ("free", *PARTS, "both FFNs"):
        assert out.count(f"| {name} | ") == 3
    assert main(["--seeds", "0"]) == 2
    assert "--seeds 0" in capsys.readouterr().err


def test_the_map_of_a_path_net_is_its_own() -> None:
    net = PathGPT(PathGPTConfig(9, 8, d_model=16, n_layers=2))
    describe_model(net, PATH_NET)
    with capture(net, [FFN]) as seen, torch.no_grad():
        net(torch.zeros(1, 3, dtype=torch.int64))
    assert seen.activations(FFN).shape == (3, 64)
