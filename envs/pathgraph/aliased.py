"""Rooms whose cells look alike: an observation does not say where one is, a history of them does.

After George et al. 2021, "Clone-structured graph representations enable flexible learning and
vicarious evaluation of cognitive maps" (Nature Communications 12:2392): a grid, one symbol a cell,
fewer symbols than cells, four actions; a move against a wall leaves the agent where it is. A torus
has no walls: its moves wrap around.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

ACTIONS = ("left", "right", "up", "down")
_MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # (rows, columns)


@dataclass(frozen=True, eq=False)
class AliasedRoom:
    """symbols: int64 `[H, W]`, the observation at each cell, from 0. Cells are numbered row by
    row. wraps: a torus."""

    symbols: np.ndarray
    wraps: bool = False

    def __post_init__(self) -> None:
        if self.symbols.ndim != 2 or self.symbols.size < 2 or self.symbols.min() < 0:
            raise ValueError(
                f"a room needs symbols [H, W] >= 0 of at least 2 cells, got "
                f"{list(self.symbols.shape)}"
            )

    @property
    def n_cells(self) -> int:
        return int(self.symbols.size)

    @property
    def n_symbols(self) -> int:
        """One more than the largest symbol."""
        return int(self.symbols.max()) + 1

    def transitions(self) -> np.ndarray:
        """int64 `[cells, 4]`: where each action leads from each cell."""
        height, width = self.symbols.shape
        rows, columns = np.divmod(np.arange(self.n_cells), width)
        ends = []
        for down, right in _MOVES:
            r, c = rows + down, columns + right
            if self.wraps:
                r, c = r % height, c % width
            else:
                r, c = np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)
            ends.append(r * width + c)
        return np.stack(ends, axis=1)

    def graph(self) -> nx.DiGraph:
        """Cells, and moves that lead to another one (edge attribute "action")."""
        graph = nx.DiGraph()
        graph.add_nodes_from(range(self.n_cells))
        for cell, ends in enumerate(self.transitions()):
            for action, end in enumerate(ends):
                if end != cell:
                    graph.add_edge(cell, int(end), action=action)
        return graph


def random_room(height: int, width: int, n_symbols: int, *, seed: int) -> AliasedRoom:
    """Symbols drawn uniformly, each at least once. ValueError when there are more than cells."""
    if not 1 <= n_symbols <= height * width:
        raise ValueError(f"need 1 to {height * width} symbols, got {n_symbols}")
    rng = np.random.default_rng(seed)
    symbols = rng.integers(n_symbols, size=height * width)
    symbols[rng.permutation(height * width)[:n_symbols]] = np.arange(n_symbols)
    return AliasedRoom(symbols.reshape(height, width))


def random_walk(
    room: AliasedRoom, n_steps: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uniform random actions from a random cell: observations int64 `[n]`, actions `[n - 1]`
    (number t leads from observation t to t + 1), and the true cells `[n]`."""
    if n_steps < 2:
        raise ValueError(f"a walk needs at least 2 steps, got {n_steps}")
    rng = np.random.default_rng(seed)
    actions = rng.integers(len(ACTIONS), size=n_steps - 1)
    cells = np.empty(n_steps, np.int64)
    cells[0] = rng.integers(room.n_cells)
    leads = room.transitions()
    for t, action in enumerate(actions):
        cells[t + 1] = leads[cells[t], action]
    return room.symbols.ravel()[cells], actions, cells
