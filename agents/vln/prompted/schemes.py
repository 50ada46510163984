"""The four agents that have names, each after a paper. "-style": the parts are the paper's, the
pictures are replaced by captions, and the model is whichever back end answers.

    mapgpt   Chen et al. 2024, arXiv:2401.07314: a map in words, a plan that is carried along
    navgpt   Zhou et al. 2023, arXiv:2305.16986: thought and action, eight directions, ids
    a2nav    Chen et al. 2023, arXiv:2308.07997: the instruction as a list of sub-tasks
    s2p      Select2Plan, Buoso et al. 2024, arXiv:2411.04006: examples that were answered well
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .bank import Bank, ExampleMemory
from .memory import MapMemory, WalkMemory
from .replies import read_letter, read_number, read_react
from .scheme import Scheme, StopRule
from .subtasks import SubtaskMemory
from .wording import A2NAV, MAPGPT, NAVGPT, NAVGPT_SUMMARY, SELECT2PLAN, by_id, lettered, numbered


def mapgpt(*, n_caption_words: int = 40) -> Scheme:
    """Stopping is offered from the third move; what cannot be read is the first option."""
    memory = partial(MapMemory, n_caption_words=n_caption_words)
    return Scheme("mapgpt", memory, MAPGPT, lettered, read_letter, StopRule(3, 15, 15))


def navgpt() -> Scheme:
    """Ten prompts an episode; an id that cannot be gone to is told so and asked for again. A back
    end that writes sums up each move."""
    return Scheme(
        *("navgpt", WalkMemory, NAVGPT, by_id, read_react, StopRule(0, 10, 10)),
        asks_again=10,
        summary=NAVGPT_SUMMARY,
    )


def a2nav() -> Scheme:
    """Sub-task after sub-task; at most 15 moves."""
    return Scheme("a2nav", SubtaskMemory, A2NAV, lettered, read_letter, StopRule(0, 15, 60))


def select2plan(bank: Bank, *, n_examples: int = 3) -> Scheme:
    """The examples of the bank that are most like the present situation, and unlike each other."""
    memory = partial(ExampleMemory, bank, n_examples=n_examples)
    return Scheme("s2p", memory, SELECT2PLAN, numbered, read_number, StopRule(0, 15, 15))


SCHEMES: dict[str, Callable[..., Scheme]] = {
    "mapgpt": mapgpt,
    "navgpt": navgpt,
    "a2nav": a2nav,
    "s2p": select2plan,
}
