"""Multi-agent path finding on 4-connected grids: instances, file formats, judge and simulator.

    instance = read_movingai("random-32-32-20.map", "random-32-32-20-random-1.scen", n_agents=100)
    report = validate_paths(instance, paths)  # knows no solver
    envs = MapfVectorEnv(16, n_agents=8)      # a joint action is one action in the episode loop
    env = parallel_env(n_agents=8)            # the same team as a pettingzoo.ParallelEnv

Terms and cost conventions follow Stern et al. 2019 (arXiv:1906.08291); the three collision systems
and the observations are those of POGEMA 1.4.0 (Skrynnik et al. 2024, arXiv:2407.14931).

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.envs.mapf.instance import MapfInstance
    from pilotage.envs.mapf.movingai import read_map, read_movingai
    from pilotage.envs.mapf.pettingzoo_env import parallel_env
    from pilotage.envs.mapf.pogema_files import read_pogema
    from pilotage.envs.mapf.simulator import MapfSimulator
    from pilotage.envs.mapf.single_env import MapfEnv
    from pilotage.envs.mapf.tasks import instance_of, make_tasks, task_of
    from pilotage.envs.mapf.tracker import read_paths, write_paths
    from pilotage.envs.mapf.validation import PathReport, Violation, validate_paths
    from pilotage.envs.mapf.vector_env import MapfVectorEnv

_HOMES = {
    "MapfEnv": "single_env",
    "MapfInstance": "instance",
    "MapfSimulator": "simulator",
    "MapfVectorEnv": "vector_env",
    "PathReport": "validation",
    "Violation": "validation",
    "instance_of": "tasks",
    "make_tasks": "tasks",
    "parallel_env": "pettingzoo_env",
    "read_map": "movingai",
    "read_movingai": "movingai",
    "read_paths": "tracker",
    "read_pogema": "pogema_files",
    "task_of": "tasks",
    "validate_paths": "validation",
    "write_paths": "tracker",
}

__all__ = [
    "MapfEnv",
    "MapfInstance",
    "MapfSimulator",
    "MapfVectorEnv",
    "PathReport",
    "Violation",
    "instance_of",
    "make_tasks",
    "parallel_env",
    "read_map",
    "read_movingai",
    "read_paths",
    "read_pogema",
    "task_of",
    "validate_paths",
    "write_paths",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
