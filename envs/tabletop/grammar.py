"""The words: instruction templates, manner phrases, narration, and the closed vocabulary.

Everything is lower case without punctuation, so that a word-level tokenizer needs no rules.
`{a}` is the object acted on, `{b}` the object beside it, `{z}` the colour of the zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.splits import partition

TEMPLATES: dict[str, tuple[str, ...]] = {
    "reach": (
        "move to the {a}",
        "go to the {a}",
        "reach the {a}",
        "reach for the {a}",
        "approach the {a}",
        "move the gripper to the {a}",
        "bring the gripper to the {a}",
        "move your hand above the {a}",
        "go over to the {a}",
        "bring your hand close to the {a}",
        "hover over the {a}",
        "hold the gripper above the {a}",
        "put your hand over the {a}",
        "get close to the {a}",
        "go above the {a}",
        "go close to the {a}",
        "reach out for the {a}",
    ),
    "push": (
        "push the {a} into the {z} zone",
        "push the {a} to the {z} zone",
        "push the {a} onto the {z} area",
        "slide the {a} into the {z} zone",
        "slide the {a} onto the {z} area",
        "shove the {a} into the {z} area",
        "shove the {a} to the {z} zone",
        "move the {a} into the {z} zone by pushing it",
        "push the {a} over to the {z} area",
        "use the gripper to push the {a} into the {z} zone",
        "slide the {a} along the table to the {z} zone",
        "push the {a} until it is in the {z} area",
        "get the {a} into the {z} zone by pushing it",
        "nudge the {a} into the {z} zone",
        "slide the {a} until it is in the {z} zone",
    ),
    "lift": (
        "lift the {a}",
        "lift up the {a}",
        "lift the {a} up",
        "pick up the {a}",
        "pick the {a} up",
        "raise the {a}",
        "grasp the {a} and lift it",
        "grab the {a} and raise it",
        "take the {a} off the table",
        "lift the {a} off the table",
        "get the {a} off the table",
        "hold the {a} up in the air",
        "grab the {a} and hold it up",
        "raise the {a} into the air",
        "grasp the {a} and raise it",
    ),
    "pick_place": (
        "put the {a} on the {z} zone",
        "put the {a} in the {z} area",
        "place the {a} on the {z} zone",
        "place the {a} in the {z} area",
        "pick up the {a} and put it on the {z} zone",
        "pick up the {a} and place it in the {z} area",
        "grab the {a} and set it on the {z} zone",
        "set the {a} down on the {z} zone",
        "carry the {a} to the {z} zone",
        "bring the {a} to the {z} area",
        "take the {a} and put it in the {z} zone",
        "lay the {a} on the {z} area",
        "lift the {a} and set it down on the {z} area",
        "transfer the {a} to the {z} zone",
    ),
    "put_beside": (
        "put the {a} next to the {b}",
        "put the {a} beside the {b}",
        "place the {a} next to the {b}",
        "place the {a} beside the {b}",
        "set the {a} down next to the {b}",
        "set the {a} down close to the {b}",
        "pick up the {a} and put it next to the {b}",
        "pick up the {a} and place it beside the {b}",
        "carry the {a} over to the {b}",
        "bring the {a} close to the {b}",
        "grab the {a} and set it beside the {b}",
        "take the {a} and put it close to the {b}",
        "lay the {a} beside the {b}",
        "lift the {a} and put it next to the {b}",
        "lift the {a} and set it beside the {b}",
    ),
}
N_HELD_OUT_TEMPLATES = 2  # per family, for test and again for val


@dataclass(frozen=True)
class Phrase:
    """Words for one manner value and where they may go: "front", "end" or "both"."""

    text: str
    place: str


def _phrases(both: str = "", front: str = "", end: str = "") -> tuple[Phrase, ...]:
    """Phrases separated by "|" in each argument."""
    groups = (("both", both), ("front", front), ("end", end))
    return tuple(
        Phrase(text, place) for place, texts in groups for text in texts.split("|") if text
    )


PHRASES: dict[tuple[str, Any], tuple[Phrase, ...]] = {
    ("speed", "fast"): _phrases(
        both="quickly|swiftly|rapidly|very quickly",
        front="hurry and|be quick and",
        end="fast|in a hurry|at high speed|as fast as you can|at a fast pace",
    ),
    ("speed", "slow"): _phrases(
        both="slowly|very slowly|leisurely",
        front="take your time and|be slow and",
        end="at a slow pace|at low speed|without hurry|in slow motion|with a slow motion"
        "|as slowly as you can",
    ),
    ("height", "low"): _phrases(
        end="keeping it low|low over the table|just above the table|carrying it low"
        "|staying close to the table|at a low height"
    ),
    ("height", "high"): _phrases(
        end="keeping it high|high over the table|far above the table|carrying it high"
        "|staying high in the air|at a great height|keeping a great height"
    ),
    ("side", "left"): _phrases(
        end="from the left|from the left side|coming from the left|coming in on the left side"
        "|starting on the left|with an approach from the left"
    ),
    ("side", "right"): _phrases(
        end="from the right|from the right side|coming from the right"
        "|coming in on the right side|starting on the right|with an approach from the right"
    ),
    ("gentle", True): _phrases(
        both="gently|softly|carefully|very gently",
        end="with care|with a light touch|in a gentle way|using a light touch",
    ),
}


def templates(family: str) -> dict[str, tuple[str, ...]]:
    """Templates of a family by split."""
    n = N_HELD_OUT_TEMPLATES
    return partition(f"template|{family}", TEMPLATES[family], n_test=n, n_val=n)


def phrases(kind: str, value: Any) -> dict[str, tuple[Phrase, ...]]:
    """Phrases of a manner value by split."""
    known = {p.text: p for p in PHRASES[kind, value]}
    parts = partition(f"phrase|{kind}|{value}", tuple(known), n_test=1, n_val=1)
    return {split: tuple(known[text] for text in texts) for split, texts in parts.items()}


def object_name(thing: Mapping[str, Any]) -> str:
    """ "red cube" for an object of a scene."""
    return f"{thing['color']} {thing['shape']}"


def compose(
    template: str, words: Mapping[str, str], spoken: Mapping[str, Mapping[str, str]]
) -> str:
    """The instruction.

    Args:
        template: one of `TEMPLATES`.
        words: values for its fields ("a", and "b" or "z").
        spoken: for each manner kind that is voiced, {"text": ..., "place": "front" | "end"}.
    """
    body = template.format(**words)
    front = [p["text"] for p in spoken.values() if p["place"] == "front"]
    end = [p["text"] for p in spoken.values() if p["place"] == "end"]
    return " ".join([*front, body, *end])


# Narration: what the expert does now, in the first person.
DIRECTIONS = {(0, 1): "closer", (0, -1): "away", (1, 1): "right", (1, -1): "left"}
SPEED_WORDS = {"fast": "quickly", "slow": "slowly", "normal": ""}


def narration(verb: str, *, speed: str, gentle: bool) -> str:
    """E.g. "i move left slowly": the speed word is there whenever the manner asks for a speed."""
    words = ["i", verb, SPEED_WORDS[speed], "gently" if gentle else ""]
    return " ".join(word for word in words if word)


NARRATION_VERBS = (
    *(f"{verb} {way}" for verb in ("move", "push it", "carry it") for way in DIRECTIONS.values()),
    "move up",
    "move down",
    "lift it",
    "lower it",
    "close the gripper",
    "open the gripper",
    "turn the gripper",
    "wait",
)


def _texts() -> Iterator[str]:
    for family in TEMPLATES.values():
        yield from (t.format(a="", b="", z="") for t in family)
    for group in PHRASES.values():
        yield from (p.text for p in group)
    yield from layout.COLORS
    yield from layout.SHAPES
    yield from (narration(v, speed=s, gentle=True) for v in NARRATION_VERBS for s in SPEED_WORDS)


def vocabulary() -> list[str]:
    """Every word that an instruction or a narration can hold, held-out ones too, sorted."""
    return sorted({word for text in _texts() for word in text.split()})
