"""A²Nav's parser and executor (Chen et al. 2023, arXiv:2308.07997) for the graph world.

An instruction becomes a list of (action, landmark); one navigator per action leads until it says
that its part is done. The paper's five actions are kept, and turns and stairs are added, which
say where to go and have no landmark. Rules replace GPT-3, geometry and the scores of a back end
replace policies that were trained with RL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .asking import RULED_OUT, STOP, Option
from .clauses import clauses_of
from .memory import Notes
from .sights import Place, Sight, move_words, view_centre


class Act(StrEnum):
    """What a sub-task asks for."""

    GO_TO = "go to"
    GO_PAST = "go past"
    GO_INTO = "go into"
    GO_THROUGH = "go through"
    EXIT = "exit"
    TURN_LEFT = "turn left"
    TURN_RIGHT = "turn right"
    TURN_AROUND = "turn around"
    STAIRS_UP = "go up the stairs"
    STAIRS_DOWN = "go down the stairs"


# The first that is found in a clause decides; the order is from the special to the general.
_RULES: tuple[tuple[str, Act], ...] = (
    (
        r"\b(?:up|climb|ascend)\b.*\b(?:stair\w*|steps|flight)|\bupstairs|\bclimb|\bascend",
        Act.STAIRS_UP,
    ),
    (r"\b(?:down|descend)\b.*\b(?:stair\w*|steps|flight)|\bdownstairs|\bdescend", Act.STAIRS_DOWN),
    (r"\bturn\w* (?:all the way )?around|\bturn back|\bu-turn", Act.TURN_AROUND),
    (r"\b(?:exit|leave|get out|out of)\b", Act.EXIT),
    (r"\b(?:through|across|cross|between|under)\b", Act.GO_THROUGH),
    (r"\b(?:past|pass|passing|along|around)\b", Act.GO_PAST),
    (r"\b(?:enter|into|inside)\b", Act.GO_INTO),
    (r"\b(?:turn|veer|bear|take|make|go|hang|head|walk)\b[^,.]*\bleft\b", Act.TURN_LEFT),
    (r"\b(?:turn|veer|bear|take|make|go|hang|head|walk)\b[^,.]*\bright\b", Act.TURN_RIGHT),
    (r"\b(?:to|toward|towards|reach|stop|wait|stand|by|near|at|until|beside|front)\b", Act.GO_TO),
)
NOTHING = "-"
_TURNS = (Act.TURN_LEFT, Act.TURN_RIGHT, Act.TURN_AROUND)
_STAIRS = (Act.STAIRS_UP, Act.STAIRS_DOWN)
_LANDMARK = re.compile(r"\b(?:the|a|an|your|this|that|another)\s+([a-z][a-z' -]*)", re.IGNORECASE)
_ENDS = re.compile(
    r"\b(?:on|to|at|of|in|into|and|that|with|until|by|is|are|past|near|from|then|which|where)\b.*",
    re.IGNORECASE,
)
_NO_LANDMARK = frozenset({"left", "right", "way", "end", "first", "second", "other", "side"})


@dataclass(frozen=True)
class Subtask:
    """One part of an instruction."""

    act: Act
    landmark: str  # "" where the clause names none
    clause: str

    def __str__(self) -> str:
        return f"{self.act.value}({self.landmark})"


def subtasks_of(instruction: str) -> tuple[Subtask, ...]:
    """The parts in order, at least one. A clause that no rule knows goes on as a `GO_TO`."""
    return tuple(_subtask(clause) for clause in clauses_of(instruction))


def _subtask(clause: str) -> Subtask:
    lower = clause.lower()
    act = next((act for rule, act in _RULES if re.search(rule, lower)), Act.GO_TO)
    return Subtask(act, _landmark(clause), clause)


def _landmark(clause: str) -> str:
    """The last noun phrase with an article that is no direction, cut at the next preposition."""
    names = [_ENDS.sub("", found).strip() for found in _LANDMARK.findall(_spread(clause))]
    named = [name for name in names if name and name.lower() not in _NO_LANDMARK]
    return named[-1] if named else ""


def _spread(clause: str) -> str:
    """A break before every article, so that each noun phrase is found by itself."""
    return re.sub(r"\b(the|a|an|your|this|that|another)\b", r"| \1", clause, flags=re.IGNORECASE)


class SubtaskMemory(Notes):
    """The executor: which part is under way, and how its navigator leans among the places.

    The options of each part are the places and "this part is done"; only when the last one is
    done does the agent stop.

    Args:
        patience: moves after which a part that is not the last is done in any case.
    """

    def __init__(self, *, n_words: int = 12, patience: int = 3) -> None:
        super().__init__(n_words=n_words)
        self._patience = patience
        self.parts: tuple[Subtask, ...] = ()
        self.part = 0
        self.n_in_part = 0

    def see(self, sight: Sight) -> None:
        super().see(sight)
        if not self.parts:
            self.parts = subtasks_of(sight.instruction)
        if self.n_in_part >= self._patience and self.part + 1 < len(self.parts):
            self.history.append(f"left after {self.n_in_part} moves: {self.parts[self.part]}")
            self.part, self.n_in_part = self.part + 1, 0

    def blocks(self) -> Mapping[str, str]:
        notes = super().blocks()
        now, rest = self.parts[self.part], self.parts[self.part + 1 :]
        found = {
            "Sub-task": f"{now}, from the words: {now.clause}",
            "Later sub-tasks": ", ".join(map(str, rest)) or "none",
            "History": notes["History"],
            "Places": self._places(),
            "Seen around": self.now.here or NOTHING,
        }
        return found | ({"Remarks": notes["Remarks"]} if "Remarks" in notes else {})

    def _places(self) -> str:
        return "\n".join(
            f"{self.name_of(place)}, {move_words(*view_centre(self.now, place))}: "
            f"{place.caption or NOTHING}"
            for place in self.now.places
        )

    def name_of(self, place: Place) -> str:
        number = next(k for k, other in enumerate(self.now.places) if other.id == place.id)
        return f"place {number + 1}"

    def goal(self) -> str:
        now = self.parts[self.part]
        return now.landmark or now.clause

    def stop_words(self) -> str:
        return "this sub-task is done"

    def lean(self, place: Place | None) -> float:
        """In the units of a cosine: the geometry of the action, and no going back."""
        act = self.parts[self.part].act
        if place is None:
            return _done_lean(act, self.n_in_part)
        return _geometry(act, place, fresh=self.n_in_part == 0) + super().lean(place)

    def chose(self, option: Option, plan: str) -> int | None:
        if option.action != STOP:
            self.n_in_part += 1
            return super().chose(option, plan)
        self.history.append(f"done: {self.parts[self.part]}")
        self.part, self.n_in_part = self.part + 1, 0
        return STOP if self.part == len(self.parts) else None


def _done_lean(act: Act, n_moves: int) -> float:
    """A turn or a doorway takes one move; what is gone to or past, one or two."""
    usual = 1 if act in (*_TURNS, Act.GO_INTO, Act.EXIT) else 2
    return 0.15 * (n_moves - usual) if n_moves else RULED_OUT


def _geometry(act: Act, place: Place, *, fresh: bool) -> float:
    """How well a place suits the action by where it lies; ahead is best once under way."""
    ahead = 0.15 * math.cos(place.heading)
    if act in _STAIRS:
        up = math.sin(place.elevation) * (1 if act is Act.STAIRS_UP else -1)
        return 0.6 * up + ahead
    if act in _TURNS and fresh:
        wanted = {Act.TURN_LEFT: -math.pi / 2, Act.TURN_RIGHT: math.pi / 2}.get(act, math.pi)
        return 0.3 * math.cos(place.heading - wanted)
    return ahead
