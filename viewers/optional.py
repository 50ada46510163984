"""Optional libraries: imported where they are used, and named with their extra when missing."""

from __future__ import annotations

import importlib
from types import ModuleType

VIEW_EXTRA = "pip install 'pilotage[view]'"


def require(module: str, *, purpose: str) -> ModuleType:
    """The module, or ImportError that says what needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the Python module {module!r}, which is not installed; "
            f"install it with: {VIEW_EXTRA}"
        ) from error
