"""Steering a mixture of experts by whom its router asks (arXiv:2502.11096).

Which experts are used more with a concept than without is counted from the router's own choices;
those are then suppressed or stimulated by a shift of their logits. The shift is delivered in front
of the router, which reads h and gives W h: along the pseudo-inverse of W a change of h moves the
chosen logits by exactly what is asked and no other, and the experts still read the unedited h. The
router does the rest: it leaves a suppressed expert out of its top k, and gives its share of the
weights to the others in the family's own way.

The control takes equally many other experts of the same layer that are used equally often: popular
experts matter more, whatever they are about.

Experts compute all tokens routed to them in one product. A row that is not edited is therefore the
same as without its neighbours to rounding only, where these are routed otherwise than they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering.captures import capture
from pilotage.steering.families import find_layers, parts_of
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.sites import SiteError, resolve
from pilotage.steering.steerer import Steerer
from pilotage.steering.tokens import INSTRUCTION

METHOD = "experts arXiv:2502.11096"
SUPPRESS, STIMULATE = -50.0, 50.0  # beyond any logit that a router gives


@dataclass(frozen=True, eq=False)
class ExpertUsage:
    """How often each expert of a layer was among the chosen: float64 `[n_experts]`, the share of
    `n_tokens` tokens; it sums to the router's k."""

    layer: int
    share: torch.Tensor
    n_tokens: int


@dataclass(frozen=True)
class ExpertSet:
    """Experts as `(layer, expert)` pairs, and where they come from."""

    experts: tuple[tuple[int, int], ...]
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        pairs = tuple(sorted((int(layer), int(expert)) for layer, expert in self.experts))
        if not pairs or len(set(pairs)) != len(pairs) or min(min(p) for p in pairs) < 0:
            raise ValueError(f"experts must be distinct (layer, expert) pairs >= 0, got {pairs}")
        object.__setattr__(self, "experts", pairs)

    def by_layer(self) -> dict[int, list[int]]:
        """The experts of each layer."""
        layers: dict[int, list[int]] = {}
        for layer, expert in self.experts:
            layers.setdefault(layer, []).append(expert)
        return layers

    def interventions(
        self, decoder: nn.Module, shift: float = SUPPRESS, *, selector: Selector | None = None
    ) -> list[Intervention]:
        """One intervention per layer, which adds `shift` to the logits of its experts."""
        return [
            route(decoder, layer, experts, shift, selector=selector, source=self.source)
            for layer, experts in self.by_layer().items()
        ]


def expert_layers(decoder: nn.Module) -> list[int]:
    """The layers with a router that can be read. Raises SiteError where there is none."""
    found = [i for i in range(len(find_layers(decoder))) if parts_of(decoder, i).router is not None]
    if not found:
        raise SiteError(f"{type(decoder).__name__} has no router: it is no mixture of experts")
    return found


def usage(decoder: nn.Module, layer: int, read: torch.Tensor) -> ExpertUsage:
    """Who is chosen for what the router reads, `[n, d]` (captured at `layers.i.mlp.router:in`)."""
    site = resolve(decoder, f"layers.{layer}.mlp.router:in")
    if read.dim() != 2 or len(read) == 0 or read.shape[1] != site.width:
        raise ValueError(f"{site.site} reads [n, {site.width}], n >= 1, got {list(read.shape)}")
    weight = site.weight.detach().float().cpu()
    k = experts_per_token(decoder, layer)
    chosen = (read.float() @ weight.T).topk(k, dim=-1).indices
    counts = torch.bincount(chosen.flatten(), minlength=len(weight))
    return ExpertUsage(layer, counts.double() / len(read), len(read))


def experts_per_token(decoder: nn.Module, layer: int) -> int:
    """The router's k: its own `top_k`, else that of the mixture around it."""
    parts = parts_of(decoder, layer)
    for module in (parts.router, parts.ffn):
        k = getattr(module, "top_k", None)
        if isinstance(k, int) and k > 0:
            return k
    raise SiteError(
        f"layer {layer} of {type(decoder).__name__} does not say how many experts it asks (no "
        f"`top_k` in {type(parts.router).__name__} or {type(parts.ffn).__name__})"
    )


@torch.inference_mode()
def usage_over(
    model: nn.Module,
    prompts: Sequence[torch.Tensor],
    *,
    tokens: str = "all",
    edits: Sequence[Intervention] = (),
) -> tuple[list[ExpertUsage], torch.Tensor]:
    """Usage in every layer with a router, and the logits float32 `[n_prompts, V]` behind the
    prompts, while `edits` steer.

    model: a causal language model. prompts: ids int64 `[S]` each. tokens: "all", or "last" for the
    last one of each prompt only, so that sets of one template are compared at one place.
    Raises ValueError for another word and without prompts, SiteError where there is no router.
    """
    if tokens not in ("all", "last"):
        raise ValueError(f"tokens is {tokens!r}; it is all or last")
    if not prompts:
        raise ValueError("there are no prompts to look at")
    sites = {layer: f"layers.{layer}.mlp.router:in" for layer in expert_layers(model)}
    steerer, logits = Steerer(model, n_rows=1), []
    steerer.set_row(0, edits)
    with steerer, capture(model, sites.values(), reduce=tokens) as seen:
        for ids in prompts:
            kinds = np.full((1, len(ids)), INSTRUCTION, np.int8)
            steerer.begin(slice(0, 1), kinds, "prefill", 0, np.zeros(1, np.int64), np.ones(1, bool))
            ran = model(ids[None].to(steerer.device), use_cache=False)
            logits.append(ran.logits[0, -1].float().cpu())
        steerer.check_receipt(steerer.receipt(0))
    found = [usage(model, layer, seen.activations(site)) for layer, site in sites.items()]
    return found, torch.stack(logits)


