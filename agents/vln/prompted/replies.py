"""Reading replies: which option a text names, and everything that is wrong with it, counted.

A published agent turns a reply that it cannot read into some action without a word. Here the
same happens where the paper's rules say so, and each time is counted by its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .asking import STOP, Option


class Failure(StrEnum):
    """What can be wrong with a reply."""

    UNPARSABLE = "unparsable"  # names no answer at all
    OUT_OF_RANGE = "out of range"  # names an answer that was not offered
    SEVERAL = "several answers"  # names more than one; the last counts
    STOP_NOT_OFFERED = "stop not offered"  # wants to stop where the prompt did not offer it
    FALLBACK_STOP = "stopped by fallback"  # could not be read, and so ended the episode
    OUT_OF_MOVES = "out of moves"  # the limit of moves ended the episode
    OUT_OF_PROMPTS = "out of prompts"  # the budget of prompts ended the episode


@dataclass(frozen=True)
class Parsed:
    """What a reply says: the place of the option in the list, or None."""

    index: int | None
    plan: str = ""
    failures: tuple[Failure, ...] = ()


Reader = Callable[[str, Sequence[Option]], Parsed]
LETTERS = "ABCDEFGHIJKLMNOPQ"  # stop and 16 places


def read_letter(text: str, options: Sequence[Option]) -> Parsed:
    """MapGPT's rules: JSON with a field `Action` if it is such, else the last capital that stands
    alone behind the last "Action"; the plan stands between "New Planning" and "Action".

    The published agent knows the letters A to M; here they go to Q, so that all places have one.
    """
    answer, plan = _json_fields(text) or (_after(text, "Action"), _between(text))
    found = re.findall(rf"\b[{LETTERS}]\b", answer)
    return _named(found, answer, options, plan)


def read_number(text: str, options: Sequence[Option]) -> Parsed:
    """Select2Plan's rule: the last whole number behind the last "Answer"; 0 is to stop."""
    answer = _after(text, "Answer")
    return _named(re.findall(r"\b\d+\b", answer), answer, options, _explained(text))


def read_react(text: str, options: Sequence[Option]) -> Parsed:
    """NavGPT's rules: "Final Answer" stops, else the word behind the last "Action Input"."""
    thought = _explained(text)
    final = text.rfind("Final Answer")
    action = text.rfind("Action Input")
    if final < 0 and action < 0:
        return Parsed(None, thought, (Failure.UNPARSABLE,))
    if final >= 0 and action >= 0:
        several: tuple[Failure, ...] = (Failure.SEVERAL,)
    else:
        several = ()
    if final > action:
        stops = [k for k, option in enumerate(options) if option.action == STOP]
        if not stops:
            return Parsed(None, thought, (*several, Failure.STOP_NOT_OFFERED))
        return Parsed(stops[0], thought, several)
    found = re.findall(r"[\w-]+", text[action + len("Action Input") :].split("\n")[0])
    parsed = _named(found[:1], "", options, thought)
    known = {option.label for option in options}
    more = len(set(found) & known) > 1 and not several
    failures = (*several, *((Failure.SEVERAL,) if more else ()), *parsed.failures)
    return Parsed(parsed.index, thought, failures)


def _named(found: Sequence[str], answer: str, options: Sequence[Option], plan: str) -> Parsed:
    """The option that the last of `found` labels names."""
    if not found:
        wants_stop = re.search(r"\bstop\b", answer, re.IGNORECASE) is not None
        offered = any(option.action == STOP for option in options)
        kind = Failure.STOP_NOT_OFFERED if wants_stop and not offered else Failure.UNPARSABLE
        return Parsed(None, plan, (kind,))
    several = (Failure.SEVERAL,) if len(set(found)) > 1 else ()
    labels = [option.label for option in options]
    if found[-1] not in labels:
        return Parsed(None, plan, (*several, Failure.OUT_OF_RANGE))
    return Parsed(labels.index(found[-1]), plan, several)


def _after(text: str, marker: str) -> str:
    """What stands behind the last `marker`; all of the text where there is none."""
    place = text.rfind(marker)
    return text if place < 0 else text[place + len(marker) :]


def _between(text: str) -> str:
    """What stands between the last "New Planning" and the "Action" behind it, or ""."""
    place = text.rfind("New Planning")
    if place < 0:
        return ""
    return text[place + len("New Planning") :].split("Action")[0].strip(" :\n-")


def _explained(text: str) -> str:
    """The line of the last "Thought" or "Explanation", or ""."""
    found = re.findall(r"(?:Thought|Explanation):[ \t]*(.*)", text)
    return found[-1].strip(" -") if found else ""


def _json_fields(text: str) -> tuple[str, str] | None:
    """(action, plan) of a reply in JSON; None for any other text."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        data = json.loads(text[start : end + 1])
    except json.JSONDecodeError:
        return None
    if not isinstance(data, dict) or "Action" not in data:
        return None
    return str(data["Action"]), str(data.get("New Planning", ""))
