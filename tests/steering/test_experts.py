"""Expert steering on tiny mixtures, against the router's own choices and hand-made edits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional

from pilotage.steering import SiteError, Steerer, capture
from pilotage.steering.experts import (
    STIMULATE,
    SUPPRESS,
    ExpertSet,
    ExpertUsage,
    contrast_experts,
    expert_layers,
    experts_per_token,
    route,
    usage,
    usage_matched,
)

from .hand_made import FAMILIES, N_EXPERTS, build
from .helpers import begin, groups, ids, steered_logits

MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe"]
SITES = [f"layers.{i}.mlp.router:in" for i in range(2)]


@pytest.fixture(params=MIXTURES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def prompt(seed: int = 0) -> torch.Tensor:
    return 2 + ids(3, 8, seed=seed, vocabulary=43)


@contextmanager
def routed(model: nn.Module) -> Iterator[dict[int, list[tuple[torch.Tensor, ...]]]]:
    """What each layer's router gives: its logits, its weights, and the experts it chose."""
    seen: dict[int, list[tuple[torch.Tensor, ...]]] = {0: [], 1: []}
    handles = [
        module.register_forward_hook(lambda m, a, out, i=i: seen[i].append(out))
        for i in (0, 1)
        for n, module in model.named_modules()
        if n.endswith(f"layers.{i}.mlp.gate")
    ]
    assert len(handles) == 2
    yield seen
    for handle in handles:
        handle.remove()


def measured(model: nn.Module, tokens: torch.Tensor) -> list[ExpertUsage]:
    with capture(model, SITES) as seen, torch.no_grad():
        model(tokens, use_cache=False)
    return [usage(model, i, seen.activations(site)) for i, site in enumerate(SITES)]


def test_usage_counts_what_the_router_chose(name: str) -> None:
    model, tokens = build(name), prompt()
    with routed(model) as seen:
        found = measured(model, tokens)
    for i in (0, 1):
        ((_, _, chosen),) = seen[i]
        k = chosen.shape[-1]
        counts = [int((chosen == e).sum()) for e in range(N_EXPERTS)]
        assert found[i].share.tolist() == pytest.approx([c / 24 for c in counts])
        assert float(found[i].share.sum()) == pytest.approx(k)
        assert experts_per_token(model, i) == k
    assert expert_layers(model) == [0, 1]


@pytest.mark.parametrize("shift", [SUPPRESS, STIMULATE, 1.5])
def test_a_route_moves_only_the_logits_of_its_experts(name: str, shift: float) -> None:
    model, tokens = build(name), prompt()
    what = route(model, 0, [1], shift)
    with routed(model) as seen:
        steered_logits(model, tokens, {})
        steered_logits(model, tokens, {0: [what], 2: [what.with_coefficient(0.0)]})
    (before, _, _), (after, weights, chosen) = seen[0]
    moved = (after - before).view(3, 8, N_EXPERTS)
    wanted = torch.zeros(8, N_EXPERTS)
    wanted[:, 1] = shift
    assert torch.allclose(moved[0], wanted, atol=2e-4)
    assert (moved[1:] == 0).all()
    picked = (chosen.view(3, 8, -1)[0] == 1).any(-1)
    if shift == SUPPRESS:
        assert not picked.any()
    if shift == STIMULATE:
        assert picked.all()
    # The family's own rule for the weights, from the edited logits.
    chances = (before.view(3, 8, -1)[0] + wanted).softmax(-1)
    expected = chances.gather(-1, chosen.view(3, 8, -1)[0])
    if FAMILIES[name].mixture == "normalised":
        expected = expected / expected.sum(-1, keepdim=True)
    assert torch.allclose(weights.view(3, 8, -1)[0], expected, atol=1e-4)


def test_a_suppressed_expert_is_as_good_as_cut_out(name: str) -> None:
    """The model with a router that never has expert 1 to give, against the steered one; the rest
    of the block's arithmetic is the model's own."""
    model, tokens = build(name), prompt()
    out = steered_logits(model, tokens, {i: [route(model, 0, [1], SUPPRESS)] for i in range(3)})
    (gate,) = [m for n, m in model.named_modules() if n.endswith("layers.0.mlp.gate")]
    normalised = FAMILIES[name].mixture == "normalised"

    def without(module: nn.Module, args: tuple[torch.Tensor], given: tuple) -> tuple:
        logits = functional.linear(args[0].reshape(-1, module.weight.shape[1]), module.weight)
        logits[:, 1] = -torch.inf
        top = logits.softmax(-1).topk(given[2].shape[-1], dim=-1)
        weights = top.values / top.values.sum(-1, keepdim=True) if normalised else top.values
        return logits, weights, top.indices

    handle = gate.register_forward_hook(without)
    with torch.no_grad():
        expected = model(tokens, use_cache=False).logits
        handle.remove()
        plain = model(tokens, use_cache=False).logits
    assert torch.allclose(out, expected, atol=2e-4)
    assert not torch.allclose(out, plain, atol=1e-2)


