"""The same env steps under two wordings, as every way to find a steering edit needs them.

`Contrast` runs a VLA on steps drawn from demos, with `positive` or `negative` behind the
instruction, and gives what methods are fitted to: activations, the exact distributions of the
action tokens, and the decoder's inputs for those that look through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pilotage.agents.vla.activations import begin_window, draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.captures import capture
from pilotage.steering.distributions import divergence, entropy
from pilotage.steering.interventions import Intervention
from pilotage.steering.steerer import Steerer
from pilotage.steering.tokens import group_id

CHUNK = 64  # env steps of one forward
N_PHASES = 4  # quarters of an episode


@dataclass(frozen=True)
class Effect:
    """What an edit does to action tokens, means over env steps and tokens, in nats.

    divergence: KL(unsteered || steered). entropy: of the steered distribution, less the other's.
    """

    divergence: float
    entropy: float


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
    def logits(
        self, side: str, n_steps: int | None = None, edits: Sequence[Intervention] = ()
    ) -> torch.Tensor:
        """float32 `[n, K, n_bins]`: of each action token, those before it being the expert's.

        edits: what steers the decoder meanwhile, as in one prefill at env step 0.
        """
        found = []
        with Steerer(self.model.decoder, n_rows=CHUNK) as steerer:
            for row in range(CHUNK):
                steerer.set_row(row, edits)
            for window in self._windows(side, len(self) if n_steps is None else n_steps):
                begin_window(steerer, self.model.token_groups(window))
                found.append(self._action_logits(window))
        return torch.cat(found)

    def entropies(self, side: str) -> torch.Tensor:
        """float64 `[n]`: entropy of an action token's distribution, mean over the tokens; nats."""
        return entropy(self.logits(side)).mean(-1)

    def effect(self, edits: Sequence[Intervention], n_steps: int) -> Effect:
        """Of edits under the negative wording, at the first `n_steps` steps."""
        base = self.logits("negative", n_steps)
        steered = self.logits("negative", n_steps, edits)
        more = entropy(steered) - entropy(base)
        return Effect(float(divergence(base, steered).mean()), float(more.mean()))

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

    def _mask(self, window: Window) -> torch.Tensor:
        return torch.isin(self.model.token_groups(window), self._kinds)

    def _action_logits(self, window: Window) -> torch.Tensor:
        c, first = self.model.config, self.model.tokenizer.first_bin_id
        states = self.model(window)["action"][:, 0]
        logits = self.model.decoder.lm_head(states)[..., first : first + c.n_bins]
        return logits[..., : c.n_discrete] if c.n_discrete else logits
