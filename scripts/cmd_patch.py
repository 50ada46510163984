"""`pilotage steer patch`: through which layers and tokens a word reaches the actions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pilotage.agents.vla.tracing import GROUPS, PLACES, trace_word
from pilotage.episodes.tables import to_rich
from pilotage.scripts.cmd_read import expert_demos
from pilotage.scripts.opening import load_vla


def patch(
    *,
    agent: str,
    positive: str,
    negative: str,
    episodes: int,
    steps: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer patch --help`."""
    vla = load_vla(agent, "tabletop")
    demos = expert_demos(vla, "tabletop", episodes, seed=seed, quiet=quiet)
    traced = trace_word(
        vla.model, demos, positive=positive, negative=negative, n_steps=steps, seed=seed
    )
    estimates = {(e.site, e.group): e.share for e in traced.estimated}
    rows = [
        {
            "site": e.site,
            "tokens": e.group,
            "share": round(e.share, 4),
            "low": round(e.low, 4),
            "high": round(e.high, 4),
            "estimate": round(estimates[e.site, e.group], 4),
        }
        for e in traced.patched
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return rows
    from rich.console import Console

    console = Console(width=150)
    title = (
        f"{vla.agent_id}: expected length {traced.negative:.3f} ({negative!r}) to "
        f"{traced.positive:.3f} ({positive!r}); share of it that a patch carries over"
    )
    console.print(to_rich(_grid(rows), title=title))
    # Where nothing can pass (the last block's images, say) both are zero, which proves nothing.
    real = np.array([e.share for e in traced.patched if abs(e.share) > 1e-5])
    guess = np.array([estimates[e.site, e.group] for e in traced.patched if abs(e.share) > 1e-5])
    agreement = float(np.corrcoef(real, guess)[0, 1])
    console.print(
        f"correlation of the gradient estimate with real patches: {agreement:.3f} over {len(real)} "
        f"sites and token groups with an effect, {steps} env steps"
    )
    return rows


def _grid(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a site, from the top of the decoder down; token groups as columns."""
    shares = {(r["site"], r["tokens"]): r for r in rows}
    sites = list(dict.fromkeys(r["site"] for r in rows))
    n_layers = len(sites) // len(PLACES)
    grid = []
    for layer in reversed(range(n_layers)):
        for place in PLACES:
            site = f"layers.{layer}.{place}"
            cells: dict[str, Any] = {"site": site}
            for group in GROUPS:
                r = shares[site, group]
                cells[group] = f"{r['share']:+.3f} ({r['low']:+.3f}, {r['high']:+.3f})"
            grid.append(cells)
    return grid
