"""Folders as LeRobot saves policies: configuration, features, scaling of states and actions.

`config.json` names the features and how each kind is scaled; the statistics lie in
`policy_preprocessor_step_*_normalizer_processor.safetensors` and
`policy_postprocessor_step_*_unnormalizer_processor.safetensors` as `action.q01`, ..., or, in older
folders, among the weights as `unnormalize_outputs.buffer_action.mean`, ....
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from pilotage.agents.loaders.files import WeightFiles, checkpoint_folder, read_json
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.envs.tabletop.layout import EE_CENTRE, EE_RANGE

STATE, ACTION = "observation.state", "action"
CAMERAS = ("rgb", "wrist_rgb")  # what this world shows, in the order of a policy's cameras
# Mode -> the two statistics and whether they are the ends of -1..1 (else mean and deviation).
_MODES = {
    "QUANTILES": ("q01", "q99", True),
    "MIN_MAX": ("min", "max", True),
    "MEAN_STD": ("mean", "std", False),
}
_SIDES = {STATE: ("preprocessor", "normalizer"), ACTION: ("postprocessor", "unnormalizer")}
_BUFFERS = {
    STATE: "normalize_inputs.buffer_observation_state",
    ACTION: "unnormalize_outputs.buffer_action",
}
WIDE_M = 0.08  # the gripper, fully open


@dataclass(frozen=True, eq=False)
class Scale:
    """value = offset + factor * normalised, each float64 `[A]`."""

    offset: np.ndarray
    factor: np.ndarray

    def restore(self, normalised: np.ndarray) -> np.ndarray:
        return self.offset + self.factor * normalised

    def normalise(self, value: np.ndarray) -> np.ndarray:
        return (value - self.offset) / np.where(self.factor == 0.0, 1e-8, self.factor)


@dataclass(frozen=True)
class Features:
    """cameras: the policy's, in order; None stands for one that this world has no picture for."""

    cameras: tuple[str | None, ...]
    n_state: int
    n_action: int

    @classmethod
    def read(cls, config: Mapping[str, Any], where: str) -> Features:
        """CheckpointError if a feature is missing."""
        inputs, outputs = config.get("input_features") or {}, config.get("output_features") or {}
        named = [name for name, f in inputs.items() if f.get("type") == "VISUAL"]
        missing = [n for n, there in ((STATE, inputs), (ACTION, outputs)) if n not in there]
        if missing or not named:
            raise CheckpointError(
                f"{where} names no feature {', '.join(missing) or 'of type VISUAL'}; it is not the "
                "configuration of a trained policy"
            )
        real = iter(CAMERAS)
        cameras = tuple(None if "empty_camera" in name else next(real, None) for name in named)
        return cls(cameras, inputs[STATE]["shape"][0], outputs[ACTION]["shape"][0])


def lerobot_config(folder: Path, kind: str, hub_name: str) -> dict[str, Any]:
    """config.json of a policy of this type. CheckpointError for another."""
    config = read_json(folder / "config.json", "the configuration", hub_name)
    if config.get("type") != kind:
        raise CheckpointError(
            f"{folder / 'config.json'} says type {config.get('type')!r}, not {kind!r}"
        )
    return config


def read_scale(
    folder: Path, weights: WeightFiles, config: Mapping[str, Any], feature: str, n: int
) -> Scale:
    """How a feature of `n` numbers is scaled. CheckpointError naming the file that should say."""
    kind = "STATE" if feature == STATE else "ACTION"
    mode = (config.get("normalization_mapping") or {}).get(kind)
    if mode == "IDENTITY":
        return Scale(np.zeros(n), np.ones(n))
    if mode not in _MODES:
        raise CheckpointError(
            f"{folder / 'config.json'} scales {kind} by {mode!r}; there are: IDENTITY, "
            f"{', '.join(_MODES)}"
        )
    low_name, high_name, ends = _MODES[mode]
    side, step = _SIDES[feature]
    pattern = f"policy_{side}_step_*_{step}_processor.safetensors"
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob(pattern)):
        found |= {k: v.double().numpy() for k, v in load_file(path).items()}
    values = [found.get(f"{feature}.{name}") for name in (low_name, high_name)]
    if any(v is None for v in values):
        values = [weights_value(weights, f"{_BUFFERS[feature]}.{s}") for s in (low_name, high_name)]
    low, high = values
    if low is None or high is None:
        raise CheckpointError(
            f"{folder} does not say how {feature} is scaled: no {low_name} and {high_name} in "
            f"{pattern}. A base model has none: use one that was tuned on a data set"
        )
    if low.shape != (n,) or high.shape != (n,) or not np.isfinite([low, high]).all():
        raise CheckpointError(
            f"{folder}: the statistics of {feature} have shapes {low.shape} and {high.shape}, or "
            f"are not finite; expected {n} numbers"
        )
    if ends:
        return Scale((low + high) / 2, (high - low) / 2)
    return Scale(low, high)


def weights_value(weights: WeightFiles, name: str) -> np.ndarray | None:
    """One small tensor of the weights, or None."""
    if name not in weights.files:
        return None
    return load_file(weights.files[name])[name].double().numpy()


def companion(folder: Path, inside: str, hub_name: str, file: str) -> Path:
    """A tokenizer that a policy names but does not hold: from `folder/inside`, or from the hub.

    CheckpointError with the command that puts it there.
    """
    path = folder / inside
    if (path / file).is_file():
        return path
    try:
        return checkpoint_folder(hub_name, hub_name)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path / file} is missing. Get it with: hf download {hub_name} --include '*.json' "
            f"--local-dir {path}"
        ) from error


def hand_state(proprio: np.ndarray, n: int, where: str) -> np.ndarray:
    """The state that a policy was trained to see, float64 `[R, n]`, from proprioception `[R, 7]`.

    Known is LIBERO's, of 8 numbers: position in m, axis-angle (the hand points down and is turned
    by its yaw), and the two fingers in m. The origin stays this world's. CheckpointError otherwise.
    """
    if n != 8:
        raise CheckpointError(
            f"{where} wants a state of {n} numbers; only LIBERO's 8 (position, axis-angle, two "
            "fingers) can be made here"
        )
    values = np.asarray(proprio, dtype=np.float64)
    half = np.arctan2(values[:, 3], values[:, 4]) / 2
    finger = (values[:, 5] + 1.0) / 2.0 * WIDE_M / 2.0
    turn = np.pi * np.stack([np.cos(half), np.sin(half), np.zeros_like(half)], axis=1)
    place = values[:, :3] * np.array(EE_RANGE) + np.array(EE_CENTRE)
    return np.concatenate([place, turn, finger[:, None], -finger[:, None]], axis=1)
