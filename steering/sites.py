"""Sites: named places in a decoder, resolved by module structure, edited through leaf modules only.

`layers.{i}.resid:out` is the residual stream after block i. A hook on the block itself is silent in
policies that walk through a block's parts by hand, so the site is made of two leaf hooks: the
input of the norm before the MLP is the stream, and the last module of the MLP branch is where an
edit goes in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

PLACES = (
    "resid:out",
    "mlp.down_proj:in",
    "mlp.down_proj:out",
    "self_attn.o_proj:in",
    "self_attn.o_proj:out",
)
_PLAIN = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_SANDWICH = _PLAIN | {"pre_feedforward_layernorm", "post_feedforward_layernorm"}
_PATTERN = re.compile(r"layers\.(\d+)\.(.+)")


class SiteError(ValueError):
    """A site that is misspelt, out of range, or that this model cannot be edited at."""


@dataclass(frozen=True, order=True)
class Site:
    """A place in a decoder: block number (from 0) and one of `PLACES`."""

    layer: int
    place: str

    def __str__(self) -> str:
        return f"layers.{self.layer}.{self.place}"

    @property
    def is_input(self) -> bool:
        """True where the edited tensor is the input of a linear map (neurons)."""
        return self.place.endswith(":in")


@dataclass(frozen=True, eq=False)
class ResolvedSite:
    """A site found in one model.

    module: whose input or output is edited. width: size of the edited vectors.
    stream: the norm whose input is the residual stream that this branch is added to, or None where
    the branch is normalised again before it is added (Gemma 2 and 3), except at `resid:out`.
    weight: `[out, in]` of the branch's last linear map; its columns are the value vectors.
    """

    site: Site
    module: nn.Module
    edge: Literal["in", "out"]
    width: int
    stream: nn.Module | None
    weight: torch.Tensor
    adds_stream: bool  # True at resid:out: the vector at the site is stream + branch


def parse_site(text: str) -> Site:
    """`"layers.3.mlp.down_proj:in"` -> Site. Raises SiteError listing the places that exist."""
    match = _PATTERN.fullmatch(text)
    if match is None or match.group(2) not in PLACES:
        forms = ", ".join(f"layers.<i>.{place}" for place in PLACES)
        raise SiteError(f"unknown site {text!r}; there are: {forms}")
    return Site(int(match.group(1)), match.group(2))


def find_layers(decoder: nn.Module) -> nn.ModuleList:
    """The decoder's blocks: the one `layers` ModuleList whose blocks have `mlp.down_proj`.

    In a vision-language model the text stack is taken, by `get_decoder()`.
    Raises SiteError when there is none, or more than one and the model does not say which.
    """
    found = _stacks(decoder)
    if len(found) > 1 and hasattr(decoder, "get_decoder"):
        text_stack = cast(Any, decoder).get_decoder()
        if isinstance(text_stack, nn.Module) and text_stack is not decoder:
            found = _stacks(text_stack)
    if len(found) == 1:
        return next(iter(found.values()))
    name = type(decoder).__name__
    if found:
        raise SiteError(
            f"{name} has several decoder stacks ({', '.join(found)}); pass the one to steer"
        )
    lists = [n for n, m in decoder.named_modules() if isinstance(m, nn.ModuleList)]
    raise SiteError(
        f"{name} has no Llama-like decoder (a ModuleList `layers` of blocks with self_attn.o_proj "
        f"and mlp.down_proj); its module lists: {', '.join(lists) or 'none'}"
    )


def resolve(decoder: nn.Module, site: Site | str) -> ResolvedSite:
    """Find a site in a model. Raises SiteError for a missing layer or unknown structure."""
    site = parse_site(site) if isinstance(site, str) else site
    block = _block(find_layers(decoder), site)
    sandwich = hasattr(block, "post_feedforward_layernorm")
    if site.place == "resid:out":
        _check_residual(block, site)
        edited = block.post_feedforward_layernorm if sandwich else block.mlp.down_proj
        norm = block.pre_feedforward_layernorm if sandwich else block.post_attention_layernorm
        weight = _weight(block.mlp.down_proj, site)
        return ResolvedSite(site, edited, "out", weight.shape[0], norm, weight, True)
    attention = site.place.startswith("self_attn")
    linear = _linear(block, attention)
    try:
        _check_residual(block, site)
        plain = not sandwich
    except SiteError:
        plain = False
    norm = getattr(block, "input_layernorm" if attention else "post_attention_layernorm", None)
    weight = _weight(linear, site)
    return ResolvedSite(
        site,
        linear,
        "in" if site.is_input else "out",
        weight.shape[1] if site.is_input else weight.shape[0],
        norm if plain else None,
        weight,
        False,
    )


def value_vectors(decoder: nn.Module, layer: int) -> torch.Tensor:
    """The FFN's value vectors `[d_ff, d]`: row i is what neuron i writes."""
    site = Site(layer, "mlp.down_proj:in")
    block = _block(find_layers(decoder), site)
    return _weight(block.mlp.down_proj, site).detach().T


