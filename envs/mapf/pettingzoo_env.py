"""One team as a `pettingzoo.ParallelEnv`: every agent by name, with what it sees and earns itself.

    env = parallel_env(n_agents=8)
    observations, infos = env.reset(seed=0)
    while env.agents:
        actions = {name: env.action_space(name).sample() for name in env.agents}
        observations, rewards, terminated, truncated, infos = env.step(actions)

It is slot 0 of a `MapfVectorEnv`, so a team moves as it does there. PettingZoo is optional
(`pip install 'pilotage[pettingzoo]'`).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from pilotage.envs.mapf.single_env import MapfEnv

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

EXTRA = "pip install 'pilotage[pettingzoo]'"
OWN = ("windows", "xy", "target_xy")  # the parts of an observation that have a row an agent
Observations = dict[str, dict[str, np.ndarray]]
Steps = tuple[
    Observations, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
]


def parallel_env(**arguments: Any) -> ParallelEnv:
    """A `pettingzoo.ParallelEnv`; takes the arguments of `MapfVectorEnv` but `n_slots`.

    Agents: "agent_0", ... A team that is smaller than `n_agents` has the first of them.
    Action space: Discrete(5): 0 stay, 1 up, 2 down, 3 left, 4 right.
    Observation space: "windows" float32 [3, D, D], "xy" and "target_xy" int32 [2], the agent's own
        rows of `MapfVectorEnv`; nothing that it does not see. `state()` is what a planner sees:
        int32 [H * W + 4 N], the walls, then cells and goals (row, col) of all agents, -1 where
        there is none.
    Starting state: `reset(options={"task": task})` starts that task; otherwise the seed draws one.
    Rewards: one-shot, 1 for everyone when all are at their goals; lifelong, 1 for whoever reached
        a goal in the step.
    Episode end: for all agents at once, as in `MapfVectorEnv`.
    Information: "goals_reached" of the agent, "end_reason" and "success" of the team.

    Raises:
        ImportError: PettingZoo is not installed.
        ValueError: an argument out of range.
    """
    return _environment_class()(**arguments)


@functools.cache
def _environment_class() -> Any:
    """The class, made on first use: what it inherits from is an optional library."""
    try:
        from pettingzoo import ParallelEnv
    except ImportError as error:
        raise ImportError(
            f"parallel_env needs PettingZoo, which is not installed; install it with: {EXTRA}"
        ) from error

    class MapfParallelEnv(_Team, ParallelEnv):
        """See `parallel_env`."""

    return MapfParallelEnv


class _Team:
    """All of `MapfParallelEnv` but its base class."""

    metadata: dict[str, Any] = {"name": "pilotage_mapf_v0", "render_modes": []}  # noqa: RUF012

    def __init__(self, **arguments: Any) -> None:
        self._env = MapfEnv(**arguments)
        whole: Any = self._env.observation_space
        moves: Any = self._env.action_space
        n_agents = len(moves.nvec)
        self.possible_agents = [f"agent_{i}" for i in range(n_agents)]
        self.agents: list[str] = []
        self.render_mode = None
        # One space object an agent: seeding one leaves the others alone.
        self.observation_spaces = {
            name: gym.spaces.Dict({part: _row(whole[part]) for part in OWN})
            for name in self.possible_agents
        }
        self.action_spaces = {name: gym.spaces.Discrete(5) for name in self.possible_agents}
        n_numbers = whole["walls"].shape[0] * whole["walls"].shape[1] + 4 * n_agents
        self.state_space = gym.spaces.Box(
            -1, int(whole["cells"].high.max()), (n_numbers,), dtype=np.int32
        )
        self._state: np.ndarray | None = None
        self._reached = np.zeros(n_agents)

    def observation_space(self, agent: str) -> gym.spaces.Dict:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.spaces.Discrete:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, dict[str, Any]]]:
        """Begin an episode.

        Raises:
            ValueError: a task that cannot be played here.
        """
        observation, info = self._env.reset(seed=seed, options=options)
        present = observation["cells"][:, 0] >= 0
        self.agents = [n for n, there in zip(self.possible_agents, present) if there]
        self._reached = info["trace"]["goals_reached"]
        return self._observed(observation), self._infos(info)

    def step(self, actions: Mapping[str, Any]) -> Steps:
        """Everyone moves at once.

        Raises:
            RuntimeError: no episode is under way.
            ValueError: an action is missing, unknown, or none; nothing has moved then.
        """
        if not self.agents:
            raise RuntimeError("no episode is under way; call reset first")
        observation, gained, terminated, truncated, info = self._env.step(self._joint(actions))
        reached = info["trace"]["goals_reached"]
        earned = np.where(reached > self._reached, 1.0, 0.0)
        self._reached = reached
        team = self.agents
        results = (
            self._observed(observation),
            {n: float(gained if terminated else earned[i]) for i, n in enumerate(team)},
            dict.fromkeys(team, terminated),
            dict.fromkeys(team, truncated),
            self._infos(info),
        )
        if terminated or truncated:
            self.agents = []
        return results

    def _joint(self, actions: Mapping[str, Any]) -> np.ndarray:
        """int64 [N]: the actions in order; agents that are not there stay."""
        strangers = [name for name in actions if name not in self.agents]
        missing = [name for name in self.agents if name not in actions]
        if strangers or missing:
            raise ValueError(
                f"actions are missing for {missing} and given for {strangers}, who are not "
                f"playing; give one for each of {len(self.agents)} agents (see env.agents)"
            )
        joint = np.zeros(len(self.possible_agents), np.int64)
        for i, name in enumerate(self.agents):
            try:
                joint[i] = operator.index(actions[name])
            except TypeError:
                joint[i] = -1
            if not 0 <= joint[i] < 5:
                raise ValueError(
                    f"{name}: action {actions[name]!r} is none of 0 stay, 1 up, 2 down, 3 left, "
                    "4 right"
                )
        return joint

    def state(self) -> np.ndarray:
        """int32 [H * W + 4 N], a copy: walls (row by row), cells, goals.

        Raises:
            RuntimeError: before the first reset.
        """
        if self._state is None:
            raise RuntimeError("there is no state before the first reset")
        return self._state.copy()

    def close(self) -> None:
        self._env.close()

    def _observed(self, observation: Mapping[str, Any]) -> Observations:
        parts = [observation[k].ravel() for k in ("walls", "cells", "goals")]
        self._state = np.concatenate(parts).astype(np.int32)
        return {
            name: {part: observation[part][i].copy() for part in OWN}
            for i, name in enumerate(self.agents)
        }

    def _infos(self, info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        of_team = {"end_reason": info["end_reason"], "success": info["success"]}
        reached = info["trace"]["goals_reached"]
        return {n: {"goals_reached": int(reached[i]), **of_team} for i, n in enumerate(self.agents)}


def _row(space: gym.Space[Any]) -> gym.spaces.Box:
    """The space of one row of a box."""
    if not isinstance(space, gym.spaces.Box):
        raise TypeError(f"{space} has no rows")
    return gym.spaces.Box(space.low[0], space.high[0], dtype=space.dtype.type)
