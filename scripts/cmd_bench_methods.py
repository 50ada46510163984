"""`pilotage bench methods`: every way to find a steering edit, at one layer and one delivered norm.

Vectors are added with one coefficient. A map moves each token by another amount: its coefficient is
chosen so that the mean over acting tokens of train episodes is the same. Beside what is played, the
table says what the edit does to the action tokens at train steps: `kl` from the unsteered
distribution and `entropy`, the steered one's less the unsteered one's, both in nats a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import AgentCondition, vector_spec
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Condition
from pilotage.scripts.cmd_bench_steering import table
from pilotage.scripts.cmd_read import PairedSides, paired_sides
from pilotage.scripts.cmd_run import play
from pilotage.scripts.make_conditions import PROMPTS
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import write_rows
from pilotage.scripts.vector_methods import MAPS, NAMES, Fitting, check_method
from pilotage.steering.maps import AffineMap, Artefact, save_map
from pilotage.steering.vectors import SteeringVector, save_vector

REFERENCE = "mean-difference"
EFFECT_STEPS = 64
# A control of one of a kind stands for all of it.
SHUFFLED = {REFERENCE: "shuffled labels", "ot-sorted": "ot-sorted shuffled"}
SHUFFLED |= {name: f"{name} shuffled" for name in ("snmf", "east")}


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
    names: Sequence[str],
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench methods --help`."""
    if concept not in PROMPTS:
        raise unknown("concept", concept, PROMPTS)
    for name in names:
        check_method(name)
    chosen = list(dict.fromkeys((REFERENCE, *(names or NAMES))))
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
    edits = fit_all(found, layer, chosen, seed)
    norm = round(dose * edits[REFERENCE].norm, 5)
    prompt = Condition(f"{concept}:prompt", {"prompt_suffix": PROMPTS[concept]})
    folder = out.with_name(f"{out.name}-vectors")  # a run's folder holds its run only
    steered = _conditions(Fitting(found, layer), edits, norm, folder, seed)
    conditions = [BASELINE, prompt, *steered]
    effects = _effects(Fitting(found, layer), steered)
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
        made = edits.get(row["condition"])
        is_vector = isinstance(made, SteeringVector)
        row["cosine"] = round(_cosine(made, edits[REFERENCE]), 3) if is_vector else ""
        row |= effects.get(row["condition"], {"kl": "", "entropy": ""})
    title = f"{concept} at layer {layer}, norm {norm:.3f}, {episodes} paired episodes"
    write_rows(rows, out, "methods", title, as_json=as_json)
    return rows


def fit_all(found: PairedSides, layer: int, names: Sequence[str], seed: int) -> dict[str, Artefact]:
    """The edit of every method from the same pairs, and of shuffled labels behind them."""
    real, mixed = Fitting(found, layer), Fitting(found, layer, mix=seed)
    edits = {name: real.fit(name) for name in names}
    return edits | {SHUFFLED[name]: mixed.fit(name) for name in names if name in SHUFFLED}


def _conditions(
    fitting: Fitting, edits: dict[str, Artefact], norm: float, folder: Path, seed: int
) -> list[Condition]:
    """Every edit at one norm, and random controls of the reference and of a map."""
    folder.mkdir(parents=True, exist_ok=True)
    conditions = []
    for name, made in edits.items():
        # Named by digest: another run's vectors stay what they are.
        path = folder / f"{name.replace(' ', '-')}-{made.digest[:8]}.safetensors"
        if isinstance(made, AffineMap):
            save_map(made, path)
        else:
            save_vector(made, path)
        coefficient = round(norm / fitting.mean_move(made), 5)
        spec = {"interventions": [vector_spec(made, path.resolve(), coefficient)]}
        conditions.append(Condition(name, spec))
    by_name = {c.name: c.spec for c in conditions}
    controls = {"random": REFERENCE, "random map": next((m for m in MAPS if m in edits), None)}
    return conditions + [
        Condition(name, {**by_name[target], "random_matched_seed": seed})
        for name, target in controls.items()
        if target is not None
    ]


def _effects(fitting: Fitting, conditions: Sequence[Condition]) -> dict[str, dict[str, float]]:
    """What every condition does to the action tokens at train steps."""
    decoder, digest = fitting.found.vla.model.decoder, fitting.found.model_digest
    effects = {}
    for condition in conditions:
        edits = AgentCondition.resolve(condition, decoder, None, digest).interventions
        effect = fitting.contrast.effect(edits, min(EFFECT_STEPS, len(fitting.contrast)))
        effects[condition.name] = {
            "kl": round(effect.divergence, 3),
            "entropy": round(effect.entropy, 3),
        }
    return effects


def _cosine(made: Any, reference: Any) -> float:
    return float(made.direction @ reference.direction)
