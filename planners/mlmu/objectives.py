"""What may be seen of a path while it is learned: the one thing in which the objectives differ.

    next-token   a token from those before it
    mlm-u        masked tokens from the others, on both sides; each path draws u from U(0, 1), and
                 each of its tokens is hidden with probability u (Nolte et al. 2024,
                 arXiv:2412.05117, there without a word for the hidden: they are taken out of the
                 attention)
    teacherless  all tokens from the prompt alone (Bachmann and Nagarajan 2024, arXiv:2403.06963)
    multi-token  a token from those at least k places before it, k uniform from 1 to `HORIZON`:
                 the loss of Gloeckle et al. 2024 (arXiv:2404.19737), one head drawn a token
                 instead of all at once, so that an update costs as much as another's

The prompt is seen whole by all of them. In the causal ones (`next-token`, `multi-token`) the
encoder's prompt never looks at the path, and a path token only at those before it and itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor

from pilotage.planners.mlmu.lines import PAD

HORIZON = 4


class Objective(StrEnum):
    """Names as on the command line."""

    NEXT_TOKEN = "next-token"
    MLM_U = "mlm-u"
    TEACHERLESS = "teacherless"
    MULTI_TOKEN = "multi-token"

    @property
    def is_causal(self) -> bool:
        return self in (Objective.NEXT_TOKEN, Objective.MULTI_TOKEN)


@dataclass(frozen=True)
class Sight:
    """Bool masks, True where a query (next to last axis) sees a key (last). T = S + P tokens."""

    encoder: Tensor  # [B, T, T]
    decoder: Tensor  # [B, P, T], one query for each place of the path
    scored: Tensor  # [B, P], the tokens that the loss is about


def sight(objective: Objective, prompt: Tensor, path: Tensor, rng: np.random.Generator) -> Sight:
    """The masks of a batch: prompt int64 [B, S], padded left, path int64 [B, P], padded right."""
    n, length = path.shape
    is_path = path != PAD
    back = torch.arange(length)[:, None] - torch.arange(length)  # places from key to query
    if objective.is_causal:
        nearest = np.ones((n, length), np.int64)
        if objective is Objective.MULTI_TOKEN:
            nearest = rng.integers(1, HORIZON + 1, size=(n, length))
        decoder = back >= torch.from_numpy(nearest)[..., None]
        seen, scored = is_path, is_path
    else:
        rate = rng.random((n, 1)) if objective is Objective.MLM_U else np.ones((n, 1))
        hidden = torch.from_numpy(rng.random((n, length)) < rate).to(path.device)
        seen, scored = is_path & ~hidden, is_path & hidden
        decoder = torch.ones(n, length, length, dtype=torch.bool)
    decoder = decoder.to(path.device) & seen[:, None]
    prompt_keys = (prompt != PAD)[:, None].expand(-1, length, -1)
    return Sight(
        encoder_sight(objective, prompt, seen), torch.cat([prompt_keys, decoder], dim=2), scored
    )


def encoder_sight(objective: Objective, prompt: Tensor, seen: Tensor) -> Tensor:
    """Bool [B, S + P, S + P] of a prompt int64 [B, S] and the path tokens `seen` bool [B, P]."""
    keys = torch.cat([prompt != PAD, seen], dim=1)
    total, n_prompt = keys.shape[1], prompt.shape[1]
    allowed = torch.ones(total, total, dtype=torch.bool, device=prompt.device)
    if objective.is_causal:
        allowed[:n_prompt, n_prompt:] = False
        allowed[n_prompt:, n_prompt:] = allowed[n_prompt:, n_prompt:].tril()
    return allowed & keys[:, None]
