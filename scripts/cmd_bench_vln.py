"""`pilotage bench vln`: floors, trained agents with their controls, and prediction files on a split
of R2R, R4R or REVERIE."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from pilotage.agents.vln.floors import RandomWalkAgent, ShortestAgent, StopAgent
from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.predictions import match_predictions, read_predictions
from pilotage.envs.r2r.tasks import make_tasks, split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.envs.r2r.walks import walk_of, walk_of_record
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import paired_bootstrap
from pilotage.episodes.tables import to_rich
from pilotage.episodes.types import BASELINE, Agent, Task
from pilotage.episodes.vln_conventions import VLN_CONVENTIONS, vln_convention
from pilotage.episodes.vln_metrics import Walk, vln_metrics
from pilotage.episodes.vln_summary import VlnSummary, convention_matrix
from pilotage.scripts.opening import shipped_agents
from pilotage.scripts.vln_controls import (
    CAPTIONS,
    CONTROLS,
    INSTRUCTIONS,
    NO_CAPTIONS,
    with_shuffled_instructions,
    write_shuffled_captions,
)
from pilotage.scripts.vln_training import HELD_OUT, is_held_out

COLUMNS = {
    "success": "SR",
    "spl": "SPL",
    "navigation_error": "NE (m)",
    "oracle_success": "OSR",
    "path_length": "TL (m)",
    "ndtw": "nDTW",
    "sdtw": "sDTW",
    "cls": "CLS",
}
PLAYERS: dict[str, type[Agent]] = {
    "stop": StopAgent,
    "shortest": ShortestAgent,
    "random": RandomWalkAgent,
}
AGENTS = (*PLAYERS, "reference")  # `reference` walks the annotated path, which is not played
WITH_INTERVAL = ("success", "spl", "navigation_error", "oracle_success")


@dataclass(frozen=True)
class Entry:
    """What one agent or file did on the tasks: a walk per task (None: no attempt), and the ends."""

    name: str
    walks: Sequence[Walk | None]
    ends: dict[str, int]
    notes: str = ""
    control_of: str = ""  # the agent that this is a control of


def vln(
    *,
    split: str,
    family: str,
    agents: Sequence[str],
    controls: Sequence[str],
    predictions: Sequence[Path],
    allow_missing: bool,
    conventions: Sequence[str],
    episodes: int,
    data: Path | None,
    slots: int,
    seed: int,
    success_radius_m: float,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench vln --help`. One row an entry and convention; returns the rows."""
    names = list(VLN_CONVENTIONS) if "all" in conventions else list(conventions)
    for name in names:
        vln_convention(name)
    for control in controls:
        if control not in CONTROLS:
            raise unknown("control", control, CONTROLS)
    folders = {a: _folder(a) for a in agents if a not in AGENTS}
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    tasks = _tasks(family, split, episodes, seed, source)
    play = _Play(tasks, source, slots, seed, success_radius_m)
    entries: list[Entry] = []
    for agent in agents:
        if agent in folders:
            entries += _trained(agent, folders[agent], controls, play)
        else:
            entries.append(_played(agent, play))
    entries += [_predicted(path, tasks, source, allow_missing) for path in predictions]
    scenes = [task.scene["scan"] for task in tasks]
    rows = []
    for entry in entries:
        matrix = convention_matrix(
            entry.walks,
            conventions=names,
            clusters=scenes,
            names=tuple(COLUMNS),
            success_radius_m=success_radius_m,
        )
        rows += [_row(entry, summary) for summary in matrix]
    if as_json:
        print(json.dumps([_jsonable(row) for row in rows], indent=1, allow_nan=False))
    else:
        title = f"{family} {split}: {len(tasks)} instructions, {len(set(scenes))} scenes"
        seen = "success where the object is seen"
        within = f"success within {success_radius_m} m"
        _show(rows, entries, f"{title}, {seen if family == 'reverie' else within}")
        _show_differences(entries, scenes, names[0], success_radius_m)
    return rows


def _folder(agent: str) -> Path:
    """The folder of a trained agent: a path, or the name of a shipped one."""
    shipped = shipped_agents()
    path = shipped.get(agent, Path(agent))
    if not (path / "agent.json").is_file():
        known = (*AGENTS, *(name for name in shipped if name.startswith("vln")))
        more = " or a folder that train_vln made; a model's trajectories: --predictions FILE"
        raise unknown("agent", agent, known, more)
    return path


def _tasks(family: str, split: str, episodes: int, seed: int, source: R2RData) -> list[Task]:
    if split == HELD_OUT:
        held = split_tasks(family, "train", source.root)
        held = [task for task in held if is_held_out(task.scene["scan"])]
        if not episodes:
            return held
        order = np.random.default_rng(seed).permutation(len(held))
        return [held[i] for i in order[:episodes].tolist()]
    if episodes:
        return make_tasks(split, episodes, seed=seed, families=[family], data=source.root)
    return split_tasks(family, split, source.root)


