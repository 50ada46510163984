"""`pilotage steer check`: is a condition's edit natural, or shrinking, or a few huge dimensions?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pilotage.agents.vla.checking import natural_and_edited
from pilotage.agents.vla.conditions import AgentCondition, parse_condition
from pilotage.episodes.tables import to_rich
from pilotage.scripts.cmd_read import expert_demos
from pilotage.scripts.opening import load_vla
from pilotage.steering.artefacts import model_digest
from pilotage.steering.diagnostics import MIN_READ, diagnose, neurons_outside, read_share
from pilotage.steering.interventions import Intervention
from pilotage.steering.sites import resolve


def check(
    *,
    agent: str,
    env: str,
    conditions: Sequence[str],
    episodes: int,
    steps: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer check --help`."""
    vla = load_vla(agent, env)
    decoder = vla.model.decoder
    digest = model_digest(decoder)
    resolved = [
        AgentCondition.resolve(parse_condition(name, vla.folder), decoder, vla.folder, digest)
        for name in conditions
    ]
    if idle := [c.name for c in resolved if not c.interventions]:
        raise ValueError(f"{', '.join(idle)}: no activations are edited, nothing to check")
    # Other episodes than a vector of the same seed was fitted to.
    if fed := [c.name for c in resolved if c.feedback is not None]:
        raise ValueError(
            f"{', '.join(fed)}: what a controller delivers depends on the episode; check a "
            "constant dose, such as fast@1.5"
        )
    demos = expert_demos(vla, env, episodes, seed=seed + 1, quiet=quiet)
    rows = []
    for condition in resolved:
        sides = natural_and_edited(
            vla.model, demos, condition.interventions, n_steps=steps, seed=seed
        )
        for site, (natural, edited) in sides.items():
            here = [i for i in condition.interventions if i.site == site]
            try:
                diagnosis = diagnose(natural, edited)
            except ValueError as error:
                raise ValueError(f"{condition.name} at {site}: {error}") from error
            flags = diagnosis.flags() + _own_flags(here, natural, decoder)
            numbers = {
                k: round(v, 3) if isinstance(v, float) else v
                for k, v in diagnosis.to_json().items()
                if k != "flags"
            }
            rows.append(
                {
                    "condition": condition.name,
                    "site": site,
                    **numbers,
                    "flags": "; ".join(flags) or "none",
                }
            )
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        from rich.console import Console

        title = f"{vla.agent_id}: edits at {steps} natural env steps"
        Console(width=200).print(to_rich(rows, title=title))
    return rows


def _own_flags(here: Sequence[Intervention], natural: Any, decoder: Any) -> list[str]:
    """What is particular to clamps and to directions in front of a linear map."""
    found = []
    for edit in here:
        if edit.kind == "clamp" and edit.neurons is not None:
            beyond = neurons_outside(natural, edit.neurons.tolist(), edit.coefficient)
            if beyond > 0:
                found.append(
                    f"for {beyond:.0%} of the clamped neurons {edit.coefficient} is outside the "
                    "central 99% of what they do"
                )
        site = resolve(decoder, edit.site)
        if edit.direction is not None and site.site.is_input:
            share = read_share(edit.direction, site.weight)
            if share < MIN_READ:
                found.append(f"only {share:.0%} of the direction is read by the next map")
    return found
