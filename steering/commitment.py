"""From which layer on a model says what it will say: the commitment depth of a token.

Read by the logit lens: the block after which the token that will be chosen is the likeliest of
those that may be chosen, and stays so through all further blocks (after the commitment layer of
Distributional Semantics Tracing, arXiv:2510.06107, whose divergence score needs a text model).
Early layers need not speak the unembedding's language, so a late depth is no proof that the
decision is made late; it bounds from above where it can be read off linearly.
"""

from __future__ import annotations

import numpy as np


def commitment_depth(tops: np.ndarray, chosen: np.ndarray, *, tolerance: int = 0) -> np.ndarray:
    """The number of the block, int64 `[...]`, from which on the tops are the chosen token.

    tops: int `[..., L]`, the likeliest token after each block. chosen: int `[...]`. tolerance:
    action bins are ordered, so that one at most so far from the chosen one counts as the same.
    L where not even the last block says it (an agent that draws its tokens). ValueError for shapes
    that do not fit.
    """
    if tops.ndim < 1 or tops.shape[:-1] != chosen.shape or tops.shape[-1] == 0:
        raise ValueError(f"tops {list(tops.shape)} must be chosen {list(chosen.shape)} + [L]")
    apart = np.abs(tops.astype(np.int64) - chosen.astype(np.int64)[..., None])
    from_the_top = np.logical_and.accumulate((apart <= tolerance)[..., ::-1], axis=-1)
    return tops.shape[-1] - from_the_top.sum(axis=-1)
