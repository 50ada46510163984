"""What one block of a decoder is made of, found by the structure of its modules.

A block has an attention part and an FFN part, dense or a mixture of experts. With d the width that
the attention writes, an FFN has a linear map [d_ff -> d], whose columns are the value vectors, and
one or two maps [d -> d_ff]; experts are 3-D parameters or a list of FFNs, beside a router
[d -> experts]. Words ("attn", "mlp", "gate") decide only where shapes cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import nn

_ATTENTION = ("attn", "attention")
_FFN = ("mlp", "ffn", "feed_forward", "feedforward", "moe")
# The norms of a block before its attention and before its FFN. Only with these names, in a block
# without further parts, is the residual stream known to be stream + attention + FFN.
_PRE_NORMS = (("input_layernorm", "post_attention_layernorm"), ("ln_1", "ln_2"))
_SANDWICH = {
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
}


class SiteError(ValueError):
    """A site that is misspelt, out of range, or that this model cannot be edited at."""


@dataclass(frozen=True, eq=False)
class BlockParts:
    """The modules of one block; None where it has no such part, with the reason in `missing`.

    width: of the residual stream. norms: before the attention and before the FFN, where the
    branches are added to what goes into these. stream and ending: leaves of the block such that
    the stream after it is `input of stream + output of ending`; None where only the block's own
    output is known to be the stream. input_first: see `ModelMap`.
    """

    block: nn.Module
    width: int = 0
    attention_out: nn.Module | None = None
    ffn: nn.Module | None = None
    down: nn.Module | None = None
    gate: nn.Module | None = None
    up: nn.Module | None = None
    router: nn.Module | None = None
    experts: nn.Module | None = None
    norms: tuple[nn.Module, nn.Module] | None = None
    stream: nn.Module | None = None
    ending: nn.Module | None = None
    input_first: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)


def inspect_block(block: nn.Module) -> BlockParts | None:
    """The parts of a block, or None where it has no attention part or no FFN part."""
    named = {
        name: child
        for name, child in block.named_children()
        if not _has_word(name, child, ("norm",)) and (_linear_maps(child) or _expert_weights(child))
    }
    attention = _attention_of(named)
    if attention is None:
        return None
    *_, (_, attention_out) = _linear_maps(attention)
    ffn = _ffn_of({n: m for n, m in named.items() if not _has_word(n, m, _ATTENTION)})
    if ffn is None:
        return None
    width = _sizes(attention_out)[0]
    parts = BlockParts(block, width, attention_out, ffn)
    experts = _experts_of(ffn)
    parts = _with_dense(parts, ffn) if experts is None else _with_experts(parts, ffn, experts)
    return _with_stream(parts, attention)


def _attention_of(named: Mapping[str, nn.Module]) -> nn.Module | None:
    found = {n: m for n, m in named.items() if _has_word(n, m, _ATTENTION) and _linear_maps(m)}
    first = [m for n, m in found.items() if "cross" not in n and "encoder" not in n]
    return next(iter(first), None)


def _ffn_of(named: Mapping[str, nn.Module]) -> nn.Module | None:
    if len(named) > 1:
        named = {n: m for n, m in named.items() if _has_word(n, m, _FFN)}
    only = list(named.values())
    if len(only) != 1 or _linear_maps(only[0])[:1] == [("", only[0])]:
        return None  # none, several, or a lone linear map
    return only[0]


def _with_dense(parts: BlockParts, ffn: nn.Module) -> BlockParts:
    """The FFN's last map, and the ones before its activation."""
    kind, d = type(ffn).__name__, parts.width
    sized = [(name, m, *_sizes(m)) for name, m in _linear_maps(ffn)]
    back = [entry for entry in sized if entry[2] == d and entry[3] != d]
    if not back and len(sized) > 1:  # d_ff = d: the last of two, or the one that is called so
        square = [entry for entry in sized if entry[2] == d]
        back = square if len(square) == 2 else [entry for entry in square if "down" in entry[0]]
    if not back:
        reason = f"in {children(ffn)} it is not clear which linear map writes the stream"
        return replace(parts, missing={"down": reason, "gate": reason, "up": reason})
    *_, (_, down, _, d_ff) = back
    first = [(name, m) for name, m, n_out, n_in in sized if (n_out, n_in) == (d_ff, d)]
    first = [(name, m) for name, m in first if m is not down]
    if len(first) == 1:
        reason = f"{kind} has no gate; its activation is of mlp.up_proj:out"
        return replace(parts, down=down, up=first[0][1], missing={"gate": reason})
    gates = [m for name, m in first if "gate" in name.rsplit(".", 1)[-1]]
    if len(first) == 2 and len(gates) == 1:
        (up,) = [m for _, m in first if m is not gates[0]]
        return replace(parts, down=down, gate=gates[0], up=up)
    reason = f"in {children(ffn)} it is not clear which linear map is the gate (fused, or unnamed)"
    return replace(parts, down=down, missing={"gate": reason, "up": reason})


