"""What steering costs: steered against unsteered forwards, one mixed batch against single runs.

    python -m pilotage.scripts.bench_steering
    python -m pilotage.scripts.bench_steering --rows 32 --width 512 --layers 8 --json

The model is a random LlamaForCausalLM. Steered and unsteered forwards alternate; a ratio is taken
inside each pair, and the median of the pairs is printed with the 10th and 90th percentile. On a
CPU it is processor time, so that other programs on the machine count less. Every prefill and every
seventh decode begins a new env step, at which the doses of the last one are read, as an agent does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.agents.vla.cache import CACHE_ARGUMENT
from pilotage.scripts.bench_models import random_llama
from pilotage.steering import Intervention, Steerer, random_matched

DECODES_PER_STEP = 7  # action tokens
Forward = Callable[[], Any]
Timed = tuple[Forward, Steerer | None]


def make_conditions(model: nn.Module, width: int, layer: int) -> dict[str, list[Intervention]]:
    """Baseline, three edits with the matched control of each, and a set point: eight."""
    direction = torch.randn(width, generator=torch.Generator().manual_seed(1))
    direction /= direction.norm()
    resid, neurons = f"layers.{layer}.resid:out", f"layers.{layer}.mlp.down_proj:in"
    edits = {
        "add": Intervention("add", resid, 4.0, direction=direction),
        "clamp": Intervention("clamp", neurons, 10.0, neurons=torch.arange(0, 40, 2)),
        "ablate": Intervention("ablate", resid, 1.0, direction=direction),
    }
    conditions: dict[str, list[Intervention]] = {"baseline": []}
    for name, edit in edits.items():
        conditions[name] = [edit]
        conditions[f"{name} control"] = [random_matched(edit, model, 0)]
    held = Intervention("setpoint", resid, 1.0, direction=direction, bounds=(1.0, 2.0))
    conditions["setpoint"] = [held]
    return conditions


class Bench:
    """Forwards of one model with and without a Steerer around them."""

    def __init__(self, model: Any, args: argparse.Namespace) -> None:
        self.model, self.args = model, args
        self.n_forwards = {"prefill": 0, "decode": 0}

    def prefill(self, rows: int, steerer: Steerer | None) -> Forward:
        """A forward of `rows` x `tokens` without a cache."""
        ids = torch.zeros(rows, self.args.tokens, dtype=torch.long, device=self.args.device)
        groups = np.zeros(ids.shape, np.int8)
        return lambda: self._forward(ids, groups, "prefill", steerer, use_cache=False)

    def decode(self, rows: int, steerer: Steerer | None) -> Forward:
        """A prefill's cache extended by one token, then cropped again."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        ids = torch.zeros(rows, self.args.tokens, dtype=torch.long, device=self.args.device)
        with torch.no_grad():
            self.model(ids, use_cache=True, **{CACHE_ARGUMENT: cache})
        groups = np.zeros((rows, 1), np.int8)

        def step() -> None:
            self._forward(
                ids[:, :1], groups, "decode", steerer, use_cache=True, **{CACHE_ARGUMENT: cache}
            )
            cache.crop(-1)

        return step

    @torch.no_grad()
    def _forward(
        self,
        ids: torch.Tensor,
        groups: np.ndarray,
        phase: str,
        steerer: Steerer | None,
        **options: Any,
    ) -> None:
        rows = len(ids)
        if steerer is not None:
            step, token = divmod(self.n_forwards[phase], DECODES_PER_STEP)
            if phase == "prefill":
                step, token = self.n_forwards[phase], 0
            self.n_forwards[phase] += 1
            if token == 0:
                steerer.last_dose()
            live, steps = np.ones(rows, bool), np.full(rows, step)
            steerer.begin(slice(0, rows), groups, phase, token, steps, live)
        self.model(ids, logits_to_keep=1, **options)

    def timer(self, parts: Sequence[Timed]) -> Callable[[], float]:
        """A call that measures all of these forwards together."""
        return lambda: sum(self.seconds(forward, steerer) for forward, steerer in parts)

    def seconds(self, forward: Forward, steerer: Steerer | None) -> float:
        """Seconds of one call; the Steerer, if any, is attached before and removed after."""
        with steerer or contextlib.nullcontext():
            return seconds(forward, self.args.device)


