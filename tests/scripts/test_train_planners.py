"""`pilotage train` for planners: a small training of each, stopped and gone on, and its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.envs.pathgraph.aliased import ACTIONS, random_room, random_walk
from pilotage.envs.pathgraph.alpine import make_dataset
from pilotage.envs.pathgraph.star_lines import StarShape, draw_stars
from pilotage.planners.alpine.checkpoint import load_net as load_alpine
from pilotage.planners.alpine.model import PathGPTConfig
from pilotage.planners.alpine.stars import StarRecipe, train_stars
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.planners.cscg import CSCG
from pilotage.planners.cscg.checkpoint import load_net as load_cscg
from pilotage.planners.cscg.training import train_cscg
from pilotage.planners.mlmu import load_net as load_mlmu
from pilotage.planners.tdb.checkpoint import load_net as load_tdb
from pilotage.scripts import bench_alpine
from pilotage.scripts.train_planners import PLANNERS, Alpine, Cscg, Mlmu, Tdb, main
from pilotage.scripts.train_stars import Stars
from pilotage.scripts.trainings import TrainingLog, claim, command_of, read_flags

SMALL = {
    "mlmu": Mlmu(grid=3, updates=4, train_mazes=50, test_mazes=20, width=16, layers=1, every=2),
    "alpine": Alpine(nodes=12, train_fraction=0.5, walks=2, iterations=4, every=2),
    "stars": Stars(
        length=3, labels=6, updates=4, batch=4, width=16, layers=1, heads=1, test_graphs=10, every=2
    ),
    "tdb": Tdb(
        height=2, width=3, symbols=2, steps=200, updates=4, batch=2, context=12, codes=8,
        d_model=16, layers=1, test_steps=200, every=2,
    ),
    "cscg": Cscg(height=2, width=3, symbols=2, clones=4, steps=200, test_steps=100, every=2),
}  # fmt: skip
LOADERS = {
    "mlmu": load_mlmu, "alpine": load_alpine, "stars": load_alpine, "tdb": load_tdb,
    "cscg": load_cscg,
}  # fmt: skip


class Stop(Exception):
    pass


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("verb", list(PLANNERS))
def test_a_training_leaves_its_curve_and_a_checkpoint_with_its_command(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(SMALL[verb], out=str(tmp_path))
    flags = command_of(verb, options).split()
    assert flags[:3] == ["pilotage", "train", verb]
    assert main(verb, flags[3:]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    LOADERS[verb](tmp_path)
    training = json.loads((tmp_path / "net.json").read_text())["training"]
    assert training["command"] == " ".join(flags)
    assert training["options"]["seed"] == 0
    rows = log_of(tmp_path)
    curve = [row for row in rows if "loss" in row or "bits_per_step" in row]
    assert len(curve) >= 2
    assert rows[-1]["test"] == training["test"]
    with pytest.raises(ValueError, match=r"other options: seed 0 \(now 1\); give another --out"):
        main(verb, [*flags[3:], "--seed", "1"])


def test_alpine_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data = make_dataset(12, n_walks=2)
    recipe = AlpineRecipe(n_iterations=6)
    net = train_alpine(data, recipe, d_model=16)
    state = tmp_path / "state.safetensors"

    def stop(step: int, *_: object) -> None:
        if step == 4:
            raise Stop

    with pytest.raises(Stop):
        train_alpine(data, recipe, d_model=16, every=2, tell=stop, state=state)
    again = train_alpine(data, recipe, d_model=16, state=state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(ValueError, match="is of another training: its lines"):
        train_alpine(make_dataset(12, n_walks=3), recipe, d_model=16, state=state)


@pytest.mark.parametrize("at", [2, 4])
def test_cscg_goes_on_bit_for_bit(at: int, tmp_path: Path) -> None:
    seen, acted, _ = random_walk(random_room(3, 3, 3, seed=0), 300, seed=0)

    def fresh() -> CSCG:
        return CSCG(3, 5, len(ACTIONS), seed=0)

    model, again, state = fresh(), fresh(), tmp_path / "state.safetensors"
    n = train_cscg(model, seen, acted)
    assert n > 5

    def stop(iteration: int, _: float) -> None:
        if iteration == at:
            raise Stop

    with pytest.raises(Stop):
        train_cscg(again, seen, acted, every=2, tell=stop, state=state)
    again = fresh()
    assert train_cscg(again, seen, acted, every=2, state=state) == n
    np.testing.assert_array_equal(model.transitions, again.transitions)
    with pytest.raises(ValueError, match="its pseudocount is"):
        train_cscg(fresh(), seen, acted, pseudocount=0.5, state=state)


def test_cscg_is_not_read_from_transitions_of_another_shape(tmp_path: Path) -> None:
    from pilotage.planners.cscg.checkpoint import save_net

    save_net(CSCG(2, 3, 4, seed=0), tmp_path)
    text = (tmp_path / "net.json").read_text()
    (tmp_path / "net.json").write_text(text.replace('"n_clones": 3', '"n_clones": 5'))
    with pytest.raises(ValueError, match=r"does not hold the transitions of .*: shape \[4, 2, 2"):
        load_cscg(tmp_path)


def test_a_command_says_what_is_not_the_default_and_is_read_back() -> None:
    options = Tdb(out="a folder", updates=5, noise=0.1)
    command = command_of("tdb", options, always=("seed",))
    assert command == "pilotage train tdb --out 'a folder' --updates 5 --noise 0.1 --seed 0"
    words = ["--out", "a folder", "--updates", "5", "--noise", "0.1"]
    assert read_flags(Tdb, None, words) == options


def test_a_folder_belongs_to_its_options_but_not_to_its_machine(tmp_path: Path) -> None:
    claim(tmp_path, Tdb())
    claim(tmp_path, Tdb(threads=2, every=7))
    with pytest.raises(ValueError, match=r"updates 3000 \(now 5\)"):
        claim(tmp_path, Tdb(updates=5))


def test_progress_is_told_once_for_so_many(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    tell = log.every(10, "episodes")
    for done in (3, 9, 11, 19, 35):
        tell(done)
    assert [row["episodes"] for row in log_of(tmp_path)] == [11, 35]


def test_stars_go_on_bit_for_bit_and_not_with_other_lines(tmp_path: Path) -> None:
    shape = StarShape(2, 3, 6)
    config = PathGPTConfig(shape.vocab_size, shape.prompt_length + 2, 16)
    recipe, state = StarRecipe("reversed", 6), tmp_path / "state.safetensors"

    def draw(k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return draw_stars(shape, 4, np.random.default_rng([seed, k]))

    net = train_stars(draw, config, recipe, mask=shape.mask)

    def stop(update: int, _: float) -> None:
        if update == 4:
            raise Stop

    with pytest.raises(Stop):
        train_stars(draw, config, recipe, mask=shape.mask, every=2, tell=stop, state=state)
    again = train_stars(draw, config, recipe, mask=shape.mask, state=state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(ValueError, match="is of another training: its lines"):
        train_stars(lambda k: draw(k, 1), config, recipe, mask=shape.mask, state=state)


def test_alpine_on_blocksworld_is_read_back_with_its_data(tmp_path: Path) -> None:
    options = ["--graph", "blocksworld", "--train-fraction", "0.99", "--walks", "1"]
    assert main("alpine", [*options, "--iterations", "2", "--out", str(tmp_path)]) == 0
    net, data = bench_alpine.load(tmp_path)
    assert net.config.vocab_size == len(data.graph) + 2 == 75
    test = json.loads((tmp_path / "net.json").read_text())["training"]["test"]
    assert test["pairs"] == len(data.test) == round(0.01 * 73 * 72)
    assert {"adjacency", "adjacency, through the norms"} <= test["read_outs"].keys()
    with pytest.raises(ValueError, match="graph must be one of dag, blocksworld, got 'tree'"):
        main("alpine", ["--graph", "tree", "--out", str(tmp_path / "tree")])
