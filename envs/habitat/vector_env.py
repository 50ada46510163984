"""The habitat world as a Gymnasium vector environment, with the contract of the rooms world."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from pilotage.envs.habitat.houses import make_tasks
from pilotage.envs.habitat.lane import HabitatLane
from pilotage.envs.habitat.library import load_habitat_sim, probe_renderer
from pilotage.envs.habitat.rig import ROOMS, SENSORS, Rig
from pilotage.envs.habitat.scenes import scene_files
from pilotage.envs.habitat.simulation import Settings
from pilotage.envs.r2r.observing import CHARSET, MAX_WORDS
from pilotage.envs.rooms.bodies import DEPTH_CLIP_M
from pilotage.envs.rooms.lane import Rules
from pilotage.envs.rooms.vector_env import RoomsVectorEnv, observation_space
from pilotage.envs.slots import tasks_to_begin
from pilotage.episodes.names import hint


class HabitatVectorEnv(RoomsVectorEnv):
    """Navigation in habitat-sim: 0 stop, 1 forward 0.25 m, 2 left 15 deg, 3 right 15 deg.

    Actions, rewards, ends and infos are those of `RoomsVectorEnv`; so are observations, except that
    pictures are of the sensors asked for: `rgb` uint8 [n, H, W, 3], `depth` float32 [n, H, W] (at
    most 10 m; 0 where there is nothing) and `semantic` int32 [n, H, W]. `trace["position"]` has z
    up: habitat's (x, y, z) is (x, -z, y) here. With `expert_actions`, `expert_action` is the
    library's greedy follower's.

    Args:
        n_slots: lanes, at least 1; each has a simulator of its own. Several that draw share one
            graphics context in the library, which was not tried: take one slot for pictures.
        expert_actions: add the greedy follower's next action (privileged).
        image_size: H = W in pixels; 0 takes no pictures and needs no renderer.
        sensors: of "rgb", "depth", "semantic".
        success_radius_m: stopping closer than this (geodesic) is success; None: each task's own.
        sliding: whether the body slides along the edge of the navigation mesh, or stops there.
        collision_limit: touches after which an episode ends, or None.
        odometry: whether `proprio` and `goal` follow the agent.
        rig: body and eye; `ROOMS` by default, `VLN_CE` for R2R-CE.
        gpu_device: -1 draws on any EGL device, also in software; n >= 0 on the CUDA device n.
        scenes_dir: the folder of published scenes (see `scenes.scenes_root`).
        dataset_config: a `.scene_dataset_config.json`, in which scenes are then looked up.
        build_navmesh: make the mesh of published scenes for the rig's body, too.
        house_dir: where generated houses are written; by default a temporary folder.

    Raises:
        HabitatMissing: habitat-sim is not installed; the text says how to get it.
        RendererError: it cannot draw on `gpu_device` (found out in another process: it aborts).
        ValueError: an argument, action or task is out of its range.
    """

    # An environment that was refused is closed, too: it has none of these yet.
    lanes: list[HabitatLane] = []  # type: ignore[assignment]  # noqa: RUF012
    _house_dir: tempfile.TemporaryDirectory[str] | None = None

    def __init__(
        self,
        n_slots: int,
        *,
        expert_actions: bool = False,
        image_size: int = 64,
        sensors: Sequence[str] = ("rgb", "depth"),
        success_radius_m: float | None = None,
        sliding: bool = True,
        collision_limit: int | None = None,
        odometry: bool = True,
        rig: Rig = ROOMS,
        gpu_device: int = -1,
        scenes_dir: str | Path | None = None,
        dataset_config: str | Path | None = None,
        build_navmesh: bool = False,
        house_dir: str | Path | None = None,
    ) -> None:
        chosen = checked_sensors(sensors)
        load_habitat_sim()
        if image_size > 0:
            probe_renderer(gpu_device)
        super().__init__(n_slots, expert_actions=expert_actions, image_size=image_size)
        rules = Rules(
            3.0 if success_radius_m is None else success_radius_m,
            sliding,
            collision_limit,
            odometry,
        )
        self.sensors = chosen
        drawn = chosen if image_size else ()
        settings = Settings(rig, drawn, image_size, sliding, gpu_device)
        self._house_dir = None if house_dir else tempfile.TemporaryDirectory(prefix="houses_")
        folder = house_dir or (self._house_dir.name if self._house_dir else "")

        def files_of(scene: Any) -> Any:
            return scene_files(
                scene,
                scenes_dir=scenes_dir,
                dataset_config=dataset_config,
                house_dir=folder,
                build_navmesh=build_navmesh,
            )

        own = success_radius_m is None
        self.lanes = [
            HabitatLane(rules, settings, own_radius=own, files_of=files_of) for _ in range(n_slots)
        ]
        self.single_observation_space = self._space(image_size, expert_actions)
        self.observation_space = batch_space(self.single_observation_space, n_slots)

    def _space(self, image_size: int, expert_actions: bool) -> gym.spaces.Dict:
        spaces = dict(observation_space(image_size, expert_actions))
        spaces["instruction"] = gym.spaces.Text(MAX_WORDS, min_length=0, charset=CHARSET)
        largest = np.iinfo(np.int32).max
        shape = (image_size, image_size)
        spaces["semantic"] = gym.spaces.Box(0, largest, shape, np.int32)
        absent = set(SENSORS) - set(self.sensors)
        return gym.spaces.Dict({k: v for k, v in spaces.items() if k not in absent})

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in the rooms world; without tasks, each slot gets one in a generated house."""
        tasks = tasks_to_begin(self, seed, options, lambda s: make_tasks("train", 1, seed=s)[0])
        given = [tasks.get(slot) for slot in range(self.num_envs)]
        mask = np.array([task is not None for task in given])
        return super().reset(options={"reset_mask": mask, "tasks": given})

    def _begin(self, slot: int, task: Any) -> None:
        self.lanes[slot].reset(task)

    def _observe(self, mask: np.ndarray) -> None:
        """New pictures and follower's advice for the slots that moved."""
        for slot in np.flatnonzero(mask).tolist():
            if self._errors[slot] is None:
                self._guard(slot, lambda s=slot: self._look(s))

    def _look(self, slot: int) -> None:
        lane = self.lanes[slot]
        if self.expert_actions:
            self._actions[slot], self._words[slot] = lane.expert()
        if lane.simulation is None or not self.image_size:
            return
        frames = lane.simulation.pictures()
        if "rgb" in frames:
            self._rgb[slot] = frames["rgb"]
        if "depth" in frames:
            self._depth[slot] = np.minimum(frames["depth"], DEPTH_CLIP_M)
        if "semantic" in frames:
            self._segments[slot] = frames["semantic"]

    def frame(self, slot: int) -> np.ndarray:
        """uint8 [H, W, 3]: the colour picture of a slot. ValueError without that sensor."""
        if "rgb" not in self.sensors or not self.image_size:
            raise ValueError("make the world with the sensor 'rgb' and image_size > 0 to film it")
        return self._rgb[slot].copy()

    def segments(self, slot: int) -> np.ndarray:
        """int32 [H, W]: the semantic picture of a slot. ValueError without that sensor."""
        if "semantic" not in self.sensors:
            raise ValueError("make the world with sensors=(..., 'semantic') to see segments")
        return self._segments[slot].copy()

    def _observations(self) -> dict[str, Any]:
        obs = super()._observations()
        obs["semantic"] = self._segments.copy()
        absent = {name for name in SENSORS if name not in self.sensors}
        return {name: values for name, values in obs.items() if name not in absent}

    def _infos(self) -> dict[str, Any]:
        infos = super()._infos()
        infos["trace"]["position"][:, 2] = [a.z if a.task is not None else 0.0 for a in self.lanes]
        return infos

    def close_extras(self, **arguments: Any) -> None:
        super().close_extras(**arguments)
        if self._house_dir is not None:
            self._house_dir.cleanup()


def checked_sensors(sensors: Sequence[str]) -> tuple[str, ...]:
    """The sensors, in their own order. ValueError for none, an unknown one or one named twice."""
    names = (sensors,) if isinstance(sensors, str) else tuple(sensors)
    for name in names:
        if name not in SENSORS:
            known = ", ".join(SENSORS)
            raise ValueError(f"unknown sensor {name!r}{hint(name, SENSORS)}; there are: {known}")
    if not names or len(set(names)) != len(names):
        raise ValueError(
            f"sensors must be different and at least one, got {names}; for none take image_size=0"
        )
    return names
