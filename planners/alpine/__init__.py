"""ALPINE: next-token transformers that plan on a graph, their read-outs, and one built by hand.

Wang et al. 2024, "ALPINE: Unveiling the planning capability of autoregressive learning in language
models" (arXiv:2405.09220). The data set is in `pilotage.envs.pathgraph.alpine`.
"""

from pilotage.planners.alpine.answers import (
    Score,
    complete,
    learned_graph_planner,
    memoriser,
    score,
)
from pilotage.planners.alpine.model import PathGPT, PathGPTConfig
from pilotage.planners.alpine.weights import (
    construct,
    read_adjacency,
    read_reachability,
    weight_gap,
)

__all__ = [
    "PathGPT",
    "PathGPTConfig",
    "Score",
    "complete",
    "construct",
    "learned_graph_planner",
    "memoriser",
    "read_adjacency",
    "read_reachability",
    "score",
    "weight_gap",
]
