"""What an agent's step costs with steering, and with everything on that watches it.

    python -m pilotage.scripts.bench_acting [--agent nano] [--rows 32] [--repeats 15]

Two copies of one agent act on the same observations (random pictures) in alternating pairs: one
as it is, the other steered, or steered and watched as well. Watching everything is the layer
monitor, the token reading and the recorded states of every layer's residual stream. Processor
time on a CPU; a ratio is taken inside each pair, and the median of the pairs is printed with the
10th and 90th percentile.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.conditions import parse_condition
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import BASELINE, Condition, Seeds, Task
from pilotage.scripts.bench_steering import pair_as_text, paired, seconds
from pilotage.scripts.opening import load_vla

WORDS = "move to the red cube"


def everything(agent: VLAAgent) -> dict[str, Any]:
    """The options of an agent that watches itself in every way there is."""
    sites = [f"layers.{i}.resid:out" for i in range(agent.config.n_layers)]
    return {"monitor": True, "read_tokens": True, "record_sites": tuple(sites)}


def observations(agent: VLAAgent, rows: int) -> dict[str, Any]:
    """Random pictures and a body at rest, `rows` of them, as a world gives them."""
    c, rng = agent.config, np.random.default_rng(0)
    size = c.image_size
    seen: dict[str, Any] = {
        key: rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8) for key in c.image_keys
    }
    if c.with_depth:
        seen["depth"] = rng.uniform(0.2, 5.0, (rows, size, size)).astype(np.float32)
    width = c.proprio_dim // len(c.proprio_keys)
    seen |= {key: np.zeros((rows, width), np.float32) for key in c.proprio_keys}
    return seen | {"instruction": (WORDS,) * rows}


def acting(
    name: str, world: str, rows: int, conditions: list[Condition], **watching: Any
) -> Callable[[], float]:
    """A call that measures one step of a fresh copy of the agent, row i under condition i."""
    agent = load_vla(name, world)
    agent.rows_per_forward = rows
    for option, value in watching.items():
        setattr(agent, option, value)
    agent.prepare(list({c.name: c for c in conditions}.values()), rows)
    for row in range(rows):
        task = Task(f"row-{row}", world, "val", "reach", WORDS, 10_000, None, None, None, 0.0)
        agent.reset_slot(row, task, conditions[row % len(conditions)], Seeds(row, row, row))
    seen, active = observations(agent, rows), np.ones(rows, bool)

    def step() -> None:
        agent.act(seen, active)
        agent.step_trace()

    return lambda: seconds(step, "cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--agent", default="nano")
    parser.add_argument("--env", default="tabletop")
    parser.add_argument("--condition", default="fast")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    agent = load_vla(args.agent, args.env)
    condition = parse_condition(args.condition, agent.folder)
    steered = [condition, BASELINE]
    cases: dict[str, tuple[list[Condition], dict[str, Any]]] = {
        f"{args.condition} in every row": ([condition], {}),
        f"{args.condition} and baseline mixed": (steered, {}),
        "mixed, all that watches is on": (steered, everything(agent)),
    }
    cases |= {
        f"mixed, {option} only": (steered, {option: value})
        for option, value in everything(agent).items()
    }
    report = {}
    for title, (conditions, watching) in cases.items():
        plain = acting(args.agent, args.env, args.rows, [BASELINE])
        other = acting(args.agent, args.env, args.rows, conditions, **watching)
        report[title] = paired(plain, other, args.repeats)
    if args.json:
        print(json.dumps({"settings": vars(args), "other / plain": report}))
    else:
        print(f"torch {torch.__version__}; {vars(args)}")
        print("\n".join(f"{t:42} {pair_as_text(pair)}" for t, pair in report.items()))


if __name__ == "__main__":
    main()
