"""The neuron-path half of `pilotage steer attribute`: a greedy path, and others beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.tracing import WordPair, sites_of
from pilotage.scripts.opening import progress_bar
from pilotage.steering.agreement import pearson
from pilotage.steering.attribution import Scores, attribute
from pilotage.steering.neuron_paths import (
    Line,
    Path,
    find_path,
    joint_attribution,
    path_effect,
)
from pilotage.steering.patching import Sides, share_of_gap
from pilotage.steering.tokens import PAD

NEURONS = "mlp.down_proj:in"


def neuron_path_tables(
    pair: WordPair, *, n_random: int, steps: int, candidates: int, seed: int, quiet: bool
) -> dict[str, Any]:
    """The greedy path (its neurons with their parts), the path of each layer's own best neuron by
    gradient and by change, and random paths: attributed and true effects as shares of the gap.
    """
    sides = pair.sides(sites_of(pair.model, (NEURONS,)))
    decoder = pair.model.decoder
    line = _line(sides, pair.token_groups != PAD)
    sign = float(np.sign(sides.gap))

    def metric() -> torch.Tensor:
        return pair.forward("negative") * sign

    bar, move = progress_bar(len(line.layers), "layers of the path", quiet=quiet)
    with bar:
        greedy = find_path(decoder, metric, line, candidates=candidates, progress=move)
    rng = np.random.default_rng(seed)
    paths: dict[str, Path] = {
        "greedy": greedy,
        "each layer's best by atp": _best_alone(pair, sides, line),
        "each layer's largest change": _largest_change(line),
    }
    width = next(iter(line.start.values())).shape[2]
    for i in range(n_random):
        drawn = rng.integers(width, size=len(line.layers))
        paths[f"random {i}"] = {n: int(x) for n, x in zip(line.layers, drawn, strict=True)}
    rows, neurons = [], []
    for name, path in paths.items():
        score = joint_attribution(decoder, metric, line, path, steps=steps)
        moved = (path_effect(decoder, metric, line, path) * sign).numpy()
        share, low, high = share_of_gap(moved, sides, pair.clusters, seed)
        rows.append(
            {
                "path": name,
                "neurons": " ".join(f"{n}:{i}" for n, i in path.items()),
                "attributed": round(float(score.joint.mean()) / abs(sides.gap), 6),
                "true": round(share, 6),
                "low": round(low, 6),
                "high": round(high, 6),
            }
        )
        if name == "greedy":
            parts = {n: float(p.mean()) / abs(sides.gap) for n, p in score.parts.items()}
            neurons = [
                {"layer": n, "neuron": path[n], "part": round(part, 6)} for n, part in parts.items()
            ]
    return {
        "positive": float(sides.positive.mean()),
        "negative": float(sides.negative.mean()),
        "path": neurons,
        "paths": _summed(rows),
        "pearson": pearson(*(np.array([r[k] for r in rows]) for k in ("attributed", "true"))),
    }


def _line(sides: Sides, mask: torch.Tensor) -> Line:
    ends = {int(site.split(".")[1]): pair for site, pair in sides.activations.items()}
    start = {n: negative for n, (_, negative) in ends.items()}
    end = {n: positive for n, (positive, _) in ends.items()}
    return Line(start, end, mask, natural=True)


def _best_alone(pair: WordPair, sides: Sides, line: Line) -> Path:
    """By layer, the neuron that attribution patching says moves the metric most towards the other
    side, by itself."""
    sites = list(sides.activations)
    scores: Scores = attribute(
        pair.model.decoder,
        pair.forward,
        sides,
        pair.token_groups,
        ["all"],
        method="atp",
        by_unit=sites,
    )
    towards = np.sign(sides.gap) * scores.means.reshape(len(sites), -1)
    return {n: int(best) for n, best in zip(line.layers, towards.argmax(1), strict=True)}


def _largest_change(line: Line) -> Path:
    """By layer, the neuron whose activation differs most between the sides."""
    found = {}
    for n in line.layers:
        change = (line.end[n] - line.start[n]).abs() * line.mask[..., None]
        found[n] = int(change.sum((0, 1)).argmax())
    return found


def _summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The named paths as they are, and the random ones as one row with the best of them."""
    drawn = [r for r in rows if r["path"].startswith("random")]
    named = [r for r in rows if r not in drawn]
    if not drawn:
        return named
    mean: dict[str, Any] = {"path": f"mean of {len(drawn)} random", "neurons": ""}
    for key in ("attributed", "true", "low", "high"):
        mean[key] = round(float(np.mean([r[key] for r in drawn])), 6)
    best = max(drawn, key=lambda r: float(r["true"]))
    return [*named, mean, {**best, "path": "best random"}]
