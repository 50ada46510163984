"""A small transformer policy: an encoded instruction, places that look into it, a state that
remembers how far the walk is.

The instruction is encoded once an episode. At each step stopping and the K places are tokens made
of what is seen there, its bearing, and how far the words under attention are answered there; they
look into the instruction (biased toward words that they answer) and at each other. The state is a
gated recurrent unit over the chosen tokens (recurrent VLN-BERT, arXiv:2011.13922, keeps its state
in a token; a monitor of progress trains it as in arXiv:1901.03035). The linear policy's features
are a second, direct way to the logits, so that what is easy need not be learned by attention.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .linear import N_FEATURES, linear_features
from .matching import State, WordTable, without_places
from .reading import MAX_INSTRUCTION, Seen
from .words import PAD

N_GEOMETRY = 12
MAX_STEP = 16
WIDE_SCALE = 20.0  # of the linear weights, which so learn as much faster than the others


@dataclass(frozen=True)
class NetworkConfig:
    """The size of a `TextNavigator`."""

    width: int = 64
    heads: int = 4
    encoder_layers: int = 2
    place_layers: int = 1
    n_buckets: int = 2048  # of learned word vectors, beside those of the table
    dropout: float = 0.2
    word_dropout: float = 0.1  # of instructions
    caption_dropout: float = 0.3  # of single words seen
    blind_share: float = 0.1  # of training episodes that see no words at all
    reads: bool = True  # False: never any words (blind)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")


class TextNavigator(nn.Module):
    """See the module. All tensors are batched over B episodes."""

    kind = "transformer"

    def __init__(self, table: WordTable, config: NetworkConfig) -> None:
        super().__init__()
        self.table, self.config = table, config
        d, w = config.width, table.vectors.shape[1]
        self.word_in = nn.Linear(w, d)
        self.word_own = nn.Embedding(config.n_buckets, d)
        self.from_start = nn.Embedding(MAX_INSTRUCTION, d)
        self.from_end = nn.Embedding(MAX_INSTRUCTION, d)
        for embedding in (self.word_own, self.from_start, self.from_end):
            nn.init.normal_(embedding.weight, std=0.3)
        self.encoder = nn.ModuleList(_Block(config) for _ in range(config.encoder_layers))
        self.encoded = nn.LayerNorm(d)
        self.importance = nn.Linear(d, config.heads)
        self.attend = _Query(config)
        self.first_state = nn.Parameter(torch.zeros(d))
        self.seen_in = nn.Linear(w + N_GEOMETRY + config.heads + 1, d)
        self.state_in = nn.Linear(2 * d, d)
        self.step_in = nn.Embedding(MAX_STEP, d)
        self.places = nn.ModuleList(_PlaceBlock(config) for _ in range(config.place_layers))
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, 1))
        self.wide = nn.Parameter(torch.zeros(N_FEATURES))
        self.memory = nn.GRUCell(2 * d, d)
        self.progress = nn.Linear(2 * d, 1)
        self.drop = nn.Dropout(config.dropout)

    def settings(self) -> dict[str, int | float | bool]:
        return asdict(self.config)

    def begin(self, words: Tensor, mirrored: Tensor | None = None) -> State:
        words = self.table.mirrored(words, mirrored)
        heard = words
        if self.training:
            lost = torch.rand(words.shape) < self.config.word_dropout
            heard = words.masked_fill(lost & (words != PAD), self.table.vectors.shape[0] - 1)
        real = words != PAD
        n = real.sum(dim=1, keepdim=True).clamp(min=1)
        place = torch.arange(words.shape[1])
        x = self.word_in(self.table.vectors[heard]) + self.word_own(heard % self.config.n_buckets)
        x = x + self.from_start(place) + self.from_end((n - 1 - place).clamp(min=0))
        x = self.drop(x)
        for block in self.encoder:
            x = block(x, real)
        memory = self.encoded(x)
        blind = torch.zeros(len(words), dtype=torch.bool)
        if self.training:
            blind = torch.rand(len(words)) < self.config.blind_share
        keys, values = self.attend.prepare(memory)
        pairs = [cast(_PlaceBlock, block).into.pair(memory) for block in self.places]
        return {
            "words": words,
            "keys": keys,
            "values": values,
            "pairs": torch.stack(pairs, dim=1),
            "importance": torch.sigmoid(self.importance(memory)) * real[..., None],
            "hidden": self.first_state.expand(len(words), -1),
            "blind": blind | (not self.config.reads),
        }

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        seen = self._read(state, seen)
        real = state["words"] != PAD
        hidden = state["hidden"]
        asks = hidden + self.step_in(seen.step.clamp(max=MAX_STEP - 1))
        weights, context = self.attend(asks, state["keys"], state["values"], real)
        answered = self.table.answered(state["words"], seen)  # [B, 1 + K, L]
        matched = torch.einsum("bhl,blh,bkl->bkh", weights, state["importance"], answered)
        idf = self.table.weights[state["words"]]
        overall = (answered * idf[:, None]).sum(dim=-1, keepdim=True) / 5
        around, toward = self.table.summary(seen.place), self.table.summary(seen.words)
        looks = torch.cat([around[:, None], toward], dim=1)
        tokens = torch.cat([looks, _geometry(seen), matched, overall], dim=-1)
        x = self.drop(self.seen_in(tokens))
        x = x + self.state_in(torch.cat([hidden, context], dim=-1))[:, None]
        can = torch.cat([torch.ones_like(seen.there[:, :1]), seen.there], dim=1)
        for layer, block in enumerate(self.places):
            x = block(x, can, state["pairs"][:, layer], real, answered)
        features = linear_features(self.table, state["words"], seen, answered)
        logits = self.out(x)[..., 0] + features @ (WIDE_SCALE * self.wide)
        logits = without_places(logits, seen.there)
        progress = self.progress(torch.cat([hidden, context], dim=-1))[:, 0]
        return logits, {**state, "tokens": x, "context": context, "progress": progress}

    def advance(self, state: State, choice: Tensor) -> State:
        chosen = state["tokens"][torch.arange(len(choice)), choice]
        hidden = self.memory(torch.cat([chosen, state["context"]], dim=-1), state["hidden"])
        kept = ("words", "keys", "values", "pairs", "importance", "blind")
        return {"hidden": hidden, **{name: state[name] for name in kept}}

    def _read(self, state: State, seen: Seen) -> Seen:
        """What is seen without the words that this episode must not or happens not to read."""
        lost, lost_around = (
            state["blind"].view(-1, *[1] * n).expand_as(t)
            for n, t in ((2, seen.words), (1, seen.place))
        )
        if self.training:
            share = self.config.caption_dropout
            lost = lost | (torch.rand(seen.words.shape) < share)
            lost_around = lost_around | (torch.rand(seen.place.shape) < share)
        return Seen(
            **{
                **vars(seen),
                "words": seen.words.masked_fill(lost, PAD),
                "place": seen.place.masked_fill(lost_around, PAD),
            }
        )


def _geometry(seen: Seen) -> Tensor:
    """[B, 1 + K, N_GEOMETRY]; the row of stopping holds a 1 and the number of moves."""
    h, e = seen.heading, seen.elevation
    rows = torch.stack(
        [
            *(h.sin(), h.cos(), (2 * h).sin(), (2 * h).cos(), h.abs() / 3),
            *(2 * e.sin(), (e > 0.26).float(), (e < -0.26).float()),
            *(seen.distance / 3, seen.visited, seen.came_from, torch.zeros_like(h)),
        ],
        dim=-1,
    )
    stop = torch.zeros(len(h), 1, N_GEOMETRY)
    stop[:, 0, -1] = 1.0
    return torch.cat([stop, rows], dim=1)


class _Query(nn.Module):
    """Attention of one state to the instruction: weights [B, H, L] and a context [B, D]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads, d = config.heads, config.width
        self.query, self.key = nn.Linear(d, d), nn.Linear(d, d)
        self.value, self.out = nn.Linear(d, d), nn.Linear(d, d)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, L, H, S] of an instruction [B, L, D]."""
        shape = (*memory.shape[:2], self.heads, -1)
        return self.key(memory).view(shape), self.value(memory).view(shape)

    def forward(
        self, state: Tensor, keys: Tensor, values: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        query = self.query(state).view(len(state), 1, *keys.shape[2:])
        scores = (query * keys).sum(dim=-1).transpose(1, 2) / keys.shape[-1] ** 0.5
        weights = scores.masked_fill(~real[:, None], -1e9).softmax(dim=-1)
        context = torch.einsum("bhl,blhs->bhs", weights, values)
        return weights, self.out(context.flatten(1))


class _Attention(nn.Module):
    """Attention of x to y with an optional additive bias, H heads."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads, d = config.heads, config.width
        self.query, self.pair = nn.Linear(d, d), nn.Linear(d, 2 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x: Tensor, pair: Tensor, bias: Tensor) -> Tensor:
        """x [B, N, D], keys and values [B, M, 2 D], bias [B, H or 1, N or 1, M] -> [B, N, D]."""
        b, n, d = x.shape
        h, size = self.heads, d // self.heads
        query = self.query(x).view(b, n, h, size).transpose(1, 2)
        key, value = (t.reshape(b, -1, h, size).transpose(1, 2) for t in pair.chunk(2, dim=-1))
        weights = (query @ key.transpose(2, 3) / size**0.5 + bias).softmax(dim=-1)
        return self.out((weights @ value).transpose(1, 2).reshape(b, n, d))


