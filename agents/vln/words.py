"""Words as numbers without a word list: a word is known by its hash, never by its letters.

A lexicon holds a vector for each of V words (sorted 64-bit hashes) and for B buckets that share all
other words. So a checkpoint can be shipped that holds no sentence and no vocabulary of a data set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PAD = 0  # the row of no word: a zero vector

# Direction words by class, for the linear policies. Our own list.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "left": ("left",),
    "right": ("right",),
    "straight": ("straight", "forward", "ahead", "continue", "past", "along", "through", "across"),
    "around": ("around", "back", "behind", "backwards"),
    "up": ("up", "upstairs", "ascend", "climb", "upper", "top"),
    "down": ("down", "downstairs", "descend", "lower", "bottom"),
    "stairs": ("stairs", "stair", "steps", "staircase", "stairway", "stairwell", "flight"),
    "stop": ("stop", "wait", "stand", "end", "finish", "halt"),
    "near": ("near", "beside", "front", "next", "by", "at", "before"),
    "out": ("exit", "leave", "out", "outside"),
    "in": ("enter", "into", "inside", "in"),
}
# In captions these tell no place from another.
_FILLERS = """
a an and are as at be been by can could depicts featuring for from has have in including is it its
of on or other overall scene several shows some that the there this through to two various view
viewed visible was while which with middle perspective different image objects object also above
below seen photo picture
"""
FILLERS = frozenset(_FILLERS.split())


def tokenize(text: str) -> list[str]:
    """Lower-case words of letters, in order."""
    return re.findall(r"[a-z]+", text.lower())


@lru_cache(maxsize=1 << 16)
def word_hash(word: str) -> int:
    """A stable number in [0, 2^63) for a word (BLAKE2b)."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Hashes int64 [V], sorted and without repeats, and how many buckets serve the other words.

    Row 0 is no word, rows 1..V the words in the order of `hashes`, then come the buckets.
    """

    hashes: np.ndarray
    n_buckets: int

    def __post_init__(self) -> None:
        if self.hashes.ndim != 1 or (np.diff(self.hashes) <= 0).any():
            raise ValueError("the hashes of a lexicon must be sorted and without repeats")
        if self.n_buckets < 1:
            raise ValueError(f"n_buckets must be >= 1, got {self.n_buckets}")

    @property
    def n_rows(self) -> int:
        return 1 + len(self.hashes) + self.n_buckets

    def rows(self, words: Iterable[str]) -> np.ndarray:
        """int64 [n]: the row of each word."""
        codes = np.array([word_hash(w) for w in words], np.int64)
        if not len(self.hashes):
            return 1 + codes % self.n_buckets
        place = np.searchsorted(self.hashes, codes)
        place = np.minimum(place, len(self.hashes) - 1)
        known = self.hashes[place] == codes
        return np.where(known, 1 + place, 1 + len(self.hashes) + codes % self.n_buckets)

    def classes(self) -> np.ndarray:
        """float32 [rows, classes]: 1 where a row is a word of a class of `CLASSES`."""
        table = np.zeros((self.n_rows, len(CLASSES)), np.float32)
        for column, words in enumerate(CLASSES.values()):
            table[self.rows(words), column] = 1.0
        return table


def make_lexicon(
    words: Sequence[str], vectors: np.ndarray, *, n_buckets: int, seed: int
) -> tuple[Lexicon, np.ndarray]:
    """A lexicon of `words` and its vectors float32 [rows, width], of length 1 but row 0.

    `vectors` float [len(words), width] belong to the words; buckets get random directions, so that
    an unknown word is like itself only. Raises ValueError when two words share a hash.
    """
    codes = np.array([word_hash(w) for w in words], np.int64)
    order = np.argsort(codes, kind="stable")
    lexicon = Lexicon(codes[order], n_buckets)
    table = np.zeros((lexicon.n_rows, vectors.shape[1]), np.float32)
    table[1 : 1 + len(words)] = vectors[order]
    rng = np.random.default_rng(seed)
    table[1 + len(words) :] = rng.normal(size=(n_buckets, vectors.shape[1]))
    table[1:] /= np.maximum(np.linalg.norm(table[1:], axis=1, keepdims=True), 1e-9)
    return lexicon, table
