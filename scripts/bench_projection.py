"""Value vectors per second onto the vocabulary, and peak memory, against one naive full product.

    python -m pilotage.scripts.bench_projection [--shape 7b] [--layers 30] [--json]

A random model of the size of SmolLM-135M (30 layers of 1,536 value vectors of width 576, vocabulary
49,152), or one layer of the size of OpenVLA's decoder (11,008 of width 4,096, 32,064 tokens).
"naive" multiplies a whole layer by the whole unembedding and calls `topk`; "identity" gets the
value vectors by sending an identity matrix through the layer, as the code released with
arXiv:2509.00328 does, and multiplies 2,048 of them at a time. "All at once" is what the full
product would hold in memory for all layers (computed, not run). Peaks are of the process above what
it held before, and of all that it holds, each measured in a process of its own; times are
processor time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from pilotage.steering.projection import project

SHAPES = {
    "135m": {"layers": 30, "neurons": 1536, "width": 576, "vocabulary": 49152},
    "7b": {"layers": 1, "neurons": 11008, "width": 4096, "vocabulary": 32064},
}
METHODS = ("naive", "identity", "streamed")
IDENTITY_BATCH = 2048


def make_matrices(args: argparse.Namespace) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Random value vectors per layer and a random unembedding, with trained-looking scales."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        torch.randn(args.neurons, args.width, generator=generator) for _ in range(args.layers)
    ]
    return layers, torch.randn(args.vocabulary, args.width, generator=generator)


def run_one(method: str, args: argparse.Namespace) -> dict[str, float]:
    """Project with one method in this process; values per second and peak bytes above the start."""
    layers, embeddings = make_matrices(args)
    layers = layers if method == "streamed" else layers[: args.naive_layers]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for values in layers:
        if method == "naive":
            (values @ embeddings.T).topk(args.top_k, dim=1)
        elif method == "identity":
            vectors = torch.eye(len(values)) @ values
            for first in range(0, len(vectors), IDENTITY_BATCH):
                (vectors[first : first + IDENTITY_BATCH] @ embeddings.T).topk(args.top_k, dim=1)
        else:
            project(values, embeddings, top_k=args.top_k, max_bytes=args.max_mib * 2**20)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "values_per_s": len(layers) * args.neurons / seconds,
        "peak_mib": peak / 1024,
        "process_mib": (before + peak) / 1024,
        "layers": len(layers),
    }


def in_own_process(method: str, arguments: list[str]) -> dict[str, float]:
    """`run_one` in a fresh process, so that one peak does not hide the other."""
    command = [sys.executable, "-m", "pilotage.scripts.bench_projection", *arguments]
    done = subprocess.run([*command, "--only", method], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    for size in ("layers", "neurons", "width", "vocabulary"):
        parser.add_argument(f"--{size}", type=int, help="default: that of --shape")
    parser.add_argument("--naive-layers", type=int, default=2, help="of all but ours")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--max-mib", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=METHODS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for size, number in SHAPES[args.shape].items():
        if getattr(args, size) is None:
            setattr(args, size, number)
    torch.set_num_threads(args.threads)
    if args.only:
        print(json.dumps(run_one(args.only, args)))
        return
    report = compare(args, [a for a in sys.argv[1:] if a != "--json"])
    print(json.dumps(report) if args.json else as_text(report))


def compare(args: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """Both methods in turn, and the ratio of their speeds in each turn."""
    runs = [
        {method: in_own_process(method, arguments) for method in METHODS}
        for _ in range(args.repeats)
    ]
    middle = {m: sorted((r[m] for r in runs), key=_speed)[len(runs) // 2] for m in runs[0]}
    everything = 4 * args.layers * args.neurons * args.vocabulary / 2**20
    return {
        "settings": vars(args),
        **middle,
        "all_at_once_mib": everything,
        **{f"speed_ratio_{peer}": _ratios(runs, peer) for peer in METHODS[:-1]},
    }


def _ratios(runs: list[dict[str, dict[str, float]]], peer: str) -> list[float]:
    """Our speed over a peer's in the same turn: the middle turn's, the least and the most."""
    ratios = sorted(r["streamed"]["values_per_s"] / r[peer]["values_per_s"] for r in runs)
    return [ratios[len(ratios) // 2], ratios[0], ratios[-1]]


def _speed(run: dict[str, float]) -> float:
    return run["values_per_s"]


def as_text(report: dict[str, Any]) -> str:
    """The report as lines."""
    lines = [str(report["settings"])]
    for method in METHODS:
        run = report[method]
        lines.append(
            f"{method:10} {run['values_per_s']:10.0f} values/s   peak {run['peak_mib']:8.0f} MiB "
            f"(process {run['process_mib']:.0f} MiB; {run['layers']:.0f} layers, one at a time)"
        )
    lines.append(f"all layers at once would hold {report['all_at_once_mib']:.0f} MiB of logits")
    for peer in METHODS[:-1]:
        middle, low, high = report[f"speed_ratio_{peer}"]
        lines.append(f"streamed / {peer} speed: {middle:.2f} ({low:.2f} to {high:.2f})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
