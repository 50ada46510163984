"""Run folders: a resumed run equals an uninterrupted one, also after kill -9."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.episodes import files, runs
from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import Progress, iter_episodes, run_episodes
from pilotage.episodes.manifests import build_manifest
from pilotage.episodes.records import RecordError, record_digest
from pilotage.episodes.runs import DiskFullError, RunError, RunFolder
from pilotage.episodes.types import BASELINE, Condition, EpisodeRecord, Json

TASKS = make_fake_tasks(6)
CONDITIONS = [BASELINE, Condition("slow", {"gain": 0.5}), Condition("bad", {"fail": "nan"})]


def manifest(**changes: Any) -> dict[str, Json]:
    settings: dict[str, Any] = {"env": {"name": "fake"}, "frames": 2} | changes
    return build_manifest(FakeAgent(), TASKS, CONDITIONS, **settings)


def play(run: RunFolder | None, n_slots: int = 3, **kwargs: Any) -> list[EpisodeRecord]:
    world = kwargs.pop("world", None) or FakeVectorEnv(n_slots)
    return run_episodes(world, FakeAgent(), TASKS, CONDITIONS, run=run, frames=2, **kwargs)


def digests(records: list[EpisodeRecord]) -> list[str]:
    return [record_digest(record) for record in records]


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return digests(play(None, n_slots=1))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", manifest()) as folder:
        yield folder


def test_a_run_holds_what_was_returned(run: RunFolder, expected: list[str]) -> None:
    assert digests(play(run)) == expected
    assert len(run) == 18
    read = RunFolder.open(run.path)
    assert sorted(digests(list(read.records()))) == sorted(expected)
    assert read.keys() == {record.key for record in read.records(frames=False)}
    assert json.loads((run.path / "manifest.json").read_text()) == run.manifest


def test_finished_episodes_are_loaded_not_played(run: RunFolder, expected: list[str]) -> None:
    first = play(run)

    class NoWorld(FakeVectorEnv):
        def reset(self, **kwargs: Any) -> Any:
            raise SystemExit("played again")

    again = play(run, world=NoWorld(2))
    assert digests(again) == digests(first) == expected
    assert all(r.frames is None for r in play(run, keep_frames=False))
    assert len(list(run.records())) == 18


def test_a_run_left_early_is_resumed_with_another_number_of_slots(
    tmp_path: Path, expected: list[str]
) -> None:
    path = tmp_path / "run"
    with RunFolder.create(path, manifest()) as run:
        playing = iter_episodes(FakeVectorEnv(4), FakeAgent(), TASKS, CONDITIONS, run=run, frames=2)
        early = [next(playing) for _ in range(7)]
        assert run.keys() == {record.key for record in early}  # on disk when yielded
    told: list[Progress] = []
    with RunFolder.resume(path, manifest()) as run:
        assert digests(play(run, n_slots=2, progress=told.append)) == expected
    assert (told[-1].n_skipped, told[-1].n_played) == (7, 11)


def test_an_episode_is_on_disk_before_its_slot_is_used_again(run: RunFolder) -> None:
    on_disk = []

    class Watching(FakeAgent):
        def reset_slot(self, slot: int, *args: Any) -> None:
            on_disk.append(len(run))
            super().reset_slot(slot, *args)

    run_episodes(FakeVectorEnv(3), Watching(), TASKS, CONDITIONS, run=run, frames=2)
    assert len(on_disk) == 18
    assert all(n >= begun - 2 for begun, n in enumerate(on_disk))


# -- manifests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 1}, "seed: 0 became 1"),
        ({"repeats": 2}, "repeats: 1 became 2"),
        ({"frames": "all"}, "frames: 2 became 'all'"),
        ({"env": {"name": "fake", "size": 9}}, "env.size: None became 9"),
        ({"metric_convention": "r2r"}, "metric_convention: 'habitat' became 'r2r'"),
    ],
)
def test_resume_lists_the_fields_that_differ(
    run: RunFolder, change: dict[str, Any], line: str
) -> None:
    run.close()
    with pytest.raises(RunError, match="these fields differ") as caught:
        RunFolder.resume(run.path, manifest(**change))
    assert caught.value.args[0].splitlines()[1:-1] == [f"  {line}"]


def test_resume_refuses_other_tasks_conditions_agents_and_packages(run: RunFolder) -> None:
    run.close()
    others = [
        build_manifest(FakeAgent(), TASKS[1:], CONDITIONS, env={"name": "fake"}, frames=2),
        build_manifest(FakeAgent(), TASKS, CONDITIONS[:2], env={"name": "fake"}, frames=2),
        build_manifest(FakeAgent(name="x"), TASKS, CONDITIONS, env={"name": "fake"}, frames=2),
        manifest() | {"packages": {"numpy": "0.1"}},
        manifest() | {"python": "2.7"},
    ]
    fields = ["tasks.digest", "conditions", "agent.agent_id", "packages.numpy", "python"]
    for other, field in zip(others, fields, strict=True):
        with pytest.raises(RunError, match=rf"\n  {field}: "):
            RunFolder.resume(run.path, other)
    RunFolder.resume(run.path, others[3], ignore=["packages"]).close()
    RunFolder.resume(run.path, manifest(argv=["other"], note="other")).close()


def test_the_loop_refuses_a_run_made_for_other_work(run: RunFolder) -> None:
    with pytest.raises(RunError, match="describes other work:\n  seed: 0 became 3"):
        play(run, seed=3)
    with pytest.raises(RunError, match="conditions: "):
        run_episodes(FakeVectorEnv(1), FakeAgent(), TASKS, CONDITIONS[:1], run=run, frames=2)


# -- folders ---------------------------------------------------------------------------------------


def test_folders_that_are_not_what_is_asked_are_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already holds a run; resume it"):
        RunFolder.create(run.path, manifest())
    with pytest.raises(RunError, match="holds no run"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunError, match="holds no run"):
        RunFolder.resume(tmp_path, manifest())
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.tex").touch()
    with pytest.raises(RunError, match="is not empty"):
        RunFolder.create(tmp_path / "busy", manifest())
    with pytest.raises(RunError, match="does not say format"):
        RunFolder.create(tmp_path / "new", {"seed": 1})
    assert not (tmp_path / "new").exists()


def test_other_versions_and_broken_manifests_are_refused(run: RunFolder) -> None:
    run.close()
    for text, message in [
        (json.dumps(manifest() | {"version": 9}), "run format version 9"),
        ("{", "is not JSON"),
        ("[]", "does not say format"),
    ]:
        (run.path / "manifest.json").write_text(text)
        with pytest.raises(RunError, match=message):
            RunFolder.open(run.path)


def test_two_writers_are_refused_and_readers_are_free(run: RunFolder) -> None:
    with pytest.raises(RunError, match="being written by another process"):
        RunFolder.resume(run.path, manifest())
    reader = RunFolder.open(run.path)
    assert reader.keys() == set()
    with pytest.raises(RunError, match="open for reading only"):
        reader.write(play(None)[0])
    run.close()
    RunFolder.resume(run.path, manifest()).close()


def test_leftovers_of_a_killed_writer_are_ignored_and_removed(run: RunFolder) -> None:
    record = play(None)[0]
    run.write(record)
    leftover = run.path / "records" / ".abc.safetensors.123.tmp"
    leftover.write_bytes(b"half a rec")
    assert run.keys() == {record.key}
    run.close()
    RunFolder.resume(run.path, manifest()).close()
    assert not leftover.exists()


def test_a_damaged_or_renamed_record_is_named(run: RunFolder) -> None:
    records = play(run)
    file = run.path / "records" / f"{records[0].key}.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(RecordError, match=file.name):
        list(run.records())
    file.write_bytes((run.path / "records" / f"{records[1].key}.safetensors").read_bytes())
    with pytest.raises(RunError, match=f"holds the episode {records[1].key}"):
        run.load(records[0].key)
    file.unlink()
    assert digests(play(run)) == digests(records)  # the remedy works


# -- a disk that refuses ---------------------------------------------------------------------------


def test_a_full_disk_is_said_clearly_and_nothing_is_lost(
    run: RunFolder, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 11:  # in the middle of the sixth record
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        with pytest.raises(DiskFullError, match=r"no space.*the \d+ finished episodes are safe"):
            play(run)
    assert 5 <= len(run) < 18
    assert not [p for p in (run.path / "records").iterdir() if p.name.endswith(".tmp")]
    assert digests(play(run)) == expected


def test_other_refusals_of_the_disk_are_not_called_full(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(record: EpisodeRecord, path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(runs, "save_record", refuse)
    with pytest.raises(RunError, match=r"the disk refused.*Input/output") as caught:
        play(run)
    assert not isinstance(caught.value, DiskFullError)


def test_a_really_full_disk(tmp_path: Path) -> None:
    """On a 256 KiB file system, where mounting one is allowed."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with RunFolder.create(mount / "run", manifest()) as run:
            big = replace(play(None)[0], condition="big", frames=None)
            rng = np.random.default_rng(0)
            noise = rng.normal(size=(big.n_steps, 6000))
            copies = (
                replace(big, condition=f"big{i}", agent_trace={"n": noise}) for i in range(10)
            )
            with pytest.raises(DiskFullError, match="no space is left"):
                list(map(run.write, copies))
            assert len(run) >= 1
            assert len(list(run.records())) == len(run)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# -- kill -9 ---------------------------------------------------------------------------------------

