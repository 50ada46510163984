"""The discrete bottleneck: vectors are replaced by the nearest of a codebook.

Vector quantisation with a straight-through gradient (van den Oord et al. 2017, arXiv:1711.00937),
codebooks that follow running means of what they stand for (ibid., appendix A.1), unit vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SCALE_FLOOR = 1e-6
_REVIVAL = 0.02  # of the mean count: below it a code is out of use and gets another vector


class Bottleneck(nn.Module):
    """M codebooks of K unit vectors in D dimensions.

    Vectors and codes have length one; `quantise` multiplies by sqrt(D), so that what reads it sees
    entries of about unit size.
    """

    def __init__(self, n_books: int, n_codes: int, width: int, *, decay: float = 0.97) -> None:
        super().__init__()
        self.decay = decay
        codes = functional.normalize(torch.randn(n_books, n_codes, width), dim=-1)
        self.codes: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(n_books, n_codes))
        self.register_buffer("sums", codes.clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """Numbers int64 [N, M] of the codes nearest to unit vectors [N, M, D]."""
        return torch.einsum("nmd,mkd->nmk", vectors, self.codes).argmax(-1)

    def quantise(self, vectors: Tensor, numbers: Tensor) -> Tensor:
        """Codes [N, M, D] times sqrt(D); the gradient goes straight to the vectors."""
        chosen = self.look_up(numbers)
        return (vectors + (chosen - vectors).detach()) * vectors.shape[-1] ** 0.5

    def look_up(self, numbers: Tensor) -> Tensor:
        """Unit codes [N, M, D] of numbers [N, M]."""
        books = torch.arange(self.codes.shape[0], device=numbers.device)
        return self.codes[books, numbers]

    @torch.no_grad()
    def begin(self, vectors: Tensor, generator: torch.Generator) -> None:
        """Codes far apart among vectors [N, M, D]: each next one is drawn by its squared distance
        to the codes so far (k-means++, Arthur and Vassilvitskii 2007), then a few k-means steps."""
        for book in range(self.codes.shape[0]):
            points = vectors[:, book]
            codes = points[torch.randint(len(points), (1,), generator=generator)]
            gaps = 1 - points @ codes[0]
            for _ in range(self.codes.shape[1] - 1):
                weights = gaps.clamp(min=_SCALE_FLOOR)
                chosen = points[torch.multinomial(weights, 1, generator=generator)]
                codes = torch.cat([codes, chosen])
                gaps = torch.minimum(gaps, 1 - points @ chosen[0])
            for _ in range(5):
                own = (points @ codes.T).argmax(-1)
                sums = torch.zeros_like(codes).index_add_(0, own, points)
                kept = sums.norm(dim=-1, keepdim=True) > _SCALE_FLOOR
                codes = torch.where(kept, functional.normalize(sums, dim=-1), codes)
            own = (points @ codes.T).argmax(-1)
            share = torch.bincount(own, minlength=len(codes)).float() / len(points) * len(codes)
            self.codes[book], self.counts[book] = codes, share
            self.sums[book] = codes * share[:, None]

    @torch.no_grad()
    def follow(self, vectors: Tensor, numbers: Tensor, generator: torch.Generator) -> None:
        """Move each code towards the mean of the vectors [N, M, D] it stood for; codes out of use
        become vectors of this batch."""
        n, n_books, n_codes = len(vectors), self.codes.shape[0], self.codes.shape[1]
        for book in range(n_books):
            points, own = vectors[:, book], numbers[:, book]
            counts = torch.bincount(own, minlength=n_codes).float() * (n_codes / n)
            sums = torch.zeros_like(self.codes[book]).index_add_(0, own, points * (n_codes / n))
            self.counts[book].lerp_(counts, 1 - self.decay)
            self.sums[book].lerp_(sums, 1 - self.decay)
            unused = self.counts[book] < _REVIVAL
            if bool(unused.any()):
                drawn = torch.randint(n, (int(unused.sum()),), generator=generator)
                self.sums[book, unused], self.counts[book, unused] = points[drawn], 1.0
            self.codes[book] = functional.normalize(self.sums[book], dim=-1)
