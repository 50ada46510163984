"""Measures of a path, alone and against a reference path. Pure functions of points in metres.

P is the path that was taken, `[n, d]`; R is the reference path, `[m, d]`; distances are Euclidean.
Which points R holds changes nDTW a lot (a dense trace against sparse way points is far from 1 even
for a perfect agent), so a number is comparable only with the same R.
"""

from __future__ import annotations

import numpy as np


def path_length(path: np.ndarray) -> float:
    """Sum of the distances between consecutive points, in metres; 0 for a single point."""
    points = _points("path", path)
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def without_repeats(path: np.ndarray) -> np.ndarray:
    """The path without points that equal the one before them (turns on the spot)."""
    points = _points("path", path)
    keep = np.ones(len(points), bool)
    keep[1:] = (points[1:] != points[:-1]).any(axis=1)
    return points[keep]


def dtw(path: np.ndarray, reference: np.ndarray) -> float:
    """Dynamic time warping: the least sum of distances over monotone alignments of P and R, exact.

    Aligns the first points with each other, the last ones too, and steps by one in P, in R, or in
    both.
    """
    return dtw_of_costs(distances(_points("path", path), _points("reference", reference)))


def dtw_of_costs(cost: np.ndarray) -> float:
    """`dtw` on given distances float [n, m].

    Time and memory O(n m); the anti-diagonals are computed as vectors.
    """
    n, m = cost.shape
    flipped = cost[:, ::-1]  # its diagonals are the anti-diagonals of `cost`
    before = last = np.full(n + 1, np.inf)  # entry i + 1: the cell (i, k - i) of diagonal k
    for k in range(n + m - 1):
        first, stop = max(0, k - m + 1), min(n, k + 1)  # rows i of diagonal k
        diagonal = np.full(n + 1, np.inf)
        least = np.minimum(
            np.minimum(last[first:stop], last[first + 1 : stop + 1]), before[first:stop]
        )
        if k == 0:
            least = np.zeros(1)
        diagonal[first + 1 : stop + 1] = least + np.diagonal(flipped, m - 1 - k)
        before, last = last, diagonal
    return float(last[n])


def ndtw(path: np.ndarray, reference: np.ndarray, *, radius_m: float) -> float:
    """Normalised dynamic time warping: exp(-DTW(P, R) / (|R| d_th)), in (0, 1].

    Ilharco et al. 2019 (arXiv:1907.05446), with d_th the success radius.
    """
    return float(np.exp(-dtw(path, reference) / (len(reference) * radius_m)))


def cls(path: np.ndarray, reference: np.ndarray, *, radius_m: float) -> float:
    """Coverage weighted by length score, in [0, 1]; Jain et al. 2019 (arXiv:1905.12255).

    CLS = PC LS, path coverage PC = mean over r in R of exp(-min over p in P of |p - r| / d_th),
    length score LS = EPL / (EPL + |EPL - PL(P)|), expected length EPL = PC PL(R). A reference of
    no length has EPL = 0: then LS is 1 for a path of no length (0/0 there) and 0 for others.
    """
    nearest = distances(path, reference).min(axis=0)  # [m]
    coverage = float(np.exp(-nearest / radius_m).mean())
    expected, length = coverage * path_length(reference), path_length(path)
    longest = expected + abs(expected - length)
    return coverage * (1.0 if longest == 0.0 else expected / longest)


def distances(path: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Euclidean distances float64 [n, m] between all points of two paths."""
    p, r = _points("path", path), _points("reference", reference)
    return np.linalg.norm(p[:, None] - r[None], axis=-1)


def _points(name: str, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"{name} must be points [n >= 1, d], got shape {list(points.shape)}")
    return points
