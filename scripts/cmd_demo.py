"""`pilotage demo`: the shipped agent, steered while it acts, measured and shown, in minutes."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from pilotage.scripts.cmd_run import play
from pilotage.scripts.cmd_view import write_html
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import show

CONDITIONS = ("baseline", "fast", "fast:random-matched", "fast:prompt", "slow", "slow:prompt")


def demo(*, quick: bool, out: Path, quiet: bool) -> None:
    """Paired episodes on held-out tabletop tasks under `CONDITIONS`; a table and a page."""
    started = time.perf_counter()
    n = 2 if quick else 8
    # What the shipped agent can do: its success in the other families is in the README.
    tasks = make_tasks("tabletop", "test", n, families=["reach", "lift"], manners="none")
    print(f"{n} held-out tasks x {len(CONDITIONS)} conditions, side by side in one batch")
    records, run = play(
        env="tabletop",
        agent="nano",
        tasks=tasks,
        condition_names=CONDITIONS,
        out=out,
        n_slots=16,
        narrate=True,
        quiet=quiet,
    )
    show(records, out=out)
    print(f"report: {write_html(run)}")
    command = "pilotage" if shutil.which("pilotage") else sys.argv[0]  # as it can be typed here
    print(f"{time.perf_counter() - started:.0f} s. Next: {command} view {out}   (Rerun viewer)")
