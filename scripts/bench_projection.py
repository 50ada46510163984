"""Value vectors per second onto the vocabulary, and peak memory, against one naive full product.

    python -m pilotage.scripts.bench_projection [--layers 30] [--naive-layers 2] [--json]

A random model of the size of SmolLM-135M: 30 layers of 1,536 value vectors of width 576, vocabulary
49,152. "naive" multiplies a whole layer by the whole unembedding and calls `topk`; "all at once"
is what that would hold in memory for all layers (computed, not run). Peaks are of the process above
what it held before, each measured in a process of its own; times are processor time.
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
    layers = layers[: args.naive_layers] if method == "naive" else layers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for values in layers:
        if method == "naive":
            (values @ embeddings.T).topk(args.top_k, dim=1)
        else:
            project(values, embeddings, top_k=args.top_k, max_bytes=args.max_mib * 2**20)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "values_per_s": len(layers) * args.neurons / seconds,
        "peak_mib": peak / 1024,
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
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--naive-layers", type=int, default=2)
    parser.add_argument("--neurons", type=int, default=1536)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--max-mib", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("naive", "streamed"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.only:
        print(json.dumps(run_one(args.only, args)))
        return
    report = compare(args, [a for a in sys.argv[1:] if a != "--json"])
    print(json.dumps(report) if args.json else as_text(report))


def compare(args: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """Both methods in turn, and the ratio of their speeds in each turn."""
    runs = [
        {method: in_own_process(method, arguments) for method in ("naive", "streamed")}
        for _ in range(args.repeats)
    ]
    ratios = sorted(r["streamed"]["values_per_s"] / r["naive"]["values_per_s"] for r in runs)
    middle = {m: sorted((r[m] for r in runs), key=_speed)[len(runs) // 2] for m in runs[0]}
    everything = 4 * args.layers * args.neurons * args.vocabulary / 2**20
    return {
        "settings": vars(args),
        **middle,
        "all_at_once_mib": everything,
        "speed_ratio": ratios[len(ratios) // 2],
        "speed_ratio_low": ratios[0],
        "speed_ratio_high": ratios[-1],
    }


def _speed(run: dict[str, float]) -> float:
    return run["values_per_s"]


def as_text(report: dict[str, Any]) -> str:
    """The report as lines."""
    lines = [str(report["settings"])]
    for method in ("naive", "streamed"):
        run = report[method]
        lines.append(
            f"{method:10} {run['values_per_s']:10.0f} values/s   peak {run['peak_mib']:8.0f} MiB "
            f"({run['layers']:.0f} layers, one at a time)"
        )
    lines.append(f"all layers at once would hold {report['all_at_once_mib']:.0f} MiB of logits")
    lines.append(
        f"streamed / naive speed: {report['speed_ratio']:.2f} "
        f"({report['speed_ratio_low']:.2f} to {report['speed_ratio_high']:.2f})"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
