"""Reads the public data sets where they lie: JSON, plain or gzip, checked on the way in.

Matterport3D's terms do not allow passing the annotations on, so nothing of them is part of the
project: a folder named by `PILOTAGE_DATA` holds them, `pilotage data` says where they come from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

from .errors import DataError, DataMissing

VARIABLE = "PILOTAGE_DATA"


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the data sets: `root`, else `PILOTAGE_DATA`, else `../shared/data` beside the
    checkout. It need not exist: the reader of a file says what is missing.
    """
    if root is not None:
        return Path(root)
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


def read_json(path: Path, kind: type) -> Any:
    """The value in a `.json` or `.json.gz` file.

    Raises:
        DataMissing: there is no such file.
        DataError: it is truncated, no JSON, or its top is not a `kind` (list or dict).
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataMissing(
            f"{path} is not there; `pilotage data` says where it comes from. Data sets are looked "
            f"for in the folder that {VARIABLE} names"
        ) from None
    try:
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        value = json.loads(text)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is no whole gzip file ({error}); it was perhaps cut off while copied: get it "
            "again"
        ) from None
    except ValueError as error:  # also a wrong text encoding
        raise DataError(
            f"{path} is no JSON ({error}); it was perhaps cut off while copied: get it again"
        ) from None
    if not isinstance(value, kind):
        raise DataError(f"{path}: expected a {kind.__name__}, found a {type(value).__name__}")
    return value


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def field_of(item: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`item[name]`, which must be a `kind`; DataError names the place and what is wrong."""
    if not isinstance(item, dict) or name not in item:
        raise DataError(f"{where}: there is no {name!r}")
    value = item[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: {name!r} is {value!r}")
    return value
