"""Mixing the logits of middle layers into the last one's, a share of them per batch row.

Self-logits augmentation of VISTA (arXiv:2502.03628, section 3.3): with z_l the logits that the
residual stream after block l would give through the final norm and the unembedding (the logit
lens), and W a window of blocks before the last,

    z <- (1 - g) z_L + g mean_{l in W} z_l

A share g of 0 leaves the row's logits bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.distributions import divergence
from pilotage.steering.handles import HookHandles
from pilotage.steering.receipts import ReceiptMismatch
from pilotage.steering.sites import final_norm, find_layers, resolve, unembedding

SHARE = 0.3  # the paper's
_FIELDS = ("layers", "share")


@dataclass(frozen=True)
class LogitMix:
    """The share g of the logits that the `layers` W give. ValueError for what cannot be mixed."""

    layers: tuple[int, ...]
    share: float = SHARE

    def __post_init__(self) -> None:
        layers = tuple(sorted(int(layer) for layer in self.layers))
        if not layers or len(set(layers)) != len(layers) or layers[0] < 0:
            raise ValueError(f"logit mix: layers must be distinct and >= 0, got {layers}")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"logit mix: share {self.share} is not between 0 and 1")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "share", float(self.share))

    def to_spec(self) -> dict[str, Any]:
        """JSON that `from_spec` reads."""
        return {"layers": list(self.layers), "share": self.share}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> LogitMix:
        """Raises ValueError for unknown fields and without layers."""
        unknown = sorted(set(spec) - set(_FIELDS))
        if unknown or "layers" not in spec:
            raise ValueError(
                f"logit mix: unknown fields {unknown} or no layers in {dict(spec)}; there are: "
                f"{', '.join(_FIELDS)}"
            )
        return cls(tuple(spec["layers"]), float(spec.get("share", SHARE)))


def late_window(n_layers: int) -> tuple[int, ...]:
    """The last quarter of the blocks but the last one, at least one block: the paper's window is
    25 to 30 of 32. Raises ValueError where there is no block before the last."""
    if n_layers < 2:
        raise ValueError(f"a model of {n_layers} blocks has none before the last to mix in")
    return tuple(range(n_layers - 1 - max(1, n_layers // 4), n_layers - 1))


class LogitMixer:
    """Mixes logits for the rows of a caller's batch; a context manager, hooks only inside.

    Entered after a Steerer it reads the steered stream. `mix` is called once for each forward whose
    logits are wanted. mixes: all that rows will be under, which fixes what is read: a row's result
    does not depend on what the others are under.
    vocabulary: of the ids that the logits given to `mix` are for.
    Raises ValueError for the last block, whose logits they are already, or one that is not there.
    """

    def __init__(
        self,
        decoder: nn.Module,
        mixes: Iterable[LogitMix],
        *,
        n_rows: int,
        vocabulary: slice = slice(None),
    ) -> None:
        self.layers = sorted({layer for mix in mixes for layer in mix.layers})
        n_layers = len(find_layers(decoder))
        if not self.layers or self.layers[-1] >= n_layers - 1:
            raise ValueError(
                f"logit mix: layers {self.layers} are not all before the last of {n_layers} blocks"
            )
        self._sites = {n: resolve(decoder, f"layers.{n}.resid:out") for n in self.layers}
        self._norm = final_norm(decoder)
        self._head = unembedding(decoder)[vocabulary]
        self._weights = torch.zeros(len(self.layers), n_rows, device=self._head.device)
        self._kl = torch.zeros(n_rows, dtype=torch.float64, device=self._head.device)
        self._mixes: list[LogitMix | None] = [None] * n_rows
        self._mixed = np.zeros(n_rows, np.int64)
        self._seen: dict[int, torch.Tensor] = {}
        self._handles: HookHandles | None = None

    def __enter__(self) -> LogitMixer:
        self._handles = HookHandles()
        for layer, site in self._sites.items():
            hook_site(self._handles, site, partial(self._keep, layer))
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks; receipts stay readable. Safe to call twice."""
        if self._handles is not None:
            self._handles.remove()
        self._handles = None
        self._seen.clear()

    @torch.inference_mode(False)
    def set_row(self, row: int, mix: LogitMix | None) -> None:
        """Put a row under a mix, None for none, and start its receipt anew."""
        if mix is not None and not set(mix.layers) <= set(self.layers):
            raise ValueError(f"logit mix: layers {mix.layers} are not among {self.layers}")
        self._mixes[row] = mix
        self._mixed[row] = 0
        self._kl[row] = 0.0
        self._weights[:, row] = 0.0
        if mix is not None:
            for layer in mix.layers:
                self._weights[self.layers.index(layer), row] = mix.share / len(mix.layers)

    @torch.no_grad()
    def mix(
        self, logits: torch.Tensor, rows: slice, live: np.ndarray, at: int | slice = -1
    ) -> torch.Tensor:
        """The logits of the last forward, `[R, V]`, or `[R, K, V]` at K positions.

        rows: which rows the forward carried; live: bool `[R]`, others are neither mixed nor
        counted. at: the positions of the forward that the logits are of. Raises RuntimeError where
        the forward did not pass all of the layers.
        """
        mixes = self._mixes[rows]
        active = [m is not None and m.share > 0 and bool(a) for m, a in zip(mixes, live)]
        if not any(active):
            self._seen.clear()
            return logits
        seen, self._seen = self._seen, {}
        if missing := [layer for layer in self.layers if layer not in seen]:
            raise RuntimeError(
                f"logit mix: the forward did not pass the layers {missing}; call `mix` after each "
                "forward, inside `with mixer:`"
            )
        shape = (-1,) + (1,) * (logits.dim() - 1)
        weights = self._weights[:, rows].reshape(len(self.layers), *shape)
        mixed = (1 - weights.sum(0)) * logits
        for layer, weight in zip(self.layers, weights, strict=True):
            mixed = mixed + weight * (self._norm(seen[layer][:, at]) @ self._head.T).to(logits)
        gate = torch.tensor(active, device=logits.device)
        out = torch.where(gate.reshape(shape), mixed, logits)
        far = divergence(logits, out).reshape(len(out), -1)
        self._kl[rows] += torch.where(gate, far.sum(1), 0.0)
        self._mixed[rows] += np.array(active) * far.shape[1]
        return out

    def receipt(self, row: int, planned: int) -> dict[str, Any]:
        """JSON of a row's mix: tokens, and the mean KL(unmixed || mixed) in nats.

        planned: how many tokens the caller chose from its logits. Raises ReceiptMismatch where
        others were mixed.
        """
        mix = self._mixes[row]
        if mix is None:
            return {}
        planned = planned if mix.share > 0 else 0
        mixed = int(self._mixed[row])
        if mixed != planned:
            raise ReceiptMismatch(
                f"logit mix of layers {list(mix.layers)}: {planned} tokens planned, {mixed} mixed. "
                "Was `mix` called once for each of them?"
            )
        kl = float(self._kl[row]) / max(mixed, 1)
        return {**mix.to_spec(), "planned_tokens": planned, "mixed_tokens": mixed, "mean_kl": kl}

    def _keep(self, layer: int, value: torch.Tensor) -> None:
        self._seen[layer] = value.detach()
