"""The row and null space test on directions whose nature is known by construction."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from pilotage.steering.diagnostics import massive_ratio, row_and_null, without
from pilotage.steering.gradients import site_gradients
from pilotage.steering.illusion import Illusion, illusion_test, separation
from pilotage.steering.patching import Effect, both_sides

from .conftest import N_LAYERS
from .helpers import ids

R, S = 3, 5
SITE = f"layers.{N_LAYERS - 1}.mlp.down_proj:in"
GROUPS = torch.zeros(R, S, dtype=torch.int8)


@pytest.fixture
def runs(llama: LlamaForCausalLM):
    """A metric of a model on two inputs, and both sides of it at the last neurons."""
    tokens = {"positive": ids(R, S, seed=1), "negative": ids(R, S, seed=2)}

    def forward(side: str) -> torch.Tensor:
        logits = llama(tokens[side]).logits[:, -1]
        return logits[:, 3] - logits[:, 4]

    return forward, both_sides(llama, forward, [SITE], (R, S))


def judged(llama: LlamaForCausalLM, runs, direction: torch.Tensor) -> Illusion:
    forward, sides = runs
    return illusion_test(llama, forward, sides, SITE, direction, GROUPS, "all", clusters=[0] * R)


def test_a_planted_direction_is_caught(llama: LlamaForCausalLM, runs) -> None:
    """What nothing reads but the sides differ along, plus what is read but no row differs along."""
    forward, sides = runs
    positive, negative = sides.activations[SITE]
    weight = llama.model.layers[-1].mlp.down_proj.weight
    differences = (positive - negative).view(R * S, -1).double()
    _, null = row_and_null(differences.mean(0), weight)
    gradient = site_gradients(llama, lambda: forward("negative"), [SITE])[SITE]
    push, _ = row_and_null(gradient[:, -1].mean(0), weight)
    rows = torch.stack([row_and_null(d, weight)[0] for d in differences])
    push = push - torch.linalg.pinv(rows) @ (rows @ push)  # no token differs along it
    planted = null / null.norm() + push / push.norm()
    found = judged(llama, runs, planted)
    assert found.verdict() == "illusion"
    assert found.read == pytest.approx(0.5)
    assert abs(found.effects["row"].share) < 0.05 * abs(found.effects["direction"].share)
    assert found.effects["null"].share == pytest.approx(0.0, abs=1e-4)
    # The null part alone: it tells the sides apart and does nothing.
    alone = judged(llama, runs, null)
    assert alone.verdict() == "no effect"
    assert "row" not in alone.effects
    assert alone.apart[0] == 0.0


def test_what_the_next_map_reads_is_faithful(llama: LlamaForCausalLM) -> None:
    """One row, and the direction in which it really differs at its last token."""
    tokens = {"positive": ids(1, S, seed=1), "negative": ids(1, S, seed=2)}

    def forward(side: str) -> torch.Tensor:
        logits = llama(tokens[side]).logits[:, -1]
        return logits[:, 3] - logits[:, 4]

    sides = both_sides(llama, forward, [SITE], (1, S))
    positive, negative = sides.activations[SITE]
    row, _ = row_and_null((positive - negative)[0, -1], llama.model.layers[-1].mlp.down_proj.weight)
    found = illusion_test(llama, forward, sides, SITE, row, GROUPS[:1], "all")
    assert found.read == pytest.approx(1.0)
    assert found.effects["direction"].share == pytest.approx(found.effects["full"].share, rel=1e-3)
    assert found.verdict() == "faithful"
    with pytest.raises(ValueError, match="no linear map reads it alone"):
        illusion_test(llama, forward, sides, "layers.1.resid:out", row, GROUPS[:1], "all")


@pytest.mark.parametrize(
    ("v", "row", "full", "verdict"),
    [
        (0.9, 0.1, 0.2, "illusion"),
        (-0.9, -0.1, 0.5, "illusion"),  # the whole vector does the opposite
        (0.3, 0.1, 0.5, "dormant"),
        (0.5, 0.45, 0.6, "faithful"),
        (0.5, 0.45, 0.3, "unclear"),  # the whole does less than the part
        (0.5, 0.3, 0.6, "unclear"),
        (0.004, 0.004, 0.5, "no effect"),
    ],
)
def test_verdicts(v: float, row: float, full: float, verdict: str) -> None:
    shares = {"direction": v, "row": row, "null": 0.0, "full": full}
    effects = {k: Effect(SITE, "all", s, s - 1e-3, s + 1e-3) for k, s in shares.items()}
    assert Illusion(SITE, 0.5, effects, (0.0, 0.0)).verdict() == verdict


def test_parts_of_a_direction_are_what_a_map_reads_and_what_it_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 12, generator=generator)
    direction = torch.randn(12, generator=generator)
    row, null = row_and_null(direction, weight)
    assert float((row + null - direction.double() / direction.double().norm()).norm()) < 1e-6
    assert float((weight.double() @ null).norm()) < 1e-9
    solved = torch.linalg.lstsq(weight.double().T, row).solution  # row is made of the map's rows
    torch.testing.assert_close(weight.double().T @ solved, row)


def test_separation_is_in_pooled_standard_deviations() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 20000, 3, generator=generator)
    a = a * 2 + torch.tensor([3.0, 0, 0])
    expected = 3 / ((4 + 1) / 2) ** 0.5
    assert separation(a, b, torch.tensor([5.0, 0, 0])) == pytest.approx(expected, rel=0.02)
    assert separation(a, b, torch.tensor([0, 1.0, 0])) == pytest.approx(0.0, abs=0.03)
    assert separation(a, b, torch.zeros(3)) == 0.0


def test_massive_dimensions_can_be_left_out() -> None:
    direction = torch.tensor([[3.0, 100.0, 4.0]])
    assert without(direction, [1]).tolist() == [[3.0, 0.0, 4.0]]
    assert direction[0, 1] == 100
    with pytest.raises(ValueError, match="nothing is left"):
        without(torch.tensor([0.0, 2.0]), [1])
    tokens = torch.tensor([[1.0, -2.0, 3.0], [10.0, -1.0, 2.0]])
    assert massive_ratio(tokens) == pytest.approx((3 / 2 + 10 / 2) / 2)
