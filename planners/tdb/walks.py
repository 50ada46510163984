"""What a trained network makes of a walk: predictions, codes, and from them a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from pilotage.planners.maps import LearnedMap, read_map
from pilotage.planners.tdb.model import TDB
from pilotage.planners.tdb.training import check_walk

_BATCH = 64  # windows read at once


@dataclass(frozen=True)
class Reading:
    """Of places `first` and later of a walk: codes int64 `[N - first, M]`, and the likeliest next
    observation int64 `[N - first]` after the action that was taken (-1 at the walk's end)."""

    first: int
    codes: np.ndarray
    predicted: np.ndarray


@torch.inference_mode()
def read_walk(
    net: TDB, observations: np.ndarray, actions: np.ndarray, *, burn_in: int = 0
) -> Reading:
    """Codes and predictions with at least `burn_in` observations before each place (by default half
    the context). The walk is read in windows that overlap. ValueError for a walk that is shorter
    than the context, or a burn-in that leaves nothing of it."""
    context = net.config.context
    burn_in = burn_in or context // 2
    if burn_in >= context:
        raise ValueError(f"burn_in {burn_in} must be below the context {context}")
    seen, acted = check_walk(observations, actions, net.config)
    device = next(net.parameters()).device
    codes = np.empty((len(seen), net.config.n_bottlenecks), np.int64)
    predicted = np.full(len(seen), -1, np.int64)
    was_training = net.training
    net.eval()
    for firsts in _windows(len(seen), context, context - burn_in):
        at = firsts[:, None] + torch.arange(context)
        windows, steps = seen[at].to(device), acted[at[:, :-1]].to(device)
        vectors = net.vectors(windows, steps)
        flat = vectors.flatten(0, 1)
        numbers = net.bottleneck.nearest(flat)
        logits = net.predict(net.bottleneck.quantise(flat, numbers).view_as(vectors), steps)[0]
        late = at[:, burn_in:]
        codes[late] = numbers.view(*at.shape, -1)[:, burn_in:].cpu().numpy()
        predicted[late[:, :-1]] = logits.argmax(-1)[:, burn_in:].cpu().numpy()
    net.train(was_training)
    return Reading(burn_in, codes[burn_in:], predicted[burn_in:])


def _windows(length: int, context: int, stride: int) -> Iterator[torch.Tensor]:
    """First places of windows that cover the walk, in batches; one observation overlaps, so that
    the next one of each is predicted within a window."""
    firsts = list(range(0, length - context, max(1, stride - 1)))
    firsts.append(length - context)
    for k in range(0, len(firsts), _BATCH):
        yield torch.tensor(firsts[k : k + _BATCH])


def accuracy(reading: Reading, observations: np.ndarray) -> float:
    """The share of observations after the burn-in that were predicted."""
    return float((reading.predicted[:-1] == observations[reading.first + 1 :]).mean())


def read_off_map(
    reading: Reading,
    observations: np.ndarray,
    actions: np.ndarray,
    *,
    least: float = 0.3,
    alike: int = 0,
    merge: bool = True,
    rare: float = 0.25,
    move_cost: float = 1.0,
) -> LearnedMap:
    """The map of the codes on a walk. Its `path` begins at place `reading.first`.

    A state is an observation with a tuple of codes. alike: with several bottlenecks, tuples that
    differ in at most so many codes are one. Transitions that make up less than `least` of what
    their action did are dropped; merge: states that nothing tells apart are one; rare: states that
    are hardly visited are dropped (`maps.read_map`). move_cost: copies of a place share the
    probability of what leads to it, so that the likeliest way goes round them; where every move
    has a price, the way is short.
    """
    names, n_names = name_tuples(reading.codes, alike)
    path = np.asarray(observations)[reading.first :] * n_names + names
    acted = np.asarray(actions)[reading.first :]
    found = read_map(path, acted, n_names, least=least, merge=merge, rare=rare)
    return replace(found, move_cost=move_cost)


def name_tuples(codes: np.ndarray, alike: int) -> tuple[np.ndarray, int]:
    """Numbers int64 `[N]` for code tuples `[N, M]`, and how many there are. The more frequent of
    two tuples that differ in at most `alike` codes stands for both."""
    counts = Counter(map(tuple, codes.tolist()))
    standing: list[tuple[int, ...]] = []
    names: dict[tuple[int, ...], int] = {}
    for found, _ in counts.most_common():
        for name, other in enumerate(standing):
            if sum(a != b for a, b in zip(found, other)) <= alike:
                names[found] = name
                break
        else:
            names[found] = len(standing)
            standing.append(found)
    return np.array([names[found] for found in map(tuple, codes.tolist())]), len(standing)
