"""What a Steerer refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, SiteError, Steerer

from .helpers import RESID, begin, every_kind, groups, ids, only, unit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [0, 0]}, "distinct"),
        ({"rows": [0, 2]}, "from 0 to 1"),
        ({"phase": "train"}, "prefill, decode"),
        ({"live": np.ones(2)}, "live must be bool"),
        ({"env_steps": np.zeros(3, int)}, "env_steps has shape"),
    ],
)
def test_begin_refuses_bad_arguments(
    llama: LlamaForCausalLM, changes: dict[str, object], message: str
) -> None:
    with Steerer(llama, n_rows=2) as steerer, pytest.raises(ValueError, match=message):
        begin(steerer, groups(2, 6), **changes)


def test_unknown_token_group_is_refused(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=2) as steerer:
        with pytest.raises(ValueError, match="unknown token group id 9"):
            begin(steerer, groups(2, 6) * 0 + 9)
        with pytest.raises(ValueError, match="unknown token group 'imgae'; there are: pad, image"):
            only("imgae")


def test_set_row_refuses_what_does_not_fit_and_changes_nothing(llama: LlamaForCausalLM) -> None:
    good = every_kind()[0]
    with Steerer(llama, n_rows=2) as steerer:
        steerer.set_row(0, [good])
        bad: list[tuple[Intervention, type[Exception], str]] = [
            (Intervention("add", RESID, 1.0, direction=unit(16, 0)), ValueError, "16 numbers"),
            (Intervention("add", "layers.9.resid:out", 1.0, direction=unit(32, 0)), SiteError, "9"),
            (
                Intervention("clamp", "layers.0.mlp.down_proj:in", 1.0, neurons=torch.tensor([48])),
                ValueError,
                "neuron 48",
            ),
        ]
        for what, error, message in bad:
            with pytest.raises(error, match=message):
                steerer.set_row(0, [good, what])
            assert steerer.row(0) == (good,)
        with pytest.raises(IndexError, match="row 2"):
            steerer.set_row(2, [])
        with pytest.raises(IndexError, match="1 interventions"):
            steerer.set_coefficient(0, 1, 2.0)


def test_other_shape_than_announced_is_refused(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[0]])
        begin(steerer, groups(2, 6) * 0)
        with pytest.raises(RuntimeError, match="announced 2 rows of 6 tokens"):
            llama(ids(2, 5))


def test_stream_of_a_forward_that_failed_is_not_used_again(llama: LlamaForCausalLM) -> None:
    mlp = llama.model.layers[1].mlp

    def fail(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        raise ArithmeticError("in the middle of the block")

    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[0]])
        begin(steerer, groups(2, 6) * 0)
        handle = mlp.gate_proj.register_forward_pre_hook(fail)
        with pytest.raises(ArithmeticError):
            llama(ids(2, 6))
        handle.remove()
        begin(steerer, groups(2, 6) * 0)
        with pytest.raises(RuntimeError, match="was not called in this forward"):
            mlp(torch.zeros(2, 6, 32))
