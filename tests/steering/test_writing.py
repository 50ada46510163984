"""The coordinates in which a lane measures what neurons write."""

from __future__ import annotations

import pytest
import torch

from pilotage.steering import operations as ops


@pytest.mark.parametrize("n_neurons", [1, 3, 16, 17, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lengths_are_those_of_the_value_vectors(n_neurons: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n_neurons)
    d = 1024 if n_neurons == 300 else 32
    weight = torch.randn(d, 400, generator=generator).to(dtype)
    weight[:, 7] = weight[:, 3]  # two neurons that write the same
    neurons = torch.randperm(400, generator=generator)[:n_neurons]
    vectors = ops.writing_vectors(weight, neurons)
    assert vectors.shape == (n_neurons, ops.written_width(n_neurons, d))
    change = torch.randn(1, 5, n_neurons, generator=generator)
    written = change.double() @ weight[:, neurons].T.double()
    assert torch.allclose(
        ops.written(change, vectors[None]).double(), written.norm(dim=-1, keepdim=True), rtol=1e-5
    )


def test_few_neurons_take_little_room() -> None:
    assert ops.written_width(20, 4096) == 20
    assert ops.written_width(2000, 4096) == 4096
    assert ops.written_width(20, 32) == 32
