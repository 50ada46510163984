"""`pilotage doctor`: what this machine has, what is missing, and the command that gets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from pilotage.scripts import doctor_checks as checks
from pilotage.scripts.doctor_checks import Check

# Each gives one or more lines of the table; none may raise (see `collect`).
CHECKS: tuple[Callable[[], Sequence[Check]], ...] = (
    checks.check_python,
    checks.check_packages,
    checks.check_torch,
    checks.check_pybullet,
    checks.check_numba,
    checks.check_video,
    checks.check_browser,
    checks.check_habitat,
    checks.check_agents,
    checks.check_data,
    checks.check_machine,
)
MARKS = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}


def run_doctor(as_json: bool = False) -> int:
    """Print a table (or one JSON object) and return the exit code.

    1 when something that Pilotage needs is missing or broken; optional parts never count.
    """
    found = collect(CHECKS)
    problems = [check for check in found if check.needed and check.status != "ok"]
    if as_json:
        rows = [check.to_json() for check in found]
        print(json.dumps({"ok": not problems, "checks": rows}, indent=1))
    else:
        _print_table(found, problems)
    return 1 if problems else 0


def collect(functions: Sequence[Callable[[], Sequence[Check]]]) -> list[Check]:
    """All checks. One that fails itself becomes a line that says so; the others go on."""
    found: list[Check] = []
    for function in functions:
        try:
            found += function()
        except Exception as error:
            name = function.__name__.removeprefix("check_")
            found.append(Check(name, "broken", f"the check itself failed: {error!r}", needed=True))
    return found


def _print_table(found: Sequence[Check], problems: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="pilotage doctor", title_justify="left")
    for heading in ("what", "state", "found", "to get it"):
        table.add_column(heading, overflow="fold")
    for check in found:
        mark = MARKS[check.status] + ("" if check.needed or check.status == "ok" else " (optional)")
        remedy = "" if check.status == "ok" else check.remedy
        table.add_row(check.name, mark, escape(check.detail), escape(remedy))
    console = Console()
    console.print(table)
    if problems:
        names = ", ".join(check.name for check in problems)
        console.print(f"[red]{len(problems)} needed part(s) missing or broken:[/] {names}")
    else:
        console.print("[green]Everything that Pilotage needs is here.[/]")
