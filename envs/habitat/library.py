"""habitat-sim itself: loaded when it is needed; another process finds out whether it draws."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import lru_cache
from typing import Any

EXTRA = "pip install 'pilotage[habitat]'"
CONDA = "conda install habitat-sim withbullet headless -c conda-forge -c aihabitat"
REMEDY = f"it has no wheel on PyPI: {CONDA}; then {EXTRA} for what its Python side needs"
_PROBE_SECONDS = 120

# Without a matching device the library aborts, which no `except` can catch: another process tries.
_PROBE = """
import sys
import numpy as np
import habitat_sim
backend = habitat_sim.SimulatorConfiguration()
backend.scene_id = "NONE"
backend.gpu_device_id = int(sys.argv[1])
sensor = habitat_sim.CameraSensorSpec()
sensor.uuid = "rgb"
sensor.resolution = [4, 4]
sensor.position = np.zeros(3, dtype=np.float32)
agent = habitat_sim.agent.AgentConfiguration()
agent.sensor_specifications = [sensor]
with habitat_sim.Simulator(habitat_sim.Configuration(backend, [agent])) as sim:
    print("drawn", sim.get_sensor_observations()["rgb"].shape)
"""


class HabitatMissing(ModuleNotFoundError):
    """habitat-sim is not installed; the text says how to get it."""


class RendererError(RuntimeError):
    """habitat-sim cannot draw on the device that was asked for; the text says what else to try."""


def load_habitat_sim() -> Any:
    """The module `habitat_sim`.

    Raises HabitatMissing when it is not installed. A broken one shows its own error.
    """
    try:
        return importlib.import_module("habitat_sim")
    except ModuleNotFoundError as error:
        if error.name != "habitat_sim":
            raise  # installed, but a part of it is missing: show which
        raise HabitatMissing(
            f"habitat_sim is needed here; {REMEDY}. The same houses can be played without it in "
            "pilotage.envs.rooms",
            name="habitat_sim",
        ) from error


def probe_renderer(gpu_device: int) -> None:
    """Draw one tiny picture in another process. Asked once per device and process.

    Args:
        gpu_device: -1 takes any EGL device, also a software one; n >= 0 the CUDA device n.

    Raises:
        HabitatMissing: it is not installed.
        RendererError: the other process did not come back with a picture; its last words are told.
    """
    load_habitat_sim()
    problem = _renderer_problem(gpu_device)
    if problem:
        raise RendererError(problem)


@lru_cache(maxsize=8)
def _renderer_problem(gpu_device: int) -> str:
    command = [sys.executable, "-c", _PROBE, str(gpu_device)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return (
            f"habitat_sim drew nothing on gpu_device {gpu_device} in {_PROBE_SECONDS} s; take "
            "image_size=0, which needs no pictures"
        )
    if result.returncode == 0 and "drawn" in result.stdout:
        return ""
    said = " ".join(result.stderr.split())[-400:] or "nothing"
    other = (
        "apt-get install libegl1 libgl1-mesa-dri lets it draw in software"
        if gpu_device < 0
        else "gpu_device=-1 takes any EGL device, also a software one"
    )
    return (
        f"habitat_sim cannot draw on gpu_device {gpu_device}: the process ended with code "
        f"{result.returncode} and said: {said}. {other}; image_size=0 needs no renderer"
    )
