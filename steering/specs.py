"""Interventions as JSON, so that a condition can be written in a file and found in a manifest.

A direction is referenced by vector file and digest, a random control by its seed:

    {"kind": "add", "site": "layers.3.resid:out", "coefficient": 2.5, "selector": {...},
     "vector": {"file": "fast.safetensors", "digest": "9f2c..."}}
    {"kind": "clamp", "site": "layers.3.mlp.down_proj:in", "coefficient": 10, "neurons": [4, 17]}
    {"random_matched": {"seed": 7}, "target": {...one of the above...}}

By hand, "scale" may stand for "coefficient": the coefficient is then scale times the vector's norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.controls import random_matched, random_matched_of_width
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.vectors import SteeringVector, load_vector, save_vector

_FIELDS = (
    "kind",
    "site",
    "coefficient",
    "scale",
    "selector",
    "neurons",
    "vector",
    "matched_to",
    "origin",
)


def intervention_to_spec(
    intervention: Intervention, folder: Path | str | None = None
) -> dict[str, Any]:
    """JSON for an intervention. `folder`: where directions without a file of their own are written.

    Raises ValueError when a direction has no file and no folder is given.
    """
    origin, target = intervention.origin, intervention.matched_to
    if target is not None and "random_matched" in origin:
        return {
            "random_matched": dict(origin["random_matched"]),
            "target": intervention_to_spec(target, folder),
            "digest": intervention.digest,
        }
    spec: dict[str, Any] = {
        "kind": intervention.kind,
        "site": intervention.site,
        "coefficient": intervention.coefficient,
    }
    selector = intervention.selector.to_spec()
    if selector:
        spec["selector"] = selector
    if intervention.neurons is not None:
        spec["neurons"] = intervention.neurons.tolist()
    else:
        spec["vector"] = _reference(intervention, folder)
    if target is not None:
        spec["matched_to"] = intervention_to_spec(target, folder)
    if origin:
        spec["origin"] = dict(origin)
    return spec


def intervention_from_spec(
    spec: Mapping[str, Any],
    folder: Path | str | None = None,
    *,
    decoder: nn.Module | None = None,
    model_digest: str | None = None,
    allow_other_model: bool = False,
) -> Intervention:
    """Read a spec. Vector files are looked up from `folder`, and checked against `model_digest`.

    decoder: needed only for a control of neurons whose spec does not say how many there are.
    Raises ValueError for unknown or missing fields, ArtefactError for a file that does not fit.
    """
    options: dict[str, Any] = {
        "decoder": decoder,
        "model_digest": model_digest,
        "allow_other_model": allow_other_model,
    }
    if "random_matched" in spec:
        return _control(spec, folder, options)
    unknown = sorted(set(spec) - set(_FIELDS))
    missing = [name for name in ("kind", "site") if name not in spec]
    if unknown or missing:
        raise ValueError(
            f"intervention spec: unknown fields {unknown}, missing {missing}; "
            f"there are: {', '.join(_FIELDS)}"
        )
    if ("coefficient" in spec) == ("scale" in spec):
        raise ValueError("intervention spec: give either 'coefficient' or 'scale'")
    values: dict[str, Any] = {"origin": dict(spec.get("origin", {}))}
    coefficient = float(spec.get("coefficient", math.nan))  # NaN: not given, "scale" is
    if "vector" in spec:
        vector = _load(spec["vector"], folder, options)
        if vector.site != spec["site"]:
            raise ValueError(f"{vector.file} is for {vector.site}, the spec says {spec['site']}")
        made = vector.intervention(float(spec.get("scale", 1.0)), kind=spec["kind"])
        values["direction"] = vector.direction
        values["origin"] = values["origin"] or dict(made.origin)
        coefficient = made.coefficient if math.isnan(coefficient) else coefficient
    elif "scale" in spec:
        raise ValueError("intervention spec: 'scale' needs a 'vector'; use 'coefficient'")
    if "neurons" in spec:
        values["neurons"] = torch.tensor(spec["neurons"], dtype=torch.int64)
    if "matched_to" in spec:
        values["matched_to"] = intervention_from_spec(spec["matched_to"], folder, **options)
    selector = Selector.from_spec(spec.get("selector", {}))
    return Intervention(spec["kind"], spec["site"], coefficient, selector=selector, **values)


def _control(
    spec: Mapping[str, Any], folder: Path | str | None, options: dict[str, Any]
) -> Intervention:
    how = dict(spec["random_matched"])
    if "target" not in spec or "seed" not in how:
        raise ValueError(f"a random control needs a 'seed' and a 'target', got {dict(spec)}")
    target = intervention_from_spec(spec["target"], folder, **options)
    orthogonal = bool(how.get("orthogonal", False))
    if "width" in how:
        made = random_matched_of_width(target, how["width"], how["seed"], orthogonal=orthogonal)
    else:
        made = random_matched(target, options["decoder"], how["seed"], orthogonal=orthogonal)
    if spec.get("digest", made.digest) != made.digest:
        raise ArtefactError(
            f"the control with seed {how['seed']} at {made.site} has digest {made.digest}, the "
            f"spec says {spec['digest']}; it was made by another version"
        )
    return made


def _reference(intervention: Intervention, folder: Path | str | None) -> dict[str, str]:
    """File and digest of the direction; writes the file if it has none."""
    origin = intervention.origin
    if folder is None and "file" in origin:
        return {"file": str(origin["file"]), "digest": str(origin["vector"])}
    if folder is None:
        raise ValueError(
            f"the direction of {intervention.kind} at {intervention.site} has no file; pass a "
            "folder to to_spec, or save it with save_vector and load it from there"
        )
    vector = SteeringVector(
        intervention.site,
        intervention.direction,  # type: ignore[arg-type]  # checked by Intervention
        1.0,
        str(origin.get("model", "")),
        str(origin.get("method", "")),
        dict(origin),
    )
    name = f"{vector.digest[:16]}.safetensors"
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_vector(vector, Path(folder) / name)
    return {"file": name, "digest": vector.digest}


def _load(
    reference: Mapping[str, str] | str, folder: Path | str | None, options: dict[str, Any]
) -> SteeringVector:
    given = {"file": reference} if isinstance(reference, str) else dict(reference)
    path = Path(folder or ".") / given["file"]
    vector = load_vector(
        path,
        model_digest=options["model_digest"],
        allow_other_model=options["allow_other_model"],
    )
    if given.get("digest", vector.digest) != vector.digest:
        raise ArtefactError(
            f"{path} has the direction {vector.digest}, the spec asks for {given['digest']}"
        )
    return replace(vector, file=given["file"])
