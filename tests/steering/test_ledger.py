"""What is counted over many forwards, against one plain hook that looks at each of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.steering import Intervention, Selector, Steerer
from pilotage.steering.tokens import IMAGE, INSTRUCTION, PAD

from .conftest import make_llama
from .helpers import RESID, begin, ids, unit

N_ROWS = 4
PHASES = ("prefill", "decode")
STEERED = make_llama(num_hidden_layers=2)
PLAIN = copy.deepcopy(STEERED)
ROWS = st.sampled_from([[0, 1, 2, 3], [1, 2], [2, 3], [3, 0, 2], [1]])
SELECTORS = {1: Selector(token_groups=frozenset({"instruction"})), 2: Selector(env_steps=(1, 3))}


class Watched:
    """A Steerer with an addition in every row, and the sums that a plain hook makes of them."""

    def __init__(self, steerer: Steerer, outputs: list[torch.Tensor]) -> None:
        self.steerer, self.outputs = steerer, outputs
        self.sums = np.zeros((2, N_ROWS, 3))  # edits, |dh|, dose
        self.step_sums = np.zeros((N_ROWS, 3))
        self.forwards = np.zeros((2, N_ROWS), int)
        self.last_step = np.full(N_ROWS, -1)
        self.coefficients = np.zeros(N_ROWS)
        for row in range(N_ROWS):
            self.set_row(row, 1.0)

    def set_row(self, row: int, coefficient: float) -> None:
        what = Intervention(
            "add",
            RESID,
            coefficient,
            direction=unit(32, row),
            selector=SELECTORS.get(row, Selector()),
        )
        self.steerer.set_row(row, [what])
        self.sums[:, row], self.step_sums[row], self.forwards[:, row] = 0, 0, 0
        self.last_step[row], self.coefficients[row] = -1, coefficient

    def set_coefficient(self, row: int, coefficient: float) -> None:
        self.steerer.set_coefficient(row, 0, coefficient)
        self.coefficients[row] = coefficient

    def forward(
        self, rows: list[int], layout: list[int], phase: int, step: int, live: list[bool]
    ) -> None:
        """layout: token groups of every row. live: of all rows."""
        alive, n = np.array(live)[rows], len(rows)
        tokens = ids(n, len(layout), seed=step)
        begin(
            self.steerer,
            np.array([layout] * n, np.int8),
            rows=rows,
            phase=PHASES[phase],
            env_steps=np.full(n, step),
            live=alive,
        )
        self.outputs.clear()
        with torch.no_grad():
            STEERED(tokens, use_cache=False)
            PLAIN(tokens, use_cache=False)
        steered, plain = self.outputs
        change = (steered - plain).norm(dim=-1).double().numpy()
        dose = change / plain.norm(dim=-1).double().numpy()
        for place in np.flatnonzero(alive):
            row = rows[place]
            if step != self.last_step[row]:
                self.step_sums[row], self.last_step[row] = 0, step
            parts = np.array([(change[place] > 0).sum(), change[place].sum(), dose[place].sum()])
            self.step_sums[row] += parts
            self.sums[phase, row] += parts
            self.forwards[phase, row] += 1
        assert [list(change[place] > 0) for place in range(n)] == [
            [bool(alive[place]) and self.acts(rows[place], group, step) for group in layout]
            for place in range(n)
        ]

    def acts(self, row: int, group: int, step: int) -> bool:
        """The selectors of the rows in words."""
        if self.coefficients[row] == 0 or group == PAD:
            return False
        return {1: group == INSTRUCTION, 2: step in (1, 2)}.get(row, True)

    def check(self, row: int) -> None:
        receipt = self.steerer.receipt(row)
        self.steerer.check_receipt(receipt)
        entry: dict[str, Any] = receipt["interventions"][0]
        for number, phase in enumerate(PHASES):
            assert receipt["forwards"][phase] == self.forwards[number, row]
            assert entry["edited_tokens"][phase] == self.sums[number, row, 0]
            assert entry["delivered_norm_sum"][phase] == pytest.approx(
                self.sums[number, row, 1], rel=1e-4
            )
        edits, _, dose = self.sums[:, row].sum(0)
        assert entry["mean_dose"] == pytest.approx(dose / max(edits, 1), rel=1e-4)

    def check_all(self) -> None:
        for row in range(N_ROWS):
            self.check(row)
        expected = self.step_sums[:, 2] / np.maximum(self.step_sums[:, 0], 1)
        assert self.steerer.last_dose() == pytest.approx(expected, rel=1e-4)


@contextmanager
def watch() -> Iterator[Watched]:
    outputs: list[torch.Tensor] = []
    handles = [
        model.model.layers[1].register_forward_hook(lambda m, a, out: outputs.append(out))
        for model in (STEERED, PLAIN)
    ]
    try:
        with Steerer(STEERED, n_rows=N_ROWS) as steerer:
            yield Watched(steerer, outputs)
    finally:
        for handle in handles:
            handle.remove()


FORWARDS = st.tuples(
    st.just("forward"),
    ROWS,
    st.sampled_from([[IMAGE, INSTRUCTION], [INSTRUCTION, IMAGE], [INSTRUCTION], [PAD, IMAGE]]),
    st.integers(0, 1),
    st.integers(0, 3),
    st.just([True] * N_ROWS) | st.lists(st.booleans(), min_size=N_ROWS, max_size=N_ROWS),
)
READS = st.tuples(st.just("check"), st.integers(0, N_ROWS - 1)) | st.tuples(st.just("check_all"))
CHANGES = st.tuples(
    st.sampled_from(["set_row", "set_coefficient"]),
    st.integers(0, N_ROWS - 1),
    st.sampled_from([1.0, -0.5, 0.0, 2.0]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(FORWARDS | FORWARDS | READS | CHANGES, min_size=4, max_size=14))
def test_sums_are_those_of_a_plain_hook(actions: list[tuple[Any, ...]]) -> None:
    """Forwards of other rows, layouts and phases, read and changed at any time between them."""
    with watch() as watched:
        for name, *values in actions:
            getattr(watched, name)(*values)
        watched.check_all()


def test_forwards_of_one_shape_are_told_apart() -> None:
    """By rows, phase, token groups, env step and who is live; nothing is read before the end.

    A new env step is what makes the sums be brought up to date, so most forwards are within one.
    """
    layouts = [[IMAGE, INSTRUCTION], [PAD, INSTRUCTION], [IMAGE, IMAGE]]
    with watch() as watched:
        for step in (0, 1, 3):
            for layout, phase in product(layouts, (0, 1)):
                for rows in ([1, 2], [2, 3], [3, 1]):
                    watched.forward(rows, layout, phase, step, [True] * N_ROWS)
                    watched.forward(rows, layout, phase, step, [True, False, True, True])
        watched.check_all()


def test_a_row_set_anew_in_an_env_step_starts_its_dose_there() -> None:
    with watch() as watched:
        watched.forward([0, 1], [INSTRUCTION], 0, 1, [True] * N_ROWS)
        watched.set_row(0, 2.0)
        watched.forward([0, 1], [INSTRUCTION], 0, 1, [True] * N_ROWS)
        watched.set_coefficient(0, 3.0)
        watched.forward([0, 1], [INSTRUCTION], 0, 1, [True, False, True, True])
        watched.check_all()


def test_more_kinds_of_forwards_than_are_kept_are_all_counted() -> None:
    """Every subset of nine live rows once, and twice over, with nothing read in between."""
    n_rows = 9
    with Steerer(STEERED, n_rows=n_rows) as steerer, torch.no_grad():
        for row in range(n_rows):
            steerer.set_row(row, [Intervention("add", RESID, 1.0, direction=unit(32, row))])
        tokens = ids(n_rows, 1)
        for number in [*range(2**n_rows), *range(2**n_rows)]:
            live = np.array([bool(number >> row & 1) for row in range(n_rows)])
            begin(steerer, np.zeros((n_rows, 1), np.int8), phase="decode", live=live)
            STEERED.model(tokens, use_cache=False)
        for row in range(n_rows):
            receipt = steerer.receipt(row)
            steerer.check_receipt(receipt)
            assert receipt["forwards"] == {"prefill": 0, "decode": 2**n_rows}
            assert receipt["interventions"][0]["edited_tokens"]["decode"] == 2**n_rows


def test_reading_between_begin_and_forward_loses_nothing() -> None:
    tokens = ids(2, 3)
    with Steerer(STEERED, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 0))])
        for _ in range(3):
            begin(steerer, np.zeros((2, 3), np.int8))
            assert steerer.receipt(0)["forwards"]["prefill"] > 0
            STEERED(tokens, use_cache=False)
            steerer.check_receipt(steerer.receipt(0))
        assert steerer.receipt(0)["interventions"][0]["edited_tokens"]["prefill"] == 9
