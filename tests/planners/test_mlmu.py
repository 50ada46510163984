"""Training, answers and files of the learned maze planner: against enumeration and torch."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.envs.maze import dfs
from pilotage.envs.maze.endpoints import anywhere
from pilotage.envs.maze.grid import from_free
from pilotage.planners.mlmu import (
    Answers,
    MazeNet,
    MazeNetConfig,
    Mazes,
    MlmuRecipe,
    Objective,
    Progress,
    answer,
    labels,
    learned_maze_planner,
    load_net,
    save_net,
    score,
    train_mlmu,
    training,
)
from pilotage.planners.mlmu.answers import _noise, _read_off
from pilotage.planners.mlmu.lines import END, PAD, write_prompts
from pilotage.planners.mlmu.objectives import Sight, encoder_sight, sight
from pilotage.planners.problems import GridProblem, grid_fault
from pilotage.planners.verified import Source, VerifiedPlanner
from pilotage.scripts import bench_mlmu

SMALL = functools.partial(MazeNetConfig, 3, d_model=16, n_layers=1)


def some_mazes(n: int, size: int = 3) -> Mazes:
    keys = torch.arange(n)
    cells = dfs(keys, size, size)
    ends = anywhere(cells, keys)
    return Mazes(cells.numpy(), ends.starts.numpy(), ends.goals.numpy())


def shaken_net(objective: Objective) -> MazeNet:
    """Untrained; its answers differ from maze to maze."""
    torch.manual_seed(3)
    net = MazeNet(SMALL(objective))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return net.eval()


def lines_of(net: MazeNet, mazes: Mazes) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts, and what is read off after them, to the end or a cut."""
    prompt = torch.from_numpy(write_prompts(mazes, 3, _noise(mazes, 0)))
    return prompt, _read_off(net, prompt, 10)


def up_to_end(path: torch.Tensor) -> torch.Tensor:
    ends = (path == END).int()
    return ends.cumsum(1) - ends == 0


def most_likely(net: MazeNet, prompt: torch.Tensor, path: torch.Tensor, s: Sight) -> torch.Tensor:
    with torch.no_grad():
        logits = net(torch.cat([prompt, path], 1), s.encoder, s.decoder, prompt.shape[1])
    logits[..., PAD] = -torch.inf
    return logits.argmax(-1)


@pytest.mark.parametrize("objective", [Objective.NEXT_TOKEN, Objective.TEACHERLESS])
def test_an_answer_is_what_training_would_call_likeliest(objective: Objective) -> None:
    """All places of an answer at once, by the masks of the training, give the answer again."""
    net = shaken_net(objective)
    prompt, path = lines_of(net, some_mazes(100))
    assert len(np.unique(path, axis=0)) > 20
    again = most_likely(net, prompt, path, sight(objective, prompt, path, np.random.default_rng()))
    used = up_to_end(path)
    assert torch.equal(again[used], path[used])


def test_mlm_u_answers_with_the_rest_hidden() -> None:
    """Place by place in lines of full length, what lies ahead hidden by the attention alone."""
    net = shaken_net(Objective.MLM_U)
    prompt, path = lines_of(net, some_mazes(100))
    assert len(np.unique(path, axis=0)) > 20
    for place in range(10):
        seen = (torch.arange(10) < place).expand(len(path), -1) & (path != PAD)
        keys = torch.cat([prompt != PAD, seen], 1)[:, None].expand(-1, 10, -1)
        encoder = encoder_sight(Objective.MLM_U, prompt, seen)
        again = most_likely(net, prompt, path, Sight(encoder, keys, seen))[:, place]
        used = up_to_end(path)[:, place]
        assert torch.equal(again[used], path[used, place])


@pytest.mark.parametrize("objective", list(Objective))
def test_an_answer_is_the_same_in_any_batch(objective: Objective) -> None:
    net, mazes = shaken_net(objective), some_mazes(20)
    together = answer(net, mazes)
    for i in range(len(mazes)):
        alone = answer(net, mazes[i : i + 1])
        assert alone.n_moves[0] == together.n_moves[i]
        assert np.array_equal(alone.cells[0], together.cells[i])


