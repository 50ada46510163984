"""The sizes of a VLA: one frozen dataclass, saved beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class VLAConfig:
    """Everything needed to build the network. `words` and the bins make the vocabulary."""

    world: str  # "tabletop", "rooms"
    words: tuple[str, ...]
    image_keys: tuple[str, ...] = ("rgb",)  # observation keys, each one image
    with_depth: bool = False  # appends depth (clipped to 10 m) as a fourth channel
    image_size: int = 64
    proprio_keys: tuple[str, ...] = ("proprio",)  # observation keys, joined into one vector
    proprio_dim: int = 7
    n_action_tokens: int = 7
    n_discrete: int = 0  # 0: continuous actions in [-1, 1]
    n_bins: int = 256
    d_model: int = 192
    n_layers: int = 4
    n_heads: int = 6
    d_ff: int = 512
    vision_width: int = 96
    image_folds: tuple[int, ...] = (2,)  # per camera; 2: 16 tokens at 64 x 64, 4: 4 tokens
    max_instruction: int = 32  # tokens, with <bos> and <eos>
    max_narration: int = 12  # tokens, with <say> and <eos>
    memory_steps: int = 1  # env steps the decoder sees: 1 = only the present one
    sees_past_actions: bool = (
        True  # False hides them, so that repeating the last one is no shortcut
    )
    aux_dim: int = 0  # auxiliary regression targets used in training only

    @property
    def n_image_tokens(self) -> int:
        return sum((self.image_size // 8 // fold) ** 2 for fold in self.image_folds)

    @property
    def block_size(self) -> int:
        """Tokens of one env step: images, proprioception, actions."""
        return self.n_image_tokens + 1 + self.n_action_tokens

    @property
    def channels(self) -> int:
        return 3 + int(self.with_depth)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VLAConfig:
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"unknown fields in the agent's configuration: {unknown}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        return cls(**values)
