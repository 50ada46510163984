"""Grid mazes, thousands at a time: generators, tokens, a vector world, tasks.

    cells = dfs(torch.arange(4096), 10, 10)  # a maze for every key, on the device of the keys
    tasks = make_tasks("test", 100, families=["dfs", "astar"], size=20)
    envs = MazeVectorEnv(64, max_size=20, view="text")

Names are loaded on first use, so that the plain arrays of `grid` come without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "MazeDynamics": "dynamics",
    "MazeEnv": "single_env",
    "MazeVectorEnv": "vector_env",
    "dfs": "generators",
    "draw": "grid",
    "from_free": "grid",
    "loops": "generators",
    "make_tasks": "tasks",
    "maze_task": "tasks",
    "obstacles": "generators",
    "percolation": "generators",
    "read_searchformer": "tokens",
    "read_tokens": "tokens",
    "split_of": "splits",
    "to_graph": "grid",
    "wilson": "generators",
    "write_searchformer": "tokens",
    "write_tokens": "tokens",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
