"""Rerun: the recording is readable, and the viewer listens on this machine only."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage.episodes.types import EpisodeRecord
from pilotage.viewers.rerun_log import log_run, narration_of, spelled
from pilotage.viewers.rerun_serve import _program, serve

pytest.importorskip("rerun", reason="recordings need the extra pilotage[view]")


def _rrd(*arguments: str) -> str:
    """The output of `rerun rrd …`, an independent reader of the file."""
    done = subprocess.run(
        [_program(), "rrd", *arguments],
        env=os.environ | {"CI": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def listening(port: int) -> set[str]:
    """The local addresses, in hexadecimal, that listen on a TCP port (Linux)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.split(":")[1], 16) == port:
                found.add(address.split(":")[0])
    return found


@pytest.fixture
def recording(tmp_path: Path, records: list[EpisodeRecord]) -> Path:
    told = replace(records[1], receipt={"narration": ["i move left", "", "i push it"]})
    return log_run(
        [records[0], told, told], tmp_path / "new" / "run.rrd", vocabulary=["push"] * 400
    )


def test_recording_is_valid_and_holds_every_entity(recording: Path) -> None:
    assert [p.name for p in recording.parent.iterdir()] == ["run.rrd"]
    assert "verified without error" in _rrd("verify", str(recording))
    listed = _rrd("print", str(recording))
    for entity in (
        *("instruction", "camera", "speed", "dose", "top_tokens", "action/gripper"),
        *("world/path", "world/agent", "world/objects", "distance_to_goal"),
    ):
        assert f"/tabletop-push-000/baseline/{entity}" in listed
    assert "/tabletop-push-000/fast/narration" in listed
    assert "/tabletop-push-000/fast_repeat1/dose" in listed
    assert "/tabletop-push-000/baseline/narration" not in listed


def test_words_of_tokens_and_narration(records: list[EpisodeRecord]) -> None:
    assert spelled([1, 5, -1], ["a", "b"]) == ["b", "#5"]
    assert narration_of(records[0]) == []
    told = replace(records[0], receipt={"narration": ["a", "", "b"]})
    assert narration_of(told) == [(0, "a"), (2, "b")]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_viewer_listens_on_loopback_only_and_ends(
    recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serve(recording) as server:
        ports = (server.web_port, server.source_port, server.grpc_port)
        for port in ports:
            assert listening(port) == {"0100007F"}  # 127.0.0.1 in the byte order of the table
        with urllib.request.urlopen(f"http://127.0.0.1:{server.web_port}/") as answer:
            assert b"rerun" in answer.read().lower()
            reach = answer.headers["Content-Security-Policy"].split("connect-src")[1].split()
        assert reach == ["'self'", f"http://127.0.0.1:{server.grpc_port}", "data:", "blob:"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.web_port}/none")
    assert server.process.poll() is not None
    assert [listening(port) for port in ports] == [set()] * 3
    assert server.url in capfd.readouterr().err


def test_a_viewer_that_does_not_start_says_why(recording: Path) -> None:
    with serve(recording) as server, pytest.raises(RuntimeError, match="did not start"):
        serve(recording, grpc_port=server.grpc_port, timeout_s=10).close()
    with pytest.raises(FileNotFoundError, match="log_run first"):
        serve(recording.with_name("none.rrd"))


def test_bad_runs_leave_nothing(tmp_path: Path, tabletop: Callable[..., EpisodeRecord]) -> None:
    with pytest.raises(ValueError, match="no records"):
        log_run([], tmp_path / "run.rrd")
    with pytest.raises(ValueError, match=r"\.rrd"):
        log_run([tabletop("fast")], tmp_path / "run.mcap")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tabletop: Callable[..., EpisodeRecord]
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.setitem(sys.modules, "rerun_cli", None)
    with pytest.raises(ImportError, match=r"pip install 'pilotage\[view\]'"):
        log_run([tabletop("fast")], tmp_path / "run.rrd")
    (tmp_path / "run.rrd").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"pip install 'pilotage\[view\]'"):
        serve(tmp_path / "run.rrd")
