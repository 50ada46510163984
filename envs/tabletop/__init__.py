"""The tabletop world: a Panda arm, coloured objects, tasks in words, and a scripted expert.

The names below are loaded when first used, so that making tasks does not load the simulator.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "TabletopEnv": "single",
    "TabletopVectorEnv": "vector",
    "TabletopState": "physics",
    "draw_sibling": "siblings",
    "expert": "scripted",
    "make_tasks": "tasks",
    "narrate": "scripted",
    "paired_tasks": "tasks",
    "reword": "tasks",
    "vocabulary": "grammar",
    "with_manner": "tasks",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
