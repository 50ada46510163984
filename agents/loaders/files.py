"""The files of a published checkpoint: where the weights lie, and what to do when they do not."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pilotage.agents.vla.checkpoint import CheckpointError, file_sha256

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LFS = b"version https://git-lfs"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_CONVERT = (
    'python -c "import glob, sys, torch; from safetensors.torch import save_file; t = {{}}; '
    "[t.update(torch.load(f, map_location='cpu', weights_only=True)) "
    "for f in sorted(glob.glob(sys.argv[1] + '/{pattern}'))]; "
    "save_file({{k: v.clone().contiguous() for k, v in t.items()}}, "
    "sys.argv[1] + '/model.safetensors')\" {folder}"
)


def checkpoint_folder(text: str, example: str) -> Path:
    """The folder behind a path, or behind a name on the Hugging Face hub, downloaded if need be.

    example: a hub name of this kind of checkpoint, for the error. Raises CheckpointError saying
    what to download and where to put it.
    """
    path = Path(text)
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a file; give the folder of the checkpoint")
    if not _HUB_NAME.fullmatch(text) or text.startswith("."):
        raise CheckpointError(
            f"there is no folder {text!r}. Download one ({_download(example, text)}), or give a "
            f"hub name, e.g. {example}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        kept = ["*.json", "*.safetensors", "tokenizer.model", "*.txt"]
        return Path(snapshot_download(text, allow_patterns=kept))
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise CheckpointError(
            f"{text!r} is no folder here, and the hub did not give it ({type(error).__name__}: "
            f"{error}). With access, download it ({_download(text, Path(text).name)}) and give the "
            "folder"
        ) from error


def _download(hub_name: str, folder: str, file: str = "") -> str:
    file = f" {file}" if file else ""
    return f"hf download {hub_name}{file} --local-dir {folder}"


def read_json(path: Path, what: str, hub_name: str) -> dict[str, Any]:
    """A JSON object. CheckpointError if it is missing or no object, saying how to get it."""
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: {what}. Get it with: "
            f"{_download(hub_name, str(path.parent), path.name)}"
        )
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value


@dataclass(frozen=True)
class WeightFiles:
    """Where each tensor of a checkpoint lies: in one `model.safetensors`, or in shards."""

    folder: Path
    files: Mapping[str, Path]  # tensor name -> file

    @classmethod
    def find(cls, folder: Path, hub_name: str) -> WeightFiles:
        """Raises CheckpointError for a missing or damaged file, and for pickled weights."""
        if (folder / INDEX).is_file():
            files = _from_index(folder, hub_name)
        elif (folder / SINGLE).is_file():
            files = dict.fromkeys(_names(folder / SINGLE), folder / SINGLE)
        else:
            raise CheckpointError(_nothing_there(folder, hub_name))
        return cls(folder, files)

    @property
    def paths(self) -> list[Path]:
        return sorted(set(self.files.values()))

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it. CheckpointError if there is no such tensor."""
        if name not in self.files:
            raise CheckpointError(
                f"{self.folder} has no tensor {name!r}; is it a checkpoint of this kind?"
            )
        with _opened(self.files[name]) as file:
            return tuple(file.get_slice(name).get_shape())

    def shards(self) -> Iterator[dict[str, torch.Tensor]]:
        """The tensors, one file at a time."""
        for path in self.paths:
            with _opened(path) as file:
                yield {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def sha256(self) -> str:
        """Hex SHA-256 that names the weights: the file's, or of all the shards' in order."""
        digests = [file_sha256(path) for path in self.paths]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def _from_index(folder: Path, hub_name: str) -> dict[str, Path]:
    index = read_json(folder / INDEX, "the index of the shards", hub_name)
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise CheckpointError(f"{folder / INDEX} has no weight_map; download it again")
    shards = sorted(set(placed.values()))
    outside = [s for s in shards if Path(s).name != s]
    if outside:
        raise CheckpointError(f"{folder / INDEX} names {outside[0]!r}, outside its own folder")
    missing = [s for s in shards if not (folder / s).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of {len(shards)} weight files: {', '.join(missing)}. "
            f"Get them with: {_download(hub_name, str(folder), ' '.join(missing))}"
        )
    inside = {s: set(_names(folder / s)) for s in shards}
    for name, shard in placed.items():
        if name not in inside[shard]:
            raise CheckpointError(
                f"the index says that {name!r} is in {folder / shard}, but it is not; download "
                "both again"
            )
    return {name: folder / shard for name, shard in placed.items()}


def _names(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        with path.open("rb") as stream:
            pointer = stream.read(len(_LFS)) == _LFS
        why = "a Git LFS pointer, not the weights" if pointer else f"damaged ({error})"
        raise CheckpointError(f"{path} is {why}; download it again") from error


def _nothing_there(folder: Path, hub_name: str) -> str:
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLED)
    if not pickled:
        return (
            f"{folder} has no weights ({SINGLE}, or shards with {INDEX}). Get them with: "
            f"{_download(hub_name, str(folder))}"
        )
    weights = [name for name in pickled if name.startswith("pytorch_model")] or pickled
    pattern = weights[0] if len(weights) == 1 else f"pytorch_model*{Path(weights[0]).suffix}"
    command = _CONVERT.format(pattern=pattern, folder=folder)
    return (
        f"{folder} has pickled weights only ({', '.join(weights)}), and a pickle can run code when "
        f"it is opened, so it is not. Convert it once, where you trust it:\n{command}"
    )
