"""POGEMA benchmark configurations: maps by name and explicit scenarios, read from YAML.

Skrynnik et al. 2024 (arXiv:2407.14931). A map is a block of text: `.` can be walked on and may be
a start or a goal; `#` is a wall; `@` may be a start only, `$` a goal only, `!` neither (all three
can be walked on). A scenario names its map and has `agents_xy` and `targets_xy` as (row, col); a
lifelong one has a list of targets for every agent. Smaller teams are a scenario's first agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance

FREE_SYMBOLS = ".@$!"


def read_pogema(
    scenarios_path: str | Path,
    *,
    n_agents: int | None = None,
    maps_path: str | Path | None = None,
    first: int | None = None,
) -> list[MapfInstance]:
    """The instances of a `*-mapf.yaml` or `*-lmapf.yaml` file, in its order.

    Args:
        scenarios_path: the file with a table `scenarios`.
        n_agents: take the first so many agents of each scenario (default: all).
        maps_path: the file with the maps (default: `maps.yaml` beside it).
        first: only the first so many scenarios.

    Raises:
        ValueError: a broken file or map, a scenario with fewer agents than asked for, and what
            `MapfInstance` refuses.
        KeyError: a scenario on a map that is not in `maps_path`.
    """
    scenarios_path = Path(scenarios_path)
    maps_path = Path(maps_path) if maps_path else scenarios_path.parent / "maps.yaml"
    maps = read_pogema_maps(maps_path)
    scenarios = _yaml(scenarios_path).get("scenarios")
    if not isinstance(scenarios, Mapping) or not scenarios:
        raise ValueError(
            f"{scenarios_path} has no table 'scenarios'; give one of the files with explicit "
            "scenarios (*-mapf.yaml, *-lmapf.yaml)"
        )
    chosen = list(scenarios.items())[:first]
    return [_instance(scenarios_path, name, body, maps, n_agents) for name, body in chosen]


@dataclass(frozen=True, eq=False)
class PogemaRoles:
    """Where agents of a POGEMA map may stand, start, and have goals: bool [H, W] each."""

    free: np.ndarray
    may_start: np.ndarray
    may_be_goal: np.ndarray


def read_pogema_roles(path: str | Path) -> dict[str, PogemaRoles]:
    """The maps of a `maps.yaml` by name, with what their symbols allow to agents placed at random.

    The explicit scenarios of the same folder do not keep to this: on the warehouse they start
    agents on `!` and `$`, and have goals on `!` and `@`.
    """
    path = Path(path)
    roles = {}
    for name, text in _yaml(path).items():
        free = parse_pogema_map(text, f"{path}: {name}")
        symbols = np.array([list(row) for row in text.split()])
        starts, goals = (np.isin(symbols, [".", own]) for own in ("@", "$"))
        roles[str(name)] = PogemaRoles(free, starts, goals)
    return roles


def read_pogema_maps(path: str | Path) -> dict[str, np.ndarray]:
    """The maps of a `maps.yaml` by name, bool [H, W], True = may stand."""
    path = Path(path)
    maps = _yaml(path)
    return {str(name): parse_pogema_map(text, f"{path}: {name}") for name, text in maps.items()}


def parse_pogema_map(text: Any, name: str) -> np.ndarray:
    """A map from its text, bool [H, W]."""
    rows = text.split() if isinstance(text, str) else []
    if not rows:
        raise ValueError(f"{name}: the map is empty; give rows of '.' and '#'")
    for r, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"{name}: row {r} has {len(row)} symbols, row 0 has {len(rows[0])}; all must be as "
                "long"
            )
        strange = [c for c in row if c not in "#" + FREE_SYMBOLS]
        if strange:
            raise ValueError(
                f"{name}: row {r}, column {row.index(strange[0])} is {strange[0]!r}; known are "
                f"'#' (wall) and {FREE_SYMBOLS!r} (free); give starts and goals as lists"
            )
    return np.array([[c in FREE_SYMBOLS for c in row] for row in rows], bool)


def _instance(
    path: Path, name: str, body: Any, maps: Mapping[str, np.ndarray], n_agents: int | None
) -> MapfInstance:
    where = f"{path}: {name}"
    missing = [k for k in ("map_name", "agents_xy", "targets_xy") if k not in body]
    if missing:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    map_name = body["map_name"]
    if map_name not in maps:
        known = ", ".join(list(maps)[:5])
        raise KeyError(
            f"{where} is on the map {map_name!r}, which is not known; there are: {known}"
        )
    starts, targets = body["agents_xy"], body["targets_xy"]
    if len(starts) != len(targets):
        raise ValueError(f"{where}: {len(starts)} agents_xy but {len(targets)} targets_xy")
    n = len(starts) if n_agents is None else n_agents
    if not 1 <= n <= len(starts):
        raise ValueError(f"{where} has {len(starts)} agents; n_agents={n_agents} cannot be taken")
    label = f"{map_name}/{name}/{n}"
    free, starts, targets = maps[map_name], starts[:n], targets[:n]
    if _is_list_of_goals(targets[0]):
        return MapfInstance.lifelong(free, starts, targets, name=label)
    return MapfInstance.one_shot(free, starts, targets, name=label)


def _is_list_of_goals(target: Sequence[Any]) -> bool:
    return bool(target) and isinstance(target[0], (list, tuple))


def _yaml(path: Path) -> dict[str, Any]:
    """The table in a YAML file, read by the safe loader (the fast one where it is built)."""
    try:
        yaml = import_module("yaml")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path} needs PyYAML; install it with: pip install pyyaml"
        ) from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open() as file:
        try:
            table = yaml.load(file, Loader=loader)
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} holds {type(table).__name__}, expected a table of names")
    return table
