"""Every way to steer a concept, ready to be played at any dose of its grid, and their controls.

One dose is one delivered norm for all that is fitted at the layer: that of the mean difference,
times the dose. The coefficient of a map or a turn is such that it moves an acting token of train
episodes by as much on average. Clamps have activations as doses, and offsets of actions fractions
of the largest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import vector_spec
from pilotage.episodes.files import write_atomically
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Condition
from pilotage.scripts.cmd_read import PairedSides, paired_sides
from pilotage.scripts.experiment_choice import read_settings
from pilotage.scripts.experiment_concepts import Concept, as_settings
from pilotage.scripts.make_conditions import Grid, clamp_candidates
from pilotage.scripts.vector_methods import MAPS, NAMES, Fitting
from pilotage.steering.maps import AffineMap, Artefact, save_map
from pilotage.steering.vectors import save_vector

REFERENCE = "mean-difference"
EVERYWHERE = "mean-difference everywhere"  # at every token, not only those that act
CLAMPS = ("clamp everywhere", "clamp")
OFFSET = "action offset"
METHODS = (*NAMES, EVERYWHERE, *CLAMPS)
ACTING = ("proprio", "action")


@dataclass(frozen=True)
class Doses:
    """The grids: multiples of the mean difference's norm, activations, fractions of an action."""

    norms: tuple[float, ...] = (1.0, 1.75, 2.75)
    activations: tuple[float, ...] = (3.0, 10.0, 20.0)
    offsets: tuple[float, ...] = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Edit:
    """One way to steer: a condition's fields at coefficient 1.

    doses: the grid. coefficients: of its doses. twin: the edit whose random twin is the control,
    "" for what is a control itself.
    """

    method: str
    interventions: list[dict[str, Any]]
    doses: list[float]
    coefficients: list[float]
    twin: str
    offset: list[float] | None = None

    def coefficient(self, dose: float) -> float:
        """Of a dose of the grid."""
        return self.coefficients[self.doses.index(dose)]

    def condition(self, dose: float, name: str) -> Condition:
        """Played at a dose."""
        scale = self.coefficient(dose)
        if self.offset is not None:
            return Condition(name, {"action_offset": [round(scale * o, 5) for o in self.offset]})
        specs = [{**s, "coefficient": scale} for s in self.interventions]
        return Condition(name, {"interventions": specs})

    def control(self, dose: float, name: str, seed: int) -> Condition:
        """Its random twin at the same delivered norm."""
        return Condition(name, {**self.condition(dose, name).spec, "random_matched_seed": seed})


def check_methods(names: Sequence[str]) -> list[str]:
    """The methods to play, the reference among them; KeyError for an unknown one."""
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    return list(dict.fromkeys((REFERENCE, *(names or METHODS))))


def make_edits(
    folder: Path,
    concept: Concept,
    names: Sequence[str],
    doses: Doses,
    *,
    agent: str,
    layer: int,
    pairs: int,
    seed: int,
    quiet: bool,
) -> dict[str, Edit]:
    """The edits of a concept by method, fitted at the first call and read from `folder` later."""
    settings = {
        **as_settings(concept),
        **{"agent": agent, "layer": layer, "pairs": pairs, "seed": seed, "methods": list(names)},
        **{k: list(v) for k, v in asdict(doses).items()},
    }
    path = folder / "edits.json"
    if path.is_file():
        return {e["method"]: Edit(**e) for e in read_settings(path, settings)["edits"]}
    found = paired_sides(
        agent=agent,
        env=concept.env,
        positive=concept.prompt,
        negative="",
        layers=[layer],
        pairs=pairs,
        seed=seed,
        quiet=quiet,
        families=concept.families,
    )
    edits = _fitted(Fitting(found, layer), names, doses, folder / "vectors")
    edits += _clamps(found, concept, names, doses)
    if any(concept.offset):
        sizes = list(doses.offsets)
        edits.append(Edit(OFFSET, [], sizes, sizes, "", list(concept.offset)))
    table = {"settings": settings, "edits": [asdict(e) for e in edits]}
    write_atomically(path, (json.dumps(table, indent=1) + "\n").encode())
    return {e.method: e for e in edits}


def _fitted(fitting: Fitting, names: Sequence[str], doses: Doses, folder: Path) -> list[Edit]:
    """Vectors and maps, which are written to `folder`. Vectors share the control of the mean
    difference, and maps that of the first map: at one dose they deliver one norm."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = fitting.fit(REFERENCE)
    first_map = next((name for name in names if name in MAPS), "")
    edits = []
    for name in names:
        if name not in (*NAMES, EVERYWHERE):
            continue
        made = reference if name in (REFERENCE, EVERYWHERE) else fitting.fit(name)
        spec = vector_spec(made, _saved(made, folder, name).resolve(), 1.0)
        twin = {"affine": first_map, "add": REFERENCE}.get(spec["kind"], name)
        if name == EVERYWHERE:
            del spec["selector"]
            twin = name
        found = [fitting.coefficient(made, dose * reference.norm) for dose in doses.norms]
        coefficients = [round(c, 5) for c in found]
        edits.append(Edit(name, [spec], list(doses.norms), coefficients, twin))
    return edits


def _saved(made: Artefact, folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '-')}.safetensors"
    if isinstance(made, AffineMap):
        save_map(made, path)
    else:
        save_vector(made, path)
    return path


def _clamps(found: PairedSides, concept: Concept, names: Sequence[str], doses: Doses) -> list[Edit]:
    """Clamps of the value vectors nearest to the concept's words, at all tokens and at those that
    act."""
    ((_, specs),) = clamp_candidates(found.vla, concept.words, Grid(alphas=(1.0,))).items()
    acting = [{**s, "selector": {"token_groups": list(ACTING)}} for s in specs]
    return [
        Edit(name, chosen, list(doses.activations), list(doses.activations), name)
        for name, chosen in zip(CLAMPS, (specs, acting), strict=True)
        if name in names
    ]
