"""Behaviour cloning with growing data: cross-entropy on action bins and words, one optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.adapters import install, trained_state
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.grounding import jittered
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.training_clamps import TrainingClamps


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation. Losses are means per token; weights are relative to the action loss."""

    n_updates: int = 8000
    batch_windows: int = 16
    window_steps: int = 8  # env steps a window holds
    narrations_per_window: int = 2
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.02
    narration_weight: float = 0.2
    instruction_weight: float = 0.05
    aux_weight: float = 1.0
    pointing_weight: float = 4.0
    clause_weight: float = 0.3
    label_blur_bins: float = 4.0  # standard deviation of the soft action labels; 0 = one-hot
    ema: float = 0.998
    bfloat16: bool = False  # without matrix units for it (AMX), bfloat16 is slower on a CPU
    seed: int = 0


class WindowSampler:
    """Draws training windows from demonstrations held in memory."""

    def __init__(self, model_config: VLAConfig, train: TrainConfig, model: VLAModel) -> None:
        self.c, self.t, self.tokenizer = model_config, train, model.tokenizer
        self.codec = ActionCodec(
            model_config.n_action_tokens, model_config.n_bins, model_config.n_discrete
        )
        self.rng = np.random.default_rng(train.seed)
        self.demos: list[Demo] = []
        self._until = np.zeros(0)  # running sum of the demos' weights
        self._bins: list[np.ndarray] = []
        self._words: list[np.ndarray] = []
        self._told: list[np.ndarray] = []

    def add(self, demos: Sequence[Demo], *, weight: float = 1.0) -> None:
        """Tokenise once; unknown words raise here, before training. Each demo is drawn with a
        probability in proportion to its weight."""
        before = self._until[-1] if len(self._until) else 0.0
        self._until = np.r_[self._until, before + weight * np.arange(1, len(demos) + 1)]
        for demo in demos:
            self.demos.append(demo)
            self._bins.append(self.codec.encode(demo.actions))
            self._words.append(
                self.tokenizer.padded(
                    demo.task.instruction, self.c.max_instruction, start_id=self.tokenizer.bos_id
                )
            )
            cache: dict[str, np.ndarray] = {}
            for text in set(demo.narrations):
                cache[text] = self.tokenizer.padded(
                    text, self.c.max_narration, start_id=self.tokenizer.say_id
                )
            self._told.append(np.stack([cache[text] for text in demo.narrations]))

    @property
    def n_steps(self) -> int:
        return sum(d.n_steps for d in self.demos)

    def draw(self) -> Window:
        """A batch of windows. Without memory the steps of a window are drawn at random from one
        episode; with memory they are consecutive."""
        at = self.rng.uniform(0.0, self._until[-1], self.t.batch_windows)
        picks = np.searchsorted(self._until, at, side="right")
        parts = [self._window(int(i)) for i in picks]
        stacked = [torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True)]
        n_cameras = len(self.c.image_keys)
        images, rest = stacked[:n_cameras], stacked[n_cameras:]
        words, proprio, bins, valid, first, told_step, told, *targets = rest
        return Window(words, images, proprio, bins, valid, first, told_step, told, *targets)

    def _window(self, i: int) -> list[np.ndarray]:
        demo, t = self.demos[i], self.t
        if self.c.memory_steps > 1:
            start = int(self.rng.integers(max(1, demo.n_steps - t.window_steps // 2)))
            start = 0 if demo.n_steps <= t.window_steps else start
            steps = np.arange(start, min(start + t.window_steps, demo.n_steps))
        else:
            start = 0
            enough = demo.n_steps >= t.window_steps
            steps = self.rng.choice(demo.n_steps, t.window_steps, replace=not enough)
        valid = np.arange(t.window_steps) < len(steps)
        padded = np.concatenate([steps, np.full(t.window_steps - len(steps), steps[-1])])
        told_at = self.rng.integers(len(steps), size=t.narrations_per_window)
        return [
            *[jittered(camera[padded], self.rng) for camera in demo.images],
            self._words[i],
            demo.proprio[padded],
            self._bins[i][padded],
            valid,
            np.int64(start),
            told_at.astype(np.int64),
            self._told[i][padded[told_at]],
            demo.aux[padded],
            _labels(demo.pointed, padded, (self.c.n_image_tokens, self.c.n_pointed)),
            np.bool_(demo.pointed is not None),
            _labels(demo.clause, padded, (self.c.max_instruction,)),
        ]


def _labels(given: np.ndarray | None, steps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bool [len(steps), *shape]: labels of these steps, or none where a demo has not got any."""
    return np.zeros((len(steps), *shape), dtype=bool) if given is None else given[steps]


class Trainer:
    """Holds the model, its running average, and the optimiser; `update` is one step.

    clamps: attached to the model's decoder; their strength follows the step.
    """

    def __init__(
        self, model: VLAModel, train: TrainConfig, clamps: TrainingClamps | None = None
    ) -> None:
        self.model, self.t, self.clamps, self.step = model, train, clamps, 0
        self.time_spent = 0.0  # share of a time budget, set by the caller; ends the schedule early
        trained = [p for p in model.parameters() if p.requires_grad]
        decay = [p for p in trained if p.ndim >= 2]
        rest = [p for p in trained if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": train.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=train.learning_rate,
            betas=(0.9, 0.98),
        )
        self.restart_average()
        reach = math.ceil(2.5 * train.label_blur_bins)
        offsets = torch.arange(-reach, reach + 1)
        if train.label_blur_bins > 0 and not model.config.n_discrete:
            kernel = torch.exp(-0.5 * (offsets / train.label_blur_bins) ** 2)
        else:
            kernel = (offsets == 0).float()
        self._offsets, self._kernel = offsets, kernel

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine to zero at `n_updates` or at the end of the time budget."""
        if self.step < self.t.warmup:
            return self.t.learning_rate * (self.step + 1) / self.t.warmup
        done = (self.step - self.t.warmup) / max(1, self.t.n_updates - self.t.warmup)
        done = max(done, self.time_spent)
        return self.t.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def update(self, window: Window) -> dict[str, float]:
        """One optimiser step; returns the losses and the share of right action tokens."""
        self.model.train()
        if self.clamps is not None:
            self.clamps.at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.t.bfloat16):
            states = self.model(window)
        losses, accuracy = self._losses(window, states)
        t = self.t
        total = (
            losses["action"]
            + t.narration_weight * losses["narration"]
            + t.instruction_weight * losses["instruction"]
            + t.aux_weight * losses["aux"]
            + t.pointing_weight * losses["pointing"]
            + t.clause_weight * losses["clause"]
        )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(t.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in trained_state(self.model).items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
        return {**{k: float(v.detach()) for k, v in losses.items()}, "accuracy": accuracy}

    def _losses(
        self, w: Window, states: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], float]:
        head, c = self.model.decoder.lm_head, self.model.config
        with torch.autocast("cpu", torch.bfloat16, enabled=self.t.bfloat16):
            action_logits = head(states["action"][w.valid])  # [M, K, V]
            guess = None if self.model.aux is None else self.model.aux(states["action"][:, :, 0])
        bins = w.actions[w.valid]
        losses = {
            "action": self._action_loss(action_logits.float(), bins),
            "narration": self._word_loss(states["narration"], w.narration, self.t.narration_weight),
            "instruction": self._word_loss(
                states["instruction"], w.instruction, self.t.instruction_weight
            ),
            "aux": torch.zeros(()),
            "pointing": self._pointing_loss(w, states),
            "clause": self._clause_loss(w, states),
        }
        if guess is not None:
            losses["aux"] = nn.functional.smooth_l1_loss(
                guess.float()[w.valid], w.aux[w.valid], beta=0.1
            )
        top = action_logits.detach().argmax(-1) - self.model.tokenizer.first_bin_id
        near = 0 if c.n_discrete else 2
        accuracy = float(((top - bins).abs() <= near).float().mean())
        return losses, accuracy

    def _action_loss(self, logits: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
        """Cross-entropy against labels blurred over neighbouring bins (off the ends is dropped)."""
        log_p = logits.log_softmax(-1)[..., self.model.tokenizer.first_bin_id :]
        n_bins = self.model.config.n_bins
        index = bins[..., None] + self._offsets
        weight = self._kernel * ((index >= 0) & (index < n_bins))
        weight = weight / weight.sum(-1, keepdim=True)
        chosen = log_p.gather(-1, index.clamp(0, n_bins - 1))
        return -(weight * chosen).sum(-1).mean()

    def _pointing_loss(self, w: Window, states: dict[str, torch.Tensor]) -> torch.Tensor:
        """Which patches show what the instruction names: cross-entropy where that is known. It is
        what teaches words and patches to find each other; actions alone do it many times slower."""
        if self.model.pointer is None or w.pointed is None or w.has_pointed is None:
            return torch.zeros(())
        if not w.has_pointed.any():
            return torch.zeros(())
        known = w.has_pointed[:, None] & w.valid
        logits = self.model.point(states["image"][known].float())
        return nn.functional.binary_cross_entropy_with_logits(
            logits, w.pointed[known].float(), pos_weight=torch.tensor(8.0)
        )

    def _clause_loss(self, w: Window, states: dict[str, torch.Tensor]) -> torch.Tensor:
        """Which words are being carried out: minus the logarithm of the probability that falls on
        any of them, where they are known (a progress monitor in words; compare Ma et al., ICLR
        2019)."""
        if "clause" not in states or w.clause is None:
            return torch.zeros(())
        known = w.clause.any(-1) & w.valid
        if not known.any():
            return torch.zeros(())
        log_p = states["clause"][known].float().log_softmax(-1)
        return -log_p.masked_fill(~w.clause[known], -torch.inf).logsumexp(-1).mean()

    def _word_loss(self, states: torch.Tensor, ids: torch.Tensor, weight: float) -> torch.Tensor:
        """Cross-entropy of each next word of `ids` `[..., n]`, told by `states` `[..., n, d]`; zero
        where it does not count."""
        if weight == 0.0 or not ids.numel():
            return torch.zeros(())
        with torch.autocast("cpu", torch.bfloat16, enabled=self.t.bfloat16):
            logits = self.model.decoder.lm_head(states[..., :-1, :])
        wanted = ids[..., 1:].flatten()
        return nn.functional.cross_entropy(
            logits.float().flatten(0, -2), wanted, ignore_index=self.model.tokenizer.pad_id
        )

    def restart_average(self) -> None:
        """Begin the running average again at the present weights."""
        self.average = {k: v.detach().clone() for k, v in trained_state(self.model).items()}

    def averaged_model(self) -> VLAModel:
        """A copy of the model with the running average of the weights, ready to act."""
        copy = VLAModel(self.model.config)
        if self.model.config.language:
            install(copy, self.average)
        else:
            copy.load_state_dict(self.average)
        return copy.eval().requires_grad_(False)
