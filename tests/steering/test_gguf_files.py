"""GGUF control vectors, read back with the format's own library, and what it cannot hold."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.gguf_files import export_gguf, import_gguf
from pilotage.steering.vectors import SteeringVector


def _vector(layer: int, d: int = 8, norm: float = 2.5, place: str = "resid:out") -> SteeringVector:
    direction = torch.randn(d, generator=torch.Generator().manual_seed(layer)).double()
    return SteeringVector(f"layers.{layer}.{place}", direction / direction.norm(), norm, "m")


def test_the_file_is_what_llama_cpp_reads(tmp_path: Path) -> None:
    vectors = [_vector(3, norm=4.0), _vector(1)]
    export_gguf(vectors, tmp_path / "v.gguf", model_hint="llama")
    reader = gguf.GGUFReader(tmp_path / "v.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 2
    tensors = {t.name: np.array(t.data) for t in reader.tensors}
    assert sorted(tensors) == ["direction.1", "direction.3"]
    np.testing.assert_allclose(tensors["direction.3"], 4.0 * vectors[0].direction, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["v.gguf"]


def test_vectors_survive_the_round_trip(tmp_path: Path) -> None:
    export_gguf([_vector(2), _vector(1, norm=0.3)], tmp_path / "v.gguf", model_hint="llama")
    first, second = import_gguf(tmp_path / "v.gguf", model_digest="m")
    assert (first.site, second.site) == ("layers.1.resid:out", "layers.2.resid:out")
    assert first.norm == pytest.approx(0.3)
    torch.testing.assert_close(second.direction, _vector(2).direction)
    assert second.model_digest == "m"


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([_vector(0)], r"blocks 1, 2, \.\.\., and none for block 0"),
        ([_vector(1, place="mlp:out")], r"layers\.1\.mlp:out has no place"),
        ([_vector(1), _vector(1)], "two vectors"),
        ([_vector(1), _vector(2, d=9)], r"one width, got \[8, 9\]"),
        ([], "one width"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(
    tmp_path: Path, vectors: list[SteeringVector], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        export_gguf(vectors, tmp_path / "v.gguf", model_hint="llama")
    assert not list(tmp_path.iterdir())


def _write(path: Path, architecture: str, tensors: dict[str, np.ndarray]) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for name, numbers in tensors.items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_other_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no control vector"):
        import_gguf(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("not a GGUF file, however long this line may be " * 9)
    with pytest.raises(ArtefactError, match="damaged or is not"):
        import_gguf(tmp_path / "text.gguf")
    one = np.ones(4, np.float32)
    model = _write(tmp_path / "model.gguf", "llama", {"direction.1": one})
    with pytest.raises(ArtefactError, match="holds llama, not a control vector"):
        import_gguf(model)
    odd = _write(tmp_path / "odd.gguf", "controlvector", {"bias": one})
    with pytest.raises(ArtefactError, match=r"bias .* no direction"):
        import_gguf(odd)
    for kind in (np.float16, np.int8):
        other = _write(tmp_path / "f16.gguf", "controlvector", {"direction.1": one.astype(kind)})
        with pytest.raises(ArtefactError, match="a direction is float32"):
            import_gguf(other)
    first = _write(tmp_path / "first.gguf", "controlvector", {"direction.0": one})
    with pytest.raises(ArtefactError, match=r"direction\.0 .* no direction"):
        import_gguf(first)
    zero = _write(tmp_path / "zero.gguf", "controlvector", {"direction.1": 0 * one})
    with pytest.raises(ArtefactError, match=r"direction\.1 .* no direction"):
        import_gguf(zero)
