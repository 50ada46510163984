"""Whether a value vector means something, judged without a human reader.

arXiv:2509.00328 has people look at a vector's top 30 tokens and counts a pattern when four of them
share one. Two proxies that a program can count, each with chance beside it:

- *alike*: at least four of the top tokens are forms of one word (the same first letters);
- *coherent*: the top tokens' embeddings point together more than those of all but 1 % of random
  directions do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from pilotage.steering.projection import project

STEM = 4  # letters that forms of one word share


def largest_family(texts: Sequence[str], stem: int = STEM) -> int:
    """How many of the texts begin with the same `stem` letters; case, spaces and marks do not
    count, and shorter texts belong to nobody."""
    stems = ("".join(c for c in text.lower() if c.isalpha())[:stem] for text in texts)
    counts = Counter(s for s in stems if len(s) == stem)
    return max(counts.values(), default=0)


def coherence(token_ids: torch.Tensor, embeddings: torch.Tensor, chunk: int = 256) -> torch.Tensor:
    """Mean cosine `[n]` between the embeddings of each row's tokens: ids int64 `[n, k]`, embeddings
    `[V, d]` less their mean row. ValueError for k < 2."""
    k = token_ids.shape[1]
    if k < 2:
        raise ValueError(f"a coherence needs at least 2 tokens a vector, got {k}")
    mean = embeddings.float().mean(0)
    out = torch.empty(len(token_ids))
    for first in range(0, len(token_ids), chunk):
        rows = embeddings[token_ids[first : first + chunk]].float() - mean
        # The sum of all pairs is the square of the sum; the k pairs of a token with itself are 1.
        total = normalize(rows, dim=-1).sum(1).square().sum(-1)
        out[first : first + chunk] = ((total - k) / (k * (k - 1))).cpu()
    return out


def coherence_of_chance(
    embeddings: torch.Tensor, *, top_k: int, n: int = 1000, quantile: float = 0.99, seed: int = 0
) -> float:
    """The coherence that a share `quantile` of random directions stay below."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n, embeddings.shape[1], generator=generator).to(embeddings.device)
    found = project(directions, embeddings, top_k=top_k)
    return float(coherence(found.token_ids, embeddings).quantile(quantile))
