"""Texts as unit vectors: all-MiniLM-L6-v2 as a whole, or hashed words where it is not installed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.agents.vln.minilm import archive
from pilotage.agents.vln.words import FILLERS, tokenize, word_hash

ROWS = 8
LENGTHS = (16, 32, 64)  # tokens; what is behind the last is not read


class HashedWords:
    """Counts of telling words in `width` signed buckets, log(1 + n), of length 1."""

    name = "hashed-words"

    def __init__(self, width: int = 1024) -> None:
        if width < 1:
            raise ValueError(f"width must be >= 1, got {width}")
        self._width = width

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, width]."""
        counts = np.zeros((len(texts), self._width), np.float32)
        for row, text in zip(counts, texts):
            for word in tokenize(text):
                if word not in FILLERS:
                    code = word_hash(word)
                    row[code // 2 % self._width] += 1 if code % 2 else -1
        return _unit(np.sign(counts) * np.log1p(np.abs(counts)))


class MiniLM:
    """Sentence vectors as sentence-transformers makes them: the mean of the last layer's tokens.

    Every text is read once. Texts go through in groups of `ROWS`, always as many, padded to one of
    a few lengths by their own length, so that a vector owes nothing to the texts beside it. Raises
    RuntimeError when the package that brings the model (`pilotage[minilm]`) is not installed.
    """

    name = "minilm"

    def __init__(self) -> None:
        self._tokenizer, self._model = _open_minilm()
        self._known: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, 384]."""
        by_length: dict[int, list[tuple[str, list[int]]]] = {}
        for text in dict.fromkeys(texts):
            if text not in self._known:
                ids = self._tokenizer.encode(text).ids
                length = next(n for n in LENGTHS if len(ids) <= n)
                by_length.setdefault(length, []).append((text, ids))
        for length, rows in by_length.items():
            for first in range(0, len(rows), ROWS):
                self._read(rows[first : first + ROWS], length)
        return np.stack([self._known[text] for text in texts])

    def _read(self, rows: Sequence[tuple[str, list[int]]], length: int) -> None:
        """One pass over `ROWS` rows, the last ones empty; what it finds is kept."""
        import torch

        ids = torch.zeros(ROWS, length, dtype=torch.int64)
        real = torch.zeros(ROWS, length, dtype=torch.int64)
        real[len(rows) :, 0] = 1  # an empty row must have something to look at
        for row, (_, tokens) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            real[row, : len(tokens)] = 1
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=real).last_hidden_state
        weights = real[..., None].float()
        means = _unit(((hidden * weights).sum(dim=1) / weights.sum(dim=1)).numpy())
        self._known |= {text: mean for (text, _), mean in zip(rows, means)}


def _open_minilm() -> tuple[Any, Any]:
    """(tokenizer, BertModel): read from the package's archive, nothing is unpacked."""
    from safetensors.torch import load
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    with zipfile.ZipFile(archive()) as files:
        tokenizer = Tokenizer.from_str(files.read("tokenizer.json").decode())
        config = BertConfig.from_dict(json.loads(files.read("config.json")))
        weights = load(files.read("model.safetensors"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTHS[-1])
    model = BertModel(config, add_pooling_layer=False)
    needed = {k: v for k, v in weights.items() if not k.startswith("pooler.")}
    model.load_state_dict({k: v for k, v in needed.items() if not k.endswith("position_ids")})
    return tokenizer, model.eval()


def _unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(norm, 1e-9)).astype(np.float32)
    return unit
