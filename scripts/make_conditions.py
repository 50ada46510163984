"""Find an agent's named conditions: `python -m pilotage.scripts.make_conditions --agent FOLDER`.

For each concept (fast, slow) it makes a mean-difference vector per layer from train episodes, and a
set of the value vectors nearest to the concept's words; plays a grid of doses on val tasks; plays
the best few again on other val tasks, so that luck in the grid does not choose; picks the largest
effect on speed that keeps success; and writes `conditions.json` and `vectors/` into the agent's
folder. The test split is never touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.files import write_atomically
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.types import BASELINE, Condition, EpisodeRecord
from pilotage.scripts.cmd_read import concept_ids, mean_difference_vectors
from pilotage.scripts.opening import load_vla, make_tasks, open_world, progress_bar
from pilotage.steering.projection import search
from pilotage.steering.vectors import save_vector

PROMPTS = {"fast": "quickly", "slow": "slowly"}


@dataclass(frozen=True)
class Grid:
    """What is tried. Doses are multiples of a vector's natural norm; alphas are activations."""

    doses: tuple[float, ...] = (1.0, 1.75)
    token_groups: tuple[tuple[str, ...] | None, ...] = (("proprio", "action"), None)
    alphas: tuple[float, ...] = (3.0, 10.0, 20.0)
    n_neurons: int = 10
    vector_episodes: int = 48
    n_finalists: int = 3  # of a kind, played again on `final_factor` times as many tasks
    final_factor: int = 2
    families: tuple[str, ...] = ()  # of the val tasks; none: all


def candidates(vla: Any, concept: str, folder: Path, grid: Grid) -> dict[str, list[dict]]:
    """Intervention specs by candidate name; vectors are written to `folder/vectors`."""
    layers = list(range(vla.config.n_layers))
    vectors = mean_difference_vectors(
        agent=str(folder),
        env=vla.config.world,
        positive=PROMPTS[concept],
        negative="",
        layers=layers,
        episodes=grid.vector_episodes,
    )
    (folder / "vectors").mkdir(exist_ok=True)
    found: dict[str, list[dict]] = {}
    for layer, vector in vectors.items():
        name = f"vectors/{concept}-layer{layer}.safetensors"
        save_vector(vector, folder / name)
        for groups in grid.token_groups:
            for dose in grid.doses:
                spec: dict[str, Any] = {
                    "kind": "add",
                    "site": vector.site,
                    "coefficient": round(dose * vector.norm, 5),
                    "vector": {"file": name, "digest": vector.digest},
                }
                if groups is not None:
                    spec["selector"] = {"token_groups": list(groups)}
                found[f"add layer {layer} {'all' if groups is None else 'act'} x{dose}"] = [spec]
    return found


def clamp_candidates(vla: Any, concept: str, grid: Grid) -> dict[str, list[dict]]:
    """Clamps of the value vectors nearest to the concept's words (arXiv:2509.00328)."""
    ids = concept_ids(vla.model.tokenizer, concept)
    hits = search(vla.model.decoder, ids, by="cosine", limit=grid.n_neurons)
    by_layer: dict[int, list[int]] = {}
    for hit in hits:
        by_layer.setdefault(hit.layer, []).append(hit.neuron)
    return {
        f"clamp {len(hits)} neurons to {alpha}": [
            {
                "kind": "clamp",
                "site": f"layers.{layer}.mlp.down_proj:in",
                "coefficient": alpha,
                "neurons": sorted(neurons),
            }
            for layer, neurons in sorted(by_layer.items())
        ]
        for alpha in grid.alphas
    }


def measure(records: Sequence[EpisodeRecord]) -> dict[str, dict[str, float]]:
    """Per condition: success rate and mean speed (m/s) over episodes without errors."""
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(r.condition for r in records):
        scored = [r for r in records if r.condition == name and not r.end.is_error]
        speeds = [episode_metrics(r)["mean_speed"] for r in scored]
        out[name] = {
            "success": float(np.mean([r.success for r in scored])),
            "speed": float(np.nanmean(speeds)),
        }
    return out


def score(results: dict[str, dict[str, float]], name: str, prompt: str) -> float:
    """The share of the prompt's effect (counted up to 1), less the share of the baseline's success
    that is lost."""
    base = results["baseline"]
    lost = max(0.0, 1.0 - results[name]["success"] / max(base["success"], 1e-9))
    return min(share(results, name, prompt), 1.0) - lost


def share(results: dict[str, dict[str, float]], name: str, prompt: str) -> float:
    """The part of the prompt's effect on mean speed that a candidate reaches."""
    base = results["baseline"]["speed"]
    return (results[name]["speed"] - base) / (results[prompt]["speed"] - base)


