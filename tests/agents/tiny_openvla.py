"""A tiny random OpenVLA checkpoint on disk, in the layout of the released one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from pilotage.envs.tabletop import vocabulary

SIZE, PATCH, N_PATCHES = 28, 14, 4
WIDTHS = {"featurizer": 32, "fused_featurizer": 48}  # 16 heads each, as in the release
DEPTHS = {"featurizer": 3, "fused_featurizer": 4}
N_BINS, PADDING = 256, 64
NORM_STATS = {
    "bridge_orig": {
        "action": {
            "q01": [-0.02, -0.04, -0.04, -0.08, -0.09, -0.2, 0.0],
            "q99": [0.03, 0.04, 0.04, 0.08, 0.09, 0.2, 1.0],
            "mask": [True] * 6 + [False],
        }
    },
    "libero_spatial": {"action": {"q01": [-0.9] * 7, "q99": [0.8] * 7}},
}
LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
}


def write_tokenizer(path: Path) -> Tokenizer:
    """A word-level stand-in for Llama's, with its first pieces and its way with spaces."""
    said = [*vocabulary(), "In", "What", "action", "should", "robot", "take", "Out", "up", "down"]
    starts = dict.fromkeys(f"▁{word}" for word in said)
    pieces = ["<unk>", "<s>", "</s>", "▁", "?", ":", "\n", "Out", *starts]
    tokenizer = Tokenizer(WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex("[?:\n]"), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(path))
    return tokenizer


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names of the release."""
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, torch.Tensor] = {}

    def put(name: str, *shape: int, std: float = 0.2, mean: float = 0.0) -> None:
        made[name] = torch.randn(*shape, generator=generator) * std + mean

    def linear(name: str, n_in: int, n_out: int) -> None:
        put(f"{name}.weight", n_out, n_in)
        put(f"{name}.bias", n_out)

    def norm(name: str, width: int) -> None:
        put(f"{name}.weight", width, mean=1.0)
        put(f"{name}.bias", width)

    for tower, width in WIDTHS.items():
        root = f"vision_backbone.{tower}"
        put(f"{root}.patch_embed.proj.weight", width, 3, PATCH, PATCH, std=0.05)
        put(f"{root}.patch_embed.proj.bias", width)
        put(f"{root}.pos_embed", 1, N_PATCHES, width)
        if tower == "featurizer":
            put(f"{root}.cls_token", 1, 1, width)
            put(f"{root}.reg_token", 1, 4, width)
        else:  # SigLIP's pooling head, which acting does not use
            put(f"{root}.attn_pool.latent", 1, 1, width)
            linear(f"{root}.attn_pool.q", width, width)
            linear(f"{root}.attn_pool.kv", width, 2 * width)
        for i in range(DEPTHS[tower]):
            block = f"{root}.blocks.{i}"
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.attn.qkv", width, 3 * width)
            linear(f"{block}.attn.proj", width, width)
            linear(f"{block}.mlp.fc1", width, 2 * width)
            linear(f"{block}.mlp.fc2", 2 * width, width)
            if tower == "featurizer":
                put(f"{block}.ls1.scale_factor", width)
                put(f"{block}.ls2.scale_factor", width)
        norm(f"{root}.norm", width)
    joined, text = sum(WIDTHS.values()), int(LLAMA["hidden_size"])
    linear("projector.fc1", joined, 4 * joined)
    linear("projector.fc2", 4 * joined, text)
    linear("projector.fc3", text, text)
    return made | {f"language_model.{k}": v for k, v in llama(seed).state_dict().items()}


def vocab_size(n_words: int = 160) -> int:
    return n_words + N_BINS + PADDING


def llama(seed: int) -> nn.Module:
    """The real transformers class, with weights spread wide enough that actions differ."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**LLAMA, vocab_size=vocab_size())).eval()
    model.lm_head.weight.data.normal_(std=0.5)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data.normal_(std=0.2)
    return model


def config(**changes: Any) -> dict[str, Any]:
    """config.json with the fields of the released one."""
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "model_type": "openvla",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [SIZE, SIZE],
        "llm_backbone_id": "llama2-7b-pure",
        "n_action_bins": N_BINS,
        "norm_stats": NORM_STATS,
        "pad_to_multiple_of": PADDING,
        "pad_token_id": 32000,
        "text_config": {
            "model_type": "llama",
            "torch_dtype": "float32",
            "vocab_size": vocab_size(),
            **LLAMA,
        },
        "timm_model_ids": [
            "vit_large_patch14_reg4_dinov2.lvd142m",
            "vit_so400m_patch14_siglip_224",
        ],
        "use_fused_vision_backbone": True,
        **changes,
    }


def write_openvla(folder: Path, *, seed: int = 0, shards: int = 3, **changes: Any) -> Path:
    """The folder: sharded weights with their index, configurations, tokenizer."""
    folder.mkdir(parents=True)
    made = tensors(seed)
    placed: dict[str, str] = {}
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: value for i, (name, value) in enumerate(made.items()) if i % shards == k}
        save_file({n: v.contiguous() for n, v in part.items()}, folder / file)
        placed |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config(**changes)))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_resize_strategy": "resize-naive",
                "input_sizes": [[3, SIZE, SIZE], [3, SIZE, SIZE]],
                "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
                "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
            }
        )
    )
    write_tokenizer(folder / "tokenizer.json")
    return folder
