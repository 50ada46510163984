"""Episodes under varied doses, from which controllers, guards and gates of a concept are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import load_table, parse_condition
from pilotage.episodes.types import Condition, EpisodeRecord, Task
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import agent_folder, make_tasks
from pilotage.steering.responses import Excitation

EDIT, ACTIONS = "excite", "excite-actions"  # names of conditions, with a seed behind them


@dataclass(frozen=True)
class Plays:
    """What is played. doses: multiples of the concept's coefficients, the last of them also with a
    random control. levels: multipliers of an edit, action_levels: of actions, to identify by.
    n_excitations: sequences of levels. With few of them a level would stand for a time of the
    episode, and be taken for the cause of what happens then.
    """

    response_episodes: int = 6
    train_episodes: int = 16
    val_episodes: int = 10
    doses: tuple[float, ...] = (1.0, 2.5)
    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    action_levels: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    n_excitations: int = 6
    families: tuple[str, ...] = ("reach", "lift")

    def tasks(self, split: str, n: int, seed: int) -> list[Task]:
        """Plain tasks."""
        options: dict[str, Any] = {"families": self.families, "manners": "none"}
        return make_tasks("tabletop", split, n, seed=seed, **options)


def steered_names(concept: str, plays: Plays) -> list[str]:
    """The conditions under which outcomes are learned."""
    doses = [f"{concept}@{dose:g}" for dose in plays.doses]
    return ["baseline", *doses, f"{doses[-1]}:random-matched-1"]


def excitations(concept: str, folder: Path, plays: Plays) -> list[Condition]:
    """Conditions whose multiplier of the edit, or of the actions, plays random levels."""
    quantity = load_table(folder)[concept].get("feedback", {}).get("quantity", "speed")
    edits = parse_condition(concept, folder).spec["interventions"]
    found = []
    for seed in range(plays.n_excitations):
        law = Excitation(quantity, plays.levels, seed=seed).to_spec()
        found.append(Condition(f"{EDIT}-{seed}", {"interventions": edits, "feedback": law}))
    for seed in range(plays.n_excitations):
        law = Excitation(quantity, plays.action_levels, seed=seed).to_spec()
        found.append(Condition(f"{ACTIONS}-{seed}", {"feedback": law}))
    return found


def record_responses(
    agent: str, concept: str, plays: Plays, *, out: Path, seed: int, quiet: bool
) -> list[EpisodeRecord]:
    """Train episodes whose multipliers excite, played or resumed in `out`."""
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=plays.tasks("train", plays.response_episodes, seed),
        conditions=excitations(concept, agent_folder(agent, "tabletop"), plays),
        out=out / "response",
        seed=seed,
        frames="none",
        quiet=quiet,
    )
    return [r for r in records if not r.end.is_error]


def record_outcomes(
    agent: str,
    concept: str,
    split: str,
    plays: Plays,
    *,
    sites: Sequence[str],
    out: Path,
    seed: int,
    quiet: bool,
) -> list[EpisodeRecord]:
    """Episodes of a split under doses that help and that hurt, played or resumed in `out`; the
    states at `sites` are in their traces."""
    n = plays.train_episodes if split == "train" else plays.val_episodes
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=plays.tasks(split, n, seed + 1),
        condition_names=steered_names(concept, plays),
        out=out / split,
        seed=seed,
        frames="none",
        record_sites=sites,
        quiet=quiet,
    )
    return [r for r in records if not r.end.is_error]
