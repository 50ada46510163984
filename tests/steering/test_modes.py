"""Steering under inference mode, with gradients, and in a compiled forward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, Steerer

from .conftest import make_llama
from .helpers import RESID, begin, conditions, every_kind, groups, ids, unit


@pytest.fixture(autouse=True)
def _no_graphs_of_others() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled_once(model: nn.Module) -> tuple[Any, list[torch.fx.GraphModule]]:
    """The compiled model, and the graphs that compiling it will have made."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    return torch.compile(model, backend=backend), graphs


def assert_same_logits(
    steerer: Steerer, model: nn.Module, compiled: Any, tokens: torch.Tensor, layout: torch.Tensor
) -> None:
    results = []
    for forward in (model, compiled):
        begin(steerer, layout)
        results.append(forward(tokens, use_cache=False).logits)
    assert torch.equal(results[0], results[1])


def test_inference_mode_may_come_and_go(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6)
    with Steerer(llama, n_rows=2) as steerer:
        steerer.set_row(0, every_kind())
        with torch.inference_mode():
            steerer.set_row(1, every_kind())
            begin(steerer, layout)
            llama(tokens)
        begin(steerer, layout)
        llama(tokens).logits.sum().backward()
        for row in (0, 1):
            steerer.check_receipt(steerer.receipt(row))


def test_gradients_flow_through_an_edit(llama: LlamaForCausalLM) -> None:
    """What an ablation takes out of h gets no gradient from above; the rest does."""
    v = unit(32, 3)
    branches: list[torch.Tensor] = []

    def keep(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        out.retain_grad()
        branches.append(out)

    handle = llama.model.layers[1].mlp.down_proj.register_forward_hook(keep)
    for rows in ([], [Intervention("ablate", RESID, 1.0, direction=v)]):
        with Steerer(llama, n_rows=1) as steerer:
            steerer.set_row(0, rows)
            begin(steerer, groups(1, 4) * 0)
            llama(ids(1, 4)).logits.square().sum().backward()
    handle.remove()
    plain, ablated = (branch.grad @ v for branch in branches)
    assert (plain.abs() > 1e-3).all()
    assert (ablated.abs() < 1e-4 * branches[1].grad.norm(dim=-1)).all()


def test_compiled_forward_takes_coefficients_updated_in_place() -> None:
    """One graph, no recompilation, same numbers as eager after the coefficients change."""
    model, tokens, layout = make_llama(num_hidden_layers=2), ids(3, 5), groups(3, 5) * 0
    kinds = [
        Intervention("add", "layers.0.resid:out", 1.0, direction=unit(32, 1)),
        Intervention("clamp", "layers.1.mlp.down_proj:in", 1.0, neurons=torch.tensor([1, 2])),
        Intervention("ablate", RESID, 1.0, direction=unit(32, 1)),
    ]
    with Steerer(model, n_rows=3) as steerer, torch.no_grad():
        for row, what in enumerate(kinds):
            steerer.set_row(row, [what])
        compiled, graphs = compiled_once(model)
        for coefficient in (1.0, 2.0, 0.5):
            for row in range(3):
                steerer.set_coefficient(row, 0, coefficient)
            assert_same_logits(steerer, model, compiled, tokens, layout)
        for row in range(3):
            steerer.check_receipt(steerer.receipt(row))
    assert len(graphs) == 1


def test_compiled_forward_takes_other_conditions_of_its_rows(llama: LlamaForCausalLM) -> None:
    """After `prepare`, rows change conditions, rows and places, and one graph serves them all."""
    mixed = conditions(llama)
    tokens, layout = ids(8, 5), groups(8, 5)
    with Steerer(llama, n_rows=8) as steerer, torch.no_grad():
        steerer.prepare(mixed)
        compiled, graphs = compiled_once(llama)
        for shift in range(3):
            for row in range(8):
                steerer.set_row(row, mixed[(row + shift) % 8])
            assert_same_logits(steerer, llama, compiled, tokens, layout)
        for row in range(8):
            steerer.check_receipt(steerer.receipt(row))
    assert len(graphs) == 1


def test_gradients_of_a_mixed_batch_are_finite(llama: LlamaForCausalLM) -> None:
    """Rows of one lane share its arithmetic; what a row has no use for must not spoil it."""
    with Steerer(llama, n_rows=8) as steerer:
        for row, interventions in enumerate(conditions(llama)):
            steerer.set_row(row, interventions)
        begin(steerer, groups(8, 5))
        llama(ids(8, 5)).logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in llama.parameters())
