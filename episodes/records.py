"""Episode records as files: one safetensors file each, with a JSON header in its metadata.

Layout: tensors `actions`, `rewards`, `trace.<name>`, `agent_trace.<name>` as they are, and `frames`
and `depths` as compressed bytes. Metadata `record`: canonical JSON with the format's name and
version, everything of the record that is not an array, and the digest of the whole content. Any
safetensors reader can open the arrays; no pickle is involved. NaN and infinity may occur in arrays,
not in the header. Version 1 had no depths, and is still read.

Pictures are compressed by `zlib` at level 1. Differences from frame to frame were tried as well: on
64 x 64 pictures of both worlds they compress worse (by 28 and 41 %) and take no less time.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_atomically
from .types import EndReason, EpisodeRecord, Json, Seeds, Task, canonical_json

FORMAT = "pilotage-record"
VERSION = 2
READABLE = (1, 2)
PICTURES: dict[str, np.dtype[Any]] = {
    "frames": np.dtype(np.uint8),
    "depths": np.dtype("<u2"),
}  # tensors of compressed bytes
SUFFIX = ".safetensors"


class RecordError(ValueError):
    """A record file cannot be trusted; the message names the file and what to do."""


def record_digest(record: EpisodeRecord) -> str:
    """Hex SHA-256 of everything in the record, frames included: equal digests, equal bits."""
    return _digest(_header(record), _arrays(record), _picture_digests(_pictures(record)))


def save_record(record: EpisodeRecord, path: str | Path) -> None:
    """Write `record` to `path`, atomically and synced to the disk.

    Raises RecordError when something in it cannot be stored, OSError when the disk refuses.
    """
    from safetensors.numpy import save

    path = Path(path)
    arrays = _arrays(record)
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise RecordError(f"{path}: {name} has dtype {array.dtype}; store numbers or booleans")
    header, pictures = _header(record), _pictures(record)
    digests = _picture_digests(pictures)
    try:
        header["digest"] = _digest(header, arrays, digests)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: task or receipt is not JSON: {error}") from error
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header |= dict.fromkeys(PICTURES)
    for name, film in pictures.items():
        shape = list(film.shape)
        header[name] = {"codec": "zlib", "shape": shape, "digest": digests[name]}
        tensors[name] = _packed(name, film)
    write_atomically(path, save(tensors, metadata={"record": canonical_json(header)}))


def load_record(path: str | Path, *, frames: bool = True) -> EpisodeRecord:
    """Read a record and verify its digest. `frames=False` leaves frames and depths unread.

    Raises RecordError for a file that is truncated, altered, of another version, or not a record;
    FileNotFoundError when there is none.
    """
    path = Path(path)
    header, arrays, packed = _read(path, frames=frames)
    try:
        pictures = {name: _unpacked(name, header[name], film) for name, film in packed.items()}
        digests = {name: how["digest"] for name in PICTURES if (how := header.get(name))}
        intact = header["digest"] == _digest(header, arrays, digests)
        found = _picture_digests(pictures)
        intact &= all(found[name] == digests[name] for name in found)
        record = _record(header, arrays, pictures)
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise _distrusted(path, f"{type(error).__name__}: {error}") from error
    if not intact:
        raise _distrusted(path, "its content does not have the digest written in it")
    return record


def _distrusted(path: Path, reason: str) -> RecordError:
    return RecordError(
        f"{path} is damaged or not an episode record ({reason}); "
        "delete it and resume the run: its episode is played again"
    )


# -- content ---------------------------------------------------------------------------------------


def _header(record: EpisodeRecord) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "task": record.task.to_json(),
        "condition": record.condition,
        "seeds": record.seeds.to_json(),
        "agent_id": record.agent_id,
        "end": record.end.value,
        "success": bool(record.success),
        "receipt": dict(record.receipt),
        "error": record.error,
    }


def _arrays(record: EpisodeRecord) -> dict[str, np.ndarray]:
    arrays = {"actions": record.actions, "rewards": record.rewards}
    arrays |= {f"trace.{name}": array for name, array in record.trace.items()}
    arrays |= {f"agent_trace.{name}": array for name, array in record.agent_trace.items()}
    return {name: np.asarray(array) for name, array in arrays.items()}


def _pictures(record: EpisodeRecord) -> dict[str, np.ndarray]:
    films = {"frames": record.frames, "depths": record.depths}
    return {name: film for name, film in films.items() if film is not None}


def _record(
    header: Mapping[str, Json], arrays: Mapping[str, np.ndarray], pictures: Mapping[str, np.ndarray]
) -> EpisodeRecord:
    def named(prefix: str) -> dict[str, np.ndarray]:
        return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}

    return EpisodeRecord(
        task=Task.from_json(header["task"]),
        condition=header["condition"],
        seeds=Seeds(**header["seeds"]),
        agent_id=header["agent_id"],
        end=EndReason(header["end"]),
        success=header["success"],
        actions=arrays["actions"],
        rewards=arrays["rewards"],
        trace=named("trace."),
        agent_trace=named("agent_trace."),
        receipt=header["receipt"],
        error=header["error"],
        **pictures,  # type: ignore[arg-type]
    )


def _digest(
    header: Mapping[str, Json], arrays: Mapping[str, np.ndarray], pictures: Mapping[str, str]
) -> str:
    """Over the header (but for the digest and how pictures are packed), the arrays, and the digests
    of the pictures."""
    plain = {key: value for key, value in header.items() if key not in ("digest", *PICTURES)}
    seen = [pictures.get("frames"), *([pictures["depths"]] if "depths" in pictures else [])]
    total = hashlib.sha256(canonical_json([plain, *seen]).encode())
    for name in sorted(arrays):
        total.update(canonical_json([name, _array_digest(arrays[name])]).encode())
    return total.hexdigest()


def _picture_digests(pictures: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: _array_digest(film) for name, film in pictures.items()}


def _array_digest(array: np.ndarray) -> str:
    """Over dtype, shape and little-endian bytes."""
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    total = hashlib.sha256(canonical_json([little.dtype.str, list(array.shape)]).encode())
    total.update(little.data if array.size else b"")
    return total.hexdigest()


# -- reading ---------------------------------------------------------------------------------------


def _read(
    path: Path, *, frames: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(header, arrays, packed pictures). Header and file agree on which pictures exist."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no record {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            header = _checked_header(path, metadata.get("record"))
            names = set(file.keys())
            for name in PICTURES:
                if (name in names) != (header.get(name) is not None):
                    raise _distrusted(path, f"its header and its content disagree about {name}")
            packed = {n: file.get_tensor(n) for n in PICTURES if frames and n in names}
            return header, {n: file.get_tensor(n) for n in names - set(PICTURES)}, packed
    except SafetensorError as error:
        raise _distrusted(path, str(error)) from error


def _checked_header(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise _distrusted(path, 'its metadata has no "record"')
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise _distrusted(path, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _distrusted(path, f"its header does not say {FORMAT!r}")
    if header.get("version") not in READABLE:
        raise RecordError(
            f"{path} has record format version {header.get('version')}, this program reads "
            f"{' and '.join(map(str, READABLE))}; use the pilotage that wrote it"
        )
    return header


# -- pictures --------------------------------------------------------------------------------------


def _packed(name: str, film: np.ndarray) -> np.ndarray:
    """Compressed bytes, uint8 [n_bytes], of frames uint8 [T + 1, H, W, 3] or depths uint16."""
    dtype = PICTURES[name]
    if film.dtype != dtype:
        raise RecordError(f"{name} have dtype {film.dtype}, expected {dtype}")
    return np.frombuffer(zlib.compress(np.ascontiguousarray(film).data, 1), np.uint8)


def _unpacked(name: str, how: Mapping[str, Json], packed: np.ndarray) -> np.ndarray:
    if how["codec"] != "zlib":
        raise ValueError(f"unknown codec {how['codec']!r} of {name}")
    content = bytearray(zlib.decompress(packed.data))
    film: np.ndarray = np.frombuffer(content, PICTURES[name]).reshape(how["shape"])
    return film