def unembedding(decoder: nn.Module) -> torch.Tensor:
    """The unembedding `[vocabulary, d]`, from `get_output_embeddings()`."""
    getter = getattr(decoder, "get_output_embeddings", None)
    head = getter() if getter is not None else None
    if head is None or getattr(head, "weight", None) is None:
        raise SiteError(
            f"{type(decoder).__name__} has no output embeddings; pass the causal language model, "
            "not its bare stack"
        )
    return head.weight.detach()


def _stacks(root: nn.Module) -> dict[str, nn.ModuleList]:
    return {
        name: module
        for name, module in root.named_modules()
        if name.rsplit(".", 1)[-1] == "layers"
        and isinstance(module, nn.ModuleList)
        and any(_has_leaves(block) for block in module)
    }


def _has_leaves(block: nn.Module) -> bool:
    return hasattr(getattr(block, "mlp", None), "down_proj") and hasattr(
        getattr(block, "self_attn", None), "o_proj"
    )


def _block(layers: nn.ModuleList, site: Site) -> Any:
    if not 0 <= site.layer < len(layers):
        raise SiteError(f"site {site}: this decoder has layers 0 to {len(layers) - 1}")
    block = layers[site.layer]
    if not _has_leaves(block):
        names = ", ".join(name for name, _ in block.named_children())
        raise SiteError(
            f"site {site}: block {site.layer} ({type(block).__name__}: {names}) has no "
            "mlp.down_proj or no self_attn.o_proj"
        )
    return block


def _linear(block: Any, attention: bool) -> nn.Module:
    return block.self_attn.o_proj if attention else block.mlp.down_proj


def _weight(linear: nn.Module, site: Site) -> torch.Tensor:
    weight = getattr(linear, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or not weight.is_floating_point():
        raise SiteError(
            f"site {site}: {type(linear).__name__} has no plain [out, in] weight; "
            "load the model unquantised"
        )
    return weight


def _check_residual(block: nn.Module, site: Site) -> None:
    """Refuse blocks where `stream + branch` is not what leaves the block."""
    parts = {
        name for name, m in block.named_children() if not isinstance(m, nn.Dropout | nn.Identity)
    }
    kind = type(block).__name__
    if parts not in (_PLAIN, _SANDWICH):
        raise SiteError(
            f"site {site}: {kind} has the parts {sorted(parts)}; the residual stream is only "
            f"known for {sorted(_PLAIN)} (Llama, Qwen, Gemma, SmolLM) and, with norms after both "
            f"branches, {sorted(_SANDWICH - _PLAIN)} (Gemma 2, 3). Use a down_proj or o_proj site"
        )
    scale = getattr(block, "residual_multiplier", 1.0)
    if scale != 1.0:
        raise SiteError(f"site {site}: {kind} scales its branches by {scale}; use a down_proj site")
    for name, part in block.named_children():
        if name.endswith("layernorm") and any(True for _ in part.children()):
            raise SiteError(
                f"site {site}: {kind}.{name} is an adaptive norm, whose gate scales the branch; "
                "use a down_proj or o_proj site"
            )
