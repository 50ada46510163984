"""An agent's parts put together, and one episode of it: prompt, reply, what is read from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pilotage.episodes.types import Json

from .asking import STOP, Option, Reply, Request
from .memory import Memory
from .replies import Failure, Parsed, Reader
from .sights import Sight
from .wording import Lister, Wording


@dataclass(frozen=True)
class StopRule:
    """When stopping is offered, and when an episode is stopped in any case.

    Raises ValueError for numbers that leave no episode.
    """

    first_offer: int = 0  # moves made before the option to stop is listed
    max_moves: int = 15
    max_prompts: int = 60  # of an episode, those asked again included

    def __post_init__(self) -> None:
        if self.first_offer < 0 or self.max_moves < 1 or self.max_prompts < 1:
            raise ValueError(f"a stop rule needs first_offer >= 0 and limits >= 1, got {self}")


@dataclass(frozen=True)
class Scheme:
    """The parts of an agent; each can be exchanged for another's."""

    name: str
    memory: Callable[[], Memory]
    wording: Wording
    lister: Lister
    reader: Reader
    stop: StopRule
    asks_again: int = 0  # times a step that a useless reply is asked for again; then, or at 0, the
    # first option is taken
    summary: str = ""  # the system's part of a prompt that sums up each move; "" for none

    def about(self) -> dict[str, Json]:
        """For a manifest."""
        stop = {k: getattr(self.stop, k) for k in ("first_offer", "max_moves", "max_prompts")}
        return {"scheme": self.name, "asks_again": self.asks_again, **stop}


class Mind:
    """One episode of a scheme."""

    def __init__(self, scheme: Scheme, *, keep_prompts: bool = True) -> None:
        self._scheme, self._keep_prompts = scheme, keep_prompts
        self._memory = scheme.memory()
        self._options: tuple[Option, ...] = ()
        self._request: Request | None = None
        self._sight: Sight | None = None
        self._n_moves = self._n_again = 0
        self._tokens = [0, 0]
        self._failures: Counter[str] = Counter()
        self._mishaps: Counter[str] = Counter()
        self._records: list[dict[str, Json]] = []

    def see(self, sight: Sight) -> int | None:
        """A step begins; an action where the rules stop the episode without asking."""
        self._sight, self._n_again = sight, 0
        rule = self._scheme.stop
        if self._n_moves >= rule.max_moves:
            self._count(Failure.OUT_OF_MOVES)
            return STOP
        if len(self._records) >= rule.max_prompts:
            self._count(Failure.OUT_OF_PROMPTS)
            return STOP
        self._memory.see(sight)
        return None

    def ask_summary(self) -> Request | None:
        """What a back end that writes is asked before the step's own prompt; None for nothing."""
        told = self._memory.last_move() if self._scheme.summary else ""
        return Request(self._scheme.summary, told) if told else None

    def hear_summary(self, reply: Reply) -> None:
        """A summary came; without one (counted) the memory's own line stays."""
        self._spend(reply)
        text = " ".join(reply.text.split())
        if text:
            self._memory.sum_up(text)
        else:
            self._mishaps["no summary"] += 1

    def ask(self) -> Request:
        """What is asked now; RuntimeError before a step began."""
        if self._sight is None:
            raise RuntimeError("there is nothing to ask about: call see() first")
        scheme, memory = self._scheme, self._memory
        may_stop = self._n_moves >= scheme.stop.first_offer
        self._options = scheme.lister(self._sight, memory, may_stop)
        self._request = Request(
            scheme.wording.system,
            scheme.wording.prompt(memory.blocks(), self._options),
            self._options,
            scheme.wording.form,
            memory.goal(),
            self._sight.expert,
        )
        return self._request

    def hear(self, reply: Reply) -> int | None:
        """The action that a reply leads to; None when there is more to ask first."""
        self._spend(reply)
        parsed = self._scheme.reader(reply.text, self._options)
        self._failures.update(failure.value for failure in parsed.failures)
        index = parsed.index
        failures = [failure.value for failure in parsed.failures]
        if index is None and self._n_again < self._scheme.asks_again:
            self._n_again += 1
            self._memory.refused(reply.text, ", ".join(failures))
            return self._within_budget(self._note(reply, parsed, None, failures))
        if index is None:
            index = 0
            if self._options[0].action == STOP:
                failures.append(self._count(Failure.FALLBACK_STOP))
        option = self._options[index]
        action = self._memory.chose(option, parsed.plan)
        self._n_moves += action is not None and action != STOP
        return self._within_budget(self._note(reply, parsed, option, failures, action))

    def lost(self, reply: Reply) -> None:
        """No reply came: it is counted, and the episode is over."""
        self._spend(reply)
        self._note(reply, Parsed(None), None, [reply.error or "no reply"])

    def receipt(self) -> dict[str, Json]:
        """What was asked, what it cost, and what went wrong, all counted."""
        return {
            "scheme": self._scheme.name,
            "n_moves": self._n_moves,
            "n_prompts": len(self._records),
            "tokens_in": self._tokens[0],
            "tokens_out": self._tokens[1],
            "failures": dict(sorted(self._failures.items())),
            "mishaps": dict(sorted(self._mishaps.items())),
            "decisions": self._records,
        }

    def _spend(self, reply: Reply) -> None:
        self._tokens[0] += reply.tokens_in
        self._tokens[1] += reply.tokens_out
        self._mishaps.update(reply.mishaps)

    def _count(self, failure: Failure) -> str:
        self._failures[failure.value] += 1
        return failure.value

    def _within_budget(self, action: int | None) -> int | None:
        if action is None and len(self._records) >= self._scheme.stop.max_prompts:
            self._records[-1]["failures"].append(self._count(Failure.OUT_OF_PROMPTS))
            return STOP
        return action

    def _note(
        self,
        reply: Reply,
        parsed: Parsed,
        option: Option | None,
        failures: list[str],
        action: int | None = None,
    ) -> int | None:
        """Keep what a viewer shows of a decision; returns `action`."""
        request, sight = self._request, self._sight
        self._records.append(
            {
                "move": self._n_moves,
                "viewpoint": sight.viewpoint if sight else "",
                "prompt": request.prompt if request and self._keep_prompts else "",
                "options": [
                    {"label": o.label, "action": o.action, "text": o.text, "caption": o.caption}
                    for o in self._options
                ],
                "goal": request.goal if request else "",
                "reply": reply.text,
                "chosen": option.label if option else None,
                "action": action,
                "plan": parsed.plan,
                "failures": failures,
                "error": reply.error,
            }
        )
        return action
