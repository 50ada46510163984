"""The slots of a vector world and the episodes in them: begin, step, end, and who is to blame."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from .actions import check_actions, neutral_action
from .slots import EpisodeInProgress, copy_batch, layout
from .types import (
    PRIVILEGED_KEYS,
    Agent,
    EndReason,
    EpisodeRecord,
    Observations,
    SlotError,
    canonical_json,
)
from .work import WorkItem

OnError = Literal["record", "raise"]
log = logging.getLogger(__name__)


class EpisodeError(RuntimeError):
    """With `on_error="raise"`: an episode failed, and no exception was there to raise again."""


class Lanes:
    """The slots of one vector world with one agent, and the episodes in them."""

    def __init__(
        self, envs: gym.vector.VectorEnv[Any, Any, Any], agent: Agent, on_error: OnError
    ) -> None:
        _check_world(envs, agent)
        self.envs = envs
        self.agent = agent
        self.on_error = on_error
        self.episodes: list[EpisodeInProgress | None] = [None] * envs.num_envs
        self._hidden = PRIVILEGED_KEYS - agent.observation_needs
        self._observations: dict[str, Any] = {}
        self._trace_layout: dict[str, Any] | None = None
        self._agent_layout: dict[str, Any] | None = None
        neutral = neutral_action(envs.single_action_space)
        self._empty_actions = np.empty((0, *neutral.shape), neutral.dtype)

    def play(self, work: Sequence[WorkItem]) -> Iterator[EpisodeRecord]:
        """Yield each record before its slot is used again."""
        waiting = deque(work)
        while True:
            while waiting and None in self.episodes:
                yield from self._refill(waiting)
            if not self._live().any():
                return
            yield from self._step()

    def _live(self) -> np.ndarray:
        return np.array([episode is not None for episode in self.episodes])  # bool [n]

    # -- beginning -----------------------------------------------------------------------------

    def _refill(self, waiting: deque[WorkItem]) -> Iterator[EpisodeRecord]:
        """Start an episode in every free slot, as far as the work goes."""
        started = []
        for slot, episode in enumerate(self.episodes):
            if episode is None and waiting:
                self.episodes[slot] = EpisodeInProgress(waiting.popleft(), self._empty_actions)
                started.append(slot)
        failures = self._reset_world(started)
        for slot in started:
            if slot in failures:
                yield self._fail(slot, EndReason.ENV_ERROR, failures[slot])
                continue
            episode = self._episode(slot)
            item = episode.item
            episode.begun = True
            try:
                self.agent.reset_slot(slot, item.task, item.condition, item.seeds)
            except Exception as error:
                yield self._fail(slot, EndReason.AGENT_ERROR, error)

    def _reset_world(self, slots: Sequence[int]) -> dict[int, Exception | str]:
        """Reset `slots` together; when that raises, one by one, to find the culprit."""
        try:
            return self._reset_together(slots)
        except Exception as error:
            if len(slots) == 1:
                return {slots[0]: error}
        failures: dict[int, Exception | str] = {}
        for slot in slots:
            failures |= self._reset_world([slot])
        return failures

    def _reset_together(self, slots: Sequence[int]) -> dict[int, Exception | str]:
        n = len(self.episodes)
        mask = np.zeros(n, bool)
        mask[list(slots)] = True
        items = [self._episode(slot).item if mask[slot] else None for slot in range(n)]
        observations, infos = self.envs.reset(
            seed=[item.seeds.world if item else 0 for item in items],  # type: ignore[arg-type]
            options={"reset_mask": mask, "tasks": [item.task if item else None for item in items]},
        )
        trace = self._trace(infos)
        self._observations = dict(observations)
        pictures = self._pictures(slots)
        failures: dict[int, Exception | str] = {}
        for slot in slots:
            reason = _env_error(infos, slot)
            if reason is not None:
                failures[slot] = reason
                continue
            self._episode(slot).start(_row(trace, slot), pictures.get(slot, {}))
        return failures

    # -- one step ------------------------------------------------------------------------------

    def _step(self) -> Iterator[EpisodeRecord]:
        """One action for every live episode; yields those that end."""
        actions, agent_trace, failures = self._ask(self._live())
        for slot, failure in failures.items():
            yield self._fail(slot, EndReason.AGENT_ERROR, failure)
        live = self._live()
        if not live.any():
            return
        slots = np.flatnonzero(live).tolist()
        try:
            observations, rewards, terminated, truncated, infos = self.envs.step(actions.copy())
            trace = self._trace(infos)
        except Exception as error:
            for slot in slots:
                yield self._fail(slot, EndReason.ENV_ERROR, error)
            return
        self._observations = dict(observations)
        pictures = self._pictures(slots)
        ended = np.asarray(terminated, bool) | np.asarray(truncated, bool)
        for slot in slots:
            episode = self._episode(slot)
            problem = _step_problem(infos, slot, bool(ended[slot]), episode)
            if problem is not None:
                text = f"{problem} (action {actions[slot].tolist()})"
                yield self._fail(slot, EndReason.ENV_ERROR, text)
                continue
            episode.add(
                actions[slot],
                float(rewards[slot]),
                _row(trace, slot),
                _row(agent_trace, slot),
                pictures.get(slot, {}),
            )
            if ended[slot]:
                end = EndReason(infos["end_reason"][slot])
                yield self._finish(slot, end, success=bool(infos["success"][slot]))

    def _ask(
        self, active: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict[int, Exception | str]]:
        """Actions fit for the world, the agent's trace, and the slots in which the agent failed.

        After a `SlotError` the agent is asked again for the other slots.
        """
        active = active.copy()
        space = self.envs.single_action_space
        nothing = np.repeat(neutral_action(space)[None], len(active), axis=0)
        failures: dict[int, Exception | str] = {}
        while active.any():
            try:
                answer = self.agent.act(self._visible(), active.copy())
                actions, refused = check_actions(answer, active, space)
                agent_trace = self._checked_agent_trace()
            except SlotError as error:
                blamed = {s: m for s, m in error.messages.items() if s in np.flatnonzero(active)}
                if not blamed:
                    return nothing, {}, failures | _all(active, error)
                failures |= {slot: f"SlotError: {text}" for slot, text in blamed.items()}
                active[list(blamed)] = False
            except Exception as error:
                return nothing, {}, failures | _all(active, error)
            else:
                return actions, agent_trace, failures | refused
        return nothing, {}, failures

    def _checked_agent_trace(self) -> dict[str, np.ndarray]:
        trace = copy_batch(self.agent.step_trace(), len(self.episodes), "agent.step_trace()")
        found = layout(trace)
        if self._agent_layout is None:
            self._agent_layout = found
        if found != self._agent_layout:
            raise ValueError(
                f"agent.step_trace() changed during the run: {self._agent_layout} became {found}"
            )
        return trace

    # -- ending --------------------------------------------------------------------------------

    def _finish(self, slot: int, end: EndReason, *, success: bool) -> EpisodeRecord:
        """Take the episode out of its slot. The agent's receipt can still turn it into an error."""
        try:
            receipt = self._receipt(slot)
        except Exception as error:
            self._episode(slot).begun = False
            return self._fail(slot, EndReason.AGENT_ERROR, error)
        episode = self._release(slot)
        return episode.record(
            self.agent.agent_id, end, success=success, receipt=receipt, error=None
        )

    def _fail(self, slot: int, end: EndReason, failure: Exception | str) -> EpisodeRecord:
        """Take the episode out of its slot as an error. The text never names the slot."""
        episode = self._episode(slot)
        item = episode.item
        where = f"task {item.task.task_id!r}, condition {item.condition.name!r}, {item.seeds}"
        if self.on_error == "raise":
            if isinstance(failure, Exception):
                failure.add_note(f"in {where}, after {episode.n_steps} steps")
                raise failure
            raise EpisodeError(f"{end.value}: {failure} (in {where})")
        if isinstance(failure, Exception):
            log.warning("%s in %s", end.value, where, exc_info=failure)
            failure = f"{type(failure).__name__}: {failure}"
        receipt: Mapping[str, Any] = {}
        if episode.begun:
            try:
                receipt = self._receipt(slot)
            except Exception as error:  # the first error is the one to report
                log.warning("no receipt after %s in %s: %s", end.value, where, error)
        self._release(slot)
        return episode.record(
            self.agent.agent_id, end, success=False, receipt=receipt, error=failure
        )

    def _receipt(self, slot: int) -> dict[str, Any]:
        receipt = dict(self.agent.finish_slot(slot))
        canonical_json(receipt)  # refuses what could not be written
        return receipt

    # -- looking -------------------------------------------------------------------------------

    def _episode(self, slot: int) -> EpisodeInProgress:
        episode = self.episodes[slot]
        if episode is None:
            raise RuntimeError(f"no episode is in slot {slot}")
        return episode

    def _release(self, slot: int) -> EpisodeInProgress:
        episode = self._episode(slot)
        self.episodes[slot] = None
        return episode

    def _visible(self) -> Observations:
        return {k: v for k, v in self._observations.items() if k not in self._hidden}

    def _pictures(self, slots: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
        """Own copies of what the slots that keep frames see."""
        rgb, depth = (self._observations.get(key) for key in ("rgb", "depth"))
        seen: dict[int, dict[str, np.ndarray]] = {}
        for slot in slots:
            if self._episode(slot).item.record_frames:
                seen[slot] = {} if rgb is None else {"frames": np.array(rgb[slot], np.uint8)}
                if depth is not None:
                    seen[slot]["depths"] = _millimetres(depth[slot])
        return seen

    def _trace(self, infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
        trace = copy_batch(infos["trace"], len(self.episodes), 'infos["trace"]')
        found = layout(trace)
        if self._trace_layout is None:
            self._trace_layout = found
        if found != self._trace_layout:
            raise ValueError(
                f'infos["trace"] changed during the run: {self._trace_layout} became {found}'
            )
        return trace


def _millimetres(depth_m: np.ndarray) -> np.ndarray:
    """uint16 [H, W]; what is farther than 65.5 m, infinite or not a number is 65,535."""
    mm = np.nan_to_num(1000.0 * np.asarray(depth_m, np.float64), nan=np.inf, posinf=np.inf)
    return np.rint(np.clip(mm, 0, 65_535)).astype(np.uint16)


def _check_world(envs: gym.vector.VectorEnv[Any, Any, Any], agent: Agent) -> None:
    mode = envs.metadata.get("autoreset_mode")
    if mode != gym.vector.AutoresetMode.DISABLED:
        raise ValueError(
            f"the world resets by itself (autoreset_mode={mode}); the loop refills slots: build it "
            'with metadata["autoreset_mode"] = AutoresetMode.DISABLED'
        )
    space = envs.single_observation_space
    known = set(space.keys()) if isinstance(space, gym.spaces.Dict) else set()
    missing = agent.observation_needs - known
    if missing:
        raise ValueError(
            f"agent {agent.agent_id!r} needs observations {sorted(missing)} that the world does "
            f"not give (it gives {sorted(known)}); build the world with expert_actions=True"
        )


def _env_error(infos: Mapping[str, Any], slot: int) -> str | None:
    errors = infos.get("env_error")
    return None if errors is None or not errors[slot] else str(errors[slot])


def _step_problem(
    infos: Mapping[str, Any], slot: int, ended: bool, episode: EpisodeInProgress
) -> str | None:
    """The world's own error, or how this step breaks the world's contract; else None."""
    error = _env_error(infos, slot)
    if error is not None:
        return error
    reason = str(infos["end_reason"][slot])
    if ended and reason not in set(EndReason):
        return f"the world ended the episode with end_reason {reason!r}, not one of the known ones"
    if ended and EndReason(reason).is_error:
        return f"the world ended the episode by {reason} without saying why"
    if not ended and reason:
        return f"the world gave end_reason {reason!r} but neither terminated nor truncated"
    if not ended and episode.n_steps + 1 >= episode.item.task.max_steps:
        return f"the world went past max_steps={episode.item.task.max_steps}"
    return None


def _row(batch: Mapping[str, np.ndarray], slot: int) -> dict[str, np.ndarray]:
    return {name: values[slot] for name, values in batch.items()}


def _all(active: np.ndarray, error: Exception) -> dict[int, Exception | str]:
    return {int(slot): error for slot in np.flatnonzero(active)}
