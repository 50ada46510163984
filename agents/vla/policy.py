"""The VLA as an agent of the episode loop: batched over slots, greedy, with a cache of fixed shape.

Every forward has the same number of rows, filled up where slots are missing. On one machine the
result of a row then does not depend on the other rows, bit for bit, which is what makes records
independent of the number of slots (tests/agents/test_vla_policy.py holds it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.cache import CACHE_ARGUMENT, RowCache
from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.monitoring import LayerMonitor
from pilotage.agents.vla.reading import TokenReader
from pilotage.agents.vla.sampling import ActionSampler
from pilotage.agents.vla.sensors import PERIODS_S, Sensor, make_sensor
from pilotage.agents.vla.watching import StateReader
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task
from pilotage.steering import tokens as groups
from pilotage.steering.artefacts import model_digest
from pilotage.steering.guard import GuardState
from pilotage.steering.laws import Controller
from pilotage.steering.logit_mix import LogitMixer
from pilotage.steering.steerer import Steerer

MAX_DEPTH_M = 10.0


class VLAAgent:
    """Runs a `VLAModel` in every slot, each under its own condition.

    The decoder reads an instruction once an episode, and again where the words change or what
    steers them does; its keys and values stay in the cache.

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
        self._reader: TokenReader | None = None
        self._monitor: LayerMonitor | None = None
        self._states: StateReader | None = None
        self._conditions: dict[str, AgentCondition] = {}
        self._steerer: Steerer | None = None
        self._mixer: LogitMixer | None = None
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
        decoder = self.model.decoder
        digest = model_digest(decoder) if any(c.spec for c in conditions) else None
        self._conditions = {
            c.name: AgentCondition.resolve(c, decoder, self.folder, digest) for c in conditions
        }
        self._n_slots = n_slots
        rows = self.rows_per_forward
        n_rows = -(-n_slots // rows) * rows
        c = self.config
        self._caches = [
            RowCache(
                n_layers=c.n_layers,
                n_rows=rows,
                n_heads=c.kv_heads,
                capacity=self._ring_end + (c.max_narration if self.narrate else 0),
                head_dim=c.d_model // c.n_heads,
                device=self.device,
            )
            for _ in range(n_rows // rows)
        ]
        self.close()
        if any(c.interventions for c in self._conditions.values()):
            self._steerer = Steerer(decoder, n_rows=n_rows).__enter__()
            self._steerer.prepare(c.interventions for c in self._conditions.values())
        mixes = [c.logit_mix for c in self._conditions.values() if c.logit_mix is not None]
        if mixes:
            first = self.model.tokenizer.first_bin_id
            actions = slice(first, first + (c.n_discrete or c.n_bins))
            mixer = LogitMixer(decoder, mixes, n_rows=n_rows, vocabulary=actions)
            self._mixer = mixer.__enter__()
        self._reader = None
        if self.read_tokens:
            self._reader = TokenReader(decoder, self._conditions.values(), n_rows)
        self._monitor = LayerMonitor(self.model, n_rows, self.device) if self.monitor else None
        sites = [c.guard.probe.site for c in self._conditions.values() if c.guard is not None]
        sites += self.record_sites
        self._states = StateReader(decoder, sites) if sites else None
        self._instruction = torch.full(
            (n_rows, c.max_instruction), self.model.tokenizer.pad_id, device=self.device
        )
        self._instruction[:, 0] = self.model.tokenizer.bos_id
        self._text: list[str | None] = [None] * n_rows
        # Whose instruction the decoder has yet to read (again).
        self._unread = torch.ones(n_rows, dtype=torch.bool, device=self.device)
        self._step = torch.zeros(n_rows, dtype=torch.long, device=self.device)
        self._last_token = torch.full((n_rows,), self.model.tokenizer.pad_id, device=self.device)
        self._slot_condition = [AgentCondition("baseline")] * n_rows
        self._said: list[list[str]] = [[] for _ in range(n_rows)]
        for condition in self._conditions.values():
            if condition.feedback is not None:  # an unknown quantity is refused before any episode
                make_sensor(c.world, condition.feedback.quantity)
        self._feedback: list[_Feedback | None] = [None] * n_rows
        self._guards: list[GuardState | None] = [None] * n_rows
        self._sampler = ActionSampler(c.temperature, n_rows)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._sampler.reset(slot, seeds.agent)
        rows = self.rows_per_forward
        self._caches[slot // rows].clear_row(slot % rows)
        self._step[slot] = 0
        self._last_token[slot] = self.model.tokenizer.pad_id
        self._said[slot] = []
        resolved = self._conditions[condition.name]
        self._slot_condition[slot] = resolved
        self._read_instruction(slot, task.instruction)
        if self._steerer is not None:
            self._steerer.set_row(slot, resolved.interventions)
        if self._mixer is not None:
            self._mixer.set_row(slot, resolved.logit_mix)
        if self._reader is not None:
            self._reader.set_row(slot, condition.name)
        if self._monitor is not None:
            self._monitor.reset_row(slot)
        if self._states is not None:
            self._states.clear_row(slot)
        self._guards[slot] = None if resolved.guard is None else GuardState(resolved.guard)
        setpoint = resolved.feedback
        self._feedback[slot] = None
        if setpoint is not None:
            world = self.config.world
            controller = setpoint.controller(PERIODS_S[world])
            self._feedback[slot] = _Feedback(make_sensor(world, setpoint.quantity), controller)

    def _read_instruction(self, slot: int, text: str) -> None:
        edited = self._slot_condition[slot].edit_instruction(text)
        tokenizer = self.model.tokenizer
        ids = tokenizer.padded(edited, self.config.max_instruction, start_id=tokenizer.bos_id)
        self._instruction[slot] = torch.from_numpy(ids).to(self.device)
        self._text[slot] = text
        self._unread[slot] = True

    @torch.inference_mode()
    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions for the active slots: float32 `[n, 7]` or int64 `[n]`."""
        for slot in np.flatnonzero(active):
            if observations["instruction"][slot] != self._text[slot]:
                self._read_instruction(int(slot), observations["instruction"][slot])
        self._control(observations, active)
        rows = self.rows_per_forward
        bins = np.zeros((self._n_slots, self.codec.n_tokens), dtype=np.int64)
        for group in range(len(self._caches)):
            first = group * rows
            n_real = min(rows, self._n_slots - first)
            live = np.zeros(rows, dtype=bool)
            live[:n_real] = active[first : first + n_real]
            if live.any():
                chosen = self._act_group(group, observations, torch.from_numpy(live))
                bins[first : first + n_real] = chosen[:n_real].cpu().numpy()
        return self._finish_act(bins, active)

    def _control(self, observations: Observations, active: np.ndarray) -> None:
        """Let every controller and guard measure, and set the coefficients of its row."""
        slots = np.flatnonzero(active).tolist()
        held = [slot for slot in slots if self._feedback[slot] is not None]
        proprio = proprio_of(observations, self.config.proprio_keys) if held else None
        for slot in slots:
            feedback, guard = self._feedback[slot], self._guards[slot]
            if feedback is None and guard is None:
                continue
            multiplier = 1.0
            if feedback is not None and proprio is not None:
                multiplier = feedback.step(proprio[slot])
            if guard is not None and self._states is not None:
                multiplier *= guard.step(self._states.state(guard.guard.probe.site, slot))
            for k, edit in enumerate(self._slot_condition[slot].interventions):
                assert self._steerer is not None
                self._steerer.set_coefficient(slot, k, multiplier * edit.coefficient)

    def _finish_act(self, bins: np.ndarray, active: np.ndarray) -> np.ndarray:
        actions = self.codec.decode(bins)
        for slot in np.flatnonzero(active):
            feedback = self._feedback[slot]
            actions[slot] = self._slot_condition[slot].edit_action(
                actions[slot], None if feedback is None else feedback.multiplier
            )
        self._trace = {"action_bins": bins.astype(np.int16)}
        if self._steerer is not None:
            self._trace["dose"] = self._steerer.last_dose()[: self._n_slots]
        if any(c.feedback is not None for c in self._conditions.values()):
            self._trace["multiplier"] = np.array(
                [np.nan if f is None else f.multiplier for f in self._feedback[: self._n_slots]],
                dtype=np.float32,
            )
        if any(c.guard is not None for c in self._conditions.values()):
            guards = self._guards[: self._n_slots]
            rows = [(np.nan, np.nan) if g is None else (g.factor, g.probability) for g in guards]
            factor, probability = np.array(rows, dtype=np.float32).T
            self._trace |= {"guard_factor": factor, "guard_probability": probability}
        if self._states is not None:
            for site in self.record_sites:
                self._trace[f"state.{site}"] = self._states.states(site, self._n_slots)
        if self._reader is not None:
            self._trace |= self._reader.trace(self._n_slots)
        if self._monitor is not None:
            self._trace |= self._monitor.trace(self._n_slots)
        return actions

    def _act_group(
        self, group: int, observations: Observations, live: torch.Tensor
    ) -> torch.Tensor:
        """Bins int64 `[R, K]` of one group of rows."""
        c, rows = self.config, self.rows_per_forward
        span = slice(group * rows, (group + 1) * rows)
        live = live.to(self.device)
        seen = self.model.embed_block(
            self._images(observations, span), self._proprio(observations, span)
        )
        step = self._step[span]
        block = c.max_instruction + step * c.block_size  # logical position of the block's start
        if c.memory_steps == 1:
            block = torch.full_like(block, c.max_instruction)
            self._caches[group].order[live, c.max_instruction :] = -1
        fresh = live & self._unread[span]
        if fresh.any():
            self._caches[group].order[fresh, : c.max_instruction] = -1
            self._feed_instruction(group, span, fresh)
            changes = [c.changes_over_time for c in self._slot_condition[span]]
            self._unread[span] &= ~fresh | torch.tensor(changes, device=self.device)
        # The block: the action before (its last token was never fed), images, proprioception.
        before = self.model.embed_ids(self._last_token[span])[:, None]
        states = torch.cat([before, seen], dim=1)
        n_seen = seen.shape[1]
        order = block[:, None] + torch.arange(-1, n_seen, device=self.device)
        keep = live[:, None].expand(-1, n_seen + 1).clone()
        keep[:, 0] &= (step > 0) & (c.memory_steps > 1) & c.sees_past_actions
        kinds = [groups.ACTION] + [groups.IMAGE] * c.n_image_tokens + [groups.PROPRIO]
        with self._watched(span, live, 0):
            hidden = self._feed(group, span, states, order, keep, kinds, "prefill", 0)[:, -1]
        chosen = []
        for k in range(c.n_action_tokens):
            logits = self.model.decoder.lm_head(hidden)[:, self.model.tokenizer.first_bin_id :]
            if c.n_discrete:
                logits = logits[:, : c.n_discrete]
            if self._mixer is not None:
                logits = self._mixer.mix(logits, span, live.cpu().numpy())
            chosen.append(self._sampler.choose(logits, span.start, live))
            token = chosen[-1] + self.model.tokenizer.first_bin_id
            if k < c.n_action_tokens - 1:
                place = (block + n_seen + k)[:, None]
                state = self.model.embed_ids(token)[:, None]
                with self._watched(span, live, k + 1):
                    hidden = self._feed(
                        group, span, state, place, live[:, None], [groups.ACTION], "decode", k
                    )[:, -1]
        self._last_token[span] = torch.where(live, token, self._last_token[span])
        if self.narrate:
            self._narrate(group, span, live, block, token)
        self._step[span] += live
        return torch.stack(chosen, dim=1)

    @contextmanager
    def _watched(self, span: slice, live: torch.Tensor, token: int) -> Iterator[None]:
        """Around the forward that predicts an action token: what is recorded of it."""
        with ExitStack() as stack:
            if self._reader is not None and token == 0:
                stack.enter_context(self._reader.watch(span, live))
            if self._states is not None and token == 0:
                stack.enter_context(self._states.watch(span))
            if self._monitor is not None:
                stack.enter_context(self._monitor.watch(span, live, token))
            yield

    def _narrate(
        self,
        group: int,
        span: slice,
        live: torch.Tensor,
        block: torch.Tensor,
        last_action: torch.Tensor,
    ) -> None:
        """Decode one narration a live row, behind its actions; leaves no trace in the cache."""
        c, tokenizer, cache = self.config, self.model.tokenizer, self._caches[group]
        end = block + c.block_size
        place = self._places(end - 1)
        state = self.model.embed_ids(last_action)[:, None]
        n = c.n_action_tokens
        self._feed(
            group, span, state, (end - 1)[:, None], live[:, None], [groups.ACTION], "decode", n - 1
        )
        token = torch.full_like(last_action, tokenizer.say_id)
        talking, said = live.clone(), []
        for j in range(c.max_narration - 1):
            hidden = self._feed(
                group,
                span,
                self.model.embed_ids(token)[:, None],
                (end + j)[:, None],
                talking[:, None],
                [groups.NARRATION],
                "decode",
                n + j,
                places=torch.full_like(end, self._ring_end + j)[:, None],
            )[:, -1]
            token = self.model.next_word(hidden)
            said.append(torch.where(talking, token, tokenizer.eos_id))
            talking &= token != tokenizer.eos_id
            if not talking.any():
                break
        cache.order[:, self._ring_end :] = -1
        if not (c.memory_steps > 1 and c.sees_past_actions):
            cache.order[torch.arange(len(place), device=self.device), place] = -1
        for row, ids in enumerate(torch.stack(said, dim=1).tolist()):
            if live[row]:
                self._said[span.start + row].append(tokenizer.decode(ids))

    def _feed_instruction(self, group: int, span: slice, fresh: torch.Tensor) -> None:
        ids = self._instruction[span]
        keep = fresh[:, None] & (ids != self.model.tokenizer.pad_id)
        order = torch.arange(ids.shape[1], device=self.device).expand_as(ids)
        kinds = [groups.INSTRUCTION] * ids.shape[1]
        self._feed(group, span, self.model.embed_ids(ids), order, keep, kinds, "prefill", 0)

    def _feed(
        self,
        group: int,
        span: slice,
        states: torch.Tensor,
        order: torch.Tensor,
        keep: torch.Tensor,
        kinds: list[int],
        phase: str,
        decode_token: int,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One decoder forward over `[R, Q, d]`; returns the final hidden states `[R, Q, d]`."""
        if self._steerer is not None:
            kind = torch.tensor(kinds, dtype=torch.int8, device=self.device)
            self._steerer.begin(
                rows=span,
                token_groups=torch.where(keep, kind, groups.PAD),
                phase=phase,
                decode_token=decode_token,
                env_steps=self._step[span],
                live=keep.any(dim=1),
            )
        c = self.config
        window = (self._step[span] - (c.memory_steps - 1)) * c.block_size * (c.memory_steps > 1)
        mask = self._caches[group].begin(
            self._places(order) if places is None else places,
            order,
            keep,
            pinned=c.max_instruction,
            oldest=c.max_instruction + window,
        )
        return self.model.decoder.model(
            inputs_embeds=states,
            attention_mask=mask,
            position_ids=order.clamp(min=0),
            use_cache=True,
            **{CACHE_ARGUMENT: self._caches[group]},
        ).last_hidden_state

    @property
    def _ring_end(self) -> int:
        return self.config.max_instruction + self.config.memory_steps * self.config.block_size

    def _places(self, order: torch.Tensor) -> torch.Tensor:
        """Where a logical position lives: the instruction first, then a ring of blocks."""
        c = self.config
        ring = c.memory_steps * c.block_size
        in_ring = c.max_instruction + (order - c.max_instruction) % ring
        return torch.where(order < c.max_instruction, order, in_ring)

    def _images(self, observations: Observations, span: slice) -> list[torch.Tensor]:
        return [
            self._padded(image_of(observations, key, self.config.with_depth)[span])
            for key in self.config.image_keys
        ]

    def _proprio(self, observations: Observations, span: slice) -> torch.Tensor:
        return self._padded(proprio_of(observations, self.config.proprio_keys)[span])

    def _padded(self, rows: np.ndarray) -> torch.Tensor:
        missing = self.rows_per_forward - len(rows)
        if missing:
            rows = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)

    def step_trace(self) -> dict[str, np.ndarray]:
        return self._trace

    def finish_slot(self, slot: int) -> dict[str, Any]:
        """The steering receipt of the episode; ReceiptMismatch if it contradicts the plan."""
        told: dict[str, Any] = {"narration": list(self._said[slot])} if self.narrate else {}
        if self._reader is not None:
            told["reading"] = self._reader.receipt(slot, self.spell)
        if self._mixer is not None and self._slot_condition[slot].logit_mix is not None:
            n_chosen = int(self._step[slot]) * self.config.n_action_tokens
            told["logit_mix"] = self._mixer.receipt(slot, n_chosen)
        feedback = self._feedback[slot]
        if feedback is not None:
            told["feedback"] = feedback.controller.receipt()
        guard = self._guards[slot]
        if guard is not None:
            told["guard"] = guard.receipt()
        if self._steerer is None or not self._slot_condition[slot].interventions:
            return told
        receipt = self._steerer.receipt(slot)
        self._steerer.check_receipt(receipt)
        if feedback is not None or guard is not None:
            # The last step's coefficients say little: give what is multiplied.
            edits = self._slot_condition[slot].interventions
            for entry, edit in zip(receipt["interventions"], edits, strict=True):
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
        if self._steerer is not None:
            self._steerer.close()
            self._steerer = None
        if self._mixer is not None:
            self._mixer.close()
            self._mixer = None


@dataclass
class _Feedback:
    """The sensor and the controller of one slot's episode."""

    sensor: Sensor
    controller: Controller
    multiplier: float = math.nan  # of this step

    def step(self, proprio: np.ndarray) -> float:
        self.multiplier = self.controller.step(self.sensor.measure(proprio))
        return self.multiplier


def image_of(observations: Observations, key: str, with_depth: bool) -> np.ndarray:
    """uint8 `[n, H, W, 3 or 4]`: the colour image and, if asked, depth as a fourth channel
    (0..10 m mapped to 0..255)."""
    image = np.asarray(observations[key])
    if not with_depth:
        return image
    depth = np.asarray(observations["depth"])
    scaled = np.rint(np.clip(depth, 0.0, MAX_DEPTH_M) * (255.0 / MAX_DEPTH_M)).astype(np.uint8)
    return np.concatenate([image, scaled[..., None]], axis=-1)


def proprio_of(observations: Observations, keys: Sequence[str]) -> np.ndarray:
    """float32 `[n, P]`: what the body senses, the observation keys joined."""
    return np.concatenate([np.asarray(observations[k], dtype=np.float32) for k in keys], axis=1)
