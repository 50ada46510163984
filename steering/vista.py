"""VISTA: holding on to what is seen (arXiv:2502.03628). The visual vector of a layer.

The visual steering vector (VSV, section 3.2) of a layer is what the picture adds to the residual
stream of the last token of a prompt: with the picture, less without. It is added by turning the
stream at every token that is decoded and keeping its length, the kind `add_norm_preserving`.

Two things of the release are left out. It adds the first principal axis of the differences, a unit
vector over all layers together, which does not depend on how large the differences are (and is
arbitrary for a single pair); and it turns harder where the stream points away from the vector, by
1 + max(0, cos(h, -v)). The other half of the method, the mix of logits, is `logit_mix`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pilotage.steering.vectors import SteeringVector, mean_difference

METHOD = "vista arXiv:2502.03628"
KIND = "add_norm_preserving"


def visual_vector(
    seen: torch.Tensor,
    unseen: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """The mean of the residual with the picture less that without, paired `[n, d]`.

    `source` of the vector says the kind of edit that it is made for, and `turn`, the coefficient of
    that edit that carries a seen vector about as far as the picture did: the difference's length
    over the mean |h|. Raises ValueError as `mean_difference` does.
    """
    made = mean_difference(seen, unseen, site=site, model_digest=model_digest, source=source)
    turn = made.norm / float(seen.double().norm(dim=1).mean())
    return replace(made, method=METHOD, source={**made.source, "kind": KIND, "turn": turn})
