"""What a VLA is pushed to say while it acts, read where its first action token is predicted.

Per env step: the logit lens of every layer, and the activations of the neurons that the episode's
condition edits, before and after the edit. What does not change over time, which tokens a neuron
or a direction writes, is told once, in the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.agents.vla.conditions import AgentCondition
from pilotage.episodes.types import Json
from pilotage.steering.interventions import Intervention
from pilotage.steering.projection import project
from pilotage.steering.readout import NeuronProbe
from pilotage.steering.sites import find_layers, resolve, unembedding

TOP_K = 5


@dataclass(frozen=True)
class Push:
    """One neuron or one direction that a condition edits, and the tokens that it writes.

    token_ids: the top tokens of the neuron's value vector, or of the direction as it is added (a
    negative coefficient turns it round), best first; no final norm is applied
    (`pilotage.steering.projection`).
    """

    kind: str
    site: str
    neuron: int | None
    token_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        neuron = {} if self.neuron is None else {"neuron": self.neuron}
        return {
            "kind": self.kind,
            "site": self.site,
            **neuron,
            "top_token_ids": list(self.token_ids),
        }


def pushes_of(decoder: nn.Module, intervention: Intervention, top_k: int = TOP_K) -> list[Push]:
    """A push for each neuron of an intervention, or one for its direction."""
    site = resolve(decoder, intervention.site)
    weight = site.weight.detach().float()
    neurons: list[int | None] = [None]
    if intervention.neurons is not None:
        neurons = list(intervention.neurons.tolist())
        written = weight[:, intervention.neurons.to(weight.device)].T
    elif intervention.direction is not None:
        direction = intervention.direction.to(weight.device).float()
        if intervention.coefficient < 0 and intervention.kind != "ablate":
            direction = -direction
        written = (weight @ direction if site.site.is_input else direction)[None]
    else:
        return []
    ids = project(written, unembedding(decoder), top_k=top_k).token_ids.tolist()
    return [
        Push(intervention.kind, intervention.site, neuron, tuple(tokens))
        for neuron, tokens in zip(neurons, ids, strict=True)
    ]


class TokenReader:
    """Reads the forwards that it watches, for rows under different conditions.

    Enter `watch` around the forward that predicts the first action token, inside the Steerer. The
    forward computes the same with and without it. `trace` gives, for the rows `[n]`, L layers and
    N neurons (the most that one condition edits):

    - `top_token_ids` int32, `top_token_logits` float32 `[n, L, TOP_K]`: the residual stream after
      each layer through the final norm and the unembedding, best first
    - `neuron_activations`, `neuron_activations_before` float32 `[n, N]`: the row's edited neurons
      in the order of its receipt, as the model computes with them, and just before this edit (a
      layer below may have been edited already); NaN where a condition has fewer. Only where some
      condition edits neurons.
    """

    def __init__(
        self, decoder: nn.Module, conditions: Iterable[AgentCondition], n_rows: int
    ) -> None:
        self.layers = tuple(range(len(find_layers(decoder))))
        self._pushes = {
            c.name: [p for i in c.interventions for p in pushes_of(decoder, i)] for c in conditions
        }
        self._lens = NeuronProbe(decoder, {}, lens_layers=self.layers, top_k=TOP_K)
        self._neurons = _Neurons(decoder, [p for row in self._pushes.values() for p in row])
        self._columns = {name: self._neurons.columns(row) for name, row in self._pushes.items()}
        width = max((len(columns) for columns in self._columns.values()), default=0)
        self._row_pushes: list[list[Push]] = [[] for _ in range(n_rows)]
        self._row_columns = np.full((n_rows, width), -1)
        self._seen = np.zeros((n_rows, len(unembedding(decoder))), dtype=bool)
        self._ids = np.full((n_rows, len(self.layers), TOP_K), -1, dtype=np.int32)
        self._logits = np.zeros(self._ids.shape, dtype=np.float32)
        self._before = np.full((n_rows, width), np.nan, dtype=np.float32)
        self._after = self._before.copy()

    def set_row(self, row: int, condition: str) -> None:
        """A new episode under a condition begins in a row."""
        columns = self._columns[condition]
        self._row_pushes[row] = self._pushes[condition]
        self._row_columns[row] = -1
        self._row_columns[row, : len(columns)] = columns
        self._seen[row] = False

    @contextmanager
    def watch(self, rows: slice, live: torch.Tensor) -> Iterator[None]:
        """Around one forward of these rows; `live` bool `[R]` says which of them act."""
        with self._lens, self._neurons:
            yield
        reading = self._lens.take()[-1]
        acting = live.cpu().numpy()
        index = np.arange(rows.start, rows.stop)
        self._ids[rows] = reading.token_ids.transpose(0, 1).numpy()
        self._logits[rows] = reading.logits.transpose(0, 1).numpy()
        self._seen[index[acting, None, None], self._ids[rows][acting]] = True
        if self._row_columns.shape[1]:
            columns = self._row_columns[rows]
            for kept, values in zip((self._before, self._after), self._neurons.take(), strict=True):
                found = np.take_along_axis(values, np.maximum(columns, 0), axis=1)
                kept[rows] = np.where(columns < 0, np.nan, found)

    def trace(self, n_slots: int) -> dict[str, np.ndarray]:
        """The last readings of the rows up to `n_slots`; see the class."""
        trace: dict[str, np.ndarray] = {
            "top_token_ids": self._ids,
            "top_token_logits": self._logits,
        }
        if self._row_columns.shape[1]:
            trace["neuron_activations"] = self._after
            trace["neuron_activations_before"] = self._before
        return {name: rows[:n_slots].copy() for name, rows in trace.items()}

    def receipt(self, row: int, spell: Callable[[int], str]) -> dict[str, Json]:
        """What the row's trace means: its pushes, and the words of every token id that occurs."""
        pushes = self._row_pushes[row]
        seen = self._seen[row].copy()
        seen[[i for push in pushes for i in push.token_ids]] = True
        return {
            "layers": list(self.layers),
            "pushes": [push.to_json() for push in pushes],
            "words": {str(i): spell(i) for i in np.flatnonzero(seen).tolist()},
        }


