"""Rectangles, circles and lines of sight in the floor plane, compiled with numba.

Obstacles are rectangles `[m, 4]` (x0, y0, x1, y1) and circles `[k, 3]` (x, y, radius), in metres.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True)
def segment_hits_rect(ax, ay, bx, by, x0, y0, x1, y1):  # type: ignore[no-untyped-def]
    """Whether a segment meets the open rectangle."""
    lo, hi = 0.0, 1.0
    for start, move, low, high in ((ax, bx - ax, x0, x1), (ay, by - ay, y0, y1)):
        if abs(move) < 1e-12:
            if start <= low or start >= high:
                return False
        else:
            t0, t1 = (low - start) / move, (high - start) / move
            if t0 > t1:
                t0, t1 = t1, t0
            lo, hi = max(lo, t0), min(hi, t1)
            if lo >= hi:
                return False
    return True


@numba.njit(cache=True)
def segment_near_point(ax, ay, bx, by, px, py, radius):  # type: ignore[no-untyped-def]
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    t = 0.0
    if length2 > 0.0:
        t = min(1.0, max(0.0, ((px - ax) * dx + (py - ay) * dy) / length2))
    ex, ey = ax + t * dx - px, ay + t * dy - py
    return ex * ex + ey * ey < radius * radius


@numba.njit(cache=True)
def segment_blocked(ax, ay, bx, by, rects, circles, r):  # type: ignore[no-untyped-def]
    """Whether a body of radius r moving from a to b would overlap an obstacle."""
    lx, hx, ly, hy = min(ax, bx) - r, max(ax, bx) + r, min(ay, by) - r, max(ay, by) + r
    for k in range(rects.shape[0]):
        x0, y0, x1, y1 = rects[k, 0], rects[k, 1], rects[k, 2], rects[k, 3]
        if x0 >= hx or x1 <= lx or y0 >= hy or y1 <= ly:
            continue
        if segment_hits_rect(ax, ay, bx, by, x0 - r, y0, x1 + r, y1):
            return True
        if segment_hits_rect(ax, ay, bx, by, x0, y0 - r, x1, y1 + r):
            return True
        if (
            segment_near_point(ax, ay, bx, by, x0, y0, r)
            or segment_near_point(ax, ay, bx, by, x0, y1, r)
            or segment_near_point(ax, ay, bx, by, x1, y0, r)
            or segment_near_point(ax, ay, bx, by, x1, y1, r)
        ):
            return True
    for k in range(circles.shape[0]):
        cx, cy, cr = circles[k, 0], circles[k, 1], circles[k, 2] + r
        if cx - cr >= hx or cx + cr <= lx or cy - cr >= hy or cy + cr <= ly:
            continue
        if segment_near_point(ax, ay, bx, by, cx, cy, cr):
            return True
    return False


@numba.njit(cache=True)
def distance_to_nearest(px, py, rects, circles):  # type: ignore[no-untyped-def]
    """Distance from a point to the nearest obstacle; 0 inside one."""
    best = 1e9
    for k in range(rects.shape[0]):
        dx = max(max(rects[k, 0] - px, px - rects[k, 2]), 0.0)
        dy = max(max(rects[k, 1] - py, py - rects[k, 3]), 0.0)
        best = min(best, math.sqrt(dx * dx + dy * dy))
    for k in range(circles.shape[0]):
        d = math.hypot(px - circles[k, 0], py - circles[k, 1]) - circles[k, 2]
        best = min(best, max(d, 0.0))
    return best


@numba.njit(cache=True)
def visible_pairs(points, rects, circles, r):  # type: ignore[no-untyped-def]
    n = points.shape[0]
    lengths = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            ax, ay, bx, by = points[i, 0], points[i, 1], points[j, 0], points[j, 1]
            if not segment_blocked(ax, ay, bx, by, rects, circles, r):
                d = max(math.hypot(ax - bx, ay - by), 1e-9)
                lengths[i, j] = d
                lengths[j, i] = d
    return lengths


@numba.njit(cache=True)
def best_anchor(px, py, anchors, costs, rects, circles, r):  # type: ignore[no-untyped-def]
    """Index and total of the visible anchor with the least |p - anchor| + cost, or (-1, inf)."""
    n = anchors.shape[0]
    totals = np.empty(n)
    for i in range(n):
        totals[i] = costs[i] + math.hypot(px - anchors[i, 0], py - anchors[i, 1])
    for i in np.argsort(totals):
        if totals[i] == np.inf:
            break
        if not segment_blocked(px, py, anchors[i, 0], anchors[i, 1], rects, circles, r):
            return i, totals[i]
    return -1, np.inf