def contrast_experts(
    positive: Sequence[ExpertUsage], negative: Sequence[ExpertUsage], n: int
) -> ExpertSet:
    """The n experts, over all layers, that are used more with the concept than without.

    Raises ValueError for layers that do not fit and where fewer are used more.
    """
    if [u.layer for u in positive] != [u.layer for u in negative] or not positive:
        raise ValueError(
            f"usage is of layers {[u.layer for u in positive]} and {[u.layer for u in negative]}"
        )
    more = {
        (on.layer, expert): difference
        for on, off in zip(positive, negative, strict=True)
        for expert, difference in enumerate((on.share - off.share).tolist())
    }
    best = sorted((pair for pair in more if more[pair] > 0), key=lambda p: (-more[p], p))[:n]
    if n < 1 or len(best) < n:
        raise ValueError(f"{n} experts were asked for, {len(best)} are used more with the concept")
    source = {
        "method": METHOD,
        "difference": {f"{layer}.{e}": round(more[layer, e], 4) for layer, e in best},
        "n_tokens": [positive[0].n_tokens, negative[0].n_tokens],
    }
    return ExpertSet(tuple(best), source)


def usage_matched(experts: ExpertSet, base: Sequence[ExpertUsage], seed: int = 0) -> ExpertSet:
    """A control: as many other experts in each layer, whose usage is nearest to the targets'.

    base: usage without steering. Targets are served from the most used on; of equally near
    experts the seed chooses. Raises ValueError where a layer has too few others.
    """
    shares = {u.layer: u.share for u in base}
    draw = torch.Generator().manual_seed(seed)
    chosen: list[tuple[int, int]] = []
    gaps: list[float] = []
    for layer, targets in experts.by_layer().items():
        if layer not in shares:
            raise ValueError(f"there is no usage of layer {layer} to match")
        share = shares[layer]
        others = [e for e in range(len(share)) if e not in targets]
        if len(others) < len(targets):
            raise ValueError(
                f"layer {layer} has {len(share)} experts; {len(targets)} others do not exist for a "
                "control"
            )
        order = [others[i] for i in torch.randperm(len(others), generator=draw).tolist()]
        for target in sorted(targets, key=lambda e: -float(share[e])):
            near = min(order, key=lambda e: abs(float(share[e] - share[target])))
            gaps.append(abs(float(share[near] - share[target])))
            order.remove(near)
            chosen.append((layer, near))
    source = {
        "control": "count and usage matched",
        "of": [list(pair) for pair in experts.experts],
        "seed": seed,
        "largest_usage_gap": round(max(gaps), 4),
    }
    return ExpertSet(tuple(chosen), source)


def route(
    decoder: nn.Module,
    layer: int,
    experts: Sequence[int],
    shift: float,
    *,
    selector: Selector | None = None,
    source: Mapping[str, Any] | None = None,
) -> Intervention:
    """Add `shift` to the router logits of these experts: an `add` at `mlp.router:in`.

    In half precision the other logits move by rounding, about shift / 256.
    Raises SiteError where there is no router, ValueError for experts that do not exist, for all of
    them at once (logits have no origin), and for a router whose logits cannot be moved apart.
    """
    site = resolve(decoder, f"layers.{layer}.mlp.router:in")
    weight = site.weight.detach().double().cpu()
    members = sorted(set(experts))
    if (
        not members
        or len(members) != len(experts)
        or not 0 <= members[0] <= members[-1] < len(weight)
    ):
        raise ValueError(
            f"layer {layer} has experts 0 to {len(weight) - 1}; distinct ones are needed, got "
            f"{list(experts)}"
        )
    if len(members) == len(weight):
        raise ValueError(f"all {len(weight)} experts of layer {layer}: that changes no choice")
    wanted = torch.zeros(len(weight), dtype=torch.float64)
    wanted[members] = 1.0
    push = torch.linalg.pinv(weight) @ wanted
    if float((weight @ push - wanted).abs().max()) > 1e-6:
        raise ValueError(
            f"the router of layer {layer} has fewer free directions than experts: its logits "
            "cannot be moved one by one"
        )
    length = float(push.norm())
    return Intervention(
        "add",
        str(site.site),
        shift * length,
        direction=push / length,
        selector=selector or Selector(),
        origin={"experts": members, "logit_shift": float(shift), **(source or {})},
    )
