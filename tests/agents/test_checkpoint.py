"""Checkpoints: what is saved comes back, what is damaged is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pilotage.agents.vla.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

from .tiny import tiny_config, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "agent", tiny_model(tiny_config()), training={"command": "test"})
    return tmp_path / "agent"


def test_weights_survive_up_to_half_precision(folder: Path) -> None:
    model, header = load_checkpoint(folder)
    original = tiny_model(tiny_config()).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, original[name].half().float()), name
    assert header["training"] == {"command": "test"}
    assert model.config == tiny_config()


def test_a_truncated_weight_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not match.*truncated"):
        load_checkpoint(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "agent.json").unlink()
    with pytest.raises(CheckpointError, match=r"agent\.json is missing"):
        load_checkpoint(folder)


def test_a_header_of_another_format_is_refused(folder: Path) -> None:
    path = folder / "agent.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(folder)


def test_an_unknown_configuration_field_is_refused(folder: Path) -> None:
    path = folder / "agent.json"
    header = json.loads(path.read_text())
    header["config"]["n_heds"] = 3
    path.write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="n_heds"):
        load_checkpoint(folder)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    path = folder / "agent.json"
    header = json.loads(path.read_text())
    header["config"]["d_ff"] = 64
    path.write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(folder)
