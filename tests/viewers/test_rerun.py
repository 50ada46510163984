"""Rerun: the recording is readable, and the viewer listens on this machine only."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task
from pilotage.viewers import rerun_scene, rerun_serve, rerun_tokens
from pilotage.viewers.rerun_log import log_episode, log_run, narration_of
from pilotage.viewers.rerun_serve import OfflinePage, _program, serve

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
def recording(
    tmp_path: Path, records: list[EpisodeRecord], reading: Callable[..., EpisodeRecord]
) -> Path:
    told = reading(records[1])
    told = replace(told, receipt={**told.receipt, "narration": ["i move left", "", "i push it"]})
    return log_run([reading(records[0]), told, told], tmp_path / "new" / "run.rrd")


def test_recording_is_valid_and_holds_every_entity(recording: Path) -> None:
    assert [p.name for p in recording.parent.iterdir()] == ["run.rrd"]
    assert "verified without error" in _rrd("verify", str(recording))
    listed = _rrd("print", str(recording))
    for entity in (
        *("instruction", "camera", "speed", "dose", "top_tokens", "action/gripper"),
        *("world/path", "world/agent", "world/objects", "distance_to_goal", "token_log"),
    ):
        assert f"/tabletop-push-000/baseline/{entity}" in listed
    assert "/tabletop-push-000/fast/narration" in listed
    assert "/tabletop-push-000/fast_repeat1/dose" in listed
    assert "/tabletop-push-000/baseline/narration" not in listed
    assert "/tabletop-push-000/scene/zones/0" in listed
    for side in ("before", "after"):
        assert f"/tabletop-push-000/fast/neurons/{side}" in listed
        assert f"/tabletop-push-000/baseline/neurons/{side}" not in listed


class Recorder:
    """Stands in for a recording stream: what was logged, by entity, with its time."""

    def __init__(self) -> None:
        self.logged: dict[str, list[tuple[int | None, Any]]] = {}
        self.sent: dict[str, tuple[Any, Any]] = {}
        self._time: int | None = None

    def set_time(self, timeline: str, *, sequence: int) -> None:
        self._time = sequence

    def reset_time(self) -> None:
        self._time = None

    def log(self, entity: str, what: Any, *, static: bool = False) -> None:
        assert static == (self._time is None)
        self.logged.setdefault(entity, []).append((self._time, what))

    def send_columns(self, entity: str, *, indexes: Any, columns: Any) -> None:
        self.sent[entity] = (indexes, columns)


def test_top_tokens_at_each_step(
    tabletop: Callable[..., EpisodeRecord], reading: Callable[..., EpisodeRecord]
) -> None:
    import rerun as rr

    record, stream = reading(tabletop("fast")), Recorder()
    rerun_tokens.log_tokens(rr, stream, "e", record, None, "step")
    tables = [(t, d.text.as_arrow_array().to_pylist()[0]) for t, d in stream.logged["e/top_tokens"]]
    assert [step for step, _ in tables] == list(range(record.n_steps))
    assert "| layer 0 | -0.10  +0.10  -1.00 |" in tables[19][1]
    assert "| **layer 2, edited** | quickly  slowly  \\<unk> |" in tables[19][1]
    assert "- layer 2, neuron 7 (clamp) writes: slowly" in tables[0][1]
    lines = [w.text.as_arrow_array().to_pylist()[0] for _, w in stream.logged["e/token_log"]]
    assert lines[19] == "layer 2: quickly  slowly  <unk>"
    (_, names), *_ = stream.logged["e/neurons/before"]
    assert names.names.as_arrow_array().to_pylist() == [
        "layer 2, neuron 7 before",
        "layer 2, neuron 40 before",
    ]
    (column, *_) = list(stream.sent["e/neurons/before"][1])
    np.testing.assert_allclose(
        column.as_arrow_array().to_pylist(), record.agent_trace["neuron_activations_before"]
    )


def test_tokens_without_words_are_shown_as_ids(
    tabletop: Callable[..., EpisodeRecord], reading: Callable[..., EpisodeRecord]
) -> None:
    import rerun as rr

    for vocabulary, line in ((None, "#4  #5  #3"), (list("abcdefg"), "e  f  d")):
        stream = Recorder()
        record = reading(tabletop("fast"), told=False)
        rerun_tokens.log_tokens(rr, stream, "e", record, vocabulary, "step")
        (_, first), *_ = stream.logged["e/token_log"]
        assert first.text.as_arrow_array().to_pylist() == [line]
        (_, table), *_ = stream.logged["e/top_tokens"]
        (words,) = table.text.as_arrow_array().to_pylist()
        assert ("does not spell" in words) == (vocabulary is None)
        assert "e/neurons/before" not in stream.logged


def _rooms_task() -> Task:
    from pilotage.envs.rooms.house import make_house

    house = make_house(3)
    goal = {"points": [[1.0, 2.0], [4.0, 2.0]]}
    path = [[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]]
    return Task(
        "rooms-3", "rooms", "val", "f", "go", 9, house.scene(), {}, goal, 1.0, reference_path=path
    )


def test_a_house_is_drawn_as_its_floor_plan_says() -> None:
    """Against `house_plan`, the plain data of the maps: every wall, door and piece of furniture."""
    import rerun as rr

    from pilotage.envs.rooms.house import house_plan

    task, stream = _rooms_task(), Recorder()
    entities = rerun_scene.log_scene(rr, stream, "t/scene", task)
    assert set(entities) == set(stream.logged)
    plan = house_plan(task.scene)
    drawn = {name.removeprefix("t/scene/"): log[0][1] for name, log in stream.logged.items()}

    low, high = _extents(drawn["house/walls"])
    np.testing.assert_allclose(np.c_[low[:, :2], high[:, :2]], plan["walls"], atol=1e-6)
    np.testing.assert_allclose(low[:, 2], 0.0, atol=1e-6)
    np.testing.assert_allclose(high[:, 2], rerun_scene.CUT_M, atol=1e-6)

    low, high = _extents(drawn["house/floors"])
    rects = [room["rect"] for room in plan["rooms"]]
    np.testing.assert_allclose(np.c_[low[:, :2], high[:, :2]], rects, atol=1e-6)
    middles = (low + high)[:, :2] / 2
    assert _sorted(np.array(_rows(drawn["house/names"], "positions"))[:, :2]) == _sorted(middles)
    assert _rows(drawn["house/names"], "labels") == [room["name"] for room in plan["rooms"]]

    low, high = _extents(drawn["house/doors"])
    frames = ((low + high) / 2).reshape(len(plan["doors"]), 3, 3)  # left, right, top of each
    centers = [door["center"] for door in plan["doors"]]
    np.testing.assert_allclose(frames[:, 2, :2], centers, atol=1e-4)
    widths = np.linalg.norm(frames[:, 1, :2] - frames[:, 0, :2], axis=1)
    assert (widths > [door["width"] for door in plan["doors"]]).all()

    shapes = [shape for item in plan["furniture"] for shape in item["shapes"]]
    low, high = _extents(drawn["house/furniture"])
    boxes = [shape["rect"] for shape in shapes if shape["shape"] == "box"]
    assert _sorted(np.c_[low[:, :2], high[:, :2]]) == _sorted(np.array(boxes))
    round_ = [drawn[f"house/furniture_{kind}"] for kind in ("cylinders", "spheres")]
    middles = [row[:2] for shape in round_ for row in _rows(shape, "centers")]
    circles = [shape["center"] for shape in shapes if shape["shape"] == "circle"]
    assert _sorted(np.array(middles)) == _sorted(np.array(circles))
    assert len(_rows(drawn["goal"], "positions")) == 2


def _rows(shape: Any, name: str) -> list[Any]:
    """A component of a logged shape."""
    rows: list[Any] = getattr(shape, name).as_arrow_array().to_pylist()
    return rows


def _sorted(rows: np.ndarray) -> list[list[float]]:
    """Rows in order, to the millimetre (Rerun stores float32)."""
    return sorted((np.rint(1000 * rows).astype(int) / 1000).tolist())


def _extents(boxes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of boxes, float64 [n, 3] each."""
    middle, half = (np.array(_rows(boxes, name)) for name in ("centers", "half_sizes"))
    return middle - half, middle + half


