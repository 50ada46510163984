"""Hidden states of the slots while they act, where their first action token is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from torch import nn

from pilotage.steering.captures import capture


class StateReader:
    """Keeps the last position's state at each of its sites, for every row.

    Enter `watch` around the forward that predicts the first action token, inside the Steerer: it
    sees what the model computes with, edits included. The forward computes the same with and
    without it.
    """

    def __init__(self, decoder: nn.Module, sites: Iterable[str]) -> None:
        self._sites = sorted(set(sites))
        self._capture = capture(decoder, self._sites, reduce="last")
        self._states: dict[tuple[str, int], np.ndarray] = {}

    @contextmanager
    def watch(self, rows: slice) -> Iterator[None]:
        """Around one forward of these rows."""
        self._capture.clear()
        with self._capture as seen:
            yield
        for site in self._sites:
            for row, state in zip(
                range(rows.start, rows.stop), seen.activations(site).numpy(), strict=True
            ):
                self._states[site, row] = state

    def state(self, site: str, row: int) -> np.ndarray | None:
        """float32 `[d]` of the row's last env step; None before its episode's first."""
        return self._states.get((site, row))

    def clear_row(self, row: int) -> None:
        """A new episode begins in a row."""
        for site in self._sites:
            self._states.pop((site, row), None)

    def states(self, site: str, n_slots: int) -> np.ndarray:
        """float32 `[n_slots, d]`, NaN where nothing was read yet."""
        known = [self._states.get((site, row)) for row in range(n_slots)]
        width = next(len(s) for s in known if s is not None)
        return np.stack([np.full(width, np.nan, np.float32) if s is None else s for s in known])
