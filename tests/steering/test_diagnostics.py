"""Diagnostics on edits whose nature is known by construction."""

from __future__ import annotations

import pytest
import torch

from pilotage.steering.diagnostics import (
    diagnose,
    massive_dimensions,
    neurons_outside,
    read_share,
)

N, D = 4000, 16


@pytest.fixture
def natural() -> torch.Tensor:
    """Standard normal activations around a mean of length 4 that lies along dimension 2."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, D, generator=generator) + 4 * torch.eye(D)[2]


def test_an_addition_shifts_by_its_own_length_in_standard_deviations(natural: torch.Tensor) -> None:
    found = diagnose(natural, natural + 1.5 * torch.eye(D)[5])
    assert found.shift == pytest.approx(1.5, rel=0.05)
    assert found.outside_before == pytest.approx(0.01, abs=0.002)
    # P(|N(1.5, 1)| > 2.576), closed form
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = float(1 - normal.cdf(torch.tensor(2.576 - 1.5)) + normal.cdf(torch.tensor(-4.076)))
    assert found.outside == pytest.approx(expected, abs=0.02)
    assert found.size == pytest.approx(float((1.5 / natural.norm(dim=1)).mean()), rel=1e-6)
    assert not found.flags()


def test_a_large_addition_leaves_the_natural_range_and_is_flagged(natural: torch.Tensor) -> None:
    found = diagnose(natural, natural + 8 * torch.eye(D)[5])
    assert found.outside > 0.99
    assert found.long > 0.5
    assert any("natural range" in f for f in found.flags())
    assert any("longer" in f for f in found.flags())


def test_shrinking_is_recognised_for_what_it_is(natural: torch.Tensor) -> None:
    found = diagnose(natural, 0.9 * natural)
    assert found.scale == pytest.approx(0.9)
    assert found.shrinkage == pytest.approx(1.0)
    assert found.size == pytest.approx(0.1)
    assert found.flags() == ["100% of it is scaling h by 0.90"]
    # A small rotation beside the shrinking does not hide it.
    turned = 0.9 * natural + 0.05 * natural.roll(1, dims=1)
    assert diagnose(natural, turned).shrinkage > 0.7


def test_a_push_across_the_stream_is_no_shrinking(natural: torch.Tensor) -> None:
    assert diagnose(natural, natural + 1.5 * torch.eye(D)[5]).shrinkage < 0.01


def test_massive_dimensions_are_found_and_their_share_of_an_edit(natural: torch.Tensor) -> None:
    natural[:, 7] += 100
    assert massive_dimensions(natural) == [7]
    direction = torch.eye(D)[7] * 3 + torch.eye(D)[5] * 4
    found = diagnose(natural, natural + direction)
    assert found.n_massive == 1
    assert found.massive == pytest.approx(9 / 25)
    assert any("massive" in f for f in diagnose(natural, natural + torch.eye(D)[7]).flags())


def test_changes_that_cancel_still_have_a_direction(natural: torch.Tensor) -> None:
    signs = torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)
    found = diagnose(natural, natural + 6 * signs[:, None] * torch.eye(D)[5])
    assert found.outside > 0.9


def test_a_clamp_is_natural_for_the_neurons_that_reach_its_value(natural: torch.Tensor) -> None:
    assert neurons_outside(natural, [0, 1], 0.5) == 0.0
    assert neurons_outside(natural, [0, 1, 2, 3], 4.0) == 0.75  # only neuron 2 is ever near 4


def test_the_readable_share_of_a_direction_is_its_row_part() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(3, 6)
    weight[:, :3] = torch.randn(3, 3, generator=generator)  # reads the first three numbers only
    direction = torch.tensor([3.0, 0, 0, 4.0, 0, 0]) / 5
    assert read_share(direction, weight) == pytest.approx(9 / 25)
    assert read_share(torch.eye(6)[0], weight) == pytest.approx(1.0)
    assert read_share(torch.eye(6)[5], weight) == pytest.approx(0.0, abs=1e-12)
    # A row that repeats another adds nothing to what can be read.
    assert read_share(torch.eye(6)[4], torch.cat([weight, weight])) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="does not fit"):
        read_share(torch.eye(5)[0], weight)


def test_what_cannot_be_diagnosed_is_refused(natural: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="changes nothing"):
        diagnose(natural, natural.clone())
    with pytest.raises(ValueError, match="the same tokens"):
        diagnose(natural, natural[:5])
    with pytest.raises(ValueError, match="edited activations are not all finite"):
        diagnose(natural, natural / 0)
