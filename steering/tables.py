"""Tables: the settings of one lane, an entry for every row of a Steerer, written in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pilotage.steering import operations as ops
from pilotage.steering.batches import Rows
from pilotage.steering.interventions import Intervention
from pilotage.steering.recent import Recent
from pilotage.steering.sites import ResolvedSite

_KEPT = 32  # ranges of rows
_FAMILIES = {
    "add_norm_preserving": "turn",
    "affine": "affine",
    "setpoint": "setpoint",
    "guided": "guided",
}


@dataclass(frozen=True)
class LaneShape:
    """What interventions must have in common to share a lane.

    family: "along" (the change is along a direction: add, ablate), "turn" (norm-preserving add),
    "affine" (a map per unit), "setpoint", "guided" or "neurons". gate: the shape of the network
    that guides. A control shares the lane of its target.
    """

    family: str
    n_neurons: int = 0
    gate: tuple[str, int, int] | None = None

    @classmethod
    def of(cls, intervention: Intervention) -> LaneShape:
        if intervention.neurons is not None:
            return cls("neurons", intervention.n_neurons)
        gate = None if intervention.gate is None else intervention.gate.shape
        return cls(_FAMILIES.get(intervention.kind, "along"), gate=gate)


class Tables:
    """Tables `[n_rows, 1, ...]` by name.

    Directions: `own` (unit, `[n_rows, 1, width]`), `coefficient`, and bool `adds`: the coefficient
    is how far to go along the direction, else how far per unit of what is there.
    Maps: `own` are slopes and offsets (`[n_rows, 2, width]`). Set-points: `bounds` of h.v too.
    Guided edits: `gate_inner` and `gate_outer`, the network of every row.
    Neurons: `own_neurons` (int64 `[n_rows, 1, k]`) go the `share` of their way to the `goal`; what
    they write is `own_vectors` (`[n_rows, k, w]`, see `operations.writing_vectors`).
    bool `control`: the row takes its norm from another edit, which is in the tables named `aim`.
    They exist once `has_controls`; in other rows they hold the row's own edit.
    """

    def __init__(self, shape: LaneShape, site: ResolvedSite, n_rows: int) -> None:
        self.shape, self.n_rows = shape, n_rows
        self.ablates = False  # some row has ever had to know what h has along its direction
        self.has_controls = False
        self._weight = site.weight
        self._tables = {"control": self._zeros(1, 1).bool()}
        if shape.n_neurons:
            index = torch.arange(shape.n_neurons, device=self._weight.device)
            self._tables["own_neurons"] = index.repeat(n_rows, 1, 1)
            width = ops.written_width(shape.n_neurons, self._weight.shape[0])
            self._tables["own_vectors"] = self._zeros(shape.n_neurons, width)
            self._tables["goal"], self._tables["share"] = self._zeros(1, 1), self._zeros(1, 1)
        else:
            self._tables["own"] = self._zeros(2 if shape.family == "affine" else 1, site.width)
            self._tables["bounds"] = self._zeros(1, 2)
            self._tables["coefficient"] = self._zeros(1, 1)
            self._tables["adds"] = self._zeros(1, 1).bool()
            if shape.gate is not None:
                _, width, hidden = shape.gate
                self._tables["gate_inner"] = self._zeros(hidden, width + 1)
                self._tables["gate_outer"] = self._zeros(2, hidden + 1)
        self._views: Recent[tuple[int, int], dict[str, torch.Tensor]] = Recent(_KEPT)
        self._gathered: dict[str, torch.Tensor] = {}
        self._gathered_rows: Rows | None = None  # whose settings these are; None: they are stale

    def admit(self, intervention: Intervention) -> None:
        """Make room for an intervention like this one, before any row has it."""
        self.ablates |= intervention.kind == "ablate"
        if _takes_a_norm(intervention) and not self.has_controls:
            self.has_controls = True
            for name in [name for name in self._tables if name.startswith("own")]:
                self._tables[name.replace("own", "aim")] = self._tables[name].clone()
            self._views.clear()
            self._gathered, self._gathered_rows = {}, None

    def set(self, row: int, intervention: Intervention) -> None:
        """Write one row's settings in place."""
        control, target = _takes_a_norm(intervention), intervention.matched_to
        self._tables["control"][row] = control
        self._write("own", row, intervention)
        if intervention.gate is not None:
            self._tables["gate_inner"][row].copy_(intervention.gate.inner)
            self._tables["gate_outer"][row].copy_(intervention.gate.outer)
        if self.has_controls:
            self._write("aim", row, target if control and target is not None else intervention)
        self.set_coefficient(row, intervention)

    def set_coefficient(self, row: int, intervention: Intervention) -> None:
        """Write one row's coefficient in place."""
        c = intervention.coefficient
        if self.shape.n_neurons:
            clamps = intervention.kind == "clamp"
            self._tables["goal"][row] = c if clamps else 0.0
            self._tables["share"][row] = 1.0 if clamps else c
        else:
            ablates = intervention.kind == "ablate"
            self._tables["coefficient"][row] = -c if ablates else c
            self._tables["adds"][row] = not ablates
            if intervention.bounds is not None:
                self._tables["bounds"][row] = torch.tensor(intervention.bounds)
        self._gathered_rows = None

    def of(self, rows: Rows) -> dict[str, torch.Tensor]:
        """The tables `[R, 1, ...]` of a forward's rows: views where the rows follow each other,
        else copies, in buffers that are written again for other rows.
        """
        at = rows.at
        if isinstance(at, slice):
            return self._views.get((at.start, at.stop), lambda: self._view(at))
        if rows is not self._gathered_rows:
            self._gather(rows)
        return self._gathered

    @torch.inference_mode(False)
    def _view(self, at: slice) -> dict[str, torch.Tensor]:
        return {name: table[at] for name, table in self._tables.items()}

    @torch.inference_mode(False)
    def _gather(self, rows: Rows) -> None:
        if not self._gathered or len(self._gathered["control"]) != len(rows.numbers):
            self._gathered = {n: t.index_select(0, rows.index) for n, t in self._tables.items()}
        else:
            for name, table in self._tables.items():
                torch.index_select(table, 0, rows.index, out=self._gathered[name])
        self._gathered_rows = rows

    def _write(self, name: str, row: int, source: Intervention) -> None:
        """The direction, the map, or the neurons and their value vectors, of one row."""
        if source.neurons is not None:
            neurons = source.neurons.to(self._weight.device)
            self._tables[f"{name}_neurons"][row].copy_(neurons)
            vectors = ops.writing_vectors(self._weight, neurons)
            self._tables[f"{name}_vectors"][row].copy_(vectors)
        else:
            payload = source.direction if source.affine is None else source.affine
            if payload is not None:
                self._tables[name][row].copy_(payload)

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(self.n_rows, *shape, device=self._weight.device)


def _takes_a_norm(intervention: Intervention) -> bool:
    """Two unit directions times one coefficient have the same norm: no matching needed."""
    return intervention.matched_to is not None and intervention.kind not in ("add", "guided")
