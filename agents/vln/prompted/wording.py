"""How prompts are worded: the task, the blocks of a memory, and the options. Our own words.

The structure is the papers': the same blocks in the same order and the same shape of reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .asking import ANSWER, STOP, Option
from .memory import Memory
from .replies import LETTERS
from .sights import Sight, degrees_words, move_words, view_centre

Lister = Callable[[Sight, Memory, bool], tuple[Option, ...]]


@dataclass(frozen=True)
class Wording:
    """The unchanging parts of a prompt."""

    system: str
    form: str  # a reply of the wanted shape, with `{answer}`
    ask: str  # the heading of the options; "" where a block of the memory lists them

    def prompt(self, blocks: Mapping[str, str], options: Sequence[Option]) -> str:
        """The user's part: the blocks, then the options, one a line, unless a block has them."""
        blocks_text = "\n\n".join(f"{title}:\n{text}" for title, text in blocks.items())
        if not self.ask:
            return blocks_text
        listed = "\n".join(f"{option.label}. {option.text}" for option in options)
        return f"{blocks_text}\n\n{self.ask}:\n{listed}"


def lettered(sight: Sight, memory: Memory, may_stop: bool) -> tuple[Option, ...]:
    """A, B, ...: stop first where it is offered, then the places in MapGPT's words."""
    return _listed(sight, memory, may_stop, LETTERS)


def numbered(sight: Sight, memory: Memory, may_stop: bool) -> tuple[Option, ...]:
    """0 is to stop, the places count from 1."""
    labels = [str(k) for k in range(len(LETTERS))]
    return _listed(sight, memory, may_stop, labels if may_stop else labels[1:])


def _listed(
    sight: Sight, memory: Memory, may_stop: bool, labels: Sequence[str]
) -> tuple[Option, ...]:
    options = [_stop(sight, memory, labels[0])] if may_stop else []
    for k, place in enumerate(sight.places):
        way = move_words(*view_centre(sight, place))
        text = f"{way} to {memory.name_of(place)}"
        label, lean = labels[len(options)], memory.lean(place)
        options.append(Option(label, k + 1, text, place.caption, way, lean))
    return tuple(options)


def by_id(sight: Sight, memory: Memory, may_stop: bool) -> tuple[Option, ...]:
    """Places by their ids with exact headings; to stop is to be "Finished"."""
    options = [
        Option(
            place.id,
            k + 1,
            f"{degrees_words(place.heading)}, {place.distance:.2f} m",
            place.caption,
            move_words(*view_centre(sight, place)),
            memory.lean(place),
        )
        for k, place in enumerate(sight.places)
    ]
    return (*options, _stop(sight, memory, "Finished")) if may_stop else tuple(options)


def _stop(sight: Sight, memory: Memory, label: str) -> Option:
    return Option(label, STOP, memory.stop_words(), sight.here, bonus=memory.lean(None))


MAPGPT = Wording(
    system="""\
You are a robot that finds its way through a building by following an instruction.
You are given:
"Images": what was seen in the direction of each place, by number.
"Instruction": the whole way, step by step. Work out which part of it you have reached.
"History": what you did at each step so far.
"Trajectory": the numbers of the places you have been at, in order.
"Map": which places are connected. Only places you have visited have a line.
"Supplementary Info": places seen before, not visited, that cannot be reached in one step from here.
"Previous Planning": your plan of the step before.
"Action options": what you can do now.
Rules: match the history with the instruction to know what comes next. Do not walk in circles: if
you are lost, plan a way back to a place of the map that you have not tried, over several steps.
Estimate how far away the goal is. Stop when you stand within about one metre of it, not only when
you see it.
Reply with three parts: "Thought:" why; "New Planning:" the plan for the next steps, which may lead
over several places of the map; "Action:" one capital letter of the options, nothing else.""",
    form=f"Thought: -\nNew Planning: -\nAction: {ANSWER}",
    ask="Action options",
)

NAVGPT = Wording(
    system="""\
You are an agent that follows an instruction through a building, from viewpoint to viewpoint.
At each step you read what is seen in eight directions around you, and which viewpoints can be gone
to there, with their heading (left or right of where you look) and distance.
Think about how much of the instruction is done and what comes next. Move with:
Thought: your reasoning
Action: action_maker
Action Input: the id of one navigable viewpoint, copied exactly
When you have arrived, reply:
Thought: why this is the goal
Final Answer: Finished!
Use ids of the current observation only, and do not go back and forth.""",
    form=f"Thought: -\nAction: action_maker\nAction Input: {ANSWER}",
    ask="",
)

NAVGPT_SUMMARY = """\
Sum up one move through a building in one short sentence: what was done, and what kind of place it
led to. Name rooms and large things only."""

A2NAV = Wording(
    system="""\
You carry out one part of an instruction at a time: an action and the landmark it is about.
Choose the place that carries out this part best. When this part is done, answer that it is done:
the next part follows. Reply with "Action:" and one capital letter of the options.""",
    form=f"Action: {ANSWER}",
    ask="Action options",
)

SELECT2PLAN = Wording(
    system="""\
You steer a robot by the numbers of the places that it can move to. 0 means that it has arrived.
Learn from the examples, which were answered well before, then answer for the situation
at the end. Reply with "Explanation:" one sentence, then "Answer:" one number.""",
    form=f"Explanation: -\nAnswer: {ANSWER}",
    ask="",
)
