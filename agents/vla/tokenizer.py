"""A word-level tokenizer whose last ids are the action bins, as in OpenVLA (arXiv:2406.09246)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pilotage.episodes.names import hint

PAD, BOS, EOS, SAY, UNK = "<pad>", "<bos>", "<eos>", "<say>", "<unk>"
SPECIAL = (PAD, BOS, EOS, SAY, UNK)
_WORD = re.compile(r"[a-z0-9]+")


class WordTokenizer:
    """Ids 0..4 are special, then the words, then `n_bins` action bins as the last ids.

    A word outside the vocabulary is refused with the nearest known words: the agent never sees a
    silent `<unk>` unless `allow_unknown=True` is asked for.
    """

    def __init__(self, words: Sequence[str], *, n_bins: int = 256) -> None:
        bad = [w for w in words if not _WORD.fullmatch(w)]
        if bad:
            raise ValueError(f"words must be lower-case letters and digits, got {bad[:5]}")
        if len(set(words)) != len(words):
            raise ValueError("words must be unique")
        self.words = list(words)
        self.n_bins = n_bins
        self._id_of = {token: i for i, token in enumerate([*SPECIAL, *self.words])}
        self.pad_id, self.bos_id, self.eos_id, self.say_id, self.unk_id = range(len(SPECIAL))

    @property
    def first_bin_id(self) -> int:
        return len(SPECIAL) + len(self.words)

    @property
    def vocab_size(self) -> int:
        return self.first_bin_id + self.n_bins

    def id_of(self, word: str) -> int:
        """The id of one known word; KeyError with the nearest known words otherwise."""
        if word not in self._id_of:
            n, near = len(self.words), hint(word, self.words, n=3)
            raise KeyError(f"{word!r} is not among the agent's {n} words{near}")
        return self._id_of[word]

    def text_of(self, token_id: int) -> str:
        """The word, special token or `<bin k>` behind an id."""
        if not 0 <= token_id < self.vocab_size:
            raise ValueError(f"token id {token_id} is outside [0, {self.vocab_size})")
        if token_id >= self.first_bin_id:
            return f"<bin {token_id - self.first_bin_id}>"
        return SPECIAL[token_id] if token_id < len(SPECIAL) else self.words[token_id - len(SPECIAL)]

    def encode(self, text: str, *, allow_unknown: bool = False) -> list[int]:
        """Ids of the words in `text`, lower-cased, punctuation dropped. Empty text is refused."""
        words = _WORD.findall(text.lower())
        if not words:
            raise ValueError(f"the text {text!r} has no words; give an instruction")
        if allow_unknown:
            return [self._id_of.get(w, self.unk_id) for w in words]
        return [self.id_of(w) for w in words]

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by spaces, up to `<eos>`; padding and special tokens are left out."""
        out = []
        for i in ids:
            if i == self.eos_id:
                break
            if i >= len(SPECIAL):
                out.append(self.text_of(int(i)))
        return " ".join(out)

    def padded(
        self, text: str, length: int, *, start_id: int, allow_unknown: bool = False
    ) -> np.ndarray:
        """`[length]` int64: start token, words, `<eos>`, padding. Too long a text is refused."""
        ids = [start_id, *self.encode(text, allow_unknown=allow_unknown), self.eos_id]
        if len(ids) > length:
            raise ValueError(
                f"the text has {len(ids) - 2} words, the agent reads at most {length - 2}: {text!r}"
            )
        out = np.full(length, self.pad_id, dtype=np.int64)
        out[: len(ids)] = ids
        return out
