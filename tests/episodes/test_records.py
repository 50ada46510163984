"""Record files: bit-exact there and back, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.records import RecordError, load_record, record_digest, save_record
from pilotage.episodes.types import BASELINE, EndReason, EpisodeRecord, Seeds, canonical_json


@pytest.fixture(scope="module")
def record() -> EpisodeRecord:
    return run_episodes(FakeVectorEnv(1), FakeAgent(), make_fake_tasks(1), [BASELINE])[0]


@pytest.fixture
def file(record: EpisodeRecord, tmp_path: Path) -> Path:
    path = tmp_path / "one.safetensors"
    save_record(record, path)
    return path


def assert_same(a: EpisodeRecord, b: EpisodeRecord) -> None:
    """Field by field, without the module's own digest."""
    assert a.task.to_json() == b.task.to_json()
    for name in ("condition", "seeds", "agent_id", "end", "success", "receipt", "error", "key"):
        assert getattr(a, name) == getattr(b, name)
    for left, right in ((a.trace, b.trace), (a.agent_trace, b.agent_trace)):
        assert left.keys() == right.keys()
        for name in left:
            assert_same_bits(left[name], right[name])
    for name in ("actions", "rewards", "frames", "depths"):
        left_array, right_array = getattr(a, name), getattr(b, name)
        assert (left_array is None) == (right_array is None)
        if left_array is not None:
            assert_same_bits(left_array, right_array)


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


def test_a_played_record_comes_back_bit_for_bit(record: EpisodeRecord, file: Path) -> None:
    assert_same(load_record(file), record)
    assert record_digest(load_record(file)) == record_digest(record)


dtypes = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, bool])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), n_steps=st.integers(0, 4), error=st.booleans())
def test_any_arrays_come_back_bit_for_bit(
    data: st.DataObject, n_steps: int, error: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """NaN payloads, infinities, empty axes, all dtypes, strided and reversed arrays."""

    def array(rows: int) -> np.ndarray:
        shape = data.draw(npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
        values = data.draw(npst.arrays(data.draw(dtypes), (rows, *shape)))
        return values[::-1] if data.draw(st.booleans()) else values

    names = st.lists(st.text("abc._é ", min_size=1), max_size=3, unique=True)
    frame = data.draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=5))
    pixels = npst.arrays(np.uint8, (n_steps + 1, *frame, 3))
    original = EpisodeRecord(
        task=make_fake_tasks(1)[0],
        condition=data.draw(st.text(max_size=5)),
        seeds=Seeds(1, 2, 3),
        agent_id="a@1",
        end=EndReason.ENV_ERROR if error else EndReason.STEP_LIMIT,
        success=not error,
        actions=array(n_steps),
        rewards=data.draw(npst.arrays(np.float64, n_steps)),
        trace={name: array(n_steps + 1) for name in data.draw(names)},
        agent_trace={name: array(n_steps) for name in data.draw(names)},
        receipt={"n": [1, 2.5, None], "words": "ü"},
        frames=data.draw(st.none() | pixels),
        depths=data.draw(st.none() | npst.arrays(np.uint16, (n_steps + 1, *frame))),
        error="it broke" if error else None,
    )
    path = tmp_path_factory.mktemp("records") / "r.safetensors"
    save_record(original, path)
    assert_same(load_record(path), original)


def test_the_arrays_are_plain_safetensors(record: EpisodeRecord, file: Path) -> None:
    arrays = load_file(file)
    assert_same_bits(arrays["actions"], record.actions)
    assert_same_bits(arrays["trace.position"], record.trace["position"])
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()["record"])
    assert header["task"]["task_id"] == record.task.task_id
    assert header["end"] == record.end.value
    assert len(file.read_bytes()) < record.frames.nbytes / 2 + 10_000


def test_frames_of_another_dtype_are_refused(record: EpisodeRecord, tmp_path: Path) -> None:
    assert record.frames is not None
    wrong = replace(record, frames=record.frames.astype(np.float32))
    with pytest.raises(RecordError, match="frames have dtype float32"):
        save_record(wrong, tmp_path / "r")


def test_frames_can_be_left_out(record: EpisodeRecord, file: Path) -> None:
    assert_same(load_record(file, frames=False), replace(record, frames=None))
    rewrite(file, {"condition": "fast"})
    with pytest.raises(RecordError, match="digest"):
        load_record(file, frames=False)


def test_a_record_of_the_version_before_is_read(record: EpisodeRecord, file: Path) -> None:
    """Its digest was over [header, digest of the frames], and nothing was said of depths."""
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()["record"])
    assert header.pop("depths") is None
    header["version"] = 1
    plain = {k: v for k, v in header.items() if k not in ("digest", "frames")}
    total = hashlib.sha256(canonical_json([plain, header["frames"]["digest"]]).encode())
    arrays = load_file(file)
    for name in sorted(arrays.keys() - {"frames"}):
        array = arrays[name]
        own = hashlib.sha256(canonical_json([array.dtype.str, list(array.shape)]).encode())
        own.update(array.tobytes())
        total.update(canonical_json([name, own.hexdigest()]).encode())
    header["digest"] = total.hexdigest()
    save_file(arrays, file, metadata={"record": canonical_json(header)})
    assert_same(load_record(file), record)


