"""FAST action tokens (arXiv:2501.09747): a cosine transform, rounded, then byte pair encoding.

A chunk of H steps of A numbers in [-1, 1] is transformed along time (DCT-II, orthonormal), scaled,
rounded to whole numbers, shifted by `min_token`, written as characters row by row, and compressed
by BPE. In the vocabulary of PaliGemma, BPE token k is the id `size - 1 - skipped - k`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from pilotage.agents.loaders.files import read_json
from pilotage.agents.vla.checkpoint import CheckpointError

_NO_CHARACTER = "\ufffd"  # what bytes that are no UTF-8 decode to; as a number it would be 65,533


@dataclass(frozen=True, eq=False)
class FastCodec:
    """horizon: steps of a chunk; n_numbers: of an action; vocabulary: size of the text vocabulary;
    skipped: ids at its end that are never used."""

    tokenizer: Tokenizer
    scale: float
    min_token: int
    horizon: int
    n_numbers: int
    vocabulary: int
    skipped: int = 128

    @classmethod
    def read(cls, folder: Path, hub_name: str, **sizes: int) -> FastCodec:
        """From the `tokenizer.json` and `processor_config.json` of a FAST tokenizer."""
        path = folder / "processor_config.json"
        fields = read_json(path, "scale and min_token of the FAST tokenizer", hub_name)
        missing = [name for name in ("scale", "min_token") if name not in fields]
        if missing:
            raise CheckpointError(f"{path} lacks {', '.join(missing)}")
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(f"{file} is missing: the byte pairs of the FAST tokenizer")
        tokenizer = Tokenizer.from_file(str(file))
        return cls(tokenizer, float(fields["scale"]), int(fields["min_token"]), **sizes)

    @property
    def ids(self) -> range:
        """Ids of the text vocabulary that stand for action tokens."""
        stop = self.vocabulary - self.skipped
        return range(stop - self.tokenizer.get_vocab_size(), stop)

    def decode(self, ids: list[int]) -> tuple[np.ndarray, int]:
        """A chunk float64 `[horizon, n_numbers]` in the scaled units, and how much was wrong.

        Ids of words are left out and counted. Too few coefficients are filled up with zeros, too
        many cut off, as published; each is one more count. So is a coefficient whose bytes are no
        character, which is taken for 0.
        """
        pairs = [self.ids.stop - 1 - i for i in ids if i in self.ids]
        wrong = len(ids) - len(pairs)
        text = self.tokenizer.decode(pairs, skip_special_tokens=False)
        wanted = self.horizon * self.n_numbers
        numbers = np.array(
            [0 if c == _NO_CHARACTER else ord(c) + self.min_token for c in text], dtype=np.float64
        )
        wrong += text.count(_NO_CHARACTER) + (len(numbers) != wanted)
        table = np.zeros(wanted)
        table[: len(numbers)] = numbers[:wanted]
        return self._inverse(table.reshape(self.horizon, self.n_numbers)), wrong

    def encode(self, chunk: np.ndarray) -> list[int]:
        """Ids of a chunk `[horizon, n_numbers]`; the inverse of `decode` up to rounding."""
        from scipy.fft import dct

        numbers = np.rint(dct(np.asarray(chunk, np.float64), axis=0, norm="ortho") * self.scale)
        shifted = np.maximum(numbers.ravel() - self.min_token, 0).astype(int)
        pairs = self.tokenizer.encode("".join(map(chr, shifted)), add_special_tokens=False).ids
        return [self.ids.stop - 1 - k for k in pairs]

    def _inverse(self, coefficients: np.ndarray) -> np.ndarray:
        from scipy.fft import idct

        return idct(coefficients / self.scale, axis=0, norm="ortho")
