"""Prompted agents in the invented building: the contract, the ceiling, failures, silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.agents.vln.prompted.agent import PromptedAgent
from pilotage.agents.vln.prompted.asking import Backend, Reply, Request
from pilotage.agents.vln.prompted.bank import Bank, Recorder
from pilotage.agents.vln.prompted.choosers import Nearest, Oracle
from pilotage.agents.vln.prompted.embedding import HashedWords
from pilotage.agents.vln.prompted.scheme import Scheme, StopRule
from pilotage.agents.vln.prompted.schemes import a2nav, mapgpt, navgpt, select2plan
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, EpisodeRecord, Task


class Parrot:
    """Says the same to everybody; where it is told so, nothing at all to prompts with a word."""

    name = "parrot"
    needs_expert = False

    def __init__(self, text: str, *, deaf_to: str = "", writes: bool = False) -> None:
        self._text, self._deaf_to, self.writes = text, deaf_to, writes
        self.heard: list[Request] = []

    def manifest(self) -> dict[str, str]:
        return {"backend": self.name}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        self.heard += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        if self._deaf_to and self._deaf_to in request.prompt:
            return Reply("", 0, 0, "no answer in 2 attempts, the last: timeout", {"timeout": 2})
        return Reply(self._text, 5, 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder)
    return folder


@pytest.fixture(scope="module")
def schemes(root: Path) -> dict[str, Scheme]:
    recorder = Recorder()
    play(recorder, make_tasks("train", 4, data=root), root)
    bank = Bank(recorder.examples, HashedWords(64))
    return {s.name: s for s in (mapgpt(), navgpt(), a2nav(), select2plan(bank))}


def play(agent, tasks: Sequence[Task], root: Path, n_slots: int = 3) -> list[EpisodeRecord]:
    envs = R2RVectorEnv(n_slots, expert_actions=True, data=root)
    try:
        return run_episodes(envs, agent, tasks, [BASELINE], frames="none")
    finally:
        envs.close()


def prompted(scheme: Scheme, backend: Backend) -> PromptedAgent:
    return PromptedAgent(scheme, backend)


@pytest.mark.parametrize("name", ["mapgpt", "navgpt", "a2nav", "s2p"])
def test_the_contract_of_an_agent(root: Path, schemes: dict[str, Scheme], name: str) -> None:
    tasks = [replace(t, max_steps=6) for t in make_tasks("train", 3, data=root)]
    check_agent(
        prompted(schemes[name], Nearest(HashedWords(64))),
        lambda n: R2RVectorEnv(n, data=root),
        tasks,
        [BASELINE],
    )


@pytest.mark.parametrize("name", ["mapgpt", "navgpt", "a2nav", "s2p"])
def test_the_oracle_reaches_the_ceiling(root: Path, schemes: dict[str, Scheme], name: str) -> None:
    """Through the agent's own prompts and parser; MapGPT may not stop before its third move, and
    ten prompts are for nine moves and a stop."""
    tasks = [t for t in make_tasks("train", 24, data=root) if len(t.info["path"]) <= 10]
    assert len(tasks) > 15
    for record in play(prompted(schemes[name], Oracle()), tasks, root):
        assert record.success, record.task.task_id
        shortest = len(record.task.info["path"]) - 1
        receipt = record.receipt
        assert receipt["failures"] == {}
        if name == "mapgpt" and shortest < 3:
            assert receipt["n_moves"] == shortest + 2  # past the goal and back
        else:
            assert receipt["n_moves"] == shortest
        told = [d["action"] for d in receipt["decisions"] if d["action"] is not None]
        assert told == record.actions.tolist()
        assert receipt["n_prompts"] == len(receipt["decisions"]) >= len(record.actions)
        assert all(d["prompt"] and d["chosen"] in d["reply"] for d in receipt["decisions"])


def test_what_mapgpt_cannot_read_walks_and_then_stops_and_is_counted(
    root: Path, schemes: dict[str, Scheme]
) -> None:
    """Index 0: the first place three times, then the stop that is offered as A."""
    task = make_tasks("train", 1, data=root)
    (record,) = play(prompted(schemes["mapgpt"], Parrot("Action: well")), task, root)
    assert record.actions.tolist() == [1, 1, 1, 0]
    assert record.receipt["failures"] == {"stopped by fallback": 1, "unparsable": 4}
    assert (record.receipt["tokens_in"], record.receipt["tokens_out"]) == (20, 8)


def test_navgpt_asks_again_and_runs_out_of_prompts(root: Path, schemes: dict[str, Scheme]) -> None:
    parrot = Parrot("Action Input: nowhere-1")
    task = make_tasks("train", 1, data=root)
    (record,) = play(prompted(schemes["navgpt"], parrot), task, root)
    assert record.actions.tolist() == [0]
    assert record.receipt["failures"] == {"out of prompts": 1, "out of range": 10}
    assert "nowhere-1" in parrot.heard[1].prompt
    assert "nowhere-1" not in parrot.heard[0].prompt


def test_the_limit_of_moves_stops_and_is_counted(root: Path, schemes: dict[str, Scheme]) -> None:
    scheme = replace(schemes["mapgpt"], stop=StopRule(99, 5, 99))
    task = make_tasks("train", 1, data=root)
    (record,) = play(prompted(scheme, Parrot("Action: A")), task, root)
    assert record.actions.tolist() == [1] * 5 + [0]
    assert record.receipt["failures"] == {"out of moves": 1}
    assert record.receipt["n_prompts"] == 5


def test_parts_can_be_exchanged(root: Path, schemes: dict[str, Scheme]) -> None:
    """MapGPT's map with Select2Plan's numbers and reader, and NavGPT's stop rule."""
    s2p, navgpt_ = schemes["s2p"], schemes["navgpt"]
    form, ask = s2p.wording.form, "Movements"
    wording = replace(s2p.wording, form=form, ask=ask)
    parts = {"wording": wording, "lister": s2p.lister, "reader": s2p.reader, "stop": navgpt_.stop}
    mixed = replace(schemes["mapgpt"], name="mixed", **parts)
    records = play(prompted(mixed, Oracle()), make_tasks("train", 6, data=root), root)
    assert all(record.success for record in records)
    assert "Movements:\n0. stop\n1. " in records[0].receipt["decisions"][0]["prompt"]


