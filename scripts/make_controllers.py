"""Make a concept's controllers: `python -m pilotage.scripts.make_controllers --agent FOLDER`.

For `fast:lqr-0.30` the response of the hand's speed to the dose and to the scale of the actions is
identified from train episodes whose multipliers excite. For `fast:guarded` a success probe is
fitted to train episodes under doses that help and that hurt, and its layer and threshold are chosen
on val. `fast-guided` is a condition of its own: vectors of later layers, and a network that was
trained to open while the hand is far from the object. Everything goes into the agent's folder, in
`conditions.json` and `vectors/`. The test split is never touched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import load_table
from pilotage.episodes.files import write_atomically
from pilotage.episodes.names import unknown
from pilotage.scripts.cmd_read import mean_difference_vectors
from pilotage.scripts.controller_fits import (
    accuracy_of,
    fit_guard,
    guide_labels,
    response_of,
)
from pilotage.scripts.controller_plays import (
    ACTIONS,
    EDIT,
    Plays,
    record_outcomes,
    record_responses,
)
from pilotage.scripts.make_conditions import PROMPTS
from pilotage.scripts.opening import agent_folder, load_vla
from pilotage.steering.artefacts import model_digest
from pilotage.steering.guides import fit_guide
from pilotage.steering.responses import Response

PARTS = ("response", "guard", "guide")
GUIDED_LAYERS = (1, 2)
READS = "layers.1.resid:in"
RECORDED_AS = "layers.0.resid:out"  # the same vectors: what block 0 leaves
GUIDE_DOSE = 1.75  # of the vectors' natural norms where the gate is open, as for plain additions


def make_controllers(
    agent: str,
    *,
    concept: str,
    parts: Sequence[str],
    plays: Plays,
    out: Path,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    """Play, fit, and write into the agent's folder; returns the entries that were written."""
    folder = agent_folder(agent, "tabletop")
    table = load_table(folder)
    if concept not in table:
        raise unknown("concept", concept, table)
    changed: dict[str, Any] = {}
    if "response" in parts:
        records = record_responses(agent, concept, plays, out=out, seed=seed, quiet=quiet)
        changed["lqr"] = _lqr_entry(response_of(records, EDIT), {})
        scaled = {"low": 0.1, "high": 5.0, "start": 1.0}
        changed["lqr_actions"] = _lqr_entry(response_of(records, ACTIONS), scaled)
    vla = load_vla(agent, "tabletop")
    layers = range(vla.config.n_layers)
    sites = [f"layers.{layer}.resid:out" for layer in layers]
    splits = {
        split: record_outcomes(
            agent, concept, split, plays, sites=sites, out=out, seed=seed, quiet=quiet
        )
        for split in (("train", "val") if set(parts) - {"response"} else ())
    }
    digest = model_digest(vla.model.decoder)
    source = {"agent": vla.agent_id, "env": "tabletop", "split": "train", "seed": seed}
    (folder / "vectors").mkdir(exist_ok=True)
    if "guard" in parts:
        made = fit_guard(splits["train"], splits["val"], sites, model_digest=digest, source=source)
        name = f"vectors/{concept}-success.safetensors"
        made.guard.probe.save(folder / name)
        spec = {**asdict(made.guard), **made.report}
        spec["probe"] = {"file": name, "digest": made.guard.probe.digest}
        changed["guard"] = spec
    added: dict[str, Any] = {}
    if "guide" in parts:
        added[f"{concept}-guided"] = _guided_entry(
            agent, concept, folder, splits, source, table[concept], seed
        )
    _update(folder / "conditions.json", concept, changed, added)
    return {concept: changed, **added}


def _lqr_entry(response: Response, bounds: dict[str, float]) -> dict[str, Any]:
    """The fields of an `LqrSetpoint` that an entry holds; what was fitted beside them."""
    fit = {"a": response.a, "b": response.b, "c": response.c}
    told = {
        "_n_steps": response.n_steps,
        "_residual_m_s": round(response.residual, 4),
        "_r_squared": round(response.r_squared, 3),
    }
    return {**{name: round(value, 5) for name, value in fit.items()}, **bounds, **told}


def _guided_entry(
    agent: str,
    concept: str,
    folder: Path,
    splits: dict[str, Any],
    source: dict[str, Any],
    plain: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    vectors = mean_difference_vectors(
        agent=agent,
        env="tabletop",
        positive=PROMPTS[concept],
        negative="",
        layers=list(GUIDED_LAYERS),
        episodes=24,
        pairs=256,
        seed=seed,
    )
    states, wanted = guide_labels(splits["train"], RECORDED_AS)
    guide = fit_guide(
        [vectors[layer] for layer in GUIDED_LAYERS],
        states,
        wanted,
        reads=READS,
        source={**source, "wanted": "hand farther than 0.10 m from the object"},
    )
    name = f"vectors/{concept}-guide.safetensors"
    guide.save(folder / name)
    reference = {"file": name, "digest": guide.digest}
    edits = guide.interventions(GUIDE_DOSE / 0.5)  # a layer's weight is 1/2 where it is open
    return {
        "interventions": [
            {
                "kind": "guided",
                "site": edit.site,
                "coefficient": round(edit.coefficient, 5),
                "guide": reference,
                "selector": {"token_groups": ["proprio", "action"]},
            }
            for edit in edits
        ],
        "prompt_suffix": plain["prompt_suffix"],
        "action_scale": plain["action_scale"],
        "_accuracy_on_train": round(accuracy_of(guide, states, wanted), 3),
        "_accuracy_on_val": round(accuracy_of(guide, *guide_labels(splits["val"], RECORDED_AS)), 3),
        "_wanted_share": round(float(wanted.mean()), 3),
    }


def _update(path: Path, concept: str, changed: dict[str, Any], added: dict[str, Any]) -> None:
    """Put fields into a concept's entry, and entries into the table; the rest stays."""
    table: dict[str, Any] = json.loads(path.read_text())
    table[concept] |= changed
    table |= added
    write_atomically(path, (json.dumps(table, indent=1) + "\n").encode())


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--agent", required=True, help="a shipped name, or a checkpoint folder")
    parser.add_argument("--concept", choices=PROMPTS, default="fast")
    parser.add_argument("--only", choices=PARTS, action="append", help="repeatable; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/controllers"), help="resumed")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args(argv)
    made = make_controllers(
        args.agent,
        concept=args.concept,
        parts=args.only or PARTS,
        plays=Plays(),
        out=args.out,
        seed=args.seed,
        quiet=args.quiet,
    )
    print(json.dumps(made, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