def test_score_tells_exact_optimal_and_valid_apart() -> None:
    """An open square: from corner to corner two shortest ways, and longer ones."""
    cells = from_free(np.ones((5, 3, 3), bool))
    mazes = Mazes(cells, np.tile([0, 0], (5, 1)), np.tile([1, 1], (5, 1)))
    label = [tuple(cell) for cell in labels(mazes).cells[0].tolist()]
    other = [(0, 0), (1, 0), (1, 1)] if (0, 1) in label else [(0, 0), (0, 1), (1, 1)]
    longer = [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1)]
    paths = [label, other, longer, [(0, 0), (1, 1)], []]
    given = np.zeros((5, 6, 2), np.int64)
    for i, path in enumerate(paths):
        given[i, : len(path)] = np.array(path).reshape(-1, 2)
    found = score(mazes, Answers(given, np.array([len(path) - 1 for path in paths])))
    assert (found.n, found.n_exact, found.n_optimal, found.n_valid) == (5, 1, 2, 3)
    assert found.faults == {"not_adjacent": 1, "empty": 1}
    with pytest.raises(ValueError, match="do not fit 4 mazes"):
        score(mazes[:4], Answers(given, np.zeros(5, np.int64)))


def test_the_learning_rate_is_torchs_one_cycle() -> None:
    recipe = MlmuRecipe(n_updates=200)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, 200, pct_start=0.05, div_factor=25, final_div_factor=25
    )
    for step in range(200):
        assert recipe.rate(step) == pytest.approx(peer.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        peer.step()
    assert MlmuRecipe(n_updates=1).rate(0) <= 1e-3


def test_objectives_share_weights_mazes_order_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: dict[str, list[bytes]] = {}
    costs = {}
    loss_of = training.loss_of

    def spy(net: MazeNet, prompt, path, rng):  # type: ignore[no-untyped-def]
        heard = batches.setdefault(net.config.objective, [])
        if not heard:
            heard.append(b"".join(p.detach().numpy().tobytes() for p in net.parameters()))
        heard.append(prompt.numpy().tobytes() + path.numpy().tobytes())
        return loss_of(net, prompt, path, rng)

    monkeypatch.setattr(training, "loss_of", spy)
    for objective in Objective:
        told: list[Progress] = []
        train_mlmu(
            some_mazes(50), SMALL(objective), MlmuRecipe(n_updates=3, batch_mazes=4),
            tell=lambda progress, _, to=told: to.append(progress),
        )  # fmt: skip
        costs[objective] = told[-1].flops
    assert len(batches) == 4
    assert len({b"|".join(heard) for heard in batches.values()}) == 1
    assert len(set(next(iter(batches.values())))) == 4  # and no batch comes twice
    assert len(set(costs.values())) == 1


@pytest.mark.parametrize("objective", [Objective.MLM_U, Objective.MULTI_TOKEN])
def test_an_interrupted_training_ends_in_the_same_network(
    objective: Objective, tmp_path: Path
) -> None:
    mazes, recipe = some_mazes(50), MlmuRecipe(n_updates=9, batch_mazes=4)
    told: list[Progress] = []
    wanted = train_mlmu(
        mazes, SMALL(objective), recipe, tell=lambda progress, _: told.append(progress)
    )

    def stop(progress: Progress, net: MazeNet) -> None:
        if progress.n_updates == 6:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_mlmu(mazes, SMALL(objective), recipe, every=3, tell=stop, state=state)
    again: list[Progress] = []
    found = train_mlmu(
        mazes, SMALL(objective), recipe, tell=lambda p, _: again.append(p), state=state
    )
    assert [progress.n_updates for progress in again] == [6, 9]
    assert again[-1].flops == told[-1].flops
    for mine, theirs in zip(found.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for other in (MlmuRecipe(n_updates=10, batch_mazes=4), MlmuRecipe(9, 4, seed=1)):
        with pytest.raises(ValueError, match="is of another training: its recipe is"):
            train_mlmu(mazes, SMALL(objective), other, state=state)
    with pytest.raises(ValueError, match="is of another training: its mazes is"):
        train_mlmu(mazes[1:], SMALL(objective), recipe, state=state)


def test_a_network_comes_back_from_its_folder_or_is_refused(tmp_path: Path) -> None:
    net, mazes = shaken_net(Objective.MULTI_TOKEN), some_mazes(10)
    save_net(net, tmp_path)
    again = load_net(tmp_path, size=3)
    assert again.config == net.config
    assert np.array_equal(answer(again, mazes).cells, answer(net, mazes).cells)
    with pytest.raises(ValueError, match=r"network for 3 x 3 cells, not 5 x 5; choose that size"):
        load_net(tmp_path, size=5)
    with pytest.raises(ValueError, match="4 x 4 cells are larger than a vocabulary of 3 x 3"):
        answer(net, some_mazes(2, 4))
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ValueError, match="does not hold the weights"):
        load_net(tmp_path)
    (tmp_path / "net.json").write_text('{"format": "pilotage-mlmu-1", "config": {"rows": 3}}')
    with pytest.raises(ValueError, match="does not describe a maze network"):
        load_net(tmp_path)
    with pytest.raises(ValueError, match="is not the state of a maze training"):
        train_mlmu(mazes, SMALL(), state=weights)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(Objective))
