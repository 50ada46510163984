"""The single checks of `pilotage doctor`: each looks at one thing and says what it found."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.resources
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

DISTRIBUTION = "pilotage"
# Extras a user would install; `dev` and `bench` serve work on the project itself.
USER_EXTRAS = ("view",)
DATA_SETS = ("r2r", "r2r_ce", "reverie", "mapf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Loading the plugin without a driver can end the process, so another process tries.
EGL_PROGRAM = """
import importlib.util, pybullet
spec = importlib.util.find_spec("eglRenderer")
client = pybullet.connect(pybullet.DIRECT)
plugin = -1 if spec is None else pybullet.loadPlugin(spec.origin, "_eglRendererPlugin")
print("plugin", plugin)
"""


@dataclass(frozen=True)
class Check:
    """One line of the table. `needed` parts decide the exit code."""

    name: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""
    needed: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_python() -> list[Check]:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    remedy = "install Python 3.11 or newer"
    return [Check("python", "ok" if ok else "broken", version, remedy, needed=True)]


def check_packages() -> list[Check]:
    """Every dependency and user extra that the installed distribution declares, by version."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        remedy = "make venv, or: pip install -e ."
        return [Check(DISTRIBUTION, "missing", "not installed", remedy, needed=True)]
    found = [Check(DISTRIBUTION, "ok", importlib.metadata.version(DISTRIBUTION), needed=True)]
    for line in lines:
        extra = extra_of(line)
        if extra is None or extra in USER_EXTRAS:
            found.append(package_check(line, extra))
    return found


def extra_of(requirement: str) -> str | None:
    """`view` for `av>=12; extra == "view"`; None for a plain dependency."""
    match = re.search(r"""extra\s*==\s*["']([\w-]+)""", requirement)
    return match[1] if match else None


