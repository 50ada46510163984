"""The loop: slots are invisible, blame falls on the right side, and each slot is kept full."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import EpisodeError, Progress, iter_episodes, run_episodes
from pilotage.episodes.records import record_digest
from pilotage.episodes.types import (
    BASELINE,
    Condition,
    EndReason,
    EpisodeRecord,
    Observations,
    Seeds,
    Task,
)

TASKS = make_fake_tasks(5)
SLOW = Condition("slow", {"gain": 0.5})


def failing(how: str, at: int = 1) -> Condition:
    return Condition(how, {"fail": how, "at": at})


def troubled(**info: Any) -> Task:
    """The task 1, asking the world for trouble."""
    return replace(TASKS[1], task_id=f"troubled {info}", info=info)


def play(n_slots: int, **kwargs: Any) -> list[EpisodeRecord]:
    settings = {"tasks": TASKS, "conditions": [BASELINE, SLOW]} | kwargs
    return run_episodes(FakeVectorEnv(n_slots), FakeAgent(), **settings)


def digests(records: list[EpisodeRecord]) -> list[str]:
    return [record_digest(record) for record in records]


@settings(max_examples=25, deadline=None)
@given(
    n_slots=st.integers(1, 9),
    chosen=st.permutations(range(5)),
    n_tasks=st.integers(1, 5),
    repeats=st.integers(1, 2),
)
def test_records_do_not_depend_on_slots_order_or_neighbours(
    n_slots: int, chosen: list[int], n_tasks: int, repeats: int
) -> None:
    """Also beside episodes that fail."""
    conditions = [BASELINE, SLOW, failing("nan"), failing("slot_error", 2), failing("receipt")]
    alone = {
        record.key: record_digest(record)
        for record in play(1, conditions=conditions, repeats=repeats)
    }
    tasks = [TASKS[i] for i in chosen[:n_tasks]]
    for record in play(n_slots, tasks=tasks, conditions=conditions, repeats=repeats):
        assert record_digest(record) == alone[record.key]


def test_an_episode_replayed_by_hand_gives_the_record() -> None:
    """Step a one-slot world by hand with the recorded actions."""
    record = play(3)[0]
    world = FakeVectorEnv(1)
    seeds = Seeds.of(TASKS[0], run_seed=0)
    assert record.seeds == seeds
    options = {"reset_mask": np.array([True]), "tasks": [TASKS[0]]}
    observations, infos = world.reset(seed=[seeds.world], options=options)
    for step, action in enumerate(record.actions):
        assert (observations["rgb"][0] == record.frames[step]).all()
        assert (infos["trace"]["position"][0] == record.trace["position"][step]).all()
        observations, rewards, _, _, infos = world.step(action[None])
        assert rewards[0] == record.rewards[step]
    assert (observations["rgb"][0] == record.frames[-1]).all()
    assert infos["end_reason"][0] == record.end
    assert record.n_steps == len(record.frames) - 1 > 0


def test_records_come_in_the_order_of_the_work_and_pairs_share_seeds() -> None:
    records = play(4, repeats=2)
    expected = [
        (task.task_id, condition)
        for task in TASKS
        for _ in range(2)
        for condition in ("baseline", "slow")
    ]
    assert [(r.task.task_id, r.condition) for r in records] == expected
    for baseline, slow in zip(records[::2], records[1::2], strict=True):
        assert baseline.seeds == slow.seeds
    assert len({r.seeds for r in records}) == 10
    assert play(4, seed=1)[0].seeds != records[0].seeds


class Diary(FakeAgent):
    """Notes how many slots were active in each act, and who was where."""

    def __init__(self) -> None:
        super().__init__()
        self.active: list[int] = []
        self.began: list[tuple[int, str, str]] = []
        self.finished: list[int] = []
        self.seen: set[str] = set()

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self.began.append((slot, task.task_id, condition.name))
        super().reset_slot(slot, task, condition, seeds)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        self.active.append(int(active.sum()))
        self.seen |= set(observations)
        return super().act(observations, active)

    def finish_slot(self, slot: int) -> dict[str, Any]:
        self.finished.append(slot)
        return super().finish_slot(slot)


def test_slots_are_kept_full_until_the_work_runs_out() -> None:
    agent = Diary()
    records = run_episodes(FakeVectorEnv(4), agent, TASKS, [BASELINE, SLOW])
    began_last = max(i for i, n in enumerate(agent.active) if n == 4)
    assert agent.active[: began_last + 1] == [4] * (began_last + 1)
    assert sum(agent.active) == sum(record.n_steps for record in records)
    assert agent.began[:4] == [
        (0, TASKS[0].task_id, "baseline"),
        (1, TASKS[0].task_id, "slow"),
        (2, TASKS[1].task_id, "baseline"),
        (3, TASKS[1].task_id, "slow"),
    ]
    assert Counter(slot for slot, *_ in agent.began) == Counter(agent.finished)


def test_privileged_observations_are_shown_only_to_who_asks() -> None:
    class Expert(Diary):
        observation_needs = frozenset({"expert_action"})

    for agent, sees in ((Diary(), False), (Expert(), True)):
        run_episodes(FakeVectorEnv(2, expert_actions=True), agent, TASKS[:1], [BASELINE])
        assert ("expert_action" in agent.seen) == sees
        assert "rgb" in agent.seen
    with pytest.raises(ValueError, match="expert_actions=True"):
        run_episodes(FakeVectorEnv(2), Expert(), TASKS[:1], [BASELINE])


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "steps", "message"),
    [
        ("nan", 1, r"action \[.*nan\] is not finite"),
        ("range", 1, r"action \[.*1.5\] is outside Box"),
        ("slot_error", 1, "SlotError: lost"),
        ("receipt", None, "RuntimeError: planned 3 edits, made 2"),
    ],
)
def test_a_failing_agent_ends_its_own_slot_only(how: str, steps: int, message: str) -> None:
    records = play(3, conditions=[BASELINE, failing(how)])
    clean = play(3, conditions=[BASELINE])
    assert digests(records[::2]) == digests(clean)
    for record in records[1::2]:
        assert record.end == EndReason.AGENT_ERROR
        assert not record.success
        assert steps is None or record.n_steps == steps
        with pytest.raises(ValueError, match=message):
            raise ValueError(record.error)


@pytest.mark.parametrize("how", ["raise", "shape"])
def test_an_agent_that_fails_as_a_whole_ends_all_active_slots(how: str) -> None:
    records = play(2, tasks=TASKS[1:3], conditions=[BASELINE, failing(how, 2)])
    assert [record.end for record in records] == [EndReason.AGENT_ERROR] * 4
    assert [record.n_steps for record in records] == [2] * 4
    expected = {"raise": "RuntimeError: the policy fell over", "shape": "ActionError: "}[how]
    assert all(record.error.startswith(expected) for record in records)
    assert records[0].receipt == {"acts": 2 if how == "raise" else 3}


@pytest.mark.parametrize(
    ("info", "steps", "message"),
    [
        ({"reset_error": True}, 0, "RuntimeError: no scene"),
        ({"error_at": 3}, 2, r"RuntimeError: broken \(action \["),
        ({"raise_at": 3}, 2, "RuntimeError: the simulator fell over"),
    ],
)
def test_a_failing_world_is_an_environment_error(
    info: dict[str, Any], steps: int, message: str
) -> None:
    record = play(1, tasks=[troubled(**info)])[0]
    assert record.end == EndReason.ENV_ERROR
    assert record.error.startswith(message.replace("\\", ""))
    assert record.n_steps == steps
    assert len(record.trace.get("position", [])) == (steps + 1 if steps else 0)


def test_an_error_reported_for_one_slot_leaves_the_others_alone() -> None:
    tasks = [TASKS[0], troubled(error_at=2), troubled(reset_error=True), *TASKS[1:]]
    records = play(3, tasks=tasks)
    assert digests(records[:2] + records[6:]) == digests(play(1))
    assert [record.end for record in records[2:6]] == [EndReason.ENV_ERROR] * 4


def test_a_raising_step_ends_every_live_episode_and_the_run_goes_on() -> None:
    records = play(2, tasks=[troubled(raise_at=1), *TASKS])
    assert [r.end for r in records[:2]] == [EndReason.ENV_ERROR] * 2
    assert digests(records[2:]) == digests(play(2))


class FragileReset(FakeVectorEnv):
    """Raises for a whole reset when one of its tasks is bad."""

    def reset(self, **kwargs: Any) -> Any:
        tasks = (kwargs.get("options") or {}).get("tasks", [])
        if any(task is not None and task.info for task in tasks):
            raise OSError("mesh not found")
        return super().reset(**kwargs)


@pytest.mark.parametrize("n_slots", [1, 4])
def test_a_raising_reset_is_blamed_on_the_task_that_caused_it(n_slots: int) -> None:
    tasks = [TASKS[0], troubled(bad=1), *TASKS[1:]]
    records = run_episodes(FragileReset(n_slots), FakeAgent(), tasks, [BASELINE, SLOW])
    assert [r.error for r in records[2:4]] == ["OSError: mesh not found"] * 2
    assert digests(records[:2] + records[4:]) == digests(play(1))


def test_an_agent_that_cannot_begin_is_an_agent_error() -> None:
    class Picky(FakeAgent):
        def reset_slot(self, slot: int, task: Task, *args: Any) -> None:
            if task.task_id == TASKS[1].task_id:
                raise LookupError("word unknown")
            super().reset_slot(slot, task, *args)

    records = run_episodes(FakeVectorEnv(3), Picky(), TASKS, [BASELINE])
    assert records[1].error == "LookupError: word unknown"
    assert records[1].n_steps == 0
    assert len(records[1].trace["position"]) == 1
    assert digests(records[:1] + records[2:]) == digests(
        play(1, conditions=[BASELINE], tasks=[TASKS[0], *TASKS[2:]])
    )


@pytest.mark.parametrize("trace", [{"speed": np.zeros(1)}, {"words": np.array(["a"] * 2)}])
def test_a_malformed_agent_trace_is_an_agent_error(trace: dict[str, np.ndarray]) -> None:
    class Malformed(FakeAgent):
        def step_trace(self) -> dict[str, np.ndarray]:
            return trace

    records = run_episodes(FakeVectorEnv(2), Malformed(), TASKS[:2], [BASELINE])
    assert {record.end for record in records} == {EndReason.AGENT_ERROR}
    assert "agent.step_trace()" in records[0].error


def test_a_receipt_that_is_not_json_is_an_agent_error() -> None:
    class Exotic(FakeAgent):
        def finish_slot(self, slot: int) -> dict[str, Any]:
            return {"dose": float("nan")}

    record = run_episodes(FakeVectorEnv(1), Exotic(), TASKS[:1], [BASELINE])[0]
    assert record.end == EndReason.AGENT_ERROR
    assert record.receipt == {}


class Broken(FakeVectorEnv):
    """Breaks the contract in the way its attribute says."""

    how = ""

    def step(self, actions: np.ndarray) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        if self.how == "past the limit":
            self._live[:] = True
            return (
                observations,
                rewards,
                no_flags(self),
                no_flags(self),
                infos | {"end_reason": [""] * 2},
            )
        if self.how == "no reason":
            return (
                observations,
                rewards,
                ~no_flags(self),
                truncated,
                infos | {"end_reason": [""] * 2},
            )
        if self.how == "no flag":
            infos["end_reason"] = ["agent_stopped"] * 2
            return observations, rewards, no_flags(self), no_flags(self), infos
        del infos["trace"]["position"]
        return observations, rewards, terminated, truncated, infos


def no_flags(world: FakeVectorEnv) -> np.ndarray:
    return np.zeros(world.num_envs, bool)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("past the limit", "went past max_steps=5"),
        ("no reason", "end_reason ''"),
        ("no flag", "neither terminated nor truncated"),
        ("trace", 'infos["trace"] changed'),
    ],
)
def test_a_world_that_breaks_the_contract_is_an_environment_error(how: str, message: str) -> None:
    world = Broken(2)
    world.how = how
    short = [replace(task, max_steps=5) for task in TASKS[:2]]
    for record in run_episodes(world, FakeAgent(), short, [BASELINE]):
        assert record.end == EndReason.ENV_ERROR
        assert message in record.error
        assert record.n_steps == (4 if how == "past the limit" else 0)


def test_what_the_world_does_to_its_arrays_later_does_not_reach_the_record() -> None:
    class Reusing(FakeVectorEnv):
        """Answers in the same arrays every time, and overwrites the actions it was given."""

        def step(self, actions: np.ndarray) -> Any:
            answer = super().step(actions)
            actions[:] = 0.25
            kept = getattr(self, "kept", answer)
            self.kept = kept
            kept[0]["rgb"][:] = answer[0]["rgb"]
            for name, values in answer[4]["trace"].items():
                kept[4]["trace"][name][:] = values
            infos = answer[4] | {"trace": kept[4]["trace"]}
            return answer[0] | {"rgb": kept[0]["rgb"]}, *answer[1:4], infos

    records = run_episodes(Reusing(2), FakeAgent(), TASKS, [BASELINE, SLOW])
    assert digests(records) == digests(play(2))


def test_on_error_raise_gives_the_agents_own_exception_with_the_place() -> None:
    with pytest.raises(RuntimeError, match="the policy fell over") as caught:
        play(2, conditions=[failing("raise")], on_error="raise")
    assert f"task {TASKS[0].task_id!r}, condition 'raise'" in caught.value.__notes__[0]
    with pytest.raises(EpisodeError, match="is not finite"):
        play(2, conditions=[failing("nan")], on_error="raise")
    with pytest.raises(EpisodeError, match="no scene"):
        play(2, tasks=[troubled(reset_error=True)], on_error="raise")


def test_an_interrupt_is_not_taken_for_an_error() -> None:
    class Interrupted(FakeAgent):
        def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_episodes(FakeVectorEnv(1), Interrupted(), TASKS, [BASELINE])


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "kept"), [("none", []), ("all", [0, 1, 2, 3, 4]), (2, [0, 1]), (0, [])]
)
def test_frames_are_kept_for_the_first_episodes_of_each_condition(
    frames: Any, kept: list[int]
) -> None:
    for n_slots in (1, 5):
        records = play(n_slots, frames=frames)
        for condition in (0, 1):
            found = [i for i, r in enumerate(records[condition::2]) if r.frames is not None]
            assert found == kept


def test_keep_frames_false_drops_them_from_what_is_returned() -> None:
    assert all(record.frames is None for record in play(2, keep_frames=False))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repeats": 0}, "repeats must be >= 1, got 0"),
        ({"frames": -1}, "frames must be"),
        ({"frames": True}, "frames must be"),
        ({"frames": "some"}, "frames must be"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "task id given more than once"),
        ({"conditions": [BASELINE, BASELINE]}, "condition given more than once"),
        ({"conditions": [Condition("odd", {"unheard": 1})]}, "unknown parts"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(2, **wrong)


def test_a_world_that_resets_by_itself_is_refused() -> None:
    world = FakeVectorEnv(1)
    world.metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}
    with pytest.raises(ValueError, match="resets by itself"):
        run_episodes(world, FakeAgent(), TASKS, [BASELINE])


def test_no_work_is_no_records() -> None:
    assert play(2, tasks=[]) == []


def test_progress_counts_every_episode() -> None:
    told: list[Progress] = []
    records = play(3, conditions=[BASELINE, failing("nan")], progress=told.append)
    assert [p.n_played for p in told] == list(range(1, 11))
    last = told[-1]
    assert (last.n_total, last.n_skipped, last.n_errors) == (10, 0, 5)
    assert last.n_steps == sum(record.n_steps for record in records)
    assert {p.last.key for p in told} == {record.key for record in records}


def test_iter_episodes_yields_in_order_of_finishing_and_can_be_left() -> None:
    found = []
    for record in iter_episodes(FakeVectorEnv(4), FakeAgent(), TASKS, [BASELINE, SLOW]):
        found.append(record)
        if len(found) == 3:
            break
    lengths = [record.n_steps for record in found]
    assert lengths == sorted(lengths)
    everything = {record_digest(record) for record in play(1)}
    assert {record_digest(record) for record in found} <= everything
