"""`pilotage train stars`: next-token, reversed or teacherless learning on star graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilotage.envs.pathgraph.star_lines import StarShape, draw_stars
from pilotage.episodes.statistics import wilson_interval
from pilotage.planners.alpine.checkpoint import save_net
from pilotage.planners.alpine.model import PathGPTConfig
from pilotage.planners.alpine.stars import StarRecipe, shares_right, train_stars
from pilotage.scripts.trainings import Run


@dataclass(frozen=True)
class Stars:
    """The arm of a star graph that ends in the goal (arXiv:2403.06963); a new graph each line."""

    out: str = "runs/train/stars"
    objective: str = "next"  # or "reversed", "teacherless"
    degree: int = 2
    length: int = 5
    labels: int = 50
    updates: int = 20_000
    batch: int = 64
    learning_rate: float = 1e-3
    width: int = 128
    layers: int = 4
    heads: int = 4
    test_graphs: int = 1000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    every: int = 200


def run_stars(o: Stars) -> Path:
    """Train on graphs drawn anew for each batch; test on others."""
    run = Run("stars", o)
    shape = StarShape(o.degree, o.length, o.labels)
    net = train_stars(
        lambda k: draw_stars(shape, o.batch, np.random.default_rng([19, o.seed, k])),
        PathGPTConfig(
            shape.vocab_size,
            shape.prompt_length + shape.length - 1,
            o.width,
            n_layers=o.layers,
            n_heads=o.heads,
        ),
        StarRecipe(o.objective, o.updates, o.learning_rate, seed=o.seed),
        mask=shape.mask,
        device=o.device,
        every=o.every,
        tell=lambda n, loss: run.log.rounded({"update": n, "loss": loss}),
        state=run.state,
    )
    test = draw_stars(shape, o.test_graphs, np.random.default_rng([20, o.seed]))
    found = shares_right(net, *test, o.objective, mask=shape.mask, device=o.device)
    within = wilson_interval(round(found["exact"] * o.test_graphs), o.test_graphs)
    told = {"graphs": o.test_graphs} | {name: round(v, 4) for name, v in found.items()}
    told |= {"exact_low": round(within.low, 4), "exact_high": round(within.high, 4)}
    save_net(net.cpu(), run.out, run.about(told))
    return run.out
