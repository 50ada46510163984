"""Maze generators, batched: a maze for every key, thousands in one call, on the CPU or CUDA.

Keys are int64 [B] in [0, 2^63); a maze is a pure function of its key, its size and the options,
whatever else is in the batch. All return cells uint8 [B, rows, cols] as in `grid`.

    dfs          randomised depth-first search: long corridors; a spanning tree
    wilson       loop-erased random walks: a uniform spanning tree (Wilson 1996,
                 doi:10.1145/237814.237880)
    percolation  every side is open with probability p; need not be connected
    loops        dfs, then each closed side is opened with probability p
    obstacles    blocked cells, 30 to 50 %: the A* mazes of Lehnert et al. 2024 (arXiv:2402.14083)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pilotage.envs.maze.draws import below, derived, draws
from pilotage.envs.maze.grid import BLOCKED, DIRECTIONS, DOWN, LEFT, OPPOSITE, RIGHT, SIDES, UP

_AT_ONCE = 2**16  # numbers
_CHUNK = 128  # steps for which random numbers are drawn at once
_STOP = 4  # where a choice among the four directions finds none


def dfs(keys: Tensor, rows: int, cols: int, *, forks: bool = True) -> Tensor:
    """Depth-first search from a uniformly drawn cell; at a dead end it goes back.

    Without `forks` it stops at the first dead end instead: one corridor, other cells are closed.
    """
    _check(keys, rows, cols)
    device, n, width = keys.device, len(keys), cols + 2
    pick_table = _pick_table(device)
    offsets = torch.tensor([-width, width, -1, 1], device=device)
    # By choice (0 to 3, or 4 = none): what is added to this cell's byte and to the next one's.
    # A byte holds open sides, and in the high bits 1 + the direction back (0: the first cell).
    opened = torch.tensor([*DIRECTIONS, 0], dtype=torch.uint8, device=device)
    entered = [back | (1 + DIRECTIONS.index(back)) << 5 for back in OPPOSITE]
    entered_table = torch.tensor([*entered, 0], dtype=torch.uint8, device=device)
    zero = offsets.new_zeros(1)
    leap = torch.cat([offsets, zero, zero, offsets])  # by the choice, or by 5 + way back
    weights = torch.tensor([12, 24, 48, 96], dtype=torch.int64, device=device)
    if not forks:
        leap[5:] = 0

    grid = _bordered(n, rows, cols, device)
    first = below(draws(keys, 0, 1)[0], rows * cols)
    at = _cell_index(first, cols, n, grid.shape[1], device)
    flat = grid.view(-1)
    # Nothing marks the first cell as visited until it has a side: a 1 x 1 maze needs no step.
    n_steps = 2 * (rows * cols - 1) if forks else rows * cols - 1
    for step in range(n_steps):
        if step % _CHUNK == 0:
            numbers = below(draws(keys, 1 + step, min(_CHUNK, n_steps - step)), 12)
        unvisited = flat[at[:, None] + offsets] == 0
        code = (unvisited * weights).sum(1)
        choice = pick_table[code + numbers[step % _CHUNK]]
        back = (flat[at] >> 5).to(torch.int64)
        move = leap[torch.where(choice < _STOP, choice, back + 5)]
        flat.scatter_add_(0, at, opened[choice])
        at = at + move
        flat.scatter_add_(0, at, entered_table[choice])
    return _inside(grid, rows, cols) & SIDES


def wilson(keys: Tensor, rows: int, cols: int) -> Tensor:
    """A uniform spanning tree: walks from each cell to the tree, without their loops."""
    _check(keys, rows, cols)
    device, width = keys.device, cols + 2
    bits = torch.tensor([*DIRECTIONS], dtype=torch.uint8, device=device)
    backs = torch.tensor([*OPPOSITE], dtype=torch.uint8, device=device)
    offsets = torch.tensor([-width, width, -1, 1], device=device)
    pick_table, exits = _pick_table(device), _all_exits(rows, cols, device)
    result = torch.zeros((len(keys), (rows + 2) * width), dtype=torch.uint8, device=device)
    order = torch.arange((rows + 2) * width, device=device).view(rows + 2, width)
    order = torch.cat([order[1:-1, 1:-1].reshape(-1), order[-1:, -1]])  # ends in a border cell

    lanes = torch.arange(len(keys), device=device)
    root = order[below(draws(keys, 0, 1)[0], rows * cols)]
    sides = torch.zeros_like(result)
    arrow = torch.zeros_like(sides, dtype=torch.int64)
    in_tree = torch.zeros_like(sides, dtype=torch.bool)
    in_tree[lanes, root] = True
    in_tree[:, order[-1]] = True  # where a finished lane rests
    start = torch.zeros_like(root)  # number in `order` of the walk's first cell
    at = order[start].clone()
    retracing = torch.zeros_like(root, dtype=torch.bool)
    step = 0
    while len(lanes):
        numbers = below(draws(keys, 1 + step, _CHUNK), 12)
        row = torch.arange(len(lanes), device=device)
        for k in range(_CHUNK):
            home = in_tree[row, at]  # the walk has arrived (or its first cell is in the tree)
            fresh = at == order[start]
            seeking = home & fresh  # go on to the next cell as a start
            turn = home & ~fresh & ~retracing  # arrived: retrace from the start
            done = home & ~fresh & retracing  # the branch is in the tree
            start = (start + (seeking | done).to(torch.int64)).clamp(max=rows * cols)
            retracing = (retracing | turn) & ~done & ~seeking
            at = torch.where(home, order[start], at)
            # One step from `at`: a new random arrow when walking, the old one when retracing.
            walking = ~retracing & ~in_tree[row, at]
            choice = torch.where(walking, pick_table[exits[at] * 12 + numbers[k]], arrow[row, at])
            moving = walking | (retracing & ~in_tree[row, at])
            arrow[row, at] = choice
            there = at + offsets[choice] * moving
            fixed = retracing & moving
            sides[row, at] |= bits[choice] * fixed
            sides[row, there] |= backs[choice] * fixed
            in_tree[row, at] |= fixed
            at = there
        step += _CHUNK
        over = start >= rows * cols
        result[lanes[over]] = sides[over]
        keep = ~over
        lanes, keys, sides, arrow, in_tree, start, at, retracing = (
            x[keep] for x in (lanes, keys, sides, arrow, in_tree, start, at, retracing)
        )
    return _inside(result, rows, cols)


def percolation(keys: Tensor, rows: int, cols: int, *, p: float = 0.4) -> Tensor:
    """Every side between two cells is open with probability `p`, independently."""
    _check(keys, rows, cols)
    return _in_parts(
        lambda part: _joined(*_random_sides(part, rows, cols, p)), keys, 2 * rows * cols
    )


def loops(keys: Tensor, rows: int, cols: int, *, p: float = 0.1) -> Tensor:
    """A maze with loops: `dfs`, then every closed side is opened with probability `p`."""
    tree = dfs(keys, rows, cols)
    return tree | percolation(derived(keys, 1), rows, cols, p=p)


def obstacles(keys: Tensor, rows: int, cols: int) -> Tensor:
    """Obstacle grids: uniformly 3 to 5 tenths of floor(rows * cols / 10) * 10 cells are blocked."""
    _check(keys, rows, cols)
    return _in_parts(lambda part: _obstacles(part, rows, cols), keys, 2 * rows * cols)


def _obstacles(keys: Tensor, rows: int, cols: int) -> Tensor:
    n_cells = rows * cols
    tenth = n_cells // 10
    n_walls = 3 * tenth + below(draws(keys, 0, 1)[0], 2 * tenth + 1)
    numbers = draws(keys, 1, n_cells).T * n_cells + torch.arange(n_cells, device=keys.device)
    order = numbers.argsort(dim=1)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(n_cells, device=keys.device).expand_as(order)
    )
    free = (rank >= n_walls[:, None]).view(-1, rows, cols)
    joined = _joined(free[:, :-1] & free[:, 1:], free[:, :, :-1] & free[:, :, 1:])
    return torch.where(free, joined, joined.new_tensor(BLOCKED))


def _in_parts(make: Callable[[Tensor], Tensor], keys: Tensor, n_numbers: int) -> Tensor:
    """`make(keys)`, on a CPU for so many keys at a time that what it draws, `n_numbers` for a key,
    stays in the caches."""
    if keys.is_cuda or len(keys) == 0:
        return make(keys)
    return torch.cat([make(part) for part in keys.split(max(1, _AT_ONCE // n_numbers))])


def _check(keys: Tensor, rows: int, cols: int) -> None:
    if keys.dtype != torch.int64 or keys.ndim != 1 or (len(keys) and int(keys.min()) < 0):
        raise ValueError(f"keys must be int64 [B] and >= 0, got {keys.dtype} {list(keys.shape)}")
    if rows < 1 or cols < 1:
        raise ValueError(f"a maze needs rows and cols >= 1, got {rows} x {cols}")


def _pick_table(device: torch.device) -> Tensor:
    """[16 * 12]: for a set of directions (bits) and a number below 12, one of them, evenly."""
    table = []
    for code in range(16):
        members = [k for k in range(4) if code >> k & 1] or [_STOP]
        table += [members[r % len(members)] for r in range(12)]
    return torch.tensor(table, device=device)


def _bordered(n: int, rows: int, cols: int, device: torch.device) -> Tensor:
    """uint8 [n, (rows + 2) * (cols + 2)]: 0 inside, BLOCKED on a border one cell wide."""
    grid = torch.full((n, rows + 2, cols + 2), BLOCKED, dtype=torch.uint8, device=device)
    grid[:, 1:-1, 1:-1] = 0
    return grid.view(n, -1)


def _inside(grid: Tensor, rows: int, cols: int) -> Tensor:
    return grid.view(-1, rows + 2, cols + 2)[:, 1:-1, 1:-1].contiguous()


def _cell_index(cell: Tensor, cols: int, n: int, size: int, device: torch.device) -> Tensor:
    """Places in the flattened bordered grids of cells numbered row by row."""
    inside = (cell // cols + 1) * (cols + 2) + cell % cols + 1
    return inside + torch.arange(n, device=device) * size


def _all_exits(rows: int, cols: int, device: torch.device) -> Tensor:
    """int64 [(rows + 2) * (cols + 2)]: the directions that stay inside, as bits in action order."""
    exits = torch.zeros((rows + 2, cols + 2), dtype=torch.int64, device=device)
    exits[2:-1, 1:-1] += UP
    exits[1:-2, 1:-1] += DOWN
    exits[1:-1, 2:-1] += LEFT
    exits[1:-1, 1:-2] += RIGHT
    return exits.view(-1)


def _random_sides(keys: Tensor, rows: int, cols: int, p: float) -> tuple[Tensor, Tensor]:
    """Independent sides, bool [B, rows - 1, cols] (down) and [B, rows, cols - 1] (right)."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, got {p}")
    n_down = (rows - 1) * cols
    limit = int(p * 2**32)
    is_open = (draws(keys, 0, n_down + rows * (cols - 1)) < limit).T
    down = is_open[:, :n_down].reshape(-1, rows - 1, cols)
    return down, is_open[:, n_down:].reshape(-1, rows, cols - 1)


def _joined(down: Tensor, right: Tensor) -> Tensor:
    """Cells of open sides (`grid.join`, in torch)."""
    n, rows, cols = len(right), right.shape[1], down.shape[2]
    cells = torch.zeros((n, rows, cols), dtype=torch.uint8, device=down.device)
    cells[:, :-1] |= DOWN * down
    cells[:, 1:] |= UP * down
    cells[:, :, :-1] |= RIGHT * right
    cells[:, :, 1:] |= LEFT * right
    return cells
