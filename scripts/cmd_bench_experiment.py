"""`pilotage bench experiment`: what every steering method does for every concept, beside the words,
the actions and chance.

For each concept: all edits are fitted to train episodes; a grid of doses is played on val tasks
(`val.md`), and the largest that keeps 95 % of the baseline's success is frozen (`choices.json`); it
is played once on test tasks (`test.md`) beside the prompt, the edit of actions, and random controls
of the same norm. A killed run goes on by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.names import unknown
from pilotage.episodes.runs import RunFolder
from pilotage.episodes.types import BASELINE, Condition, EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.experiment_choice import (
    KEEP,
    Choice,
    choose,
    load_choices,
    points,
    save_choices,
)
from pilotage.scripts.experiment_concepts import CONCEPTS, Concept, as_settings, measure
from pilotage.scripts.experiment_edits import Doses, Edit, check_methods, make_edits
from pilotage.scripts.experiment_table import OF_CONTROLS, PROMPT, Line, table
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import show_rows

SCALING = "action scaling"
WIDTH = 200  # characters of a table on the screen
QUICK_TASKS, QUICK_PAIRS = 4, 32
QUICK_METHODS = ("mean-difference", "ot-gaussian", "clamp")


@dataclass(frozen=True)
class Settings:
    """What is asked for on the command line."""

    agent: str
    episodes: int
    val_episodes: int
    families: tuple[str, ...]  # none: the concept's own
    methods: tuple[str, ...]
    layer: int
    pairs: int
    doses: Doses
    out: Path
    slots: int
    seed: int
    quiet: bool


def experiment(
    settings: Settings,
    concepts: Sequence[str],
    *,
    quick: bool = False,
    report: bool = False,
    as_json: bool = False,
) -> list[dict[str, Any]]:
    """See `pilotage bench experiment --help`. Returns the rows of all concepts."""
    for name in concepts:
        if name not in CONCEPTS:
            raise unknown("concept", name, CONCEPTS)
    if quick:
        settings = replace(
            settings,
            episodes=QUICK_TASKS,
            val_episodes=QUICK_TASKS,
            pairs=QUICK_PAIRS,
            methods=settings.methods or QUICK_METHODS,
        )
    settings = replace(settings, methods=tuple(check_methods(settings.methods)))
    rows = []
    for name in concepts or CONCEPTS:
        concept = CONCEPTS[name]
        if settings.families:
            concept = replace(concept, families=settings.families)
        rows += _Run(settings, concept).rows(report=report, as_json=as_json)
    if as_json:
        print(json.dumps(rows, indent=1))
    return rows


@dataclass(frozen=True)
class _Run:
    """The experiment on one concept, in a folder of its own."""

    settings: Settings
    concept: Concept

    @property
    def folder(self) -> Path:
        return self.settings.out / self.concept.name

    def rows(self, *, report: bool, as_json: bool) -> list[dict[str, Any]]:
        """Play what is not played yet (with `report`: nothing), and tabulate what is."""
        s = self.settings
        if report and not self._has("val"):
            raise ValueError(f"{self.folder} has no episodes yet; leave --report out")
        self.folder.mkdir(parents=True, exist_ok=True)
        edits = make_edits(
            self.folder,
            self.concept,
            s.methods,
            s.doses,
            agent=s.agent,
            layer=s.layer,
            pairs=s.pairs,
            seed=s.seed,
            quiet=s.quiet,
        )
        if report and not self._has("test"):
            return self._grid(edits, self._played("val"), as_json)
        choices = self._chosen(edits, as_json)
        conditions, lines = planned(edits, choices, self.concept, s.seed)
        test = self._played("test") if report else self._play("test", s.episodes, conditions)
        return self._show("test", s.episodes, test, lines, as_json)

    def _show(
        self,
        split: str,
        n: int,
        records: Sequence[EpisodeRecord],
        lines: Sequence[Line],
        as_json: bool,
    ) -> list[dict[str, Any]]:
        """Tabulate a split, into `SPLIT.json` in the folder; and on the screen and into `SPLIT.md`
        unless one JSON document of all concepts is printed at the end."""
        rows = table(records, lines, self.concept)
        families = ", ".join(self.concept.families)
        title = f"{self.concept.name}: {rows[0]['n']} of {n} paired {split} tasks of {families}"
        if not any(line.control for line in lines):
            rows = [{k: v for k, v in row.items() if k not in OF_CONTROLS} for row in rows]
        (self.folder / f"{split}.json").write_text(json.dumps(rows, indent=1) + "\n")
        if not as_json:
            show_rows(rows, title, self.folder / f"{split}.md", width=WIDTH)
        return rows

    def _grid(
        self, edits: dict[str, Edit], records: Sequence[EpisodeRecord], as_json: bool
    ) -> list[dict[str, Any]]:
        """Every dose of every edit on val: how many were tried, and what they did."""
        lines = [Line(BASELINE.name), Line(PROMPT)]
        lines += [
            Line(at(e.method, dose), e.coefficient(dose))
            for e in edits.values()
            for dose in e.doses
        ]
        return self._show("val", self.settings.val_episodes, records, lines, as_json)

    def _has(self, split: str) -> bool:
        return (self.folder / split / "manifest.json").is_file()

    def _played(self, split: str) -> list[EpisodeRecord]:
        return list(RunFolder.open(self.folder / split).records(frames=False))

    def _play(self, split: str, n: int, conditions: Sequence[Condition]) -> list[EpisodeRecord]:
        s, env = self.settings, self.concept.env
        plain: dict[str, Any] = {"manners": "none"} if env == "tabletop" else {}
        tasks = make_tasks(env, split, n, seed=s.seed, families=self.concept.families, **plain)
        records, _ = play(
            env=env,
            agent=s.agent,
            tasks=tasks,
            conditions=conditions,
            out=self.folder / split,
            n_slots=s.slots,
            seed=s.seed,
            frames="none",
            quiet=s.quiet,
        )
        return records

    def _chosen(self, edits: dict[str, Edit], as_json: bool) -> dict[str, Choice]:
        """The frozen dose of every edit, and the factor of actions that gives the prompt's effect;
        played on val if they are not on the disk."""
        s, path = self.settings, self.folder / "choices.json"
        settings = {
            **as_settings(self.concept),
            "agent": s.agent,
            "val_episodes": s.val_episodes,
            "keep": KEEP,
            "seed": s.seed,
            "grid": {name: list(edit.doses) for name, edit in edits.items()},
        }
        found = load_choices(path, settings)
        if found is None:
            found = self._calibrate(edits, as_json)
            save_choices(path, settings, found)
        return found

    def _calibrate(self, edits: dict[str, Edit], as_json: bool) -> dict[str, Choice]:
        conditions = [BASELINE, _prompt(self.concept)]
        conditions += [
            e.condition(dose, at(e.method, dose)) for e in edits.values() for dose in e.doses
        ]
        records = self._play("val", self.settings.val_episodes, conditions)
        self._grid(edits, records, as_json)
        chosen = {
            name: choose(*points(records, {at(name, dose): dose for dose in edit.doses}))
            for name, edit in edits.items()
        }
        if self.concept.scales_actions:
            chosen[SCALING] = Choice(_ratio(records, self.concept), True)
        return chosen


def at(method: str, dose: float) -> str:
    """The name of a method's condition on val."""
    return f"{method}@{dose:g}"


