"""Checks an agent's batch of actions against the world's action space, slot by slot."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class ActionError(ValueError):
    """The whole batch of actions is unusable: its shape or dtype is wrong, so no slot is exempt."""


def neutral_action(space: gym.Space[Any]) -> np.ndarray:
    """An action inside `space` for rows that no one looks at: zero, moved into the bounds."""
    if isinstance(space, gym.spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    if isinstance(space, gym.spaces.Discrete):
        return np.asarray(space.start, space.dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return np.asarray(space.start, space.dtype)
    if isinstance(space, gym.spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype)
    raise TypeError(
        f"action space {space} is not supported; use Box, Discrete, MultiDiscrete or MultiBinary"
    )


def check_actions(
    actions: Any, active: np.ndarray, space: gym.Space[Any]
) -> tuple[np.ndarray, dict[int, str]]:
    """Sort an agent's answer into actions fit for the world and reasons for the slots that are not.

    Args:
        actions: what the agent returned, expected `[n, *space.shape]`.
        active: bool `[n]`; rows of other slots are not looked at.
        space: the world's `single_action_space`.

    Returns:
        (fit, reasons): `fit` has the dtype of the space, and a neutral action in every row that is
        not active or was refused; `reasons[slot]` says what was wrong. The texts do not name the
        slot, because a record must not depend on it.

    Raises:
        ActionError: the batch has the wrong shape or kind of number.
    """
    n = len(active)
    neutral = neutral_action(space)
    batch = np.asarray(actions)
    if batch.ndim == 0 or batch.dtype.kind not in "biufcUS":
        raise ActionError(f"actions are {actions!r}, expected an array {[n, *neutral.shape]}")
    if batch.shape[1:] != neutral.shape:
        row = list(neutral.shape)
        raise ActionError(f"actions have shape {list(batch.shape)[1:]} per slot, expected {row}")
    if len(batch) != n:
        raise ActionError(f"actions have {len(batch)} rows, expected {n}")
    integers = neutral.dtype.kind in "iub"
    if batch.dtype.kind not in ("iu" if integers else "fiu"):
        raise ActionError(f"actions have dtype {batch.dtype}, expected {neutral.dtype}")
    fit = np.repeat(neutral[None], n, axis=0)
    usable = active & _inside(batch, space)
    fit[usable] = batch[usable]
    refused = np.flatnonzero(active & ~usable)
    return fit, {int(slot): _reason(batch[slot], space) for slot in refused}


def _inside(batch: np.ndarray, space: gym.Space[Any]) -> np.ndarray:
    """bool [n]: finite and within the bounds, compared after rounding to the space's dtype."""
    if isinstance(space, gym.spaces.Box):
        with np.errstate(over="ignore"):
            rounded = batch.astype(space.dtype)
        inside = np.isfinite(batch) & (rounded >= space.low) & (rounded <= space.high)
    elif isinstance(space, gym.spaces.MultiBinary):
        inside = (batch == 0) | (batch == 1)
    else:
        start, size = (space.start, getattr(space, "n", None))  # type: ignore[attr-defined]
        size = space.nvec if size is None else size  # type: ignore[attr-defined]
        inside = (batch >= start) & (batch < start + size)
    return inside.reshape(len(batch), -1).all(axis=1)


def _reason(action: np.ndarray, space: gym.Space[Any]) -> str:
    """Why `action` is refused."""
    problem = f"outside {space}" if np.isfinite(action).all() else "not finite"
    return f"action {action.tolist()} is {problem}"
