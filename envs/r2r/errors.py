"""What goes wrong with data that the project does not ship: one error per kind of mistake."""

from __future__ import annotations


class DataError(ValueError):
    """A file of a data set is damaged or does not fit the others; the text names file and place."""


class DataMissing(FileNotFoundError):
    """A file of a data set is not there; the text says how to get it."""
