"""A run on disk: a folder with a manifest and one file per finished episode.

    run/manifest.json                 what was run (see `build_manifest`)
    run/records/<key>.safetensors     one finished episode each; these files are the only truth
    run/lock                          held (flock) by the one process that may write

A run can be killed at any instant and resumed: an episode counts when its file is there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from .files import remove_temporaries, sync_folder, write_atomically
from .manifests import FORMAT, VERSION, differing_fields, plan_fields
from .records import SUFFIX, load_record, save_record
from .types import Condition, EpisodeRecord, Json, Task
from .work import Frames


class RunError(RuntimeError):
    """A run folder cannot be used as asked; the message says why and what to do."""


class DiskFullError(RunError):
    """No space is left for the next record. Every episode finished before is safe."""


class RunFolder:
    """A run folder, open for reading (`open`) or also for writing (`create`, `resume`).

    As a context manager, or by `close`, it gives the lock back.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Json], lock: IO[bytes] | None) -> None:
        """Not for callers: use `create`, `open` or `resume`."""
        self.path = path
        self.manifest = manifest
        self._lock = lock

    @classmethod
    def create(cls, path: str | Path, manifest: Mapping[str, Json]) -> RunFolder:
        """Begin a run in a folder that does not exist or is empty; the lock is taken.

        Raises RunError when something is there already or `manifest` has another version.
        """
        path = Path(path)
        if (path / "manifest.json").exists():
            raise RunError(f"{path} already holds a run; resume it, or choose another folder")
        ours = {"lock", "records"}
        if path.exists() and any(
            entry.name not in ours and not entry.name.endswith(".tmp") for entry in path.iterdir()
        ):
            raise RunError(f"{path} is not empty; choose another folder for the run")
        _check_version(path, manifest)
        (path / "records").mkdir(parents=True, exist_ok=True)
        lock = _take_lock(path)
        try:
            remove_temporaries(path)
            text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
            write_atomically(path / "manifest.json", text.encode() + b"\n")
            sync_folder(path.absolute().parent)
        except BaseException:
            lock.close()
            raise
        return cls(path, manifest, lock)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run for reading. Raises RunError when there is none or it has another version."""
        path = Path(path)
        return cls(path, _read_manifest(path), None)

    @classmethod
    def resume(
        cls, path: str | Path, manifest: Mapping[str, Json], *, ignore: Iterable[str] = ()
    ) -> RunFolder:
        """Open a run to go on with it; the lock is taken, leftovers of a killed writer are removed.

        `manifest` describes what the caller is about to run. RunError lists the fields in which it
        differs from the folder's; those in `ignore` (e.g. `"packages"`) may differ.
        """
        path = Path(path)
        found = _read_manifest(path)
        differing = differing_fields(found, manifest, ignore=ignore)
        if differing:
            raise RunError(
                f"{path} was made by another run; these fields differ:\n  "
                + "\n  ".join(differing)
                + "\nuse the same settings, or choose another folder"
            )
        lock = _take_lock(path)
        remove_temporaries(path)
        remove_temporaries(path / "records")
        return cls(path, found, lock)

    @classmethod
    def create_or_resume(
        cls, path: str | Path, manifest: Mapping[str, Json], *, ignore: Iterable[str] = ()
    ) -> RunFolder:
        """`resume` when the folder holds a run, else `create`."""
        if (Path(path) / "manifest.json").exists():
            return cls.resume(path, manifest, ignore=ignore)
        return cls.create(path, manifest)

    # -- records -------------------------------------------------------------------------------

    def keys(self) -> set[str]:
        """Keys of the finished episodes."""
        return {file.name.removesuffix(SUFFIX) for file in self._files()}

    def __len__(self) -> int:
        return len(self.keys())

    def records(self, *, frames: bool = True) -> Iterator[EpisodeRecord]:
        """Every finished episode, by key. RecordError for a damaged file."""
        for key in sorted(self.keys()):
            yield self.load(key, frames=frames)

    def load(self, key: str, *, frames: bool = True) -> EpisodeRecord:
        """One finished episode; FileNotFoundError when it is not there."""
        record = load_record(self._file(key), frames=frames)
        if record.key != key:
            raise RunError(
                f"{self._file(key)} holds the episode {record.key}; it was renamed or copied: "
                "delete it and resume the run"
            )
        return record

    def write(self, record: EpisodeRecord) -> None:
        """Put a finished episode on the disk; when this returns it is safe.

        Raises RunError when the folder is open for reading only or the disk refuses
        (DiskFullError), and leaves no partial file.
        """
        if self._lock is None:
            raise RunError(f"{self.path} is open for reading only; use RunFolder.resume to write")
        file = self._file(record.key)
        try:
            save_record(record, file)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            problem = "no space is left on the disk" if full else f"the disk refused: {error}"
            raise (DiskFullError if full else RunError)(
                f"{file} was not written: {problem}; the {len(self)} finished episodes are safe; "
                "make room and resume the run"
            ) from error

    def check_plan(
        self,
        tasks: Sequence[Task],
        conditions: Sequence[Condition],
        *,
        seed: int,
        repeats: int,
        frames: Frames,
    ) -> None:
        """RunError when the manifest describes other work than this; called by the loop."""
        planned = plan_fields(tasks, conditions, seed=seed, repeats=repeats, frames=frames)
        found = {name: self.manifest.get(name) for name in planned}
        differing = differing_fields(found, planned)
        if differing:
            raise RunError(
                f"the manifest of {self.path} describes other work:\n  " + "\n  ".join(differing)
            )

    def close(self) -> None:
        """Give the lock back; reading stays possible."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _file(self, key: str) -> Path:
        return self.path / "records" / f"{key}{SUFFIX}"

    def _files(self) -> list[Path]:
        files = (self.path / "records").glob(f"*{SUFFIX}")
        return [file for file in files if not file.name.startswith(".")]


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text())
    except FileNotFoundError:
        raise RunError(f"{path} holds no run (there is no manifest.json); create one") from None
    except ValueError as error:
        raise RunError(f"{file} is not JSON ({error}); restore it or start a new run") from error
    _check_version(path, manifest)
    return manifest


def _check_version(path: Path, manifest: Any) -> None:
    named = isinstance(manifest, Mapping) and manifest.get("format") == FORMAT
    if not named:
        raise RunError(f"{path}: the manifest does not say format {FORMAT!r}; see build_manifest")
    if manifest.get("version") != VERSION:
        raise RunError(
            f"{path} has run format version {manifest.get('version')}, this program uses version "
            f"{VERSION}; use the version of pilotage that wrote it, or start a new run"
        )


def _take_lock(path: Path) -> IO[bytes]:
    lock = open(path / "lock", "ab")  # noqa: SIM115  (held until close)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise RunError(
            f"{path} is being written by another process; wait for it, or choose another folder"
        ) from error
    os.set_inheritable(lock.fileno(), False)
    return lock
