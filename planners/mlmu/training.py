"""Training by any of the objectives: the same mazes, in the same order, at the same cost.

The published recipe (Nolte et al. 2024, arXiv:2412.05117): AdamW, betas (0.9, 0.999), weight decay
1e-4 on matrices, one cycle of the learning rate up to 1e-3, gradients clipped at 1, the loss summed
over the tokens that it is about and divided by their number in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pilotage.planners.checkpoints import (
    digest_of,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)
from pilotage.planners.grids import GridPlans
from pilotage.planners.mlmu.lines import PAD, Mazes, PromptKind, labels, prompts_of, write_paths
from pilotage.planners.mlmu.model import MazeNet, MazeNetConfig, training_flops
from pilotage.planners.mlmu.objectives import sight


@dataclass(frozen=True)
class MlmuRecipe:
    """How long, how fast, from which seed; `MazeNetConfig` has the objective."""

    n_updates: int = 2000
    batch_mazes: int = 64
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_updates < 1 or self.batch_mazes < 1:
            raise ValueError(
                f"n_updates and batch_mazes must be >= 1, got {self.n_updates} and "
                f"{self.batch_mazes}"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step: half a cosine from 1/25 of the peak up, another to 1/625."""
        peak = self.learning_rate
        top = self.warmup_share * self.n_updates - 1
        if step <= top:
            return _half_cosine(peak / 25, peak, step / top)
        return _half_cosine(peak, peak / 625, (step - top) / max(1e-9, self.n_updates - 1 - top))


def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class Progress:
    """What `tell` hears: updates and FLOPs so far, and the loss since it last heard."""

    n_updates: int
    loss: float  # nats a token; NaN when it has just gone on from a file
    flops: int


def train_mlmu(
    mazes: Mazes,
    config: MazeNetConfig,
    recipe: MlmuRecipe | None = None,
    *,
    device: str = "cpu",
    every: int = 100,
    tell: Callable[[Progress, MazeNet], None] | None = None,
    state: Path | None = None,
) -> MazeNet:
    """A network trained on the shortest paths of `mazes`.

    The mazes of a batch, the order of their connections and what is hidden of their paths depend on
    the seed and the number of the update alone, and mazes and connections not on the objective.
    With `state` the trainer is kept in that file every `every` updates and at the end, and goes on
    from it where it exists: the same network as without a stop, bit for bit on one machine.

    Raises ValueError: a maze without a way or larger than `config.size`, every < 1, or a
    `state` of another recipe, network or set of mazes.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 update, got {every}")
    recipe = recipe or MlmuRecipe()
    trainer = _Trainer(mazes, config, recipe, device)
    about = _about(mazes, config, recipe)
    if state is not None and state.exists():
        trainer.load(state, about)
        if tell is not None:
            tell(Progress(trainer.n_updates, math.nan, trainer.flops), trainer.net)
    while trainer.n_updates < recipe.n_updates:
        trainer.update()
        if trainer.n_updates % every == 0 or trainer.n_updates == recipe.n_updates:
            loss = trainer.loss_since_last()
            if state is not None:
                write_state(state, trainer.tensors(), about)
            if tell is not None:
                tell(Progress(trainer.n_updates, loss, trainer.flops), trainer.net)
    return trainer.net.eval()


class _Trainer:
    """Network, optimizer, and how far they are."""

    def __init__(
        self, mazes: Mazes, config: MazeNetConfig, recipe: MlmuRecipe, device: str
    ) -> None:
        self.mazes, self.plans, self.recipe, self.device = mazes, labels(mazes), recipe, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.net = MazeNet(config).to(device).train()
        self.parameters = list(self.net.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if p.dim() >= 2]},
            {"params": [p for p in self.parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.n_updates, self.flops = 0, 0
        self.losses: list[Tensor] = []

    def update(self) -> None:
        """One step down the gradient of one batch."""
        config, recipe = self.net.config, self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.n_updates)
        rng = np.random.default_rng([24, recipe.seed, self.n_updates])
        rows = rng.integers(len(self.mazes), size=recipe.batch_mazes)
        prompt, path = write_batch(self.mazes, self.plans, rows, config, rng)
        prompt, path = prompt.to(self.device), path.to(self.device)
        loss = loss_of(self.net, prompt, path, rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.n_updates += 1
        self.flops += training_flops(config, len(rows), prompt.shape[1], path.shape[1])
        self.losses.append(loss.detach())

    def loss_since_last(self) -> float:
        mean = float(torch.stack(self.losses).mean())
        self.losses.clear()
        return mean

    def tensors(self) -> dict[str, Tensor]:
        """All that goes into a file."""
        progress = torch.tensor([self.n_updates, self.flops])
        return training_tensors(self.net, self.optimizer) | {"progress": progress}

    def load(self, path: Path, about: dict[str, object]) -> None:
        """Go on from a file that `tensors` was written to."""
        found = read_state(path, about, what="a maze training")
        self.n_updates, self.flops = (int(number) for number in found["progress"])
        restore_training(self.net, self.optimizer, found)


def write_batch(
    mazes: Mazes,
    plans: GridPlans,
    rows: np.ndarray,
    config: MazeNetConfig,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Prompts int64 [B, S] and paths int64 [B, P] of these rows, connections shuffled by `rng`."""
    h, w = mazes.cells.shape[1:]
    noise = rng.random((len(rows), 2, 2 * h * w))
    prompt = prompts_of(config.prompt, mazes[rows], config.size, noise)
    path = write_paths(plans.cells[rows], plans.n_moves[rows], config.size)
    return torch.from_numpy(prompt), torch.from_numpy(path)


def loss_of(net: MazeNet, prompt: Tensor, path: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean cross-entropy, in nats, of the tokens that the network's objective is about; a batch in
    which chance hid none has loss 0."""
    masks = sight(net.config.objective, prompt, path, rng)
    tokens = torch.cat([prompt, path], dim=1)
    logits = net(tokens, masks.encoder, masks.decoder, prompt.shape[1])
    wanted = torch.where(masks.scored, path, PAD)
    total = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=PAD, reduction="sum"
    )
    return total / masks.scored.sum().clamp(min=1)


def _about(mazes: Mazes, config: MazeNetConfig, recipe: MlmuRecipe) -> dict[str, object]:
    arrays = (mazes.cells, mazes.starts, mazes.goals)
    told = asdict(config)
    if config.prompt is PromptKind.EDGES:
        del told["prompt"]  # as in files from before there was a choice
    return {
        "config": told,
        "recipe": asdict(recipe),
        "mazes": digest_of(*arrays),
    }
