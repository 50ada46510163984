"""The words of the project as data: task, seeds, condition, end reason, record, agent protocol.

Axis letters: T steps, n slots. Everything here is plain numpy and the standard library, so that
what judges an episode cannot depend on what produced it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np

Json = Any  # what json.dumps accepts: None, bool, int, float, str, list, dict


def canonical_json(value: Json) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    NaN and infinity are refused (ValueError); so is what is not JSON (TypeError).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Json) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class EndReason(StrEnum):
    """Why an episode ended. Exactly one holds; an error is never a failed attempt."""

    GOAL_REACHED = "goal_reached"
    AGENT_STOPPED = "agent_stopped"
    STEP_LIMIT = "step_limit"
    COLLISION_LIMIT = "collision_limit"
    AGENT_ERROR = "agent_error"
    ENV_ERROR = "env_error"

    @property
    def is_error(self) -> bool:
        return self in (EndReason.AGENT_ERROR, EndReason.ENV_ERROR)


@dataclass(frozen=True)
class Task:
    """What is asked of an agent. Frozen, JSON-able, with a stable id.

    `scene`, `start`, `goal` and `info` are JSON values whose meaning belongs to the world;
    `reference_path` is a list of `[x, y, z]` in metres (may be empty).
    `shortest_path_length` is in metres (geodesic in navigation), finite and >= 0.
    """

    task_id: str
    env: str  # short world name: "tabletop", "rooms"
    split: str
    family: str  # "reach", "push", ...; "pointnav", "objectnav", "instruction"
    instruction: str
    max_steps: int
    scene: Json
    start: Json
    goal: Json
    shortest_path_length: float
    reference_path: Sequence[Sequence[float]] = ()
    info: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ValueError(f"task {self.task_id!r}: the instruction is empty; give it words")
        if self.max_steps < 1:
            raise ValueError(f"task {self.task_id!r}: max_steps must be >= 1, got {self.max_steps}")
        if not (math.isfinite(self.shortest_path_length) and self.shortest_path_length >= 0):
            raise ValueError(
                f"task {self.task_id!r}: shortest_path_length must be finite and >= 0, got "
                f"{self.shortest_path_length}; a task that cannot be solved is not a task"
            )

    def to_json(self) -> dict[str, Json]:
        return {
            "task_id": self.task_id,
            "env": self.env,
            "split": self.split,
            "family": self.family,
            "instruction": self.instruction,
            "max_steps": self.max_steps,
            "scene": self.scene,
            "start": self.start,
            "goal": self.goal,
            "shortest_path_length": self.shortest_path_length,
            "reference_path": [list(map(float, p)) for p in self.reference_path],
            "info": dict(self.info),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Task:
        return cls(**data)


@dataclass(frozen=True)
class Seeds:
    """Three seeds, kept apart. Paired conditions share all three."""

    world: int
    agent: int
    noise: int

    @classmethod
    def of(cls, task: Task, *, run_seed: int, repeat: int = 0) -> Seeds:
        """The seeds of one episode: a pure function of the task, the run's seed and the repeat."""
        words = hashlib.sha256(f"{task.task_id}|{run_seed}|{repeat}".encode()).digest()
        world, agent, noise = (
            int.from_bytes(words[4 * i : 4 * i + 4], "little") & 0x7FFFFFFF for i in range(3)
        )
        return cls(world, agent, noise)

    def to_json(self) -> dict[str, int]:
        return {"world": self.world, "agent": self.agent, "noise": self.noise}


@dataclass(frozen=True)
class Condition:
    """A named way to run an agent: the unit that a sweep compares.

    `spec` is JSON, made and read by the agent's side (interventions, prompt edit, action scaling);
    this folder only carries it. The empty spec is the unmodified agent.
    """

    name: str
    spec: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "spec": dict(self.spec)}


BASELINE = Condition("baseline")


class SlotError(Exception):
    """Raised by `Agent.act` when it can say which slots are to blame; the other slots go on.

    The loop ends the episodes of the named slots and asks `act` again, with the same observations,
    for the rest. So it must be raised before the state of any other slot has changed.
    """

    def __init__(self, messages: Mapping[int, str]) -> None:
        super().__init__("; ".join(f"slot {s}: {m}" for s, m in messages.items()))
        self.messages = dict(messages)


# Each value is batched over slots: an ndarray [n, ...] or a tuple of n str.
Observations = Mapping[str, Any]

