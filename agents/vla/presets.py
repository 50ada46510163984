"""Sizes by name, per world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.language import language_shape

SIZES = ("nano", "base", "smol")
SMOL = "smollm2-135m-instruct"  # the pretrained decoder of that size
SMOL_RANK = 16  # of its adapters


def preset(world: str, size: str, words: Sequence[str], *, aux_dim: int) -> VLAConfig:
    """The configuration of a named size. `nano` is meant for two cores, `base` for a GPU; `smol`
    has a pretrained language model for a decoder (tabletop only).

    Raises KeyError listing what exists for an unknown world or size.
    """
    if size == "smol" and world != "tabletop":
        raise KeyError(f"there is no smol VLA for {world!r}, only for tabletop")
    if world == "tabletop":
        config = VLAConfig(
            world=world,
            words=tuple(words),
            image_keys=("rgb", "wrist_rgb"),
            image_folds=(1, 4),
            image_crops=((16, 56), (0, 64)),  # where the table top is
            vision_width=64,
            max_instruction=34,
            aux_dim=aux_dim,
            n_pointed=2,
        )
    elif world == "rooms":
        config = VLAConfig(
            world=world,
            words=tuple(words),
            with_depth=True,
            image_folds=((8, 1),),  # a token is a column of the picture, that is a bearing
            vision_width=64,
            proprio_keys=("proprio", "goal"),
            proprio_dim=7,
            n_action_tokens=1,
            n_discrete=4,
            max_instruction=40,
            memory_steps=48,
            sees_past_actions=False,
            aux_dim=aux_dim,
            n_pointed=2,
            finds_clause=True,
        )
    else:
        raise KeyError(f"no VLA preset for world {world!r}; there are: tabletop, rooms")
    if size == "nano":
        return config
    if size == "base":
        return replace(config, d_model=512, n_layers=8, n_heads=8, d_ff=1408, vision_width=192)
    if size == "smol":
        # Every token costs as much as a pass of 135 M weights: half the image tokens of nano.
        return replace(
            config,
            words=(),
            image_folds=((1, 2), 4),
            max_instruction=30,
            **language_shape(SMOL),
        )
    raise KeyError(f"unknown size {size!r}; there are: {', '.join(SIZES)}")
