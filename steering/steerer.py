"""The Steerer: interventions per batch row, attached to a model, counted, and cleanly removed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering import receipts
from pilotage.steering.batches import Batches
from pilotage.steering.checks import check_fits, per_row, phase_number
from pilotage.steering.gate_readers import GateReader
from pilotage.steering.handles import HookHandles
from pilotage.steering.hooks import SiteHooks
from pilotage.steering.interventions import PHASES, Intervention
from pilotage.steering.lanes import Lane
from pilotage.steering.ledger import Ledger
from pilotage.steering.plan import Edits, Plan
from pilotage.steering.sites import find_layers, parse_site, resolve
from pilotage.steering.tables import LaneShape

_steered: weakref.WeakSet[nn.ModuleList] = weakref.WeakSet()


class Steerer:
    """Steers a decoder's forwards, every batch row under its own interventions.

    A context manager: hooks are on the model's leaf modules inside the `with` only. A row is a
    lane of the caller's batch (a slot). Before each forward, `begin` says which rows it carries
    and what its tokens are. Rows without interventions, with coefficient 0, not live, or with no
    selected token are bit-identical to an unsteered forward. Interventions of one row at one site
    act in their order.

    With `torch.compile`: enter and `prepare` first, then compile; settings are updated in place.
    """

    def __init__(self, decoder: nn.Module, *, n_rows: int) -> None:
        if n_rows < 1:
            raise ValueError(f"n_rows must be >= 1, got {n_rows}")
        self.decoder, self.n_rows = decoder, n_rows
        self.layers = find_layers(decoder)
        self.device = next(self.layers.parameters()).device
        self._plan = Plan(n_rows)
        self._hooks: dict[str, SiteHooks] = {}
        self._readers: dict[str, GateReader] = {}
        self._lanes: list[Lane] = []
        self._rows: list[list[tuple[Intervention, Lane]]] = [[] for _ in range(n_rows)]
        self._batches = Batches(n_rows, self.device)
        self._ledger = Ledger(n_rows, self.device)
        self._armed: Edits | None = None  # what the lanes are set to
        self._handles: HookHandles | None = None

    # ---------------------------------------------------------------- attaching and removing

    def __enter__(self) -> Steerer:
        if self.layers in _steered:
            raise RuntimeError(
                f"this {type(self.decoder).__name__} is already steered by a Steerer in use; "
                "leave that one first, or give its rows more interventions"
            )
        _steered.add(self.layers)
        self._handles = HookHandles()
        for hooks in self._hooks.values():
            hooks.attach(self._handles)
        for reader in self._readers.values():
            reader.attach(self._handles)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every hook; receipts stay readable. Safe to call twice."""
        if self._handles is None:
            return
        self._handles.remove()
        self._handles = None
        _steered.discard(self.layers)
        self._disarm()

    # ---------------------------------------------------------------- settings

    def prepare(self, conditions: Iterable[Sequence[Intervention]]) -> None:
        """Validate conditions and allocate for them, so that `set_row` allocates nothing later."""
        for interventions in conditions:
            self._assign(interventions)

    @torch.inference_mode(False)
    def set_row(self, row: int, interventions: Sequence[Intervention]) -> None:
        """Put a row under these interventions and start its receipt anew.

        Raises SiteError or ValueError, and changes nothing, when one of them does not fit the
        model.
        """
        self._check_row(row)
        lanes = self._assign(interventions)
        self.clear_row(row)
        for intervention, lane in zip(interventions, lanes):
            lane.tables.set(row, intervention)
            self._plan.set(lane.number, row, intervention)
            self._rows[row].append((intervention, lane))

    @torch.inference_mode(False)
    def clear_row(self, row: int) -> None:
        """No interventions for this row from now on; its receipt starts anew."""
        self._check_row(row)
        self._plan.clear_row(row)
        self._ledger.clear_row(row)
        for reader in self._readers.values():
            reader.clear_row(row)
        self._rows[row] = []

    @torch.inference_mode(False)
    def set_coefficient(self, row: int, index: int, coefficient: float) -> None:
        """Change the coefficient of a row's intervention in place (for controllers)."""
        self._check_row(row)
        if not 0 <= index < len(self._rows[row]):
            raise IndexError(
                f"row {row} has {len(self._rows[row])} interventions, asked for {index}"
            )
        intervention, lane = self._rows[row][index]
        changed = intervention.with_coefficient(coefficient)
        lane.tables.set_coefficient(row, changed)
        self._armed = None
        self._plan.set_active(lane.number, row, changed.coefficient != 0.0)
        self._rows[row][index] = (changed, lane)

    def row(self, row: int) -> tuple[Intervention, ...]:
        """The interventions that a row is under."""
        self._check_row(row)
        return tuple(intervention for intervention, _ in self._rows[row])

    # ---------------------------------------------------------------- the hot path

    def begin(
        self,
        rows: Any,
        token_groups: Any,
        phase: str,
        decode_token: int,
        env_steps: Any,
        live: Any,
        *,
        replans: Any = None,
        denoise_step: int | None = None,
    ) -> None:
        """Announce the next forward. Call once before each forward, with R its batch size.

        rows: distinct row numbers [R] (LongTensor, array, list or slice). token_groups: int8 [R,
        S] of `steering.tokens`. phase: "prefill" or "decode". decode_token: 0 for the first decode
        forward after a prefill. env_steps: int [R], one more at each step of the row's episode.
        live: bool [R]; rows that are not live are neither edited nor counted. replans: int [R],
        decisions before this one in the row's episode; env_steps where a policy decides at every
        step. denoise_step: which step of denoising a chunk this forward is, if it is one. Keep
        these on the host: the plan is made there.
        """
        if self._handles is None:
            raise RuntimeError("begin was called outside `with steerer:`; nothing is attached")
        number = phase_number(phase)
        batch = self._batches.batch(rows, token_groups)
        steps = per_row(env_steps, len(batch.token_bits), "env_steps")
        decisions = steps if replans is None else per_row(replans, len(steps), "replans")
        alive = per_row(live, len(batch.token_bits), "live")
        if alive.dtype != bool:
            raise ValueError(f"live must be bool [R], got {alive.dtype}")
        self._ledger.start_steps(batch.rows, steps, alive)
        for reader in self._readers.values():
            reader.announce(batch.rows if phase == "prefill" else None, alive)
        indices = {
            "decode_tokens": int(decode_token) if phase == "decode" else None,
            "denoise_steps": denoise_step,
        }
        counters = {"env_steps": steps, "replans": decisions}
        self._arm(self._plan.edits(batch, number, indices, counters, alive))

    def _arm(self, edits: Edits) -> None:
        """Set the lanes to these edits."""
        if edits is not self._armed:
            frame = self._ledger.open(edits) if edits.lanes else None
            for lane in self._lanes:
                if frame is not None and lane.number in edits.lanes:
                    lane.arm(frame, edits.rows)
                else:
                    lane.armed = False
            for hooks in self._hooks.values():
                hooks.arm()
            self._armed = edits
        for hooks in self._hooks.values():
            hooks.stream = None

    def _disarm(self) -> None:
        """Nothing to do for the lanes until `begin` is called again."""
        for lane in self._lanes:
            lane.armed = False
        for hooks in self._hooks.values():
            hooks.arm()
        self._armed = None

    # ---------------------------------------------------------------- what happened

    def receipt(self, row: int) -> dict[str, Any]:
        """JSON: per intervention planned and edited tokens by phase, delivered norm, dose."""
        self._check_row(row)
        self._plan.count()
        totals = self._ledger.row(row)
        return {
            "interventions": [
                receipts.intervention_receipt(
                    intervention,
                    self._plan.planned[lane.number, :, row],
                    totals[lane.number],
                    _dose_over(lane),
                )
                for intervention, lane in self._rows[row]
            ],
            "forwards": {p: int(self._plan.forwards[i, row]) for i, p in enumerate(PHASES)},
        }

    @staticmethod
    def check_receipt(receipt: Mapping[str, Any]) -> None:
        """Raise ReceiptMismatch where edited and planned tokens differ."""
        receipts.check_receipt(receipt)

    def last_dose(self) -> np.ndarray:
        """Mean dose per edited token in each row's last env step, float32 `[n_rows]`; 0 if none."""
        return self._ledger.last_dose()

    # ---------------------------------------------------------------- lanes

    def _assign(self, interventions: Sequence[Intervention]) -> list[Lane]:
        """A lane for each, in the row's order at each site; makes the lanes that are missing."""
        for intervention in interventions:
            check_fits(self.decoder, self.device, intervention)
        taken: dict[str, int] = {}  # site -> lanes of this site that this row has passed
        with torch.inference_mode(False):
            lanes = [self._next_lane(intervention, taken) for intervention in interventions]
            for lane, intervention in zip(lanes, interventions):
                lane.tables.admit(intervention)
        return lanes

    def _next_lane(self, intervention: Intervention, taken: dict[str, int]) -> Lane:
        site, shape = str(parse_site(intervention.site)), LaneShape.of(intervention)
        hooks = self._site_hooks(site)
        for place in range(taken.get(site, 0), len(hooks.lanes)):
            if hooks.lanes[place].shape == shape:
                taken[site] = place + 1
                return hooks.lanes[place]
        self._disarm()
        self._ledger.add_lane()
        lane = Lane(shape, hooks.site, self._plan.add_lane(), self.n_rows)
        if shape.gate is not None:
            lane.reader = self._gate_reader(shape.gate[0])
        hooks.lanes.append(lane)
        self._lanes.append(lane)
        taken[site] = len(hooks.lanes)
        return lane

    def _site_hooks(self, site: str) -> SiteHooks:
        if site not in self._hooks:
            hooks = SiteHooks(resolve(self.decoder, site))
            if self._handles is not None:
                hooks.attach(self._handles)
            self._hooks[site] = hooks
        return self._hooks[site]

    def _gate_reader(self, reads: str) -> GateReader:
        if reads not in self._readers:
            reader = GateReader(self.decoder, reads, self.n_rows)
            if self._handles is not None:
                reader.attach(self._handles)
            self._readers[reads] = reader
        return self._readers[reads]

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.n_rows:
            raise IndexError(
                f"row {row} does not exist; this Steerer has rows 0 to {self.n_rows - 1}"
            )


def _dose_over(lane: Lane) -> str:
    """What the dose is relative to, in words."""
    if lane.site.adds_stream:
        return "residual stream after the block, before this edit"
    if lane.site.stream is not None:
        return "residual stream that the branch is added to"
    return "vector at the site, before this edit"
