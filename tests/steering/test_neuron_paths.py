"""Neuron paths: completeness, brute force, and the published score by hand."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from pilotage.steering.captures import capture
from pilotage.steering.neuron_paths import (
    Line,
    PathClamp,
    find_path,
    first_order,
    joint_attribution,
    neurons_of,
    path_effect,
    published_score,
)

from .conftest import N_LAYERS as LLAMA_LAYERS
from .conftest import make_llama
from .helpers import ids
from .plain_nets import D_FF, N_LAYERS, TOKENS, PlainNet, two_inputs

R = 3


def plain(act: type[nn.Module] = nn.GELU, seed: int = 0, reach: float = 1.0):
    """A net, its metric on the negative side, and the line from that side towards the other, and
    `reach` times as far."""
    net, inputs = PlainNet(act, seed), two_inputs(R)
    sites = {n: str(neurons_of(n)) for n in range(N_LAYERS)}
    kept = {}
    for side, stream in inputs.items():
        with capture(net, sites.values()) as seen:
            net(stream)
        kept[side] = {n: seen.activations(s).view(R, TOKENS, D_FF) for n, s in sites.items()}
    mask = torch.ones(R, TOKENS, dtype=torch.bool)
    mask[:, 0] = False
    start = kept["negative"]
    end = {n: start[n] + reach * (kept["positive"][n] - start[n]) for n in start}
    return net, lambda: net(inputs["negative"]), Line(start, end, mask)


def by_hand(net: PlainNet, line: Line, path: dict[int, int], side: str) -> torch.Tensor:
    """The metric with the neurons of a path written over, block by block."""
    h = two_inputs(R)["negative"]
    for n, block in enumerate(net.layers):
        h = h + block.attn(h)
        neurons = block.ffn.act(block.ffn.up(h))
        if n in path:
            values = (line.start if side == "start" else line.end)[n][..., path[n]]
            neurons[..., path[n]] = torch.where(line.mask, values, neurons[..., path[n]])
        h = h + block.ffn.down(neurons)
    return (h * net.reader).sum((1, 2)).double()


def test_joint_attribution_is_complete() -> None:
    """It is the difference between both ends, on a real Llama too, where it starts at 0."""
    net, metric, line = plain(reach=8.0)
    path = {0: 2, 1: 6, 2: 3}
    expected = by_hand(net, line, path, "end") - by_hand(net, line, path, "start")
    assert float(expected.abs().min()) > 1e-3
    found = joint_attribution(net, metric, line, path, steps=20)
    torch.testing.assert_close(found.joint, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(path_effect(net, metric, line, path), expected, rtol=1e-4, atol=1e-6)
    model, tokens = make_llama().requires_grad_(False), ids(2, 6)
    sites = [str(neurons_of(n)) for n in range(LLAMA_LAYERS)]
    with capture(model, sites) as seen, torch.no_grad():
        before = model(tokens).logits[:, -1, 7]
    end = {n: seen.activations(site).view(2, 6, -1) for n, site in enumerate(sites)}
    zeros = {n: torch.zeros_like(values) for n, values in end.items()}
    line = Line(zeros, end, torch.ones(2, 6, dtype=torch.bool))
    path = {0: 5, 1: 11, 2: 40}
    found = joint_attribution(model, lambda: model(tokens).logits[:, -1, 7], line, path, steps=30)
    with PathClamp(model, line, path, 0.0), torch.no_grad():
        without = model(tokens).logits[:, -1, 7]
    torch.testing.assert_close(found.joint, (before - without).double(), rtol=2e-2, atol=2e-4)


def test_parts_are_exact_integrals_where_only_the_last_is_curved() -> None:
    """In a linear net each neuron's part is its change times a constant slope."""
    net, metric, line = plain(nn.Identity)
    path = {1: 3, 2: 0}
    found = joint_attribution(net, metric, line, path, steps=1)
    for layer, neuron in path.items():
        written = net.layers[layer].ffn.down.weight[:, neuron]
        later = torch.from_numpy(net.reading_after(layer)).float()
        if layer == 1:  # the clamped neuron of block 2 does not hear of block 1
            block = net.layers[2]
            heard = torch.outer(block.ffn.down.weight[:, 0], block.ffn.up.weight[0])
            mixed = torch.eye(TOKENS)[:, :, None, None] * torch.eye(5)
            mixed = mixed + torch.einsum(
                "st,de->stde", block.attn.pattern, block.attn.o_proj.weight
            )
            lost = torch.einsum("sd,de,stef->tf", net.reader * line.mask[0, :, None], heard, mixed)
            later = later - lost
        expected = (line.change(layer, neuron)[..., None] * written * later).sum((1, 2))
        torch.testing.assert_close(found.parts[layer], expected.double(), rtol=1e-3, atol=1e-5)


