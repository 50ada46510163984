"""Whether a VLA reads the directions in which two wordings differ, in front of its linear maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.tracing import sites_of, word_pair
from pilotage.steering.diagnostics import row_and_null
from pilotage.steering.gradients import site_gradients
from pilotage.steering.illusion import Illusion, illusion_test
from pilotage.steering.patching import group_mask
from pilotage.steering.sites import resolve

PLACES = ("self_attn.o_proj:in", "mlp.down_proj:in")
DIRECTIONS = ("mean", "planted")


def wording_illusions(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    positive: str,
    negative: str,
    made: str = "mean",
    places: Sequence[str] = PLACES,
    group: str = "proprio",
    n_steps: int = 128,
    seed: int = 0,
) -> list[Illusion]:
    """The row and null space test at every layer and place, at the tokens of a group; the metric is
    `tracing.expected_length`.

    made: "mean", the difference of the means of the two sides on the even half of the env steps
    (the test is on all); "planted", an illusion made on purpose, to see that the test can tell: the
    null part of that difference, and in equal parts the gradient of the metric as far as it is read
    and does not lie along the difference.
    """
    if made not in DIRECTIONS:
        raise ValueError(f"unknown direction {made!r}; there are: {', '.join(DIRECTIONS)}")
    pair = word_pair(model, demos, positive=positive, negative=negative, n_steps=n_steps, seed=seed)
    sites = sites_of(model, places)
    sides = pair.sides(sites)
    mask = group_mask(pair.token_groups, group)
    mask[1::2] = False
    gradients = {}
    if made == "planted":
        gradients = site_gradients(model.decoder, lambda: pair.forward("negative"), sites)
    found = []
    for site in sites:
        a, b = sides.activations[site]
        direction = normalize((a[mask].mean(0) - b[mask].mean(0)).double(), dim=0)
        if made == "planted":
            push = gradients[site][mask].mean(0)
            direction = _planted(direction, push, resolve(model.decoder, site).weight)
        test = illusion_test(
            model.decoder,
            pair.forward,
            sides,
            site,
            direction,
            pair.token_groups,
            group,
            clusters=pair.clusters,
            seed=seed,
        )
        found.append(test)
    return found


def _planted(
    difference: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """What classes differ along but nothing reads, plus what is read but they do not differ along;
    where everything is read, only the second."""
    row, null = row_and_null(difference, weight)
    push, _ = row_and_null(gradient, weight)
    along = normalize(row, dim=0)
    push = push - (push @ along) * along
    return (normalize(null, dim=0) if float(null.norm()) > 1e-6 else 0) + normalize(push, dim=0)
