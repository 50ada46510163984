"""PyBullet, imported without the build line it prints on standard output.

Use `from pilotage.envs.bullet import pybullet`: the output of `--json` commands stays JSON.
"""

from __future__ import annotations

import ctypes
import os
import sys


def _import_quietly() -> None:
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        import pybullet  # noqa: F401

        ctypes.CDLL(None).fflush(None)  # the line waits in C's buffer when stdout is a pipe
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


_import_quietly()

import pybullet  # noqa: E402

__all__ = ["pybullet"]
