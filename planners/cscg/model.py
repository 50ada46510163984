"""The cloned hidden Markov model: learning by EM, refinement by hard EM, decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pilotage.planners.cscg import kernels


@dataclass(frozen=True)
class Fit:
    """One learning run: bits a step (-log2 p(observation | past, actions) / T) per iteration."""

    bits: tuple[float, ...]
    converged: bool

    @property
    def n_iterations(self) -> int:
        return len(self.bits)


class CSCG:
    """O observations with M clones each, and A actions.

    State `observation * M + clone`. Transitions float32 `[A, O, O, M, M]` are drawn at random;
    rows sum to one over the last clones of all observations.
    """

    def __init__(self, n_observations: int, n_clones: int, n_actions: int, *, seed: int) -> None:
        if min(n_observations, n_clones, n_actions) < 1:
            raise ValueError(
                f"need at least one observation, clone and action, got {n_observations}, "
                f"{n_clones}, {n_actions}"
            )
        self.n_observations, self.n_clones = n_observations, n_clones
        self.n_actions = n_actions
        rng = np.random.default_rng(seed)
        shape = (n_actions, n_observations, n_observations, n_clones, n_clones)
        self.transitions = _normalised(rng.random(shape, dtype=np.float32), 0.0)

    @property
    def n_states(self) -> int:
        return self.n_observations * self.n_clones

    def fit(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        *,
        pseudocount: float = 2e-3,
        max_iterations: int = 1000,
        tolerance: float = 1e-5,
        tell: Callable[[int, float], None] | None = None,
    ) -> Fit:
        """Baum-Welch EM until a step gains less than `tolerance` bits a step.

        observations int `[T]`, actions int `[T - 1]`. Expected counts get `pseudocount` before they
        are normalised (with it, the likelihood need not rise: learning ends then as well). Raises
        ValueError for sequences that do not fit each other or the model, or that it calls
        impossible.
        """
        seen, acted = self._check(observations, actions)
        messages = np.empty((len(seen), self.n_clones), np.float32)
        bits: list[float] = []
        for iteration in range(max_iterations):
            found = -kernels.forward(self.transitions, seen, acted, messages) / len(seen)
            if not math.isfinite(found):
                raise ValueError(
                    "the model gives this sequence no probability; learn with a pseudocount before "
                    "refining, or start from a new model"
                )
            bits.append(float(found))
            if tell is not None:
                tell(iteration, bits[-1])
            if iteration and bits[-2] - bits[-1] < tolerance:
                return Fit(tuple(bits), True)
            counts = np.zeros_like(self.transitions)
            kernels.expected_counts(self.transitions, seen, acted, messages, counts)
            self.transitions = _normalised(counts, pseudocount)
        return Fit(tuple(bits), False)

    def refine(
        self, observations: np.ndarray, actions: np.ndarray, *, max_iterations: int = 20
    ) -> Fit:
        """Hard EM (Viterbi training) without pseudocount until the path stays the same: what is
        left are the transitions of one path, each with its frequency."""
        seen, acted = self._check(observations, actions)
        before: np.ndarray | None = None
        bits: list[float] = []
        for _ in range(max_iterations):
            path = self.decode(seen, acted)
            if before is not None and np.array_equal(path, before):
                return Fit(tuple(bits), True)
            before = path
            counts = np.zeros_like(self.transitions)
            clones = path % self.n_clones
            where = (acted, seen[:-1], seen[1:], clones[:-1], clones[1:])
            np.add.at(counts, where, 1.0)
            self.transitions = _normalised(counts, 0.0)
            bits.append(self.bits_per_step(seen, acted))
        return Fit(tuple(bits), False)

    def bits_per_step(self, observations: np.ndarray, actions: np.ndarray) -> float:
        """-log2 p(observations | actions) / T; infinite for what the model calls impossible."""
        seen, acted = self._check(observations, actions)
        messages = np.empty((len(seen), self.n_clones), np.float32)
        return -float(kernels.forward(self.transitions, seen, acted, messages)) / len(seen)

    def decode(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """States int64 `[T]` of the likeliest path. ValueError for an impossible sequence."""
        seen, acted = self._check(observations, actions)
        start = np.full(self.n_clones, 1.0 / self.n_clones, np.float32)
        clones = kernels.likeliest_path(self.transitions, seen, acted, start)
        if clones[0] < 0:
            raise ValueError(
                "no path of states gives these observations under these actions; a refined model "
                "knows only what it was refined on"
            )
        return seen * self.n_clones + clones

    def _check(
        self, observations: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        seen = np.ascontiguousarray(observations, np.int64)
        acted = np.ascontiguousarray(actions, np.int64)
        if seen.ndim != 1 or len(seen) < 2 or acted.shape != (len(seen) - 1,):
            raise ValueError(
                f"observations {list(seen.shape)} and actions {list(acted.shape)} must be [T] and "
                "[T - 1], T >= 2"
            )
        for name, values, n in (
            ("observation", seen, self.n_observations),
            ("action", acted, self.n_actions),
        ):
            if values.min() < 0 or values.max() >= n:
                at = int(np.flatnonzero((values < 0) | (values >= n))[0])
                raise ValueError(f"{name} {values[at]} at step {at}; there are 0 to {n - 1}")
        return seen, acted


def _normalised(counts: np.ndarray, pseudocount: float) -> np.ndarray:
    """Rows sum to one over observations and clones of the next state; rows without any stay 0."""
    counts = counts + np.float32(pseudocount)
    total = counts.sum(axis=(2, 4), keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
