"""Reading neurons and the logit lens while an agent acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pilotage.steering.handles import HookHandles
from pilotage.steering.projection import final_norm
from pilotage.steering.sites import Site, resolve, unembedding
from pilotage.steering.vectors import NeuronSet


@dataclass(frozen=True, eq=False)
class Reading:
    """One forward, at the last position of each row.

    neurons: float32 `[R, n_neurons]` in the probe's order. token_ids int64 and logits float32
    `[n_lens, R, top_k]`: the top tokens of the residual stream after each lens layer.
    """

    neurons: torch.Tensor
    token_ids: torch.Tensor
    logits: torch.Tensor


class NeuronProbe:
    """Records chosen neurons, and the logit lens of chosen layers, in every forward it is around.

    A context manager. Entered inside a Steerer it reads what the steered model computes with.
    Nothing waits for the device before `take`.

    neurons: a NeuronSet or `{layer: [neuron, ...]}`. lens_layers: blocks after which the stream is
    read through the final norm and the unembedding.
    """

    def __init__(
        self,
        decoder: nn.Module,
        neurons: NeuronSet | Mapping[int, Sequence[int]],
        *,
        lens_layers: Sequence[int] = (),
        top_k: int = 5,
    ) -> None:
        members = neurons.by_layer() if isinstance(neurons, NeuronSet) else neurons
        self.names = [(layer, n) for layer in sorted(members) for n in members[layer]]
        self.top_k, self.lens_layers = top_k, tuple(lens_layers)
        self._sites = {n: resolve(decoder, Site(n, "mlp.down_proj:in")) for n in sorted(members)}
        self._streams = {n: resolve(decoder, Site(n, "resid:out")) for n in self.lens_layers}
        self._index: dict[int, torch.Tensor] = {}
        for layer, site in self._sites.items():
            if (
                not members[layer]
                or not 0 <= min(members[layer]) <= max(members[layer]) < site.width
            ):
                raise ValueError(
                    f"layer {layer} has neurons 0 to {site.width - 1}: {members[layer]}"
                )
            self._index[layer] = torch.tensor(list(members[layer]), device=site.weight.device)
        self._norm = final_norm(decoder) if self.lens_layers else None
        self._head = unembedding(decoder) if self.lens_layers else None
        self._before: dict[int, torch.Tensor] = {}
        self._now: dict[tuple[str, int], Any] = {}
        self._done: list[dict[tuple[str, int], Any]] = []
        self._handles = HookHandles()

    def __enter__(self) -> NeuronProbe:
        for layer, site in self._sites.items():
            self._handles.before(site.module, self._neuron_hook(layer))
        for layer, site in self._streams.items():
            if site.adds_stream and site.stream is not None:
                self._handles.before(site.stream, self._stream_hook(layer))
            self._handles.after(site.module, self._lens_hook(layer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()
        self._before.clear()
        self._now = {}

    def take(self) -> list[Reading]:
        """The readings of the forwards since the last `take`, on the host."""
        done, self._done = self._done, []
        return [self._reading(parts) for parts in done]

    def _reading(self, parts: dict[tuple[str, int], Any]) -> Reading:
        neurons = [parts["neurons", layer] for layer in self._sites]
        lens = [parts["lens", layer] for layer in self.lens_layers]
        n_rows = len(neurons[0]) if neurons else lens[0][0].shape[0]
        empty = torch.zeros(0, n_rows, self.top_k)
        return Reading(
            torch.cat(neurons, 1).cpu() if neurons else torch.zeros(n_rows, 0),
            torch.stack([ids for _, ids in lens]).cpu() if lens else empty.long(),
            torch.stack([values for values, _ in lens]).cpu() if lens else empty,
        )

    def _put(self, key: tuple[str, int], value: Any) -> None:
        self._now[key] = value
        if len(self._now) == len(self._sites) + len(self.lens_layers):
            self._done.append(self._now)
            self._now = {}

    def _neuron_hook(self, layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._put(("neurons", layer), args[0].detach()[:, -1, self._index[layer]].float())

        return hook

    def _stream_hook(self, layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._before[layer] = args[0].detach()[:, -1]

        return hook

    def _lens_hook(self, layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            with torch.no_grad():
                h, before = output.detach()[:, -1], self._before.pop(layer, None)
                h = h if before is None else before + h
                normed = self._norm(h[:, None])[:, 0]  # type: ignore[misc]
                logits = (normed @ self._head.T).float()  # type: ignore[union-attr]
                self._put(("lens", layer), tuple(logits.topk(self.top_k)))

        return hook