def test_coefficient_zero_is_bit_identical_and_receipts_count_every_token(name: str) -> None:
    model, tokens = build(name), prompt()
    what = route(model, 1, [0, 2], SUPPRESS)
    with torch.no_grad():
        plain = model(tokens, use_cache=False).logits
    off = {row: [what.with_coefficient(0.0)] for row in range(3)}
    assert torch.equal(steered_logits(model, tokens, off), plain)
    with Steerer(model, n_rows=3) as steerer, torch.no_grad(), routed(model) as seen:
        steerer.set_row(0, [what])
        steerer.set_row(1, [what.with_coefficient(0.0)])
        layout = groups(3, 8)
        begin(steerer, layout)
        out = model(tokens, use_cache=False).logits
        edited = [steerer.receipt(r)["interventions"] for r in (0, 1)]
        steerer.check_receipt(steerer.receipt(0))
    # Beside another row that is routed otherwise: the experts' products have other shapes.
    assert torch.allclose(out[1:], plain[1:], atol=1e-5)
    # Row 0 ends in padding, which is not edited: there the experts may be chosen as ever.
    without = (~torch.isin(seen[1][0][2].view(3, 8, -1)[0], torch.tensor([0, 2]))).all(-1)
    assert without[:7].all()
    assert edited[0][0]["edited_tokens"]["prefill"] == 7
    assert edited[0][0]["mean_delivered_norm"] == pytest.approx(abs(what.coefficient), rel=1e-5)
    assert edited[1][0]["edited_tokens"]["prefill"] == 0


def test_the_experts_of_a_concept_are_those_it_uses_more() -> None:
    def used(layer: int, *shares: float) -> ExpertUsage:
        return ExpertUsage(layer, torch.tensor(shares, dtype=torch.float64), 100)

    on = [used(0, 0.9, 0.5, 0.3, 0.3), used(3, 0.2, 0.7, 0.6, 0.5)]
    off = [used(0, 0.8, 0.1, 0.6, 0.5), used(3, 0.5, 0.6, 0.4, 0.5)]
    assert contrast_experts(on, off, 2).experts == ((0, 1), (3, 2))  # by 0.4 and by 0.2
    assert contrast_experts(off, on, 1).experts in (((0, 2),), ((3, 0),))  # by 0.3, both
    with pytest.raises(ValueError, match="5 experts were asked for, 4 are used more"):
        contrast_experts(on, off, 5)
    with pytest.raises(ValueError, match="usage is of layers"):
        contrast_experts(on, off[:1], 1)


def test_the_control_has_as_many_experts_of_the_nearest_usage() -> None:
    share = torch.tensor([0.9, 0.5, 0.88, 0.1, 0.45, 0.12, 0.0, 0.05], dtype=torch.float64)
    base = [ExpertUsage(2, share, 100), ExpertUsage(5, share.flip(0), 100)]
    target = ExpertSet(((2, 0), (2, 1), (5, 4)))
    control = usage_matched(target, base)
    assert control.experts == ((2, 2), (2, 4), (5, 2))
    counts = {layer: len(e) for layer, e in target.by_layer().items()}
    assert {layer: len(e) for layer, e in control.by_layer().items()} == counts
    assert not set(control.experts) & set(target.experts)
    assert control.source["largest_usage_gap"] <= 0.05
    with pytest.raises(ValueError, match="5 others do not exist"):
        usage_matched(ExpertSet(tuple((2, e) for e in range(5))), base)
    with pytest.raises(ValueError, match="no usage of layer 7"):
        usage_matched(ExpertSet(((7, 0),)), base)


def test_experts_and_their_control_reach_the_model_per_layer(name: str) -> None:
    model = build(name)
    found = contrast_experts(measured(model, prompt(1)), measured(model, prompt(2)), 2)
    what = found.interventions(model, SUPPRESS)
    control = usage_matched(found, measured(model, prompt())).interventions(model, SUPPRESS)
    assert len(what) == len(control) == len(found.by_layer())
    out = steered_logits(model, prompt(), {0: what, 1: control})
    plain = steered_logits(model, prompt(), {})
    assert not torch.allclose(out[0], plain[0], atol=1e-3)
    assert torch.allclose(out[2], plain[2], atol=1e-5)


def test_what_cannot_be_routed_is_refused() -> None:
    model = build("mixtral")
    with pytest.raises(ValueError, match="experts 0 to 3"):
        route(model, 0, [4], SUPPRESS)
    with pytest.raises(ValueError, match="distinct"):
        route(model, 0, [1, 1], SUPPRESS)
    with pytest.raises(ValueError, match="changes no choice"):
        route(model, 0, range(4), SUPPRESS)
    with pytest.raises(SiteError, match="no mixture"):
        expert_layers(build("llama"))
    with pytest.raises(ValueError, match="reads"):
        usage(model, 0, torch.zeros(3, 5))