def test_every_objective_learns_a_few_mazes_by_heart(objective: Objective) -> None:
    mazes = some_mazes(4)
    config = MazeNetConfig(3, objective, d_model=32, n_layers=1)
    recipe = MlmuRecipe(n_updates=150, batch_mazes=8, learning_rate=5e-3)
    before = score(mazes, answer(MazeNet(config).eval(), mazes))
    found = score(mazes, answer(train_mlmu(mazes, config, recipe), mazes))
    assert before.n_exact == 0
    assert found.n_exact == found.n_valid == 4


def test_a_verified_planner_takes_nothing_wrong_from_a_network() -> None:
    net = shaken_net(Objective.NEXT_TOKEN)
    planner = VerifiedPlanner(learned_maze_planner(net), grid_fault, retries=1)
    mazes = some_mazes(6)
    problems = [
        GridProblem(cells, tuple(s), tuple(g))
        for cells, s, g in zip(
            mazes.cells, mazes.starts.tolist(), mazes.goals.tolist(), strict=True
        )
    ]
    assert {a.source for a in planner.solve(problems)} == {Source.ABSTAINED}
    with pytest.raises(ValueError, match="start and goal are both"):
        planner.solve([GridProblem(mazes.cells[0], (0, 0), (0, 0))])


def turned(edges: frozenset[frozenset[tuple[int, int]]], size: int) -> list[tuple[object, ...]]:
    """A set of connections in its eight positions, each sorted."""
    last = size - 1
    ways = [
        lambda r, c: (r, c), lambda r, c: (r, last - c), lambda r, c: (last - r, c),
        lambda r, c: (last - r, last - c), lambda r, c: (c, r), lambda r, c: (c, last - r),
        lambda r, c: (last - c, r), lambda r, c: (last - c, last - r),
    ]  # fmt: skip
    return [
        tuple(sorted(tuple(sorted(way(*cell) for cell in edge)) for edge in edges)) for way in ways
    ]


def test_no_layout_is_trained_on_and_tested_even_turned_or_mirrored() -> None:
    layouts = {}
    for split in ("train", "test"):
        mazes = bench_mlmu.draw_mazes(split, 400, 3, seed=1)
        assert len(mazes) == 400
        assert len(bench_mlmu.distinct(mazes)) < 400  # 3 x 3 has few
        layouts[split] = set()
        for cells in mazes.cells:
            right = [((r, c), (r, c + 1)) for r, c in np.argwhere(cells & 8).tolist()]
            down = [((r, c), (r + 1, c)) for r, c in np.argwhere(cells & 2).tolist()]
            layouts[split].add(min(turned(frozenset(map(frozenset, right + down)), 3)))
    assert layouts["train"]
    assert layouts["test"]
    assert not layouts["train"] & layouts["test"]


def test_the_bench_prints_a_row_for_each_objective_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--grid", "3", "--updates", "2", "--train-mazes", "40", "--test-mazes", "20"]
    options += ["--batch", "4", "--width", "16", "--layers", "1", "--out", str(tmp_path)]
    asked = ["--objective", "teacherless", "--objective", "multi-token"]
    assert bench_mlmu.main([*options, *asked]) == 0
    table = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "|" in line]
    assert [row[0] for row in rows[2:]] == ["teacherless", "multi-token"]
    assert rows[2][1:4] == rows[3][1:4]
    assert len({len(row) for row in rows}) == 1
    assert bench_mlmu.main([*options, *asked]) == 0  # goes on from the end
    assert capsys.readouterr().out.splitlines() == table
    assert bench_mlmu.main([*options, *asked, "--seed", "1"]) == 2
    assert "is of another training: its recipe" in capsys.readouterr().err
    load = ["--load", str(tmp_path / "teacherless-3"), "--ask"]
    text = "<ADJLIST_START> (0,0) (0,1) ; <ADJLIST_END> <ORIGIN_START> (0,0) <ORIGIN_END> {} "
    text += "<PATH_START>"
    right = text.format("<TARGET_START> (0,1) <TARGET_END>")
    assert bench_mlmu.main([*load, right]) == 1  # two updates teach nothing
    assert capsys.readouterr().out
    for wrong, what in (
        ("a maze", "expected one <ADJLIST_START>"),
        (text.format("<TARGET_START> (0,0) <TARGET_END>"), "start and goal are both (0, 0)"),
        (text.format("<TARGET_START> (0,4) <TARGET_END>"), "larger than a vocabulary of 3 x 3"),
    ):
        assert bench_mlmu.main([*load, wrong]) == 2
        assert what in capsys.readouterr().err