def test_a_view_begins_where_all_of_the_scene_is_seen() -> None:
    """The corners of the house lie within 40 degrees of where the eye looks."""
    from pilotage.envs.rooms.house import load_house

    task = _rooms_task()
    eye = rerun_scene.eye_of(task)
    assert eye is not None
    width, depth = load_house(task.scene).size
    corners = np.array([[x, y, 0.0] for x in (0.0, width) for y in (0.0, depth)])
    toward = np.array(eye.target) - eye.position
    rays = corners - eye.position
    cosines = rays @ toward / np.linalg.norm(rays, axis=1) / np.linalg.norm(toward)
    assert np.degrees(np.arccos(cosines)).max() < 40
    assert rerun_scene.eye_of(replace(task, env="elsewhere")) is None


def test_a_house_is_drawn_once_a_task(tmp_path: Path) -> None:
    import rerun as rr

    task = _rooms_task()
    records = [
        EpisodeRecord(
            task, name, Seeds(0, 0, 0), "a", EndReason.STEP_LIMIT, False,
            np.zeros(2, np.int64), np.zeros(2),
            {"position": np.tile([1.0, 1.0, 0.0], (3, 1)), "heading": np.zeros((3, 1))},
        )
        for name in ("baseline", "fast")
    ]  # fmt: skip
    stream, taken = Recorder(), dict[str, list[str]]()
    for record in records:
        taken.setdefault("rooms-3", []).append(log_episode(rr, stream, record, 0, None, taken))
        assert len(stream.logged["rooms-3/scene/house/walls"]) == 1
    path = log_run(records, tmp_path / "run.rrd")
    listed = _rrd("print", str(path))
    for part in ("walls", "doors", "floors", "furniture"):
        entities = set(re.findall(rf"/rooms-3\S*/{part}\b", listed))
        assert entities == {f"/rooms-3/scene/house/{part}"}
    assert "/rooms-3/scene/reference_path" in listed


