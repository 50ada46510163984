"""Sites: named places in a decoder, found by module structure, edited through hooks.

The names are Llama's, and mean the same place in every family:

- `resid:in`, `resid:out`: the residual stream before and after the block
- `self_attn.o_proj:in`, `:out`: the heads' outputs, and what the attention writes
- `mlp:in`, `mlp:out`: what the FFN (or the mixture of experts) reads after the norm, and writes
- `mlp.gate_proj:out`, `mlp.up_proj:out`: before the activation; without a gate there is only `up`
- `mlp.down_proj:in`, `:out`: the neurons, after the activation and gate, and what they write
- `mlp.router:in`: what the router of a mixture reads; its logits are this times its weight

Hooks are on leaf modules where possible, as a hook on the block itself is silent in policies that
walk through a block's parts by hand: `resid:out` is then made of two, the input of the norm before
the MLP being the stream, and the last module of the MLP branch where an edit goes in. A block that
adds its branches in another way is hooked as a whole; if it is not called, the receipt says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from pilotage.steering.blocks import BlockParts, SiteError, expert_down, matrix
from pilotage.steering.families import (
    description,
    find_layers,
    owner_of,
    parts_of,
    submodule,
)
from pilotage.steering.taps import Tap

__all__ = [
    "PLACES",
    "ResolvedSite",
    "Site",
    "SiteError",
    "final_norm",
    "find_layers",
    "offered_places",
    "parse_site",
    "resolve",
    "unembedding",
    "value_vectors",
]

_NEEDS = {  # place -> the part of the block that it is at
    "resid:in": "block",
    "resid:out": "block",
    "self_attn.o_proj:in": "attention_out",
    "self_attn.o_proj:out": "attention_out",
    "mlp:in": "ffn",
    "mlp.gate_proj:out": "gate",
    "mlp.up_proj:out": "up",
    "mlp.down_proj:in": "down",
    "mlp.down_proj:out": "down",
    "mlp:out": "ffn",
    "mlp.router:in": "router",
}
PLACES = tuple(_NEEDS)
_NEURONS = ("self_attn.o_proj:in", "mlp.down_proj:in")
_PATTERN = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a decoder: block number (from 0) and one of `PLACES`."""

    layer: int
    place: str

    def __str__(self) -> str:
        return f"layers.{self.layer}.{self.place}"

    @property
    def is_input(self) -> bool:
        """True where the edited tensor is the input of a linear map that writes (neurons)."""
        return self.place in _NEURONS


@dataclass(frozen=True, eq=False)
class ResolvedSite:
    """A site found in one model.

    module: whose input or output is edited. width: size of the edited vectors.
    stream: the norm whose input is the residual stream that this branch is added to, or None where
    that is not known (Gemma 2 and 3 normalise the branch again before it is added), and where the
    site is no branch.
    weight: `[out, in]` of the linear map at the site, or of the nearest one where there is none;
    at `:in` of `down_proj` its columns are the value vectors.
    """

    site: Site
    module: nn.Module
    edge: Literal["in", "out"]
    width: int
    stream: nn.Module | None
    weight: torch.Tensor
    adds_stream: bool  # True: the vector at the site is stream + what the module gives


def parse_site(text: str) -> Site:
    """`"layers.3.mlp.down_proj:in"` -> Site. Raises SiteError listing the places that exist."""
    match = _PATTERN.fullmatch(text)
    if match is None or match.group(2) not in PLACES:
        forms = ", ".join(f"layers.<i>.{place}" for place in PLACES)
        raise SiteError(f"unknown site {text!r}; there are: {forms}")
    return Site(int(match.group(1)), match.group(2))


def resolve(decoder: nn.Module, site: Site | str) -> ResolvedSite:
    """Find a site in a model.

    Raises SiteError for a missing layer, an unknown structure, and a place that this block does
    not offer, saying why and which it offers.
    """
    site = parse_site(site) if isinstance(site, str) else site
    parts = parts_of(decoder, site.layer, str(site))
    if site.place == "resid:in" and site.layer > 0:
        return replace(resolve(decoder, Site(site.layer - 1, "resid:out")), site=site)
    need = _NEEDS[site.place]
    if getattr(parts, need) is None:
        raise SiteError(_refusal(decoder, parts, need, f"site {site}"))
    module: nn.Module = getattr(parts, need)
    if module is parts.block:
        return _residual(parts, site)
    if module is parts.ffn:
        return _whole_ffn(parts, module, site)
    return _at_linear(parts, module, site)


def offered_places(decoder: nn.Module, layer: int = 0) -> tuple[str, ...]:
    """Those of `PLACES` that a block of this model has."""
    return _offered(parts_of(decoder, layer))


def value_vectors(decoder: nn.Module, layer: int, *, expert: int | None = None) -> torch.Tensor:
    """The FFN's value vectors `[d_ff, d]`: row i is what neuron i writes.

    expert: whose, in a mixture of experts. Raises SiteError where there are none.
    """
    where = f"value vectors of layers.{layer}"
    parts = parts_of(decoder, layer)
    if parts.experts is not None:
        return _expert_values(decoder, parts, expert, where)
    if expert is not None:
        raise SiteError(f"{where}: {type(parts.ffn).__name__} has no experts; leave `expert` out")
    if parts.down is None:
        raise SiteError(_refusal(decoder, parts, "down", where))
    return _weight(parts, parts.down, where).detach().T


