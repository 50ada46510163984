"""The graph world as a Gymnasium vector environment: all slots step as array operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pilotage.envs.slots import tasks_to_begin
from pilotage.episodes.types import EndReason, Task

from .atlas import Atlas
from .dataset import shared_data
from .goals import goal_of
from .observing import Observer, observation_space
from .tasks import make_tasks
from .views import MAX_CANDIDATES, N_HEADINGS, N_VIEWS, STEP, view_angles
from .words import Objects

ActionSpace = Literal["panoramic", "view"]
N_TURNS = 5  # "view": 0 stop, 1 left, 2 right, 3 up, 4 down, 5 + k move
STOP, LEFT, RIGHT, UP, DOWN = range(N_TURNS)


class R2RVectorEnv(gym.vector.VectorEnv):
    """Vision-and-language navigation on Matterport3D graphs, with text in place of pictures.

    Actions. `"panoramic"` (Fried et al. 2018, arXiv:1806.02724): 0 stop, k >= 1 go to candidate
    k - 1 and look the way it was seen from. `"view"` (Anderson et al. 2018, arXiv:1711.07280):
    0 stop, 1 left, 2 right, 3 up, 4 down (30 deg each), 5 + k go to place k of those navigable from
    the present view, heading kept. A choice behind the last candidate does nothing and counts as a
    collision.

    Observations, batched over n slots: see `observing`. Start: the task's viewpoint, its heading
    rounded to 30 deg, level. Rewards: 1 for a stop that succeeds, else 0. End: a stop
    (`goal_reached` or `agent_stopped`), or the task's step limit.

    Infos: `trace` (position [n, 3], viewpoint, heading, elevation, distance_to_goal, collision
    [n, 1]; viewpoint is its number in the scan's graph), `end_reason`, `success`, `env_error`.

    Args:
        n_slots: lanes, at least 1.
        action_space: "panoramic" or "view".
        expert_actions: add the next action of a shortest path to the goal (privileged).
        text: whether there are captions; without them geometry and instructions are left.
        objects: whose object names the captions carry: "captions" (NavGPT), "boxes" (REVERIE's
            ground truth, with ids) or "none".
        success_radius_m: R2R and R4R: to stop closer than this, along the graph, is success.
        data: the data folder, by default the one `PILOTAGE_DATA` names.

    Raises:
        ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    def __init__(
        self,
        n_slots: int,
        *,
        action_space: ActionSpace = "panoramic",
        expert_actions: bool = False,
        text: bool = True,
        objects: Objects = "captions",
        success_radius_m: float = 3.0,
        data: str | Path | None = None,
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots must be >= 1, got {n_slots}")
        if action_space not in ("panoramic", "view"):
            raise ValueError(f'action_space must be "panoramic" or "view", got {action_space!r}')
        if objects not in ("captions", "boxes", "none"):
            raise ValueError(f'objects must be "captions", "boxes" or "none", got {objects!r}')
        if not success_radius_m > 0:
            raise ValueError(f"success_radius_m must be > 0, got {success_radius_m}")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = n_slots
        self.panoramic = action_space == "panoramic"
        self.first_move = 1 if self.panoramic else N_TURNS
        self.success_radius_m = success_radius_m
        self.data = shared_data(data)
        self.atlas = Atlas(self.data, text=text, objects=objects)
        n_actions = self.first_move + MAX_CANDIDATES
        self.single_action_space = gym.spaces.Discrete(n_actions)
        self.single_observation_space = observation_space(n_actions, text, expert_actions)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._observer = Observer(self, text=text, expert_actions=expert_actions)
        self.tasks: list[Task | None] = [None] * n_slots
        self.begun = np.zeros(n_slots, bool)
        self.base = np.zeros(n_slots, np.int64)  # offset of the slot's scan
        self.node = np.zeros(n_slots, np.int64)  # viewpoint, number in the atlas
        self.view = np.full(n_slots, N_HEADINGS, np.int64)  # view index
        self.steps = np.zeros(n_slots, np.int64)
        self._limit = np.zeros(n_slots, np.int64)
        self._collided = np.zeros(n_slots, bool)
        self._live = np.zeros(n_slots, bool)
        self._success = np.zeros(n_slots, bool)
        self._ends = [""] * n_slots
        self._errors: list[str | None] = [None] * n_slots
        self._distance = np.zeros((n_slots, 1))  # rows of the goal, [n, most viewpoints so far]
        self._succeeds = np.zeros((n_slots, 1), bool)
        self.next_hop = np.zeros((n_slots, 1), np.int32)

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    # -- reset -------------------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets an R2R task of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay as they are.
        """
        for slot, task in tasks_to_begin(self, seed, options, self._drawn).items():
            try:
                self._begin(slot, task)
            except Exception as error:
                self._errors[slot] = f"{type(error).__name__}: {error}"
                self._ends[slot] = EndReason.ENV_ERROR.value
                self._live[slot] = False
        return self._observer.observe(), self._infos()

    def _drawn(self, seed: int) -> Task:
        return make_tasks("train", 1, seed=seed, data=self.data.root)[0]

    def _begin(self, slot: int, task: Task) -> None:
        goal = goal_of(task, self.data, self.success_radius_m)
        base = self.atlas.require(task.scene["scan"])
        n = len(goal.distance)
        if n > self._distance.shape[1]:
            wider = ((0, 0), (0, n - self._distance.shape[1]))
            self._distance = np.pad(self._distance, wider)
            self._succeeds = np.pad(self._succeeds, wider)
            self.next_hop = np.pad(self.next_hop, wider)
        self._distance[slot, :n] = goal.distance
        self._succeeds[slot, :n] = goal.success
        self.next_hop[slot, :n] = goal.next_hop
        self.tasks[slot], self.begun[slot] = task, True
        self.base[slot], self.node[slot] = base, base + goal.start
        # half a step goes up, as in MatterSim
        column = int(np.floor(float(task.start["heading"]) / STEP + 0.5)) % N_HEADINGS
        self.view[slot] = N_HEADINGS + column
        self.steps[slot], self._limit[slot] = 0, task.max_steps
        self._collided[slot] = self._success[slot] = False
        self._live[slot] = True
        self._ends[slot], self._errors[slot] = "", None

    # -- step --------------------------------------------------------------------------------------

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        chosen = self._check_actions(actions)
        live = self._live.copy()
        stopped = live & (chosen == STOP)
        self._move(live & (chosen >= self.first_move), chosen - self.first_move)
        if not self.panoramic:
            self._turn(live, chosen)
        self.steps[live] += 1
        slots = np.arange(self.num_envs)
        success = stopped & self._succeeds[slots, self.node - self.base]
        truncated = live & ~stopped & (self.steps >= self._limit)
        for slot in np.flatnonzero(stopped | truncated).tolist():
            if truncated[slot]:
                end = EndReason.STEP_LIMIT
            else:
                end = EndReason.GOAL_REACHED if success[slot] else EndReason.AGENT_STOPPED
            self._ends[slot] = end.value
        self._success |= success
        self._live &= ~(stopped | truncated)
        rewards = success.astype(np.float64)
        return self._observer.observe(), rewards, stopped, truncated, self._infos()

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        values = np.asarray(actions)
        n_actions = self.first_move + MAX_CANDIDATES
        if values.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {values.shape}")
        if values.dtype.kind == "f":
            wrong = ~(np.isfinite(values) & (values == np.floor(values)))
        elif values.dtype.kind in "iu":
            wrong = np.zeros(self.num_envs, bool)
        else:
            raise ValueError(f"actions must be integers, got dtype {values.dtype}")
        wrong |= ~((values >= 0) & (values < n_actions))
        wrong &= self._live
        if wrong.any():
            slot = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"slot {slot}: action {values[slot]!r} is not an integer in 0..{n_actions - 1}"
            )
        return np.where(self._live, values, 0).astype(np.int64)

    def _move(self, moving: np.ndarray, place: np.ndarray) -> None:
        """Go to candidate `place` (int [n]) in the slots of `moving`; note who could not."""
        self._collided &= ~self._live
        slots = np.flatnonzero(moving)
        if not len(slots):
            return
        tables, node, place = self.atlas.tables, self.node[slots], place[slots]
        if self.panoramic:
            there, column = place < tables.count[node], place
        else:
            view = self.view[slots]
            there, column = (
                place < tables.n_navigable[node, view],
                tables.navigable[node, view, place],
            )
        self._collided[slots[~there]] = True
        slots, node, column = slots[there], node[there], column[there]
        if self.panoramic:
            self.view[slots] = tables.view[node, column]
        self.node[slots] = tables.neighbour[node, column]

    def _turn(self, live: np.ndarray, chosen: np.ndarray) -> None:
        """Left, right, up and down by one view, elevations clipped, in the live slots."""
        column, row = self.view % N_HEADINGS, self.view // N_HEADINGS
        column = column + (chosen == RIGHT) - (chosen == LEFT)
        row = row + (chosen == UP) - (chosen == DOWN)
        turned = np.clip(row, 0, N_VIEWS // N_HEADINGS - 1) * N_HEADINGS + column % N_HEADINGS
        self.view = np.where(live, turned, self.view)

    def _infos(self) -> dict[str, Any]:
        n = self.num_envs
        slots = np.flatnonzero(self.begun)
        node = self.node[slots]
        position = np.zeros((n, 3))
        rest = np.zeros((5, n, 1))
        if len(slots):
            position[slots] = self.atlas.position[node]
            local = node - self.base[slots]
            rest[0, slots, 0] = local
            rest[1, slots, 0], rest[2, slots, 0] = view_angles(self.view[slots])
            rest[3, slots, 0] = self._distance[slots, local]
            rest[4, slots, 0] = self._collided[slots]
        names = ("viewpoint", "heading", "elevation", "distance_to_goal", "collision")
        return {
            "trace": {"position": position, **dict(zip(names, rest))},
            "end_reason": list(self._ends),
            "success": self._success.copy(),
            "env_error": list(self._errors),
        }
