"""Training on one long random walk, cut into windows.

First the network learns without the codebooks, its vectors blurred by noise; then the codebooks
begin among the vectors that it has found, and all learn together. Codes that are there from the
first step freeze what the network knew then: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pilotage.planners.checkpoints import (
    digest_of,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)
from pilotage.planners.tdb.model import TDB, TDBConfig

_BEGIN_BATCHES = 4  # of vectors, for the first codes


@dataclass(frozen=True)
class TdbRecipe:
    """How long, how fast, from which seed.

    free_share: of the updates, before the codebooks begin (0: from the first update). noise: of the
    vectors until then, in units of their length. commitment: weight of the distance between
    vectors and their codes (beta).
    """

    n_updates: int = 3000
    batch_windows: int = 32
    learning_rate: float = 3e-3
    warmup_share: float = 0.03
    free_share: float = 0.6
    noise: float = 0.3
    commitment: float = 0.25
    weight_decay: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_updates < 1 or self.batch_windows < 1:
            raise ValueError(
                f"n_updates and batch_windows must be >= 1, got {self.n_updates} and "
                f"{self.batch_windows}"
            )
        if not 0 <= self.free_share < 1:
            raise ValueError(f"free_share must be in [0, 1), got {self.free_share}")

    @property
    def n_free(self) -> int:
        """Updates before the codebooks begin."""
        return int(self.free_share * self.n_updates)

    def rate(self, step: int) -> float:
        """The learning rate of a step: a line up, half a cosine down to a fiftieth."""
        warmup = max(1, round(self.warmup_share * self.n_updates))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.n_updates - warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class Progress:
    """What `tell` hears: updates so far; since it last heard the mean loss of the next observation
    and the share that is predicted; and how many codes the last batch used (0 before they begin).
    """

    n_updates: int
    loss: float  # nats; NaN when it has just gone on from a file
    accuracy: float
    n_codes: int


def train_tdb(
    observations: np.ndarray,
    actions: np.ndarray,
    config: TDBConfig,
    recipe: TdbRecipe | None = None,
    *,
    device: str = "cpu",
    every: int = 100,
    tell: Callable[[Progress, TDB], None] | None = None,
    state: Path | None = None,
) -> TDB:
    """A network trained on windows of a walk: observations int [N], actions int [N - 1].

    The windows of an update and its noise depend on the seed and the update's number alone. With
    `state` the trainer is kept in that file every `every` updates and at the end, and goes on from
    it where it exists: the same network as without a stop, bit for bit on one machine.

    Raises ValueError: a walk shorter than the context or with other numbers than `config` has,
    every < 1, or a `state` of another recipe, network or walk.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 update, got {every}")
    seen, acted = check_walk(observations, actions, config)
    recipe = recipe or TdbRecipe()
    trainer = _Trainer(seen, acted, config, recipe, device)
    about: dict[str, object] = {
        "config": asdict(config),
        "recipe": asdict(recipe),
        "walk": digest_of(observations, actions),
    }
    if state is not None and state.exists():
        trainer.load(state, about)
        if tell is not None:
            tell(Progress(trainer.n_updates, math.nan, math.nan, trainer.n_codes), trainer.net)
    while trainer.n_updates < recipe.n_updates:
        trainer.update()
        if trainer.n_updates % every == 0 or trainer.n_updates == recipe.n_updates:
            loss, accuracy = trainer.means_since_last()
            if state is not None:
                write_state(state, trainer.tensors(), about)
            if tell is not None:
                tell(Progress(trainer.n_updates, loss, accuracy, trainer.n_codes), trainer.net)
    return trainer.net.eval()


def check_walk(
    observations: np.ndarray, actions: np.ndarray, config: TDBConfig
) -> tuple[Tensor, Tensor]:
    """Both as int64 tensors. ValueError for a walk that does not fit."""
    seen = torch.from_numpy(np.asarray(observations, np.int64))
    acted = torch.from_numpy(np.asarray(actions, np.int64))
    if seen.ndim != 1 or acted.shape != (len(seen) - 1,) or len(seen) < config.context:
        raise ValueError(
            f"observations {list(seen.shape)} and actions {list(acted.shape)} must be [N] and "
            f"[N - 1], N >= the context {config.context}"
        )
    for name, values, n in (
        ("observation", seen, config.n_observations),
        ("action", acted, config.n_actions),
    ):
        wrong = torch.nonzero((values < 0) | (values >= n))
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(f"{name} {int(values[at])} at step {at}; there are 0 to {n - 1}")
    return seen, acted


