"""Next-token training on a data set's lines, by the published recipe (arXiv:2405.09220, appendix).

AdamW, 5e-4 to 5e-5 by a cosine after 5 % warm-up, betas (0.9, 0.95), weight decay 0.1, gradients
clipped at 1, batches of 32 lines, the loss on every token but padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from pilotage.envs.pathgraph.alpine import FIRST_NODE, PAD, AlpineData, encode
from pilotage.planners.alpine.model import PathGPT, PathGPTConfig
from pilotage.planners.checkpoints import (
    digest_of,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)


@dataclass(frozen=True)
class AlpineRecipe:
    """The published numbers; `n_iterations` may be cut where time is short."""

    n_iterations: int = 10_000
    batch_lines: int = 32
    learning_rate: float = 5e-4
    last_learning_rate: float = 5e-5
    warmup_share: float = 0.05
    weight_decay: float = 0.1
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warmup = max(1, round(self.warmup_share * self.n_iterations))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.n_iterations - warmup)
        span = self.learning_rate - self.last_learning_rate
        return self.last_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


class Clamping(Protocol):
    """What holds activations of a network while it learns (`steering.training_clamps`)."""

    @property
    def digest(self) -> str:
        """Names what is held, and until when."""

    def at(self, step: int) -> None:
        """Called before the update with this number, from 0."""


def train_alpine(
    data: AlpineData,
    recipe: AlpineRecipe | None = None,
    *,
    n_layers: int = 1,
    n_heads: int = 1,
    d_model: int = 120,
    device: str = "cpu",
    every: int = 1000,
    tell: Callable[[int, float, PathGPT], None] | None = None,
    state: Path | None = None,
    clamp: Callable[[PathGPT], AbstractContextManager[Clamping]] | None = None,
) -> PathGPT:
    """A network trained on `data.lines`; `tell(iterations, loss, model)` is called now and then.

    With `state` the trainer is kept in that file every `every` iterations and at the end, and goes
    on from it where it exists: the same network as without a stop, bit for bit on one machine.

    `clamp` is called with the fresh network; what it gives is entered until the end.

    ValueError when the data has no lines, or `state` is of another training.
    """
    if not data.lines:
        raise ValueError("the data set has no train lines; make it with n_walks > 0")
    r = recipe or AlpineRecipe()
    torch.manual_seed(r.seed)
    longest = max(len(line) for line in data.lines) + 1
    n_positions = -(-longest // 32) * 32
    lines = torch.from_numpy(np.stack([encode(line, n_positions) for line in data.lines]))
    config = PathGPTConfig(
        len(data.graph) + FIRST_NODE, n_positions, d_model, n_layers=n_layers, n_heads=n_heads
    )
    model = PathGPT(config).to(device)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": r.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    rng = np.random.default_rng([23, r.seed])
    about: dict[str, object] = {
        "config": asdict(config),
        "recipe": asdict(r),
        "lines": digest_of(lines.numpy()),
    }
    losses: list[float] = []
    with ExitStack() as stack:
        clamps = None if clamp is None else stack.enter_context(clamp(model))
        about["clamps"] = None if clamps is None else clamps.digest
        done = 0
        if state is not None and state.exists():
            found = read_state(state, about, what="an ALPINE training")
            done = int(found["progress"])
            restore_training(model, optimizer, found)
            for _ in range(done):  # the batches that were
                rng.integers(len(lines), size=r.batch_lines)
        for step in range(done, r.n_iterations):
            if clamps is not None:
                clamps.at(step)
            for group in optimizer.param_groups:
                group["lr"] = r.rate(step)
            batch = lines[rng.integers(len(lines), size=r.batch_lines)]
            losses.append(_update(model, optimizer, batch.to(device)))
            if (step + 1) % every == 0 or step + 1 == r.n_iterations:
                if state is not None:
                    progress = {"progress": torch.tensor(step + 1)}
                    write_state(state, training_tensors(model, optimizer) | progress, about)
                if tell is not None:
                    tell(step + 1, float(np.mean(losses[-every:])), model)
    return model.eval()


def _update(model: PathGPT, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> float:
    """One update on token lines int64 `[B, S]`; returns the loss."""
    batch = batch[:, : int((batch != PAD).sum(1).max())]  # the rest is padding
    logits = model(batch[:, :-1])
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=PAD
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())
