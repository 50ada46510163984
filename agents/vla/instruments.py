"""What is attached to an agent's decoder while it acts: what steers it and what reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.monitoring import LayerMonitor
from pilotage.agents.vla.reading import TokenReader
from pilotage.agents.vla.watching import StateReader
from pilotage.steering.logit_mix import LogitMixer
from pilotage.steering.steerer import Steerer


class Instruments:
    """The steerer, the logit mixer and the readers that the conditions of a run ask for.

    Each is None where nobody asked for it, and the decoder then runs as it is. `close` takes the
    hooks off again.

    conditions: by name, resolved against this model.
    n_rows: lanes, one a slot (and those that fill up the last group).
    read_tokens, monitor, record_sites: see `VLAAgent`.
    """

    def __init__(
        self,
        model: VLAModel,
        conditions: Mapping[str, AgentCondition],
        n_rows: int,
        *,
        read_tokens: bool = False,
        monitor: bool = False,
        record_sites: Sequence[str] = (),
        device: str = "cpu",
    ) -> None:
        decoder, c, every = model.decoder, model.config, list(conditions.values())
        self.steerer: Steerer | None = None
        self.mixer: LogitMixer | None = None
        if any(condition.interventions for condition in every):
            self.steerer = Steerer(decoder, n_rows=n_rows).__enter__()
            self.steerer.prepare(condition.interventions for condition in every)
        mixes = [condition.logit_mix for condition in every if condition.logit_mix is not None]
        if mixes:
            first = model.tokenizer.first_bin_id
            actions = slice(first, first + (c.n_discrete or c.n_bins))
            mixer = LogitMixer(decoder, mixes, n_rows=n_rows, vocabulary=actions)
            self.mixer = mixer.__enter__()
        self.reader = TokenReader(decoder, every, n_rows) if read_tokens else None
        self.monitor = LayerMonitor(model, n_rows, device) if monitor else None
        sites = [condition.guard.probe.site for condition in every if condition.guard is not None]
        sites += record_sites
        self.states = StateReader(decoder, sites) if sites else None
        self._recorded = tuple(record_sites)

    def set_row(self, row: int, condition: AgentCondition) -> None:
        """An episode under `condition` begins in a row."""
        if self.steerer is not None:
            self.steerer.set_row(row, condition.interventions)
        if self.mixer is not None:
            self.mixer.set_row(row, condition.logit_mix)
        if self.reader is not None:
            self.reader.set_row(row, condition.name)
        if self.monitor is not None:
            self.monitor.reset_row(row)
        if self.states is not None:
            self.states.clear_row(row)

    @contextmanager
    def watch(self, rows: slice, live: torch.Tensor, token: int) -> Iterator[None]:
        """Around the forward that predicts action token `token`: what is recorded of it."""
        with ExitStack() as stack:
            if self.reader is not None and token == 0:
                stack.enter_context(self.reader.watch(rows, live))
            if self.states is not None and token == 0:
                stack.enter_context(self.states.watch(rows))
            if self.monitor is not None:
                stack.enter_context(self.monitor.watch(rows, live, token))
            yield

    def trace(self, n_slots: int) -> dict[str, np.ndarray]:
        """What the record keeps of this step, per slot."""
        kept: dict[str, Any] = {}
        if self.steerer is not None:
            kept["dose"] = self.steerer.last_dose()[:n_slots]
        if self.states is not None:
            for site in self._recorded:
                kept[f"state.{site}"] = self.states.states(site, n_slots)
        if self.reader is not None:
            kept |= self.reader.trace(n_slots)
        if self.monitor is not None:
            kept |= self.monitor.trace(n_slots)
        return kept

    def close(self) -> None:
        """Take the hooks off the decoder."""
        if self.steerer is not None:
            self.steerer.close()
            self.steerer = None
        if self.mixer is not None:
            self.mixer.close()
            self.mixer = None
