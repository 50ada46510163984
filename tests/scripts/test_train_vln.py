"""Training and controls of text-only navigators on invented buildings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vln.checkpoint import load_navigator
from pilotage.agents.vln.linear import LinearNavigator
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.scripts.cmd_bench_vln import vln
from pilotage.scripts.train_vln import Options, train
from pilotage.scripts.vln_controls import with_shuffled_instructions, write_shuffled_captions
from pilotage.scripts.vln_training import Practice, batches_by_length, is_held_out


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder, n_scans=N_SCANS)
    return folder


N_SCANS = 11  # synthetic10 is held out


def options(root: Path, out: Path, **more: object) -> Options:
    small = {"width": 8, "encoder_layers": 1, "batch": 6, "updates": 4, "check_tasks": 4}
    return Options(
        **{"out": str(out), "data": str(root), "words": "hashed", "checks": 1, **small, **more}
    )


def test_held_out_scans_are_fixed_by_their_names() -> None:
    assert [k for k in range(12) if is_held_out(f"synthetic{k:02d}")] == [10]


@pytest.mark.parametrize("agent", ["text-transformer", "blind-linear"])
def test_a_training_leaves_a_checkpoint_that_can_be_played_with_controls(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], agent: str
) -> None:
    out = train(options(root, tmp_path / agent, agent=agent))
    header = json.loads((out / "agent.json").read_text())
    assert header["training"]["updates"] == 4
    assert f"--agent {agent}" in header["training"]["command"]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert sum("held_out" in row and isinstance(row["held_out"], dict) for row in log) == 2
    controls = ["no-captions", "shuffled-captions", "shuffled-instructions"]
    rows = vln(
        **{"split": "val_seen", "family": "r2r", "agents": ["stop", str(out)]},
        **{"controls": controls, "predictions": [], "allow_missing": False},
        **{"conventions": ["r2r"], "episodes": 0, "data": root, "slots": 4, "seed": 0},
        **{"success_radius_m": 3.0, "as_json": False},
    )
    reads = agent == "text-transformer"
    names = [f"{agent} {c}" for c in (controls if reads else controls[2:])]
    assert [row["agent"] for row in rows] == ["stop", agent, *names]
    assert {row["n_scored"] for row in rows} == {18}
    assert capsys.readouterr().out.count(" points (") == len(names)


def test_the_held_out_split_is_the_held_out_scans_of_train(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"family": "r2r", "agents": ["stop"], "controls": [], "predictions": []}
    asked |= {"allow_missing": False, "conventions": ["r2r"], "data": root, "slots": 2, "seed": 0}
    for episodes, n in ((0, 3), (2, 2)):
        rows = vln(
            **asked, split="held_out", episodes=episodes, success_radius_m=3.0, as_json=False
        )
        assert rows[0]["n_scored"] == n
        assert f"{n} instructions, 1 scenes" in capsys.readouterr().out


def test_a_stopped_training_goes_on(root: Path, tmp_path: Path) -> None:
    o = options(root, tmp_path / "one", agent="linear")
    train(o)
    first = load_navigator(o.folder)
    train(o)  # nothing is left to do
    again = load_navigator(o.folder)
    assert again[1]["training"]["updates"] == 4
    assert torch.equal(first[0].weight, again[0].weight)
    with pytest.raises(ValueError, match="batch 6 \\(now 5\\)"):
        train(options(root, tmp_path / "one", agent="linear", batch=5))


def test_one_batch_again_and_again_is_learned(root: Path) -> None:
    """Imitation of a handful of episodes: the linear policy comes to agree with the expert."""
    from pilotage.scripts.train_vln import word_table

    torch.manual_seed(0)
    o = Options(agent="linear", words="hashed", data=str(root))
    model = LinearNavigator(word_table(o, R2RData(root)))
    tasks = split_tasks("r2r", "train", root)[:4]
    practice = Practice(model, 4, root, text=True, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    agreement = []
    for _ in range(60):
        played = practice.play(tasks, 1.0, 0.0)
        optimizer.zero_grad()
        played.loss.backward()
        optimizer.step()
        agreement.append(played.agreement)
    practice.envs.close()
    assert np.mean(agreement[-5:]) > 0.8 > np.mean(agreement[:2])


def test_the_teacher_walks_the_shortest_path(root: Path) -> None:
    """With the expert at the wheel the number of decisions is that of the paths' viewpoints."""
    from pilotage.scripts.train_vln import word_table

    o = Options(agent="blind-linear", words="hashed", data=str(root))
    model = LinearNavigator(word_table(o, R2RData(root)), reads=False)
    tasks = split_tasks("r2r", "train", root)[:6]
    practice = Practice(model, 6, root, text=False, seed=0)
    played = practice.play(tasks, 1.0, 0.0)
    practice.envs.close()
    data = R2RData(root)
    hops = 0
    for task in tasks:
        graph = data.graph(task.scene["scan"])
        ends = (graph.index[task.start["viewpoint"]], graph.index[task.goal["viewpoint"]])
        hops += len(graph.route(*ends))
    assert played.n_decisions == hops


