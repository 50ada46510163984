"""Lanes: one vectorised operation at a site, for all rows of a forward at once.

Rows under different conditions share a lane when their interventions are of one family (see
`tables.LaneShape`); a batch of N conditions costs one operation per lane, not one per row. The
shapes of a forward depend on its rows and tokens only, never on who is steered in it: a row's
result is the same bits whatever its neighbours are under, and a compiled forward is not made again.
"""

from __future__ import annotations

import torch

from pilotage.steering import operations as ops
from pilotage.steering.batches import Rows
from pilotage.steering.frames import Frame
from pilotage.steering.gate_readers import GateReader
from pilotage.steering.gates import gate_value
from pilotage.steering.sites import ResolvedSite
from pilotage.steering.tables import LaneShape, Tables


class Lane:
    """One operation at one site, its settings, and the buffers that a forward uses."""

    def __init__(self, shape: LaneShape, site: ResolvedSite, number: int, n_rows: int) -> None:
        self.shape, self.site, self.number = shape, site, number
        self.tables = Tables(shape, site, n_rows)
        self.reader: GateReader | None = None  # of a guided lane
        self.armed = False  # whether this forward has something to do
        self._rows: Rows | None = None
        self.rows: dict[str, torch.Tensor] = {}  # the settings of the rows of this forward
        self.mask = self.fired = torch.zeros(0, 0, 1)  # [R, S, 1], the tokens to edit
        self.stats = torch.zeros(3, 0, 0, 1)  # [3, R, S, 1]: edits, |dh|, dose

    def arm(self, frame: Frame, rows: Rows) -> None:
        """Take the buffers of a forward in which some token is to be edited."""
        self.armed, self._rows = True, rows
        self.rows = self.tables.of(rows)
        self.mask = frame.masks[self.number]
        self.fired = frame.fired[self.number]
        self.stats = frame.stats[self.number]

    def edit(self, value: torch.Tensor, stream: torch.Tensor | None) -> torch.Tensor:
        """The edited site tensor `[R, S, width]`; stream: the residual, where known."""
        if self.shape.n_neurons:
            return self._edit_neurons(value, stream)
        h = over = value
        if stream is not None:
            over = stream
            if self.site.adds_stream:
                h = over = stream + value
        change = self._change(h)
        edited = torch.where(self.mask, value + change.to(value.dtype), value)
        with torch.no_grad():
            delivered = ops.length((edited - value).float())
            self._record(delivered, delivered, over)
        return edited

    def _change(self, h: torch.Tensor) -> torch.Tensor:
        """What is to be added at every token, `[R, S, width]` or less where it is the same."""
        if self.shape.family == "turn":
            return self._turn(h.float())
        if self.shape.family == "affine":
            return self._map(h.float())
        if self.shape.family == "setpoint":
            return self._hold(h.float())
        if self.shape.family == "guided":
            return self._gate() * self._along(h)
        return self._along(h)

    def _map(self, h: torch.Tensor) -> torch.Tensor:
        rows = self.rows
        change = ops.mapped(h, rows["own"])
        if "aim" in rows:
            as_much = ops.length(ops.mapped(h, rows["aim"])) / ops.at_least_tiny(ops.length(change))
            change = torch.where(rows["control"], as_much * change, change)
        return rows["coefficient"] * change

    def _hold(self, h: torch.Tensor) -> torch.Tensor:
        rows = self.rows
        there = ops.dot(h, rows.get("aim", rows["own"]))
        return rows["coefficient"] * ops.brought_within(there, rows["bounds"]) * rows["own"]

    def _gate(self) -> torch.Tensor:
        """The part of its edit that every row gets, `[R, 1, 1]`."""
        if self.reader is None or self._rows is None:
            raise RuntimeError(f"the guided lane at {self.site.site} has no reader")
        with torch.no_grad():
            states = self.reader.states(self._rows)
            return gate_value(states, self.rows["gate_inner"], self.rows["gate_outer"])

    def _along(self, h: torch.Tensor) -> torch.Tensor:
        rows = self.rows
        far = rows["coefficient"]
        if self.tables.ablates:
            h = h.float()
            there = ops.dot(h, rows["own"])
            if "aim" in rows:
                as_much = torch.copysign(ops.dot(h, rows["aim"]), there)
                there = torch.where(rows["control"], as_much, there)
            far = torch.where(rows["adds"], far, far * there)
        return far * rows["own"]

    def _turn(self, h: torch.Tensor) -> torch.Tensor:
        rows, c = self.rows, self.rows["coefficient"]
        if "aim" not in rows:
            return ops.turn(h, c, rows["own"])
        change = ops.turn(h, c, rows["aim"])
        as_far = ops.turn_as_far(h, c, rows["own"], change)
        return torch.where(rows["control"], as_far, change)

    def _edit_neurons(self, value: torch.Tensor, stream: torch.Tensor | None) -> torch.Tensor:
        rows = self.rows
        goal, share = rows["goal"], rows["share"]
        index, old = ops.neurons(value, rows["own_neurons"])
        if "aim_neurons" in rows:
            _, target = ops.neurons(value, rows["aim_neurons"])
            wanted = ops.written(share * (goal - target.float()), rows["aim_vectors"])
            own = ops.written(goal - old.float(), rows["own_vectors"])
            as_much = wanted / ops.at_least_tiny(own)
            share = torch.where(rows["control"], as_much, share)
        new = torch.lerp(old, goal.to(old.dtype).expand_as(old), share.to(old.dtype))
        new = torch.where(self.mask, new, old)
        with torch.no_grad():
            change = (new - old).float()
            delivered = ops.written(change, rows["own_vectors"])
            if stream is None:
                self._record(delivered, ops.length(change), value)
            else:
                self._record(delivered, delivered, stream)
        return value.scatter(-1, index, new)

    def _record(self, delivered: torch.Tensor, numerator: torch.Tensor, over: torch.Tensor) -> None:
        """Add to the stats: one firing, its delivered norm, and its dose numerator / |over|."""
        dose = numerator / ops.at_least_tiny(ops.length(over.float()))
        self.stats += torch.stack((self.fired, delivered, dose))
