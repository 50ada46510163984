"""What a VLA's actions report of axes inside it, and what edits along these axes reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pilotage.agents.vla.activations import draw_steps
from pilotage.agents.vla.contrasts import Contrast
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.steering.axes import Axis, logistic_axis, principal_axes, random_axis
from pilotage.steering.distributions import divergence, entropy
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.neurofeedback import Reporter, control_effect, held_out_reports

GROUPS = ("proprio", "action")


@dataclass(frozen=True)
class AxisFeedback:
    """One axis. reported: share of env steps whose label the probe reports, `[n]` of 0 and 1, half
    by chance; clusters `[n]`, their episodes. own: the effect of edits along it on its own report
    (`control_effect`); others: mean size of the effect on the reports of the other axes.
    divergence: KL(unedited || edited) of an action token, nats; apart: mean change of the expected
    action, in units of the largest. Both are means of the two edits."""

    axis: Axis
    reported: np.ndarray
    clusters: np.ndarray
    own: float
    others: float
    divergence: float
    apart: float


def axis_feedback(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    positive: str,
    negative: str,
    layer: int,
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    dose: float = 0.2,
    n_steps: int = 512,
    seed: int = 0,
) -> list[AxisFeedback]:
    """Principal axes by rank, the axis that tells `positive` behind the instruction from
    `negative`, and a random one, of the residual stream behind a layer.

    A state is the mean over the tokens that lead to actions; labels are above or below the median.
    Outputs are, per action token, the mean, the spread and the entropy of its distribution. Edits
    add and take away the axis at the same tokens, of length `dose` times the mean length of a
    state, under the negative wording. Probes that judge edits are fitted on all unedited steps.
    """
    site = f"layers.{layer}.resid:out"
    told = Contrast(model, demos, positive=positive, negative=negative, n_steps=n_steps, seed=seed)
    picks, _ = draw_steps(demos, n_steps, seed)  # as Contrast draws them
    sides = [told.activations(side, site) for side in ("positive", "negative")]
    states = torch.cat(sides)
    clusters = np.concatenate([picks, picks])
    axes = [
        *principal_axes(states, ranks),
        logistic_axis(sides[0], sides[1], f"{positive} or {negative}"),
        random_axis(states, seed),
    ]
    natural = told.logits("negative")
    outputs = np.concatenate([summary(told.logits("positive")), summary(natural)])
    labels = [axis.labels(states).numpy() for axis in axes]
    probes = [Reporter.fit(outputs, chosen) for chosen in labels]
    size = dose * float(states.norm(dim=1).mean())
    found = []
    for k, axis in enumerate(axes):
        edits = [_edit(site, axis, sign * size) for sign in (1, -1)]
        steered = [told.logits("negative", edits=[edit]) for edit in edits]
        moved = [
            control_effect(
                p.report(summary(steered[0])),
                p.report(summary(steered[1])),
                p.report(summary(natural)),
            )
            for p in probes
        ]
        said = held_out_reports(outputs, labels[k], clusters) > 0
        found.append(
            AxisFeedback(
                axis,
                (said == labels[k]).astype(np.float64),
                clusters,
                moved[k],
                float(np.mean([abs(m) for j, m in enumerate(moved) if j != k])),
                float(np.mean([float(divergence(natural, s).mean()) for s in steered])),
                float(np.mean([np.abs(_means(s) - _means(natural)).mean() for s in steered])),
            )
        )
    return found


def summary(logits: torch.Tensor) -> np.ndarray:
    """float64 `[n, 3 K]` from action logits `[n, K, B]`: mean and spread, in bins of the range from
    -1 to 1, and entropy of each token's distribution. Where bins have no order (discrete actions)
    the first two are what a linear probe can still use."""
    chances = logits.double().softmax(-1)
    values = torch.linspace(-1, 1, logits.shape[-1], dtype=torch.float64)
    mean = (chances * values).sum(-1)
    spread = ((chances * values.square()).sum(-1) - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, spread, entropy(logits)], dim=1).numpy()


def _means(logits: torch.Tensor) -> np.ndarray:
    return summary(logits)[:, : logits.shape[1]]


def _edit(site: str, axis: Axis, size: float) -> Intervention:
    selector = Selector(token_groups=frozenset(GROUPS))
    return Intervention("add", site, size, direction=axis.direction.float(), selector=selector)
