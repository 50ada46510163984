"""The sizes of a VLA: one frozen dataclass, saved beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class PatchGrid:
    """Pixel rows [top, bottom) of a picture of a width, cut into patches, row by row.

    ValueError when the patches do not fill the rows and columns.
    """

    top: int
    bottom: int
    width: int
    patch_height: int
    patch_width: int

    def __post_init__(self) -> None:
        height = self.bottom - self.top
        if self.top < 0 or height <= 0 or height % self.patch_height:
            raise ValueError(
                f"rows {self.top} to {self.bottom} are not whole patches of {self.patch_height} "
                "pixels; change image_crops or image_folds"
            )
        if self.width % self.patch_width:
            raise ValueError(
                f"image_size must be a multiple of the patch width {self.patch_width}, "
                f"got {self.width}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return (self.bottom - self.top) // self.patch_height, self.width // self.patch_width

    @property
    def n_tokens(self) -> int:
        return self.shape[0] * self.shape[1]


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
    # Per camera, how many rows and columns of the tower's grid (8 pixels a cell) make one token,
    # or one number for both. At 64 x 64: 2 gives 16 tokens, (8, 1) gives 8 tokens, the columns.
    image_folds: tuple[int | tuple[int, int], ...] = (2,)
    # Per camera, the pixel rows [top, bottom) that the tower looks at; empty: whole pictures.
    image_crops: tuple[tuple[int, int], ...] = ()
    max_instruction: int = 32  # tokens, with <bos> and <eos>
    max_narration: int = 12  # tokens, with <say> and <eos>
    memory_steps: int = 1  # env steps the decoder sees: 1 = only the present one
    sees_past_actions: bool = (
        True  # False hides them, so that repeating the last one is no shortcut
    )
    temperature: float = 0.0  # at which action tokens are drawn; 0: the likeliest is taken
    aux_dim: int = 0  # auxiliary regression targets used in training only
    n_pointed: int = 0  # things of the instruction that image tokens are to recognise, in training
    finds_clause: bool = False  # in training, also tell which words are being carried out
    language: str = ""  # the pretrained decoder (`agents/vla/language.py`); "": one of its own
    n_kv_heads: int = 0  # heads of keys and values; 0: as many as n_heads

    @property
    def image_patches(self) -> list[PatchGrid]:
        """How each camera's picture is cut into tokens."""
        crops = self.image_crops or ((0, self.image_size),) * len(self.image_folds)
        folds = [(f, f) if isinstance(f, int) else f for f in self.image_folds]
        return [
            PatchGrid(top, bottom, self.image_size, 8 * rows, 8 * columns)
            for (top, bottom), (rows, columns) in zip(crops, folds, strict=True)
        ]

    @property
    def n_image_tokens(self) -> int:
        return sum(grid.n_tokens for grid in self.image_patches)

    @property
    def block_size(self) -> int:
        """Tokens of one env step: images, proprioception, actions."""
        return self.n_image_tokens + 1 + self.n_action_tokens

    @property
    def pointing_layer(self) -> int:
        """Blocks after which image tokens are read for what the instruction names: half of them
        where a name is enough, all but one where it takes the past to know what comes next."""
        return max(1, self.n_layers - 1 if self.memory_steps > 1 else self.n_layers // 2)

    @property
    def clause_layer(self) -> int:
        """Blocks after which the words being carried out are to be known: half of them, so that
        the others can use them."""
        return max(1, self.n_layers // 2)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values (grouped-query attention has fewer than of queries)."""
        return self.n_kv_heads or self.n_heads

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
        return cls(**{k: _tuples(v) for k, v in data.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
