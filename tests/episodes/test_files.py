"""Atomic writes: the right order of system calls, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pilotage.episodes import files
from pilotage.episodes.files import remove_temporaries, write_atomically


def test_content_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut needs; no test can cut the power."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        content = "folder" if target.is_dir() else target.read_bytes().decode()
        calls.append(f"sync {content}")
        fsync(descriptor)

    def renamed(source: Any, target: Any) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(files.os, "replace", renamed)
    write_atomically(tmp_path / "a", b"words")
    assert calls == ["sync words", "rename", "sync folder"]
    assert (tmp_path / "a").read_bytes() == b"words"


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: type[BaseException]
) -> None:
    def fail(*args: Any) -> None:
        raise error("no")

    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(files.os, broken, fail)
    with pytest.raises(error, match="no"):
        write_atomically(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_only_temporaries_are_removed(tmp_path: Path) -> None:
    for name in (".a.12.tmp", "a.tmp", ".hidden", "a"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a", "a.tmp"]