def test_the_greedy_path_is_that_of_brute_force() -> None:
    """Every neuron is tried by hand, layer after layer, with the ones before held."""
    alone = []
    for seed in (5, 6, 7):
        net, metric, line = plain(seed=seed, reach=8.0)
        expected: dict[int, int] = {}
        for layer in range(N_LAYERS):
            gains = [
                float(by_hand(net, line, {**expected, layer: i}, "end").mean()) for i in range(D_FF)
            ]
            expected[layer] = max(range(D_FF), key=gains.__getitem__)
            best = [float(by_hand(net, line, {layer: i}, "end").mean()) for i in range(D_FF)]
            alone.append(best[expected[layer]] == max(best))
        assert find_path(net, metric, line, candidates=None) == expected
        natural = dataclasses.replace(line, natural=True)
        assert find_path(net, metric, natural, candidates=None) == expected
    assert not all(alone), "neurons that are best by themselves are a path: nothing was tested"


def test_few_candidates_are_enough_where_the_first_guess_is_good() -> None:
    net, metric, line = plain()
    assert find_path(net, metric, line, candidates=2) == find_path(
        net, metric, line, candidates=None
    )


def test_where_neurons_do_not_hear_each_other_the_greedy_path_is_the_best_of_all() -> None:
    net, metric, line = plain(nn.Identity)
    for block in net.layers:
        block.ffn.up.weight.zero_()
        block.attn.o_proj.weight.zero_()
    paths = list(itertools.product(range(D_FF), repeat=N_LAYERS))
    ends = {
        side: [float(by_hand(net, line, dict(enumerate(p)), side).mean()) for p in paths]
        for side in ("start", "end")
    }
    sizes = [end - start for start, end in zip(ends["start"], ends["end"], strict=True)]
    best = paths[max(range(len(paths)), key=sizes.__getitem__)]
    assert tuple(find_path(net, metric, line, candidates=1).values()) == best


def test_the_first_guess_is_exact_in_a_linear_net() -> None:
    net, metric, line = plain(nn.Identity)
    path = {0: 1}
    guesses = first_order(net, metric, line, path, 2)
    start = by_hand(net, line, path, "start")
    for neuron in range(D_FF):
        true = by_hand(net, line, {**path, 2: neuron}, "end") - start
        assert float(guesses[neuron]) == pytest.approx(float(true.mean()), rel=1e-3, abs=1e-4)


def test_the_published_score_multiplies_sums() -> None:
    """Of one neuron it is the joint attribution; of two it has the mixed products as well."""
    net, metric, line = plain(nn.Identity)
    one = {2: 3}
    torch.testing.assert_close(
        published_score(net, metric, line, one, steps=2),
        joint_attribution(net, metric, line, one, steps=2).joint,
    )
    two = {1: 3, 2: 0}
    both = joint_attribution(net, metric, line, two, steps=2)
    change = {n: line.change(n, i) for n, i in two.items()}
    slope = {}
    for layer, neuron in two.items():  # by finite differences at each token
        other = {k: v for k, v in two.items() if k != layer}
        slope[layer] = torch.zeros(R, TOKENS)
        for token in range(1, TOKENS):
            moved = {n: values.clone() for n, values in line.start.items()}
            moved[layer][:, token, neuron] += 1.0
            nudged = Line(moved, line.end, line.mask)
            slope[layer][:, token] = (
                by_hand(net, nudged, {**other, layer: neuron}, "start")
                - by_hand(net, line, two, "start")
            ).float()
    mixed = (change[1] * slope[2] + change[2] * slope[1]).sum(1)
    found = published_score(net, metric, line, two, steps=2)
    torch.testing.assert_close(found, both.joint + mixed.double(), rtol=1e-3, atol=1e-4)


def test_nothing_stays_and_bad_paths_are_refused() -> None:
    net, metric, line = plain()
    before = metric()
    find_path(net, metric, line, candidates=2)
    joint_attribution(net, metric, line, {0: 1}, steps=2)
    assert torch.equal(metric(), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match="layer 1 has neurons 0 to 6, not 7"):
        PathClamp(net, line, {1: 7}, 0.0)
    with pytest.raises(ValueError, match="at least one step"):
        joint_attribution(net, metric, line, {0: 1}, steps=0)
