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
    if batch.shape != (n, *neutral.shape):
        row = list(neutral.shape)
        raise ActionError(f"actions have shape {list(batch.shape)[1:]} per slot, expected {row}")
    integers = neutral.dtype.kind in "iub"
    if batch.dtype.kind not in ("iu" if integers else "fiu"):
        raise ActionError(f"actions have dtype {batch.dtype}, expected {neutral.dtype}")
    reasons = {}
    fit = np.repeat(neutral[None], n, axis=0)
    for slot in np.flatnonzero(active):
        reason = _reason(batch[slot], space)
        if reason is None:
            fit[slot] = batch[slot]
        else:
            reasons[int(slot)] = reason
    return fit, reasons


def _reason(action: np.ndarray, space: gym.Space[Any]) -> str | None:
    """Why `action` is refused, or None. Bounds are compared after rounding to the space's dtype."""
    if not np.isfinite(action).all():
        return f"action {action.tolist()} is not finite"
    if isinstance(space, gym.spaces.Box):
        row = action.astype(space.dtype)
        inside = bool((row >= space.low).all() and (row <= space.high).all())
    else:
        row = action
        inside = space.contains(row if action.shape else row[()])
    return None if inside else f"action {action.tolist()} is outside {space}"
