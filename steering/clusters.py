"""Clusters of neurons with a similar meaning, ranked by a concept (arXiv:2509.00328, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from pilotage.steering.projection import MAX_BYTES, semantic_embeddings
from pilotage.steering.sites import find_layers, unembedding, value_vectors
from pilotage.steering.vectors import NeuronSet


@dataclass(frozen=True, eq=False)
class Clusters:
    """Neurons grouped by meaning.

    neurons: int64 `[n, 2]` of (layer, neuron). labels: int64 `[n]`. meanings: unit float32 `[n,
    d]`.
    centres: float32 `[n_clusters, d]`. seed: of the k-means.
    """

    neurons: torch.Tensor
    labels: torch.Tensor
    meanings: torch.Tensor
    centres: torch.Tensor
    seed: int

    def rank(self, concept: torch.Tensor) -> list[tuple[int, float]]:
        """`(cluster, cosine of its centre with the concept)`, best first. concept: `[d]`."""
        scores = normalize(self.centres, dim=-1) @ normalize(concept.float().cpu(), dim=0)
        order = scores.argsort(descending=True)
        return [(int(i), float(scores[i])) for i in order]

    def neuron_set(
        self,
        cluster: int,
        alpha: float,
        *,
        size: int | None = None,
        concept: torch.Tensor | None = None,
        model_digest: str = "",
    ) -> NeuronSet:
        """A cluster's neurons; with `size`, those nearest to the concept (or to the centre).

        Raises ValueError when the cluster has fewer than `size`.
        """
        members = (self.labels == cluster).nonzero()[:, 0]
        wanted = len(members) if size is None else size
        if not 1 <= wanted <= len(members):
            raise ValueError(f"cluster {cluster} has {len(members)} neurons, asked for {wanted}")
        towards = self.centres[cluster] if concept is None else concept.float().cpu()
        scores = self.meanings[members] @ normalize(towards, dim=0)
        chosen = members[scores.topk(wanted).indices]
        pairs = tuple((int(a), int(b)) for a, b in self.neurons[chosen].tolist())
        source = {"cluster": cluster, "seed": self.seed, "n_clusters": len(self.centres)}
        method = "k-means of semantic embeddings arXiv:2509.00328"
        return NeuronSet(pairs, alpha, model_digest, method, source)


def cluster_neurons(
    decoder: nn.Module,
    n_clusters: int,
    *,
    layers: Sequence[int] | None = None,
    top_k: int = 20,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Clusters:
    """k-means of the neurons' semantic embeddings (unit length), over some or all layers."""
    from sklearn.cluster import KMeans

    chosen = list(range(len(find_layers(decoder)))) if layers is None else list(layers)
    embeddings = unembedding(decoder)
    parts, pairs = [], []
    for layer in chosen:
        values = value_vectors(decoder, layer)
        meaning = semantic_embeddings(values, embeddings, top_k=top_k, max_bytes=max_bytes)
        parts.append(normalize(meaning, dim=-1).cpu())
        pairs += [(layer, neuron) for neuron in range(len(values))]
    meanings = torch.cat(parts)
    if not 1 <= n_clusters <= len(meanings):
        raise ValueError(f"n_clusters must be from 1 to {len(meanings)}, got {n_clusters}")
    fitted = KMeans(n_clusters, n_init=1, random_state=seed).fit(meanings.numpy())
    return Clusters(
        torch.tensor(pairs),
        torch.from_numpy(fitted.labels_.astype(np.int64)),
        meanings,
        torch.from_numpy(fitted.cluster_centers_.astype(np.float32)),
        seed,
    )


def random_neurons(like: NeuronSet, decoder: nn.Module, seed: int) -> NeuronSet:
    """As many other neurons at each of the set's layers, drawn at random: a count-matched control.

    Its delivered norm is not matched; for that make a control of the interventions (`controls`).
    """
    generator = np.random.default_rng(seed)
    pairs: list[tuple[int, int]] = []
    for layer, members in like.by_layer().items():
        others = np.setdiff1d(np.arange(len(value_vectors(decoder, layer))), members)
        if len(others) < len(members):
            raise ValueError(f"layer {layer} has only {len(others)} other neurons")
        pairs += [(layer, int(i)) for i in generator.choice(others, len(members), replace=False)]
    return NeuronSet(tuple(pairs), like.alpha, like.model_digest, "random", {"seed": int(seed)})
