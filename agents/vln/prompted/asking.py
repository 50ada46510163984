"""What is asked of a language model and what comes back: options, requests, replies, back ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilotage.episodes.types import Json

STOP = 0  # of the panoramic action space; k goes to the k-th place
ANSWER = "{answer}"
RULED_OUT = -1.0  # a bonus that no cosine makes up for


@dataclass(frozen=True)
class Option:
    """One answer that the prompt offers."""

    label: str  # what a reply has to name: "B", "3", a viewpoint id
    action: int  # of the world, panoramic
    text: str  # how the prompt lists it
    caption: str = ""  # what is seen that way; for stopping, what is seen around
    way: str = ""  # "turn left"; "" for stopping
    bonus: float = 0.0  # what the agent's own rules add to a cosine; language models do not see it


@dataclass(frozen=True)
class Request:
    """One prompt. Without options, free text is wanted."""

    system: str
    prompt: str
    options: tuple[Option, ...] = ()
    form: str = ANSWER  # a reply of the wanted shape, the label in place of `{answer}`
    goal: str = ""  # the part of the instruction to be done now, for back ends that compare
    expert: int | None = None  # what the world's expert does here: for the oracle alone

    def worded(self, label: str) -> str:
        """The reply that names `label`."""
        return self.form.replace(ANSWER, label)


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    `error` says why there is no text (the service did not answer, retries included); `mishaps`
    counts what went wrong on the way, whether or not an answer came in the end.
    """

    text: str
    tokens_in: int
    tokens_out: int
    error: str | None = None
    mishaps: Mapping[str, int] = field(default_factory=dict)


class Backend(Protocol):
    """Something that answers prompts."""

    @property
    def name(self) -> str:
        """For tables: "oracle", "smol"."""

    @property
    def needs_expert(self) -> bool:
        """Whether it must be told what the expert does: then its agent is privileged."""

    @property
    def writes(self) -> bool:
        """Whether it can write text of its own, or only choose among options."""

    def manifest(self) -> dict[str, Json]:
        """What identifies it, and how it counts tokens."""

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply for each request, in their order; one request's reply does not depend on the
        others. ValueError for a request that it cannot serve."""


def n_words_and_signs(text: str) -> int:
    """How back ends without a tokenizer count tokens: words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def spent(request: Request, text: str) -> Reply:
    """A reply whose tokens are counted by `n_words_and_signs`."""
    n_in = n_words_and_signs(request.system) + n_words_and_signs(request.prompt)
    return Reply(text, n_in, n_words_and_signs(text))


def need_options(request: Request, name: str) -> None:
    """ValueError unless there is something to choose from."""
    if not request.options:
        raise ValueError(f"back end {name!r} only chooses among options; this prompt has none")
