"""Modules built without memory, and filled with the tensors of a checkpoint, each one checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import nn

from pilotage.agents.loaders.files import WeightFiles
from pilotage.agents.vla.checkpoint import CheckpointError

SHOWN = 5  # names in an error


def fill(
    module: nn.Module,
    weights: WeightFiles,
    *,
    rename: Callable[[str], str] = lambda name: name,
    unused: Sequence[str] = (),
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Give a module that was built on the meta device its weights; one shard is held at a time.

    rename: from a name on disk to the module's. unused: patterns (whole name, on disk) of tensors
    that acting does not need. dtype: None keeps each tensor's own. Parameters that share memory
    (tied embeddings) may be on disk once. Raises CheckpointError naming a tensor that is missing,
    unknown or of another shape, with both shapes.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    seen: set[str] = set()
    unknown: list[str] = []
    for shard in weights.shards():
        part: dict[str, torch.Tensor] = {}
        for on_disk, value in shard.items():
            name = rename(on_disk)
            if name not in wanted:
                if not any(re.fullmatch(pattern, on_disk) for pattern in unused):
                    unknown.append(on_disk)
                continue
            _check_shape(on_disk, tuple(value.shape), wanted[name], weights)
            kind = dtype if value.is_floating_point() else None
            part[name] = value.to(device=device, dtype=kind)
        module.load_state_dict(part, strict=False, assign=True)
        seen |= set(part)
    missing = sorted(set(wanted) - seen - _tied_to(module, seen))
    _refuse("lacks tensors that the model needs", missing, weights)
    _refuse("has tensors that the model does not know", unknown, weights)
    _retie(module, seen)
    _make_buffers(module, device)


def _check_shape(
    name: str, found: tuple[int, ...], wanted: tuple[int, ...], weights: WeightFiles
) -> None:
    if found != wanted:
        raise CheckpointError(
            f"{name!r} in {weights.files[name]} has shape {list(found)}, but the configuration "
            f"makes it {list(wanted)}; weights and config.json must come from one checkpoint"
        )


def _refuse(what: str, names: list[str], weights: WeightFiles) -> None:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise CheckpointError(
            f"{weights.folder} {what}: {', '.join(names[:SHOWN])}{more}. Is it a checkpoint of "
            "another model, or of an adapter that has to be merged first?"
        )


def _tied_pairs(module: nn.Module) -> list[tuple[str, str]]:
    """(output, input) embeddings that the configuration ties, by their names in the module."""
    pairs = []
    for prefix, part in module.named_modules():
        keys = getattr(part, "_tied_weights_keys", None)
        config = getattr(part, "config", None)
        if isinstance(keys, dict) and getattr(config, "tie_word_embeddings", False):
            dot = f"{prefix}." if prefix else ""
            pairs += [(dot + output, dot + source) for output, source in keys.items()]
    return pairs


def _tied_to(module: nn.Module, seen: set[str]) -> set[str]:
    """Names that a tied partner stands for."""
    pairs = _tied_pairs(module)
    return {a for a, b in pairs if b in seen} | {b for a, b in pairs if a in seen}


def _retie(module: nn.Module, seen: set[str]) -> None:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for output, source in _tied_pairs(module):
        given, taker = (source, output) if source in seen else (output, source)
        owner, _, leaf = taker.rpartition(".")
        setattr(module.get_submodule(owner), leaf, parameters[given])


def _make_buffers(module: nn.Module, device: str) -> None:
    """Compute what is never on disk: rotary frequencies and position numbers."""
    for part in list(module.modules()):
        empty = [n for n, b in part.named_buffers(recurse=False) if b.is_meta]
        if not empty:
            continue
        if empty == ["position_ids"]:
            count = part.get_buffer("position_ids").shape[-1]
            part.register_buffer(
                "position_ids", torch.arange(count, device=device)[None], persistent=False
            )
        elif empty == ["embed_scale"]:
            scale = torch.tensor(part.scalar_embed_scale, device=device)
            part.register_buffer("embed_scale", scale, persistent=False)
        elif "inv_freq" in empty:
            made = type(part)(part.config)  # type: ignore[call-arg, arg-type]
            for name in empty:
                part.register_buffer(name, made.get_buffer(name).to(device), persistent=False)
        else:
            raise CheckpointError(
                f"{type(part).__name__} has buffers {empty} that are not in the checkpoint; this "
                "version of transformers is not known here, install an older one"
            )
