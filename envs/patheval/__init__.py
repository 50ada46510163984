"""Which of two paths suits a scenario better: PathEval's question, made and judged by rule.

Aghzal et al. 2024 (arXiv:2411.18711). A question is a scene, two paths through it and one of 15
scenarios; the better path follows from seven exact measures of each, so a reply can be judged
without a person, and a solver that measures exactly is right every time.

    questions = make_questions("test", 10, seed=0)  # ten of each scenario
    answers = evaluate(questions, ask)  # ask: prompts -> replies; both orders of the paths

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "SCENARIOS": "criteria",
    "Question": "questions",
    "better": "criteria",
    "draw_question": "pictures",
    "evaluate": "evaluation",
    "find_routes": "routes",
    "make_questions": "questions",
    "make_scene": "scenes",
    "measure": "descriptors",
    "read_choice": "prompts",
    "solve_by_rule": "symbolic",
    "write_prompt": "prompts",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