def package_check(requirement: str, extra: str | None) -> Check:
    """Is it installed, and new enough? Reads `name>=version`, the only form that we declare.

    The `packaging` library is not used: a broken environment is when this must still run.
    """
    wanted = requirement.partition(";")[0].strip()
    match = re.fullmatch(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?", wanted)
    if match is None:
        raise ValueError(f"requirement {requirement!r} is not of the form name>=version")
    name, least, needed = match[1], match[2] or "0", extra is None
    remedy = f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install '{wanted}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", f"not installed; wanted {wanted}", remedy, needed)
    if _numbers(version) < _numbers(least):
        return Check(name, "broken", f"{version}; wanted {wanted}", remedy, needed)
    return Check(name, "ok", version, remedy, needed)


def _numbers(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` -> (2, 13, 0): enough to order releases."""
    release = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (release[0] if release else "").split(".") if part)


def check_torch() -> list[Check]:
    """That torch works, and the devices that `--device` accepts here."""
    torch, problem = _import("torch")
    if torch is None:
        return [Check("torch device", "broken", problem, "pip install torch", needed=True)]
    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        devices += [f"cuda:{i} ({name})" for i, name in enumerate(names)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [Check("torch device", "ok", ", ".join(devices), needed=True)]


def check_pybullet() -> list[Check]:
    """The physics engine; its numpy support and EGL renderer are not used by our own camera."""
    remedy = "pip install --force-reinstall --no-deps pybullet"
    pybullet, problem = _import("pybullet")
    if pybullet is None:
        return [Check("pybullet import", "broken", problem, remedy, needed=True)]
    found = [Check("pybullet import", "ok", f"API {pybullet.getAPIVersion()}", needed=True)]
    numpy_ok = bool(pybullet.isNumpyEnabled())
    detail = "arrays without copies" if numpy_ok else "built without numpy: its pictures are slow"
    rebuild = f"{remedy} --no-binary pybullet"
    found.append(Check("pybullet numpy", "ok" if numpy_ok else "missing", detail, rebuild))
    return [*found, _egl_check()]


def _egl_check() -> Check:
    try:
        result = subprocess.run(
            [sys.executable, "-c", EGL_PROGRAM], capture_output=True, text=True, timeout=60
        )
        loaded = result.returncode == 0 and "plugin -1" not in result.stdout
        loaded = loaded and "plugin" in result.stdout
    except subprocess.TimeoutExpired:
        loaded = False
    detail = "loads" if loaded else "does not load; Pilotage draws with its own camera instead"
    remedy = "apt-get install libegl1 libgl1-mesa-dri (or a GPU driver)"
    return Check("pybullet EGL", "ok" if loaded else "missing", detail, remedy)


def check_numba() -> list[Check]:
    """That a function compiles here: the camera's CPU backend depends on it."""
    numba, problem = _import("numba")
    if numba is None:
        return [Check("numba", "broken", problem, "pip install --upgrade numba", needed=True)]
    answer = numba.njit(lambda x: x + 1)(41)
    detail = f"compiles; {numba.config.NUMBA_NUM_THREADS} threads"
    if answer != 42:
        return [Check("numba compiles", "broken", f"41 + 1 gave {answer}", needed=True)]
    return [Check("numba compiles", "ok", detail, needed=True)]


def check_video() -> list[Check]:
    """Who can write H.264: the `av` package; the ffmpeg program is only reported."""
    remedy = f"pip install '{DISTRIBUTION}[view]'"
    program = shutil.which("ffmpeg")
    note = "; ffmpeg on the path" if program else ""
    av, problem = _import("av")
    if av is None:
        return [Check("video (H.264)", "missing", problem + note, remedy)]
    encoders = [name for name in ("libx264", "libopenh264", "h264") if _encodes(av, name)]
    if not encoders:
        return [Check("video (H.264)", "missing", f"av {av.__version__} has none{note}", remedy)]
    return [Check("video (H.264)", "ok", f"av {av.__version__}, {encoders[0]}{note}")]


def _encodes(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except ValueError:  # av.codec.codec.UnknownCodecError
        return False
    return True


def check_habitat() -> list[Check]:
    """habitat-sim and whether it draws; only the habitat world needs it. It is not on PyPI, so it
    is found by import and not among the extras."""
    from pilotage.envs.habitat.library import REMEDY, RendererError, probe_renderer

    library, problem = _import("habitat_sim")
    if library is None:
        gone = problem == "ModuleNotFoundError: No module named 'habitat_sim'"
        detail = "not installed; houses can be played without it" if gone else problem
        return [Check("habitat_sim", "missing" if gone else "broken", detail, REMEDY)]
    found = [Check("habitat_sim", "ok", str(getattr(library, "__version__", "unknown version")))]
    try:
        probe_renderer(-1)
    except RendererError as error:
        detail, remedy = "cannot draw; navigation without pictures works", str(error)
        return [*found, Check("habitat_sim drawing", "missing", detail, remedy)]
    return [*found, Check("habitat_sim drawing", "ok", "draws on an EGL device")]


def check_browser() -> list[Check]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        remedy = "apt-get install chromium"
        return [Check("browser", "missing", "only a test of the report uses it", remedy)]
    return [Check("browser", "ok", Path(path).name)]


def check_agents(root: Path | None = None) -> list[Check]:
    """Each shipped agent: its header reads, and the weights are the ones that it describes."""
    if root is None:
        root = Path(str(importlib.resources.files("pilotage.assets")))
    headers = sorted(root.glob("*/agent.json"))
    if not headers:
        return [Check("shipped agents", "missing", "none in assets/", "see assets/README.md")]
    return [_agent_check(header) for header in headers]


def _agent_check(header: Path) -> Check:
    name, remedy = f"agent {header.parent.name}", "fetch the folder again (git checkout -- assets)"
    weights = header.with_name("model.safetensors")
    try:
        expected = json.loads(header.read_text())["weights_sha256"]
        with weights.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check(name, "broken", f"{type(error).__name__}: {error}", remedy, needed=True)
    if found != expected:
        detail = f"{weights.name} has SHA-256 {found[:12]}, agent.json says {str(expected)[:12]}"
        return Check(name, "broken", detail, remedy, needed=True)
    size_mb = weights.stat().st_size / 1e6
    return Check(name, "ok", f"{size_mb:.1f} MB, {found[:12]}", needed=True)


def check_data() -> list[Check]:
    """Public data sets under PILOTAGE_DATA; only some tests and benchmarks read them."""
    where = os.environ.get("PILOTAGE_DATA", "../shared/data")
    sets = [name for name in DATA_SETS if (Path(where) / name).is_dir()]
    remedy = "set PILOTAGE_DATA to the folder that holds them"
    absent = [name for name in DATA_SETS if name not in sets]
    detail = f"{', '.join(sets) or 'none'} in {where}" + (
        f"; absent: {', '.join(absent)}" if sets and absent else ""
    )
    return [Check("data sets", "ok" if sets else "missing", detail, remedy)]


def check_machine() -> list[Check]:
    """Cores, memory and disk. Little disk counts as missing, but not as needed."""
    return list(_machine())


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("cores", "ok", f"{cores} ({platform.machine()}, {platform.system()})")
    try:
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        yield Check("memory", "ok", "unknown on this system")
    else:
        enough: Literal["ok", "missing"] = "ok" if memory_gb >= 3.5 else "missing"
        yield Check("memory", enough, f"{memory_gb:.1f} GB", "4 GB are comfortable")
    free_gb = shutil.disk_usage(".").free / 1e9
    state: Literal["ok", "missing"] = "ok" if free_gb >= 1 else "missing"
    yield Check("disk", state, f"{free_gb:.1f} GB free here", "runs with films need about 1 GB")


def _import(name: str) -> tuple[Any, str]:
    """The module, or None and why not: a broken library raises more than ImportError."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
