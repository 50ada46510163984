"""Receipts: what was planned, what fired, how much was delivered; and the check that they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pilotage.steering.interventions import PHASES, Intervention


class ReceiptMismatch(RuntimeError):
    """The tokens that were edited are not the tokens that were planned."""


def intervention_receipt(
    intervention: Intervention, planned: np.ndarray, delivered: np.ndarray, dose_over: str
) -> dict[str, Any]:
    """JSON of an intervention. planned: `[2]` by phase. delivered: `[2, 3]`: count, |dh|, dose."""
    edited = {phase: round(float(delivered[i, 0])) for i, phase in enumerate(PHASES)}
    total = sum(edited.values())
    norm, dose = float(delivered[:, 1].sum()), float(delivered[:, 2].sum())
    return {
        "kind": intervention.kind,
        "site": intervention.site,
        "coefficient": intervention.coefficient,
        "digest": intervention.digest,
        "control": intervention.matched_to is not None,
        "origin": dict(intervention.origin),
        "planned_tokens": {phase: int(planned[i]) for i, phase in enumerate(PHASES)},
        "edited_tokens": edited,
        "delivered_norm_sum": {p: _json(delivered[i, 1]) for i, p in enumerate(PHASES)},
        "mean_delivered_norm": _json(norm / total) if total else 0.0,
        "mean_dose": _json(dose / total) if total else 0.0,
        "dose_over": dose_over,
    }


def check_receipt(receipt: Mapping[str, Any]) -> None:
    """Raise ReceiptMismatch where edited and planned tokens differ, or nothing was delivered."""
    for number, entry in enumerate(receipt["interventions"]):
        name = f"intervention {number} ({entry['kind']} at {entry['site']})"
        for phase in PHASES:
            planned, edited = entry["planned_tokens"][phase], entry["edited_tokens"][phase]
            if planned != edited:
                raise ReceiptMismatch(
                    f"{name}: {planned} tokens planned in {phase}, {edited} edited. "
                    "Was `begin` called once before each forward? Does the forward run this module?"
                )
        norm = entry["mean_delivered_norm"]
        if norm is None:
            raise ReceiptMismatch(f"{name}: the delivered norm is not finite")
        if entry["kind"] == "add" and norm == 0.0 and sum(entry["edited_tokens"].values()):
            raise ReceiptMismatch(
                f"{name}: {sum(entry['edited_tokens'].values())} tokens edited but the delivered "
                f"norm is 0; coefficient {entry['coefficient']} is below the model's precision"
            )


def _json(value: float) -> float | None:
    """A finite float, or None: JSON has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else None
