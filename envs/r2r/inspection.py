"""Checks what lies in a data folder against what whole copies hold; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .annotations import annotation_file
from .catalogue import DATA_SETS, DataSet, Expected
from .continuous import episode_file, read_episodes, read_traces, trace_file
from .dataset import R2RData
from .errors import DataError, DataMissing
from .files import sha256_of

# ok; another: reads well but is not the published file; missing: not there; damaged: it is, but ...
STATES = ("ok", "another", "missing", "damaged")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str  # data set
    split: str  # "" for what has no splits
    state: str  # of `STATES`
    detail: str


def inspect(data: R2RData) -> list[Finding]:
    """Every known data set and split: is it there, whole, and consistent with the others?"""
    findings: list[Finding] = []
    scans: dict[str, set[str]] = {}
    for known in DATA_SETS:
        for split, expected in known.splits.items():
            finding, used = _split(data, known, split, expected)
            findings.append(finding)
            scans.setdefault(known.name, set()).update(used)
    every = set().union(*scans.values()) | _scans_there(data)
    readers: dict[str, tuple[set[str], Callable[[str], object]]] = {
        "connectivity": (every, data.graph),
        "captions": (every, lambda s: (data.captions(s), data.objects(s))),
        "boxes": (scans.get("reverie", set()), data.boxes),
    }
    per_scan = [_per_scan(name, *rest) for name, rest in readers.items()]
    return per_scan + findings


def _scans_there(data: R2RData) -> set[str]:
    folder = data.root / "r2r" / "connectivity"
    return {p.name.removesuffix("_connectivity.json") for p in folder.glob("*_connectivity.json")}


def _per_scan(name: str, scans: set[str], read: Callable[[str], object]) -> Finding:
    """Reads the files of all scans that are needed; the first damaged one is quoted."""
    missing, damaged, n_viewpoints, n_edges = [], [], 0, 0
    for scan in sorted(scans):
        try:
            found = read(scan)
        except DataMissing:
            missing.append(scan)
        except DataError as error:
            damaged.append(str(error))
        else:
            n_viewpoints += len(getattr(found, "viewpoints", ()))
            n_edges += getattr(found, "n_edges", 0)
    there = len(scans) - len(missing) - len(damaged)
    detail = f"{there} of {len(scans)} scans"
    if n_viewpoints:
        detail += f", {n_viewpoints} viewpoints, {n_edges} edges"
    if damaged:
        return Finding(name, "", "damaged", f"{detail}; {len(damaged)} damaged: {damaged[0]}")
    if missing or not scans:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        return Finding(
            name, "", "missing", f"{detail}" + (f"; not there: {names}" if names else "")
        )
    return Finding(name, "", "ok", detail)


def _split(
    data: R2RData, known: DataSet, split: str, expected: Expected
) -> tuple[Finding, set[str]]:
    """The finding about one file, and the scans that it names."""
    path = _file(data.root, known.name, split)
    try:
        paths, instructions, scans, notes = _counts(data, known.name, split)
    except DataMissing as error:
        return Finding(known.name, split, "missing", str(error).partition(";")[0]), set()
    except DataError as error:
        return Finding(known.name, split, "damaged", str(error)), set()
    found = (paths, instructions, len(scans))
    detail = "{} paths, {} instructions, {} scans".format(*found) + notes
    wanted = (expected.n_paths, expected.n_instructions, expected.n_scans)
    if found != wanted:
        detail += "; the published file has {}, {}, {}".format(*wanted)
        return Finding(known.name, split, "another", detail), scans
    if expected.sha256 is None:
        return Finding(known.name, split, "ok", detail + "; digest not known"), scans
    digest = sha256_of(path)
    if digest != expected.sha256:
        detail += f"; SHA-256 {digest[:12]}..., expected {expected.sha256[:12]}..."
        return Finding(known.name, split, "another", detail), scans
    return Finding(known.name, split, "ok", detail), scans


def _file(root: Path, name: str, split: str) -> Path:
    if name == "r2r-ce":
        return episode_file(root, split)
    if name == "r2r-ce-traces":
        return trace_file(root, split)
    return annotation_file(root, name, split)


def _counts(data: R2RData, name: str, split: str) -> tuple[int, int, set[str], str]:
    """(paths, instructions, scans, remarks) of a file, read with all checks."""
    if name.startswith("r2r-ce"):
        episodes = read_episodes(episode_file(data.root, split))
        if name == "r2r-ce-traces":
            read_traces(trace_file(data.root, split), episodes)
        return (
            len({e.trajectory_id for e in episodes}),
            len(episodes),
            {e.scan for e in episodes},
            "",
        )
    items = data.items(name, split)
    notes = "".join(_remarks(data, name, split))
    return len({i.path_id for i in items}), len(items), {i.scan for i in items}, notes


def _remarks(data: R2RData, name: str, split: str) -> Iterator[str]:
    """Facts about a split that change how results on it may be read."""
    items = data.items(name, split)
    fourth = sum(int(i.instr_id.rpartition("_")[2]) > 2 for i in items)
    if name == "r2r" and fourth:
        yield f"; {fourth} instructions beyond the three per path that the official script scores"
    if name == "reverie":
        try:
            unseen = sum(item.path[-1] not in data.sees(item) for item in items)
        except DataMissing:  # said of the boxes themselves
            unseen = 0
        if unseen:
            yield f"; in {unseen} the end of the path does not see the object"
    if name == "r4r":
        loops = sum(item.path[0] == item.path[-1] for item in items)
        if loops:
            yield f"; {loops} instructions end where they start (SPL can be 0/0)"
