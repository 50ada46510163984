"""Interventions as JSON, so that a condition can be written in a file and found in a manifest.

A direction is referenced by vector file and digest, a random control by its seed:

    {"kind": "add", "site": "layers.3.resid:out", "coefficient": 2.5, "selector": {...},
     "vector": {"file": "fast.safetensors", "digest": "9f2c..."}}
    {"kind": "affine", "site": "layers.3.resid:out", "coefficient": 1,
     "map": {"file": "slow.safetensors", "digest": "11ab..."}}
    {"kind": "guided", "site": "layers.3.resid:out", "coefficient": 4,
     "guide": {"file": "fast-guide.safetensors", "digest": "5d0e..."}}
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

from pilotage.steering.artefacts import ArtefactError, origin_of
from pilotage.steering.calibration import warn_outside
from pilotage.steering.controls import random_matched, random_matched_of_width
from pilotage.steering.guides import Guide
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.maps import AffineMap, Artefact, load_map, save_map
from pilotage.steering.vectors import SteeringVector, load_vector, save_vector

_FIELDS = (
    "kind",
    "site",
    "coefficient",
    "scale",
    "selector",
    "neurons",
    "vector",
    "map",
    "guide",
    "bounds",
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
    if intervention.bounds is not None:
        spec["bounds"] = list(intervention.bounds)
    if intervention.neurons is not None:
        spec["neurons"] = intervention.neurons.tolist()
    elif intervention.gate is not None:
        spec["guide"] = _guide_reference(intervention, folder)
    else:
        spec["vector" if intervention.affine is None else "map"] = _reference(intervention, folder)
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
    CalibrationWarning for a coefficient outside of the range in which a file was calibrated.
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
    if "bounds" in spec:
        values["bounds"] = tuple(spec["bounds"])
    payload = next((name for name in ("vector", "map") if name in spec), None)
    if payload is not None:
        found = _load(spec[payload], payload, folder, options)
        if found.site != spec["site"]:
            raise ValueError(f"{found.file} is for {found.site}, the spec says {spec['site']}")
        if isinstance(found, AffineMap):
            values["affine"] = found.affine
            scale = 1.0
        else:
            values["direction"] = found.direction
            scale = found.norm if spec["kind"] == "add" else 1.0
        values["origin"] = values["origin"] or origin_of(payload, found)
        if math.isnan(coefficient):
            coefficient = scale * float(spec["scale"])
        warn_outside(found.calibration, spec["kind"], coefficient, found.file)
    elif "scale" in spec and "guide" not in spec:
        raise ValueError("intervention spec: 'scale' needs a 'vector'; use 'coefficient'")
    if "guide" in spec:
        guide = _load_guide(spec["guide"], folder, options)
        made = guide.intervention(spec["site"])
        values["direction"], values["gate"] = made.direction, made.gate
        values["origin"] = values["origin"] or dict(made.origin)
        if math.isnan(coefficient):
            coefficient = made.coefficient * float(spec["scale"])
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
    """File and digest of the direction or the map; writes the file if it has none."""
    origin = intervention.origin
    if folder is None and "file" in origin:
        return {"file": str(origin["file"]), "digest": str(origin.get("vector", origin.get("map")))}
    if folder is None:
        raise ValueError(
            f"the payload of {intervention.kind} at {intervention.site} has no file; pass a folder "
            "to to_spec, or save it with save_vector or save_map and load it from there"
        )
    made = _artefact(intervention)
    name = f"{made.digest[:16]}.safetensors"
    Path(folder).mkdir(parents=True, exist_ok=True)
    if isinstance(made, AffineMap):
        save_map(made, Path(folder) / name)
    else:
        save_vector(made, Path(folder) / name)
    return {"file": name, "digest": made.digest}


def _guide_reference(intervention: Intervention, folder: Path | str | None) -> dict[str, str]:
    """File and digest of the guide that an edit comes from; writes one of its own into a folder."""
    origin, gate, direction = intervention.origin, intervention.gate, intervention.direction
    if folder is None and "file" in origin:
        return {"file": str(origin["file"]), "digest": str(origin["guide"])}
    if folder is None or gate is None or direction is None:
        raise ValueError(
            f"the guide of the edit at {intervention.site} has no file; pass a folder to to_spec, "
            "or save it with Guide.save and load it from there"
        )
    made = Guide(
        gate.reads,
        (intervention.site,),
        direction[None],
        torch.ones(1),
        gate.inner,
        gate.outer,
        str(origin.get("model", "")),
        str(origin.get("method", "")),
        dict(origin),
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    made.save(Path(folder) / f"{made.digest[:16]}.safetensors")
    return {"file": f"{made.digest[:16]}.safetensors", "digest": made.digest}


def _load_guide(
    reference: Mapping[str, str], folder: Path | str | None, options: Mapping[str, Any]
) -> Guide:
    path = Path(folder or ".") / reference["file"]
    found = Guide.load(
        path,
        model_digest=options["model_digest"],
        allow_other_model=options["allow_other_model"],
    )
    if reference.get("digest", found.digest) != found.digest:
        raise ArtefactError(
            f"{path} has the guide {found.digest}, the spec asks for {reference['digest']}"
        )
    return replace(found, file=reference["file"])


def _artefact(intervention: Intervention) -> Artefact:
    """What an intervention carries, as a file holds it."""
    site, origin = intervention.site, intervention.origin
    made_by = (str(origin.get("model", "")), str(origin.get("method", "")), dict(origin))
    if intervention.affine is not None:
        return AffineMap(site, intervention.affine, 1.0, *made_by)
    if intervention.direction is not None:
        return SteeringVector(site, intervention.direction, 1.0, *made_by)
    raise ValueError(f"{intervention.kind} at {site} has neither a direction nor a map")


def _load(
    reference: Mapping[str, str] | str, what: str, folder: Path | str | None, options: Any
) -> Artefact:
    given = {"file": reference} if isinstance(reference, str) else dict(reference)
    path = Path(folder or ".") / given["file"]
    load = load_map if what == "map" else load_vector
    found = load(
        path,
        model_digest=options["model_digest"],
        allow_other_model=options["allow_other_model"],
    )
    if given.get("digest", found.digest) != found.digest:
        what = "map" if what == "map" else "direction"
        raise ArtefactError(
            f"{path} has the {what} {found.digest}, the spec asks for {given['digest']}"
        )
    return replace(found, file=given["file"])
