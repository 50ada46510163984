"""The rooms world as a Gymnasium vector environment: n slots, one batched picture per step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pilotage.envs.camera import NONE, Cameras, Primitives, render
from pilotage.envs.rooms.bodies import (
    DEPTH_CLIP_M,
    FAR_M,
    HFOV_DEG,
    NEAR_M,
    eye_pose,
    house_primitives,
)
from pilotage.envs.rooms.lane import Lane, Rules
from pilotage.envs.rooms.tasks import make_tasks
from pilotage.envs.slots import tasks_to_begin
from pilotage.episodes.types import EndReason, Task

N_ACTIONS = 4
_FAR = 4.0  # tens of metres: no house is as long
_FIELDS = ("kind", "position", "rotation", "size", "color", "segment_id")
_CHARSET = "abcdefghijklmnopqrstuvwxyz "


def observation_space(image_size: int, expert_actions: bool) -> gym.spaces.Dict:
    """The observation of one slot."""
    spaces: dict[str, gym.Space] = {
        "rgb": gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
        "depth": gym.spaces.Box(0.0, DEPTH_CLIP_M, (image_size, image_size), np.float32),
        "proprio": gym.spaces.Box(-_FAR, _FAR, (4,), np.float32),
        "goal": gym.spaces.Box(-_FAR, _FAR, (3,), np.float32),
        "instruction": gym.spaces.Text(min_length=0, max_length=400, charset=_CHARSET),
    }
    if expert_actions:
        spaces["expert_action"] = gym.spaces.Discrete(N_ACTIONS)
    return gym.spaces.Dict(spaces)


class RoomsVectorEnv(gym.vector.VectorEnv):
    """Navigation in generated houses: 0 stop, 1 forward 0.25 m, 2 left 15 deg, 3 right 15 deg.

    Observations, batched over n slots: `rgb` uint8 [n, H, W, 3] and `depth` float32 [n, H, W]
    (metres along the view, at most 10) from an eye 1.25 m high, looking 15 deg down, with a 90 deg
    field of view; `proprio` float32 [n, 4] and `goal` float32 [n, 3] (see `Lane`); `instruction`, a
    tuple of n str; with `expert_actions`, `expert_action` int64 [n] and `infos["narration"]`.

    Infos: `trace` (position [n, 3], heading, distance_to_goal, collision [n, 1]), `end_reason`,
    `success`, `env_error`. An episode is the same whatever the number of slots and its neighbours.

    Args:
        n_slots: lanes, at least 1.
        expert_actions: add the scripted expert's next action (privileged).
        image_size: H = W in pixels; 0 takes no pictures (arrays of size 0).
        success_radius_m: stopping closer than this (geodesic) is success.
        sliding: whether the body slides along what it touches, or stops there.
        collision_limit: touches after which an episode ends, or None.
        odometry: whether `proprio` and `goal` follow the agent; without it they say nothing new.
        device: where pictures are made, "cpu" or a torch device.

    Raises:
        ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    def __init__(
        self,
        n_slots: int,
        *,
        expert_actions: bool = False,
        image_size: int = 64,
        success_radius_m: float = 3.0,
        sliding: bool = True,
        collision_limit: int | None = None,
        odometry: bool = True,
        device: str = "cpu",
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots must be >= 1, got {n_slots}")
        if image_size < 0:
            raise ValueError(f"image_size must be >= 0, got {image_size}; 0 takes no pictures")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = n_slots
        self.image_size, self.expert_actions, self.device = image_size, expert_actions, device
        rules = Rules(success_radius_m, sliding, collision_limit, odometry)
        self.lanes = [Lane(rules) for _ in range(n_slots)]
        self.single_observation_space = observation_space(image_size, expert_actions)
        self.single_action_space = gym.spaces.Discrete(N_ACTIONS)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._live = np.zeros(n_slots, dtype=bool)
        self._errors: list[str | None] = [None] * n_slots
        self._ends = [""] * n_slots
        self._actions = np.zeros(n_slots, dtype=np.int64)
        self._words = [""] * n_slots
        self._rgb = np.zeros((n_slots, image_size, image_size, 3), dtype=np.uint8)
        self._depth = np.zeros((n_slots, image_size, image_size), dtype=np.float32)
        self._segments = np.zeros((n_slots, image_size, image_size), dtype=np.int32)
        self._bodies: Primitives | None = None

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without options every slot gets a task of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay as they are.
        """
        tasks = tasks_to_begin(self, seed, options, lambda s: make_tasks("train", 1, seed=s)[0])
        for slot, task in tasks.items():
            self._errors[slot], self._ends[slot] = None, ""
            self._live[slot] = True
            self._guard(slot, lambda s=slot, t=task: self._begin(s, t))
        self._observe(np.isin(np.arange(self.num_envs), list(tasks)))
        return self._observations(), self._infos()

    def _begin(self, slot: int, task: Task) -> None:
        lane = self.lanes[slot]
        lane.reset(task)
        self._write_bodies(slot)

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        n = self.num_envs
        checked = self._check_actions(actions)
        rewards = np.zeros(n, dtype=np.float64)
        terminated, truncated = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        stepped = self._live.copy()
        for slot in np.flatnonzero(stepped).tolist():
            lane = self.lanes[slot]
            outcome = self._guard(slot, lambda s=slot, a=lane: a.step(int(checked[s])))
            if outcome is None:
                truncated[slot] = True
                continue
            rewards[slot], terminated[slot], truncated[slot] = outcome
            self._ends[slot] = lane.end
            self._live[slot] = not lane.end
        self._observe(stepped)
        return self._observations(), rewards, terminated, truncated, self._infos()

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        values = np.asarray(actions)
        if values.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {values.shape}")
        for slot in np.flatnonzero(self._live):
            value = values[slot]
            if not (np.isfinite(value) and 0 <= value < N_ACTIONS and value == int(value)):
                raise ValueError(
                    f"slot {slot}: action {value!r} is none of 0 stop, 1 forward, 2 left, 3 right"
                )
        return values

    def _guard(self, slot: int, do: Any) -> Any:
        """Run something for a slot; what goes wrong ends this slot's episode only."""
        try:
            return do()
        except Exception as error:
            self._errors[slot] = f"{type(error).__name__}: {error}"
            self._ends[slot] = EndReason.ENV_ERROR.value
            self._live[slot] = False
            return None

    def _write_bodies(self, slot: int) -> None:
        """Put a slot's house among the primitives of all slots, which are padded with NONE."""
        house = house_primitives(self.lanes[slot].house)
        n = house.kind.shape[1]
        old = self._bodies
        if old is None or old.kind.shape[1] < n:
            size = 32 * (n // 32 + 1)
            arrays = {}
            for name in _FIELDS:
                like = getattr(house, name)
                arrays[name] = np.zeros((self.num_envs, size, *like.shape[2:]), dtype=like.dtype)
                if old is not None:
                    arrays[name][:, : old.kind.shape[1]] = getattr(old, name)
            old = Primitives(**arrays)
        for name in _FIELDS:
            getattr(old, name)[slot, :n] = getattr(house, name)[0]
        old.kind[slot, n:] = NONE
        self._bodies = old

    def _observe(self, mask: np.ndarray) -> None:
        """New pictures and expert's advice for the slots that moved."""
        slots = [s for s in np.flatnonzero(mask).tolist() if self._errors[s] is None]
        for s in slots if self.expert_actions else []:
            advice = self._guard(s, self.lanes[s].expert)
            self._actions[s], self._words[s] = advice or (0, "")
        if not slots or not self.image_size or self._bodies is None:
            return
        poses = [eye_pose(a.x, a.y, a.heading) for a in (self.lanes[s] for s in slots)]
        everything = len(slots) == self.num_envs
        bodies = (
            self._bodies
            if everything
            else Primitives(**{f: getattr(self._bodies, f)[slots] for f in _FIELDS})
        )
        cameras = Cameras(
            np.stack([p for p, _ in poses]),
            np.stack([r for _, r in poses]),
            HFOV_DEG,
            NEAR_M,
            FAR_M,
        )
        size = self.image_size
        frames = render(bodies, cameras, height=size, width=size, device=self.device)
        self._rgb[slots] = frames.rgb
        self._depth[slots] = np.minimum(frames.depth_m, DEPTH_CLIP_M)
        if self.expert_actions:
            self._segments[slots] = frames.segment

    def segments(self, slot: int) -> np.ndarray:
        """int32 [H, W]: which body each pixel of a slot's present picture shows, numbered as in
        `pilotage.envs.rooms.bodies`. Privileged: ValueError without `expert_actions`."""
        if not self.expert_actions:
            raise ValueError(
                "segments are kept for experts only; make the world with expert_actions"
            )
        return self._segments[slot].copy()

    def _observations(self) -> dict[str, Any]:
        begun = [a if a.task is not None else None for a in self.lanes]
        obs: dict[str, Any] = {
            "rgb": self._rgb.copy(),
            "depth": self._depth.copy(),
            "proprio": np.stack([a.proprio() if a else np.zeros(4, np.float32) for a in begun]),
            "goal": np.stack([a.goal_vector() if a else np.zeros(3, np.float32) for a in begun]),
            "instruction": tuple(a.task.instruction if a and a.task else "" for a in begun),
        }
        if self.expert_actions:
            obs["expert_action"] = self._actions.copy()
        return obs

    def _infos(self) -> dict[str, Any]:
        n = self.num_envs
        position, rest = np.zeros((n, 3)), np.zeros((3, n, 1))
        for k, lane in enumerate(self.lanes):
            if lane.task is not None:
                position[k, :2] = lane.x, lane.y
                rest[:, k, 0] = lane.heading, lane.distance, lane.collided
        infos: dict[str, Any] = {
            "trace": {
                "position": position,
                "heading": rest[0],
                "distance_to_goal": rest[1],
                "collision": rest[2],
            },
            "end_reason": list(self._ends),
            "success": np.array([a.task is not None and a.success for a in self.lanes]),
            "env_error": list(self._errors),
        }
        if self.expert_actions:
            infos["narration"] = list(self._words)
        return infos

    def close_extras(self, **_: Any) -> None:
        for lane in self.lanes:
            lane.close()
