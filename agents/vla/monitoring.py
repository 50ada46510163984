"""What a VLA's layers do at every step, as numbers that need no label: for its record's trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pilotage.agents.vla.model import VLAModel
from pilotage.steering.distributions import entropy
from pilotage.steering.streams import Streams, lens
from pilotage.steering.trajectories import RunningTrajectories, trajectory_signals


def choosable_ids(model: VLAModel) -> range:
    """The ids of the action bins that the agent may choose."""
    c, first = model.config, model.tokenizer.first_bin_id
    return range(first, first + (c.n_discrete or c.n_bins))


class LayerMonitor:
    """Watches the forwards that predict action tokens, for rows that know nothing of each other.

    Enter `watch` around each of them, inside the Steerer. `trace` gives, for rows `[n]`, K action
    tokens, L layers, where a token is read at the position that predicts it:

    - `stream_norms` float32 `[n, K, L + 1]`, `stream_moves` float32 `[n, K, L]`: the length of the
      residual stream before and after every block, and the length of what each block changes
    - `lens_bins` int16 `[n, K, L]`: the likeliest action bin after every block, by the logit lens
    - `action_entropy`, `action_margin` float32 `[n, K]`: nats, and the best logit less the next
    - `depth_signals` float32 `[n, 3]`: `steering.trajectories` of the first token through the
      layers
    - `time_signals` float32 `[n, L + 1, 3]`: the same of each layer, through the env steps of the
      episode until now (NaN at its first)
    """

    def __init__(self, model: VLAModel, n_rows: int, device: str = "cpu") -> None:
        c = model.config
        self._streams = Streams(model.decoder)
        self._lens = lens(model.decoder, choosable_ids(model))
        n, k, layers = n_rows, c.n_action_tokens, c.n_layers
        self._path = RunningTrajectories((n, layers + 1, c.d_model), device)
        self._norms = np.zeros((n, k, layers + 1), np.float32)
        self._moves = np.zeros((n, k, layers), np.float32)
        self._bins = np.full((n, k, layers), -1, np.int16)
        self._entropy = np.zeros((n, k), np.float32)
        self._margin = np.zeros((n, k), np.float32)
        self._depth = np.full((n, 3), np.nan, np.float32)

    def reset_row(self, row: int) -> None:
        """A new episode begins in a row."""
        self._path.reset(row)

    @contextmanager
    def watch(self, rows: slice, live: torch.Tensor, token: int) -> Iterator[None]:
        """Around the forward of these rows that predicts action token number `token`; `live` bool
        `[R]` says which of them act."""
        with self._streams:
            yield
        streams = self._streams.take()
        logits = self._lens(streams[:, 1:])
        best, _ = logits[:, -1].topk(2)
        self._norms[rows, token] = streams.norm(dim=-1).cpu().numpy()
        self._moves[rows, token] = streams.diff(dim=1).norm(dim=-1).cpu().numpy()
        self._bins[rows, token] = logits.argmax(-1).to(torch.int16).cpu().numpy()
        self._entropy[rows, token] = entropy(logits[:, -1]).float().cpu().numpy()
        self._margin[rows, token] = (best[:, 0] - best[:, 1]).cpu().numpy()
        if token == 0:
            self._depth[rows] = trajectory_signals(streams).cpu().numpy()
            self._path.add(rows, streams, live.to(streams.device))

    def trace(self, n_slots: int) -> dict[str, np.ndarray]:
        """The last readings of the rows up to `n_slots`; see the class."""
        trace: dict[str, np.ndarray] = {
            "stream_norms": self._norms,
            "stream_moves": self._moves,
            "lens_bins": self._bins,
            "action_entropy": self._entropy,
            "action_margin": self._margin,
            "depth_signals": self._depth,
            "time_signals": self._path.signals().cpu().numpy(),
        }
        return {name: rows[:n_slots].copy() for name, rows in trace.items()}
