"""Language models among the solvers of a bench, by name: `free:MODEL` and `choice:MODEL`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotage.agents.replies import LanguageReplies

FREE, CHOICE = "free", "choice"
NAMES = (f"{FREE}:MODEL", f"{CHOICE}:MODEL")


def speaker_of(name: str) -> tuple[LanguageReplies, bool] | None:
    """The model that a name asks for, and whether it is to write freely; None for other names.

    Raises ValueError for a model that cannot be opened.
    """
    kind, _, model = name.partition(":")
    if kind not in (FREE, CHOICE) or not model:
        return None
    from pilotage.agents.replies import LanguageReplies

    return LanguageReplies(model), kind == FREE