def _with_experts(parts: BlockParts, ffn: nn.Module, experts: nn.Module) -> BlockParts:
    kind = type(ffn).__name__
    fused = _expert_weights(experts, deep=False)
    if fused:
        shapes = ", ".join(f"{name} {list(weight.shape)}" for name, weight in fused.items())
        n_experts = len(next(iter(fused.values())))
        reason = (
            f"{kind} keeps its {n_experts} experts fused in 3-D parameters of "
            f"{type(experts).__name__} ({shapes}), so their neurons pass through no module"
        )
    else:
        n_experts = len(cast(nn.ModuleList, experts))
        reason = f"{kind} calls each of its {n_experts} experts with only the tokens routed to it"
    shared = [n for n, m in ffn.named_children() if "shared" in n and len(_linear_maps(m)) > 1]
    if shared:
        reason += f"; beside them it has {', '.join(shared)}"
    missing = dict.fromkeys(("down", "gate", "up"), reason)
    sized = [
        (name, linear)
        for name, child in ffn.named_children()
        if child is not experts and "shared" not in name
        for _, linear in _linear_maps(child)
        if _sizes(linear) == (n_experts, parts.width)
    ]
    if len(sized) != 1:
        missing["router"] = f"in {children(ffn)} no one linear map gives {n_experts} logits"
        return replace(parts, experts=experts, missing=missing)
    return replace(parts, experts=experts, router=sized[0][1], missing=missing)


def _with_stream(parts: BlockParts, attention: nn.Module) -> BlockParts:
    """Where the residual stream passes, if this block adds its branches in a way that is known."""
    block = parts.block
    named = {
        name: child
        for name, child in block.named_children()
        if not isinstance(child, nn.Dropout | nn.Identity)
    }
    norms = {n: m for n, m in named.items() if m is not attention and m is not parts.ffn}
    scaled = getattr(block, "residual_multiplier", 1.0) != 1.0
    own = any(True for _ in block.parameters(recurse=False))
    gated = any(True for norm in norms.values() for _ in norm.children())  # adaptive norms
    ffn = cast(nn.Module, parts.ffn)
    inside = any(_has_word(name, module, ("norm",)) for name, module in ffn.named_modules())
    if scaled or own or gated or inside:
        return parts
    last = parts.ffn if parts.down is None else parts.down
    if set(norms) == _SANDWICH:  # Gemma 2 and 3: each branch is normalised before it is added
        stream, ending = "pre_feedforward_layernorm", "post_feedforward_layernorm"
        return replace(parts, stream=norms[stream], ending=norms[ending])
    for before in _PRE_NORMS:
        if set(norms) == set(before):
            parts = replace(parts, norms=(norms[before[0]], norms[before[1]]))
            if not getattr(block, "use_parallel_residual", False):
                parts = replace(parts, stream=norms[before[1]], ending=last)
    return parts


def _linear_maps(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The linear maps inside a module with their paths, in the order of registration."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Embedding):
        return []
    if isinstance(module, nn.Linear) or (isinstance(weight, torch.Tensor) and weight.dim() == 2):
        return [("", module)]  # adapters inside it are its own affair
    return [
        (f"{name}.{inner}" if inner else name, linear)
        for name, child in module.named_children()
        for inner, linear in _linear_maps(child)
    ]


def _sizes(linear: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear map, also of a quantised one."""
    if isinstance(linear, nn.Linear):
        return linear.out_features, linear.in_features
    weight = cast(torch.Tensor, linear.weight)
    n_out, n_in = weight.shape
    return (n_in, n_out) if _is_conv1d(linear) else (n_out, n_in)


def _is_conv1d(linear: nn.Module) -> bool:
    """GPT-2's linear map (`nf` out, `nx` in), whose weight is `[in, out]`."""
    linear = cast(nn.Module, getattr(linear, "base_layer", linear))
    shape = (getattr(linear, "nx", None), getattr(linear, "nf", None))
    return not isinstance(linear, nn.Linear) and shape == tuple(cast(Any, linear.weight).shape)


def _expert_weights(module: nn.Module, deep: bool = True) -> dict[str, torch.Tensor]:
    """Weights of fused experts: 3-D floating point parameters."""
    return {
        name: weight
        for name, weight in module.named_parameters(recurse=deep)
        if weight.dim() == 3 and weight.is_floating_point()
    }


def _experts_of(ffn: nn.Module) -> nn.Module | None:
    for module in ffn.modules():
        if _expert_weights(module, deep=False):
            return module
        if isinstance(module, nn.ModuleList) and all(len(_linear_maps(m)) > 1 for m in module):
            return module
    return None


def _has_word(name: str, module: nn.Module, words: tuple[str, ...]) -> bool:
    text = f"{name} {type(module).__name__}".lower()
    return any(word in text for word in words)


def expert_down(parts: BlockParts) -> list[torch.Tensor]:
    """The weight `[d, d_ff]` of each expert's last linear map; empty where it is not clear."""
    experts = parts.experts
    if isinstance(experts, nn.ModuleList):
        inner = [_with_dense(BlockParts(e, parts.width), e).down for e in experts]
        found = [None if down is None else matrix(down) for down in inner]
        return [weight for weight in found if weight is not None]
    fused = {} if experts is None else _expert_weights(experts, deep=False)
    down = [weight for name, weight in fused.items() if "down" in name]
    if len(down) != 1:
        return []
    (weight,) = down
    turned = weight.shape[1] != parts.width or (
        weight.shape[2] == parts.width and bool(getattr(experts, "is_transposed", False))
    )
    return list(weight.transpose(1, 2) if turned else weight)


def matrix(linear: nn.Module, input_first: bool = False) -> torch.Tensor | None:
    """The weight of a linear map as `[out, in]`, or None where it has no plain one.

    Of an embedding: `[tokens, d]`, whatever `input_first` says.
    """
    weight = getattr(linear, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or not weight.is_floating_point():
        return None
    turned = _is_conv1d(linear) or (input_first and not isinstance(linear, nn.Embedding))
    return weight.T if turned else weight


def children(module: nn.Module) -> str:
    """A module's class and its children's names and classes, for messages."""
    inside = ", ".join(f"{name}: {type(child).__name__}" for name, child in module.named_children())
    return f"{type(module).__name__} with {inside or 'no children'}"
