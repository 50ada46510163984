"""Tiny random pi0-FAST and SmolVLA checkpoints on disk, as LeRobot lays them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from torch import nn
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, SmolVLMConfig

from pilotage.agents.loaders.smolvla_model import SmolVLANetwork
from pilotage.envs.tabletop import vocabulary

SKIPPED, VOCABULARY = 16, 1000
HORIZON, N_STATE = 4, 8
FEATURES = {
    "input_features": {
        "observation.images.image": {"type": "VISUAL", "shape": [3, 256, 256]},
        "observation.images.image2": {"type": "VISUAL", "shape": [3, 256, 256]},
        "observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 256, 256]},
        "observation.state": {"type": "STATE", "shape": [N_STATE]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [7]}},
}
PI0FAST = {
    "type": "pi0_fast",
    "paligemma_variant": "gemma_2b",
    "chunk_size": HORIZON,
    "n_action_steps": HORIZON,
    "max_state_dim": 10,
    "max_decoding_steps": 7,
    "tokenizer_max_length": 48,
    "fast_skip_tokens": SKIPPED,
    "image_resolution": [28, 28],
    "normalization_mapping": {
        "VISUAL": "IDENTITY",
        "STATE": "QUANTILES",
        "ACTION": "QUANTILES",
    },
    **FEATURES,
}
SMOLVLA = {
    "type": "smolvla",
    "chunk_size": HORIZON,
    "n_action_steps": HORIZON,
    "max_state_dim": 10,
    "max_action_dim": 9,
    "num_steps": 5,
    "num_vlm_layers": 3,
    "tokenizer_max_length": 16,
    "resize_imgs_with_padding": [32, 32],
    "normalization_mapping": {
        "VISUAL": "IDENTITY",
        "STATE": "MEAN_STD",
        "ACTION": "MEAN_STD",
    },
    **FEATURES,
}
VLM = {
    "model_type": "smolvlm",
    "scale_factor": 2,
    "text_config": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 5,  # the policy keeps the first three
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": VOCABULARY,
        "rope_theta": 100000.0,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
}


def write_text_tokenizer(path: Path) -> None:
    """Words, numbers up to 255, and fillers up to the size of the vocabulary."""
    said = ["<pad>", "<eos>", "<bos>", "<unk>", "|", "Task", "State", "Action", *":,;\n "]
    pieces = dict.fromkeys([*said, *vocabulary(), *map(str, range(-1, 256))])
    pieces |= dict.fromkeys(f"<extra{i}>" for i in range(VOCABULARY - len(pieces)))
    tokenizer = Tokenizer(WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[:,;\n]"), "isolated"),
            pre_tokenizers.Split(" ", "removed"),
        ]
    )
    path.parent.mkdir(exist_ok=True)
    tokenizer.save(str(path))


def write_fast_tokenizer(folder: Path, *, scale: float = 10, min_token: int = -60) -> None:
    """Byte pairs with one merge: two zeros in a row."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    zero = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        chr(-min_token)
    )[0][0]
    pieces = [*letters, zero + zero]
    tokenizer = Tokenizer(BPE({p: i for i, p in enumerate(pieces)}, [(zero, zero)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    fields = {"scale": scale, "min_token": min_token, "vocab_size": len(pieces)}
    (folder / "processor_config.json").write_text(json.dumps(fields))


def write_stats(folder: Path, low: str, high: str) -> None:
    n = torch.arange(7.0)
    action = {f"action.{low}": -0.1 - 0.01 * n, f"action.{high}": 0.3 + 0.02 * n}
    state = {f"observation.state.{low}": -torch.ones(N_STATE)}
    state |= {f"observation.state.{high}": 3 * torch.ones(N_STATE)}
    save_file(action, folder / "policy_postprocessor_step_0_unnormalizer_processor.safetensors")
    save_file(
        action | state, folder / "policy_preprocessor_step_2_normalizer_processor.safetensors"
    )


def paligemma(seed: int = 0) -> nn.Module:
    """The real transformers class, small, spread wide enough that tokens differ."""
    torch.manual_seed(seed)
    text = {
        "model_type": "gemma",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": VOCABULARY,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "image_size": 28,
        "patch_size": 14,
        "vision_use_head": False,
    }
    model = PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            text_config=text,
            vision_config=vision,
            projection_dim=64,
            hidden_size=64,
            vocab_size=VOCABULARY,
            image_token_index=VOCABULARY,
        )
    ).eval()
    for layer in model.model.language_model.layers:
        layer.mlp.down_proj.weight.data.normal_(std=0.3)
        layer.self_attn.o_proj.weight.data.normal_(std=0.3)
    return model


def write_pi0fast(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(PI0FAST | changes))
    tensors = {}
    for name, value in paligemma().state_dict().items():
        on_disk = name.replace("vision_tower.", "vision_tower.vision_model.")
        if not name.endswith("embed_tokens.weight"):  # tied to the head, which is on disk
            tensors[f"model.paligemma_with_expert.paligemma.{on_disk}"] = value.contiguous()
    save_file(tensors, folder / "model.safetensors")
    write_stats(folder, "q01", "q99")
    write_text_tokenizer(folder / "text_tokenizer" / "tokenizer.json")
    write_fast_tokenizer(folder / "action_tokenizer")
    return folder


def smolvla(**changes: Any) -> SmolVLANetwork:
    torch.manual_seed(0)
    config = SmolVLMConfig.from_dict(VLM)
    config.text_config.num_hidden_layers = 3
    network = SmolVLANetwork(config, SMOLVLA | changes).eval()
    for layer in network.expert.layers:
        layer.mlp.down_proj.weight.data.normal_(std=0.2)
    return network


def write_smolvla(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SMOLVLA | changes))
    state = smolvla(**changes).state_dict()
    tensors = {f"model.{name}": value.clone().contiguous() for name, value in state.items()}
    save_file(tensors, folder / "model.safetensors")
    write_stats(folder, "mean", "std")
    write_text_tokenizer(folder / "vlm" / "tokenizer.json")
    (folder / "vlm" / "config.json").write_text(json.dumps(VLM))
    return folder