def unembedding(decoder: nn.Module) -> torch.Tensor:
    """The unembedding `[vocabulary, d]`, tied or not, from `get_output_embeddings()`."""
    model_map = description(decoder)
    if model_map is not None and model_map.unembedding is not None:
        head: nn.Module | None = submodule(decoder, model_map.unembedding)
    else:
        getter = getattr(decoder, "get_output_embeddings", None)
        head = getter() if getter is not None else None
    weight = None
    if head is not None:
        weight = matrix(head, model_map is not None and model_map.input_first)
    if weight is None:
        raise SiteError(
            f"{type(decoder).__name__} has no output embeddings; pass the causal language model, "
            "not its bare stack"
        )
    return weight.detach()


def final_norm(decoder: nn.Module) -> nn.Module:
    """The norm between the last block and the unembedding, found beside the blocks.

    Raises SiteError if there is none.
    """
    model_map = description(decoder)
    if model_map is not None and model_map.final_norm is not None:
        return submodule(decoder, model_map.final_norm)
    layers = find_layers(decoder)
    owner = owner_of(decoder, layers)
    beside = [] if owner is None else list(owner.named_children())
    after = beside[[m is layers for _, m in beside].index(True) :] if beside else []
    norms = [m for name, m in after if "norm" in f"{name} {type(m).__name__}".lower()]
    if not norms:
        raise SiteError(
            f"{type(decoder).__name__} has no norm beside its blocks; there are: "
            f"{', '.join(name for name, _ in beside) or 'none'}"
        )
    return norms[-1]


# ------------------------------------------------------------------------------ the places


def _residual(parts: BlockParts, site: Site) -> ResolvedSite:
    weight = _weight(parts, _nearest(parts), site)
    if site.place == "resid:in":
        return ResolvedSite(site, parts.block, "in", parts.width, None, weight, False)
    if parts.stream is None or parts.ending is None:
        return ResolvedSite(site, Tap(parts.block), "out", parts.width, None, weight, False)
    ending = Tap(parts.ending) if parts.ending is parts.ffn else parts.ending
    return ResolvedSite(site, ending, "out", parts.width, parts.stream, weight, True)


def _whole_ffn(parts: BlockParts, ffn: nn.Module, site: Site) -> ResolvedSite:
    weight = _weight(parts, _nearest(parts), site)
    if site.place == "mlp:in":
        return ResolvedSite(site, ffn, "in", parts.width, None, weight, False)
    # Where `resid:out` is at `down`, an edit of the FFN's output has to come before it.
    at_down = parts.down is not None and parts.ending is parts.down
    module = parts.down if at_down and parts.down is not None else Tap(ffn)
    norm = None if parts.norms is None else parts.norms[1]
    return ResolvedSite(site, module, "out", parts.width, norm, weight, False)


def _at_linear(parts: BlockParts, linear: nn.Module, site: Site) -> ResolvedSite:
    weight = _weight(parts, linear, site)
    edge: Literal["in", "out"] = "in" if site.place.endswith(":in") else "out"
    width = weight.shape[1 if edge == "in" else 0]
    if linear is parts.router:
        return ResolvedSite(site, Tap(linear, parts.ffn), edge, width, None, weight, False)
    norm = None
    if parts.norms is not None and linear in (parts.attention_out, parts.down):
        norm = parts.norms[0 if linear is parts.attention_out else 1]
    return ResolvedSite(site, linear, edge, width, norm, weight, False)


def _expert_values(
    decoder: nn.Module, parts: BlockParts, expert: int | None, where: str
) -> torch.Tensor:
    """Value vectors of one expert, or a SiteError saying what there is."""
    weights = expert_down(parts)
    if expert is None or not 0 <= expert < len(weights):
        wanted = "" if expert is None else f", not {expert}"
        remedy = f"; give `expert`, from 0 to {len(weights) - 1}{wanted}" if len(weights) else ""
        raise SiteError(_refusal(decoder, parts, "down", where) + remedy)
    return weights[expert].detach().T


def _nearest(parts: BlockParts) -> nn.Module | None:
    """A linear map of the block, which says where it is and in which type it computes."""
    return parts.down if parts.attention_out is None else parts.attention_out


def _weight(parts: BlockParts, linear: nn.Module | None, where: Site | str) -> torch.Tensor:
    weight = None if linear is None else matrix(linear, parts.input_first)
    if weight is None:
        raise SiteError(
            f"site {where}: {type(linear).__name__} has no plain [out, in] weight; "
            "load the model unquantised"
        )
    return weight


def _offered(parts: BlockParts) -> tuple[str, ...]:
    return tuple(place for place, need in _NEEDS.items() if getattr(parts, need) is not None)


def _refusal(decoder: nn.Module, parts: BlockParts, need: str, where: str) -> str:
    reason = parts.missing.get(need, f"{type(parts.ffn).__name__} has no {need}")
    return (
        f"{where}: {type(decoder).__name__} does not offer this: {reason}. "
        f"This block offers: {', '.join(_offered(parts))}"
    )
