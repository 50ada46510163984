"""Grounding the vision tower before it acts: what does each patch show, and where is it?

A world gives static views with, for each patch of each picture, the words of the things seen in it
and the place of the main one. Learning these first is much cheaper than learning them from actions:
there is one label a patch instead of a few numbers an env step, and views need no simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pilotage.agents.vla.config import PatchGrid
from pilotage.agents.vla.model import VLAModel

MIN_PIXELS = 2  # of a thing, for its words to count as seen in a patch


@dataclass
class PatchLabels:
    """What the patches of N pictures of one camera show; T patches, W words.

    words bool [N, T, W]; place float32 [N, T, 3], in the world's own units near 1; placed bool
    [N, T], where a place is known.
    """

    words: np.ndarray
    place: np.ndarray
    placed: np.ndarray


@dataclass(frozen=True)
class Thing:
    """Something that a segment id stands for. `place` [3] may be None; of several things in one
    patch the one with the largest `weight` times its pixels gives the place."""

    words: tuple[str, ...]
    place: tuple[float, float, float] | None = None
    weight: float = 1.0


@dataclass
class Views:
    """N static views: per camera uint8 [N, H, W, C] pictures and the labels of their patches."""

    images: list[np.ndarray]
    labels: list[PatchLabels]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images[0])


class ViewBuilder:
    """Collects views picture by picture; `done` gives them as arrays."""

    def __init__(self, grids: Sequence[PatchGrid], words: tuple[str, ...]) -> None:
        self.grids, self.words = grids, words
        self._images: list[list[np.ndarray]] = [[] for _ in grids]
        self._rows: list[list[tuple[np.ndarray, ...]]] = [[] for _ in grids]
        self._index = {word: i for i, word in enumerate(words)}

    def add(
        self, camera: int, image: np.ndarray, segment: np.ndarray, things: Mapping[int, Thing]
    ) -> None:
        """One picture uint8 [H, W, C] with its segment ids int32 [H, W]."""
        grid = self.grids[camera]
        words = np.zeros((grid.n_tokens, len(self.words)), dtype=bool)
        place = np.zeros((grid.n_tokens, 3), dtype=np.float32)
        best = np.zeros(grid.n_tokens)
        for number in np.unique(segment[grid.top : grid.bottom]).tolist():
            if number not in things:
                continue
            thing = things[number]
            pixels = count_pixels(segment == number, grid)
            seen = pixels >= MIN_PIXELS
            for word in thing.words:
                words[seen, self._index[word]] = True
            if thing.place is not None:
                main = seen & (pixels * thing.weight > best)
                best[main] = (pixels * thing.weight)[main]
                place[main] = thing.place
        self._images[camera].append(np.array(image))
        self._rows[camera].append((words, place, best > 0))

    def done(self) -> Views:
        labels = [
            PatchLabels(*(np.stack(column) for column in zip(*rows, strict=True)))
            for rows in self._rows
        ]
        return Views([np.stack(images) for images in self._images], labels, self.words)


def count_pixels(mask: np.ndarray, grid: PatchGrid) -> np.ndarray:
    """How many pixels of a bool picture [H, W] are set in each patch: int64 [n_tokens]."""
    rows, columns = grid.shape
    cut = mask[grid.top : grid.bottom].reshape(rows, grid.patch_height, columns, grid.patch_width)
    return np.asarray(cut.sum(axis=(1, 3), dtype=np.int64)).ravel()


def pretrain_vision(
    model: VLAModel,
    views: Views,
    *,
    n_updates: int,
    batch: int = 96,
    learning_rate: float = 2e-3,
    seed: int = 0,
    tell: Callable[[dict[str, float]], None] | None = None,
    tell_every: int = 100,
) -> None:
    """Train the towers of `model` in place to say each patch's words and place.

    The linear heads that read the tokens, one a camera, are thrown away afterwards. The loss is ten
    times the binary cross-entropy of words plus three times the smooth L1 distance of places. Under
    a pretrained decoder a token is also drawn to the direction of its words' embeddings, so that
    the decoder finds in it what it knows (in the spirit of LLaVA's first stage, arXiv:2304.08485).
    """
    meant = _rows_of(model, views.words) if model.config.language else None
    rng = np.random.default_rng(seed)
    width, n_words = model.config.d_model, len(views.words)
    towers = list(model.vision)
    heads = nn.ModuleList([nn.Linear(width, n_words + 3) for _ in towers])
    parameters = [*model.vision.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=n_updates, pct_start=0.05
    )
    past: list[tuple[float, ...]] = []
    for update in range(1, n_updates + 1):
        picks = rng.integers(len(views), size=batch)
        total = torch.zeros(())
        for k, (tower, head) in enumerate(zip(towers, heads, strict=True)):
            labels = views.labels[k]
            images = jittered(views.images[k][picks], rng)
            tokens = tower(torch.from_numpy(images))
            read = head(tokens)
            words = torch.from_numpy(labels.words[picks]).float()
            placed = torch.from_numpy(labels.placed[picks])
            said = nn.functional.binary_cross_entropy_with_logits(
                read[..., :n_words], words, pos_weight=torch.tensor(3.0)
            )
            gap = read[..., n_words:][placed] - torch.from_numpy(labels.place[picks])[placed]
            where = nn.functional.smooth_l1_loss(gap, torch.zeros_like(gap), beta=0.1)
            total = total + 10 * said + 3 * where
            if meant is not None:
                some = words.any(-1)
                likeness = nn.functional.cosine_similarity(
                    tokens[some], words[some] @ meant, dim=-1
                )
                total = total + 3 * (1 - likeness).mean()
            hit = ((read[..., :n_words] > 0) == (words > 0)).all(-1)[words.any(-1)]
            losses = (said.detach(), gap.detach().abs().mean(), hit.float().mean())
            past.append(tuple(float(x) for x in losses))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if tell is not None and (update % tell_every == 0 or update == n_updates):
            said_, gap_, hit_ = (float(np.mean(column)) for column in zip(*past, strict=True))
            tell({"view_update": update, "words": said_, "place_gap": gap_, "all_right": hit_})
            past = []


def _rows_of(model: VLAModel, words: Sequence[str]) -> torch.Tensor:
    """Embeddings `[n, d]` of words, the mean where one is several tokens."""
    ids = [torch.tensor(model.tokenizer.encode(f" {word}")) for word in words]
    return torch.stack([model.embed_ids(i).mean(0) for i in ids]).detach()


def jittered(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness and contrast of the colour channels of uint8 [N, H, W, C], one draw for all."""
    gain, shift = rng.uniform(0.85, 1.15), rng.uniform(-12, 12)
    table = np.clip(np.arange(256) * gain + shift, 0, 255).astype(np.uint8)
    out = images.copy()
    out[..., :3] = table[images[..., :3]]
    return out