@dataclass(frozen=True)
class _Play:
    """How episodes are played."""

    tasks: Sequence[Task]
    data: R2RData
    slots: int
    seed: int
    radius_m: float

    def __call__(
        self,
        agent: Agent,
        name: str,
        *,
        tasks: Sequence[Task] | None = None,
        root: Path | None = None,
        control_of: str = "",
        **world: Any,
    ) -> Entry:
        """All tasks (or the same ones with other instructions), in the world of a data folder."""
        envs = R2RVectorEnv(
            self.slots, success_radius_m=self.radius_m, data=root or self.data.root, **world
        )
        try:
            records = run_episodes(
                envs,
                agent,
                self.tasks if tasks is None else tasks,
                [BASELINE],
                seed=self.seed,
                frames="none",
                keep_frames=False,
            )
        finally:
            envs.close()
        ends = dict(Counter(record.end.value for record in records))
        walks = [walk_of_record(record, self.data) for record in records]
        return Entry(name, walks, ends, control_of=control_of)


def _played(name: str, play: _Play) -> Entry:
    if name == "reference":
        walks = [walk_of(task, task.info["path"], play.data) for task in play.tasks]
        return Entry(name, walks, {"agent_stopped": len(walks)}, "the annotated paths, not played")
    mode = "view" if name == "random" else "panoramic"
    expert = name == "shortest"
    return play(PLAYERS[name](), name, action_space=mode, expert_actions=expert, text=False)


def _trained(name: str, folder: Path, controls: Sequence[str], play: _Play) -> list[Entry]:
    """A trained agent and its controls; a blind one is played without captions, without controls
    that concern them."""
    from pilotage.agents.vln.checkpoint import load_navigator, load_text_agent

    reads = bool(load_navigator(folder)[1]["settings"]["reads"])
    short, agent = folder.name, load_text_agent(folder)
    entries = [play(agent, short, text=reads)]
    for control in controls:
        name = f"{short} {control}"
        if control == INSTRUCTIONS:
            tasks = with_shuffled_instructions(play.tasks, seed=play.seed)
            entries.append(play(agent, name, tasks=tasks, text=reads, control_of=short))
        elif control == NO_CAPTIONS and reads:
            entries.append(play(agent, name, text=False, control_of=short))
        elif control == CAPTIONS and reads:
            scans = {task.scene["scan"] for task in play.tasks}
            with tempfile.TemporaryDirectory() as temporary:
                root = Path(temporary) / "shuffled"
                write_shuffled_captions(play.data, scans, root, seed=play.seed)
                entries.append(play(agent, name, root=root, control_of=short))
    return entries


def _predicted(path: Path, tasks: Sequence[Task], data: R2RData, allow_missing: bool) -> Entry:
    matched = match_predictions(read_predictions(path), tasks, data, allow_missing=allow_missing)
    n_walks = len(tasks) - matched.n_missing
    notes = f"{matched.n_missing} missing; {matched.n_jumps} moves without an edge"
    if matched.n_jumps:
        notes += f", in {matched.n_with_jumps} trajectories"
    return Entry(path.stem, matched.walks, {"agent_stopped": n_walks}, notes)


def _row(entry: Entry, summary: VlnSummary) -> dict[str, Any]:
    row = {"agent": entry.name, **summary.cells()}
    for name in WITH_INTERVAL:
        interval = summary.metrics[name].interval
        row[f"{name}_low"], row[f"{name}_high"] = interval.low, interval.high
    return {**row, "ends": entry.ends, "notes": entry.notes}


def _show(rows: Sequence[dict[str, Any]], entries: Sequence[Entry], title: str) -> None:
    from rich.console import Console

    console = Console(width=150)
    console.print(to_rich([_brief(row) for row in rows], title=title))
    console.print("95 % intervals draw whole scenes. Ends:")
    for entry in entries:
        ends = ", ".join(f"{reason} {n}" for reason, n in sorted(entry.ends.items()))
        console.print(f"  {entry.name}: {ends}" + (f" ({entry.notes})" if entry.notes else ""))


def _show_differences(
    entries: Sequence[Entry], scenes: Sequence[str], convention: str, radius_m: float
) -> None:
    """What each agent has before its controls, episode by episode, in points of SR."""
    of = {entry.name: entry for entry in entries}
    for control in entries:
        if not control.control_of:
            continue
        pairs = [
            (100 * (_succeeded(a, convention, radius_m) - _succeeded(b, convention, radius_m)), s)
            for a, b, s in zip(of[control.control_of].walks, control.walks, scenes)
            if a is not None and b is not None
        ]
        gaps, clusters = np.array([gap for gap, _ in pairs]), [s for _, s in pairs]
        found = paired_bootstrap(gaps, clusters=clusters)
        print(
            f"  {control.control_of} - {control.name.removeprefix(control.control_of).strip()}: "
            f"SR {found.estimate:+.1f} points ({found.low:+.1f} to {found.high:+.1f})"
        )


def _succeeded(walk: Walk, convention: str, radius_m: float) -> float:
    return float(vln_metrics(walk, convention, success_radius_m=radius_m)["success"])


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: those become words."""
    return {k: str(v) if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}


def _brief(row: dict[str, Any]) -> dict[str, str]:
    counts = ("n_total", "n_scored", "n_nan", "n_inf")
    brief = {"agent": "\n".join(wrap(row["agent"], 16)), "convention": row["convention"]}
    brief |= {name: str(row[name]) for name in counts}
    for name, heading in COLUMNS.items():
        brief[heading] = f"{row[name]:.4f}"
        if f"{name}_low" in row:
            brief[heading] += f"\n{row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f}"
    return brief
