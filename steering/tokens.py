"""Token groups: what each position of a decoder's input stands for, as small integers.

An agent says for every token of a forward which group it belongs to (`int8 [R, S]`); selectors name
groups, so that "steer the instruction tokens" never depends on absolute positions.
"""

from __future__ import annotations

from collections.abc import Iterable

PAD = -1  # never edited, never counted
IMAGE = 0
PROPRIO = 1
INSTRUCTION = 2
ACTION = 3
NARRATION = 4
HISTORY = 5

GROUP_IDS: dict[str, int] = {
    "pad": PAD,
    "image": IMAGE,
    "proprio": PROPRIO,
    "instruction": INSTRUCTION,
    "action": ACTION,
    "narration": NARRATION,
    "history": HISTORY,
}
GROUP_NAMES: dict[int, str] = {number: name for name, number in GROUP_IDS.items()}
N_GROUPS = len(GROUP_IDS) - 1  # without PAD; ids are 0 .. N_GROUPS - 1


def group_id(name: str) -> int:
    """The id of a token group. Raises ValueError listing the groups that exist."""
    if name not in GROUP_IDS:
        raise ValueError(f"unknown token group {name!r}; there are: {', '.join(GROUP_IDS)}")
    return GROUP_IDS[name]


def group_name(number: int) -> str:
    """The name of a token group id. Raises ValueError listing the ids that exist."""
    if number not in GROUP_NAMES:
        known = ", ".join(f"{i} ({n})" for i, n in sorted(GROUP_NAMES.items()))
        raise ValueError(f"unknown token group id {number}; there are: {known}")
    return GROUP_NAMES[number]


def group_bits(names: Iterable[str] | None) -> int:
    """Bit mask of a set of group names (bit `id` is set); None is every group but padding."""
    if names is None:
        return (1 << N_GROUPS) - 1
    bits = 0
    for name in names:
        number = group_id(name)
        if number == PAD:
            raise ValueError("the token group 'pad' cannot be selected: padding is never edited")
        bits |= 1 << number
    return bits
