"""The VLA as an agent of the episode loop: batched over slots, each under its own condition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.control import Controls
from pilotage.agents.vla.decoding import RowDecoder, padded_rows
from pilotage.agents.vla.instruments import Instruments
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.observed import image_of, proprio_of
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task
from pilotage.steering.artefacts import model_digest


class VLAAgent:
    """Runs a `VLAModel` in every slot, each under its own condition.

    folder: where its checkpoint lies; vector files of conditions are looked up from there.
    rows_per_forward: rows of one forward pass; slots are served in groups of that many.
    narrate: after each action it also says what it does; the words go into the record, and nothing
    that acts ever sees them.
    read_tokens: what it is pushed to say goes into the record as well (`TokenReader`).
    monitor: so does what its layers do at every step (`LayerMonitor`).
    record_sites: so do the states at these sites where the first action token is predicted, as
    `state.SITE` (what success probes and gates are fitted to).
    """

    observation_needs: frozenset[str] = frozenset()

    def __init__(
        self,
        model: VLAModel,
        *,
        name: str,
        weights_sha256: str,
        folder: Path | None = None,
        rows_per_forward: int = 8,
        narrate: bool = False,
        read_tokens: bool = False,
        monitor: bool = False,
        record_sites: Sequence[str] = (),
        device: str = "cpu",
    ) -> None:
        self.model = model.to(device).eval()
        self.config = model.config
        self.codec = ActionCodec(
            self.config.n_action_tokens, self.config.n_bins, self.config.n_discrete
        )
        self.device = device
        self.name = name
        self.folder = folder
        self.weights_sha256 = weights_sha256
        self.rows_per_forward = rows_per_forward
        self.narrate = narrate
        self.read_tokens, self.monitor = read_tokens, monitor
        self.record_sites = tuple(record_sites)
        self._conditions: dict[str, AgentCondition] = {}
        self._instruments: Instruments | None = None
        self._trace: dict[str, np.ndarray] = {}

    @property
    def agent_id(self) -> str:
        return f"{self.name}@{self.weights_sha256[:8]}"

    def manifest(self) -> dict[str, Json]:
        # A key that old runs lack counts as false there: they can still be resumed.
        extra: dict[str, Json] = {"read_tokens": True} if self.read_tokens else {}
        if self.monitor:
            extra["monitor"] = True
        if self.record_sites:
            extra["record_sites"] = list(self.record_sites)
        if self.config.temperature > 0:
            extra["temperature"] = self.config.temperature
        return {
            "agent": self.agent_id,
            "weights_sha256": self.weights_sha256,
            "rows_per_forward": self.rows_per_forward,
            "narrate": self.narrate,
            "device": self.device.partition(":")[0],
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
            **extra,
        }

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        """Resolve the conditions against this model and allocate lanes for `n_slots`."""
        self.close()
        decoder = self.model.decoder
        digest = model_digest(decoder) if any(c.spec for c in conditions) else None
        self._conditions = {
            c.name: AgentCondition.resolve(c, decoder, self.folder, digest) for c in conditions
        }
        self._n_slots = n_slots
        n_rows = padded_rows(n_slots, self.rows_per_forward)
        every = self._conditions.values()
        self._controls = Controls(self.config.world, every, n_rows)
        self._instruments = Instruments(
            self.model,
            self._conditions,
            n_rows,
            read_tokens=self.read_tokens,
            monitor=self.monitor,
            record_sites=self.record_sites,
            device=self.device,
        )
        self._rows = RowDecoder(
            self.model,
            n_slots,
            self._instruments,
            rows_per_forward=self.rows_per_forward,
            temperature=self.config.temperature,
            narrate=self.narrate,
            device=self.device,
        )
        self._text: list[str | None] = [None] * n_slots
        self._slot_condition = [AgentCondition("baseline")] * n_slots

    @property
    def _attached(self) -> Instruments:
        if self._instruments is None:
            raise RuntimeError("prepare() comes before an agent's first episode")
        return self._instruments

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        resolved = self._conditions[condition.name]
        self._slot_condition[slot] = resolved
        self._rows.begin(slot, seeds.agent, rereads=resolved.changes_over_time)
        self._read_instruction(slot, task.instruction)
        self._attached.set_row(slot, resolved)
        self._controls.begin(slot, resolved)

    def _read_instruction(self, slot: int, text: str) -> None:
        self._rows.read(slot, self._slot_condition[slot].edit_instruction(text))
        self._text[slot] = text

    @torch.inference_mode()
    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions for the active slots: float32 `[n, 7]` or int64 `[n]`."""
        for slot in np.flatnonzero(active).tolist():
            if observations["instruction"][slot] != self._text[slot]:
                self._read_instruction(slot, observations["instruction"][slot])
        self._control(observations, active)
        bins = self._rows.act(active, lambda slots: self._seen(observations, slots))
        actions = self.codec.decode(bins)
        for slot in np.flatnonzero(active).tolist():
            actions[slot] = self._slot_condition[slot].edit_action(
                actions[slot], self._controls.multiplier(slot)
            )
        self._trace = {
            "action_bins": bins.astype(np.int16),
            **self._attached.trace(self._n_slots),
            **self._controls.trace(self._n_slots),
        }
        return actions

    def _control(self, observations: Observations, active: np.ndarray) -> None:
        """Let every controller and guard measure, and set the coefficients of its row."""
        slots = np.flatnonzero(active).tolist()
        proprio, attached = None, self._attached
        if self._controls.measures_body(slots):
            proprio = proprio_of(observations, self.config.proprio_keys)
        for slot in slots:
            body = None if proprio is None else proprio[slot]
            multiplier = self._controls.step(slot, body, attached.states)
            if multiplier is None:
                continue
            for k, edit in enumerate(self._slot_condition[slot].interventions):
                assert attached.steerer is not None
                attached.steerer.set_coefficient(slot, k, multiplier * edit.coefficient)

    def _seen(
        self, observations: Observations, slots: slice
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Images uint8 `[m, H, W, C]` a camera and proprio float32 `[m, P]` of some slots."""
        images = [
            self._tensor(image_of(observations, key, self.config.with_depth)[slots])
            for key in self.config.image_keys
        ]
        return images, self._tensor(proprio_of(observations, self.config.proprio_keys)[slots])

    def _tensor(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)

    def step_trace(self) -> dict[str, np.ndarray]:
        return self._trace

    def finish_slot(self, slot: int) -> dict[str, Any]:
        """The steering receipt of the episode; ReceiptMismatch if it contradicts the plan."""
        attached, condition = self._attached, self._slot_condition[slot]
        told: dict[str, Any] = {"narration": list(self._rows.said[slot])} if self.narrate else {}
        if attached.reader is not None:
            told["reading"] = attached.reader.receipt(slot, self.spell)
        if attached.mixer is not None and condition.logit_mix is not None:
            n_chosen = self._rows.n_steps(slot) * self.config.n_action_tokens
            told["logit_mix"] = attached.mixer.receipt(slot, n_chosen)
        controlled = self._controls.receipt(slot)
        told |= controlled
        if attached.steerer is None or not condition.interventions:
            return told
        receipt = attached.steerer.receipt(slot)
        attached.steerer.check_receipt(receipt)
        if controlled:
            # The last step's coefficients say little: give what is multiplied.
            for entry, edit in zip(receipt["interventions"], condition.interventions, strict=True):
                entry |= {"coefficient": edit.coefficient, "digest": edit.digest}
        return {**receipt, **told}

    def spell(self, token_id: int) -> str:
        """A word as it is, an action bin as the action it stands for (`+0.40`, `action 1`)."""
        place = token_id - self.model.tokenizer.first_bin_id
        if 0 <= place < (self.config.n_discrete or self.config.n_bins):
            return self.codec.describe(place)
        return self.model.tokenizer.text_of(token_id)

    def close(self) -> None:
        """Remove the steering hooks from the model."""
        if self._instruments is not None:
            self._instruments.close()
