"""Find an agent's named conditions: `python -m pilotage.scripts.make_conditions --agent FOLDER`.

For each concept (fast, slow) it makes a mean-difference vector per layer from train episodes, and a
set of the value vectors nearest to the concept's words; plays a grid of doses on val tasks; picks
the largest effect on speed that keeps success; and writes `conditions.json` and `vectors/` into the
agent's folder. The test split is never touched.
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

    doses: tuple[float, ...] = (0.75, 1.5, 2.5)
    token_groups: tuple[tuple[str, ...] | None, ...] = (("proprio", "action"), None)
    alphas: tuple[float, ...] = (3.0, 10.0, 20.0)
    n_neurons: int = 10
    vector_episodes: int = 48


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


def choose(
    results: dict[str, dict[str, float]], names: Sequence[str], prompt: str
) -> tuple[str, float]:
    """The candidate with the largest share of the prompt's effect (counted up to 1), less the share
    of the baseline's success that it loses; and its share."""
    base = results["baseline"]
    effect = results[prompt]["speed"] - base["speed"]

    def share(name: str) -> float:
        return (results[name]["speed"] - base["speed"]) / effect

    def score(name: str) -> float:
        lost = max(0.0, 1.0 - results[name]["success"] / max(base["success"], 1e-9))
        return min(share(name), 1.0) - lost

    best = max(names, key=score)
    return best, share(best)


def make_conditions(
    folder: Path, *, episodes: int, grid: Grid, measured: Path | None = None
) -> dict[str, Any]:
    """Search on val, write `conditions.json`; returns its table.

    measured: a JSON file for the grid's results; if it exists nothing is played again.
    """
    vla = load_vla(str(folder), "tabletop")
    specs: dict[str, tuple[str, list[dict]]] = {}
    for concept in PROMPTS:
        for name, spec in candidates(vla, concept, folder, grid).items():
            specs[f"{concept}: {name}"] = (concept, spec)
        for name, spec in clamp_candidates(vla, concept, grid).items():
            specs[f"{concept}-clamp: {name}"] = (f"{concept}-clamp", spec)
    if measured is not None and measured.is_file():
        results = json.loads(measured.read_text())
        missing = sorted(set(specs) - set(results))
        if missing:
            raise ValueError(f"{measured} lacks the candidates {missing[:3]}; measure again")
    else:
        results = play_grid(vla, specs, episodes)
    if measured is not None:
        measured.write_text(json.dumps(results, indent=1) + "\n")
    for name, row in results.items():
        print(f"{row['success']:.3f} {row['speed']:.4f}  {name}", file=sys.stderr)
    table: dict[str, Any] = {
        "_made_by": "python -m pilotage.scripts.make_conditions",
        "_val_episodes": episodes,
    }
    base = results["baseline"]["speed"]
    for concept, word in PROMPTS.items():
        scale = round(results[f"{concept}:prompt"]["speed"] / base, 2)
        for kind in (concept, f"{concept}-clamp"):
            names = [n for n, (k, _) in specs.items() if k == kind]
            best, share = choose(results, names, f"{concept}:prompt")
            table[kind] = {
                "interventions": specs[best][1],
                "prompt_suffix": word,
                "action_scale": scale,
                "_chosen": best,
                "_val_share_of_prompt_effect": round(share, 3),
                "_val_success": results[best]["success"],
            }
    _keep_only_used(folder, table)
    (folder / "conditions.json").write_text(json.dumps(table, indent=1) + "\n")
    return table


def play_grid(
    vla: Any, specs: dict[str, tuple[str, list[dict]]], episodes: int
) -> dict[str, dict[str, float]]:
    """Success and speed on plain val tasks: baseline, the prompts, and every candidate."""
    tasks = make_tasks(
        "tabletop", "val", episodes, seed=5, families=["reach", "push", "lift"], manners="none"
    )
    conditions = [BASELINE]
    conditions += [Condition(f"{c}:prompt", {"prompt_suffix": w}) for c, w in PROMPTS.items()]
    conditions += [Condition(n, {"interventions": spec}) for n, (_, spec) in specs.items()]
    envs = open_world("tabletop", 16, for_agent="nano")
    bar, move = progress_bar(len(tasks) * len(conditions), "grid on val", quiet=False)
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
    return measure(records)


def _keep_only_used(folder: Path, table: dict[str, Any]) -> None:
    entries = [e for e in table.values() if isinstance(e, dict)]
    used = {s["vector"]["file"] for e in entries for s in e["interventions"] if "vector" in s}
    for path in (folder / "vectors").glob("*.safetensors"):
        if f"vectors/{path.name}" not in used:
            path.unlink()


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--agent", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--measured", type=Path, help="JSON of the grid; read if it exists")
    args = parser.parse_args(argv)
    table = make_conditions(args.agent, episodes=args.episodes, grid=Grid(), measured=args.measured)
    print(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
