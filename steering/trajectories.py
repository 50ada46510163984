"""Net, cumulative and aligned change of a latent trajectory (arXiv:2510.10494).

For points h_1 .. h_N, which are the blocks' outputs of one forward (a path through depth) or one
layer's state at successive env steps (a path through time, blocks of text in the paper):

    net        = |h_N - h_1| / (N - 1)
    cumulative = sum_n |h_n - h_{n-1}|
    aligned    = mean_n cos(h_n - h_{n-1}, h_N - h_1)

No labels are needed, and each is a running sum, so that they can be had while the agent acts. All
three depend on N: compare episodes at the same step only.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

SIGNALS = ("net", "cumulative", "aligned")


def trajectory_signals(points: torch.Tensor) -> torch.Tensor:
    """Float32 `[..., 3]`, in the order of `SIGNALS`, of trajectories `[..., N, d]`; NaN if N < 2.

    A step of no length has no direction and counts as aligned by 0.
    """
    n = points.shape[-2]
    if n < 2:
        return torch.full((*points.shape[:-2], len(SIGNALS)), torch.nan, device=points.device)
    steps = points.float().diff(dim=-2)
    whole = steps.sum(-2)
    turned = normalize(steps, dim=-1).sum(-2)
    return _signals(whole, steps.norm(dim=-1).sum(-1), turned, torch.tensor(n - 1.0))


class RunningTrajectories:
    """The same signals of trajectories that grow point by point, one or more a row.

    shape: `(n_rows, ..., d)` of the points. A row's numbers depend on its own points alone.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        self._first = torch.zeros(shape, device=device)
        self._last = torch.zeros(shape, device=device)
        self._turned = torch.zeros(shape, device=device)  # sum of unit steps
        self._length = torch.zeros(shape[:-1], device=device)
        self._n = torch.zeros(shape[0], device=device)

    def reset(self, row: int) -> None:
        """A new trajectory begins in a row."""
        self._n[row] = 0
        for state in (self._turned, self._length):
            state[row] = 0

    def add(self, rows: slice, points: torch.Tensor, live: torch.Tensor) -> None:
        """The next points `[R, ..., d]` of rows; where `live` bool `[R]` is False, none."""
        points = points.float()
        wide = live.view(-1, *[1] * (points.dim() - 1))
        begins = wide & (self._n[rows] == 0).view_as(wide)
        self._first[rows] = torch.where(begins, points, self._first[rows])
        step = torch.where(wide & ~begins, points - self._last[rows], 0.0)
        self._length[rows] += step.norm(dim=-1)
        self._turned[rows] += normalize(step, dim=-1)
        self._last[rows] = torch.where(wide, points, self._last[rows])
        self._n[rows] += live

    def signals(self) -> torch.Tensor:
        """Float32 `[n_rows, ..., 3]`, NaN for rows with fewer than two points."""
        n_steps = (self._n - 1).view(-1, *[1] * (self._length.dim() - 1))
        found = _signals(self._last - self._first, self._length, self._turned, n_steps)
        return torch.where(n_steps[..., None] > 0, found, torch.nan)


def _signals(
    whole: torch.Tensor, length: torch.Tensor, turned: torch.Tensor, n_steps: torch.Tensor
) -> torch.Tensor:
    """From h_N - h_1 `[..., d]`, the path's length `[...]` and its summed unit steps `[..., d]`:
    the sum of the cosines is their inner product with the direction of the whole."""
    cosines = (turned * normalize(whole, dim=-1)).sum(-1)
    return torch.stack([whole.norm(dim=-1) / n_steps, length, cosines / n_steps], dim=-1)
