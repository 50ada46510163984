"""Naming the object that an instruction means, among those seen from where an agent stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .scorers import clauses
from .tour import Tour, content_words

OTHER_WORD = 0.5  # what each word of a name that the instruction lacks costs, in nats of rarity


def best_named(tour: Tour, frame: int, instruction: str) -> str | None:
    """`best_thing` of what is seen at a frame of a tour; rarity is idf over the tour's names."""
    table = tour.words["names"]
    words = {w for _, name in tour.things[frame] for w in content_words(name)}
    rarity = {word: float(table.idf[table.column[word]]) for word in words}
    return best_thing(tour.things[frame], instruction, rarity)


def best_thing(
    things: Sequence[tuple[str, str]], instruction: str, rarity: Mapping[str, float]
) -> str | None:
    """The id of the thing (id, name) whose name fits the instruction best; None without things.

    The `rarity` of the words that name and instruction share is summed: once for the instruction,
    once more where the word is in the last clause, which mostly says what to do with the object,
    and once more where it follows that clause's verb ("wipe the *table* by the door"). `OTHER_WORD`
    is taken off for every other word of the name. Of equals the first is named: names alone do not
    tell one of four chairs from the next.
    """
    last = content_words(clauses(instruction)[-1])
    places = (set(content_words(instruction)), set(last), set(last[1:2] or last[:1]))
    best = -float("inf")
    found: str | None = None
    for number, name in things:
        words = set(content_words(name))
        times = {word: sum(word in place for place in places) for word in sorted(words)}
        score = sum(n * rarity[word] for word, n in times.items() if n)
        score -= OTHER_WORD * len(words - places[0])
        if score > best:
            best, found = score, number
    return found
