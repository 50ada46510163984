"""Coefficients at a given dose for a VLA's edits, measured on its train steps.

The dose is `kl`, how far the distributions of the action tokens move (nats a token), or `norm`, how
far an edited vector does (||dh|| / ||h||).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pilotage.agents.vla.conditions import edit_kind, whole_coefficient
from pilotage.agents.vla.contrasts import Contrast
from pilotage.episodes.names import unknown
from pilotage.scripts.vector_methods import Fitting
from pilotage.steering.calibration import Calibration, calibrate, natural_range
from pilotage.steering.controls import random_matched
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.logit_mix import LogitMix
from pilotage.steering.maps import AffineMap, Artefact

MEASURES = ("kl", "norm")
EFFECT_STEPS = 64
FIRST, FARTHEST = 1 / 16, 64.0  # where a search begins and ends, over the natural coefficient


def check_measure(measure: str) -> None:
    """KeyError for an unknown measure."""
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)


def edit_of(made: Artefact) -> Intervention:
    """The edit that an artefact is made for, at coefficient 1 and at the tokens that it names."""
    groups = made.source.get("token_groups")
    selector = Selector(token_groups=None if groups is None else frozenset(groups))
    bare = replace(made, calibration={})  # a search goes where nobody has been
    one = bare.intervention(1.0, kind=edit_kind(made), selector=selector)
    return one.with_coefficient(1.0)


def calibration_of(
    contrast: Contrast, measure: str, target: float, edit: Intervention, natural: float
) -> Calibration:
    """The coefficient at which an edit (or a control) reaches a dose.

    natural: the coefficient to look around. KeyError for an unknown measure.
    """
    check_measure(measure)
    dose = _dose(contrast, measure, lambda c: {"edits": [edit.with_coefficient(c)]})
    found = calibrate(dose, target, first=FIRST * natural, limit=FARTHEST * abs(natural))
    return found.named(measure, edit.kind)


def calibrated_mix(contrast: Contrast, target: float, layers: tuple[int, ...]) -> LogitMix:
    """The mix of logits that moves action tokens by `target` nats, or a share of 1 if none does."""
    dose = _dose(contrast, "kl", lambda c: {"edits": [], "mix": LogitMix(layers, c)})
    return LogitMix(layers, round(calibrate(dose, target, first=1 / 16, limit=1.0).coefficient, 5))


def calibrated(
    fitting: Fitting, made: Artefact, measure: str, target: float, *, strict: bool = True
) -> Artefact:
    """The artefact with its calibration. ValueError where the dose cannot be reached; not `strict`:
    then it is the nearest one, and the calibration says so."""
    natural = whole_coefficient(replace(made, calibration={}))
    edit = edit_of(made)
    found = calibration_of(fitting.contrast, measure, target, edit, natural)
    direction = None if isinstance(made, AffineMap) else made.direction
    known = natural_range(edit.kind, fitting.tokens[1], direction)
    found = found.named(measure, edit.kind, known)
    return replace(made, calibration=(found.check() if strict else found).to_json())


def calibrated_control(fitting: Fitting, made: Artefact, target: float, seed: int) -> float:
    """The coefficient at which the random twin of an artefact's edit moves action tokens by
    `target` nats, or the nearest one: at its norm it moves them less."""
    decoder = fitting.found.vla.model.decoder
    control = random_matched(edit_of(made), decoder, seed, orthogonal=True)
    natural = whole_coefficient(made)
    return calibration_of(fitting.contrast, "kl", target, control, natural).coefficient


def _dose(
    contrast: Contrast, measure: str, asked: Callable[[float], dict[str, Any]]
) -> Callable[[float], float]:
    """A dose as a function of the coefficient."""
    n_steps = min(EFFECT_STEPS, len(contrast))

    def dose(coefficient: float) -> float:
        effect = contrast.effect(**asked(coefficient), n_steps=n_steps)
        return effect.divergence if measure == "kl" else effect.dose

    return dose
