"""What identifies a run: the manifest, and how two manifests are compared."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

from .types import Agent, Condition, Json, Task, digest
from .work import Frames

FORMAT = "pilotage-run"
VERSION = 1
PACKAGES = ("pilotage", "numpy", "gymnasium", "torch", "transformers", "pybullet", "numba")
DESCRIPTIVE = frozenset({"created", "argv", "note"})  # may differ between runs that belong together


def build_manifest(
    agent: Agent,
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    *,
    env: Json,
    seed: int = 0,
    repeats: int = 1,
    frames: Frames = "all",
    metric_convention: str = "habitat",
    argv: Sequence[str] | None = None,
    note: str = "",
) -> dict[str, Json]:
    """A JSON manifest of what is about to be run.

    `env` identifies the world and its settings (name, image size, ...), but not the number of
    slots: records do not depend on it. `created`, `argv` and `note` are for the reader; all other
    fields must agree for a run to be resumed.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": list(sys.argv if argv is None else argv),
        "note": note,
        "python": platform.python_version(),
        "packages": _versions(),
        "agent": {"agent_id": agent.agent_id, **agent.manifest()},
        "env": env,
        "metric_convention": metric_convention,
    }
    return manifest | plan_fields(tasks, conditions, seed=seed, repeats=repeats, frames=frames)


def plan_fields(
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    *,
    seed: int,
    repeats: int,
    frames: Frames,
) -> dict[str, Json]:
    """The part of a manifest that follows from the work."""
    return {
        "tasks": {"n": len(tasks), "digest": digest([task.to_json() for task in tasks])},
        "conditions": [condition.to_json() for condition in conditions],
        "seed": seed,
        "repeats": repeats,
        "frames": frames,
    }


def differing_fields(
    ours: Mapping[str, Json], theirs: Mapping[str, Json], *, ignore: Iterable[str] = ()
) -> list[str]:
    """One line for each place where two manifests disagree: `tasks.digest: "a" became "b"`."""
    skipped = DESCRIPTIVE | set(ignore)
    lines: list[str] = []
    for name in sorted((ours.keys() | theirs.keys()) - skipped):
        _compare(name, ours.get(name), theirs.get(name), lines)
    return lines


def _compare(name: str, ours: Json, theirs: Json, lines: list[str]) -> None:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted(ours.keys() | theirs.keys()):
            _compare(f"{name}.{key}", ours.get(key), theirs.get(key), lines)
    elif digest(ours) != digest(theirs):
        lines.append(f"{name}: {ours!r} became {theirs!r}")


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions
