"""What a VLA computes when it cannot see: the counterfactual of a visual vector.

`hidden`: no token can attend to the image tokens, as if the prompt had none (positions stay).
`blank`: every picture is one colour, its own mean, so that only what is in it is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pilotage.agents.vla.model import VLAModel, Window
from pilotage.episodes.names import unknown
from pilotage.steering.tokens import IMAGE

ABSENCES = ("hidden", "blank")


@contextmanager
def unseen(model: VLAModel, window: Window, absence: str) -> Iterator[Window]:
    """The window to run instead, inside the block. KeyError lists the absences that there are."""
    if absence == "blank":
        yield replace(window, images=[blanked(pictures) for pictures in window.images])
        return
    if absence != "hidden":
        raise unknown("absence", absence, ABSENCES)
    images = model.token_groups(window) == IMAGE

    def hide(module: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        mask = given["attention_mask"] & ~images[:, None, None, :]
        # An image token goes on seeing itself: a softmax needs something.
        mask |= torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
        return args, {**given, "attention_mask": mask}

    handle = model.decoder.model.register_forward_pre_hook(hide, with_kwargs=True)
    try:
        yield window
    finally:
        handle.remove()


def blanked(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 `[..., H, W, C]`: each picture in its mean colour."""
    colour = pictures.float().mean((-3, -2), keepdim=True).round().to(pictures.dtype)
    return colour.expand_as(pictures).contiguous()
