"""A linear policy over hand-made features: directions against bearings, words against captions.

About a hundred weights, a softmax over the places and stopping. Progress is not seen but guessed:
the share of the instruction that has been carried out is (step + 1/2) / (a guess of all steps).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .matching import N_CLASSES, State, WordTable, without_places
from .reading import Seen
from .words import PAD

N_BINS = 8  # of relative heading
N_ELEVATIONS = 3
N_STEPS = 9  # steps that have a weight of their own for stopping
N_TEXT = 4
N_FEATURES = (
    N_BINS * (1 + N_CLASSES)
    + N_ELEVATIONS * (1 + N_CLASSES)
    + 3
    + (2 * N_STEPS + N_CLASSES + 4)
    + 2 * N_TEXT
)


class LinearNavigator(nn.Module):
    """Logits w . f(instruction, place, step). `reads` False leaves the captions out (blind)."""

    kind = "linear"

    def __init__(self, table: WordTable, *, reads: bool = True) -> None:
        super().__init__()
        self.table, self.reads = table, reads
        self.weight = nn.Parameter(torch.zeros(N_FEATURES))

    def settings(self) -> dict[str, bool]:
        return {"reads": self.reads}

    def begin(self, words: Tensor, mirrored: Tensor | None = None) -> State:
        return {"words": self.table.mirrored(words, mirrored)}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        words = state["words"]
        answered = self.table.answered(words, seen) if self.reads else None
        logits = linear_features(self.table, words, seen, answered) @ self.weight
        return without_places(logits, seen.there), state

    def advance(self, state: State, choice: Tensor) -> State:
        return {"words": state["words"]}


def linear_features(table: WordTable, words: Tensor, seen: Seen, answered: Tensor | None) -> Tensor:
    """float32 [B, 1 + K, F]: stopping (row 0) and going have features of their own. `answered`
    [B, 1 + K, L] is the table's; None for a blind policy."""
    near, rest = _windows(words, seen.step)
    heard = (table.classes[words] * near[..., None]).sum(dim=1)  # [B, C]
    left = (table.classes[words] * rest[..., None]).sum(dim=1)
    b, k = seen.there.shape
    if answered is None:
        text = torch.zeros(b, 1 + k, N_TEXT)
    else:
        text = _overlaps(words, answered * table.weights[words][:, None], near, rest, seen)
    go = torch.cat([_geometry(heard, seen), text[:, 1:]], dim=-1)
    stop = torch.cat([_stopping(words, left, seen), text[:, 0]], dim=-1)[:, None]
    stop = nn.functional.pad(stop, (go.shape[-1], 0))
    return torch.cat([stop, nn.functional.pad(go, (0, N_FEATURES - go.shape[-1]))], dim=1)


def _overlaps(words: Tensor, answered: Tensor, near: Tensor, rest: Tensor, seen: Seen) -> Tensor:
    """[B, 1 + K, N_TEXT]: overlap with the words of now, of all, still to come, and the last six;
    for places less their mean."""
    n = (words != PAD).sum(dim=1, keepdim=True)
    place = torch.arange(words.shape[1])
    last = ((place >= n - 6) & (place < n)).float()
    windows = torch.stack([near, torch.full_like(near, 0.2), rest / 5, last], dim=1)
    overlap = torch.einsum("bkl,bwl->bkw", answered, windows)
    mean = (
        overlap[:, 1:].sum(dim=1, keepdim=True) / seen.there.sum(dim=1).clamp(min=1)[:, None, None]
    )
    is_place = (torch.arange(overlap.shape[1]) > 0)[None, :, None]
    return (overlap - mean * is_place) / 2


def _windows(words: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [B, L] of the words of now, and of those still to come."""
    n = (words != PAD).sum(dim=1, keepdim=True).float()
    place = torch.arange(words.shape[1])[None]
    total = 4.0 + n / 20  # steps that an instruction of n words takes, about
    now = (step[:, None] + 0.5) / total * n
    width = 1.2 * n / total
    real = (place < n).float()
    near = (1 - (place + 0.5 - now).abs() / width).clamp(min=0) * real
    rest = ((place + 0.5 - now) / width).clamp(0, 1) * real
    return near, rest


def _geometry(heard: Tensor, seen: Seen) -> Tensor:
    """[B, K, (N_BINS + N_ELEVATIONS)(1 + C) + 3]."""
    sector = torch.round(seen.heading / (2 * math.pi / N_BINS)).long() % N_BINS
    bins = nn.functional.one_hot(sector, N_BINS).float()
    level = (seen.elevation > 0.26).long() - (seen.elevation < -0.26).long() + 1
    levels = nn.functional.one_hot(level, N_ELEVATIONS).float()
    said = nn.functional.pad(heard, (1, 0), value=1.0)[:, None]  # [B, 1, 1 + C]
    crossed = [(x[..., None] * said[..., None, :]).flatten(2) for x in (bins, levels)]
    rest = torch.stack([seen.distance / 3, seen.visited, seen.came_from], dim=-1)
    return torch.cat([*crossed, rest], dim=-1)


def _stopping(words: Tensor, left: Tensor, seen: Seen) -> Tensor:
    """[B, 2 N_STEPS + C + 4]."""
    n = (words != PAD).sum(dim=1).float()
    step = nn.functional.one_hot(seen.step.clamp(max=N_STEPS - 1), N_STEPS).float()
    late = seen.step.float() - (4.0 + n / 20)
    rest = torch.stack([torch.ones_like(n), late / 3, late.clamp(min=0), n / 30], dim=-1)
    return torch.cat([step, step * (n / 30)[:, None], left, rest], dim=-1)
