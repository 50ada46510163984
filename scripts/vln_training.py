"""Imitation of shortest paths in the graph world: rollouts with gradients, DAgger included.

Each update plays a batch of episodes. In some the expert chooses, in the others the policy draws
from its own distribution; every visited place is labelled with the next step of a shortest path to
the goal (Ross et al. 2011, arXiv:1011.0686; "student forcing" of arXiv:1711.07280). Half of the
episodes are played in the mirror: left and right exchanged in words and bearings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pilotage.agents.vln.checkpoint import AnyNavigator
from pilotage.agents.vln.matching import State
from pilotage.agents.vln.reading import Memory, Reader, padded
from pilotage.envs.r2r.annotations import Item
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.types import Task

HELD_OUT = "held_out"  # as a split: the instructions of train in the scans that are held out
HOLD_EVERY = 5
MAX_MOVES = 10  # of a policy-driven training episode


def is_held_out(scan: str) -> bool:
    """Whether a scan of train is kept for choosing between policies: one in five, by its hash."""
    return int(hashlib.sha256(scan.encode()).hexdigest(), 16) % HOLD_EVERY == 0


def captions_of(data: R2RData, scans: Sequence[str], reader: Reader) -> list[np.ndarray]:
    """The different words of every caption of some scans, as rows."""
    return [
        reader.line(caption)
        for scan in scans
        for sectors in data.captions(scan).values()
        for caption in sectors
    ]


@dataclass(frozen=True)
class Played:
    """What one batch taught: the loss to minimise, and numbers for the log."""

    loss: torch.Tensor
    imitation: float  # cross entropy a decision
    agreement: float  # share of decisions in which the policy's first choice is the expert's
    n_decisions: int


class Practice:
    """Plays batches of train tasks with a navigator that is being trained."""

    def __init__(self, model: AnyNavigator, n: int, data: Path, *, text: bool, seed: int) -> None:
        self.model = model
        self.envs = R2RVectorEnv(n, expert_actions=True, text=text, data=data)
        self.reader = Reader(model.table.lexicon)
        self.memory = Memory(n, self.reader)
        self.draws = torch.Generator().manual_seed(seed)

    def play(self, tasks: Sequence[Task], teacher_share: float, progress_weight: float) -> Played:
        """One batch; `teacher_share` of its episodes follow the expert."""
        n = len(tasks)
        teacher = torch.rand(n, generator=self.draws) < teacher_share
        mirrored = torch.rand(n, generator=self.draws) < 0.5
        words = padded([self.reader.instruction(task.instruction) for task in tasks])
        observations, infos = self.envs.reset(options={"tasks": list(tasks)})
        for slot in range(n):
            self.memory.forget(slot)
        rows = np.arange(n)  # slots that are under way
        state: State = self.model.begin(words, mirrored)
        start = infos["trace"]["distance_to_goal"][:, 0]
        losses, monitors, agreed, count = [], [], 0, 0
        for _ in range(MAX_MOVES):
            seen = self.memory.look(observations, rows.tolist()).narrowed()
            sign = torch.where(mirrored[rows], -1.0, 1.0)[:, None]
            logits, after = self.model.step(state, replace(seen, heading=seen.heading * sign))
            expert = torch.from_numpy(observations["expert_action"][rows])
            losses.append(torch.nn.functional.cross_entropy(logits, expert, reduction="sum"))
            if "progress" in after:
                left = infos["trace"]["distance_to_goal"][rows, 0] / np.maximum(start[rows], 1e-6)
                aim = torch.from_numpy(1 - left).float().clamp(-1, 1)
                monitors.append((after["progress"] - aim).square().sum())
            agreed += int((logits.argmax(dim=1) == expert).sum())
            count += len(rows)
            choice = self._choice(logits.detach(), expert, teacher[rows])
            actions = np.zeros(n, np.int64)
            actions[rows] = choice.numpy()
            observations, _, _, _, infos = self.envs.step(actions)
            going = choice != 0
            if not going.any():
                break
            state, rows = self._next(after, choice, going, rows)
        imitation = torch.stack(losses).sum() / count
        loss = imitation
        if monitors:
            loss = loss + progress_weight * torch.stack(monitors).sum() / count
        return Played(loss, imitation.item(), agreed / count, count)

    def _choice(
        self, logits: torch.Tensor, expert: torch.Tensor, teacher: torch.Tensor
    ) -> torch.Tensor:
        """The expert's choice, or one drawn from the policy; a drawn stop ends the episode, else
        late steps would mostly be those of lost episodes, and the policy would unlearn to stop."""
        drawn = torch.multinomial(logits.softmax(dim=1), 1, generator=self.draws)[:, 0]
        return torch.where(teacher, expert, drawn)

    def _next(
        self, after: State, choice: torch.Tensor, going: torch.Tensor, rows: np.ndarray
    ) -> tuple[State, np.ndarray]:
        """The states and slots of the episodes that go on."""
        state = self.model.advance(after, choice)
        keep = going.nonzero()[:, 0]
        return {name: t[keep] for name, t in state.items()}, rows[keep.numpy()]


def batches_by_length(
    tasks: Sequence[Task], n: int, rng: np.random.Generator, *, pooled: int = 8
) -> list[list[Task]]:
    """All tasks once in random batches of `n` whose instructions are about as long (the last few
    that fill no batch are left out)."""
    order = rng.permutation(len(tasks))
    batches = []
    for first in range(0, len(order), n * pooled):
        pool = sorted(
            order[first : first + n * pooled].tolist(), key=lambda i: len(tasks[i].instruction)
        )
        batches += [[tasks[i] for i in pool[k : k + n]] for k in range(0, len(pool) - n + 1, n)]
    return [batches[i] for i in rng.permutation(len(batches)).tolist()]


def scans_of(items: Sequence[Item]) -> list[str]:
    """The scans of items, sorted."""
    return sorted({item.scan for item in items})
