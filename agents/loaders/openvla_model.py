"""The network of OpenVLA: fused vision towers, projector, Llama (arXiv:2406.09246, figure 2).

Modules and tensors are named as in the released checkpoints: `vision_backbone.featurizer`
(DINOv2), `vision_backbone.fused_featurizer` (SigLIP), `projector.fc1..fc3`, `language_model.model`,
`language_model.lm_head`. A checkpoint with one tower has no `fused_featurizer` and two projector
layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from pilotage.agents.loaders.files import WeightFiles
from pilotage.agents.loaders.filling import fill
from pilotage.agents.loaders.timm_vit import TimmViT, ViTSizes
from pilotage.agents.vla.checkpoint import CheckpointError

TOWERS = ("featurizer", "fused_featurizer")
# Heads cannot be read off a tensor's shape; the other sizes are.
HEADS = {
    "vit_large_patch14_reg4_dinov2.lvd142m": 16,
    "vit_so400m_patch14_siglip_224": 16,
    "vit_so400m_patch14_siglip_384": 16,
}


class VisionBackbone(nn.Module):
    """One tower, or two side by side whose features are joined per patch."""

    def __init__(self, sizes: Sequence[ViTSizes]) -> None:
        super().__init__()
        for name, size in zip(TOWERS, sizes):
            self.add_module(name, TimmViT(size))
        self.n_towers = len(sizes)

    def forward(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """One batch `[R, 3, size, size]` a tower -> `[R, n_patches, sum of widths]`."""
        towers = [self.get_submodule(name) for name in TOWERS[: self.n_towers]]
        return torch.cat([tower(p) for tower, p in zip(towers, pictures, strict=True)], dim=-1)


class Projector(nn.Module):
    """From patches to the width of the language model; three layers where towers are fused."""

    def __init__(self, vision: int, width: int, *, fused: bool) -> None:
        super().__init__()
        sizes = [vision, 4 * vision, width, width] if fused else [vision, width, width]
        for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
            self.add_module(f"fc{i}", nn.Linear(n_in, n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = list(self.children())
        for layer in layers[:-1]:
            x = nn.functional.gelu(layer(x))
        return layers[-1](x)


class OpenVLANetwork(nn.Module):
    """See the module's text. `language_model` is the plain transformers class."""

    def __init__(self, sizes: Sequence[ViTSizes], text: LlamaConfig) -> None:
        super().__init__()
        self.vision_backbone = VisionBackbone(sizes)
        joined = sum(s.width for s in sizes)
        self.projector = Projector(joined, text.hidden_size, fused=len(sizes) > 1)
        self.language_model = LlamaForCausalLM(text)
        self.n_patches = sizes[0].n_patches

    def see(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings `[R, n_patches, d]` of one picture batch a tower."""
        weight = next(self.projector.parameters())
        moved = [p.to(device=weight.device, dtype=weight.dtype) for p in pictures]
        return self.projector(self.vision_backbone(moved))

    @property
    def picture_sizes(self) -> list[int]:
        """Side of each tower's picture, in pixels."""
        towers = self.vision_backbone.children()
        return [tower.sizes.image_size for tower in towers if isinstance(tower, TimmViT)]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.language_model.get_input_embeddings()(ids)


def load_network(
    config: Mapping[str, Any],
    weights: WeightFiles,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> OpenVLANetwork:
    """The network of a `config.json` with its weights, in eval mode. CheckpointError says what
    does not fit."""
    where = weights.folder / "config.json"
    names, pixels = config.get("timm_model_ids"), config.get("image_sizes")
    if not names or not pixels or len(names) != len(pixels) or len(names) > len(TOWERS):
        raise CheckpointError(
            f"{where}: timm_model_ids is {names!r} and image_sizes {pixels!r}; expected one or two "
            "of each"
        )
    odd = [name for name in names if name not in HEADS]
    if odd:
        raise CheckpointError(
            f"{where} asks for the vision tower {odd[0]!r}; there are: {', '.join(HEADS)}"
        )
    sizes, unused = [], []
    for tower, name, size in zip(TOWERS, names, pixels):
        prefix = f"vision_backbone.{tower}."
        found, patterns = ViTSizes.read(weights, prefix, image_size=size, n_heads=HEADS[name])
        sizes.append(found)
        unused += patterns
    if len({s.n_patches for s in sizes}) > 1:
        raise CheckpointError(f"{where}: the two towers see {[s.n_patches for s in sizes]} patches")
    with torch.device("meta"):
        network = OpenVLANetwork(sizes, _text_config(config, str(where)))
    # Transformers before 4.43 saved the frequencies, which are computed here.
    unused.append(r"language_model\..*rotary_emb\.inv_freq")
    fill(network, weights, unused=unused, device=device, dtype=dtype)
    return network.eval().requires_grad_(False)


def _text_config(config: Mapping[str, Any], where: str) -> LlamaConfig:
    text = dict(config.get("text_config") or {})
    if text.pop("model_type", "llama") != "llama":
        raise CheckpointError(
            f"{where}: the language model is {config['text_config']['model_type']!r}; only Llama "
            "is read here"
        )
    for name in ("torch_dtype", "dtype", "_name_or_path", "architectures"):
        text.pop(name, None)
    return LlamaConfig(**text, attn_implementation="sdpa")
