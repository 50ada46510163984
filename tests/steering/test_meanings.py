"""Proxies of meaning, against pairs counted one by one and planted vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from pilotage.steering.meanings import coherence, coherence_of_chance, largest_family


def test_forms_of_one_word_are_a_family() -> None:
    assert largest_family([" slow", "slower", " Slowly", "SLOW", " fast", "up"]) == 4
    assert largest_family(["up", " up", "ups", "!!", ""]) == 0  # too short to tell
    assert largest_family([" up", "up", "Up"], stem=2) == 3


def test_coherence_is_the_mean_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(40, 6, generator=generator) + 3.0
    ids = torch.stack([torch.randperm(40, generator=generator)[:5] for _ in range(7)])
    centred = embeddings - embeddings.mean(0)
    for row, found in zip(ids, coherence(ids, embeddings, chunk=3), strict=True):
        pairs = [
            cosine_similarity(centred[a], centred[b], dim=0)
            for i, a in enumerate(row)
            for b in row[i + 1 :]
        ]
        assert float(found) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-5)
    with pytest.raises(ValueError, match="at least 2 tokens a vector, got 1"):
        coherence(ids[:, :1], embeddings)


def test_a_planted_cluster_is_above_chance_and_random_directions_are_not() -> None:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(400, 24, generator=generator)
    centre = torch.randn(24, generator=generator)
    embeddings[:10] = 0.6 * centre + 0.1 * torch.randn(10, 24, generator=generator)
    bar = coherence_of_chance(embeddings, top_k=10, n=400)
    planted = coherence(torch.arange(10)[None], embeddings)
    assert float(planted) > bar
    draws = torch.randn(2000, 24, generator=generator)
    top = (draws @ embeddings.T).topk(10, dim=1).indices
    above = (coherence(top, embeddings) > bar).float().mean()
    assert 0.001 < float(above) < 0.03  # 1 % by construction
