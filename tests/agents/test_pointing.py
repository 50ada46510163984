"""Image tokens learn which of them show what the instruction names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.training import Trainer, WindowSampler

from .tiny import tiny_config, tiny_task, tiny_training

CONFIG = replace(tiny_config(n_pointed=1), image_folds=(1,))  # four patches of 8 x 8 pixels


def scene(rng: np.random.Generator, *, known: bool = True) -> Demo:
    """A red and a green patch among black ones; the instruction names one colour by its side."""
    red, green = rng.permutation(4)[:2]
    images = np.zeros((2, 16, 16, 3), np.uint8)
    for patch, channel in ((red, 0), (green, 1)):
        row, column = divmod(int(patch), 2)
        images[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8, channel] = 250
    asks_red = bool(rng.integers(2))
    pointed = np.zeros((2, 4, 1), bool)
    pointed[:, red if asks_red else green] = True
    return Demo(
        task=tiny_task(0, "go to the red cube" if asks_red else "go to the cube"),
        images=[images],
        proprio=np.zeros((2, 4), np.float32),
        actions=np.zeros((2, 3), np.float32),
        narrations=["go left", "go left"],
        aux=np.zeros((2, 2), np.float32),
        success=False,
        pointed=pointed if known else None,
    )


def made(demos: list[Demo]) -> tuple[Trainer, WindowSampler]:
    return tiny_training(CONFIG, demos, window_steps=1)


def test_the_named_patch_is_found_in_new_pictures() -> None:
    """Which patch it is depends on the words and the picture together, so neither alone will do."""
    rng = np.random.default_rng(0)
    trainer, sampler = made([scene(rng) for _ in range(200)])
    first = trainer.update(sampler.draw())["pointing"]
    for _ in range(250):
        last = trainer.update(sampler.draw())["pointing"]
    assert last < 0.3 * first
    _, fresh = made([scene(rng) for _ in range(64)])
    window = fresh.draw()
    with torch.no_grad():
        logits = trainer.model.eval().point(trainer.model(window)["image"])
    assert window.pointed is not None
    named = window.pointed[..., 0].float().argmax(-1)
    assert float((logits[..., 0].argmax(-1) == named).float().mean()) > 0.9


def test_demos_without_labels_teach_no_pointing() -> None:
    rng = np.random.default_rng(0)
    trainer, sampler = made([scene(rng, known=False) for _ in range(8)])
    pointer = trainer.model.pointer
    assert pointer is not None
    before = pointer.weight.detach().clone()
    losses = trainer.update(sampler.draw())
    assert losses["pointing"] == 0.0
    assert torch.equal(pointer.weight.detach(), before)


def test_a_model_without_a_pointer_says_so() -> None:
    with pytest.raises(ValueError, match="no pointer"):
        VLAModel(tiny_config()).point(torch.zeros(1, 32))
