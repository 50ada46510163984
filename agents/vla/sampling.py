"""How an action token is chosen from its logits: the likeliest, or one drawn at a temperature."""

from __future__ import annotations

import numpy as np
import torch


class ActionSampler:
    """Chooses tokens for slots; each episode draws from its own seed, whoever plays beside it.

    temperature: 0 takes the likeliest token. Else a token is drawn with the probability
    softmax(logits / temperature), by the Gumbel-max trick. ValueError if it is negative.
    """

    def __init__(self, temperature: float, n_slots: int) -> None:
        if not 0.0 <= temperature < float("inf"):
            raise ValueError(f"temperature {temperature} is not a number >= 0; 0 acts greedily")
        self.temperature = temperature
        self._rngs: list[np.random.Generator | None] = [None] * n_slots

    def reset(self, slot: int, seed: int) -> None:
        """Begin an episode in a slot."""
        self._rngs[slot] = np.random.default_rng(seed) if self.temperature > 0 else None

    def choose(self, logits: torch.Tensor, first_slot: int, live: torch.Tensor) -> torch.Tensor:
        """Indices int64 [R] from logits [R, V] of the slots from `first_slot` on; rows that are not
        `live` (bool [R]) draw nothing."""
        if self.temperature == 0.0:
            return logits.argmax(dim=-1)
        noise = np.zeros(tuple(logits.shape), dtype=np.float32)
        for row in np.flatnonzero(live.cpu().numpy()).tolist():
            rng = self._rngs[first_slot + row]
            if rng is not None:
                noise[row] = rng.gumbel(size=logits.shape[1])
        drawn = logits / self.temperature + torch.from_numpy(noise).to(logits.device)
        return drawn.argmax(dim=-1)