def test_narration(records: list[EpisodeRecord]) -> None:
    assert narration_of(records[0]) == []
    told = replace(records[0], receipt={"narration": ["a", "", "b"]})
    assert narration_of(told) == [(0, "a"), (2, "b")]


def test_a_port_taken_in_between_is_not_the_end(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def unlucky(n: int) -> list[int]:
            free = real(n)
            drawn.append([free[0], taken.getsockname()[1]] if not drawn else free)
            return drawn[-1]

        real = rerun_serve._free_ports
        monkeypatch.setattr(rerun_serve, "_free_ports", unlucky)
        with serve(recording) as server:
            assert server.grpc_port == drawn[1][1]
    assert len(drawn) == 2
    assert len(set(real(20))) == 20


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


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_a_program_that_is_ended_ends_its_viewer(recording: Path) -> None:
    program = (
        "import sys; from pilotage.viewers.rerun_serve import serve; server = serve(sys.argv[1]); "
        "print(server.source_port, server.grpc_port, flush=True); sys.exit(server.wait())"
    )
    command = [sys.executable, "-c", program, str(recording)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ports = [int(word) for word in parent.stdout.readline().split()]
        assert [bool(listening(port)) for port in ports] == [True, True]
        parent.terminate()
        assert parent.wait(timeout=20) == 0
    assert [listening(port) for port in ports] == [set(), set()]


def test_a_page_that_is_closed_early_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The browser leaves while the megabytes of the viewer are on their way."""

    class Source(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(32_000_000))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Source) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        page = OfflinePage(0, f"http://127.0.0.1:{source.server_address[1]}", 1)
        page.daemon_threads = False  # so that closing waits for the answer
        threading.Thread(target=page.serve_forever, daemon=True).start()
        with socket.create_connection(page.server_address[:2]) as browser:
            browser.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert browser.recv(100).startswith(b"HTTP/1.0 200")
        page.shutdown()
        page.server_close()
        source.shutdown()
    assert capfd.readouterr().err == ""


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
