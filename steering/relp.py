"""RelP: propagation coefficients of layer-wise relevance propagation, by the same autograd.

A gradient is a poor guess of what a patch does where the model is far from linear between the two
sides. RelP (arXiv:2508.21258) keeps the forward as it is and changes local derivatives, so that
what flows back is a coefficient of LRP (Bach et al. 2015; AttnLRP, arXiv:2402.05602) instead:

- norms (LN rule): y = (x - mean) * [w / sigma] + b, the bracket being a constant; an RMS norm has
  no mean
- activations (identity rule): y = x * [act(x) / x], the bracket being a constant, so that the
  coefficient is the secant through 0, not the tangent
- products of the FFN's gate (half rule): g = act(gate) * up hands half of what it gets to each
  factor, as a product would otherwise be counted twice
- attention (AH rule, off by default): the pattern is a constant, so that only the values carry

Linear maps are left alone (gradient times input is the LRP-0 rule). With all four, a bias-free
decoder is a homogeneous function of its stream: what the coefficients give, summed over the tokens
of any layer, is the logit itself (conservation).

The rules are hooks on modules of `steering.families`; inside `Relevance` every value is bit for bit
what it was, and behind it nothing stays attached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

import torch
from torch import nn

from pilotage.steering.blocks import BlockParts, SiteError, children
from pilotage.steering.families import find_layers, owner_of, parts_of
from pilotage.steering.frozen_attention import FrozenAttention
from pilotage.steering.handles import HookHandles

EPSILON = 1e-6  # what x is kept away from 0 by, in act(x) / x


class Relevance:
    """A context manager: a backward pass of a forward inside it gives RelP coefficients.

    norms, activations, products, attention: which rules hold. Enter it before anything that reads
    gradients at sites, so that those are in front of the rules: the neurons (`mlp.down_proj:in`)
    then get the whole of what reaches them, and the half rule acts on what they hand on.

    Raises SiteError, with nothing attached, where a rule cannot be placed: a mixture of experts, an
    FFN whose gate is fused or whose activation is no module, a norm of an unknown form.
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        norms: bool = True,
        activations: bool = True,
        products: bool = True,
        attention: bool = False,
    ) -> None:
        self._handles = HookHandles()
        self._placed: list[tuple[nn.Module, str, Callable[..., Any]]] = []
        layers = find_layers(decoder)
        blocks = [parts_of(decoder, n) for n in range(len(layers))]
        if norms:
            for name, norm in _norms(owner_of(decoder, layers) or decoder):
                self._placed.append((norm, "after", _frozen_norm(name, norm)))
        for n, parts in enumerate(blocks if activations or products else ()):
            _refuse_unclear(decoder, parts, n)
        for n, parts in enumerate(blocks if activations else ()):
            for module in _activations(parts, n):
                self._placed.append((module, "after", _secant))
        for parts in blocks if products else ():
            if parts.gate is not None and parts.down is not None:
                self._placed.append((parts.down, "before", _half))
        self._attention = FrozenAttention(blocks) if attention else None

    def __enter__(self) -> Relevance:
        for module, when, hook in self._placed:
            (self._handles.before if when == "before" else self._handles.after)(module, hook)
        if self._attention is not None:
            self._attention.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()
        if self._attention is not None:
            self._attention.__exit__(kind, error, trace)


class _GradientOf(torch.autograd.Function):
    """The value of one tensor, bit for bit, with the gradient of another of its shape."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, gradients[0]


def _with_gradient_of(value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
    if not surrogate.requires_grad:
        return value
    return cast(torch.Tensor, _GradientOf.apply(value.detach(), surrogate.to(value.dtype)))


# ------------------------------------------------------------------------------ norms


def _norms(stack: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of a text stack: in its blocks, behind them, and of an embedding."""
    for name, module in stack.named_modules():
        weight = getattr(module, "weight", None)
        flat = weight is None or weight.dim() == 1
        called = f"{name.rsplit('.', 1)[-1]} {type(module).__name__}".lower()
        if "norm" in called and flat and not any(True for _ in module.children()):
            yield name, module


