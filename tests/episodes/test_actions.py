"""Actions fit for a world: agrees with Gymnasium's own `contains`, row by row."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.episodes.actions import ActionError, check_actions, neutral_action

SPACES: list[gym.Space[Any]] = [
    gym.spaces.Box(-1, 1, (2,), np.float32),
    gym.spaces.Box(np.array([1.0, -3.0]), np.array([2.0, -1.0]), dtype=np.float64),
    gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
    gym.spaces.Discrete(4),
    gym.spaces.Discrete(3, start=2),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiBinary(2),
]
VALUES = [-3, -2, -1, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("space", SPACES, ids=str)
@given(data=st.data())
def test_rows_are_refused_exactly_when_the_space_does_not_contain_them(
    space: gym.Space[Any], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 4))
    shape = (n, *(space.shape or ()))
    values = st.sampled_from(VALUES)
    if isinstance(space, gym.spaces.Box):
        values |= st.sampled_from([np.nan, np.inf, 0.5, 1.0000001, 1 + 1e-12])
    flat = data.draw(st.lists(values, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    kind = np.float64 if isinstance(space, gym.spaces.Box) else np.int64
    actions = np.array(flat, kind).reshape(shape)
    active = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    fit, reasons = check_actions(actions, active, space)
    assert (fit.shape, fit.dtype) == (shape, space.dtype)
    for slot in range(n):
        row = actions[slot].astype(space.dtype)  # type: ignore[arg-type]
        inside = space.contains(row) and bool(np.isfinite(actions[slot]).all())
        assert (slot in reasons) == (active[slot] and not inside)
        expected = row if active[slot] and inside else neutral_action(space)
        assert (fit[slot] == expected).all()
        assert space.contains(fit[slot])


def test_reasons_show_the_value_and_the_space_but_not_the_slot() -> None:
    actions = np.array([[0, 0], [0, 7], [np.nan, 0]])
    _, reasons = check_actions(actions, np.ones(3, bool), SPACES[0])
    assert reasons == {
        1: "action [0.0, 7.0] is outside Box(-1.0, 1.0, (2,), float32)",
        2: "action [nan, 0.0] is not finite",
    }


@pytest.mark.parametrize(
    ("actions", "space", "message"),
    [
        (np.zeros((2, 3)), SPACES[0], r"shape \[3\] per slot, expected \[2\]"),
        (np.zeros(2), SPACES[0], r"shape \[\] per slot, expected \[2\]"),
        (np.zeros((1, 2)), SPACES[0], "1 rows, expected 2"),
        (np.zeros((2, 2), complex), SPACES[0], "dtype complex128, expected float32"),
        (np.zeros(2), SPACES[3], "dtype float64, expected int64"),
        (np.zeros(2, bool), SPACES[3], "dtype bool"),
        (["left", "right"], SPACES[3], "dtype <U5"),
        (None, SPACES[3], "None"),
        (3, SPACES[3], "actions are 3, expected an array"),
    ],
)
def test_a_batch_of_the_wrong_kind_is_refused(
    actions: Any, space: gym.Space[Any], message: str
) -> None:
    with pytest.raises(ActionError, match=message):
        check_actions(actions, np.ones(2, bool), space)


def test_a_space_that_is_not_supported_is_named() -> None:
    with pytest.raises(TypeError, match=r"Text.*is not supported; use Box"):
        neutral_action(gym.spaces.Text(3))
