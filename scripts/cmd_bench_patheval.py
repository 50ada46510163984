"""`pilotage bench patheval`: which of two paths suits a scenario; by rule, and by models."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pilotage.envs.patheval import symbolic
from pilotage.envs.patheval.evaluation import Answer, by_scenario, evaluate, summary
from pilotage.envs.patheval.prompts import SHOWS
from pilotage.envs.patheval.questions import make_questions
from pilotage.envs.patheval.symbolic import Ask
from pilotage.episodes.names import unknown
from pilotage.scripts.language_solvers import NAMES, speaker_of
from pilotage.scripts.tabulate import show_rows, write_rows

OPTIONS = ("Path 1", "Path 2")
SOLVERS: dict[str, Ask] = {
    "rule": symbolic.solve_by_rule,
    "no-scenario": symbolic.without_scenario,
    "shorter": symbolic.shorter,
    "first": symbolic.always_first,
    "random": symbolic.at_random,
}


def patheval(
    *,
    split: str,
    n_each: int,
    families: Sequence[str],
    margin: float,
    opposed: bool,
    show: str,
    solvers: Sequence[str],
    seed: int,
    out: Path,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench patheval --help`. A row a solver; `scenarios.json` has all by scenario.

    Raises KeyError for an unknown solver, ValueError for an unknown `show` and what
    `make_questions` refuses.
    """
    if show not in SHOWS:
        raise ValueError(f"--show must be one of {', '.join(SHOWS)}, got {show!r}")
    asks = {name: solver_of(name) for name in solvers}
    questions = make_questions(
        split, n_each, seed=seed, families=families or None, margin=margin, opposed=opposed
    )
    n_scenes = len({(q.scene.family, q.scene.seed) for q in questions})
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    scenarios: dict[str, list[dict[str, Any]]] = {}
    for name, ask in asks.items():
        print(f"{name}: {2 * len(questions)} prompts", file=sys.stderr, flush=True)
        answers = evaluate(questions, ask, show=show)
        rows.append({"solver": name, **summary(answers)})
        scenarios[name] = by_scenario(answers)
        _keep(answers, out / f"replies-{name.replace('/', '_').replace(':', '-')}.txt")
    (out / "scenarios.json").write_text(json.dumps(scenarios, indent=1) + "\n")
    kind = f"{show}, {'opposed' if opposed else 'single'}"
    title = f"PathEval {split}, {len(questions)} questions in {n_scenes} scenes, {kind}"
    write_rows(rows, out, "patheval", title, as_json=as_json)
    if not as_json:
        right = _right_in_both(scenarios)
        show_rows(right, "right in both orders (95 %)", out / "scenarios.md", width=170)
    return rows


def _right_in_both(scenarios: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row a scenario, a column a solver."""
    names = list(scenarios)
    return [
        {key: rows[0][key] for key in ("scenario", "n")}
        | {name: row["both (95 %)"] for name, row in zip(names, rows)}
        for rows in zip(*scenarios.values())
    ]


def solver_of(name: str) -> Ask:
    """A solver of SOLVERS, or `free:MODEL` or `choice:MODEL` for a language model.

    Raises KeyError for another name, ValueError for a model that cannot be opened.
    """
    spoken = speaker_of(name)
    if spoken is not None:
        speaker, free = spoken
        return speaker.free if free else partial(speaker.chosen, options=OPTIONS)
    if name not in SOLVERS:
        raise unknown("solver", name, [*SOLVERS, *NAMES])
    return SOLVERS[name]


def _keep(answers: Sequence[Answer], path: Path) -> None:
    """All replies, a line each: truth as given, choice, reply; then of the other order."""
    lines = []
    for a in answers:
        for truth, choice, reply in zip((a.truth, 3 - a.truth), a.choices, a.replies):
            lines.append(f"{truth}\t{choice or '-'}\t{' '.join(reply.split())}")
    path.write_text("\n".join(lines) + "\n")