def test_equal_digest_means_equal_content(record: EpisodeRecord) -> None:
    """Every field counts."""
    actions, frames = record.actions.copy(), record.frames.copy()
    actions[0, 0] = np.nextafter(actions[0, 0], np.float32(2))
    frames[1, 0, 0, 0] ^= 1
    longer = replace(record.task, max_steps=record.task.max_steps + 1)
    changes: list[dict[str, Any]] = [
        {"actions": actions},
        {"frames": frames},
        {"frames": None},
        {"depths": np.zeros(record.frames.shape[:3], np.uint16)},
        {"depths": np.ones(record.frames.shape[:3], np.uint16)},
        {"task": longer},
        {"condition": "other"},
        {"seeds": replace(record.seeds, noise=0)},
        {"agent_id": "other"},
        {"end": EndReason.COLLISION_LIMIT},
        {"success": not record.success},
        {"receipt": {}},
        {"rewards": record.rewards + 1e-12},
        {"trace": dict(record.trace) | {"more": record.trace["position"]}},
        {"agent_trace": {}},
        {"actions": actions.astype(np.float64)},
    ]
    digests = {record_digest(replace(record, **change)) for change in changes}
    assert len(digests | {record_digest(record)}) == len(changes) + 1


# -- damage ----------------------------------------------------------------------------------------


def test_every_truncation_is_noticed(file: Path) -> None:
    content = file.read_bytes()
    for length in [0, 1, 7, 8, 9, len(content) // 2, len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(RecordError, match=r"one\.safetensors is damaged.*delete it and resume"):
            load_record(file)


def test_every_flipped_bit_is_noticed(record: EpisodeRecord, file: Path) -> None:
    """At 400 random places, headers too; a few bits of a compressed stream have no meaning."""
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    accepted = 0
    for place in [*range(12), *rng.integers(0, len(content), 400)]:
        damaged = content.copy()
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            loaded = load_record(file)
        except RecordError:
            continue
        assert_same(loaded, record)
        accepted += 1
    assert accepted < 5


def rewrite(file: Path, change: dict[str, Any]) -> None:
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()["record"])
    save_file(load_file(file), file, metadata={"record": json.dumps(header | change)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "version 3, this program reads 1 and 2"),
        ({"version": None}, "version None"),
        ({"format": "other"}, "does not say 'pilotage-record'"),
        ({"end": "tired"}, "'tired' is not a valid EndReason"),
        ({"success": True, "end": "env_error", "error": "x"}, "cannot be a success"),
        ({"condition": "fast"}, "digest"),
        ({"digest": "0" * 64}, "digest"),
        ({"frames": {"codec": "jpeg", "shape": [1]}}, "damaged"),
        ({"frames": None}, "damaged"),
        ({"depths": {"codec": "zlib", "shape": [1], "digest": ""}}, "damaged"),
        ({"task": {"task_id": 1}}, "damaged"),
    ],
)
def test_a_header_that_lies_is_refused(file: Path, change: dict[str, Any], message: str) -> None:
    rewrite(file, change)
    with pytest.raises(RecordError, match=message):
        load_record(file)


def test_what_is_not_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no record"):
        load_record(tmp_path / "absent")
    save_file({"x": np.zeros(3)}, tmp_path / "other", metadata={"hello": "world"})
    with pytest.raises(RecordError, match='no "record"'):
        load_record(tmp_path / "other")
    save_file({"x": np.zeros(3)}, tmp_path / "text", metadata={"record": "not json"})
    with pytest.raises(RecordError, match="not JSON"):
        load_record(tmp_path / "text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trace": {"words": np.array(["a"] * 99)}}, r"trace\.words has dtype"),
        ({"trace": {"objects": np.array([None] * 99)}}, r"trace\.objects has dtype object"),
        ({"receipt": {"dose": float("nan")}}, "not JSON"),
        ({"receipt": {"thing": object()}}, "not JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_written(
    record: EpisodeRecord, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    if "trace" in change:
        change = {"trace": {k: v[: record.n_steps + 1] for k, v in change["trace"].items()}}
    wrong = replace(record, **change)
    with pytest.raises(RecordError, match=message):
        save_record(wrong, tmp_path / "r")
    assert os.listdir(tmp_path) == []


def test_saving_again_replaces_the_file_whole(record: EpisodeRecord, file: Path) -> None:
    other = replace(record, condition="other")
    save_record(other, file)
    assert_same(load_record(file), other)
    assert [path.name for path in file.parent.iterdir()] == ["one.safetensors"]
