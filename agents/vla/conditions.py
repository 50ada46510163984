"""Conditions of a VLA: from a name on the command line to interventions on its decoder.

An agent's folder may hold `conditions.json`, a table of named conditions:

    {"fast": {"interventions": [...], "prompt_suffix": "quickly", "action_scale": 2.4}}

`interventions` are specs of `pilotage.steering` (vector files relative to the folder);
`prompt_suffix` and `action_scale` are its two behavioural counterparts; "logit_mix": {"layers":
[2], "share": 0.3} mixes logits of middle layers in (`steering/logit_mix.py`; DOSE multiplies its
share). The command line says

    baseline | EDIT[@DOSE][:hold-TARGET | :lqr-TARGET][:guarded][:CONTROL]

with EDIT a NAME or a FILE.safetensors, and CONTROL one of `random-matched`, `random-matched-SEED`,
`prompt`, `action-scale`; DOSE multiplies the coefficients. `fast:hold-0.30` is feedback: a
controller multiplies the coefficients at every step so as to hold the speed at 0.30 m/s. `hold` is
a PID (`steering/feedback.py`; the fields of a `Setpoint` may stand in the entry's "feedback"),
`lqr` a linear-quadratic controller (`steering/lqr.py`; the entry's "lqr" holds the fields of an
`LqrSetpoint`); with `:action-scale` they multiply the actions ("lqr_actions"). `:guarded` lets go
of the edit while a probe says that the episode fails (`steering/guard.py`; the entry's "guard").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pilotage.episodes.names import unknown
from pilotage.episodes.types import Condition
from pilotage.steering.controls import random_matched_all
from pilotage.steering.guard import Guard
from pilotage.steering.interventions import Intervention
from pilotage.steering.laws import Setting, setting_from_spec
from pilotage.steering.logit_mix import SHARE, LogitMix
from pilotage.steering.maps import AffineMap, Artefact, load_edit

CONTROLS = ("random-matched", "prompt", "action-scale")
_FIELDS = (
    "interventions",
    "random_matched_seed",
    "prompt_suffix",
    "action_scale",
    "action_offset",
    "feedback",
    "guard",
    "logit_mix",
)
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_SYNTAX = re.compile(
    rf"(?P<name>[^@:]+?)(@(?P<dose>-?{_NUMBER}))?"
    rf"(:(?P<law>hold|lqr)-(?P<target>{_NUMBER}))?(:(?P<guarded>guarded))?"
    r"(:(?P<control>[a-z-]+?)(-(?P<seed>\d+))?)?"
)
# A controller of actions begins with the action as it is: there a factor of 1 is "no change".
SCALING = {"start": 1.0, "low": 0.1, "high": 5.0, "sign": 1}
HELD = {"quantity": "speed"}  # what `hold-TARGET` holds where the entry says nothing else
MAKE = "python -m pilotage.scripts.make_controllers"


@dataclass(frozen=True)
class AgentCondition:
    """A condition resolved against one model.

    action_scale multiplies the first three numbers of a continuous action (translation), to which
    action_offset is added; clipped.
    feedback: a controller multiplies the interventions' coefficients (without interventions: the
    actions, instead of action_scale) so that a measured quantity is held.
    guard: what multiplies the coefficients as well, and may let go of them.
    logit_mix: what middle layers would say goes into what is said; a random control keeps it, so
    that only directions differ.
    """

    name: str
    interventions: tuple[Intervention, ...] = ()
    prompt_suffix: str = ""
    action_scale: float = 1.0
    feedback: Setting | None = None
    guard: Guard | None = None
    action_offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    logit_mix: LogitMix | None = None

    @classmethod
    def resolve(
        cls,
        condition: Condition,
        decoder: nn.Module,
        folder: Path | None = None,
        model_digest: str | None = None,
    ) -> AgentCondition:
        """Build the interventions of `condition.spec`. ValueError for unknown fields, ArtefactError
        for a vector that was made for another model."""
        spec = condition.spec
        unknown = sorted(set(spec) - set(_FIELDS))
        if unknown:
            raise ValueError(
                f"condition {condition.name!r} has unknown fields {unknown}; there are: "
                f"{', '.join(_FIELDS)}"
            )
        interventions = [
            Intervention.from_spec(s, folder, decoder=decoder, model_digest=model_digest)
            for s in spec.get("interventions", ())
        ]
        if "random_matched_seed" in spec:
            seed = int(spec["random_matched_seed"])
            interventions = random_matched_all(interventions, decoder, seed, orthogonal=True)
        return cls(
            condition.name,
            tuple(interventions),
            str(spec.get("prompt_suffix", "")),
            float(spec.get("action_scale", 1.0)),
            setting_from_spec(spec["feedback"]) if "feedback" in spec else None,
            Guard.from_spec(spec["guard"], folder, model_digest=model_digest)
            if "guard" in spec
            else None,
            _offset(condition),
            LogitMix.from_spec(spec["logit_mix"]) if "logit_mix" in spec else None,
        )

    @property
    def changes_over_time(self) -> bool:
        """Whether what it does to the tokens of the instruction may differ between env steps."""
        edits = [
            edit.selector
            for edit in self.interventions
            if edit.selector.token_groups is None or "instruction" in edit.selector.token_groups
        ]
        return bool(edits) and (
            self.feedback is not None
            or self.guard is not None
            or any(s.env_steps is not None for s in edits)
        )

    def edit_instruction(self, text: str) -> str:
        return f"{text} {self.prompt_suffix}" if self.prompt_suffix else text

    def edit_action(self, action: np.ndarray, multiplier: float | None = None) -> np.ndarray:
        """The action to execute; multiplier: of this step's controller, if there is one."""
        scale = self.action_scale
        if self.feedback is not None and not self.interventions:
            scale = 1.0 if multiplier is None else multiplier
        if scale == 1.0 and not any(self.action_offset):
            return action
        if action.ndim == 0:
            raise ValueError(
                f"condition {self.name!r} scales or shifts actions, but this agent's are discrete"
            )
        out = action.copy()
        out[:3] = np.clip(out[:3] * scale + self.action_offset, -1.0, 1.0)
        return out


