"""Gates: how much of an edit a row gets, read out of its own state earlier in the same forward.

After weighted activation steering (Guiding Giants, arXiv:2505.20309): a small network looks at a
hidden state and gives a gate s and a weight for each edited layer; at layer l

    h_l <- h_l + coefficient sigmoid(s) sigmoid(omega_l) v_l

so that a row whose state asks for nothing gets next to nothing, never the opposite. The state is
read before the first edited layer, at the last position of a prefill (where the first token to
decode is predicted), and holds for the tokens that are decoded behind it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from pilotage.steering.sites import Site, parse_site


@dataclass(frozen=True, eq=False)
class Gate:
    """The network for one layer: sigmoid(s) sigmoid(omega), (s, omega) = outer relu(inner h).

    reads: "layers.<i>.resid:in". inner: float32 `[k, d + 1]`, outer: float32 `[2, k + 1]`, the last
    column of each being the bias.
    """

    reads: str
    inner: torch.Tensor
    outer: torch.Tensor

    def __post_init__(self) -> None:
        reading_layer(self.reads)
        for name in ("inner", "outer"):
            value = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float32).clone()
            if value.dim() != 2 or not torch.isfinite(value).all():
                raise ValueError(
                    f"the gate at {self.reads}: {name} must be a finite matrix, got "
                    f"{list(value.shape)}"
                )
            object.__setattr__(self, name, value)
        if tuple(self.outer.shape) != (2, len(self.inner) + 1):
            raise ValueError(
                f"the gate at {self.reads} has {len(self.inner)} hidden units, so outer must be "
                f"[2, {len(self.inner) + 1}], got {list(self.outer.shape)}"
            )

    @property
    def width(self) -> int:
        """How many numbers it reads."""
        return self.inner.shape[1] - 1

    @property
    def shape(self) -> tuple[str, int, int]:
        """What gates must have in common to be computed together: where, width, hidden units."""
        return self.reads, self.width, len(self.inner)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the place and the numbers."""
        parts = hashlib.sha256(self.reads.encode())
        for tensor in (self.inner, self.outer):
            parts.update(tensor.numpy().tobytes())
        return parts.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gate) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def value(self, h: torch.Tensor) -> torch.Tensor:
        """Of states `[n, d]`, in (0, 1), float32 `[n]`."""
        n = len(h)
        inner, outer = self.inner.expand(n, -1, -1), self.outer.expand(n, -1, -1)
        return gate_value(h.float(), inner, outer)[:, 0, 0]


def gate_value(h: torch.Tensor, inner: torch.Tensor, outer: torch.Tensor) -> torch.Tensor:
    """Every row through its own network: `[R, d]`, `[R, k, d + 1]`, `[R, 2, k + 1]` -> `[R, 1, 1]`.

    Sums over the last axis instead of matrix products: a row's bits do not depend on the others.
    """
    hidden = torch.relu((inner[..., :-1] * h[:, None, :]).sum(-1) + inner[..., -1])
    logits = (outer[..., :-1] * hidden[:, None, :]).sum(-1) + outer[..., -1]
    return torch.sigmoid(logits).prod(-1)[:, None, None]


def reading_layer(reads: str) -> int:
    """The block whose input a gate reads. ValueError where it is another place."""
    site = parse_site(reads)
    if site.place != "resid:in":
        raise ValueError(
            f"a gate reads the stream that a block begins with, not {reads}; give "
            f"layers.{site.layer}.resid:in, or layers.{site.layer + 1}.resid:in for what it leaves"
        )
    return site.layer


def check_order(reads: str, site: Site) -> None:
    """ValueError unless the gate is read before the edit at `site`, in every forward."""
    layer = reading_layer(reads)
    if layer > site.layer or (layer == site.layer and site.place == "resid:in"):
        raise ValueError(
            f"the gate of an edit at {site} reads {reads}, which comes later; it must read an "
            "earlier layer"
        )
