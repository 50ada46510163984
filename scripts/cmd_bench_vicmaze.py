"""`pilotage bench vicmaze`: worded mazes with and without the states that moves lead to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotage.envs.maze import make_tasks
from pilotage.envs.maze.interleaved import WAYS, Ask, Attempt, attempts_of, play
from pilotage.envs.maze.interleaved_solvers import Exact, Random
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import paired_bootstrap, wilson_interval
from pilotage.scripts.language_solvers import NAMES, speaker_of
from pilotage.scripts.tabulate import show_rows, write_rows

if TYPE_CHECKING:
    from pilotage.agents.replies import LanguageReplies

SOLVERS = ("exact", "noisy", "forgetful", "legal-random", "random")
NOISE = 0.2
# What seeing the states brings, and which part of it is due to having turns at all.
GAINS = (("interleaved", "whole"), ("interleaved", "turns"))


def vicmaze(
    *,
    split: str,
    n: int,
    size: int,
    family: str,
    level: int,
    solvers: Sequence[str],
    ways: Sequence[str],
    seed: int,
    out: Path,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench vicmaze --help`. A row a solver and way, and the thinking gains.

    Raises KeyError for an unknown solver or way, ValueError for what `make_tasks` refuses.
    """
    for way in ways:
        if way not in WAYS:
            raise unknown("way", way, WAYS)
    asks = {name: solver_of(name, seed) for name in solvers}
    tasks = make_tasks(split, n, seed=seed, families=[family], size=size)
    out.mkdir(parents=True, exist_ok=True)
    rows, gains = [], []
    for name, ask in asks.items():
        played: dict[str, list[Attempt]] = {}
        for way in ways:
            print(f"{name}: {way}", file=sys.stderr, flush=True)
            played[way] = attempts_of(tasks, way, level=level, seed=seed)
            play(played[way], ask)
            rows.append({"solver": name, "asked": way, **row_of(played[way])})
        gains += [
            {"solver": name, "gain": f"{more} over {less}", **gain_of(played[more], played[less])}
            for more, less in GAINS
            if more in played and less in played
        ]
    title = f"{family} mazes of {size} x {size}, {split}, prompt level {level}"
    write_rows(rows, out, "vicmaze", title, as_json=as_json)
    if gains and not as_json:
        show_rows(gains, "thinking gain: difference in reached goals", out / "gains.md", width=120)
    return [*rows, *gains]


def solver_of(name: str, seed: int) -> Ask:
    """One of SOLVERS, or `free:MODEL` or `choice:MODEL` for a language model.

    Raises KeyError for another name, ValueError for a model that cannot be opened.
    """
    spoken = speaker_of(name)
    if spoken is not None:
        return _language(*spoken)
    made: dict[str, Ask] = {
        "exact": Exact(),
        "noisy": Exact(noise=NOISE, seed=seed),
        "forgetful": Exact(forgets=True),
        "legal-random": Random(legal=True, seed=seed),
        "random": Random(seed=seed),
    }
    if name not in made:
        raise unknown("solver", name, [*SOLVERS, *NAMES])
    return made[name]


def _language(speaker: LanguageReplies, free: bool) -> Ask:
    """All moves at once can only be written, whatever `free` says."""

    def ask(prompts: Sequence[str], options: Sequence[str] | None) -> list[str]:
        if options is None:
            return speaker.free(prompts, max_new_tokens=96)
        return speaker.free(prompts) if free else speaker.chosen(prompts, options)

    return ask


def row_of(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """`reached (95 %)`: the goal (or the right list); `shortest`: by the fewest moves, none of them
    illegal; `recall`: of the shortest way's cells; `legal`: share of all moves; `turns`: a maze;
    `unreadable`: replies, a number. What a choice does not have is empty."""
    n = len(attempts)
    within = wilson_interval(sum(a.reached for a in attempts), n)
    row: dict[str, Any] = {
        "n": n,
        "reached (95 %)": f"{within.estimate:.3f} ({within.low:.3f}, {within.high:.3f})",
    }
    moved = n > 0 and attempts[0].way != "choice"
    legal = [step for a in attempts for step in a.legal]
    shortest = [a.reached and len(a.moves) == len(a.route) - 1 for a in attempts]
    row["shortest"] = _mean(shortest) if moved else ""
    row["recall"] = _mean([a.recall for a in attempts]) if moved else ""
    row["legal"] = _mean(legal) if moved and legal else ""
    row["turns"] = round(float(np.mean([a.n_turns for a in attempts])), 1) if n else ""
    row["unreadable"] = sum(a.n_unreadable for a in attempts)
    return row


def gain_of(more: Sequence[Attempt], less: Sequence[Attempt]) -> dict[str, Any]:
    """The difference in reached goals over the same mazes, bootstrapped over mazes."""
    difference = np.array([float(a.reached) - float(b.reached) for a, b in zip(more, less)])
    found = paired_bootstrap(difference)
    return {
        "n": len(difference),
        "difference (95 %)": f"{found.estimate:+.3f} ({found.low:+.3f}, {found.high:+.3f})",
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)
