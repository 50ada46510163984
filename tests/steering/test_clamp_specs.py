"""Training clamps as text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from pilotage.steering import SiteError, SteeringVector, save_vector
from pilotage.steering.clamp_specs import hold_units, random_units, read_clamps, read_release
from pilotage.steering.training_clamps import Release

from .conftest import D_FF, D
from .helpers import unit

DOWN, HEADS = "layers.1.mlp.down_proj:in", "layers.0.self_attn.o_proj:in"


def test_a_line_says_what_is_held(llama: LlamaForCausalLM) -> None:
    line = f"{DOWN}[4,17-20]@2.5; {DOWN}[all]@0;{HEADS}[heads 0,2-3 of 4]@start"
    some, every, heads = read_clamps(line, llama)
    assert (some.intervention.kind, some.intervention.coefficient) == ("clamp", 2.5)
    assert some.intervention.neurons.tolist() == [4, 17, 18, 19, 20]
    assert (every.intervention.kind, every.intervention.site) == ("ablate", DOWN)
    assert every.intervention.neurons.tolist() == list(range(D_FF))
    assert heads.to_start
    assert not some.to_start
    assert heads.intervention.neurons.tolist() == [*range(8), *range(16, D)]


def test_random_units_are_so_many_and_follow_the_seed(llama: LlamaForCausalLM) -> None:
    (clamp,) = read_clamps(f"{DOWN}[random 12 seed 3]@0", llama)
    units = clamp.intervention.neurons
    assert torch.equal(units, random_units(12, D_FF, 3))
    assert len(set(units.tolist())) == 12
    assert not torch.equal(units, random_units(12, D_FF, 4))
    assert random_units(D_FF, D_FF, 0).tolist() == list(range(D_FF))
    counts = torch.zeros(10)
    for seed in range(400):
        counts[random_units(3, 10, seed)] += 1
    assert (counts - 120).abs().max() < 46  # five standard deviations
    with pytest.raises(ValueError, match=f"asked for {D_FF + 1} random units of {D_FF}"):
        random_units(D_FF + 1, D_FF, 0)


def test_zero_is_a_value_like_any_other() -> None:
    off, at = (hold_units(DOWN, torch.tensor([2]), value) for value in (0.0, -1.5))
    assert (off.intervention.kind, off.intervention.coefficient) == ("ablate", 1.0)
    assert (at.intervention.kind, at.intervention.coefficient) == ("clamp", -1.5)


def test_a_file_holds_directions_too(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    site = "layers.0.resid:out"
    vector = SteeringVector(site, unit(D, 1), 3.0, "model", "test", {})
    save_vector(vector, tmp_path / "fast.safetensors")
    spec = {"site": site, "coefficient": 1, "vector": {"file": "fast.safetensors"}}
    entries = [
        f"{DOWN}[0]@0",
        {"kind": "ablate", **spec, "to_start": True},
        {"kind": "setpoint", **spec, "bounds": [0.5, 0.5]},
    ]
    path = tmp_path / "clamps.json"
    path.write_text(json.dumps(entries))
    text, start, point = read_clamps(str(path), llama)
    assert text.intervention.neurons.tolist() == [0]
    assert start.to_start
    assert torch.equal(start.intervention.direction, vector.direction)
    assert (point.intervention.bounds, point.to_start) == ((0.5, 0.5), False)


def test_releases() -> None:
    assert read_release("") is None
    assert read_release("5:9") == Release(5, 9)
    assert read_release("5:9:linear") == Release(5, 9, "linear")
    assert read_release("7") == Release(7, 7)
    for text in ("5:", "a:b", "-1:4", "1:2:linear:x", "1.5:3"):
        with pytest.raises(ValueError, match="a release is BEGIN:END"):
            read_release(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{DOWN}@0", "is no clamp; write SITE"),
        (f"{DOWN}[3]@much", "'much' is neither a number nor `start`"),
        (f"{DOWN}[3]@inf", "coefficient is inf"),
        (f"{DOWN}[x]@0", "'x' is no unit; there are: all,"),
        (f"{DOWN}[3,{D_FF}]@0", f"'{D_FF}' is not within 0 to {D_FF - 1}"),
        (f"{DOWN}[5-4]@0", "'5-4' is not within 0 to"),
        (f"{DOWN}[4,4]@0", "must be distinct"),
        (f"{HEADS}[heads 0 of 5]@0", f"the site's {D} units are not 5 equal heads"),
        (f"{HEADS}[heads 4 of 4]@0", "'4' is not within 0 to 3"),
        ("layers.0.resid:out[3]@0", "neurons live at the input of a projection"),
    ],
)
def test_a_clamp_that_is_none_is_refused_by_name(
    text: str, message: str, llama: LlamaForCausalLM
) -> None:
    with pytest.raises(ValueError, match=message):
        read_clamps(text, llama)


def test_a_file_that_is_none_is_refused(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    path = tmp_path / "clamps.json"
    with pytest.raises(FileNotFoundError):
        read_clamps(str(path), llama)
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"clamps\.json must be a JSON list of clamps"):
        read_clamps(str(path), llama)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"clamps\.json is no JSON"):
        read_clamps(str(path), llama)
    path.write_text(json.dumps([{"kind": "ablate", "sites": DOWN}]))
    with pytest.raises(ValueError, match=r"unknown fields \['sites'\]"):
        read_clamps(str(path), llama)
    with pytest.raises(SiteError, match="unknown site"):
        read_clamps("layers.0.mlp[all]@0", llama)
