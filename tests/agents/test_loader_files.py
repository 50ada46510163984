"""Published checkpoints on disk: what is missing, damaged or of another model is named."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pilotage.agents.loaders.files import WeightFiles, checkpoint_folder
from pilotage.agents.loaders.opening import is_pretrained, load_pretrained, parse
from pilotage.agents.loaders.openvla import load_openvla
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.scripts.opening import agent_folder, load_agent, load_vla

from . import tiny_openvla as tiny

SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_openvla(tmp_path_factory.mktemp("hub") / "openvla-tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "openvla-tiny"))


def _change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _change_tensor(folder: Path, name: str, value: torch.Tensor | None) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    path = folder / index["weight_map"][name]
    tensors = load_file(path)
    del tensors[name]
    if value is not None:
        tensors[name] = value
    save_file(tensors, path)


def test_a_missing_shard_is_named_with_the_command_that_gets_it(folder: Path) -> None:
    (folder / SHARD).unlink()
    with pytest.raises(
        CheckpointError, match=rf"lacks 1 of 3 .*hf download .* {SHARD} --local-dir"
    ):
        load_openvla(folder, key="bridge_orig")


def test_a_tensor_that_the_index_promises_but_no_shard_has(folder: Path) -> None:
    _change_tensor(folder, "projector.fc2.weight", None)
    with pytest.raises(CheckpointError, match=r"says that 'projector.fc2.weight' is in"):
        load_openvla(folder, key="bridge_orig")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    _change_tensor(folder, "projector.fc3.bias", torch.zeros(9))
    with pytest.raises(CheckpointError, match=r"'projector.fc3.bias'.*\[9\].*makes it \[64\]"):
        load_openvla(folder, key="bridge_orig")


def test_tensors_that_no_file_has_are_named(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = "language_model.model.layers.1.mlp.up_proj.weight"
    del index["weight_map"][name]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _drop_everywhere(folder, name)
    with pytest.raises(CheckpointError, match=rf"lacks tensors that the model needs: {name}"):
        load_openvla(folder, key="bridge_orig")


def _drop_everywhere(folder: Path, name: str) -> None:
    for path in folder.glob("model-*.safetensors"):
        tensors = load_file(path)
        if tensors.pop(name, None) is not None:
            save_file(tensors, path)


def test_unknown_tensors_are_named(folder: Path) -> None:
    path = folder / SHARD
    save_file({**load_file(path), "action_head.fc1.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match=r"does not know: action_head\.fc1\.weight"):
        load_openvla(folder, key="bridge_orig")


def test_a_truncated_shard_and_a_pointer_are_told_apart(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:50])
    with pytest.raises(CheckpointError, match=rf"{SHARD} is damaged"):
        WeightFiles.find(folder, "a/b")
    (folder / SHARD).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match=rf"{SHARD} is a Git LFS pointer"):
        WeightFiles.find(folder, "a/b")


def test_an_index_may_not_point_outside_its_folder(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    _change(index, weight_map={"x": "../elsewhere.safetensors"})
    with pytest.raises(CheckpointError, match="outside its own folder"):
        WeightFiles.find(folder, "a/b")


def test_pickled_weights_are_refused_with_a_command_that_converts_them(tmp_path: Path) -> None:
    """The printed command is run as it stands; what it writes is then found."""
    torch.save({"a": torch.arange(3.0)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.ones(2, 2).T}, tmp_path / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(CheckpointError, match="pickled weights only") as caught:
        WeightFiles.find(tmp_path, "a/b")
    command = shlex.split(str(caught.value).splitlines()[-1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    (tensors,) = WeightFiles.find(tmp_path, "a/b").shards()
    assert torch.equal(tensors["a"], torch.arange(3.0))
    assert torch.equal(tensors["b"], torch.ones(2, 2))


def test_a_folder_without_weights_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"hf download openvla/openvla-7b --local-dir"):
        WeightFiles.find(tmp_path, "openvla/openvla-7b")


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("config.json", "config.json is missing: the configuration"),
        ("preprocessor_config.json", "preprocessor_config.json is missing: how pictures"),
        ("tokenizer.json", "tokenizer.json is missing: the tokenizer"),
    ],
)
def test_a_missing_small_file_is_named(folder: Path, file: str, match: str) -> None:
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=match):
        load_openvla(folder, key="bridge_orig")


def test_data_sets_are_listed_where_the_key_is_wrong_or_has_to_be_chosen(folder: Path) -> None:
    names = "there are: bridge_orig, libero_spatial"
    with pytest.raises(CheckpointError, match=rf"did you mean bridge_orig\?\); {names}"):
        load_openvla(folder, key="bridge_org")
    with pytest.raises(CheckpointError, match=r"2 data sets; choose one with key=NAME"):
        load_openvla(folder)


def test_statistics_of_a_tuning_run_are_read_too(folder: Path) -> None:
    own = {"mine": {"action": {"q01": [0.0] * 7, "q99": [1.0] * 7}}}
    (folder / "dataset_statistics.json").write_text(json.dumps(own))
    assert load_openvla(folder, key="mine")[0].key == "mine"


def test_joint_actions_are_refused(folder: Path) -> None:
    own = {"arm": {"action": {"q01": [0.0] * 6, "q99": [1.0] * 6}}}
    _change(folder / "config.json", norm_stats=own)
    with pytest.raises(CheckpointError, match="have 6 numbers; only 7"):
        load_openvla(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "llava"}, "model_type 'llava', not 'openvla'"),
        ({"image_resize_strategy": "letterbox"}, "prepares pictures by 'letterbox'"),
        ({"timm_model_ids": ["resnet50", "x"]}, "the vision tower 'resnet50'"),
        ({"image_sizes": [28]}, "expected one or two of each"),
        ({"image_sizes": [30, 30]}, "30 pixels are not whole patches of 14"),
        ({"text_config": {"model_type": "phi"}}, "the language model is 'phi'"),
    ],
)
def test_other_architectures_are_refused(folder: Path, changes: dict, match: str) -> None:
    _change(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_openvla(folder, key="bridge_orig")


# -------------------------------------------------------------------------- names and the hub


def test_names_are_taken_apart() -> None:
    wanted = parse("openvla:some/folder,key=bridge_orig,rows=1,motion=metric")
    assert (wanted.kind, wanted.path, wanted.key) == ("openvla", "some/folder", "bridge_orig")
    assert (wanted.rows, wanted.motion) == (1, "metric")
    assert is_pretrained("openvla:x")
    assert not is_pretrained("openvla")
    assert not is_pretrained("nano:x")


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("openvla:", ValueError, "has no path"),
        ("openvla:x,keys=a", KeyError, "unknown option 'keys'.*did you mean key"),
        ("openvla:x,key", ValueError, "has no value"),
        ("openvla:x,rows=0", ValueError, "no whole number above 0"),
        ("openvla:x,dtype=int8", KeyError, "unknown dtype 'int8'"),
    ],
)
def test_wrong_options_are_refused(name: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        parse(name)


def test_an_unknown_motion_and_another_world_are_refused() -> None:
    with pytest.raises(KeyError, match=r"unknown motion 'metres'.*metric"):
        load_pretrained("openvla:x,motion=metres", "tabletop")
    with pytest.raises(ValueError, match="in the world 'tabletop' only"):
        load_pretrained("openvla:x", "rooms")


def test_a_folder_that_is_not_there_says_what_to_download() -> None:
    with pytest.raises(CheckpointError, match=r"no folder './nowhere'.*hf download a/b"):
        checkpoint_folder("./nowhere", "a/b")


def test_a_hub_name_is_downloaded_without_pickles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, object] = {}

    def give(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    assert checkpoint_folder("openvla/openvla-7b", "a/b") == tmp_path
    assert asked["name"] == "openvla/openvla-7b"
    assert not [p for p in asked["patterns"] if "bin" in p or p == "*" or "py" in p]


def test_without_access_the_error_says_how_to_bring_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no way out")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"no way out.*hf download openvla/x --local-dir x"):
        checkpoint_folder("openvla/x", "a/b")


def test_the_command_line_knows_published_checkpoints(folder: Path) -> None:
    name = f"openvla:{folder},key=bridge_orig"
    assert agent_folder(name, "tabletop") == folder
    assert load_agent(name, "tabletop", None).agent_id.startswith("openvla-openvla-tiny@")
    with pytest.raises(ValueError, match="leave --narrate out"):
        load_agent(name, "tabletop", None, narrate=True)
    with pytest.raises(ValueError, match="an agent that was trained here"):
        load_vla(name, "tabletop")