CHILD = """
import sys, os
from pathlib import Path
from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.manifests import build_manifest
from pilotage.episodes.runs import RunFolder
from pilotage.episodes.types import BASELINE, Condition, episode_key

class Logged(FakeAgent):
    def reset_slot(self, slot, task, condition, seeds):
        os.write(log, f"{episode_key(task.task_id, condition.name, seeds)}\\n".encode())
        super().reset_slot(slot, task, condition, seeds)

folder, log_file, n_slots = sys.argv[1:]
log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
tasks = make_fake_tasks(40)
conditions = [BASELINE, Condition("slow", {"gain": 0.5})]
manifest = build_manifest(FakeAgent(), tasks, conditions, env="fake", argv=[])
print("ready", flush=True)
with RunFolder.create_or_resume(folder, manifest) as run:
    run_episodes(FakeVectorEnv(int(n_slots), work=300), Logged(), tasks, conditions, run=run)
print("done", flush=True)
"""


def test_killed_at_random_instants_nothing_is_lost_and_nothing_is_played_twice(
    tmp_path: Path,
) -> None:
    rng = random.Random(4)
    folder, log = tmp_path / "run", tmp_path / "log"
    played_once: list[str] = []
    for attempt in range(30):
        before = RunFolder.open(folder).keys() if (folder / "manifest.json").exists() else set()
        log.write_bytes(b"")
        command = [sys.executable, "-c", CHILD, str(folder), str(log), str(rng.randint(1, 5))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            if attempt < 6:
                time.sleep(rng.uniform(0.0, 0.15))
                child.send_signal(signal.SIGKILL)
            rest = child.stdout.read()
        begun = log.read_text().split()
        assert not set(begun) & before, "a finished episode was played again"
        assert len(begun) == len(set(begun))
        if (folder / "manifest.json").exists():
            after = RunFolder.open(folder).keys()
            assert before <= after <= before | set(begun)
            played_once += sorted(after - before)
        if rest == "done\n":
            break
    tasks, conditions = make_fake_tasks(40), [BASELINE, Condition("slow", {"gain": 0.5})]
    uninterrupted = run_episodes(FakeVectorEnv(1), FakeAgent(), tasks, conditions)
    assert attempt >= 3, "the run was over before it could be killed"
    assert sorted(played_once) == sorted(record.key for record in uninterrupted)
    assert sorted(digests(list(RunFolder.open(folder).records()))) == sorted(digests(uninterrupted))
    assert not list((folder / "records").glob(".*"))