class _Neurons:
    """Chosen neurons at the last position, before and after what a Steerer does to them.

    A context manager: entered inside a Steerer, one hook of it comes first and one last.
    """

    def __init__(self, decoder: nn.Module, pushes: Sequence[Push]) -> None:
        chosen: dict[str, set[int]] = {}
        for push in pushes:
            if push.neuron is not None:
                chosen.setdefault(push.site, set()).add(push.neuron)
        keys = [(site, n) for site in sorted(chosen) for n in sorted(chosen[site])]
        self._place = {key: i for i, key in enumerate(keys)}
        self._sites = {name: resolve(decoder, name) for name in sorted(chosen)}
        self._index = {
            name: torch.tensor(sorted(chosen[name]), device=site.weight.device)
            for name, site in self._sites.items()
        }
        self._found: dict[tuple[str, bool], torch.Tensor] = {}
        self._handles: list[Any] = []

    def columns(self, pushes: Sequence[Push]) -> list[int]:
        """Where the neurons of these pushes are in what `take` gives."""
        return [self._place[p.site, p.neuron] for p in pushes if p.neuron is not None]

    def __enter__(self) -> _Neurons:
        for name, site in self._sites.items():
            for first in (True, False):
                hook = self._hook(name, first)
                self._handles.append(site.module.register_forward_pre_hook(hook, prepend=first))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self) -> list[np.ndarray]:
        """[before, after] of the last forward, float32 `[R, n]` each, on the host."""
        found, self._found = self._found, {}
        sides = [[found[name, first] for name in self._sites] for first in (True, False)]
        return [torch.cat(parts, dim=1).cpu().numpy() for parts in sides]

    def _hook(self, name: str, first: bool) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._found[name, first] = args[0].detach()[:, -1, self._index[name]].float()

        return keep
