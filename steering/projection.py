"""Value vectors read in the vocabulary (arXiv:2509.00328, section 3).

An FFN is a sum of value vectors, FFN(x) = sum_i x_i w_i; the logits of neuron i are E w_i, with E
the unembedding. As in the paper no final norm is applied: only the rank order of tokens is meant.
The product is made in chunks, never as a vocabulary x neurons matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pilotage.steering.sites import (
    SiteError,
    final_norm,
    find_layers,
    unembedding,
    value_vectors,
)

MAX_BYTES = 64 * 2**20
_BLOCK = 64  # tokens per block in the search for the largest logits


@dataclass(frozen=True, eq=False)
class Projection:
    """The top tokens of neurons. token_ids int64 `[n, k]`, logits float32 `[n, k]`, best first."""

    token_ids: torch.Tensor
    logits: torch.Tensor

    def words(self, neuron: int, decode: Callable[[int], str]) -> list[str]:
        """The neuron's top tokens as text."""
        return [decode(int(token)) for token in self.token_ids[neuron]]

    def share(self, ids: range) -> torch.Tensor:
        """Which share of each neuron's top tokens is in `ids` (the action bins): float32 `[n]`."""
        inside = (self.token_ids >= ids.start) & (self.token_ids < ids.stop)
        return inside.float().mean(1)


@dataclass(frozen=True)
class Hit:
    """A neuron found by a concept, and how strongly."""

    layer: int
    neuron: int
    score: float


def project(
    values: torch.Tensor, embeddings: torch.Tensor, *, top_k: int = 10, max_bytes: int = MAX_BYTES
) -> Projection:
    """The `top_k` tokens of each value vector: values `[n, d]`, embeddings `[vocabulary, d]`.

    max_bytes bounds the working memory (the logits of a chunk and, for half-precision embeddings,
    their float32 copy). Raises ValueError when it is too small for one chunk, or top_k is too
    large.
    """
    n, size = len(values), len(embeddings)
    if values.shape[1] != embeddings.shape[1]:
        raise ValueError(f"values are {values.shape[1]} wide, embeddings {embeddings.shape[1]}")
    if not 1 <= top_k <= size:
        raise ValueError(f"top_k must be from 1 to the vocabulary's {size}, got {top_k}")
    n_tokens, n_values = _chunks(values, embeddings, top_k, max_bytes)
    device = values.device
    best = torch.full((n, top_k), -torch.inf, device=device)
    best_ids = torch.zeros((n, top_k), dtype=torch.int64, device=device)
    for first in range(0, size, n_tokens):
        part = embeddings[first : first + n_tokens].float()
        for start in range(0, n, n_values):
            chunk = slice(start, start + n_values)
            logits, ids = largest(values[chunk].float() @ part.T, min(top_k, len(part)))
            if n_tokens >= size:
                best[chunk], best_ids[chunk] = logits, ids
                continue
            both = torch.cat([best[chunk], logits], 1)
            both_ids = torch.cat([best_ids[chunk], ids + first], 1)
            best[chunk], order = both.topk(top_k, dim=1)
            best_ids[chunk] = both_ids.gather(1, order)
    return Projection(best_ids, best)


