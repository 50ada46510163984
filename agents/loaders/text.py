"""A checkpoint's own tokenizer, read from its `tokenizer.json` without any code of the hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.episodes.names import hint

SPACE = "▁"  # how SentencePiece writes a space
_BYTE_SPACE = "Ġ"  # how a byte-level vocabulary writes it


class CheckpointTokenizer:
    """Text to ids and back. describe: how the ids that are no words are shown, or None for an id
    that is one.

    Has what the readers of value vectors ask for (`words`, `id_of`, `encode`, `text_of`).
    """

    def __init__(self, path: Path, hub_name: str) -> None:
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: the tokenizer. Get it with: hf download {hub_name} "
                f"tokenizer.json --local-dir {path.parent}"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise CheckpointError(f"{path} is no tokenizer: {error}") from error
        self.path = path
        self.describe: Callable[[int], str | None] = lambda _: None
        self._vocabulary = self._tokenizer.get_vocab()
        self._ids = {_plain(piece): i for piece, i in sorted(self._starts(), reverse=True)}

    def _starts(self) -> list[tuple[str, int]]:
        """Pieces that begin a word; where the vocabulary marks none, all pieces."""
        marked = [(p, i) for p, i in self._vocabulary.items() if p[:1] in (SPACE, _BYTE_SPACE)]
        return [(p, i) for p, i in marked if len(p) > 1] or list(self._vocabulary.items())

    @property
    def words(self) -> list[str]:
        return list(self._ids)

    def id_of(self, word: str) -> int:
        """The id of a word that is one token. KeyError with the nearest such words otherwise."""
        if word not in self._ids:
            near = hint(word, [w for w in self._ids if w[:1] == word[:1]], n=3)
            raise KeyError(f"{word!r} is not one token of this model{near}")
        return self._ids[word]

    def encode(self, text: str) -> list[int]:
        """Ids of words that are one token each. KeyError for others, ValueError for none."""
        found = re.findall(r"\w+", text)
        if not found:
            raise ValueError(f"the text {text!r} has no words")
        return [self.id_of(word) for word in found]

    def ids(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a prompt; special: with what the tokenizer adds of its own, such as `<s>`."""
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def piece_id(self, piece: str) -> int | None:
        """The id of an exact piece of the vocabulary."""
        return self._vocabulary.get(piece)

    @property
    def size(self) -> int:
        """Entries of the vocabulary, without what was added to it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def text_of(self, token_id: int) -> str:
        """The piece behind an id; what `describe` says of it, where it says something."""
        said = self.describe(token_id)
        if said is not None:
            return said
        piece = self._tokenizer.id_to_token(token_id)
        return f"<id {token_id}>" if piece is None else _plain(piece) or piece


def _plain(piece: str) -> str:
    return piece.replace(SPACE, " ").replace(_BYTE_SPACE, " ").strip()
