"""The tabletop as a vector environment: n slots, a physics client each, one camera call for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from pilotage.envs.tabletop.drawing import TabletopDrawing
from pilotage.envs.tabletop.observations import (
    ACTION_SIZE,
    PROPRIO_SIZE,
    action_space,
    check_actions,
    observation_space,
)
from pilotage.envs.tabletop.scripted import expert
from pilotage.envs.tabletop.slot import TRACE_SHAPES, TabletopSlot
from pilotage.envs.tabletop.tasks import make_tasks
from pilotage.episodes.types import EndReason, Task

FILM_HEIGHT, FILM_WIDTH = 240, 320


class TabletopVectorEnv(gym.vector.VectorEnv):
    """A Franka Panda at a table with coloured objects, in n slots that never see each other.

    Action space: Box(-1, 1, (7,)) per slot: dx, dy, dz (1.0 is 5 cm), roll, pitch, yaw (1.0 is
        0.25 rad), gripper (> 0 open, < 0 close, 0 as before). 10 Hz, robot base frame.
    Observation space: "rgb" uint8 [n, H, W, 3] from the front, "proprio" float32 [n, 7] (see
        `observations.proprio`), "instruction" n strings; optional "wrist_rgb" and "expert_action".
    Starting state: that of the task: objects at rest, the hand open above the table.
    Rewards: 1.0 at the step that reaches the goal, else 0; with `reward="progress"` besides the
        metres by which the distance to the goal shrank.
    Episode end: terminated when the goal holds (see `goals.is_success`), truncated after
        `task.max_steps`; ended slots stand still until they are reset.
    Information: "trace" (see `slot.TRACE_SHAPES`), "end_reason", "success", "env_error", and
        "narration" with the expert on.
    Determinism: every episode is built in an empty physics world, so its record is a function of
        task, seed and actions alone. The seed only draws the camera's jitter (and the task, when
        none is given).
    """

    metadata = {  # noqa: RUF012
        "autoreset_mode": gym.vector.AutoresetMode.DISABLED,
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        n_slots: int,
        *,
        expert_actions: bool = False,
        image_size: int = 64,
        wrist: bool = False,
        render_rgb: bool = True,
        supersample: int = 2,
        camera_jitter: float = 0.0,
        reward: str = "sparse",
        film_renderer: str = "camera",
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Makes n empty slots; `reset` fills them.

        Args:
            n_slots: number of lanes, >= 1.
            expert_actions: add the privileged "expert_action" float32 [n, 7] to the observation and
                infos["narration"] (n strings): what the expert would do and say next.
            image_size: edge of the square pictures, pixels.
            wrist: add "wrist_rgb", the view of a camera on the hand.
            render_rgb: False leaves the pictures black and saves their time.
            supersample: each pixel is the mean of this many squared rays.
            camera_jitter: standard deviation (m) of the front camera's eye and target, drawn from
                the world seed at reset; 0 keeps the camera fixed.
            reward: "sparse" or "progress".
            film_renderer: "camera" or "tiny" (PyBullet's renderer with the arm's meshes; slow).
            render_mode: "rgb_array" or None.

        Raises:
            ValueError: an argument out of range.
        """
        _check_arguments(n_slots, image_size, supersample, camera_jitter, reward, film_renderer)
        self.num_envs = n_slots
        self.render_mode = render_mode
        observed = observation_space(image_size, wrist=wrist, expert_actions=expert_actions)
        self.single_observation_space = observed
        self.single_action_space = action_space()
        self._observation_names = tuple(observed)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._expert, self._wrist, self._render_rgb = expert_actions, wrist, render_rgb
        self._size, self._supersample, self._reward = image_size, supersample, reward
        self._jitter, self._film_renderer = camera_jitter, film_renderer
        with_meshes = film_renderer == "tiny"
        self._slots = [TabletopSlot(with_meshes=with_meshes) for _ in range(n_slots)]
        self._drawing = TabletopDrawing(n_slots)
        pictures = (n_slots, image_size, image_size, 3)
        self._rgb = np.zeros(pictures, np.uint8)
        self._wrist_rgb = np.zeros(pictures, np.uint8)
        self._proprio = np.zeros((n_slots, PROPRIO_SIZE), np.float32)
        self._expert_action = np.zeros((n_slots, ACTION_SIZE), np.float32)
        self._trace = {name: np.zeros((n_slots, *s)) for name, s in TRACE_SHAPES.items()}

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts episodes in the masked slots; the others keep their state.

        Args:
            seed: world seed of each slot. A single int s gives slot i the seed s + i.
            options: "reset_mask" bool [n] (default all) and "tasks" (n of `Task | None`); without
                tasks, each masked slot draws one from the train split by its seed.

        Raises:
            ValueError: wrong lengths, or a masked slot without a task of this world.
        """
        mask, tasks, seeds = self._read_reset(seed, options or {})
        for slot in np.flatnonzero(mask):
            self._start(int(slot), tasks[slot], seeds[slot])
        self._observe(np.flatnonzero(mask))
        return self._observations(), self._infos()

    def _read_reset(
        self, seed: int | Sequence[int] | None, options: Mapping[str, Any]
    ) -> tuple[np.ndarray, list[Task | None], list[int]]:
        n = self.num_envs
        mask = np.asarray(options.get("reset_mask", np.ones(n, bool)), dtype=bool)
        if seed is None:
            seeds = [int(s) for s in self.np_random.integers(2**31, size=n)]
        elif isinstance(seed, (int, np.integer)):
            self._np_random = np.random.default_rng(int(seed))
            seeds = [int(seed) + i for i in range(n)]
        else:
            seeds = [0 if s is None else int(s) for s in seed]
        tasks = options.get("tasks")
        if tasks is None:
            tasks = [make_tasks("train", 5, seed=s)[s % 5] for s in seeds]
        for name, given in (("reset_mask", mask), ("seed", seeds), ("tasks", tasks)):
            if len(given) != n:
                raise ValueError(
                    f"{name} has {len(given)} entries for {n} slots; give one for each"
                )
        for slot in np.flatnonzero(mask):
            task = tasks[slot]
            if not isinstance(task, Task) or task.env != "tabletop":
                raise ValueError(
                    f"slot {slot} is to be reset but tasks[{slot}] is {task!r}; give a "
                    "tabletop task, for instance from make_tasks"
                )
        return mask, list(tasks), seeds

    def _start(self, slot: int, task: Task | None, seed: int) -> None:
        lane = self._slots[slot]
        if task is None or not lane.start(task, with_expert=self._expert):
            return
        jitter = np.zeros((2, 3))
        if self._jitter > 0:
            jitter = self._jitter * np.random.default_rng(seed).standard_normal((2, 3))
        self._drawing.set_scene(slot, lane.physics, task, jitter)

    def is_live(self, slot: int) -> bool:
        """Is an episode running in this slot?"""
        return self._slots[slot].is_live

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Moves the live slots by 0.1 s; slots that ended or never started stand still.

        Raises:
            ValueError: the action of a live slot is NaN or out of range; nothing has moved then.
        """
        live = np.array([lane.is_live for lane in self._slots])
        checked = check_actions(actions, live)
        n = self.num_envs
        rewards, terminated, truncated = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        for slot in np.flatnonzero(live):
            lane = self._slots[slot]
            before = lane.distance
            lane.step(checked[slot], with_expert=self._expert)
            rewards[slot] = float(lane.success)
            if self._reward == "progress" and not lane.error:
                rewards[slot] += before - lane.distance
            terminated[slot] = lane.end_reason not in ("", EndReason.STEP_LIMIT.value)
            truncated[slot] = lane.end_reason == EndReason.STEP_LIMIT.value
        self._observe(np.flatnonzero(live))
        return self._observations(), rewards, terminated, truncated, self._infos()

    def expert_for(self, slot: int, task: Task) -> tuple[np.ndarray, str]:
        """What the expert would do now, and say, were `task` (of the same scene) the slot's task.

        Raises:
            RuntimeError: the slot has no state.
        """
        state = self._slots[slot].state
        if state is None:
            raise RuntimeError(f"slot {slot} has no state; reset it first")
        return expert(state, task)

    def place_hand(self, slot: int, position: np.ndarray, yaw: float) -> None:
        """Puts the hand elsewhere, at rest and open, without simulating the way there.

        For drawing states, not for playing: the objects stay where they are, whatever is between.

        Raises:
            ValueError: the pose is out of reach.
            RuntimeError: no episode is running in the slot.
        """
        lane = self._slots[slot]
        if lane.task is None or not lane.is_live:
            raise RuntimeError(f"no episode runs in slot {slot}; reset it first")
        lane.physics.robot.place(np.asarray(position, dtype=np.float64), yaw)
        lane.read(lane.task, self._expert)

    def observe(self, slots: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads the given slots again, after `place_hand`: observations and infos of all slots."""
        self._observe(np.asarray(slots, dtype=np.int64))
        return self._observations(), self._infos()

    def segments(self, camera: str = "front") -> np.ndarray:
        """What each pixel shows, int32 [n, H, W]; see `TabletopDrawing.segments`."""
        return self._drawing.segments(
            range(self.num_envs), height=self._size, width=self._size, camera=camera
        )

    def _observe(self, slots: np.ndarray) -> None:
        """Reads the given slots into the batch arrays; failed slots keep their last row."""
        seen = [int(s) for s in slots if self._slots[s].state is not None]
        for slot in seen:
            lane = self._slots[slot]
            lane.write(self._proprio[slot], {k: v[slot] for k, v in self._trace.items()})
            self._expert_action[slot] = lane.expert_action
            self._drawing.update(slot)
            if self._wrist and lane.state is not None:
                self._drawing.update_wrist(slot, lane.state.ee_position, lane.state.ee_quaternion)
        if seen and self._render_rgb:
            self._rgb[seen] = self._pictures(seen, "front")
            if self._wrist:
                self._wrist_rgb[seen] = self._pictures(seen, "wrist")

    def _pictures(self, slots: list[int], camera: str) -> np.ndarray:
        return self._drawing.pictures(
            slots,
            height=self._size,
            width=self._size,
            camera=camera,
            supersample=self._supersample,
        )

    def _observations(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"rgb": self._rgb.copy(), "proprio": self._proprio.copy()}
        seen["instruction"] = tuple(lane.instruction for lane in self._slots)
        if self._wrist:
            seen["wrist_rgb"] = self._wrist_rgb.copy()
        if self._expert:
            seen["expert_action"] = self._expert_action.copy()
        return {name: seen[name] for name in self._observation_names}

    def _infos(self) -> dict[str, Any]:
        infos: dict[str, Any] = {
            "trace": {name: rows.copy() for name, rows in self._trace.items()},
            "end_reason": [lane.end_reason for lane in self._slots],
            "success": np.array([lane.success for lane in self._slots]),
            "env_error": [lane.error for lane in self._slots],
        }
        if self._expert:
            infos["narration"] = [lane.narration for lane in self._slots]
        return infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A film frame uint8 [240, 320, 3] per slot; black for slots that never started."""
        if self.render_mode is None:
            return None
        return tuple(self.film(slot) for slot in range(self.num_envs))

    def film(self, slot: int, *, height: int = FILM_HEIGHT, width: int = FILM_WIDTH) -> np.ndarray:
        """One large picture of a slot, uint8 [height, width, 3]."""
        lane = self._slots[slot]
        if lane.state is None:
            return np.zeros((height, width, 3), np.uint8)
        if self._film_renderer == "tiny":
            from pilotage.envs.tabletop.tiny import tiny_picture

            return tiny_picture(lane.physics, lane.task, height=height, width=width)
        return self._drawing.pictures([slot], height=height, width=width, supersample=2)[0]

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the physics clients."""
        for lane in self._slots:
            lane.physics.close()


def _check_arguments(
    n_slots: int,
    image_size: int,
    supersample: int,
    camera_jitter: float,
    reward: str,
    film_renderer: str,
) -> None:
    for name, value, least in (
        ("n_slots", n_slots, 1),
        ("image_size", image_size, 8),
        ("supersample", supersample, 1),
        ("camera_jitter", camera_jitter, 0),
    ):
        if not value >= least:
            raise ValueError(f"{name}={value} is too small; it must be at least {least}")
    for name, word, words in (
        ("reward", reward, ("sparse", "progress")),
        ("film_renderer", film_renderer, ("camera", "tiny")),
    ):
        if word not in words:
            raise ValueError(f"{name}={word!r} is unknown; choose {' or '.join(words)}")
