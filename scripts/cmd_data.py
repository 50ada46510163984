"""`pilotage data`: how to obtain the public VLN data sets, and whether what is there is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pilotage.envs.r2r.catalogue import DATA_SETS
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.files import VARIABLE, data_root
from pilotage.envs.r2r.inspection import Finding, inspect

MARKS = {"ok": "green", "another": "yellow", "missing": "yellow", "damaged": "red"}


def data(*, root: Path | None, synthetic: Path | None, as_json: bool) -> int:
    """See `pilotage data --help`. Returns the exit code: 1 when something is damaged."""
    if synthetic is not None:
        from pilotage.envs.r2r.synthetic import write_synthetic

        scans = write_synthetic(synthetic)
        print(f"{len(scans)} invented buildings in {synthetic}; use {VARIABLE}={synthetic}")
        return 0
    source = R2RData(root)
    findings = inspect(source)
    if as_json:
        rows = [asdict(f) for f in findings]
        print(json.dumps({"root": str(source.root), "findings": rows}, indent=1))
    else:
        _show(findings, root)
    return int(any(f.state == "damaged" for f in findings))


def _show(findings: list[Finding], root: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(title=f"VLN data in {data_root(root)}", title_justify="left")
    for heading in ("data set", "split", "state", "found"):
        table.add_column(heading, overflow="fold")
    for f in findings:
        colour = MARKS[f.state]
        table.add_row(f.name, f.split, f"[{colour}]{f.state}[/]", escape(f.detail))
    console.print(table)
    wanted = {f.name for f in findings if f.state != "ok"}
    for known in DATA_SETS:
        if known.name in wanted:
            console.print(
                f"[bold]{known.name}[/]: {escape(known.what)}\n  from {escape(known.source)}\n"
                f"  to   {escape(known.files)}",
                highlight=False,
                soft_wrap=True,
            )
    if wanted:
        console.print(
            f"Put them below one folder and name it: {VARIABLE}=FOLDER. They are annotations of "
            f"Matterport3D and are not passed on by this project.\n{DATA_SETS[0].terms}\n"
            "val_unseen is for reporting: nothing may be tuned on it. Without any of them: "
            "`pilotage data --synthetic FOLDER` writes invented buildings in the same layout.",
            highlight=False,
            soft_wrap=True,
        )