def _mask(real: Tensor) -> Tensor:
    """bool [B, M] -> bias [B, 1, 1, M]."""
    return torch.zeros(real.shape).masked_fill(~real, -1e9)[:, None, None]


class _Block(nn.Module):
    """A pre-norm transformer layer over the words."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.width
        self.norm, self.attention = nn.LayerNorm(d), _Attention(config)
        self.feed = _feed(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.drop(self.attention(y, self.attention.pair(y), _mask(real)))
        return x + self.drop(self.feed(x))


class _PlaceBlock(nn.Module):
    """Stopping and places look into the instruction, then at each other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        d = config.width
        self.norm_in, self.into = nn.LayerNorm(d), _Attention(config)
        self.norm, self.among = nn.LayerNorm(d), _Attention(config)
        self.pull = nn.Parameter(torch.full((config.heads,), 2.0))  # toward answered words
        self.feed = _feed(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, can: Tensor, pair: Tensor, real: Tensor, answered: Tensor
    ) -> Tensor:
        bias = _mask(real) + answered[:, None] * self.pull[:, None, None]
        x = x + self.drop(self.into(self.norm_in(x), pair, bias))
        y = self.norm(x)
        x = x + self.drop(self.among(y, self.among.pair(y), _mask(can)))
        return x + self.drop(self.feed(x))


def _feed(config: NetworkConfig) -> nn.Sequential:
    d = config.width
    return nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
