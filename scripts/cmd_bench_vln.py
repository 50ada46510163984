"""`pilotage bench vln`: floors, trained and prompted agents with their controls, and prediction
files on a split of R2R, R4R or REVERIE."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.agents.vln.floors import RandomWalkAgent, ShortestAgent, StopAgent
from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.predictions import match_predictions, read_answers, read_predictions
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.envs.r2r.walks import walk_of, walk_of_record
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Agent, Task
from pilotage.episodes.vln_conventions import VLN_CONVENTIONS, vln_convention
from pilotage.episodes.vln_summary import convention_matrix
from pilotage.scripts.opening import shipped_agents
from pilotage.scripts.vln_controls import (
    CAPTIONS,
    CONTROLS,
    INSTRUCTIONS,
    NO_CAPTIONS,
    with_shuffled_instructions,
    write_shuffled_captions,
)
from pilotage.scripts.vln_explore import SCHEME as EXPLORING
from pilotage.scripts.vln_explore import open_exploring
from pilotage.scripts.vln_mobility import SCHEME as MOBILITY
from pilotage.scripts.vln_mobility import open_mobility
from pilotage.scripts.vln_prompted import (
    PromptedAgents,
    is_prompted,
    prompting,
)
from pilotage.scripts.vln_tables import (
    Entry,
    columns_of,
    jsonable,
    row_of,
    show,
    show_differences,
    write_pages,
)
from pilotage.scripts.vln_tasks import drawn_tasks, scheme_of

PLAYERS: dict[str, type[Agent]] = {
    "stop": StopAgent,
    "shortest": ShortestAgent,
    "random": RandomWalkAgent,
}
AGENTS = (*PLAYERS, "reference")  # `reference` walks the annotated path, which is not played


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
    decisions: Path | None = None,
) -> list[dict[str, Any]]:
    """See `pilotage bench vln --help`. One row an entry and convention; returns the rows."""
    names = list(VLN_CONVENTIONS) if "all" in conventions else list(conventions)
    for name in names:
        vln_convention(name)
    for control in controls:
        if control not in CONTROLS:
            raise unknown("control", control, CONTROLS)
    folders = {a: _folder(a) for a in agents if a not in AGENTS and not is_prompted(a)}
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    tasks = drawn_tasks(family, split, episodes, seed, source)
    play = _Play(tasks, source, slots, seed, success_radius_m)
    entries: list[Entry] = []
    prompted = PromptedAgents(source, tasks, seed)
    for agent in agents:
        if agent in folders:
            entries += _trained(folders[agent], controls, play)
        elif scheme_of(agent) == MOBILITY:
            walker = open_mobility(agent, source, tasks, seed)
            entries += _with_controls(walker, agent, controls, play, reads=False)
        elif scheme_of(agent) == EXPLORING:
            explorer = open_exploring(agent, source, tasks)
            entries += _with_controls(explorer, agent, controls, play)
        elif is_prompted(agent):
            opened = prompted.open(agent)
            expert = "expert_action" in opened.observation_needs
            entries += _with_controls(opened, agent, controls, play, expert_actions=expert)
        else:
            entries.append(_played(agent, play))
    entries += [_predicted(path, tasks, source, allow_missing) for path in predictions]
    if decisions is not None:
        write_pages(entries, decisions)
    scenes = [task.scene["scan"] for task in tasks]
    metrics = columns_of(family)
    rows = []
    for entry in entries:
        matrix = convention_matrix(
            entry.walks,
            conventions=names,
            clusters=scenes,
            names=metrics,
            success_radius_m=success_radius_m,
        )
        rows += [row_of(entry, summary) for summary in matrix]
    if as_json:
        print(json.dumps([jsonable(row) for row in rows], indent=1, allow_nan=False))
    else:
        title = f"{family} {split}: {len(tasks)} instructions, {len(set(scenes))} scenes"
        seen = "success where the object is seen"
        within = f"success within {success_radius_m} m"
        show(rows, entries, f"{title}, {seen if family == 'reverie' else within}")
        show_differences(entries, scenes, names[0], success_radius_m)
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
        found = prompting(records)
        kept = records if found else ()
        return Entry(name, walks, ends, "", control_of, found, kept)


def _played(name: str, play: _Play) -> Entry:
    if name == "reference":
        walks = [
            walk_of(task, task.info["path"], play.data, answer=task.goal.get("object"))
            for task in play.tasks
        ]
        return Entry(name, walks, {"agent_stopped": len(walks)}, "the annotated paths, not played")
    mode = "view" if name == "random" else "panoramic"
    expert = name == "shortest"
    return play(PLAYERS[name](), name, action_space=mode, expert_actions=expert, text=False)


def _trained(folder: Path, controls: Sequence[str], play: _Play) -> list[Entry]:
    """A trained agent and its controls."""
    from pilotage.agents.vln.checkpoint import load_navigator, load_text_agent

    reads = bool(load_navigator(folder)[1]["settings"]["reads"])
    return _with_controls(load_text_agent(folder), folder.name, controls, play, reads=reads)


def _with_controls(
    agent: Agent,
    short: str,
    controls: Sequence[str],
    play: _Play,
    *,
    reads: bool = True,
    expert_actions: bool = False,
) -> list[Entry]:
    """An agent and its controls; one that reads no captions is played without them, without
    controls that concern them."""
    world: dict[str, Any] = {"expert_actions": expert_actions}
    entries = [play(agent, short, text=reads, **world)]
    for control in controls:
        name = f"{short} {control}"
        if control == INSTRUCTIONS:
            tasks = with_shuffled_instructions(play.tasks, seed=play.seed)
            entries.append(play(agent, name, tasks=tasks, text=reads, control_of=short, **world))
        elif control == NO_CAPTIONS and reads:
            entries.append(play(agent, name, text=False, control_of=short, **world))
        elif control == CAPTIONS and reads:
            scans = {task.scene["scan"] for task in play.tasks}
            with tempfile.TemporaryDirectory() as temporary:
                root = Path(temporary) / "shuffled"
                write_shuffled_captions(play.data, scans, root, seed=play.seed)
                entries.append(play(agent, name, root=root, control_of=short, **world))
    return entries


def _predicted(path: Path, tasks: Sequence[Task], data: R2RData, allow_missing: bool) -> Entry:
    matched = match_predictions(
        read_predictions(path),
        tasks,
        data,
        allow_missing=allow_missing,
        answers=read_answers(path),
    )
    n_walks = len(tasks) - matched.n_missing
    notes = f"{matched.n_missing} missing; {matched.n_jumps} moves without an edge"
    if matched.n_jumps:
        notes += f", in {matched.n_with_jumps} trajectories"
    return Entry(path.stem, matched.walks, {"agent_stopped": n_walks}, notes)