def seconds(work: Forward, device: str) -> float:
    """Processor time of a call on a CPU; on CUDA the device is waited for."""
    if device.startswith("cuda"):
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    work()
    return time.process_time() - start


def paired(
    plain: Callable[[], float], other: Callable[[], float], repeats: int
) -> dict[str, float]:
    """Seconds of both, each measured by a call, and other / plain in alternating pairs."""
    times = np.empty((repeats + 2, 2))
    for i in range(repeats + 2):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            times[i, which] = (plain, other)[which]()
    times = times[2:]  # without the first two, which warm up
    ratios = times[:, 1] / times[:, 0]
    low, middle, high = np.percentile(ratios, [10, 50, 90])
    return {
        "plain_s": float(np.median(times[:, 0])),
        "other_s": float(np.median(times[:, 1])),
        "ratio": float(middle),
        "ratio_p10": float(low),
        "ratio_p90": float(high),
    }


def cost_of_steering(bench: Bench, conditions: dict[str, list[Intervention]]) -> dict[str, Any]:
    """Steered / unsteered by phase: hooks idle, one edit in all rows, all conditions mixed."""
    rows = bench.args.rows
    results: dict[str, Any] = {}
    mixed = list(conditions.values())
    settings = {
        "attached, all rows baseline": [[]] * rows,
        "add in every row": [conditions["add"]] * rows,
        "clamp 20 neurons in every row": [conditions["clamp"]] * rows,
        f"{len(mixed)} conditions mixed": [mixed[i % len(mixed)] for i in range(rows)],
    }
    chosen = bench.args.phase
    for phase in ("prefill", "decode") if chosen == "both" else (chosen,):
        make = getattr(bench, phase)
        for name, per_row in settings.items():
            steerer = Steerer(bench.model, n_rows=rows)
            for row, interventions in enumerate(per_row):  # type: ignore[arg-type, var-annotated]
                steerer.set_row(row, interventions)
            plain, steered = [(make(rows, None), None)], [(make(rows, steerer), steerer)]
            results[f"{phase}: {name}"] = paired(
                bench.timer(plain), bench.timer(steered), bench.args.repeats
            )
    return results


def one_batch_against_runs(
    bench: Bench, conditions: dict[str, list[Intervention]]
) -> dict[str, float]:
    """Decode steps of N conditions as one batch of N rows, against N forwards of one row each."""
    steerer = Steerer(bench.model, n_rows=len(conditions))
    for row, interventions in enumerate(conditions.values()):
        steerer.set_row(row, interventions)
    together: list[Timed] = [(bench.decode(len(conditions), steerer), steerer)]
    singles: list[Timed] = []
    for interventions in conditions.values():
        single = Steerer(bench.model, n_rows=1)
        single.set_row(0, interventions)
        singles.append((bench.decode(1, single), single))
    return paired(bench.timer(together), bench.timer(singles), bench.args.repeats)


def main() -> None:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--phase", choices=("prefill", "decode", "both"), default="both")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = random_llama(
        width=args.width, layers=args.layers, vocabulary=args.vocabulary, device=args.device
    )
    bench = Bench(model, args)
    conditions = make_conditions(model, args.width, args.layers // 2)
    report = {
        "settings": vars(args),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
        "steered / unsteered": cost_of_steering(bench, conditions),
        f"{len(conditions)} runs / one batch": one_batch_against_runs(bench, conditions),
    }
    print(json.dumps(report) if args.json else as_text(report))


def as_text(report: dict[str, Any]) -> str:
    """The report as lines of names, milliseconds and ratios."""
    lines = [f"{report['machine']}; {report['settings']}"]
    for title, entries in report.items():
        if title in ("settings", "machine"):
            continue
        for name, pair in (entries if "ratio" not in entries else {"decode": entries}).items():
            lines.append(f"{title:20} {name:42} {pair_as_text(pair)}")
    return "\n".join(lines)


def pair_as_text(r: dict[str, float]) -> str:
    """What `paired` found: milliseconds of both, and the ratio with its percentiles."""
    return (
        f"{1e3 * r['plain_s']:8.1f} ms {1e3 * r['other_s']:8.1f} ms "
        f"ratio {r['ratio']:.3f} ({r['ratio_p10']:.3f} to {r['ratio_p90']:.3f})"
    )


if __name__ == "__main__":
    main()
