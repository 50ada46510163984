"""Writing a file so that it is either there, whole and on the disk, or not there at all."""

from __future__ import annotations

import os
from pathlib import Path

TEMPORARY = ".tmp"  # names that end so are unfinished; nobody reads them


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: temporary file beside it, fsync, rename, fsync of the folder.

    After a crash at any instant `path` holds the old content (or nothing) or all of the new one.
    OSError (disk full, no permission) leaves no temporary file behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Delete what writers that were killed left in `folder`."""
    for leftover in folder.glob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
