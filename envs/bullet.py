"""PyBullet, imported without the build line it prints on standard error.

Use `from pilotage.envs.bullet import pybullet`; a command's messages stay the command's own.
"""

from __future__ import annotations

import os
import sys


def _import_quietly() -> None:
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import pybullet  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pybullet":
            raise
        raise ModuleNotFoundError(
            "PyBullet is needed here; it belongs to every installation of pilotage. Get it with: "
            "pip install pybullet",
            name="pybullet",
        ) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


_import_quietly()

import pybullet  # noqa: E402

__all__ = ["pybullet"]