class _Trainer:
    """Network, optimizer, and how far they are."""

    def __init__(
        self, seen: Tensor, acted: Tensor, config: TDBConfig, recipe: TdbRecipe, device: str
    ) -> None:
        self.seen, self.acted, self.recipe, self.device = seen, acted, recipe, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.net = TDB(config).to(device).train()
        self.parameters = list(self.net.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.n_updates = self.n_codes = 0
        self.sums: list[Tensor] = []

    def windows(self, number: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Observations [B, T] and actions [B, T - 1] of a batch, and a generator for its noise."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number)
        context = self.net.config.context
        firsts = torch.randint(
            len(self.seen) - context + 1, (self.recipe.batch_windows, 1), generator=generator
        )
        at = firsts + torch.arange(context)
        return self.seen[at].to(self.device), self.acted[at[:, :-1]].to(self.device), generator

    def update(self) -> None:
        """One step down the gradient of one batch."""
        recipe, net = self.recipe, self.net
        if self.n_updates == recipe.n_free:
            self._begin_codes()
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.n_updates)
        seen, acted, generator = self.windows(self.n_updates)
        vectors = net.vectors(seen, acted)
        flat = vectors.flatten(0, 1)
        width = net.config.d_code
        extra = torch.zeros((), device=self.device)
        if self.n_updates < recipe.n_free:
            noise = torch.randn(vectors.shape, generator=generator).to(self.device) / width**0.5
            codes = (vectors + recipe.noise * noise) * width**0.5
        else:
            numbers = net.bottleneck.nearest(flat.detach())
            codes = net.bottleneck.quantise(flat, numbers).view_as(vectors)
            gaps = (flat - net.bottleneck.look_up(numbers)).square().sum(-1).mean()
            extra = recipe.commitment * gaps
            net.bottleneck.follow(flat.detach(), numbers, generator)
            self.n_codes = len(numbers[:, 0].unique())
        logits = net.predict(codes, acted)
        losses = torch.stack(
            [
                functional.cross_entropy(found.flatten(0, 1), seen[:, s:].flatten())
                for s, found in enumerate(logits, start=1)
            ]
        )
        self.optimizer.zero_grad(set_to_none=True)
        (losses.mean() + extra).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.n_updates += 1
        right = (logits[0].argmax(-1) == seen[:, 1:]).float().mean()
        self.sums.append(torch.stack([losses[0].detach(), right]))

    @torch.no_grad()
    def _begin_codes(self) -> None:
        """The first codes, among the vectors of some batches; places early in a window, at which
        nobody can know where one is, do not count."""
        found, generator = [], torch.Generator().manual_seed(self.recipe.seed)
        for k in range(_BEGIN_BATCHES):
            seen, acted, _ = self.windows(self.recipe.n_updates + k)
            vectors = self.net.vectors(seen, acted)
            found.append(vectors[:, self.net.config.context // 2 :].flatten(0, 1).cpu())
        self.net.bottleneck.begin(torch.cat(found), generator)

    def means_since_last(self) -> tuple[float, float]:
        """Loss and accuracy of the next observation."""
        loss, accuracy = torch.stack(self.sums).mean(0).tolist()
        self.sums.clear()
        return loss, accuracy

    def tensors(self) -> dict[str, Tensor]:
        """All that goes into a file."""
        progress = torch.tensor([self.n_updates, self.n_codes])
        return training_tensors(self.net, self.optimizer) | {"progress": progress}

    def load(self, path: Path, about: dict[str, object]) -> None:
        """Go on from a file that `tensors` was written to."""
        found = read_state(path, about, what="a TDB training")
        self.n_updates, self.n_codes = (int(number) for number in found["progress"])
        restore_training(self.net, self.optimizer, found)