# Observation keys that tell more than a sensor could. The loop hides them from every agent that
# does not ask for them in `observation_needs`.
PRIVILEGED_KEYS = frozenset({"expert_action"})


@runtime_checkable
class Agent(Protocol):
    """What the episode loop asks of a policy. Slots are lanes of the vector environment."""

    @property
    def agent_id(self) -> str:
        """Short name and digest, e.g. `nano-tabletop@3f2a90`."""

    @property
    def observation_needs(self) -> frozenset[str]:
        """Privileged observation keys it wants: `{"expert_action"}` for an expert, else empty."""

    def manifest(self) -> dict[str, Json]:
        """What identifies this agent in a run's manifest (checkpoint digest, sizes, versions)."""

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        """Called once before a run: resolve every condition (unknown parts raise here), allocate.

        A later run calls it again, perhaps with another number of slots.
        """

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        """A new episode begins in `slot`. Only the agent's own use of `task` is the instruction.

        Nothing of the slot's earlier episode may remain, whether or not that one was finished.
        """

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions `[n, ...]` for `active` (bool `[n]`) slots; other rows are ignored.

        The action of a slot may depend on that slot's observations and episode only.
        """

    def step_trace(self) -> dict[str, np.ndarray]:
        """What it recorded about its last `act`, each `[n, ...]` (doses, top token ids).

        May be empty. Names, dtypes and shapes stay the same during a run.
        """

    def finish_slot(self, slot: int) -> dict[str, Json]:
        """The episode in `slot` is over: return the receipt (JSON).

        Raises when what was done contradicts the plan: the episode then counts as an agent error.
        """


@dataclass(frozen=True)
class EpisodeRecord:
    """Everything about one episode that a metric or a viewer may read.

    `trace[name]` has T + 1 rows (row 0 is the start), `agent_trace[name]` has T rows.
    `error` is present if and only if `end.is_error`; steps are then the completed ones, and after a
    failed reset `trace` is empty. No wall-clock time is in here: a record is a pure function of
    task, seeds, condition and agent.
    """

    task: Task
    condition: str
    seeds: Seeds
    agent_id: str
    end: EndReason
    success: bool
    actions: np.ndarray  # [T, ...]
    rewards: np.ndarray  # float64 [T]
    trace: Mapping[str, np.ndarray]  # each [T + 1, ...]
    agent_trace: Mapping[str, np.ndarray] = field(default_factory=dict)  # each [T, ...]
    receipt: Mapping[str, Json] = field(default_factory=dict)
    frames: np.ndarray | None = None  # uint8 [T + 1, H, W, 3], what the agent saw
    depths: np.ndarray | None = None  # uint16 [T + 1, H, W], millimetres, where it sees them
    error: str | None = None

    def __post_init__(self) -> None:
        n_steps = len(self.actions)
        if self.rewards.shape != (n_steps,):
            raise ValueError(f"rewards has shape {self.rewards.shape}, expected ({n_steps},)")
        for name, rows in self.trace.items():
            if len(rows) != n_steps + 1:
                raise ValueError(f"trace[{name!r}] has {len(rows)} rows, expected {n_steps + 1}")
        for name, rows in self.agent_trace.items():
            if len(rows) != n_steps:
                raise ValueError(f"agent_trace[{name!r}] has {len(rows)} rows, expected {n_steps}")
        for name, pictures in (("frames", self.frames), ("depths", self.depths)):
            if pictures is not None and len(pictures) != n_steps + 1:
                raise ValueError(f"{name} has {len(pictures)} rows, expected {n_steps + 1}")
        if (self.error is not None) != self.end.is_error:
            raise ValueError(f"end={self.end} and error={self.error!r} disagree")
        if self.success and self.end.is_error:
            raise ValueError(f"an episode that ended by {self.end} cannot be a success")

    @property
    def n_steps(self) -> int:
        return len(self.actions)

    def without_pictures(self) -> EpisodeRecord:
        """The same record without frames and depths, which take most of the memory."""
        return replace(self, frames=None, depths=None)

    @property
    def key(self) -> str:
        """Names the episode inside a run: same task, condition and seeds, same key."""
        return episode_key(self.task.task_id, self.condition, self.seeds)


def episode_key(task_id: str, condition: str, seeds: Seeds) -> str:
    """A short, file-system safe name: 24 hex digits over task, condition and seeds."""
    return digest([task_id, condition, seeds.to_json()])[:24]
