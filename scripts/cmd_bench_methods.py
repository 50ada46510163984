"""`pilotage bench methods`: every way to find a vector, at one layer, at one delivered norm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import vector_spec
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Condition
from pilotage.scripts.cmd_bench_steering import table
from pilotage.scripts.cmd_read import paired_sides
from pilotage.scripts.cmd_run import play
from pilotage.scripts.make_conditions import PROMPTS
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import write_rows
from pilotage.steering.methods import METHODS, shuffled
from pilotage.steering.vectors import SteeringVector, save_vector

SHUFFLED = "shuffled labels"
RANDOM = "random"


def methods(
    *,
    agent: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    concept: str,
    layer: int,
    dose: float,
    pairs: int,
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench methods --help`."""
    if concept not in PROMPTS:
        raise unknown("concept", concept, PROMPTS)
    vectors = fit_all(agent, concept, layer, pairs=pairs, seed=seed, quiet=quiet)
    coefficient = round(dose * vectors["mean-difference"].norm, 5)
    prompt = Condition(f"{concept}:prompt", {"prompt_suffix": PROMPTS[concept]})
    conditions = [BASELINE, prompt]
    folder = out.with_name(f"{out.name}-vectors")  # a run's folder holds its run only
    folder.mkdir(parents=True, exist_ok=True)
    for name, vector in vectors.items():
        # Named by digest: another run's vectors stay what they are.
        path = folder / f"{name.replace(' ', '-')}-{vector.digest[:8]}.safetensors"
        save_vector(vector, path)
        conditions.append(
            Condition(name, {"interventions": [vector_spec(vector, path.resolve(), coefficient)]})
        )
    random = {**conditions[2].spec, "random_matched_seed": seed}
    conditions.append(Condition(RANDOM, random))
    tasks = make_tasks("tabletop", split, episodes, seed=seed, families=families, manners="none")
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=tasks,
        conditions=conditions,
        out=out,
        n_slots=slots,
        seed=seed,
        frames="none",
        quiet=quiet,
    )
    rows = table(records, [c.name for c in conditions], prompt=prompt.name)
    for row in rows:
        found = vectors.get(row["condition"])
        row["cosine"] = "" if found is None else round(_cosine(found, vectors), 3)
    title = f"{concept} at layer {layer}, norm {coefficient:.3f}, {episodes} paired episodes"
    write_rows(rows, out, "methods", title, as_json=as_json)
    return rows


def fit_all(
    agent: str, concept: str, layer: int, *, pairs: int, seed: int, quiet: bool
) -> dict[str, SteeringVector]:
    """A vector of every method from the same pairs, and one of shuffled pairs."""
    found = paired_sides(
        agent=agent,
        env="tabletop",
        positive=PROMPTS[concept],
        negative="",
        layers=[layer],
        pairs=pairs,
        seed=seed,
        quiet=quiet,
    )
    vectors = {name: found.fit(fit, layer) for name, fit in METHODS.items()}
    mixed = shuffled(*found.sides[layer], seed)
    found.source["shuffled_labels"] = seed
    vectors[SHUFFLED] = found.fit(METHODS["mean-difference"], layer, mixed)
    return vectors


def _cosine(vector: SteeringVector, vectors: dict[str, SteeringVector]) -> float:
    return float(vector.direction @ vectors["mean-difference"].direction)
