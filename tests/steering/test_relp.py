"""RelP against blocks written by hand from the state dict, and against what LRP promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pilotage.steering import SiteError
from pilotage.steering.gradients import gradients_and_values, site_gradients
from pilotage.steering.relp import Relevance

from .conftest import N_LAYERS, make_llama
from .hand_made import HandMade, build
from .helpers import ids

# Gemma 2 caps its attention scores in eager attention only: it is the last, and left out for sdpa.
FAMILIES_BY_HAND = ("llama", "qwen3", "gemma", "gpt2", "gpt_neox", "gpt_neox_sequential", "gemma2")
PLACES = ("resid:in", "self_attn.o_proj:out", "mlp:in", "mlp.down_proj:in", "mlp.up_proj:out")
LOGIT = 7


class RelevanceByHand(HandMade):
    """The blocks of a family with the rules written into their arithmetic, as in the paper."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        act = self.family.act
        self.gated = len(self.family.ffn) == 3
        self.family = dataclasses.replace(
            self.family, act=lambda x: x * (act(x) / _away_from_zero(x)).detach()
        )

    def _norm(self, name: str, h: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias", 0.0)
        constant, centred = h.detach(), h
        if self.family.kind_of_norm == "layer":
            constant = constant - constant.mean(-1, keepdim=True)
            centred = h - h.mean(-1, keepdim=True)
        config = self.model.config.get_text_config()
        eps = getattr(config, "rms_norm_eps", getattr(config, "layer_norm_eps", 1e-5))
        scale = (constant.square().mean(-1, keepdim=True) + eps).rsqrt()
        weight = 1 + weight if self.family.kind_of_norm == "rms from one" else weight
        return centred * scale * weight + bias

    def coefficients(
        self, stream: torch.Tensor, patterns: tuple[torch.Tensor, ...]
    ) -> dict[tuple[int, str], torch.Tensor]:
        """(layer, place) -> gradient of one logit at the last token, with all four rules."""
        found: dict[tuple[int, str], torch.Tensor] = {}

        def keep(layer: int, place: str) -> Callable[[torch.Tensor], torch.Tensor]:
            def hold(value: torch.Tensor) -> torch.Tensor:
                value = value if value.requires_grad else value.clone().requires_grad_()
                if place == "mlp.down_proj:in" and self.gated:
                    value = 0.5 * value + 0.5 * value.detach()
                value.retain_grad()
                found[layer, place] = value
                return value

            return hold

        for layer, pattern in enumerate(patterns):
            edits = {place: keep(layer, place) for place in PLACES}
            stream = self.block(layer, stream, pattern, edits)["resid:out"]
        self.logits(stream)[:, -1, LOGIT].sum().backward()
        return {key: value.grad for key, value in found.items() if value.grad is not None}


def _away_from_zero(x: torch.Tensor) -> torch.Tensor:
    return x + torch.where(x < 0, -1e-6, 1e-6)


def logit(model: nn.Module, tokens: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: model(tokens, use_cache=False).logits[:, -1, LOGIT]


def count_hooks(model: nn.Module) -> int:
    """transformers leaves hooks of its own behind where it was asked for attentions."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(
    ("name", "attention"),
    [(name, kind) for name in FAMILIES_BY_HAND for kind in ("eager", "sdpa")][:-1],
)
def test_coefficients_are_those_of_the_rules_written_out_by_hand(name: str, attention: str) -> None:
    model: Any = build(name)
    tokens = 2 + ids(2, 6, vocabulary=43)
    sites = [f"layers.{n}.{place}" for n in range(2) for place in PLACES]
    with torch.no_grad():
        patterns = model(tokens, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(attention)
    try:
        with Relevance(model, attention=True):
            found = gradients_and_values(model, logit(model, tokens), sites)
    finally:
        model.set_attn_implementation("eager")
    by_hand = RelevanceByHand(name).coefficients(found["layers.0.resid:in"][1], patterns)
    for (layer, place), expected in by_hand.items():
        gradient, _ = found[f"layers.{layer}.{place}"]
        torch.testing.assert_close(gradient, expected, rtol=2e-3, atol=2e-4, msg=f"{layer} {place}")


def test_with_all_rules_relevance_is_conserved_from_layer_to_layer() -> None:
    """A Llama has no biases: coefficient times value, summed over tokens, is the logit, anywhere in
    the stream. With one rule less it is not."""
    model = make_llama().requires_grad_(False)
    tokens = ids(3, 8)
    sites = [f"layers.{n}.{place}" for n in range(N_LAYERS) for place in ("resid:in", "resid:out")]
    with torch.no_grad():
        expected = logit(model, tokens)()
    with Relevance(model, attention=True):
        found = gradients_and_values(model, logit(model, tokens), sites)
    for coefficient, value in found.values():
        torch.testing.assert_close(
            (coefficient * value).sum((1, 2)), expected, rtol=1e-3, atol=1e-4
        )
    for left_out in ("norms", "activations", "products", "attention"):
        rules = {"attention": True, **{left_out: False}}
        with Relevance(model, **rules):
            found = gradients_and_values(model, logit(model, tokens), ["layers.0.resid:in"])
        coefficient, value = found["layers.0.resid:in"]
        wrong = ((coefficient * value).sum((1, 2)) - expected).abs().max()
        assert wrong > 0.01 * expected.abs().max(), left_out


def test_an_ffn_hands_on_as_much_relevance_as_it_gets() -> None:
    """Half of the neurons' relevance goes by the gate, half by `up`, and all of it to the input."""
    model = make_llama().requires_grad_(False)
    places = ("mlp.down_proj:in", "mlp.gate_proj:out", "mlp.up_proj:out", "mlp:in", "mlp:out")
    with Relevance(model):
        found = gradients_and_values(
            model, logit(model, ids(2, 8)), [f"layers.1.{place}" for place in places]
        )
    neurons, gate, up, entered, left = (
        (c * v).sum((1, 2)) for c, v in (found[f"layers.1.{p}"] for p in places)
    )
    torch.testing.assert_close(gate, 0.5 * neurons, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(up, 0.5 * neurons, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(entered, neurons, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(left, neurons, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_values_do_not_change_and_nothing_stays(name: str) -> None:
    model: Any = build(name)
    tokens = 2 + ids(2, 6, vocabulary=43)
    forward = logit(model, tokens)
    before, gradient = forward().detach(), site_gradients(model, forward, ["layers.0.resid:in"])
    n_hooks = count_hooks(model)
    with Relevance(model, attention=True):
        assert torch.equal(forward().detach(), before)
        changed = site_gradients(model, forward, ["layers.0.resid:in"])["layers.0.resid:in"]
    assert not torch.allclose(changed, gradient["layers.0.resid:in"], rtol=1e-2)
    assert torch.equal(forward().detach(), before)
    after = site_gradients(model, forward, ["layers.0.resid:in"])
    assert torch.equal(after["layers.0.resid:in"], gradient["layers.0.resid:in"])
    assert count_hooks(model) == n_hooks


def test_nothing_stays_after_an_error_in_the_middle_of_a_forward() -> None:
    model = make_llama().requires_grad_(False)

    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    handle = model.model.layers[1].self_attn.o_proj.register_forward_hook(fail)
    rules = Relevance(model, attention=True)
    with pytest.raises(RuntimeError, match="on purpose"), rules:
        model(ids(2, 5))
    handle.remove()
    assert count_hooks(model) == 0
    score = torch.randn(3, 4, requires_grad=True)
    assert score.softmax(-1).requires_grad, "softmax still is detached"
    assert torch._C._len_torch_function_stack() == 0, "torch's functions still are watched"


def test_a_softmax_of_the_metric_keeps_its_gradient() -> None:
    """Only attention is frozen: what is computed from the logits is not."""
    model = make_llama().requires_grad_(False)
    tokens = ids(2, 5)
    with Relevance(model, attention=True):
        found = site_gradients(
            model, lambda: model(tokens).logits[:, -1].softmax(-1)[:, LOGIT], ["layers.1.mlp:out"]
        )
    assert found["layers.1.mlp:out"].abs().max() > 0


def test_attention_that_names_its_arguments_is_frozen_too() -> None:
    """Gradients reach the values, and neither queries nor keys."""
    model = make_llama().requires_grad_(False)
    attention = _KeywordAttention(model.model.layers[0].self_attn)
    model.model.layers[0].self_attn = attention
    with Relevance(model, attention=True):
        total = model(ids(2, 5)).logits[:, -1, LOGIT].sum()
    reached = torch.autograd.grad(total, attention.leaves, allow_unused=True)
    assert [gradient is not None for gradient in reached] == [False, False, True]


def test_what_the_rules_cannot_reach_is_refused() -> None:
    with pytest.raises(SiteError, match="experts fused"):
        Relevance(build("mixtral"))
    Relevance(build("mixtral"), activations=False, products=False)
    model = make_llama()
    model.model.layers[1].mlp.act_fn = nn.Sequential(nn.SiLU(), nn.SiLU())
    with pytest.raises(SiteError, match=r"layers\.1: .* has 2 modules that can be its activation"):
        Relevance(model)
    model = make_llama()
    model.model.norm = _OddNorm(32)
    with pytest.raises(SiteError, match=r"norm .* is neither an RMS norm nor a layer norm"):
        Relevance(model)


def test_attention_by_an_unknown_kernel_is_refused() -> None:
    model = make_llama().requires_grad_(False)
    model.model.layers[0].self_attn = _PlainAttention(model.model.layers[0].self_attn)
    with (
        pytest.raises(RuntimeError, match="_PlainAttention computes its pattern by neither"),
        Relevance(model, attention=True),
    ):
        model(ids(2, 5))


class _OddNorm(nn.Module):
    """Divides by the mean size instead of the root of the mean square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / x.abs().mean(-1, keepdim=True)


class _KeywordAttention(nn.Module):
    """One head; queries, keys and values are the input times a leaf each."""

    def __init__(self, real: nn.Module) -> None:
        super().__init__()
        self.o_proj = real.o_proj
        self.leaves = [torch.ones((), requires_grad=True) for _ in range(3)]

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        query, key, value = (leaf * hidden_states for leaf in self.leaves)
        attend = nn.functional.scaled_dot_product_attention
        return self.o_proj(attend(query=query, key=key, value=value)), None


class _PlainAttention(nn.Module):
    """Every token attends to itself; there is no softmax."""

    def __init__(self, real: nn.Module) -> None:
        super().__init__()
        self.o_proj = real.o_proj

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        return self.o_proj(hidden_states), None