def make_conditions(
    folder: Path, *, concepts: Sequence[str], episodes: int, grid: Grid
) -> dict[str, Any]:
    """Search on val and write `conditions.json`, where other concepts stay; returns its table."""
    vla = load_vla(str(folder), "tabletop")
    found: dict[str, dict[str, Any]] = {}
    for concept in concepts:
        found |= _search(vla, concept, folder, episodes, grid)
    path = folder / "conditions.json"
    table: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    table |= {"_made_by": "python -m pilotage.scripts.make_conditions", **found}
    write_atomically(path, (json.dumps(table, indent=1) + "\n").encode())
    _keep_only_used(folder, table, concepts)
    return table


def _search(
    vla: Any, concept: str, folder: Path, episodes: int, grid: Grid
) -> dict[str, dict[str, Any]]:
    """The entries of a concept: its best vector and its best clamp."""
    kinds = {
        concept: candidates(vla, concept, folder, grid),
        f"{concept}-clamp": clamp_candidates(vla, concept, grid),
    }
    prompt = f"{concept}:prompt"
    specs = {f"{k}: {name}": spec for k, group in kinds.items() for name, spec in group.items()}
    first = play_grid(vla, concept, specs, families=grid.families, n=episodes, seed=5)
    best: dict[str, list[str]] = {}
    for kind in kinds:
        names = [name for name in specs if name.startswith(f"{kind}: ")]
        names.sort(key=lambda name: score(first, name, prompt), reverse=True)
        best[kind] = names[: grid.n_finalists]
    finalists = {name: specs[name] for names in best.values() for name in names}
    n_final = episodes * grid.final_factor
    final = play_grid(vla, concept, finalists, families=grid.families, n=n_final, seed=6)
    entries = {}
    for kind, names in best.items():
        chosen = max(names, key=lambda name: score(final, name, prompt))
        entries[kind] = {
            "interventions": specs[chosen],
            "prompt_suffix": PROMPTS[concept],
            "action_scale": round(final[prompt]["speed"] / final["baseline"]["speed"], 2),
            # Which way the speed goes as the dose grows, for `:hold-SPEED`.
            "feedback": {"sign": 1 if final[chosen]["speed"] >= final["baseline"]["speed"] else -1},
            "_chosen": chosen,
            "_val_episodes": n_final,
            "_val_families": list(grid.families),
            "_val_share_of_prompt_effect": round(share(final, chosen, prompt), 3),
            "_val_success": round(final[chosen]["success"], 3),
            "_val_success_of_baseline": round(final["baseline"]["success"], 3),
        }
    return entries


def play_grid(
    vla: Any,
    concept: str,
    specs: dict[str, list[dict]],
    *,
    families: Sequence[str],
    n: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Success and speed on plain val tasks: baseline, the prompt, and every candidate."""
    tasks = make_tasks("tabletop", "val", n, seed=seed, families=families or None, manners="none")
    conditions = [BASELINE, Condition(f"{concept}:prompt", {"prompt_suffix": PROMPTS[concept]})]
    conditions += [Condition(name, {"interventions": spec}) for name, spec in specs.items()]
    envs = open_world("tabletop", 16, for_agent="nano")
    bar, move = progress_bar(len(tasks) * len(conditions), f"{concept} on val", quiet=False)
    with bar:
        records = run_episodes(
            envs,
            vla,
            tasks,
            conditions,
            frames="none",
            keep_frames=False,
            progress=lambda p: move(p.n_played),
        )
    envs.close()
    results = measure(records)
    for name, row in results.items():
        print(f"{row['success']:.3f} {row['speed']:.4f}  {name}", file=sys.stderr)
    return results


def _keep_only_used(folder: Path, table: dict[str, Any], concepts: Sequence[str]) -> None:
    """Deletes the vectors of `concepts` that no condition uses."""
    entries = [e for e in table.values() if isinstance(e, dict)]
    used = {s["vector"]["file"] for e in entries for s in e["interventions"] if "vector" in s}
    for concept in concepts:
        for path in (folder / "vectors").glob(f"{concept}-layer*.safetensors"):
            if f"vectors/{path.name}" not in used:
                path.unlink()


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--agent", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--concept", choices=PROMPTS, action="append", help="default: all")
    parser.add_argument("--episodes", type=int, default=15, help="val tasks of the grid")
    parser.add_argument("--family", action="append", help="of the val tasks; default: all")
    args = parser.parse_args(argv)
    concepts = args.concept or list(PROMPTS)
    grid = Grid(families=tuple(args.family or ()))
    table = make_conditions(args.agent, concepts=concepts, episodes=args.episodes, grid=grid)
    print(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
