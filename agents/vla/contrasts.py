"""The same env steps under two wordings, as every way to find a steering edit needs them.

`Contrast` runs a VLA on steps drawn from demos, with `positive` or `negative` behind the
instruction, and gives what methods are fitted to: activations, the exact distributions of the
action tokens, and the decoder's inputs for those that look through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.absences import unseen
from pilotage.agents.vla.activations import begin_window, draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.captures import capture
from pilotage.steering.distributions import divergence, entropy
from pilotage.steering.interventions import Intervention
from pilotage.steering.logit_mix import LogitMix, LogitMixer
from pilotage.steering.steerer import Steerer
from pilotage.steering.tokens import group_id

CHUNK = 64  # env steps of one forward
N_PHASES = 4  # quarters of an episode


@dataclass(frozen=True)
class Effect:
    """What an edit does to action tokens, means over env steps and tokens, in nats.

    divergence: KL(unsteered || steered). entropy: of the steered distribution, less the other's.
    dose: ||dh|| / ||h|| of an edited token, mean over all of them; 0 if none was.
    """

    divergence: float
    entropy: float
    dose: float = 0.0


class Contrast:
    """See the module's text. Steps are drawn as `paired_activations` draws them."""

    def __init__(
        self,
        model: VLAModel,
        demos: Sequence[Demo],
        *,
        positive: str,
        negative: str,
        n_steps: int,
        seed: int = 0,
        token_groups: Sequence[str] = ("proprio", "action"),
    ) -> None:
        self.model, self.words = model, {"positive": positive, "negative": negative}
        picks, self._steps = draw_steps(demos, n_steps, seed)
        self._demos = [demos[i] for i in picks]
        self._base: dict[int, torch.Tensor] = {}  # unsteered logits of the first steps
        self._kinds = torch.tensor([group_id(name) for name in token_groups], dtype=torch.int8)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def phases(self) -> list[int]:
        """Which quarter of its episode each step is in."""
        return [
            N_PHASES * t // demo.n_steps for demo, t in zip(self._demos, self._steps, strict=True)
        ]

    @torch.inference_mode()
    def activations(self, side: str, site: str, *, reduce: str = "mean") -> torch.Tensor:
        """float32 `[n, d]`: the mean over the chosen tokens of a step, or with "all" each of them.

        side: "positive" or "negative".
        """
        with capture(self.model.decoder, [site], reduce=reduce) as seen:
            for window in self._windows(side, len(self)):
                seen.select(self._mask(window))
                self.model(window)
        return seen.activations(site)

    @torch.inference_mode()
    def visual(
        self, site: str, absence: str = "hidden", token_group: str = "proprio"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `[n, d]` twice: the last token of the prompt under the negative wording, with the
        pictures and without them (`absences`)."""
        kind, sides = group_id(token_group), []
        for absent in (False, True):
            with capture(self.model.decoder, [site], reduce="last") as seen:
                for window in self._windows("negative", len(self)):
                    seen.select(self.model.token_groups(window) == kind)
                    blind = unseen(self.model, window, absence) if absent else nullcontext(window)
                    with blind as given:
                        self.model(given)
            sides.append(seen.activations(site))
        return sides[0], sides[1]

    @torch.inference_mode()
    def logits(
        self, side: str, n_steps: int | None = None, edits: Sequence[Intervention] = ()
    ) -> torch.Tensor:
        """float32 `[n, K, n_bins]`: of each action token, those before it being the expert's.

        edits: what steers the decoder meanwhile, as in one prefill at env step 0.
        """
        return self._steered(side, n_steps, edits)[0]

    def entropies(self, side: str) -> torch.Tensor:
        """float64 `[n]`: entropy of an action token's distribution, mean over the tokens; nats."""
        return entropy(self.logits(side)).mean(-1)

    def effect(
        self, edits: Sequence[Intervention], n_steps: int, mix: LogitMix | None = None
    ) -> Effect:
        """Of edits, and of a mix of logits, under the negative wording, at the first `n_steps`
        steps."""
        if n_steps not in self._base:
            self._base[n_steps] = self.logits("negative", n_steps)
        base = self._base[n_steps]
        steered, dose = self._steered("negative", n_steps, edits, mix)
        more = entropy(steered) - entropy(base)
        return Effect(float(divergence(base, steered).mean()), float(more.mean()), dose)

    def _steered(
        self,
        side: str,
        n_steps: int | None,
        edits: Sequence[Intervention],
        mix: LogitMix | None = None,
    ) -> tuple[torch.Tensor, float]:
        """The logits of `logits`, and the dose of `Effect`."""
        found = []
        steerer = Steerer(self.model.decoder, n_rows=CHUNK)
        for row in range(CHUNK):
            steerer.set_row(row, edits)
        with steerer, self._mixing(mix) as mixer:  # in this order: steered streams are mixed
            for window in self._windows(side, len(self) if n_steps is None else n_steps):
                begin_window(steerer, self.model.token_groups(window))
                logits = self._action_logits(window)
                if mixer is not None:
                    rows, live = slice(0, len(logits)), np.ones(len(logits), bool)
                    logits = mixer.mix(logits, rows, live, self._predicting)
                found.append(logits)
            receipts = [e for row in range(CHUNK) for e in steerer.receipt(row)["interventions"]]
        tokens = [sum(e["edited_tokens"].values()) for e in receipts]
        doses = [n * e["mean_dose"] for n, e in zip(tokens, receipts, strict=True) if n]
        return torch.cat(found), sum(doses) / max(sum(tokens), 1)

    @torch.inference_mode()
    def inputs(self, side: str, n_steps: int) -> tuple[Callable[[], Any], torch.Tensor]:
        """A function that runs the decoder alone on the first steps, as one batch (it may be
        differentiated with respect to edits), and bool `[n_steps, S]`, the chosen tokens."""
        (window,) = self._windows(side, n_steps, n_steps)
        kept: dict[str, Any] = {}

        def keep(module: torch.nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
            kept.update(given)

        stack = self.model.decoder.model
        handle = stack.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            self.model(window)
        finally:
            handle.remove()
        with torch.inference_mode(False):
            plain = {k: v.clone() if torch.is_tensor(v) else v for k, v in kept.items()}
            mask = self._mask(window).clone()
        return lambda: stack(**plain), mask

    def _windows(self, side: str, n_steps: int, size: int = CHUNK) -> Iterator[Window]:
        for first in range(0, n_steps, size):
            chunk = slice(first, min(first + size, n_steps))
            yield single_step_window(
                self.model, self._demos[chunk], self._steps[chunk], self.words[side]
            )

    @contextmanager
    def _mixing(self, mix: LogitMix | None) -> Iterator[LogitMixer | None]:
        """Every row under the mix."""
        if mix is None:
            yield None
            return
        c, first = self.model.config, self.model.tokenizer.first_bin_id
        actions = slice(first, first + (c.n_discrete or c.n_bins))
        mixer = LogitMixer(self.model.decoder, [mix], n_rows=CHUNK, vocabulary=actions)
        for row in range(CHUNK):
            mixer.set_row(row, mix)
        with mixer:
            yield mixer

    @property
    def _predicting(self) -> slice:
        """The positions of a window that predict action tokens."""
        first = self.model.config.max_instruction + self.model.config.n_image_tokens
        return slice(first, first + self.model.config.n_action_tokens)

    def _mask(self, window: Window) -> torch.Tensor:
        return torch.isin(self.model.token_groups(window), self._kinds)

    def _action_logits(self, window: Window) -> torch.Tensor:
        c, first = self.model.config, self.model.tokenizer.first_bin_id
        states = self.model(window)["action"][:, 0]
        logits = self.model.decoder.lm_head(states)[..., first : first + c.n_bins]
        return logits[..., : c.n_discrete] if c.n_discrete else logits
