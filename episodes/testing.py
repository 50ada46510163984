"""Conformance checks that any vector world and any agent must pass; plain functions for tests.

    check_vector_world(make_env, tasks)          the contract of a world
    check_agent(agent, make_env, tasks, ...)     the contract of an agent

Each raises ContractError with the rule that is broken. They play short episodes: give them a few
tasks with few steps.
"""

from .conformance import ContractError, RandomAgent, record_difference, require_same
from .conformance_agents import check_agent
from .conformance_worlds import check_vector_world

__all__ = [
    "ContractError",
    "RandomAgent",
    "check_agent",
    "check_vector_world",
    "record_difference",
    "require_same",
]
