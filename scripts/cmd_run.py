"""`pilotage run`: episodes of one agent under several conditions, on disk, compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import parse_condition
from pilotage.episodes.loop import Progress, run_episodes
from pilotage.episodes.manifests import build_manifest
from pilotage.episodes.runs import RunFolder
from pilotage.episodes.types import Condition, EpisodeRecord, Task
from pilotage.episodes.work import Frames
from pilotage.scripts.opening import load_agent, make_tasks, open_world, progress_bar


def play(
    *,
    env: str,
    agent: str,
    tasks: Sequence[Task],
    out: Path,
    condition_names: Sequence[str] = (),
    conditions: Sequence[Condition] = (),
    n_slots: int = 16,
    seed: int = 0,
    frames: Frames = "all",
    device: str = "cpu",
    narrate: bool = False,
    read_tokens: bool = False,
    monitor: bool = False,
    record_sites: Sequence[str] = (),
    quiet: bool = False,
    world_options: dict[str, Any] | None = None,
) -> tuple[list[EpisodeRecord], RunFolder]:
    """Play or resume a run in `out`; the records come without frames (those are on disk).

    condition_names: as on the command line. conditions: made by the caller, behind those.
    record_sites: states at these sites go into the records (`VLAAgent.record_sites`).
    """
    envs = open_world(env, n_slots, for_agent=agent, **(world_options or {}))
    try:
        policy = load_agent(agent, env, envs, device=device, narrate=narrate)
        if read_tokens:
            _ask_to(policy, "read_tokens", "--read-tokens")
        if monitor:
            _ask_to(policy, "monitor", "--monitor")
        if record_sites:
            _ask_to(policy, "record_sites", "record_sites", tuple(record_sites))
        folder = getattr(policy, "folder", None)
        conditions = [*(parse_condition(name, folder) for name in condition_names), *conditions]
        _check_distinct(conditions)
        manifest = build_manifest(
            policy,
            tasks,
            conditions,
            env={"name": env, **(world_options or {})},
            seed=seed,
            frames=frames,
        )
        bar, move = progress_bar(len(tasks) * len(conditions), "episodes", quiet=quiet)

        def tell(progress: Progress) -> None:
            move(progress.n_skipped + progress.n_played)

        with RunFolder.create_or_resume(out, manifest) as run, bar:
            records = run_episodes(
                envs,
                policy,
                tasks,
                conditions,
                run=run,
                seed=seed,
                frames=frames,
                progress=tell,
                keep_frames=False,
            )
        return records, run
    finally:
        envs.close()


def _ask_to(policy: Any, what: str, option: str, value: Any = True) -> None:
    """Have an agent record what its layers do; ValueError for one that has none to read."""
    if not hasattr(policy, what):
        raise ValueError(
            f"{policy.agent_id!r} has no layers to read; leave {option} out, or choose a VLA"
        )
    setattr(policy, what, value)


def _frames(text: str) -> Frames:
    """ "all", "none" or a number; anything else is refused by the loop."""
    return int(text) if text.isdigit() else text  # type: ignore[return-value]


def _check_distinct(conditions: Sequence[Condition]) -> None:
    names = [c.name for c in conditions]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"conditions are given twice: {twice}")


def run(
    *,
    env: str,
    agent: str,
    condition: Sequence[str],
    episodes: int,
    split: str,
    family: Sequence[str],
    manners: str,
    out: Path,
    slots: int,
    seed: int,
    frames: str,
    device: str,
    narrate: bool,
    read_tokens: bool,
    monitor: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """See `pilotage run --help`."""
    from pilotage.scripts.tabulate import show

    options: dict[str, Any] = {"manners": manners} if env == "tabletop" else {}
    tasks = make_tasks(env, split, episodes, seed=seed, families=family or None, **options)
    records, _ = play(
        env=env,
        agent=agent,
        tasks=tasks,
        condition_names=condition or ["baseline"],
        out=out,
        n_slots=slots,
        seed=seed,
        frames=_frames(frames),
        device=device,
        narrate=narrate,
        read_tokens=read_tokens,
        monitor=monitor,
        quiet=quiet,
    )
    rows = show(records, out=out, quiet=quiet and not as_json, as_json=as_json)
    if as_json:
        json.dump(rows, sys.stdout, indent=1)
        print()