def _frozen_norm(name: str, norm: nn.Module) -> Callable[..., torch.Tensor]:
    """The hook that holds a norm's denominator constant."""
    gain, centred = _form(name, norm)
    epsilon = _epsilon(norm)

    def hook(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        x = args[0].float()
        x = x - x.mean(-1, keepdim=True) if centred else x
        sigma = (x.detach().square().mean(-1, keepdim=True) + epsilon).sqrt()
        return _with_gradient_of(output, x * (gain(module) / sigma))

    return hook


def _form(name: str, norm: nn.Module) -> tuple[Callable[[nn.Module], torch.Tensor], bool]:
    """(gain, whether the mean is taken off), the first form that gives what the norm gives."""
    weight = getattr(norm, "weight", None)
    width = 8 if weight is None else len(weight)
    where = {} if weight is None else {"dtype": weight.dtype, "device": weight.device}
    generator = torch.Generator().manual_seed(0)
    probe = (1.0 + 2.0 * torch.randn(4, width, generator=generator)).to(**where)
    with torch.no_grad():
        seen = norm(probe).float()
    bias = getattr(norm, "bias", None)
    offset = 0.0 if bias is None else bias.detach().float()
    tolerance = max(1e-4, 8 * torch.finfo(probe.dtype).eps)
    for gain in (_weight, _one_and_weight):
        for centred in (False, True):
            x = probe.float()
            x = x - x.mean(-1, keepdim=True) if centred else x
            sigma = (x.square().mean(-1, keepdim=True) + _epsilon(norm)).sqrt()
            made = x * (gain(norm) / sigma) + offset
            if torch.allclose(made, seen, rtol=tolerance, atol=tolerance):
                return gain, centred
    raise SiteError(
        f"{name} ({type(norm).__name__}) is neither an RMS norm nor a layer norm as they are "
        "known; leave the rule out with norms=False"
    )


def _weight(norm: nn.Module) -> torch.Tensor:
    weight = getattr(norm, "weight", None)
    return torch.ones(()) if weight is None else weight.detach().float()


def _one_and_weight(norm: nn.Module) -> torch.Tensor:
    return 1.0 + _weight(norm)


def _epsilon(norm: nn.Module) -> float:
    for name in ("variance_epsilon", "eps", "epsilon"):
        value = getattr(norm, name, None)
        if isinstance(value, float) and math.isfinite(value):
            return value
    return float(torch.finfo(torch.float32).eps)  # what nn.RMSNorm takes where it is told none


# ------------------------------------------------------------------------------ the FFN


def _refuse_unclear(decoder: nn.Module, parts: BlockParts, layer: int) -> None:
    if parts.down is None or parts.up is None:
        reason = parts.missing.get("down" if parts.down is None else "up", "")
        raise SiteError(
            f"layers.{layer} of {type(decoder).__name__}: the rules of the FFN need its linear "
            f"maps: {reason}. Leave them out with activations=False, products=False"
        )


def _activations(parts: BlockParts, layer: int) -> list[nn.Module]:
    """The modules of an FFN that have no parameters and are no dropout: its activation."""
    ffn = cast(nn.Module, parts.ffn)
    found = [
        module
        for module in ffn.modules()
        if module is not ffn
        and not any(True for _ in module.children())
        and not any(True for _ in module.parameters())
        and not isinstance(module, nn.Dropout)
    ]
    found = [m for m in found if not isinstance(m, nn.Identity)] or found[:1]
    if len(found) != 1:
        raise SiteError(
            f"layers.{layer}: {children(ffn)} has {len(found)} modules that can be its activation, "
            "not one; leave the rule out with activations=False"
        )
    # The secant of these is their derivative already, without the rounding of a division.
    return [] if isinstance(found[0], nn.ReLU | nn.Identity) else found


def _secant(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Identity rule: the derivative of act is act(x) / x."""
    x = args[0]
    away = x.detach() + torch.where(x.detach() < 0, -EPSILON, EPSILON)
    return _with_gradient_of(output, x * (output.detach() / away))


def _half(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Half rule: the product hands on half of what it gets."""
    return (_with_gradient_of(args[0], 0.5 * args[0]), *args[1:])
