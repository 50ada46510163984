"""Errors for names that do not exist: what does, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str], n: int = 2) -> str:
    """ " (did you mean A or B?)" for up to `n` near misses of `name`, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=n)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def unknown(kind: str, name: str, known: Iterable[str], more: str = "") -> KeyError:
    """A KeyError that lists what exists and guesses what was meant."""
    names = list(known)
    listed = ", ".join(names)
    return KeyError(f"unknown {kind} {name!r}{hint(name, names)}; there are: {listed}{more}")