def _prompt(concept: Concept) -> Condition:
    return Condition(PROMPT, {"prompt_suffix": concept.prompt})


def _ratio(records: Sequence[EpisodeRecord], concept: Concept) -> float:
    """The prompt's mean quantity over the baseline's: the factor of actions that is its twin."""
    means = [
        np.nanmean(
            [measure(r, concept) for r in records if r.condition == n and not r.end.is_error]
        )
        for n in (PROMPT, BASELINE.name)
    ]
    return round(float(means[0] / means[1]), 3)


def planned(
    edits: dict[str, Edit],
    choices: dict[str, Choice],
    concept: Concept,
    seed: int,
) -> tuple[list[Condition], list[Line]]:
    """The conditions of the test run, and a line of the table for each that is no random control.

    Edits of one kind and dose share a control: what it delivers has the same norm.
    """
    conditions = [BASELINE, _prompt(concept)]
    lines = [Line(BASELINE.name), Line(PROMPT)]
    if concept.scales_actions:
        scaling = choices[SCALING].dose
        conditions.append(Condition(SCALING, {"action_scale": scaling}))
        lines.append(Line(SCALING, scaling))
    controls: dict[str, Condition] = {}
    for name, edit in edits.items():
        choice = choices[name]
        conditions.append(edit.condition(choice.dose, name))
        control = None
        if edit.twin:
            control = f"{edit.twin}@{choice.dose:g}:random"
            controls[control] = edits[edit.twin].control(choice.dose, control, seed)
        lines.append(Line(name, edit.coefficient(choice.dose), control, choice.kept))
    return [*conditions, *controls.values()], lines
