"""`pilotage bench methods`: every way to find a steering edit, at one layer and one delivered norm.

Vectors are added with one coefficient. A map moves each token by another amount: its coefficient is
chosen so that the mean over acting tokens of train episodes is the same; so is that of a turn. With
`--equal kl` all move the action tokens of train steps equally far instead, or as far as they can.
Beside what is played, the table says what the edit does to the action tokens at train steps: `kl`
from the unsteered distribution and `entropy`, the steered one's less the unsteered one's, both in
nats a token.

VISTA's other half, the mix of logits, is a row of its own: it has no norm at the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import AgentCondition, vector_spec, whole_coefficient
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Condition
from pilotage.scripts.cmd_bench_steering import table
from pilotage.scripts.cmd_read import PairedSides, paired_sides
from pilotage.scripts.cmd_run import play
from pilotage.scripts.doses import (
    EFFECT_STEPS,
    calibrated,
    calibrated_control,
    calibrated_mix,
    check_measure,
    edit_of,
)
from pilotage.scripts.make_conditions import PROMPTS
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.rollouts import Rolling
from pilotage.scripts.tabulate import write_rows
from pilotage.scripts.vector_methods import MAPS, NAMES, Fitting, check_method
from pilotage.steering.logit_mix import LogitMix, late_window
from pilotage.steering.maps import AffineMap, Artefact, save_map
from pilotage.steering.vectors import SteeringVector, save_vector

REFERENCE = "mean-difference"
# A control of one of a kind stands for all of it.
SHUFFLED = {REFERENCE: "shuffled labels", "ot-sorted": "ot-sorted shuffled"}
SHUFFLED |= {name: f"{name} shuffled" for name in ("snmf", "east", "vista", "efficiency")}


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
    equal: str = "norm",
    kl: float | None = None,
    rolling: Rolling | None = None,
) -> list[dict[str, Any]]:
    """See `pilotage bench methods --help`."""
    check_measure(equal)
    if kl is not None and equal != "kl":
        raise ValueError(f"--kl {kl} is a dose of --equal kl; the norm is set by --dose")
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
    found.rolling = rolling or found.rolling
    edits = fit_all(found, layer, chosen, seed)
    norm = round(dose * edits[REFERENCE].norm, 5)
    prompt = Condition(f"{concept}:prompt", {"prompt_suffix": PROMPTS[concept]})
    folder = out.with_name(f"{out.name}-vectors")  # a run's folder holds its run only
    fitting = Fitting(found, layer)
    target = _target(fitting, edits[REFERENCE], norm, kl) if equal == "kl" else None
    steered = _conditions(fitting, edits, norm, target, folder, seed)
    conditions = [BASELINE, prompt, *steered]
    effects = _effects(fitting, steered)
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
    played_at = f"norm {norm:.3f}" if target is None else f"KL {target:.3f} a token"
    title = f"{concept} at layer {layer}, {played_at}, {episodes} paired episodes"
    write_rows(rows, out, "methods", title, as_json=as_json)
    return rows


def fit_all(found: PairedSides, layer: int, names: Sequence[str], seed: int) -> dict[str, Artefact]:
    """The edit of every method from the same pairs, and of shuffled labels behind them."""
    real, mixed = Fitting(found, layer), Fitting(found, layer, mix=seed)
    edits = {name: real.fit(name) for name in names}
    return edits | {SHUFFLED[name]: mixed.fit(name) for name in names if name in SHUFFLED}


def _target(fitting: Fitting, reference: Artefact, norm: float, kl: float | None) -> float:
    """The KL that all are played at: what was asked for, or what the reference has at its norm."""
    if kl is not None:
        return kl
    edit = edit_of(reference).with_coefficient(norm)
    contrast = fitting.contrast
    return contrast.effect([edit], min(EFFECT_STEPS, len(contrast))).divergence


def _conditions(
    fitting: Fitting,
    edits: dict[str, Artefact],
    norm: float,
    target: float | None,
    folder: Path,
    seed: int,
) -> list[Condition]:
    """Every edit at one norm, or at one KL `target`, and random controls of the reference and of a
    map."""
    folder.mkdir(parents=True, exist_ok=True)
    conditions = []
    for name, made in edits.items():
        if target is None:
            coefficient = fitting.coefficient(made, norm)
        else:
            made = calibrated(fitting, made, "kl", target, strict=False)
            coefficient = whole_coefficient(made)
        conditions.append(Condition(name, _spec(made, folder, name, coefficient)))
    by_name = {c.name: c.spec for c in conditions}
    controls = {"random": REFERENCE, "random map": next((m for m in MAPS if m in edits), None)}
    for name, of in controls.items():
        if of is not None:
            spec = by_name[of]
            if target is not None:  # of a file without the target's calibration: it is another edit
                coefficient = calibrated_control(fitting, edits[of], target, seed)
                spec = _spec(edits[of], folder, name, coefficient)
            conditions.append(Condition(name, {**spec, "random_matched_seed": seed}))
    if "vista" in edits:
        conditions.append(_mixed(fitting, target))
    return conditions


def _spec(made: Artefact, folder: Path, name: str, coefficient: float) -> dict[str, Any]:
    """Of a condition that plays an edit; its file is named by digest, so that another run's vectors
    stay what they are."""
    path = folder / f"{name.replace(' ', '-')}-{made.digest[:8]}.safetensors"
    if isinstance(made, AffineMap):
        save_map(made, path)
    else:
        save_vector(made, path)
    return {"interventions": [vector_spec(made, path.resolve(), round(coefficient, 5))]}


def _mixed(fitting: Fitting, target: float | None) -> Condition:
    """The mix of logits with the paper's share, or at a KL."""
    layers = late_window(fitting.found.vla.config.n_layers)
    mix = LogitMix(layers)
    if target is not None:
        mix = calibrated_mix(fitting.contrast, target, layers)
    return Condition("vista logits", {"logit_mix": mix.to_spec()})


def _effects(fitting: Fitting, conditions: Sequence[Condition]) -> dict[str, dict[str, float]]:
    """What every condition does to the action tokens at train steps."""
    decoder, digest = fitting.found.vla.model.decoder, fitting.found.model_digest
    effects = {}
    for condition in conditions:
        made = AgentCondition.resolve(condition, decoder, None, digest)
        n_steps = min(EFFECT_STEPS, len(fitting.contrast))
        effect = fitting.contrast.effect(made.interventions, n_steps, made.logit_mix)
        effects[condition.name] = {
            "kl": round(effect.divergence, 3),
            "entropy": round(effect.entropy, 3),
        }
    return effects


def _cosine(made: Any, reference: Any) -> float:
    return float(made.direction @ reference.direction)
