"""Control vectors of llama.cpp (GGUF): written from steering vectors, and read as such.

The format holds one float32 `[d]` tensor a layer, `direction.<l>`, which llama.cpp adds to what
block l (from 0) gives out, times the scale on its command line; there is none for block 0. Our
`layers.<l>.resid:out` is that place. The tensors carry their length: scale 1 is the natural norm.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.sites import parse_site
from pilotage.steering.vectors import SteeringVector

ARCHITECTURE = "controlvector"
_TENSOR = re.compile(r"direction\.(\d+)")


def export_gguf(vectors: Sequence[SteeringVector], path: Path | str, *, model_hint: str) -> None:
    """Write vectors of one model as a control vector; whole or not at all.

    model_hint: the architecture in llama.cpp's words, e.g. "llama". Raises ValueError for what the
    format cannot hold: other places than the residual stream after a block, block 0, two vectors
    for a block, different widths; and ImportError where the `gguf` module is missing.
    """
    by_layer: dict[int, SteeringVector] = {}
    for vector in vectors:
        site = parse_site(vector.site)
        if site.place != "resid:out":
            raise ValueError(
                "a GGUF control vector acts on the residual stream after a block; "
                f"{vector.site} has no place in it"
            )
        check_layer(site.layer)
        if site.layer in by_layer:
            raise ValueError(f"two vectors for {vector.site}; a control vector holds one a block")
        by_layer[site.layer] = vector
    widths = {len(v.direction) for v in vectors}
    if len(widths) != 1:
        raise ValueError(f"a control vector needs vectors of one width, got {sorted(widths)}")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    writer = _gguf().GGUFWriter(temporary, ARCHITECTURE)
    try:
        writer.add_string(f"{ARCHITECTURE}.model_hint", model_hint)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(by_layer))
        for layer, vector in sorted(by_layer.items()):
            numbers = (vector.norm * vector.direction.double()).float().numpy()
            writer.add_tensor(f"direction.{layer}", numbers)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_layer(layer: int) -> None:
    """ValueError for a block that the format has no place for; ImportError without `gguf`."""
    _gguf()
    if layer < 1:
        raise ValueError(
            "a GGUF control vector has directions for blocks 1, 2, ..., and none for block "
            f"{layer}: choose another layer, or write a .safetensors file"
        )


def import_gguf(path: Path | str, *, model_digest: str = "") -> list[SteeringVector]:
    """The vectors of a control vector, by block; natural norms are the tensors' lengths.

    model_digest: of the model that they are for, which the file does not say; without it they fit
    only where other models are allowed. Raises FileNotFoundError, ArtefactError for a file that is
    no control vector or is damaged, and ImportError where the `gguf` module is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no control vector file {path}")
    try:
        reader = _gguf().GGUFReader(path)
        found = {t.name: np.array(t.data) for t in reader.tensors}
        field = reader.get_field("general.architecture")
        architecture = "" if field is None else str(field.contents())
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise ArtefactError(f"{path} is damaged or is not a GGUF file: {error}") from error
    if architecture != ARCHITECTURE:
        raise ArtefactError(f"{path} holds {architecture or 'nothing'}, not a control vector")
    vectors = []
    for name, numbers in found.items():
        match = _TENSOR.fullmatch(name)
        if numbers.dtype != np.float32:
            raise ArtefactError(f"{path}: {name} is {numbers.dtype}, a direction is float32")
        length = float(np.linalg.norm(numbers.astype(np.float64)))
        is_direction = match is not None and int(match.group(1)) >= 1 and numbers.ndim == 1
        if match is None or not is_direction or not (math.isfinite(length) and length > 0):
            raise ArtefactError(f"{path}: {name} {list(numbers.shape)} is no direction of a block")
        vectors.append(
            SteeringVector(
                f"layers.{int(match.group(1))}.resid:out",
                torch.from_numpy(numbers.astype(np.float64) / length),
                length,
                model_digest,
                "imported from GGUF",
                {"file": path.name},
            )
        )
    if not vectors:
        raise ArtefactError(f"{path} holds no direction")
    return sorted(vectors, key=lambda v: parse_site(v.site).layer)


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            "control vectors of llama.cpp need the Python module 'gguf', which is not installed; "
            "install it with: pip install 'pilotage[gguf]'"
        ) from error
    return gguf
