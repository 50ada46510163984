"""Who may import whom, read from the source: the table of folders holds, or this fails.

Also: heavy optional libraries only inside functions, nothing that can load a pickle, and light
modules that stay light. Every rule is first shown to catch a violation of it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "pilotage"
FOLDERS = frozenset(
    {"agents", "assets", "envs", "episodes", "planners", "scripts", "steering", "viewers"}
)
PLAIN_DATA = "plain data types of envs"
# folder -> what it may import of ours, beside itself
MAY_IMPORT: dict[str, frozenset[str]] = {
    "episodes": frozenset(),
    "steering": frozenset(),
    "assets": frozenset(),
    "envs": frozenset({"episodes", "assets"}),
    "planners": frozenset({PLAIN_DATA}),
    "agents": frozenset({"episodes", "planners", "steering", "assets", PLAIN_DATA}),
    "viewers": frozenset({"episodes", PLAIN_DATA}),
    "scripts": FOLDERS,
    "tests": FOLDERS,
}
# Modules of `envs` that hold data and no world: they must import without a simulator (see below).
PLAIN_DATA_MODULES = frozenset(
    {
        "pilotage.envs.camera.types",
        "pilotage.envs.mapf.instance",
        "pilotage.envs.mapf.movingai",
        "pilotage.envs.mapf.pogema_files",
        "pilotage.envs.mapf.tracker",
        "pilotage.envs.mapf.validation",
        "pilotage.envs.maze.grid",
        "pilotage.envs.pathgraph.alpine",
        "pilotage.envs.pathgraph.aliased",
        "pilotage.envs.rooms.house",
        "pilotage.envs.tabletop.layout",
    }
)
# Optional or slow to import: only inside the function that needs them.
LAZY = frozenset(
    {
        "av",
        "gguf",
        "google",
        "habitat_sim",
        "lerobot",
        "onnx",
        "panda_gym",
        "peft",
        "pettingzoo",
        "ray",
        "rerun",
        "stable_baselines3",
        "trimesh",
        "yaml",
    }
)
# Files that run in an environment of their own, beside a peer that cannot share ours.
PEERS: dict[str, frozenset[str]] = {
    "scripts/make_mapf_traces.py": frozenset({"pogema"}),
    "scripts/peer_steering.py": frozenset(
        {"nnsight", "pyvene", "steering_vectors", "transformer_lens"}
    ),
}
PICKLERS = frozenset({"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"})
# Distributions whose import name differs, or that bring a second module.
IMPORT_NAMES = {
    "pillow": {"PIL"},
    "pybullet": {"pybullet", "pybullet_data", "pybullet_utils"},
    "scikit-learn": {"sklearn"},
    "rerun-sdk": {"rerun"},
    "pytest-xdist": {"xdist"},
}


def declared_modules(*extras: str) -> frozenset[str]:
    """Top-level modules that pyproject.toml lets us import, with the standard library and ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    names = [re.split(r"[<>=~!\[; ]", line)[0].lower() for line in lines]
    modules = {m for n in names for m in IMPORT_NAMES.get(n, {n.replace("-", "_")})}
    return frozenset(modules | sys.stdlib_module_names | {PACKAGE, "__future__"} | LAZY)


DECLARED = declared_modules()  # LAZY holds the rest: a library module asks for it where it is used
DEV = declared_modules("dev")


class Import(NamedTuple):
    """One import: the module it brings in, where, and whether it waits for a call."""

    module: str
    line: int
    lazy: bool


def module_name(path: Path) -> str:
    """`envs/camera/types.py` -> `pilotage.envs.camera.types`; a package is its `__init__`."""
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports_of(source: str, path: Path, known: frozenset[str]) -> list[Import]:
    """Every import in `source`; `from x import y` is `x.y` where that is a module in `known`."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[Import] = []
    for node, lazy in _nodes(ast.parse(source), lazy=False):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0]
                base = f"{above}.{base}" if base else above
            for alias in node.names:
                full = f"{base}.{alias.name}"
                is_module = full in known or base == PACKAGE
                found.append(Import(full if is_module else base, node.lineno, lazy))
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.append(Import(first.value, node.lineno, lazy))
    return found


def _nodes(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes with: does it run only when something is called (or checked for types)?"""
    yield node, lazy
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    inside = inside or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child, lazy=inside)


