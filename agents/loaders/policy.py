"""A loaded policy as an agent of the episode loop: slots, conditions, steering, action units.

As in `agents/vla/policy.py`, every forward has the same number of rows, filled up where slots are
missing, so that the record of an episode does not depend on how many are played beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.loaders.contract import LoadedPolicy, Scene
from pilotage.agents.loaders.motion import Motion
from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.reading import TokenReader
from pilotage.episodes.types import Condition, Json, Observations, Seeds, SlotError, Task
from pilotage.steering.artefacts import model_digest
from pilotage.steering.steerer import Steerer


@dataclass
class _Lane:
    """One slot's episode. chunk: the actions decided and not yet carried out."""

    condition: AgentCondition = field(default_factory=lambda: AgentCondition("baseline"))
    text: str = ""
    words: str = ""  # the text as the condition edits it
    step: int = 0
    chunk: deque[np.ndarray] = field(default_factory=deque)
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    decisions: int = 0
    odd: int = 0


class PretrainedAgent:
    """Runs a `LoadedPolicy` in every slot, each under its own condition.

    motion: what its actions mean in this world. rows_per_forward: slots are served in groups of
    that many. read_tokens: what the stack is pushed to say goes into the record (`TokenReader`).
    """

    observation_needs: frozenset[str] = frozenset()

    def __init__(
        self,
        policy: LoadedPolicy,
        motion: Motion,
        *,
        name: str,
        weights_sha256: str,
        folder: Path | None = None,
        rows_per_forward: int = 4,
        read_tokens: bool = False,
    ) -> None:
        if rows_per_forward < 1:
            raise ValueError(f"rows must be >= 1, got {rows_per_forward}")
        self.model, self.motion = policy, motion
        self.name, self.weights_sha256, self.folder = name, weights_sha256, folder
        self.rows_per_forward = rows_per_forward
        self.read_tokens = read_tokens
        self._steerer: Steerer | None = None
        self._reader: TokenReader | None = None
        self._lanes: list[_Lane] = []
        self._trace: dict[str, np.ndarray] = {}

    @property
    def agent_id(self) -> str:
        return f"{self.name}@{self.weights_sha256[:8]}"

    def manifest(self) -> dict[str, Json]:
        weight = next(self.model.decoder.parameters())
        return {
            "agent": self.agent_id,
            "weights_sha256": self.weights_sha256,
            "rows_per_forward": self.rows_per_forward,
            "motion": self.motion.name,
            "read_tokens": self.read_tokens,
            "device": weight.device.type,
            "dtype": str(weight.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
            **self.model.manifest(),
        }

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        """Resolve the conditions against the steered stack and allocate for `n_slots`."""
        decoder = self.model.decoder
        digest = model_digest(decoder) if any(c.spec for c in conditions) else None
        resolved = [AgentCondition.resolve(c, decoder, self.folder, digest) for c in conditions]
        held = [c.name for c in resolved if c.feedback is not None]
        if held:
            raise ValueError(
                f"{', '.join(held)}: a controller needs the agent's own sensors, which a loaded "
                "checkpoint has none of; give a constant dose"
            )
        if mixed := [c.name for c in resolved if c.logit_mix is not None]:
            raise ValueError(
                f"{', '.join(mixed)}: logits are mixed in agents that were trained here only; "
                "leave logit_mix out"
            )
        self._conditions = {c.name: c for c in resolved}
        rows = self.rows_per_forward
        n_rows = -(-n_slots // rows) * rows
        self.close()
        self.model.allocate(rows)
        if any(c.interventions for c in resolved):
            self._steerer = Steerer(decoder, n_rows=n_rows).__enter__()
            self._steerer.prepare(c.interventions for c in resolved)
        self._reader = TokenReader(decoder, resolved, n_rows) if self.read_tokens else None
        self._n_slots = n_slots
        self._lanes = [_Lane() for _ in range(n_rows)]
        self._decided = {
            name: np.full((n_rows, *shape), fill)
            for name, (fill, shape) in self.model.trace.items()
        }

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        resolved = self._conditions[condition.name]
        lane = _Lane(resolved, noise=np.random.default_rng(seeds.noise))
        self._read_text(lane, task.instruction)
        self._lanes[slot] = lane
        for name, (fill, _) in self.model.trace.items():
            self._decided[name][slot] = fill
        if self._steerer is not None:
            self._steerer.set_row(slot, resolved.interventions)
        if self._reader is not None:
            self._reader.set_row(slot, condition.name)

    def _read_text(self, lane: _Lane, text: str) -> None:
        words = lane.condition.edit_instruction(text)
        self.model.check_text(words)
        lane.text, lane.words = text, words
        lane.chunk.clear()  # new words: decide again

    @torch.inference_mode()
    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions float32 `[n, 7]` for the active slots."""
        self._read_texts(observations, active)
        rows = self.rows_per_forward
        waiting = np.zeros(len(self._lanes), dtype=bool)
        for slot in np.flatnonzero(active).tolist():
            waiting[slot] = not self._lanes[slot].chunk
        for first in range(0, len(self._lanes), rows):
            if waiting[first : first + rows].any():
                self._decide(slice(first, first + rows), observations, waiting)
        actions = np.zeros((self._n_slots, 7), dtype=np.float32)
        raw = np.zeros((self._n_slots, 7), dtype=np.float32)
        for slot in np.flatnonzero(active).tolist():
            lane = self._lanes[slot]
            own = lane.chunk.popleft()
            lane.step += 1
            raw[slot] = own
            actions[slot] = lane.condition.edit_action(self.motion.to_world(own))
        self._trace = {"raw_action": raw} | {
            name: rows[: self._n_slots].copy() for name, rows in self._decided.items()
        }
        if self._steerer is not None:
            self._trace["dose"] = self._steerer.last_dose()[: self._n_slots]
        if self._reader is not None:
            self._trace |= self._reader.trace(self._n_slots)
        return actions

    def _read_texts(self, observations: Observations, active: np.ndarray) -> None:
        """Take up words that changed; SlotError for those that cannot be read."""
        refused: dict[int, str] = {}
        for slot in np.flatnonzero(active).tolist():
            text = observations["instruction"][slot]
            try:
                if text != self._lanes[slot].text:
                    self._read_text(self._lanes[slot], text)
            except ValueError as error:
                refused[slot] = str(error)
        if refused:
            raise SlotError(refused)

    def _decide(self, span: slice, observations: Observations, waiting: np.ndarray) -> None:
        """Let the policy decide for the rows of a group that wait for actions."""
        lanes, live = self._lanes[span], waiting[span]
        scene = Scene(
            texts=tuple(lane.words for lane in lanes),
            pictures={k: self._rows_of(observations[k], span, live) for k in self._pictures()},
            proprio=self._rows_of(np.asarray(observations["proprio"], np.float32), span, live),
            live=live,
            noise=tuple(lane.noise for lane in lanes),
        )
        steps = np.array([lane.step for lane in lanes])

        decisions = np.array([lane.decisions for lane in lanes])

        def announce(
            token_groups: torch.Tensor,
            phase: str,
            decode_token: int,
            *,
            denoise_step: int | None = None,
        ) -> None:
            if self._steerer is not None:
                self._steerer.begin(
                    span,
                    token_groups,
                    phase,
                    decode_token,
                    steps,
                    live,
                    replans=decisions,
                    denoise_step=denoise_step,
                )

        watch: Any = nullcontext()
        if self._reader is not None:
            watch = self._reader.watch(span, torch.from_numpy(live))
        decision = self.model.decide(scene, announce, watch)
        for row in np.flatnonzero(live).tolist():
            lane = lanes[row]
            if not np.isfinite(decision.actions[row]).all():
                raise ValueError(
                    f"{self.agent_id} gave an action that is not finite at step {lane.step}; is "
                    "the dose too large, or the number type too small?"
                )
            lane.chunk.extend(decision.actions[row])
            lane.decisions += 1
            lane.odd += int(decision.odd[row]) if len(decision.odd) else 0
            for name, values in decision.trace.items():
                self._decided[name][span.start + row] = values[row]

    def _pictures(self) -> tuple[str, ...]:
        return self.model.picture_keys

    def _rows_of(self, values: np.ndarray, span: slice, live: np.ndarray) -> np.ndarray:
        """The rows of a group; zeros for rows that do not decide."""
        values = np.asarray(values)
        out = np.zeros((len(live), *values.shape[1:]), values.dtype)
        own = values[span]
        out[: len(own)] = own
        out[~live] = 0
        return out

    def step_trace(self) -> dict[str, np.ndarray]:
        return self._trace

    def finish_slot(self, slot: int) -> dict[str, Any]:
        """The receipt of the episode: decisions, corrected choices, what steering delivered.

        ReceiptMismatch if steering contradicts the plan.
        """
        lane = self._lanes[slot]
        told: dict[str, Any] = {"decisions": lane.decisions, "corrected_choices": lane.odd}
        if self._reader is not None:
            told["reading"] = self._reader.receipt(slot, self.model.text_of)
        if self._steerer is None or not lane.condition.interventions:
            return told
        receipt = self._steerer.receipt(slot)
        self._steerer.check_receipt(receipt)
        return {**receipt, **told}

    def close(self) -> None:
        """Remove the steering hooks from the model."""
        if self._steerer is not None:
            self._steerer.close()
            self._steerer = None
