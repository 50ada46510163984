"""The Rerun web viewer for a `.rrd` file, offline and for this machine only.

The Python functions of rerun-sdk 0.41 (`serve_grpc`, `serve_web_viewer`) take no address and listen
on every interface. The program that comes with it has `--bind`: that is what runs here, as a child.
The viewer's page would ask fonts, release notes and usage statistics of the network; the page is
therefore handed on by `OfflinePage`, whose content security policy lets it reach this machine only.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

from .optional import require

LOOPBACK = "127.0.0.1"


class OfflinePage(ThreadingHTTPServer):
    """Hands on the files of the viewer at `source`, with a policy that forbids other machines."""

    daemon_threads = True

    def __init__(self, port: int, source: str, grpc_port: int) -> None:
        self.source = source
        self.policy = (
            "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' data: blob:; "
            f"connect-src 'self' http://{LOOPBACK}:{grpc_port} data: blob:"
        )
        super().__init__((LOOPBACK, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: OfflinePage

    def do_GET(self) -> None:
        try:
            # No proxy, whatever the environment says: the source is on this machine.
            with _DIRECT.open(self.server.source + self.path, timeout=60) as answer:
                status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
        except HTTPError as error:
            status, kind, body = error.code, "text/plain", str(error.reason).encode()
        except OSError as error:
            status, kind, body = 502, "text/plain", str(error).encode()
        with suppress(ConnectionError):  # the page was closed before all of it was there
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", self.server.policy)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal belongs to the caller."""


_DIRECT = build_opener(ProxyHandler({}))


class Server:
    """A running viewer. Close it, or use it as a context manager."""

    def __init__(
        self, process: subprocess.Popen[bytes], web_port: int, source_port: int, grpc_port: int
    ) -> None:
        """Not for callers: use `serve`."""
        self.process = process
        self.source_port = source_port
        self.grpc_port = grpc_port
        self._page = OfflinePage(web_port, f"http://{LOOPBACK}:{source_port}", grpc_port)
        self.web_port = int(self._page.server_address[1])
        self._thread = threading.Thread(target=self._page.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What to open in a browser."""
        data = f"rerun+http://{LOOPBACK}:{self.grpc_port}/proxy"
        return f"http://{LOOPBACK}:{self.web_port}/?url={quote(data, safe='')}"

    def wait(self) -> int:
        """Waits until the viewer ends by itself, by Ctrl-C, or by a signal that ends this program
        (which then ends the viewer too); returns its exit status."""
        try:
            with _as_interrupts("SIGTERM", "SIGHUP"):
                return self.process.wait()
        except KeyboardInterrupt:
            self.close()
            return 0

    def close(self) -> None:
        """Ends the viewer; the ports are free again afterwards."""
        self._page.shutdown()
        self._page.server_close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def serve(
    rrd: Path | str, *, web_port: int = 0, grpc_port: int = 0, timeout_s: float = 30.0
) -> Server:
    """Starts the web viewer on a `.rrd` file, prints its address, and returns once it listens.

    All its servers listen on 127.0.0.1 only, and nothing is asked of the network.
    `serve(path).wait()` keeps them until this program is told to end, and ends them.

    Args:
        rrd: a file that `rerun_log.log_run` wrote.
        web_port, grpc_port: 0 takes free ones.
        timeout_s: how long to wait until both ports listen, seconds.

    Raises:
        ImportError: rerun-sdk is missing. FileNotFoundError: no such file. RuntimeError: the
        viewer ended or did not listen in time; its last words are in the message.
    """
    path = Path(rrd)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; write it with rerun_log.log_run first")
    for tries_left in (2, 1, 0):
        try:
            server = _start(path, web_port, grpc_port, timeout_s)
            break
        except RuntimeError as error:
            # Another program may take a free port between our look and the viewer's.
            if grpc_port or not tries_left or "Address already in use" not in str(error):
                raise
    print(f"Rerun viewer: {server.url}", file=sys.stderr)
    return server


def _start(path: Path, web_port: int, grpc_port: int, timeout_s: float) -> Server:
    source_port, free = _free_ports(2)
    grpc_port = grpc_port or free
    command = [_program(), "--serve-web", "--bind", LOOPBACK, "--port", str(grpc_port)]
    command += ["--web-viewer-port", str(source_port), "--hide-welcome-screen", str(path)]
    with tempfile.TemporaryFile() as words:
        # CI=1 is how the viewer is told to send no usage statistics without touching its settings.
        process = subprocess.Popen(
            command,
            env=os.environ | {"CI": "1"},
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
        )
        try:
            server = Server(process, web_port, source_port, grpc_port)
        except OSError as error:
            process.kill()
            process.wait()
            raise RuntimeError(f"port {web_port} cannot be used: {error}") from error
        try:
            _wait_until_listening(server, timeout_s)
        except BaseException as error:
            server.close()
            words.seek(0)
            tail = words.read().decode(errors="replace")[-2000:]
            if isinstance(error, TimeoutError):
                raise RuntimeError(f"the Rerun viewer did not start: {error}\n{tail}") from error
            raise
    return server


@contextmanager
def _as_interrupts(*names: str) -> Iterator[None]:
    """Signals act like Ctrl-C meanwhile, so that children are ended; elsewhere than in the main
    thread, where Python sets no handlers, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _program() -> str:
    """The viewer that comes with rerun-sdk, found next to its Python module."""
    module = require("rerun_cli", purpose="the Rerun viewer")
    name = "rerun.exe" if sys.platform.startswith("win") else "rerun"
    folder = Path(str(module.__file__)).parent
    options = [folder / name, folder / "Rerun.app" / "Contents" / "MacOS" / "Rerun"]
    for option in options:
        if option.is_file():
            return str(option)
    raise ImportError(
        f"rerun_cli at {folder} has no viewer program; reinstall with: pip install 'pilotage[view]'"
    )


def _free_ports(n: int) -> list[int]:
    """`n` different ports that nobody listens on now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _wait_until_listening(server: Server, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for port in (server.grpc_port, server.source_port):
        while not _listens(port):
            if server.process.poll() is not None:
                raise TimeoutError(f"it ended with status {server.process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"port {port} did not listen within {timeout_s} s")
            time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