def largest(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`logits.topk(k, dim=1)` for few of many: the k largest are in the k blocks of largest
    maximum.
    """
    n, size = logits.shape
    n_blocks = size // _BLOCK
    if n_blocks < 4 * k:
        values, ids = logits.topk(k, dim=1)
        return values, ids
    body = logits[:, : n_blocks * _BLOCK].view(n, n_blocks, _BLOCK)
    blocks = body.amax(-1).topk(k, dim=1, sorted=False).indices
    inside = body.gather(1, blocks[..., None].expand(-1, -1, _BLOCK)).reshape(n, -1)
    offsets = torch.arange(_BLOCK, device=logits.device)
    ids = (blocks[..., None] * _BLOCK + offsets).reshape(n, -1)
    rest = torch.arange(n_blocks * _BLOCK, size, device=logits.device).expand(n, -1)
    candidates = torch.cat([inside, logits[:, n_blocks * _BLOCK :]], 1)
    values, order = candidates.topk(k, dim=1)
    return values, torch.cat([ids, rest], 1).gather(1, order)


def project_layers(
    decoder: nn.Module,
    *,
    layers: Sequence[int] | None = None,
    top_k: int = 10,
    max_bytes: int = MAX_BYTES,
    final_norm: bool = False,
    centre: bool = False,
) -> Iterator[tuple[int, Projection]]:
    """`(layer, Projection)` of all neurons, layer by layer; None: all layers.

    final_norm: weigh the dimensions by the final norm's weights. centre: take the mean token's row
    off the unembedding (the rank order of a neuron's tokens then no longer favours long rows on
    its side of the mean). Both are off in the paper.
    """
    embeddings = unembedding(decoder)
    if centre:
        embeddings = embeddings - embeddings.float().mean(0).to(embeddings.dtype)
    weight = _final_norm_weight(decoder) if final_norm else None
    for layer in range(len(find_layers(decoder))) if layers is None else layers:
        values = value_vectors(decoder, layer)
        if weight is not None:
            values = values.float() * weight
        yield layer, project(values, embeddings, top_k=top_k, max_bytes=max_bytes)


def action_share(
    decoder: nn.Module, action_ids: range, *, layers: Sequence[int] | None = None, **options: Any
) -> dict[int, float]:
    """Per layer, the share of action tokens among the top tokens of all its neurons.

    options: of `project_layers`, e.g. `top_k` (the paper's figure counts 30).
    """
    return {
        layer: float(projection.share(action_ids).mean())
        for layer, projection in project_layers(decoder, layers=layers, **options)
    }


def search(
    decoder: nn.Module,
    concept_ids: Sequence[int],
    *,
    by: str = "logit",
    layers: Sequence[int] | None = None,
    limit: int = 20,
) -> list[Hit]:
    """Neurons ranked by a concept given as token ids, best first.

    by: "logit", the mean logit of the tokens; "cosine", the mean cosine of the neuron's value
    vector with their unembedding rows, which does not favour long vectors or rows.
    """
    if by not in ("logit", "cosine"):
        raise ValueError(f"unknown ranking {by!r}; there are: logit, cosine")
    rows = _rows(unembedding(decoder), concept_ids).float()
    if by == "cosine":
        rows = nn.functional.normalize(rows, dim=-1)
    concept = rows.mean(0)
    hits: list[Hit] = []
    for layer in range(len(find_layers(decoder))) if layers is None else layers:
        values = value_vectors(decoder, layer).float()
        scores = values @ concept
        if by == "cosine":
            scores = scores / values.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        top = scores.topk(min(limit, len(scores)))
        hits += [Hit(layer, int(i), float(s)) for s, i in zip(top.values, top.indices)]
    return sorted(hits, key=lambda hit: -hit.score)[:limit]


def concept_embedding(decoder: nn.Module, concept_ids: Sequence[int]) -> torch.Tensor:
    """Mean unembedding row of the concept's tokens, float32 `[d]`."""
    return _rows(unembedding(decoder), concept_ids).float().mean(0)


def semantic_embeddings(
    values: torch.Tensor, embeddings: torch.Tensor, *, top_k: int = 20, max_bytes: int = MAX_BYTES
) -> torch.Tensor:
    """Probability-weighted mean of the embeddings of each vector's top tokens, float32 `[n, d]`.

    Probabilities are taken among the top tokens; those over the whole vocabulary differ by one
    factor per vector, which a cosine does not see.
    """
    projection = project(values, embeddings, top_k=top_k, max_bytes=max_bytes)
    weights = projection.logits.softmax(-1)
    meanings = torch.empty(len(values), embeddings.shape[1], device=values.device)
    step = max(1, max_bytes // (8 * top_k * embeddings.shape[1]))
    for start in range(0, len(values), step):
        chunk = slice(start, start + step)
        tokens = embeddings[projection.token_ids[chunk]].float()
        meanings[chunk] = (weights[chunk, :, None] * tokens).sum(1)
    return meanings


def _chunks(
    values: torch.Tensor, embeddings: torch.Tensor, top_k: int, max_bytes: int
) -> tuple[int, int]:
    """Tokens and values per chunk within max_bytes."""
    size, width = embeddings.shape
    copied = embeddings.dtype != torch.float32
    n_tokens = min(size, max_bytes // 2 // (4 * width)) if copied else size
    per_value = 4 * (n_tokens + width + 3 * top_k * _BLOCK)
    n_values = (max_bytes // 2 if copied else max_bytes) // per_value
    if n_tokens < top_k or n_values < 1:
        needed = 8 * (width * top_k if copied else size + width + 3 * top_k * _BLOCK)
        raise ValueError(f"max_bytes={max_bytes} is too small; give at least {needed}")
    return n_tokens, n_values


def _rows(embeddings: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    if not ids or min(ids) < 0 or max(ids) >= len(embeddings):
        raise ValueError(
            f"concept tokens must be ids below {len(embeddings)}, at least one; got {list(ids)}"
        )
    return embeddings[torch.tensor(list(ids), device=embeddings.device)]


def _final_norm_weight(decoder: nn.Module) -> torch.Tensor:
    """The weights of the final norm; Gemma's norms multiply by one plus their weight."""
    norm = final_norm(decoder)
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, torch.Tensor):
        raise SiteError(f"the final norm {type(norm).__name__} has no weight; use final_norm=False")
    weight = weight.detach().float()
    return 1 + weight if type(norm).__name__.startswith("Gemma") else weight
