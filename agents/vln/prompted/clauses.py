"""An instruction cut into clauses, and which of them is to be done now."""

from __future__ import annotations

import re

_CUT = re.compile(
    r"[.;!?]+|,?\s+\b(?:and then|then|and)\b(?=\s+(?:VERB)\b)|,\s*(?=(?:VERB)\b)".replace(
        "VERB",
        "go|walk|turn|head|move|take|make|enter|exit|leave|stop|wait|continue|proceed|keep|pass|"
        "cross|climb|ascend|descend|follow|stand|face|veer|step|then|once|when|until|you",
    ),
    re.IGNORECASE,
)
N_MOVES, N_WORDS_A_MOVE = 4.0, 20.0  # a route takes about 4 moves, and one more every 20 words


def clauses_of(instruction: str) -> tuple[str, ...]:
    """The clauses in order, at least one: cut at sentence ends and before a verb of motion."""
    parts = [part.strip(" ,\t\r\n") for part in _CUT.split(instruction)]
    return tuple(part for part in parts if re.search(r"\w", part)) or (instruction.strip(),)


def clause_now(clauses: tuple[str, ...], n_moves: int) -> str:
    """The clause that a walk of `n_moves` so far has come to, if it goes evenly through the words
    and takes as many moves as walks of that many words do."""
    lengths = [len(clause.split()) for clause in clauses]
    total = N_MOVES + sum(lengths) / N_WORDS_A_MOVE
    word = (n_moves + 0.5) / total * sum(lengths)
    for clause, length in zip(clauses, lengths):
        word -= length
        if word < 0:
            return clause
    return clauses[-1]
