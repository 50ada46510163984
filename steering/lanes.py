"""Lanes: one vectorised operation at a site, with a table of settings per row.

Rows under different conditions share a lane when their interventions have the same shape (kind,
number of neurons, control or not); a batch of N conditions costs one operation per lane, not one
per row. Tables are allocated when the lane is made and written in place afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pilotage.steering import operations as ops
from pilotage.steering.interventions import Intervention
from pilotage.steering.sites import ResolvedSite

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class LaneShape:
    """What interventions must have in common to share a lane."""

    kind: str
    n_neurons: int  # 0: a direction
    matched: bool

    @classmethod
    def of(cls, intervention: Intervention) -> LaneShape:
        # Two unit directions times one coefficient have the same norm: no matching needed.
        matched = intervention.matched_to is not None and intervention.kind != "add"
        return cls(intervention.kind, intervention.n_neurons, matched)


class Lane:
    """Tables `[n_rows, ...]` of one operation at one site, and the views a forward uses."""

    def __init__(self, shape: LaneShape, site: ResolvedSite, number: int, n_rows: int) -> None:
        self.shape, self.site, self.number = shape, site, number
        weight = site.weight
        device = weight.device
        self.tables = {"coefficient": torch.zeros(n_rows, device=device)}
        for name in ("own", "target") if shape.matched else ("own",):
            if shape.n_neurons:
                index = torch.arange(shape.n_neurons, device=device).repeat(n_rows, 1)
                self.tables[f"{name}_neurons"] = index
                d_out = site.weight.shape[0]
                written = torch.zeros(n_rows, shape.n_neurons, d_out, device=device)
                self.tables[f"{name}_vectors"] = written
            else:
                self.tables[name] = torch.zeros(n_rows, site.width, device=device)
        if shape.kind == "add":
            self.tables["change"] = torch.zeros(n_rows, site.width, device=device)
        self.rows = self.tables  # the tables of the rows of this forward
        self._rows_key: bytes | None = None
        self._dirty = True
        self.armed = False  # whether this forward has something to do
        self.mask = torch.zeros(0, 0, 1, dtype=torch.bool)  # [R, S, 1], the tokens to edit
        self.stats = torch.zeros(3, 0, 0)  # [3, R, S]: fired, |dh|, dose

    def set(self, row: int, intervention: Intervention) -> None:
        """Write one row's settings in place."""
        pairs = [("own", intervention)]
        if self.shape.matched and intervention.matched_to is not None:
            pairs.append(("target", intervention.matched_to))
        for name, source in pairs:
            if source.neurons is not None:
                neurons = source.neurons.to(self.tables["own_neurons"].device)
                columns = self.site.weight.detach()[:, neurons].T.float()
                self.tables[f"{name}_neurons"][row].copy_(neurons)
                self.tables[f"{name}_vectors"][row].copy_(columns)
            elif source.direction is not None:
                self.tables[name][row].copy_(source.direction)
        self.set_coefficient(row, intervention.coefficient)

    def set_coefficient(self, row: int, coefficient: float) -> None:
        """Write one row's coefficient in place."""
        self.tables["coefficient"][row] = coefficient
        if self.shape.kind == "add":
            torch.mul(self.tables["own"][row], coefficient, out=self.tables["change"][row])
        self._dirty = True

    def select_rows(self, key: bytes, rows: torch.Tensor | None) -> None:
        """Gather the tables of a forward's rows; None: the rows are all rows, in order."""
        if rows is None:
            self.rows, self._rows_key, self._dirty = self.tables, None, False
        elif self._dirty or key != self._rows_key:
            if self._rows_key is None or len(self.rows["coefficient"]) != len(rows):
                self.rows = {n: t.index_select(0, rows) for n, t in self.tables.items()}
            else:
                for name, table in self.tables.items():
                    torch.index_select(table, 0, rows, out=self.rows[name])
            self._rows_key, self._dirty = key, False

    def edit(self, value: torch.Tensor, stream: torch.Tensor | None) -> torch.Tensor:
        """The edited site tensor `[R, S, width]`; stream: the residual, where known."""
        if self.shape.n_neurons:
            return self._edit_neurons(value, stream)
        base = stream if self.site.adds_stream else None
        h = value if base is None else base + value
        change = self._change(h)
        edited = torch.where(self.mask, value + change.to(value.dtype), value)
        over = h if base is not None or stream is None else stream
        self._record((edited - value).detach(), over.detach())
        return edited

    def _change(self, h: torch.Tensor) -> torch.Tensor:
        rows = self.rows
        if self.shape.kind == "add":
            return rows["change"][:, None]
        h, c = h.float(), rows["coefficient"]
        if self.shape.kind == "ablate":
            if self.shape.matched:
                return ops.ablate_matched(h, c, rows["own"], rows["target"])
            return ops.ablate(h, c, rows["own"])
        if self.shape.matched:
            return ops.turn_matched(h, c, rows["own"], rows["target"])
        return ops.turn(h, c, rows["own"])

    def _edit_neurons(self, value: torch.Tensor, stream: torch.Tensor | None) -> torch.Tensor:
        goal, share = self._goal()
        index, old = self._gather(value, "own")
        weight = share
        if self.shape.matched:
            _, target = self._gather(value, "target")
            wanted = ops.length(self._written("target", share * (goal - target.float())))
            own = ops.length(self._written("own", goal - old.float()))
            weight = wanted / own.clamp_min(_TINY)
        goal = goal.to(old.dtype).expand_as(old)
        new = torch.lerp(old, goal, weight.to(old.dtype).expand_as(old))
        new = torch.where(self.mask, new, old)
        change = (new - old).detach().float()
        if stream is None:
            self._record_lengths(
                ops.length(self._written("own", change)), ops.length(change), value
            )
        else:
            self._record(self._written("own", change), stream.detach())
        return value.scatter(-1, index, new)

    def _goal(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the neurons go and which share of the way, each `[R, 1, 1]`."""
        c = self.rows["coefficient"][:, None, None]
        return (c, torch.ones_like(c)) if self.shape.kind == "clamp" else (torch.zeros_like(c), c)

    def _gather(self, value: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        index = self.rows[f"{name}_neurons"][:, None].expand(-1, value.shape[1], -1)
        return index, value.gather(-1, index)

    def _written(self, name: str, change: torch.Tensor) -> torch.Tensor:
        return ops.written(change, self.rows[f"{name}_vectors"])

    def _record(self, change: torch.Tensor, over: torch.Tensor) -> None:
        delivered = ops.length(change.float())
        self._record_lengths(delivered, delivered, over)

    def _record_lengths(
        self, delivered: torch.Tensor, numerator: torch.Tensor, over: torch.Tensor
    ) -> None:
        """Add to the stats: one firing, its delivered norm, and its dose numerator / |over|."""
        dose = numerator / ops.length(over.detach().float()).clamp_min(_TINY)
        stats = self.stats
        stats[0] += self.mask[..., 0]
        stats[1] += delivered.detach()[..., 0]
        stats[2] += dose.detach()[..., 0]
