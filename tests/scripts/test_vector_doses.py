"""`pilotage vector` and `bench methods`: doses that make no sense, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilotage.scripts.cmd_bench_methods import methods
from pilotage.scripts.cmd_read import vector

VECTOR: dict[str, Any] = {
    "agent": "nano",
    "env": "tabletop",
    "method": "mean-difference",
    "positive": "quickly",
    "negative": "",
    "layer": 0,
    "episodes": 1,
    "pairs": 2,
    "shuffle": None,
    "seed": 0,
    "quiet": True,
}


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"positive": ""}, "v.safetensors", "mean-difference needs --from"),
        ({"kl": 0.5, "norm": 0.2}, "v.safetensors", "two doses"),
        ({"kl": 0.5}, "v.gguf", "no place for a calibration"),
        ({"method": "experts"}, "v.safetensors", "use `pilotage steer experts`"),
    ],
)
def test_a_vector_without_words_or_with_two_doses_is_refused(
    changes: dict[str, Any], name: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        vector(**{**VECTOR, **changes}, out=tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_dose_of_the_other_measure_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "agent": "nano",
        "split": "test",
        "episodes": 1,
        "families": [],
        "concept": "fast",
        "layer": 0,
        "dose": 1.0,
        "pairs": 2,
        "names": [],
        "out": tmp_path / "run",
        "slots": 1,
        "seed": 0,
        "quiet": True,
        "as_json": True,
    }
    with pytest.raises(ValueError, match=r"--kl 0\.5 is a dose of --equal kl"):
        methods(**options, equal="norm", kl=0.5)
    with pytest.raises(KeyError, match="kl, norm"):
        methods(**options, equal="length")