def _called(node: ast.Call) -> str:
    """The last name of what is called: `load` for `torch.load(...)`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def broken_rules(source: str, path: Path, known: frozenset[str] = frozenset()) -> list[str]:
    """What `source`, which lies at `path` in the repository, does that the house forbids."""
    folder = path.parts[0]
    problems = []
    for found in imports_of(source, path, known):
        top, _, rest = found.module.partition(".")
        ours = rest.partition(".")[0] if top == PACKAGE else ""
        if top in FOLDERS:
            problem = f"bare import of {found.module}: a second copy; write {PACKAGE}.{top}"
        elif top == "tests":
            problem = "imports from tests; share by a fixture in conftest.py"
        elif ours and not _allowed(folder, ours, found.module):
            problem = f"{folder} may not import {found.module}"
        elif top in LAZY and not found.lazy and folder != "tests":
            problem = f"{top} at module level; import it inside the function that needs it"
        elif top in PICKLERS:
            problem = f"{top} runs code from files; use JSON, npz or safetensors"
        elif top in PEERS.get(path.as_posix(), ()):
            continue
        elif not ours and top not in (DECLARED | DEV if folder == "tests" else DECLARED):
            problem = f"{top} is not a dependency in pyproject.toml"
        else:
            continue
        problems.append(f"{path}:{found.line}: {problem}")
    return problems + [f"{path}:{line}: {what}" for line, what in _pickle_loaders(source)]


def _allowed(folder: str, ours: str, module: str) -> bool:
    allowed = MAY_IMPORT[folder]
    if ours == folder or ours in allowed:
        return True
    return PLAIN_DATA in allowed and module in PLAIN_DATA_MODULES


def _pickle_loaders(source: str) -> Iterator[tuple[int, str]]:
    """Calls that unpickle: torch.load, read_pickle, and any allow_pickle that is not False."""
    tree = ast.parse(source)
    names = {"torch": "torch"}  # what a local name stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        head, _, rest = ast.unparse(node.func).partition(".")
        called = names.get(head, head) + ("." + rest if rest else "")
        if called in ("torch.load", "torch.serialization.load"):
            yield node.lineno, "torch.load unpickles; use safetensors"
        if called.endswith("read_pickle"):
            yield node.lineno, "read_pickle runs code from files"
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                yield node.lineno, "allow_pickle runs code from files"


def python_files() -> list[Path]:
    """Paths relative to the root, of every Python file of ours."""
    folders = sorted(FOLDERS | {"tests"})
    return [p.relative_to(ROOT) for f in folders for p in sorted((ROOT / f).rglob("*.py"))]


def test_every_file_keeps_to_the_table() -> None:
    files = python_files()
    known = frozenset(module_name(path) for path in files)
    problems = [p for path in files for p in broken_rules((ROOT / path).read_text(), path, known)]
    assert not problems, "\n".join(problems)


KNOWN = PLAIN_DATA_MODULES | {"pilotage.envs.rooms.world", "pilotage.agents.vla.model"}
VIOLATIONS = [
    ("episodes/loop.py", "import pilotage.envs.camera", "episodes may not import"),
    ("episodes/loop.py", "from ..envs import rooms", "may not import pilotage.envs"),
    ("episodes/__init__.py", "from ..steering import sites", "may not import pilotage.steering"),
    ("steering/hooks.py", "from pilotage.agents.vla import model", "pilotage.agents.vla.model"),
    ("steering/hooks.py", "from pilotage.episodes.types import Task", "steering may not import"),
    ("envs/rooms/world.py", "from ...agents.vla import model", "envs may not import"),
    ("envs/rooms/world.py", "def f():\n    import pilotage.viewers.html", "envs may not import"),
    ("planners/grid.py", "from pilotage.episodes.types import Task", "planners may not import"),
    ("planners/grid.py", "from pilotage.envs.rooms import world", "envs.rooms.world"),
    ("agents/vla/model.py", "from pilotage.envs.rooms.world import X", "agents may not import"),
    ("agents/vla/model.py", "from pilotage.envs.camera import types, render", "envs.camera"),
    ("agents/vla/model.py", "from pilotage import envs", "agents may not import"),
    ("viewers/html.py", "from pilotage.agents.vla import model", "viewers may not import"),
    ("viewers/html.py", "from pilotage.scripts import cli", "viewers may not import"),
    ("viewers/html.py", "import importlib\nimportlib.import_module('pilotage.envs')", "may not"),
    ("envs/rooms/world.py", "import tests.conftest", "imports from tests"),
    ("tests/envs/test_x.py", "from tests.conftest import y", "imports from tests"),
    ("scripts/cli.py", "from agents.vla import model", "bare import of agents"),
    ("tests/envs/test_x.py", "import steering", "bare import of steering"),
    ("viewers/video.py", "import rerun as rr", "rerun at module level"),
    ("viewers/video.py", "try:\n    import av\nexcept ImportError:\n    av = None", "av at module"),
    ("viewers/video.py", "class A:\n    from av import codec", "av at module level"),
    ("agents/vla/model.py", "def f():\n    import pickle", "pickle runs code"),
    ("agents/vla/model.py", "from joblib import load", "joblib runs code"),
    ("agents/vla/model.py", "import torch\ntorch.load('x', weights_only=True)", "torch.load"),
    ("agents/vla/model.py", "import torch as t\nt.load('x')", "torch.load unpickles"),
    ("agents/vla/model.py", "from torch import load as go\ngo('x')", "torch.load unpickles"),
    ("episodes/records.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
    ("episodes/records.py", "np.load('x', allow_pickle=flag)", "allow_pickle runs code"),
    ("episodes/records.py", "def f():\n    import pandas", "pandas is not a dependency"),
    ("episodes/testing.py", "import pytest", "pytest is not a dependency"),
    ("scripts/bench_mapf.py", "def f():\n    import pogema", "pogema is not a dependency"),
    ("scripts/cli.py", "pandas.read_pickle('x')", "read_pickle runs code"),
]


@pytest.mark.parametrize(("path", "source", "message"), VIOLATIONS)
def test_a_violation_is_named_and_alone(path: str, source: str, message: str) -> None:
    problems = broken_rules(source, Path(path), KNOWN)
    assert problems
    assert all(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("episodes/loop.py", "from .types import Task\nfrom . import runs\nimport numpy"),
        ("envs/rooms/world.py", "from pilotage.episodes.types import Task\nfrom ..camera import x"),
        ("agents/vla/model.py", "from pilotage.envs.camera.types import Frames\nimport torch"),
        ("agents/vla/model.py", "from pilotage.envs.camera import types"),
        ("agents/vla/model.py", "from pilotage.steering import sites\nimport pilotage.planners"),
        ("viewers/video.py", "def write():\n    import av\n    import rerun"),
        (
            "viewers/video.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import av",
        ),
        ("scripts/cli.py", "import pilotage.viewers.html\nfrom pilotage.agents.vla import model"),
        ("episodes/records.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
        ("episodes/records.py", "import json\njson.load(f)\nmodel.load('x')"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert broken_rules(source, Path(path), KNOWN) == []


# Imports that must work, and stay quick, on a machine that only reads records.
LIGHT = [
    "pilotage.episodes.types",
    "pilotage.episodes.loop",
    "pilotage.viewers.html",
    *sorted(PLAIN_DATA_MODULES),
]
HEAVY = ["pybullet", "torch", "transformers", "rerun", "av", "pilotage.agents"]


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_pulls_in_nothing_heavy(module: str) -> None:
    program = (
        f"import sys, importlib; importlib.import_module({module!r}); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]", f"importing {module} also imports {result.stdout}"