def _offset(condition: Condition) -> tuple[float, ...]:
    """The three numbers of "action_offset". ValueError for anything else."""
    found = condition.spec.get("action_offset", (0.0, 0.0, 0.0))
    try:
        offset = tuple(float(x) for x in found)
    except (TypeError, ValueError):
        offset = ()
    if len(offset) != 3 or not np.isfinite(offset).all():
        raise ValueError(
            f"condition {condition.name!r}: action_offset must be three numbers (x, y, z as "
            f"fractions of the largest action), got {found!r}"
        )
    return offset


def load_table(folder: Path | None) -> dict[str, dict[str, Any]]:
    """The named conditions of an agent's folder; empty when it has none."""
    path = None if folder is None else folder / "conditions.json"
    if path is None or not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return {name: entry for name, entry in table.items() if not name.startswith("_")}


def parse_condition(text: str, folder: Path | None) -> Condition:
    """The condition behind a command-line word. KeyError lists what exists."""
    if text == "baseline":
        return Condition("baseline")
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise KeyError(
            f"{text!r} is not NAME[@DOSE][:hold-TARGET or :lqr-TARGET][:guarded][:CONTROL], e.g. "
            "fast@0.5:random-matched, fast:hold-0.30 or fast:guarded"
        )
    entry = _entry(match["name"], folder)
    held: dict[str, Any] = {}
    if match["target"] is not None:
        if any(spec["kind"] == "clamp" for spec in entry.get("interventions", ())):
            raise KeyError(
                f"{text!r}: a clamp cannot be held; its coefficient is the value of neurons, so a "
                "small one clamps them to nearly nothing instead of doing nothing"
            )
        held = {"feedback": _feedback(text, match, entry)}
    if match["guarded"] is not None:
        held["guard"] = _guard(text, match, entry)
    control = match["control"]
    if match["seed"] is not None and control != "random-matched":
        control = f"{control}-{match['seed']}"
    if control is not None and control not in CONTROLS:
        raise KeyError(f"unknown control {control!r} in {text!r}; there are: {', '.join(CONTROLS)}")
    if control in ("prompt", "action-scale") and match["dose"] is not None:
        raise KeyError(f"{text!r}: {control} takes no dose")
    if held and control == "prompt":
        raise KeyError(f"{text!r} means nothing: words have no dose to control")
    if held and control == "action-scale":
        return Condition(text, {"feedback": held["feedback"]})
    if control in ("prompt", "action-scale"):
        field = control.replace("prompt", "prompt_suffix").replace("-", "_")
        if field not in entry:
            raise KeyError(f"condition {match['name']!r} has no {field}, so {text!r} means nothing")
        return Condition(text, {field: entry[field]})
    dose = 1.0 if match["dose"] is None else float(match["dose"])
    spec: dict[str, Any] = {
        "interventions": [
            {**s, "coefficient": s["coefficient"] * dose} for s in entry.get("interventions", ())
        ],
        **held,
    }
    if "logit_mix" in entry:
        share = entry["logit_mix"].get("share", SHARE)
        spec["logit_mix"] = {**entry["logit_mix"], "share": share * dose}
    if control == "random-matched":
        spec["random_matched_seed"] = int(match["seed"] or 0)
    return Condition(text, spec)


