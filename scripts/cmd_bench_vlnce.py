"""`pilotage bench vlnce`: floors and recorded actions on R2R-CE or RxR-CE, and how true the world
without a mesh is."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.scripted import ExpertAgent
from pilotage.agents.vln.continuous import HandcraftedAgent, RandomContinuousAgent, ReplayAgent
from pilotage.agents.vln.floors import StopAgent
from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.continuous import FORWARD
from pilotage.envs.r2rce.dataset import R2RCEData, shared_data
from pilotage.envs.r2rce.rxr import TURN_DEG
from pilotage.envs.r2rce.tasks import make_tasks, split_tasks
from pilotage.envs.r2rce.vector_env import R2RCEVectorEnv
from pilotage.envs.r2rce.walks import walk_of_record
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Agent, EpisodeRecord, Task
from pilotage.episodes.vln_conventions import vln_convention
from pilotage.episodes.vln_summary import convention_matrix
from pilotage.scripts.vln_tables import Entry, columns_of, jsonable, row_of, show

AGENTS = ("stop", "random", "handcrafted", "expert", "replay")
REPLAY = "replay"


def vlnce(
    *,
    split: str,
    family: str,
    agents: Sequence[str],
    convention: str,
    episodes: int,
    data: Path | None,
    slots: int,
    seed: int,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench vlnce --help`. A row an agent; returns the rows.

    Raises KeyError for an unknown agent, family or convention, ValueError where there are no
    traces to replay, and what the readers raise.
    """
    vln_convention(convention)
    for name in agents:
        if name not in AGENTS:
            raise unknown("agent", name, AGENTS)
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    tasks = (
        make_tasks(split, episodes, seed=seed, families=[family], data=source.root)
        if episodes
        else split_tasks(family, split, source.root)
    )
    traced = family == "r2rce" and source.has_traces(split)
    if REPLAY in agents and not traced:
        raise ValueError(f"there are no expert traces of {family} {split}; leave out 'replay'")
    entries = [_played(name, family, tasks, source, split, slots, seed, traced) for name in agents]
    scenes = [task.scene["scan"] for task in tasks]
    rows = []
    for entry in entries:
        (summary,) = convention_matrix(
            entry.walks, conventions=[convention], clusters=scenes, names=columns_of(family)
        )
        rows.append(row_of(entry, summary))
    if as_json:
        print(json.dumps([jsonable(row) for row in rows], indent=1, allow_nan=False))
        return rows
    reference = "the expert's trace" if traced else "the path"
    title = f"{family} {split}: {len(tasks)} instructions, {len(set(scenes))} scenes"
    show(rows, entries, f"{title}; nDTW to {reference}; known ground, no mesh")
    for entry in entries:
        if entry.name == "expert":
            print(geodesic_line(entry.records))
        if entry.name == REPLAY:
            print(replay_line(entry.records, source, split))
    return rows


def _played(
    name: str,
    family: str,
    tasks: Sequence[Task],
    data: R2RCEData,
    split: str,
    slots: int,
    seed: int,
    traced: bool,
) -> Entry:
    spoken = family == "rxrce"
    envs = R2RCEVectorEnv(
        slots,
        text=False,
        expert_actions=name == "expert",
        turn_deg=TURN_DEG if spoken else 15,
        sliding=not spoken,
        data=data.root,
    )
    traces = data.traces(split) if traced else {}
    makers: dict[str, Callable[[], Agent]] = {
        "stop": StopAgent,
        "random": RandomContinuousAgent,
        "handcrafted": lambda: HandcraftedAgent(TURN_DEG if spoken else 15),
        "expert": ExpertAgent,
        REPLAY: lambda: ReplayAgent(
            {t.task_id: traces[t.info["episode_id"]].actions.tolist() for t in tasks}
        ),
    }
    try:
        began = time.perf_counter()
        records = run_episodes(envs, makers[name](), tasks, [BASELINE], seed=seed, frames="none")
        took = time.perf_counter() - began
    finally:
        envs.close()
    walks = [walk_of_record(r, traces.get(r.task.info["episode_id"])) for r in records]
    ends = dict(Counter(record.end.value for record in records))
    steps = sum(record.n_steps for record in records)
    moves = np.concatenate([r.trace["collision"][1:, 0][r.actions == FORWARD] for r in records])
    blocked = f"{100 * moves.mean():.1f} % of moves collide" if len(moves) else "no move"
    return Entry(name, walks, ends, f"{blocked}; {steps / took:.0f} steps/s", records=records)


def geodesic_line(records: Sequence[EpisodeRecord]) -> str:
    """How long the known way from start to goal is beside the mesh's, which the files hold."""
    ratio = np.array(
        [r.trace["distance_to_goal"][0, 0] / r.task.shortest_path_length for r in records]
    )
    low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    return (
        f"known way / geodesic distance of the file: median {middle:.3f}, 90 % between {low:.3f} "
        f"and {high:.3f} (n {len(ratio)})"
    )


def replay_line(records: Sequence[EpisodeRecord], data: R2RCEData, split: str) -> str:
    """How near replayed actions come to the places that the expert was at (horizontally)."""
    traces, gaps = data.traces(split), []
    for record in records:
        moved = np.concatenate([[True], record.actions == FORWARD])
        places = traces[record.task.info["episode_id"]].locations
        mine = record.trace["position"][moved][: len(places)]
        gaps.append(np.linalg.norm(mine[:, :2] - places[: len(mine), :2], axis=1))
    every, worst = np.concatenate(gaps), np.array([gap.max() for gap in gaps])
    return (
        f"replayed places: {100 * (every < 0.01).mean():.1f} % within 1 cm of the recorded ones, "
        f"{100 * (every < 0.25).mean():.2f} % within 0.25 m; episodes wholly within 0.25 m: "
        f"{100 * (worst < 0.25).mean():.1f} %"
    )
