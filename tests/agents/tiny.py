"""A tiny random VLA and observations for it, shared by the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler
from pilotage.episodes.types import Task

WORDS = ("go", "left", "right", "slowly", "quickly", "to", "the", "red", "cube")


def tiny_config(
    *, memory_steps: int = 1, sees_past_actions: bool = True, n_pointed: int = 0
) -> VLAConfig:
    """Three action tokens without memory, one discrete token with it."""
    discrete = memory_steps > 1
    return VLAConfig(
        world="test",
        words=WORDS,
        image_keys=("rgb",),
        image_folds=(2,),
        image_size=16,
        with_depth=discrete,
        proprio_dim=4,
        n_action_tokens=1 if discrete else 3,
        n_discrete=4 if discrete else 0,
        d_model=32,
        n_layers=3,
        n_heads=4,
        d_ff=48,
        vision_width=16,
        max_instruction=10,
        max_narration=6,
        memory_steps=memory_steps,
        sees_past_actions=sees_past_actions,
        aux_dim=2,
        n_pointed=n_pointed,
    )


def tiny_model(config: VLAConfig, seed: int = 0) -> VLAModel:
    """Random weights, spread wide enough that the arg max is not one bin for all inputs."""
    torch.manual_seed(seed)
    model = VLAModel(config).eval().requires_grad_(False)
    model.decoder.lm_head.weight.normal_(std=1.0)
    for layer in model.decoder.model.layers:
        layer.mlp.down_proj.weight.normal_(std=0.3)
    return model


def tiny_task(i: int, instruction: str, max_steps: int = 12) -> Task:
    return Task(f"tiny-{i}", "test", "train", "f", instruction, max_steps, None, None, None, 1.0)


def tiny_demos() -> list[Demo]:
    """Three labelled episodes of five steps for `tiny_config()`."""
    config, rng = tiny_config(), np.random.default_rng(0)
    return [
        Demo(
            task=tiny_task(i, "go to the red cube"),
            images=[rng.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)],
            proprio=rng.normal(size=(5, config.proprio_dim)).astype(np.float32),
            actions=rng.uniform(-1, 1, (5, 3)).astype(np.float32),
            narrations=["go left"] * 5,
            aux=np.zeros((5, 2), np.float32),
            success=True,
        )
        for i in range(3)
    ]


def tiny_observations(
    config: VLAConfig, instructions: list[str], n_steps: int, seed: int = 0
) -> list[dict]:
    """`n_steps` observation batches, one row per instruction."""
    rng = np.random.default_rng(seed)
    n, size = len(instructions), config.image_size
    return [
        {
            "rgb": rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
            "depth": (rng.random((n, size, size)) * 8).astype(np.float32),
            "proprio": rng.normal(size=(n, config.proprio_dim)).astype(np.float32),
            "instruction": tuple(instructions),
        }
        for _ in range(n_steps)
    ]


def tiny_training(
    config: VLAConfig, demos: list[Demo], *, window_steps: int
) -> tuple[Trainer, WindowSampler]:
    """A fast training of a fresh model on `demos`."""
    torch.manual_seed(0)
    model = VLAModel(config)
    train = TrainConfig(
        n_updates=300, batch_windows=32, window_steps=window_steps, warmup=20, learning_rate=3e-3
    )
    sampler = WindowSampler(config, train, model)
    sampler.add(demos)
    return Trainer(model, train), sampler
