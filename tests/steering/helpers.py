"""Short ways to run a steered forward in tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering import Intervention, Selector, Steerer, random_matched
from pilotage.steering.gates import Gate
from pilotage.steering.tokens import ACTION, IMAGE, INSTRUCTION, PAD

RESID = "layers.1.resid:out"
NEURONS = "layers.1.mlp.down_proj:in"


def unit(size: int, seed: int) -> torch.Tensor:
    vector = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (vector / vector.norm()).float()


def ids(rows: int, tokens: int, seed: int = 0, vocabulary: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (rows, tokens), generator=generator)


def groups(rows: int, tokens: int) -> np.ndarray:
    """Image tokens, then instruction tokens, one action token; row 0 ends in a padding token."""
    layout = np.full((rows, tokens), IMAGE, np.int8)
    layout[:, tokens // 2 :] = INSTRUCTION
    layout[:, -2] = ACTION
    layout[0, -1] = PAD
    return layout


def begin(steerer: Steerer, layout: np.ndarray, **changes: Any) -> None:
    n_rows = len(layout)
    settings: dict[str, Any] = {
        "rows": slice(0, n_rows),
        "phase": "prefill",
        "decode_token": 0,
        "env_steps": np.zeros(n_rows, np.int64),
        "live": np.ones(n_rows, bool),
        **changes,
    }
    rows = settings.pop("rows")
    steerer.begin(rows, layout, **settings)


def steered_logits(
    model: nn.Module,
    tokens: torch.Tensor,
    rows: dict[int, list[Intervention]],
    layout: np.ndarray | None = None,
    **changes: Any,
) -> torch.Tensor:
    """One prefill with every row under its interventions; the receipts are checked."""
    layout = np.zeros(tokens.shape, np.int8) if layout is None else layout
    with Steerer(model, n_rows=len(tokens)) as steerer, torch.no_grad():
        for row, interventions in rows.items():
            steerer.set_row(row, interventions)
        begin(steerer, layout, **changes)
        logits = model(tokens).logits
        for row in range(len(tokens)):
            steerer.check_receipt(steerer.receipt(row))
    return logits


def gate(d: int = 32, *, seed: int = 0, reads: str = "layers.1.resid:in") -> Gate:
    """A random network of five hidden units, whose values are spread over (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    inner = 0.2 * torch.randn(5, d + 1, generator=generator)
    return Gate(reads, inner, torch.randn(2, 6, generator=generator))


def every_kind(d: int = 32) -> list[Intervention]:
    v = unit(d, 1)
    return [
        Intervention("add", RESID, 3.0, direction=v),
        Intervention("add_norm_preserving", RESID, 0.8, direction=v),
        Intervention("ablate", RESID, 1.0, direction=v),
        Intervention("clamp", NEURONS, 4.0, neurons=torch.tensor([3, 5, 9])),
        Intervention("ablate", NEURONS, 0.5, neurons=torch.tensor([3, 5, 9])),
        Intervention("affine", RESID, 0.7, affine=torch.stack((1 + 2 * unit(d, 2), 5 * v))),
        Intervention("setpoint", RESID, 1.0, direction=v, bounds=(2.5, 3.0)),
        Intervention("guided", RESID, 6.0, direction=v, gate=gate(d)),
    ]


def conditions(model: nn.Module) -> list[list[Intervention]]:
    """Eight different conditions, among them an empty one and rows with several interventions."""
    kinds = every_kind()
    return [
        [],
        [kinds[0]],
        [random_matched(kinds[0], model, 4), kinds[3]],
        [kinds[1], kinds[5]],
        [random_matched(kinds[1], model, 4), random_matched(kinds[6], model, 4)],
        [random_matched(kinds[3], model, 4), kinds[6]],
        [kinds[2], kinds[0], kinds[4]],
        [
            Intervention("clamp", "layers.0.mlp.down_proj:in", 2.0, neurons=torch.arange(7)),
            random_matched(kinds[5], model, 4),
        ],
    ]


def only(*names: str) -> Selector:
    return Selector(token_groups=frozenset(names))