def test_batches_hold_every_task_once_and_like_lengths(root: Path) -> None:
    tasks = split_tasks("r2r", "train", root)
    batches = batches_by_length(tasks, 4, np.random.default_rng(0), pooled=100)
    ids = [t.task_id for batch in batches for t in batch]
    assert sorted(ids) == sorted(t.task_id for t in tasks)
    ranges = sorted((min(s), max(s)) for s in ([len(t.instruction) for t in b] for b in batches))
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


def test_shuffled_instructions_come_from_other_paths(root: Path) -> None:
    tasks = [replace(t, instruction=t.task_id) for t in split_tasks("r2r", "train", root)]
    path_of = {t.instruction: t.info["path_id"] for t in tasks}
    shuffled = with_shuffled_instructions(tasks, seed=3)
    assert [(t.task_id, t.goal) for t in shuffled] == [(t.task_id, t.goal) for t in tasks]
    assert all(path_of[t.instruction] != t.info["path_id"] for t in shuffled)
    assert {t.instruction for t in shuffled} == set(path_of)  # none is lost, none given twice
    with pytest.raises(ValueError, match="at least two paths"):
        with_shuffled_instructions(tasks[:3])


def test_shuffled_captions_change_places_within_the_scan(root: Path, tmp_path: Path) -> None:
    data = R2RData(root)
    scan = "synthetic00"
    before, things = data.captions(scan), data.objects(scan)
    for viewpoint, captions in before.items():
        captions[0] = viewpoint  # tells whose captions these are
    moved = R2RData(write_shuffled_captions(data, [scan], tmp_path / "new", seed=1))
    giver = {viewpoint: captions[0] for viewpoint, captions in moved.captions(scan).items()}
    assert sorted(giver.values()) == sorted(before)
    assert all(viewpoint != other for viewpoint, other in giver.items())
    assert moved.captions(scan) == {v: before[other] for v, other in giver.items()}
    assert moved.objects(scan) == {v: things[other] for v, other in giver.items()}
    assert (moved.graph(scan).adjacent == data.graph(scan).adjacent).all()
    with pytest.raises(FileExistsError):
        write_shuffled_captions(data, [scan], tmp_path / "new")


def test_the_shipped_agent_reads_captions_and_instructions(
    data_path: Callable[[str], Path],
) -> None:
    """On 120 published instructions in scans that it never saw it does better with its words."""
    for needed in ("r2r/R2R_train.json", "r2r/text/objects_list", "r2r/connectivity"):
        root = data_path(needed).parents[len(Path(needed).parts) - 1]
    rows = vln(
        **{"split": "held_out", "family": "r2r", "agents": ["vln-text"], "data": root},
        **{"controls": ["shuffled-captions", "shuffled-instructions"], "predictions": []},
        **{"allow_missing": False, "conventions": ["r2r"], "episodes": 120, "slots": 64},
        **{"seed": 0, "success_radius_m": 3.0, "as_json": True},
    )
    own, captions, instructions = (row["success"] for row in rows)
    assert own > 0.3
    assert own - 0.05 > captions
    assert own - 0.05 > instructions
