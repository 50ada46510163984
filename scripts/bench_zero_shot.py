"""Do the *pretrained* value vectors of a word steer an agent that never saw the word in training?

    python -m pilotage.scripts.bench_zero_shot [--agent smol] [--episodes 24] [--out runs/zero-shot]

The agent's demonstrations leave out some words of manner (`training.options.without_words` in its
agent.json). For each concept the value vectors nearest to its words are looked up in the language
model *as it was before* action training, and clamped in the agent (arXiv:2509.00328) at multiples
of the largest value that those neurons naturally take. Beside them: the same words as a prompt, as
many other neurons of the same layers at the same delivered norm, and actions scaled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.checking import natural_and_edited
from pilotage.agents.vla.model import VLAModel
from pilotage.episodes.types import BASELINE, Condition, EpisodeRecord
from pilotage.scripts.cmd_bench_steering import table
from pilotage.scripts.cmd_read import concept_ids, expert_demos
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import load_vla, make_tasks
from pilotage.scripts.tabulate import write_rows
from pilotage.steering.interventions import Intervention
from pilotage.steering.projection import Hit, search

# The words of a concept as a prompt; an agent may or may not have been trained with them.
PROMPTS = {"slow": "slowly", "fast": "quickly", "gentle": "carefully"}
CONCEPTS = (*PROMPTS, "up")
QUANTILE = 0.999  # of what neurons do naturally, for "the largest value"
NATURAL_STEPS = 64
ACTION_SCALE = {"slow": 0.4, "fast": 2.0}


def pretrained_hits(model: VLAModel, concept: str, limit: int) -> list[Hit]:
    """The value vectors nearest to a concept, in the language model without its action training."""
    before = VLAModel(model.config).eval().requires_grad_(False)
    return search(before.decoder, concept_ids(before.tokenizer, concept), by="cosine", limit=limit)


def clamps(hits: Sequence[Hit], value: float) -> list[dict[str, Any]]:
    """Specs that clamp the neurons to a value, one a layer."""
    layers = sorted({h.layer for h in hits})
    return [
        {
            "kind": "clamp",
            "site": f"layers.{layer}.mlp.down_proj:in",
            "coefficient": round(value, 5),
            "neurons": sorted(h.neuron for h in hits if h.layer == layer),
        }
        for layer in layers
    ]


def natural_value(model: VLAModel, demos: Sequence[Any], hits: Sequence[Hit], seed: int) -> float:
    """The `QUANTILE` of what the neurons do at train steps, in size; the mean over layers."""
    edits = [Intervention.from_spec(spec) for spec in clamps(hits, 0.0)]
    sides = natural_and_edited(model, demos, edits, n_steps=NATURAL_STEPS, seed=seed)
    largest = [
        float(sides[edit.site][0][:, edit.neurons].abs().flatten().quantile(QUANTILE))
        for edit in edits
    ]
    return float(np.mean(largest))


def conditions_of(
    model: VLAModel, demos: Sequence[Any], concepts: Sequence[str], args: argparse.Namespace
) -> list[Condition]:
    """The baseline, and for each concept its prompt, clamps, controls and scaled actions."""
    found = [BASELINE]
    for concept in concepts:
        if concept in PROMPTS:
            found.append(Condition(f"{concept}:prompt", {"prompt_suffix": PROMPTS[concept]}))
        if concept in ACTION_SCALE:
            found.append(
                Condition(f"{concept}:action-scale", {"action_scale": ACTION_SCALE[concept]})
            )
        hits = pretrained_hits(model, concept, args.neurons)
        natural = natural_value(model, demos, hits, args.seed)
        told = f"{concept}: layers {sorted(h.layer for h in hits)}, natural value {natural:.3f}"
        print(told, file=sys.stderr)
        for dose in args.doses:
            spec: dict[str, Any] = {"interventions": clamps(hits, dose * natural)}
            found.append(Condition(f"{concept}-clamp@{dose:g}", spec))
        control = {**spec, "random_matched_seed": args.seed}
        found.append(Condition(f"{concept}-clamp@{args.doses[-1]:g}:random-matched", control))
    return found


def heights(records: Sequence[EpisodeRecord], name: str) -> float:
    """Mean height of the hand, in metres, over a condition's episodes."""
    own = [r for r in records if r.condition == name and not r.end.is_error]
    return float(np.mean([np.mean(r.trace["ee_position"][:, 2]) for r in own]))


def main(argv: list[str] | None = None) -> int:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", default="smol", help="a VLA with a pretrained decoder")
    parser.add_argument("--families", default="reach")
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--split", default="test")
    parser.add_argument("--concepts", default=",".join(CONCEPTS))
    parser.add_argument("--doses", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--neurons", type=int, default=10, help="value vectors of a concept")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/zero-shot"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    concepts = [c for c in args.concepts.split(",") if c]
    vla = load_vla(args.agent, "tabletop")
    if not vla.config.language:
        parser.error(f"{args.agent} was not pretrained, so no word is new to it; give smol")
    families = args.families.split(",")
    demos = expert_demos(vla, "tabletop", 8, seed=args.seed, quiet=True, families=families)
    with torch.inference_mode():
        conditions = conditions_of(vla.model, demos, concepts, args)
    tasks = make_tasks(
        "tabletop", args.split, args.episodes, seed=args.seed, families=families, manners="none"
    )
    records, _ = play(
        env="tabletop",
        agent=args.agent,
        tasks=tasks,
        conditions=conditions,
        out=args.out,
        n_slots=args.slots,
        seed=args.seed,
        frames="none",
    )
    rows = table(records, [c.name for c in conditions])
    for row in rows:
        row["height_m"] = round(heights(records, row["condition"]), 4)
    write_rows(rows, args.out, "zero-shot", "words never trained", as_json=args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
