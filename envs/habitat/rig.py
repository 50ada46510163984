"""The body and the eye of the agent, and the settings of the navigation mesh that fit the body."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.rooms.bodies import EYE_HEIGHT_M, EYE_PITCH_RAD, HFOV_DEG
from pilotage.envs.rooms.expert import FORWARD_M, TURN_RAD
from pilotage.envs.rooms.house import AGENT_HEIGHT_M, AGENT_RADIUS_M

TURN_DEG = math.degrees(TURN_RAD)
SENSORS = ("rgb", "depth", "semantic")
_CELLS_PER_RADIUS = 4  # a power of two: the library rounds the radius up to whole cells


@dataclass(frozen=True)
class Rig:
    """Lengths in metres, angles in degrees; the eye looks `eye_pitch_deg` below the horizon."""

    radius_m: float = AGENT_RADIUS_M
    height_m: float = AGENT_HEIGHT_M
    eye_height_m: float = EYE_HEIGHT_M
    eye_pitch_deg: float = math.degrees(EYE_PITCH_RAD)
    hfov_deg: float = HFOV_DEG

    def __post_init__(self) -> None:
        for name in ("radius_m", "height_m", "eye_height_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be finite and > 0, got {value}")
        if not -90 <= self.eye_pitch_deg <= 90:
            raise ValueError(f"eye_pitch_deg must lie in [-90, 90], got {self.eye_pitch_deg}")
        if not 0 < self.hfov_deg < 180:
            raise ValueError(f"hfov_deg must lie between 0 and 180, got {self.hfov_deg}")

    def agent(self, library: Any, sensors: tuple[str, ...], image_size: int) -> Any:
        """The library's `AgentConfiguration`: this body, its sensors, the three movements."""
        agent = library.agent.AgentConfiguration()
        agent.height, agent.radius = self.height_m, self.radius_m
        agent.sensor_specifications = [self._camera(library, s, image_size) for s in sensors]
        amounts = {"move_forward": FORWARD_M, "turn_left": TURN_DEG, "turn_right": TURN_DEG}
        agent.action_space = {
            name: library.agent.ActionSpec(name, library.agent.ActuationSpec(amount=amount))
            for name, amount in amounts.items()
        }
        return agent

    def _camera(self, library: Any, sensor: str, image_size: int) -> Any:
        kinds = {"rgb": "COLOR", "depth": "DEPTH", "semantic": "SEMANTIC"}
        spec = library.CameraSensorSpec()
        spec.uuid = sensor
        spec.sensor_type = getattr(library.SensorType, kinds[sensor])
        spec.resolution = [image_size, image_size]
        spec.hfov = self.hfov_deg
        # numpy vectors: the library takes no lists here
        spec.position = np.array([0.0, self.eye_height_m, 0.0], dtype=np.float32)
        spec.orientation = np.array([-math.radians(self.eye_pitch_deg), 0.0, 0.0], dtype=np.float32)
        return spec

    def navmesh(self, library: Any) -> Any:
        """Settings for a mesh on which this body is as wide as it is, to a quarter of its radius.

        The library's defaults (cells of 5 cm, 20 cm high) would make a body of 0.18 m one of 0.2 m
        and let it climb over what is 20 cm high; in `rooms` nothing solid can be climbed.
        """
        settings = library.NavMeshSettings()
        settings.set_defaults()
        settings.agent_radius, settings.agent_height = self.radius_m, self.height_m
        settings.cell_size = self.radius_m / _CELLS_PER_RADIUS
        settings.cell_height = 0.05
        settings.agent_max_climb = 0.1
        return settings


ROOMS = Rig()  # the body and eye of `pilotage.envs.rooms`
VLN_CE = Rig(radius_m=0.1, eye_pitch_deg=0.0)  # Krantz et al. 2020 (arXiv:2004.02857): R2R-CE