def test_silence_ends_one_episode_as_an_error_and_no_prompt_is_paid_twice(
    root: Path, schemes: dict[str, Scheme]
) -> None:
    tasks = [
        replace(task, instruction=words)
        for task, words in zip(make_tasks("train", 3, data=root), ["Go.", "Hush.", "Walk."])
    ]
    parrot = Parrot("Action: A", deaf_to="Hush.")
    records = play(prompted(schemes["mapgpt"], parrot), tasks, root)
    assert [r.end.value == "agent_error" for r in records] == [False, True, False]
    assert "no answer in 2 attempts, the last: timeout" in str(records[1].error)
    assert records[1].receipt["mishaps"] == {"timeout": 2}
    assert records[1].receipt["decisions"][0]["error"]
    assert [len(r.actions) for r in records] == [4, 0, 4]
    assert len(parrot.heard) == 4 + 1 + 4
    alone = play(prompted(schemes["mapgpt"], Parrot("Action: A")), tasks[::2], root, 1)
    assert [r.receipt for r in alone] == [records[0].receipt, records[2].receipt]


def test_a_back_end_that_writes_sums_up_each_move(root: Path, schemes: dict[str, Scheme]) -> None:
    task = make_tasks("train", 1, data=root)
    scheme = replace(schemes["navgpt"], lister=schemes["mapgpt"].lister)
    scheme = replace(scheme, reader=schemes["mapgpt"].reader, stop=StopRule(9, 2, 9))
    parrot = Parrot("Action: A", writes=True)
    (record,) = play(prompted(scheme, parrot), task, root)
    wanted = [bool(request.options) for request in parrot.heard]
    assert wanted == [True, False, True]  # no summary before the first move, none once it is over
    assert "step 0: Action: A" in parrot.heard[2].prompt
    assert record.receipt["tokens_in"] == 15
    assert record.receipt["n_prompts"] == 2


def test_the_oracle_must_be_told(root: Path, schemes: dict[str, Scheme]) -> None:
    envs = R2RVectorEnv(1, data=root)
    with pytest.raises(ValueError, match="expert_action"):
        run_episodes(
            envs,
            prompted(schemes["a2nav"], Oracle()),
            make_tasks("train", 1, data=root),
            [BASELINE],
            frames="none",
        )


def test_a_world_without_captions_can_be_walked(root: Path, schemes: dict[str, Scheme]) -> None:
    envs = R2RVectorEnv(2, text=False, data=root)
    tasks = make_tasks("train", 2, data=root)
    for scheme in schemes.values():
        agent = prompted(scheme, Nearest(HashedWords(64)))
        for record in run_episodes(envs, agent, tasks, [BASELINE], frames="none"):
            assert record.end.value in ("agent_stopped", "goal_reached")


def test_the_bank_holds_what_the_expert_did(root: Path) -> None:
    recorder = Recorder()
    tasks = make_tasks("train", 3, data=root)
    records = play(recorder, tasks, root, 1)
    answers = [int(example.answer) for example in recorder.examples]
    assert answers == np.concatenate([r.actions for r in records]).tolist()
    bank = Bank(recorder.examples, HashedWords())
    for example in (bank.examples[0], bank.examples[-1]):
        assert bank.find(example.key, 1)[0].key == example.key
    with pytest.raises(ValueError, match="needs examples"):
        Bank([], HashedWords())
