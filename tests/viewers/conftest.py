"""Synthetic records: what a run of a tabletop or a rooms world would have left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task

SCENE = {
    "objects": [
        {
            "color": "red",
            "shape": "cube",
            "position": [0.45, -0.1],
            "yaw": 0.2,
            "rgb": [0.85, 0.12, 0.1],
        },
        {
            "color": "blue",
            "shape": "ball",
            "position": [0.55, 0.12],
            "yaw": 0.0,
            "rgb": [0.12, 0.25, 0.85],
        },
        {
            "color": "yellow",
            "shape": "brick",
            "position": [0.6, -0.16],
            "yaw": -0.3,
            "rgb": [0.95, 0.85, 0.1],
        },
    ],
    "zones": [
        {"color": "green", "shape": "square", "position": [0.42, 0.14], "rgb": [0.12, 0.62, 0.18]}
    ],
}
# name -> (steps, sideways bend, dose, success)
TABLETOP = {
    "baseline": (34, 0.02, 0.0, True),
    "fast": (20, 0.03, 0.12, True),
    "slow": (55, 0.01, 0.12, True),
    "random-matched": (36, -0.06, 0.12, False),
}


def make_task(index: int = 0, env: str = "tabletop", instruction: str = "", **changes: Any) -> Task:
    words = {
        "task_id": f"{env}-push-{index:03d}",
        "env": env,
        "split": "test",
        "family": "push",
        "instruction": instruction or "push the red cube into the green zone quickly",
        "max_steps": 80,
        "scene": SCENE if env == "tabletop" else {},
        "start": {},
        "goal": {},
        "shortest_path_length": 0.4,
    }
    return Task(**(words | changes))


def _frames(rng: np.random.Generator, path: np.ndarray, size: int) -> np.ndarray:
    """A table with a dark square where the hand is: something one can see moving."""
    rows, columns = np.mgrid[0:size, 0:size]
    frames = np.zeros((len(path), size, size, 3), np.uint8)
    frames[:] = (168, 148, 125)
    frames[:, : size // 4] = (190, 210, 230)
    frames[:, size // 2 : size // 2 + 6, 12:18] = (210, 40, 30)
    frames[:, 3 * size // 5 : 3 * size // 5 + 9, size - 22 : size - 12] = (60, 160, 70)
    for frame, (x, y, z) in zip(frames, path, strict=True):
        column, row = size * (0.5 + 1.4 * y), size * (0.15 + x - 0.5 * z)
        frame[(abs(rows - row) < 4) & (abs(columns - column) < 4)] = (40, 44, 52)
    return frames


def make_tabletop(
    condition: str, index: int = 0, *, instruction: str = "", size: int = 64, error: bool = False
) -> EpisodeRecord:
    """One push: the hand goes to the cube and takes it to the zone."""
    steps, bend, dose, success = TABLETOP.get(condition, (40, -0.03, 0.08, True))
    rng = np.random.default_rng([index, *condition.encode()])
    s = np.linspace(0, 1, steps + 1)
    s = s**2 * (3 - 2 * s)
    corners = np.array([[0.4, -0.22, 0.25], [0.45, -0.14, 0.03], [0.42, 0.12, 0.03]])
    path = np.stack([np.interp(s, [0, 0.5, 1], corners[:, k]) for k in range(3)], axis=1)
    path[:, 0] += bend * np.sin(2 * np.pi * s) + 0.01 * index
    path += rng.normal(0, 0.001, path.shape)
    objects = np.zeros((steps + 1, 6, 3))
    for k, thing in enumerate(SCENE["objects"]):
        objects[:, k] = [*thing["position"], 0.02]
    objects[:, 0, 1] += np.where(s > 0.5, (s - 0.5) / 0.5 * 0.24, 0)
    trace = {
        "ee_position": path,
        "ee_quaternion": np.tile([0.0, 1, 0, 0], (steps + 1, 1)),
        "gripper_width": np.full((steps + 1, 1), 0.04),
        "joint_positions": rng.normal(size=(steps + 1, 9)),
        "object_positions": objects,
        "distance_to_goal": np.linalg.norm(path - path[-1], axis=1)[:, None],
    }
    agent_trace = {
        "dose": dose * (0.8 + 0.4 * rng.random(steps)),
        "coefficient": np.full(steps, 4.0 if dose else 0.0),
    }
    end = (
        EndReason.AGENT_ERROR
        if error
        else EndReason.GOAL_REACHED
        if success
        else EndReason.STEP_LIMIT
    )
    task = make_task(index, instruction=instruction)
    return EpisodeRecord(
        task=task,
        condition=condition,
        seeds=Seeds.of(task, run_seed=0),
        agent_id="nano-tabletop@3f2a90",
        end=end,
        success=success and not error,
        actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        rewards=np.zeros(steps),
        trace=trace,
        agent_trace=agent_trace,
        frames=_frames(rng, path, size),
        error="ValueError: NaN in action" if error else None,
    )


# What the token ids of `with_tokens` mean.
TOKENS = ("slowly", "quickly", "<unk>", "-1.00", "-0.10", "+0.10", "+1.00")
CLAMP = "layers.2.mlp.down_proj:in"


def with_tokens(record: EpisodeRecord, *, told: bool = True) -> EpisodeRecord:
    """The record with readings of two layers; if steered, one direction and two neurons are edited.

    `told`: with the receipt that says what the ids mean.
    """
    n = record.n_steps
    ids = np.tile(np.array([[4, 5, 3], [5, 6, 4]], np.int32), (n, 1, 1))
    ids[n // 2 :, 1] = (1, 0, 2)  # in the second half the upper layer says a word
    trace = {
        "top_token_ids": ids,
        "top_token_logits": np.tile(np.array([3.0, 2.0, 1.0], np.float32), (n, 2, 1)),
        "neuron_activations": np.full((n, 2), np.nan, np.float32),
        "neuron_activations_before": np.full((n, 2), np.nan, np.float32),
    }
    pushes: list[dict[str, Any]] = []
    if record.condition != "baseline":
        pushes = [
            {"kind": "add", "site": "layers.2.resid:out", "top_token_ids": [6, 5]},
            {"kind": "clamp", "site": CLAMP, "neuron": 7, "top_token_ids": [0, 2]},
            {"kind": "clamp", "site": CLAMP, "neuron": 40, "top_token_ids": [1, 1]},
        ]
        trace["neuron_activations"][:] = 3.0
        trace["neuron_activations_before"][:] = np.linspace(-0.5, 0.0, 2 * n).reshape(n, 2)
    words = {str(i): word for i, word in enumerate(TOKENS)}
    reading = {"layers": [0, 2], "pushes": pushes, "words": words}
    return replace(
        record,
        agent_trace={**record.agent_trace, **trace},
        receipt={"reading": reading} if told else {},
    )


@pytest.fixture
def reading() -> Callable[..., EpisodeRecord]:
    return with_tokens


@pytest.fixture
def tabletop() -> Callable[..., EpisodeRecord]:
    return make_tabletop


@pytest.fixture
def task_of() -> Callable[..., Task]:
    return make_task


@pytest.fixture
def records() -> list[EpisodeRecord]:
    return [make_tabletop(condition) for condition in TABLETOP]


def make_rows() -> list[dict[str, Any]]:
    """What `comparison_rows` gives, with one metric and numbers that are easy to find."""
    rows = [_row("baseline", 0.85, (0.71, 0.93), 0.114, 0.0)]
    effects = {
        "fast": (
            0.775,
            (0.62, 0.88),
            0.19,
            0.12,
            (-0.075, -0.18, 0.03),
            0.25,
            (0.076, 0.06, 0.092),
        ),
        "slow": (0.8, (0.65, 0.9), 0.07, 0.12, (-0.05, -0.15, 0.05), 0.5, (-0.044, -0.055, -0.03)),
        "random-matched": (
            *(0.6, (0.45, 0.74), 0.108, 0.12),
            *((-0.25, -0.4, -0.1), 0.0004, (-0.004, -0.02, 0.012)),
        ),
    }
    for name, (rate, bounds, speed, dose, success, p, effect) in effects.items():
        row = _row(name, rate, bounds, speed, dose)
        row |= {"n_pairs": 39, "n_unpaired": 1 if name == "fast" else 0, "mcnemar_p": p}
        for stem, key, (middle, low, high) in (
            ("delta_success", "delta_success", success),
            ("mean_speed", "mean_speed_delta", effect),
        ):
            row |= {key: middle, f"{stem}_low": low, f"{stem}_high": high}
        rows.append(row | {"n_errors": 1 if name == "fast" else 0})
    return rows


def _row(
    name: str, rate: float, bounds: tuple[float, float], speed: float, dose: float
) -> dict[str, Any]:
    columns = ("n_pairs", "n_unpaired", "delta_success", "mcnemar_p", "mean_speed_delta")
    return {
        **{"condition": name, "n": 40, "n_errors": 0, "success_rate": rate},
        **{"success_low": bounds[0], "success_high": bounds[1], "mean_dose": dose},
        **{"mean_speed": speed, "mean_speed_n": 40},
        **dict.fromkeys(columns),
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return make_rows()
