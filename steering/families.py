"""Finding a decoder's blocks in a model, by structure, or as its user describes it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from pilotage.steering.blocks import BlockParts, SiteError, children, inspect_block, matrix


@dataclass(frozen=True)
class ModelMap:
    """Names a model's parts by hand; see `describe_model`. None: not there, or not wanted.

    layers: path of the ModuleList of blocks, from the model; so are `final_norm` and
    `unembedding`. The other paths start at a block: attention_out, the linear map that ends the
    attention; ffn, the module from the normed stream to what the FFN writes; down, the FFN's last
    linear map, whose input are the neurons; gate and up, its first ones; router, a mixture's.
    input_first: the linear maps have weights `[in, out]`, not `[out, in]`.
    """

    layers: str
    attention_out: str | None = None
    ffn: str | None = None
    down: str | None = None
    gate: str | None = None
    up: str | None = None
    router: str | None = None
    final_norm: str | None = None
    unembedding: str | None = None
    input_first: bool = False


_described: weakref.WeakKeyDictionary[nn.Module, ModelMap] = weakref.WeakKeyDictionary()


def describe_model(decoder: nn.Module, model_map: ModelMap) -> None:
    """Use these names for this model object from now on, instead of looking at its structure.

    Raises SiteError, and keeps nothing, where a path leads nowhere or to a part of another kind.
    """
    before = _described.get(decoder)
    _described[decoder] = model_map
    try:
        for block in _described_layers(decoder, model_map):
            _described_parts(decoder, block, model_map)
        for path in (model_map.final_norm, model_map.unembedding):
            if path is not None:
                submodule(decoder, path)
    except SiteError:
        if before is None:
            del _described[decoder]
        else:
            _described[decoder] = before
        raise


def description(decoder: nn.Module) -> ModelMap | None:
    """What `describe_model` was told about this model."""
    return _described.get(decoder)


def find_layers(decoder: nn.Module) -> nn.ModuleList:
    """The decoder's blocks: the one ModuleList of blocks with an attention and an FFN.

    In a vision-language model the text stack is taken, by `get_decoder()`.
    Raises SiteError when there is none, or more than one and the model does not say which.
    """
    model_map = description(decoder)
    if model_map is not None:
        return _described_layers(decoder, model_map)
    found = _stacks(decoder)
    if len(found) > 1 and hasattr(decoder, "get_decoder"):
        text_stack = cast(Any, decoder).get_decoder()
        if isinstance(text_stack, nn.Module) and text_stack is not decoder:
            found = _stacks(text_stack)
    if len(found) > 1:  # a text stack stands beside its token embedding, a vision tower does not
        beside = {n: m for n, m in found.items() if _stands_beside_embedding(decoder, m)}
        found = beside or found
    if len(found) == 1:
        return next(iter(found.values()))
    name = type(decoder).__name__
    if found:
        raise SiteError(
            f"{name} has several decoder stacks ({', '.join(found)}); pass the one to steer"
        )
    raise SiteError(
        f"{name} has no decoder that was recognised: no ModuleList of blocks with an attention "
        f"part and an FFN part. Its module lists: {_lists(decoder)}. Say what is what with "
        "describe_model(model, ModelMap(layers=..., attention_out=..., ffn=..., down=..., "
        "final_norm=..., unembedding=...))"
    )


def parts_of(decoder: nn.Module, layer: int, site: str = "") -> BlockParts:
    """The parts of one block. Raises SiteError for a missing layer or unknown structure."""
    layers = find_layers(decoder)
    where = site or f"layers.{layer}"
    if not 0 <= layer < len(layers):
        raise SiteError(f"site {where}: this decoder has layers 0 to {len(layers) - 1}")
    model_map = description(decoder)
    if model_map is not None:
        return _described_parts(decoder, layers[layer], model_map)
    parts = inspect_block(layers[layer])
    if parts is None:
        raise SiteError(
            f"site {where}: block {layer} ({children(layers[layer])}) of "
            f"{type(decoder).__name__} has no attention part or no FFN part"
        )
    return parts


def submodule(root: nn.Module, path: str) -> nn.Module:
    """`root.get_submodule(path)`. Raises SiteError saying how far the path leads."""
    module = root
    for name in path.split("."):
        inner = dict(module.named_children()).get(name)
        if inner is None:
            raise SiteError(
                f"the map says {path!r}, but there is no {name!r} in {children(module)}"
            )
        module = inner
    return module


# ------------------------------------------------------------------------------ by structure


def _stacks(root: nn.Module) -> dict[str, nn.ModuleList]:
    return {
        name: module
        for name, module in root.named_modules()
        if isinstance(module, nn.ModuleList) and any(inspect_block(block) for block in module)
    }


def _stands_beside_embedding(root: nn.Module, layers: nn.ModuleList) -> bool:
    owner = owner_of(root, layers)
    return owner is not None and any(isinstance(m, nn.Embedding) for m in owner.children())


def owner_of(root: nn.Module, layers: nn.ModuleList) -> nn.Module | None:
    """The module that the blocks are a direct child of."""
    for module in root.modules():
        if any(child is layers for child in module.children()):
            return module
    return None


def _lists(root: nn.Module) -> str:
    found = [
        f"{name or 'itself'} ({len(m)} of {children(m[0])})"
        for name, m in root.named_modules()
        if isinstance(m, nn.ModuleList) and len(m)
    ]
    return "; ".join(found) or f"none; it is {children(root)}"


# ------------------------------------------------------------------------------- by hand


def _described_layers(decoder: nn.Module, model_map: ModelMap) -> nn.ModuleList:
    layers = submodule(decoder, model_map.layers)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise SiteError(
            f"the map says that layers are {model_map.layers!r}, which is {children(layers)}; "
            "it must be a ModuleList of blocks"
        )
    return layers


def _described_parts(decoder: nn.Module, block: nn.Module, model_map: ModelMap) -> BlockParts:
    names = ("attention_out", "ffn", "down", "gate", "up", "router")
    paths = {name: getattr(model_map, name) for name in names}
    found = {n: submodule(block, path) for n, path in paths.items() if path is not None}
    for name, module in found.items():
        if name != "ffn" and matrix(module) is None:
            raise SiteError(
                f"the map says that {name} is {paths[name]!r}, which is {children(module)}; "
                "it must have a floating point weight with two axes"
            )
    missing = {
        n: f"the map of {type(decoder).__name__} names no {n}" for n in set(names) - set(found)
    }
    writer = found.get("attention_out", found.get("down"))
    if writer is None:
        raise SiteError("the map names neither attention_out nor down: the width is not known")
    weight = cast(torch.Tensor, matrix(writer, model_map.input_first))
    parts: dict[str, Any] = {**found, "input_first": model_map.input_first, "missing": missing}
    return BlockParts(block, len(weight), **parts)
