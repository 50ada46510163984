"""Trajectory signals against their definitions written out, and grown point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pilotage.steering.trajectories import RunningTrajectories, trajectory_signals


def by_definition(points: np.ndarray) -> list[float]:
    """net, cumulative, aligned of one trajectory `[N, d]` (arXiv:2510.10494)."""
    n = len(points)
    whole = points[-1] - points[0]
    steps = [points[i] - points[i - 1] for i in range(1, n)]
    cosines = [s @ whole / (np.linalg.norm(s) * np.linalg.norm(whole)) for s in steps]
    return [
        float(np.linalg.norm(whole) / (n - 1)),
        float(sum(np.linalg.norm(s) for s in steps)),
        float(np.mean(cosines)),
    ]


def test_signals_are_those_of_the_definition() -> None:
    points = torch.randn(4, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    found = trajectory_signals(points)
    assert found.shape == (4, 3, 3)
    for i in range(4):
        for j in range(3):
            expected = by_definition(points[i, j].double().numpy())
            np.testing.assert_allclose(found[i, j], expected, rtol=1e-5, atol=1e-6)


def test_a_straight_line_is_aligned_and_a_return_gets_nowhere() -> None:
    line = torch.arange(5.0)[:, None] * torch.tensor([3.0, 4.0])
    assert trajectory_signals(line).tolist() == pytest.approx([5.0, 20.0, 1.0])
    back = torch.cat([line, line.flip(0)[1:]])
    assert trajectory_signals(back).tolist() == pytest.approx([0.0, 40.0, 0.0])
    rest = torch.cat([line[:2], line[1:2]])  # a step of no length counts as aligned by 0
    assert trajectory_signals(rest).tolist() == pytest.approx([2.5, 5.0, 0.5])
    assert trajectory_signals(line[:1]).isnan().all()


def test_a_grown_trajectory_is_the_whole_one_whoever_grows_beside_it() -> None:
    """Two rows of two paths each, live at different times, one of which begins anew."""
    generator = torch.Generator().manual_seed(1)
    grown = RunningTrajectories((3, 2, 4))
    paths: list[list[torch.Tensor]] = [[], [], []]
    for t in range(9):
        points = torch.randn(2, 2, 4, generator=generator)
        live = torch.tensor([t % 2 == 0, t != 3])
        if t == 5:
            grown.reset(2)
            paths[2] = []
        grown.add(slice(1, 3), points, live)
        for row in (0, 1):
            if live[row]:
                paths[row + 1].append(points[row])
        found = grown.signals()
        assert found[0].isnan().all(), "row 0 was never fed"
        for row in (1, 2):
            expected = trajectory_signals(torch.stack(paths[row], dim=1))
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5, equal_nan=True)
