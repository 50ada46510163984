"""The network of pi0-FAST: transformers' PaliGemma with the sizes that the tensors on disk have.

Names on disk: `model.paligemma_with_expert.paligemma.` before PaliGemma's own, whose vision tower
is called `vision_tower.vision_model` there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pilotage.agents.loaders.files import WeightFiles
from pilotage.agents.loaders.filling import fill
from pilotage.agents.vla.checkpoint import CheckpointError

PREFIX = "model.paligemma_with_expert.paligemma."
HEADS, VISION_HEADS = 8, 16  # of both published sizes; cannot be read off a shape
_UNUSED = (r"(un)?normalize_.*", r".*vision_model\.head\..*")


def load_network(
    config: dict[str, Any], weights: WeightFiles, device: str, dtype: torch.dtype | None
) -> nn.Module:
    """PaliGemma with its weights, in eval mode. CheckpointError for what does not fit."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    text, vision = (
        _text_sizes(weights),
        _vision_sizes(weights, int(config.get("image_resolution", [224])[0])),
    )
    with torch.device("meta"):
        network = PaliGemmaForConditionalGeneration(
            PaliGemmaConfig(
                text_config={"model_type": "gemma", **text},
                vision_config={"model_type": "siglip_vision_model", **vision},
                projection_dim=text["hidden_size"],
                hidden_size=text["hidden_size"],
                vocab_size=text["vocab_size"],
                image_token_index=text["vocab_size"],
            )
        )
    flat = not any("vision_tower.vision_model." in name for name in network.state_dict())

    def rename(name: str) -> str:
        name = name.removeprefix(PREFIX)
        return name.replace("vision_tower.vision_model.", "vision_tower.") if flat else name

    fill(network, weights, rename=rename, unused=_UNUSED, device=device, dtype=dtype)
    if next(network.parameters()).dtype != network.lm_head.weight.dtype:
        network = network.to(network.lm_head.weight.dtype)  # norms may be stored in float32
    return network.eval().requires_grad_(False)


def _n_layers(weights: WeightFiles, start: str) -> int:
    numbers = {n[len(start) :].split(".")[0] for n in weights.files if n.startswith(start)}
    if not numbers:
        raise CheckpointError(f"{weights.folder} has no tensors {start}*: is it pi0-FAST?")
    return len(numbers)


def _text_sizes(weights: WeightFiles) -> dict[str, Any]:
    stack = f"{PREFIX}model.language_model."
    n_layers = _n_layers(weights, f"{stack}layers.")
    queries, width = weights.shape(f"{stack}layers.0.self_attn.q_proj.weight")
    keys = weights.shape(f"{stack}layers.0.self_attn.k_proj.weight")[0]
    embedding = f"{stack}embed_tokens.weight"
    head = embedding if embedding in weights.files else f"{PREFIX}lm_head.weight"
    return {
        "hidden_size": width,
        "num_hidden_layers": n_layers,
        "intermediate_size": weights.shape(f"{stack}layers.0.mlp.gate_proj.weight")[0],
        "num_attention_heads": HEADS,
        "head_dim": queries // HEADS,
        "num_key_value_heads": keys // (queries // HEADS),
        "hidden_activation": "gelu_pytorch_tanh",
        "vocab_size": weights.shape(head)[0],
    }


def _vision_sizes(weights: WeightFiles, image_size: int) -> dict[str, Any]:
    tower = f"{PREFIX}model.vision_tower."
    inner = "vision_model." if any("vision_tower.vision_model." in n for n in weights.files) else ""
    width, _, patch, _ = weights.shape(f"{tower}{inner}embeddings.patch_embedding.weight")
    blocks = f"{tower}{inner}encoder.layers."
    return {
        "hidden_size": width,
        "num_hidden_layers": _n_layers(weights, blocks),
        "intermediate_size": weights.shape(f"{blocks}0.mlp.fc1.weight")[0],
        "num_attention_heads": VISION_HEADS,
        "image_size": image_size,
        "patch_size": patch,
        "vision_use_head": False,
    }
