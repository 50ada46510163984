"""A pretrained tokenizer whose last ids are taken for the action bins, as OpenVLA does it
(arXiv:2406.09246, section 3.2: the least used tokens are overwritten)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from pilotage.episodes.names import hint


class SubwordTokenizer:
    """Has the methods of `WordTokenizer`; any text can be written with it.

    bos_id, eos_id: as the language model has them; padding is another of its special tokens.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, vocab_size: int, bos_id: int, eos_id: int, n_bins: int = 256
    ) -> None:
        self._tokenizer = tokenizer
        self.vocab_size, self.n_bins = vocab_size, n_bins
        self.first_bin_id = vocab_size - n_bins
        specials = sorted(i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special)
        spare = [i for i in specials if i not in (bos_id, eos_id) and i < self.first_bin_id]
        if not spare:
            raise ValueError(
                "the tokenizer has no special token beside begin and end that could be padding"
            )
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, spare[0]
        self.say_id = self.unk_id = spare[-1]
        self._specials = {*specials, bos_id, eos_id}

    @classmethod
    def load(
        cls, path: Path, *, vocab_size: int, bos_id: int, eos_id: int, n_bins: int
    ) -> SubwordTokenizer:
        """From a `tokenizer.json`. ValueError for one that cannot be read."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{path} is no tokenizer: {error}") from error
        return cls(tokenizer, vocab_size=vocab_size, bos_id=bos_id, eos_id=eos_id, n_bins=n_bins)

    @cached_property
    def words(self) -> list[str]:
        """The words that are one token behind a space."""
        found = {self.text_of(i) for i in range(self.first_bin_id)}
        return sorted(w[1:] for w in found if w.startswith(" ") and w[1:].isalpha())

    def id_of(self, word: str) -> int:
        """The id of a word that is one token behind a space; KeyError with near ones otherwise."""
        ids = self._tokenizer.encode(f" {word}", add_special_tokens=False).ids
        if len(ids) != 1:
            near = hint(word, self.words, n=3)
            raise KeyError(f"{word!r} is {len(ids)} tokens for this agent{near}")
        return int(ids[0])

    def text_of(self, token_id: int) -> str:
        """The text or `<bin k>` behind an id, with the space that it begins with."""
        if not 0 <= token_id < self.vocab_size:
            raise ValueError(f"token id {token_id} is outside [0, {self.vocab_size})")
        if token_id >= self.first_bin_id:
            return f"<bin {token_id - self.first_bin_id}>"
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    def encode(self, text: str, *, allow_unknown: bool = False) -> list[int]:
        """Ids of a text. Empty text is refused, and one that uses what are action bins now."""
        if not text.strip():
            raise ValueError(f"the text {text!r} has no words; give an instruction")
        ids = [int(i) for i in self._tokenizer.encode(text, add_special_tokens=False).ids]
        taken = [self._tokenizer.id_to_token(i) for i in ids if i >= self.first_bin_id]
        if taken:
            raise ValueError(f"the text {text!r} uses {taken}, whose ids are action bins now")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text, up to the end token; special tokens and bins are left out."""
        kept = []
        for i in ids:
            if i == self.eos_id:
                break
            if i not in self._specials and i < self.first_bin_id:
                kept.append(int(i))
        return str(self._tokenizer.decode(kept))

    def padded(
        self, text: str, length: int, *, start_id: int, allow_unknown: bool = False
    ) -> np.ndarray:
        """`[length]` int64: start token, text, end token, padding. Too long a text is refused."""
        ids = [start_id, *self.encode(text), self.eos_id]
        if len(ids) > length:
            raise ValueError(
                f"the text has {len(ids) - 2} tokens, the agent reads at most {length - 2}: "
                f"{text!r}"
            )
        out = np.full(length, self.pad_id, dtype=np.int64)
        out[: len(ids)] = ids
        return out
