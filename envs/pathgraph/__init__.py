"""Path finding on graphs: ALPINE's random DAGs, Blocksworld, star graphs, any networkx graph.

    tasks = make_tasks("test", 100, families=["alpine", "star"])
    envs = PathGraphVectorEnv(64)

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "PathGraphEnv": "single_env",
    "PathGraphVectorEnv": "vector_env",
    "alpine_dag": "alpine",
    "blocksworld": "blocks",
    "degree": "alpine",
    "make_dataset": "alpine",
    "graph_task": "tasks",
    "make_tasks": "tasks",
    "star_graph": "star",
    "read_line": "alpine",
    "write_star": "star",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
