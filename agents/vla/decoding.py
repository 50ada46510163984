"""Decoding actions row by row: instruction, block of images, action tokens, narration.

Every forward has the same number of rows, filled up where slots are missing. On one machine the
result of a row then does not depend on the other rows, bit for bit, which is what makes records
independent of the number of slots (tests/agents/test_vla_policy.py holds it).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pilotage.agents.vla.cache import CACHE_ARGUMENT, RowCache
from pilotage.agents.vla.instruments import Instruments
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.sampling import ActionSampler
from pilotage.steering import tokens as groups

SeenBy = Callable[[slice], tuple[list[torch.Tensor], torch.Tensor]]


class RowDecoder:
    """The state of `n_slots` rows in the decoder, and its forward passes over groups of them.

    The decoder reads an instruction once an episode, and again where the words change or what
    steers them does; its keys and values stay in a cache of fixed shape.

    rows_per_forward: rows of one forward pass.
    temperature: of the choice of action tokens (`ActionSampler`).
    narrate: after each action it also says what it does (`said`).
    """

    def __init__(
        self,
        model: VLAModel,
        n_slots: int,
        instruments: Instruments,
        *,
        rows_per_forward: int,
        temperature: float = 0.0,
        narrate: bool = False,
        device: str = "cpu",
    ) -> None:
        c, rows = model.config, rows_per_forward
        self._model, self._config, self._instruments = model, c, instruments
        self._n_slots, self._rows, self._device = n_slots, rows, device
        self._narrates = narrate
        n_rows = padded_rows(n_slots, rows)
        self._caches = [
            RowCache(
                n_layers=c.n_layers,
                n_rows=rows,
                n_heads=c.kv_heads,
                capacity=self._ring_end + (c.max_narration if narrate else 0),
                head_dim=c.d_model // c.n_heads,
                device=device,
            )
            for _ in range(n_rows // rows)
        ]
        pad = model.tokenizer.pad_id
        self._instruction = torch.full((n_rows, c.max_instruction), pad, device=device)
        self._instruction[:, 0] = model.tokenizer.bos_id
        # Whose instruction the decoder has yet to read (again).
        self._unread = torch.ones(n_rows, dtype=torch.bool, device=device)
        self._rereads = torch.zeros(n_rows, dtype=torch.bool, device=device)
        self._step = torch.zeros(n_rows, dtype=torch.long, device=device)
        self._last_token = torch.full((n_rows,), pad, device=device)
        self._sampler = ActionSampler(temperature, n_rows)
        self.said: list[list[str]] = [[] for _ in range(n_rows)]

    def begin(self, row: int, seed: int, *, rereads: bool) -> None:
        """An episode begins in a row.

        rereads: what steers the row changes over time, so its instruction is read at every step.
        """
        self._sampler.reset(row, seed)
        self._caches[row // self._rows].clear_row(row % self._rows)
        self._step[row] = 0
        self._last_token[row] = self._model.tokenizer.pad_id
        self._rereads[row] = rereads
        self.said[row] = []

    def read(self, row: int, instruction: str) -> None:
        """These are the words of a row from now on."""
        tokenizer = self._model.tokenizer
        ids = tokenizer.padded(instruction, self._config.max_instruction, start_id=tokenizer.bos_id)
        self._instruction[row] = torch.from_numpy(ids).to(self._device)
        self._unread[row] = True

    def n_steps(self, row: int) -> int:
        """Steps that the row's episode has taken."""
        return int(self._step[row])

    def act(self, active: np.ndarray, seen_by: SeenBy) -> np.ndarray:
        """Bins int64 `[n_slots, K]`; zeros where a slot is not active.

        seen_by: slice of slots -> images uint8 `[m, H, W, C]` a camera and proprio float32
        `[m, P]`, of those slots that are there.
        """
        bins = np.zeros((self._n_slots, self._config.n_action_tokens), dtype=np.int64)
        for group in range(len(self._caches)):
            first = group * self._rows
            n_real = min(self._rows, self._n_slots - first)
            live = np.zeros(self._rows, dtype=bool)
            live[:n_real] = active[first : first + n_real]
            if live.any():
                images, proprio = seen_by(slice(first, first + n_real))
                seen = self._model.embed_block(
                    [self._filled(image) for image in images], self._filled(proprio)
                )
                chosen = self._act_group(group, seen, torch.from_numpy(live).to(self._device))
                bins[first : first + n_real] = chosen[:n_real].cpu().numpy()
        return bins

    def _filled(self, rows: torch.Tensor) -> torch.Tensor:
        missing = self._rows - len(rows)
        return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows

    def _act_group(self, group: int, seen: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """Bins int64 `[R, K]` of one group of rows, whose block is `seen` `[R, n, d]`."""
        c, model = self._config, self._model
        span = slice(group * self._rows, (group + 1) * self._rows)
        step = self._step[span]
        block = c.max_instruction + step * c.block_size  # logical position of the block's start
        if c.memory_steps == 1:
            block = torch.full_like(block, c.max_instruction)
            self._caches[group].order[live, c.max_instruction :] = -1
        fresh = live & self._unread[span]
        if fresh.any():
            self._caches[group].order[fresh, : c.max_instruction] = -1
            self._feed_instruction(group, span, fresh)
            self._unread[span] &= ~fresh | self._rereads[span]
        # The block: the action before (its last token was never fed), images, proprioception.
        before = model.embed_ids(self._last_token[span])[:, None]
        states = torch.cat([before, seen], dim=1)
        n_seen = seen.shape[1]
        order = block[:, None] + torch.arange(-1, n_seen, device=self._device)
        keep = live[:, None].expand(-1, n_seen + 1).clone()
        keep[:, 0] &= (step > 0) & (c.memory_steps > 1) & c.sees_past_actions
        kinds = [groups.ACTION] + [groups.IMAGE] * c.n_image_tokens + [groups.PROPRIO]
        with self._instruments.watch(span, live, 0):
            hidden = self._feed(group, span, states, order, keep, kinds, "prefill", 0)[:, -1]
        chosen = []
        for k in range(c.n_action_tokens):
            chosen.append(self._choose(hidden, span, live))
            token = chosen[-1] + model.tokenizer.first_bin_id
            if k < c.n_action_tokens - 1:
                place = (block + n_seen + k)[:, None]
                state = model.embed_ids(token)[:, None]
                with self._instruments.watch(span, live, k + 1):
                    hidden = self._feed(
                        group, span, state, place, live[:, None], [groups.ACTION], "decode", k
                    )[:, -1]
        self._last_token[span] = torch.where(live, token, self._last_token[span])
        if self._narrates:
            self._narrate(group, span, live, block, token)
        self._step[span] += live
        return torch.stack(chosen, dim=1)

    def _choose(self, hidden: torch.Tensor, span: slice, live: torch.Tensor) -> torch.Tensor:
        """Bins int64 `[R]` from the states `[R, d]` that predict them."""
        logits = self._model.decoder.lm_head(hidden)[:, self._model.tokenizer.first_bin_id :]
        if self._config.n_discrete:
            logits = logits[:, : self._config.n_discrete]
        if self._instruments.mixer is not None:
            logits = self._instruments.mixer.mix(logits, span, live.cpu().numpy())
        return self._sampler.choose(logits, span.start, live)

    def _narrate(
        self,
        group: int,
        span: slice,
        live: torch.Tensor,
        block: torch.Tensor,
        last_action: torch.Tensor,
    ) -> None:
        """Decode one narration a live row, behind its actions; leaves no trace in the cache."""
        c, tokenizer, cache = self._config, self._model.tokenizer, self._caches[group]
        end = block + c.block_size
        place = self._places(end - 1)
        state = self._model.embed_ids(last_action)[:, None]
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
                self._model.embed_ids(token)[:, None],
                (end + j)[:, None],
                talking[:, None],
                [groups.NARRATION],
                "decode",
                n + j,
                places=torch.full_like(end, self._ring_end + j)[:, None],
            )[:, -1]
            token = self._model.next_word(hidden)
            said.append(torch.where(talking, token, tokenizer.eos_id))
            talking &= token != tokenizer.eos_id
            if not talking.any():
                break
        cache.order[:, self._ring_end :] = -1
        if not (c.memory_steps > 1 and c.sees_past_actions):
            cache.order[torch.arange(len(place), device=self._device), place] = -1
        for row, ids in enumerate(torch.stack(said, dim=1).tolist()):
            if live[row]:
                self.said[span.start + row].append(tokenizer.decode(ids))

    def _feed_instruction(self, group: int, span: slice, fresh: torch.Tensor) -> None:
        ids = self._instruction[span]
        keep = fresh[:, None] & (ids != self._model.tokenizer.pad_id)
        order = torch.arange(ids.shape[1], device=self._device).expand_as(ids)
        kinds = [groups.INSTRUCTION] * ids.shape[1]
        self._feed(group, span, self._model.embed_ids(ids), order, keep, kinds, "prefill", 0)

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
        if self._instruments.steerer is not None:
            kind = torch.tensor(kinds, dtype=torch.int8, device=self._device)
            self._instruments.steerer.begin(
                rows=span,
                token_groups=torch.where(keep, kind, groups.PAD),
                phase=phase,
                decode_token=decode_token,
                env_steps=self._step[span],
                live=keep.any(dim=1),
            )
        c = self._config
        window = (self._step[span] - (c.memory_steps - 1)) * c.block_size * (c.memory_steps > 1)
        mask = self._caches[group].begin(
            self._places(order) if places is None else places,
            order,
            keep,
            pinned=c.max_instruction,
            oldest=c.max_instruction + window,
        )
        return self._model.decoder.model(
            inputs_embeds=states,
            attention_mask=mask,
            position_ids=order.clamp(min=0),
            use_cache=True,
            **{CACHE_ARGUMENT: self._caches[group]},
        ).last_hidden_state

    @property
    def _ring_end(self) -> int:
        return self._config.max_instruction + self._config.memory_steps * self._config.block_size

    def _places(self, order: torch.Tensor) -> torch.Tensor:
        """Where a logical position lives: the instruction first, then a ring of blocks."""
        c = self._config
        ring = c.memory_steps * c.block_size
        in_ring = c.max_instruction + (order - c.max_instruction) % ring
        return torch.where(order < c.max_instruction, order, in_ring)


def padded_rows(n_slots: int, rows_per_forward: int) -> int:
    """Rows that serve `n_slots` in whole groups."""
    return -(-n_slots // rows_per_forward) * rows_per_forward
