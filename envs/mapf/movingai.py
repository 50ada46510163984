"""MovingAI benchmark files: `.map` grids and `.scen` scenarios.

Format and benchmark: Stern et al. 2019 (arXiv:1906.08291), https://movingai.com/benchmarks/.
Passable are `.`, `G` and `S`; `@`, `O`, `T` and `W` are blocked. In a scenario x is the column and
y the row; the agents of an instance are the first lines. The length in the last column is octile
(diagonal moves allowed), so it bounds nothing here and is not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance

PASSABLE = ".GS"
BLOCKED = "@OTW"


def read_map(path: str | Path) -> np.ndarray:
    """The map in a `.map` file, bool [H, W], True = may stand.

    Raises:
        ValueError: a header that is missing or not true, ragged rows, an unknown symbol, no rows.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    lines = path.read_text().splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    header, body = _header(path, lines)
    height, width = header["height"], header["width"]
    if len(body) != height:
        raise ValueError(f"{path}: the header says height {height} but {len(body)} rows follow")
    for r, row in enumerate(body):
        if len(row) != width:
            raise ValueError(
                f"{path}: row {r} has {len(row)} symbols but the header says width {width}; all "
                "rows must be as long"
            )
        strange = [c for c in row if c not in PASSABLE + BLOCKED]
        if strange:
            raise ValueError(
                f"{path}: row {r}, column {row.index(strange[0])} is {strange[0]!r}; known are "
                f"{PASSABLE!r} (free) and {BLOCKED!r} (blocked)"
            )
    return np.array([[c in PASSABLE for c in row] for row in body], bool)


def _header(path: Path, lines: list[str]) -> tuple[dict[str, int], list[str]]:
    """The sizes, and the rows that follow them."""
    sizes: dict[str, int] = {}
    for k, line in enumerate(lines[:8]):
        word, _, rest = line.strip().partition(" ")
        if word == "map":
            missing = {"height", "width"} - sizes.keys()
            if missing:
                raise ValueError(f"{path}: no {' and no '.join(sorted(missing))} before 'map'")
            return sizes, lines[k + 1 :]
        if word in ("height", "width"):
            if not rest.strip().isdigit() or int(rest) < 1:
                raise ValueError(f"{path}: line {k + 1} is {line!r}, expected '{word} <positive>'")
            sizes[word] = int(rest)
    raise ValueError(
        f"{path}: no line 'map' in the first eight; a MovingAI map begins with 'type octile', "
        "'height <H>', 'width <W>', 'map'"
    )


def read_movingai(
    map_path: str | Path, scen_path: str | Path, *, n_agents: int | None = None
) -> MapfInstance:
    """The first `n_agents` lines (default: all) of a scenario on its map.

    Raises:
        ValueError: a bad file (see `read_map`), a scenario for another map or size, fewer lines
            than `n_agents`, and what `MapfInstance` refuses.
    """
    map_path, scen_path = Path(map_path), Path(scen_path)
    free = read_map(map_path)
    lines = scen_path.read_text().splitlines()
    if not lines or not lines[0].startswith("version"):
        first = lines[0] if lines else ""
        raise ValueError(f"{scen_path}: line 1 is {first!r}, expected 'version 1'")
    rows = [(k + 1, line) for k, line in enumerate(lines) if k and line.strip()]
    wanted = len(rows) if n_agents is None else n_agents
    if wanted < 1 or wanted > len(rows):
        raise ValueError(
            f"{scen_path} has {len(rows)} agents; n_agents={n_agents} cannot be taken from it"
        )
    cells = [_agent(scen_path, k, line, map_path.name, free.shape) for k, line in rows[:wanted]]
    starts, goals = (np.array([c[side] for c in cells], np.int32) for side in (0, 1))
    return MapfInstance.one_shot(free, starts, goals, name=f"{scen_path.stem}/{wanted}")


def _agent(
    path: Path, k: int, line: str, map_name: str, shape: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and goal (row, col) in one line of a scenario."""
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) != 9:
        raise ValueError(f"{path}: line {k} has {len(fields)} fields, expected 9: {line!r}")
    named = fields[1].replace("\\", "/").rpartition("/")[2]
    if named != map_name:
        raise ValueError(f"{path}: line {k} is for the map {named!r}, not for {map_name!r}")
    try:
        width, height, start_x, start_y, goal_x, goal_y = (int(f) for f in fields[2:8])
    except ValueError as error:
        raise ValueError(
            f"{path}: line {k} has sizes and cells {fields[2:8]}; all must be whole numbers"
        ) from error
    if (height, width) != shape:
        raise ValueError(
            f"{path}: line {k} is for a map of height {height} and width {width}, but {map_name} "
            f"has {shape[0]} and {shape[1]}"
        )
    return (start_y, start_x), (goal_y, goal_x)
