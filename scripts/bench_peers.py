"""What the same edit costs in Pilotage and in other libraries that edit activations.

    python -m pilotage.scripts.bench_peers --peer-python peers/bin/python
    python -m pilotage.scripts.bench_peers --peer-python peers/bin/python \\
        --peer-python transformer-lens=lens/bin/python --repeats 21 --json

The peers are nnsight, TransformerLens, pyvene and steering-vectors, and a forward hook written by
hand; what is not installed in its interpreter is a row that says so. Two of them need an
environment of their own: steering-vectors 0.12.2 wants transformers below 5, and with transformers
5.24 TransformerLens 4.3.0 loses the cache (the check below finds it, and the decode is void):

    python -m venv peers
    peers/bin/pip install -c constraints.txt torch transformers nnsight pyvene
    python -m venv lens
    lens/bin/pip install torch==2.13.0 "transformers<5.24" transformer-lens

The edit: a direction is added to the residual stream after the middle block of a random Llama, at
every token. Every library, ours too, runs in a process of its own on one thread with the same
weights. Before anything is timed its logits must equal ours; where they do not, the row is void.
Then the processes take turns, and a ratio is taken within one turn of one process: processor time
of the edited forward by that of the bare transformers model. Printed are the median and the 10th
and 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.tables import to_markdown
from pilotage.scripts import peer_steering
from pilotage.scripts.bench_models import random_llama

OURS, PEERS = "pilotage", tuple(name for name in peer_steering.LIBRARIES if name != "pilotage")
WORKS = peer_steering.WORKS
WARM_UP = 2  # turns that are not counted
TOLERANCE = 1e-4


class Side:
    """The process of one library. `hello` is what it says of itself: its versions, or why it is
    missing.
    """

    def __init__(self, name: str, python: str, folder: Path, layer: int) -> None:
        self.name, self.python = name, python
        command = [python, "-P", peer_steering.__file__, name, str(folder), str(layer)]
        self._errors = (folder / f"{name}.log").open("w+")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.hello: dict[str, Any] = {}

    def greet(self) -> None:
        """Wait until the library is loaded, or known to be missing."""
        self.hello = self._answer()

    def ask(self, work: str, how: str, logits: Path | None = None) -> dict[str, Any]:
        """The answer to one request, see `peer_steering.serve`."""
        request = {"work": work, "how": how} | ({} if logits is None else {"logits": str(logits)})
        if self._process.stdin is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._errors.seek(0)
            tail = self._errors.read()[-800:]
            raise RuntimeError(f"{self.name} in {self.python} ended without an answer:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process by ending its input."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


def write_inputs(folder: Path, args: argparse.Namespace) -> None:
    """The model and `inputs.npz`: token ids, a unit direction, coefficients per work."""
    model: Any = random_llama(width=args.width, layers=args.layers, vocabulary=args.vocabulary)
    model.save_pretrained(folder)
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(args.width).astype(np.float32)
    same = np.full(args.rows, 0.5, np.float32)
    np.savez(
        folder / "inputs.npz",
        ids=rng.integers(0, args.vocabulary, (args.rows, args.tokens)),
        direction=direction / np.linalg.norm(direction),
        prefill=same,
        decode=same,
        coefficients=np.linspace(1, 0, args.coefficients, endpoint=False, dtype=np.float32),
    )


def check(sides: Sequence[Side], folder: Path) -> dict[str, dict[str, str]]:
    """Per side and work why it cannot be timed: it cannot do it, or its logits are not ours.

    Raises RuntimeError where our own runs disagree, or where an edit changes next to nothing, for
    then equal logits would prove nothing.
    """
    ours = next(side for side in sides if side.name == OURS)
    path = folder / "logits.npy"

    def logits(side: Side, work: str, how: str) -> np.ndarray | str:
        said = side.ask(work, how, path)
        return str(said["cannot"]) if "cannot" in said else np.load(path, allow_pickle=False)

    refused: dict[str, dict[str, str]] = {side.name: {} for side in sides}
    for work in WORKS:
        wanted, plain = logits(ours, work, "edited"), logits(ours, work, "plain")
        if isinstance(wanted, str) or isinstance(plain, str):
            raise RuntimeError(f"{work}: {wanted if isinstance(wanted, str) else plain}")
        change = float(np.abs(wanted - plain).max(axis=1).min())
        if change < 100 * TOLERANCE:
            raise RuntimeError(f"{work}: the edit moves a row's logits by {change:.1g} only")
        for side in sides:
            for how in ("edited", "runs") if work == "coefficients" else ("edited",):
                found = logits(side, work, how)
                why = found if isinstance(found, str) else disagreement(found, wanted)
                if why:
                    refused[side.name].setdefault(work, why)
    if refused[OURS]:
        raise RuntimeError(f"pilotage disagrees with itself: {refused[OURS]}")
    return refused


def disagreement(found: np.ndarray, wanted: np.ndarray) -> str:
    """Why logits [rows, vocabulary] are not the wanted ones; empty if they are."""
    if found.shape != wanted.shape:
        return f"void: logits of shape {found.shape}, ours {wanted.shape}"
    gap = float(np.abs(found - wanted).max())
    return "" if gap <= TOLERANCE else f"void: logits differ from ours by {gap:.2g}"


def measure(
    sides: Sequence[Side], refused: dict[str, dict[str, str]], repeats: int
) -> dict[str, dict[str, np.ndarray]]:
    """Seconds [repeats] by side and by "work how", the sides taking turns."""
    times: dict[str, dict[str, list[float]]] = {side.name: {} for side in sides}
    for turn in range(repeats + WARM_UP):
        for work in WORKS:
            for side in sides:
                if work in refused[side.name]:
                    continue
                hows = ["plain", "edited"] + ["own"] * side.hello["has_own"]
                hows += ["runs"] * (work == "coefficients")
                for how in hows if turn % 2 else reversed(hows):
                    said = side.ask(work, how)
                    if "cannot" in said:
                        raise RuntimeError(f"{side.name}, {work}, {how}: {said['cannot']}")
                    times[side.name].setdefault(f"{work} {how}", []).append(said["seconds"])
    return {
        name: {key: np.array(seconds[WARM_UP:]) for key, seconds in of_side.items()}
        for name, of_side in times.items()
    }


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return {"median": float(middle), "p10": float(low), "p90": float(high)}


def results_of(
    side: Side, seconds: dict[str, np.ndarray], refused: dict[str, str]
) -> list[dict[str, Any]]:
    """One result for the edited forward and one, if the library has its own, for that without."""
    results = []
    for how in ("edited", "own") if side.hello.get("has_own") else ("edited",):
        result: dict[str, Any] = {"library": side.name, "how": how, "refused": refused}
        for work in WORKS:
            if f"{work} {how}" in seconds:
                result[work] = spread(seconds[f"{work} {how}"] / seconds[f"{work} plain"])
        if f"decode {how}" in seconds:
            added = seconds[f"decode {how}"] - seconds["decode plain"]
            result["added ms"] = spread(1e3 * added / peer_steering.DECODES)
        if how == "edited" and "coefficients runs" in seconds:
            ratio = seconds["coefficients runs"] / seconds["coefficients edited"]
            result["runs / batch"] = spread(ratio)
        results.append(result)
    return results


def row_of(result: dict[str, Any], n: int) -> dict[str, str]:
    """A result as cells: ratios with their spread, or why there are none."""
    refused = result["refused"]

    def cell(key: str, work: str) -> str:
        if key in result:
            return "{median:.3f} ({p10:.3f} to {p90:.3f})".format(**result[key])
        return str(refused.get(work, ""))

    return {
        "library": result["library"] + (", no edit" if result["how"] == "own" else ""),
        "prefill": cell("prefill", "prefill"),
        "decode": cell("decode", "decode"),
        "added to a decode step, ms": cell("added ms", ""),
        f"{n} coefficients in a batch, decode": cell("coefficients", "coefficients"),
        f"{n} runs / that batch": cell("runs / batch", ""),
    }


def interpreters(given: Sequence[str]) -> dict[str, str | None]:
    """The interpreter of each peer, from `PATH` (for all) and `NAME=PATH`. ValueError at a name
    that no peer has, or where nothing can be run.
    """
    common, named = None, {}
    for text in given:
        name, _, path = text.rpartition("=")
        if shutil.which(path) is None:
            raise ValueError(f"--peer-python {text}: {path!r} cannot be run; give an interpreter")
        if not name:
            common = path
        elif name in PEERS:
            named[name] = path
        else:
            raise ValueError(
                f"--peer-python {text}: no peer {name!r}; there are: {', '.join(PEERS)}"
            )
    own = {"hook": sys.executable}  # needs no more than we do
    return {name: named.get(name, own.get(name, common)) for name in PEERS}


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it; the folder takes the model and what the processes write."""
    pythons = interpreters(args.peer_python) | {OURS: sys.executable}
    write_inputs(folder, args)
    sides, missing = [], {}
    try:
        for name in (OURS, *PEERS):
            python = pythons[name]
            if python is None:
                missing[name] = "not measured: no --peer-python"
                continue
            sides.append(Side(name, python, folder, args.layers // 2))
        for side in sides:  # all are loading by now
            side.greet()
            if "missing" in side.hello:
                missing[side.name] = f"not measured: {side.hello['missing']}"
        able = [side for side in sides if side.name not in missing]
        refused = check(able, folder)
        seconds = measure(able, refused, args.repeats)
        results = [
            result
            for side in able
            for result in results_of(side, seconds[side.name], refused[side.name])
        ]
    finally:
        for side in sides:
            side.close()
    bare = seconds[OURS]
    return {
        "settings": vars(args),
        "machine": platform.processor() or platform.machine(),
        "versions": {side.name: side.hello["versions"] for side in able},
        "notes": {side.name: side.hello["note"] for side in able if side.hello["note"]},
        "missing": missing,
        "bare ms": {work: 1e3 * float(np.median(bare[f"{work} plain"])) for work in WORKS},
        "results": results,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The table, and below it the versions and what has no numbers."""
    n = report["settings"]["coefficients"]
    rows = [row_of(result, n) for result in report["results"]]
    lines = [to_markdown(rows)]
    bare = ", ".join(f"{work} {ms:.1f}" for work, ms in report["bare ms"].items())
    lines.append(f"Bare forwards in the process of pilotage, ms: {bare}.")
    for title in ("versions", "notes", "missing"):
        lines += [f"{name}: {text}" for name, text in report[title].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--peer-python", action="append", default=[], metavar="[NAME=]PATH", help="may be repeated"
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--coefficients", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report = run(args, Path(folder))
    print(json.dumps(report) if args.json else as_markdown(report))


if __name__ == "__main__":
    main()