def _feedback(text: str, match: re.Match[str], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the controller that a condition asks for."""
    target, scales = {"target": float(match["target"])}, match["control"] == "action-scale"
    if match["law"] == "hold":
        return {**HELD, **entry.get("feedback", {}), **target, **(SCALING if scales else {})}
    field = "lqr_actions" if scales else "lqr"
    if field not in entry:
        raise KeyError(
            f"{text!r}: condition {match['name']!r} has no {field!r}, the response that an LQR "
            f"needs; identify it with `{MAKE}`, or use :hold-{match['target']}"
        )
    return {"law": "lqr", **HELD, **_fields(entry[field]), **target}


def _guard(text: str, match: re.Match[str], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the guard that a condition asks for."""
    if match["control"] in ("prompt", "action-scale"):
        raise KeyError(f"{text!r} means nothing: a guard lets go of an edit, and there is none")
    if any(spec["kind"] == "clamp" for spec in entry.get("interventions", ())):
        raise KeyError(f"{text!r}: a clamp cannot be guarded; a part of it is another clamp")
    if "guard" not in entry:
        raise KeyError(
            f"{text!r}: condition {match['name']!r} has no 'guard'; make one with `{MAKE}`"
        )
    return _fields(entry["guard"])


def _fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without what is written there for people to read."""
    return {name: value for name, value in entry.items() if not name.startswith("_")}


def _entry(name: str, folder: Path | None) -> Mapping[str, Any]:
    if name.endswith(".safetensors"):
        path = Path(name).resolve()
        found = load_edit(path)
        return {"interventions": [vector_spec(found, path, whole_coefficient(found))]}
    table = load_table(folder)
    if name not in table:
        raise unknown("condition", name, ["baseline", *table], ", or give a .safetensors file")
    return table[name]


def edit_kind(found: Artefact) -> str:
    """The kind of intervention that an artefact is made for: `add` where a vector says nothing."""
    return "affine" if isinstance(found, AffineMap) else str(found.source.get("kind", "add"))


def whole_coefficient(found: Artefact) -> float:
    """The coefficient of dose 1: the calibrated one where there is one, else the natural one."""
    if found.calibration:
        return float(found.calibration["coefficient"])
    if isinstance(found, AffineMap):
        return 1.0
    return found.norm if edit_kind(found) == "add" else float(found.source.get("turn", 1.0))


def vector_spec(found: Artefact, path: Path, coefficient: float) -> dict[str, Any]:
    """The addition of a vector (or the kind of edit that it is made for), or the map, that lies at
    an absolute `path`, at the tokens that it was measured at where it says so."""
    spec: dict[str, Any] = {
        "kind": edit_kind(found),
        "site": found.site,
        "coefficient": coefficient,
    }
    payload = "map" if isinstance(found, AffineMap) else "vector"
    spec[payload] = {"file": str(path), "digest": found.digest}
    if "token_groups" in found.source:
        spec["selector"] = {"token_groups": found.source["token_groups"]}
    return spec
