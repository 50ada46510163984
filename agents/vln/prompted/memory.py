"""What an agent remembers of an episode, as named blocks of text for its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .asking import RULED_OUT, STOP, Option
from .clauses import clause_now, clauses_of
from .sights import SIDES, Place, Sight, degrees_words, short

NOTHING_YET = "Nothing yet."
GOING_BACK = 0.3  # what a visited place loses with back ends that score, in units of a cosine
NO_PLAN = "Navigation has just begun; there is no plan yet."


class Memory(Protocol):
    """One episode's memory. `see` comes once a step, then `blocks` and the rest, then `chose`."""

    def see(self, sight: Sight) -> None:
        """The agent stands somewhere, for the first time or again."""

    def blocks(self) -> Mapping[str, str]:
        """Title -> text, in the order of the prompt."""

    def goal(self) -> str:
        """The part of the instruction that is to be done now."""

    def name_of(self, place: Place) -> str:
        """What the prompt calls a place."""

    def lean(self, place: Place | None) -> float:
        """What is added to the score of a place, or of stopping (None)."""

    def stop_words(self) -> str:
        """How the option to stop is listed."""

    def chose(self, option: Option, plan: str) -> int | None:
        """The reply named `option` and said `plan` ("" for nothing): the action of the world, or
        None when there is more to ask first."""

    def refused(self, reply: str, why: str) -> None:
        """The reply named nothing and is asked for again."""

    def last_move(self) -> str:
        """What a summary of the last move is to be made from; "" before the first."""

    def sum_up(self, summary: str) -> None:
        """Keep a summary of the last move in place of the memory's own line."""


class Notes:
    """The memory that the others build on: what was done at each step, and the last plan."""

    def __init__(self, *, n_words: int = 12) -> None:
        self._n_words = n_words  # of a caption in the history
        self.history: list[str] = []
        self.plan = NO_PLAN
        self.remarks: list[str] = []
        self.sight: Sight | None = None
        self.n_moves = 0
        self.visited: set[str] = set()

    @property
    def now(self) -> Sight:
        """What is seen now; RuntimeError before anything was."""
        if self.sight is None:
            raise RuntimeError("nothing has been seen yet: call see() first")
        return self.sight

    def see(self, sight: Sight) -> None:
        self.sight = sight
        self.visited.add(sight.viewpoint)

    def blocks(self) -> Mapping[str, str]:
        history = "\n".join(f"step {k}: {line}" for k, line in enumerate(self.history))
        found = {
            "Instruction": self.now.instruction,
            "History": history or NOTHING_YET,
            "Previous Planning": self.plan,
        }
        return found | ({"Remarks": "\n".join(self.remarks)} if self.remarks else {})

    def goal(self) -> str:
        return clause_now(clauses_of(self.now.instruction), self.n_moves)

    def name_of(self, place: Place) -> str:
        return f"a place {place.distance:.1f} m away"

    def lean(self, place: Place | None) -> float:
        """Visited places lose; the stop belongs to the last clause."""
        if place is None:
            return 0.0 if self.goal() == clauses_of(self.now.instruction)[-1] else RULED_OUT
        return -GOING_BACK if place.id in self.visited else 0.0

    def stop_words(self) -> str:
        return "stop"

    def chose(self, option: Option, plan: str) -> int | None:
        seen = f" ({short(option.caption, self._n_words)})" if option.caption else ""
        self.history.append(option.text + ("" if option.action == STOP else seen))
        self.plan = plan or self.plan
        self.remarks = []
        self.n_moves += option.action != STOP
        return option.action

    def refused(self, reply: str, why: str) -> None:
        self.remarks.append(f'The reply "{short(reply, 30)}" was of no use ({why}). Answer again.')

    def last_move(self) -> str:
        if not self.history:
            return ""
        return f"Action: {self.history[-1]}\nSeen now: {self.now.here or NOTHING_YET}"

    def sum_up(self, summary: str) -> None:
        self.history[-1] = summary


class MapMemory(Notes):
    """MapGPT's linguistic map (Chen et al. 2024, arXiv:2401.07314): places numbered in the order
    of first sight, the way so far, and who neighbours whom, known for visited places only.

    What stands for a picture is the caption of the place, seen from where it was seen last.
    """

    def __init__(self, *, n_words: int = 12, n_caption_words: int = 40) -> None:
        super().__init__(n_words=n_words)
        self._n_caption_words = n_caption_words
        self.numbers: dict[str, int] = {}
        self.captions: dict[str, str] = {}
        self.trajectory: list[int] = []
        self.neighbours: dict[int, list[int]] = {}

    def see(self, sight: Sight) -> None:
        super().see(sight)
        here = self.number(sight.viewpoint)
        for place in sight.places:
            self.number(place.id)
            self.captions[place.id] = place.caption
        self.trajectory.append(here)
        if here not in self.neighbours:  # written once, at the first visit
            self.neighbours[here] = [self.numbers[place.id] for place in sight.places]

    def number(self, viewpoint: str) -> int:
        """The number of a place; a new one gets the next."""
        return self.numbers.setdefault(viewpoint, len(self.numbers))

    def name_of(self, place: Place) -> str:
        return f"Place {self.numbers[place.id]}"

    def blocks(self) -> Mapping[str, str]:
        notes = dict(super().blocks())
        plan = notes.pop("Previous Planning")
        remarks = {"Remarks": notes.pop("Remarks")} if "Remarks" in notes else {}
        graph = "\n".join(
            f"Place {place} is connected with Places {', '.join(map(str, near))}"
            for place, near in self.neighbours.items()
        )
        return {
            "Images": self._images(),
            **notes,
            "Trajectory": "Place " + " ".join(map(str, self.trajectory)),
            "Map": graph,
            "Supplementary Info": self._frontier() or NOTHING_YET,
            "Previous Planning": plan,
            **remarks,
        }

    def _images(self) -> str:
        """One line a place, by number; the start has none until it is seen from elsewhere."""
        return "\n".join(
            f"Image {self.numbers[name]}: {short(self.captions[name], self._n_caption_words)}"
            for name in sorted(self.captions, key=self.numbers.__getitem__)
        )

    def _frontier(self) -> str:
        """Places that were seen, are not visited, and cannot be gone to from here."""
        near = {place.id for place in self.now.places}
        return "\n".join(
            f"Place {number}, seen as Image {number}"
            for name, number in self.numbers.items()
            if number not in self.neighbours and name not in near
        )


class WalkMemory(Notes):
    """NavGPT's memory (Zhou et al. 2023, arXiv:2305.16986): a history of summaries, one a step,
    and what is seen now in each of eight directions, with the places that can be gone to there."""

    def blocks(self) -> Mapping[str, str]:
        notes = dict(super().blocks())
        plan = notes.pop("Previous Planning")
        remarks = {"Remarks": notes.pop("Remarks")} if "Remarks" in notes else {}
        return {**notes, "Current Observation": self._observation(), "Thought": plan, **remarks}

    def _observation(self) -> str:
        lines = [f"Current Viewpoint: {self.now.viewpoint}"]
        for k, side in enumerate(SIDES):
            caption = self.now.around[k] if self.now.around else ""
            places = "; ".join(
                f"{place.id}: {degrees_words(place.heading)}, {place.distance:.2f} m"
                for place in self.now.places
                if place.side == k
            )
            lines.append(f"{side}: {caption or '-'}\n  navigable: {places or 'none'}")
        return "\n".join(lines)

    def name_of(self, place: Place) -> str:
        return place.id
