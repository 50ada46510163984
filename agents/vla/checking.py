"""What a condition does to the activations that it edits: natural against edited, per site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pilotage.agents.vla.activations import begin_window, draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.steering.captures import capture
from pilotage.steering.interventions import Intervention
from pilotage.steering.steerer import Steerer
from pilotage.steering.tokens import PAD, group_id

CHUNK = 64  # env steps of one forward


@torch.inference_mode()
def natural_and_edited(
    model: VLAModel,
    demos: Sequence[Demo],
    interventions: Sequence[Intervention],
    *,
    n_steps: int = 256,
    seed: int = 0,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """By site, the vectors `[n, d]` of the tokens that the interventions there select, without and
    with those, at env steps drawn from the demos. Interventions at other sites are in place on both
    sides, so that what differs is the edit at the site itself.

    One masked forward an env step, in which all tokens count as prefill and as env step 0, without
    the last action token (nothing follows it). Raises ValueError for interventions that select
    none of them.
    """
    picks, steps = draw_steps(demos, n_steps, seed)
    sites = list(dict.fromkeys(i.site for i in interventions))
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for site in sites:
        here = [i for i in interventions if i.site == site]
        sides = []
        for steered in (False, True):
            edits = [i for i in interventions if steered or i.site != site]
            sides.append(_at(model, demos, picks, steps, site, here, edits))
        found[site] = (sides[0], sides[1])
    return found


def _at(
    model: VLAModel,
    demos: Sequence[Demo],
    picks: np.ndarray,
    steps: Sequence[int],
    site: str,
    here: Sequence[Intervention],
    edits: Sequence[Intervention],
) -> torch.Tensor:
    """Vectors at a site of the tokens that `here` selects, under `edits`."""
    decoder = model.decoder
    with Steerer(decoder, n_rows=CHUNK) as steerer:
        for row in range(CHUNK):
            steerer.set_row(row, edits)
        with capture(decoder, [site]) as seen:  # hooks behind those of the edits: it sees them
            for first in range(0, len(picks), CHUNK):
                chunk = slice(first, first + CHUNK)
                chosen = [demos[i] for i in picks[chunk]]
                window = single_step_window(model, chosen, steps[chunk], "")
                groups = model.token_groups(window)
                seen.select(_selected(groups, here))
                begin_window(steerer, groups)
                model(window)
            return seen.activations(site)


def _selected(groups: torch.Tensor, here: Sequence[Intervention]) -> torch.Tensor:
    """bool `[R, S]`: the tokens that some intervention edits in such a forward."""
    chosen = torch.zeros_like(groups, dtype=torch.bool)
    for intervention in here:
        s = intervention.selector
        if s.decode_tokens is not None or s.denoise_steps is not None:
            continue
        if any(span is not None and span[0] > 0 for span in (s.env_steps, s.replans)):
            continue
        if s.phases is not None and "prefill" not in s.phases:
            continue
        if s.token_groups is None:
            chosen |= groups != PAD
        else:
            kinds = torch.tensor([group_id(g) for g in s.token_groups], dtype=groups.dtype)
            chosen |= torch.isin(groups, kinds)
    chosen[:, -1] = False
    if not chosen.any():
        raise ValueError(
            f"the interventions at {here[0].site} select no token of a prefill at env step 0; "
            "only edits that act there can be checked"
        )
    return chosen
