"""What a user installs: the package list, the wheel, and files that say nothing of this machine."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("agents", "assets", "envs", "episodes", "planners", "scripts", "steering", "viewers")
# A path on somebody's disk: starts at the root, not inside a longer path or an address.
MACHINE_PATH = re.compile(r"(?<![\w./~$}*-])/(?:work|root|home|opt|mnt|Users)/[\w.]")
# How a server asks for every interface of the machine.
ANY_ADDRESS = ("0.0.0" + ".0", "::")


def setuptools_table() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def package_folders(root: Path) -> set[str]:
    """Every folder of ours with Python in it, as `envs/camera`; all must be installed."""
    found = set()
    for top in FOLDERS:
        for path in (root / top).rglob("*.py"):
            found.add(path.parent.relative_to(root).as_posix())
    return found


def packaging_problems(table: dict[str, Any], folders: set[str]) -> list[str]:
    """Where the package list, the folder map and the folders disagree."""
    problems = []
    expected = {"pilotage." + folder.replace("/", "."): folder for folder in folders}
    for name in sorted(expected.keys() - set(table["packages"])):
        problems.append(f"{name} is not in `packages`: it would be missing from the wheel")
    for name in sorted(set(table["packages"]) - expected.keys()):
        problems.append(f"{name} is listed but has no folder")
    for name in sorted(set(table["packages"]) ^ table["package-dir"].keys()):
        problems.append(f"{name} is only in one of `packages` and `package-dir`")
    for name, folder in table["package-dir"].items():
        if name in expected and folder != expected[name]:
            problems.append(f"{name} is mapped to {folder!r} instead of {expected[name]!r}")
    return problems


def test_package_list_equals_the_folders() -> None:
    folders = package_folders(ROOT)
    assert packaging_problems(setuptools_table(), folders) == []
    missing = [f for f in folders if not (ROOT / f / "__init__.py").is_file()]
    assert missing == [], "every mapped folder needs an __init__.py"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"envs", "envs/grid"}, "pilotage.envs.grid is not in `packages`"),
        (set(), "pilotage.envs is listed but has no folder"),
    ],
)
def test_a_wrong_package_list_is_noticed(folders: set[str], message: str) -> None:
    table = {"packages": ["pilotage.envs"], "package-dir": {"pilotage.envs": "envs"}}
    assert any(message in p for p in packaging_problems(table, folders))


def test_a_wrong_map_is_noticed() -> None:
    table = {"packages": ["pilotage.envs"], "package-dir": {"pilotage.envs": "agents"}}
    assert packaging_problems(table, {"envs"}) == [
        "pilotage.envs is mapped to 'agents' instead of 'envs'"
    ]
    table = {"packages": ["pilotage.envs"], "package-dir": {}}
    assert "only in one of" in packaging_problems(table, {"envs"})[0]


def test_package_is_not_named_like_a_folder() -> None:
    """Else `./pilotage` would hide the installed one in the checkout's root."""
    assert not (ROOT / "pilotage").exists()
    assert not (ROOT / "__init__.py").exists()
    assert {name.partition(".")[0] for name in setuptools_table()["packages"]} == {"pilotage"}


def tracked_files() -> list[Path]:
    """Files under version control (a new one counts once it is added); all files without git."""
    command = ["git", "ls-files", "-z"]
    try:
        output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [p for top in (*FOLDERS, "tests") for p in (ROOT / top).rglob("*") if p.is_file()]
    return [ROOT / name for name in output.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The file's text, empty for a binary file."""
    data = path.read_bytes() if path.stat().st_size < 5_000_000 else b""
    return "" if b"\0" in data[:4096] else data.decode(errors="replace")


def machine_paths(text: str) -> list[str]:
    return [text[m.start() : m.start() + 40] for m in MACHINE_PATH.finditer(text)]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{p.relative_to(ROOT)}: {m}" for p in tracked_files() for m in machine_paths(text_of(p))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("cd /{}/main", True),
        ('open("/{}/x.json")', True),
        ("see `/{}/x`", True),
        ("frame/{}/x", False),
        ("https://example.org/{}/x", False),
        ("../{}/x", False),
        ("$HOME/{}/x", False),
    ],
)
def test_machine_paths_are_recognised(text: str, caught: bool) -> None:
    assert all(bool(machine_paths(text.format(top))) == caught for top in ("work", "root", "home"))


def open_servers(source: str) -> Iterator[str]:
    """Places that listen on every interface: a literal any-address, or ("", port)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and node.value in ANY_ADDRESS:
            yield f"line {node.lineno}: {node.value!r}"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2].lower()
        first = node.args[0] if node.args else None
        if name.endswith(("server", "bind")) and isinstance(first, ast.Tuple) and first.elts:
            host = first.elts[0]
            if isinstance(host, ast.Constant) and host.value == "":
                yield f"line {node.lineno}: an empty host"


def test_no_server_listens_on_every_interface() -> None:
    files = [p for p in tracked_files() if p.suffix == ".py" and p != Path(__file__)]
    found = [f"{p.relative_to(ROOT)} {s}" for p in files for s in open_servers(p.read_text())]
    found += [
        str(p.relative_to(ROOT))
        for p in tracked_files()
        if p.suffix in ("", ".sh", ".toml", ".md") and ANY_ADDRESS[0] in text_of(p)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        (f"serve(host={ANY_ADDRESS[0]!r})", True),
        ("HTTPServer(('', 80), Handler)", True),
        ("sock.bind(('', 0))", True),
        ("sock.bind(('::', 0))", True),
        ("HTTPServer(('127.0.0.1', 0), Handler)", False),
        ("sock.bind(address)", False),
    ],
)
def test_open_servers_are_recognised(source: str, caught: bool) -> None:
    assert bool(list(open_servers(source))) == caught


@pytest.mark.slow
def test_wheel_holds_every_module_and_asset(tmp_path: Path) -> None:
    """Built from a copy of what is under version control, so that no build folder is left here."""
    copy = tmp_path / "source"
    for path in tracked_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    build += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(copy)]
    result = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)

    wanted = {".py", ".json", ".safetensors", ".md"}
    ours = [p.relative_to(ROOT) for p in tracked_files()]
    expected = {
        f"pilotage/{p.as_posix()}"
        for p in ours
        if p.parts[0] in FOLDERS
        and (p.suffix == ".py" or p.parts[0] == "assets")
        and p.suffix in wanted
    }
    assert expected - names == set(), "missing from the wheel"
    typed = {f"pilotage/{p.as_posix()}" for p in ours if p.name == "py.typed"}
    assert typed <= names
    strangers = {n for n in names if not n.startswith(("pilotage/", "pilotage-"))}
    assert strangers == set(), "the wheel would install more than the package pilotage"

    # It also imports, away from the checkout. -S leaves the editable install of the checkout out.
    program = f"""
import sys
sys.path[:] = [{str(site)!r}, *sys.path, {sysconfig.get_path("purelib")!r}]
import pilotage.assets, pilotage.episodes.types
print(pilotage.assets.__file__, pilotage.episodes.types.__file__)
"""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(str(site)) == 2, f"imported from elsewhere: {result.stdout}"
