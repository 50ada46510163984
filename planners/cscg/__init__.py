"""Clone-structured cognitive graphs: maps learned from aliased observations and actions.

George et al. 2021, Nature Communications 12:2392: a hidden Markov model in which every observation
has its own block of states ("clones"), and actions choose the transition matrix.
"""

from pilotage.planners.cscg.maps import LearnedMap, MapScore, learn_map, map_walk, score_map
from pilotage.planners.cscg.model import CSCG, Fit

__all__ = ["CSCG", "Fit", "LearnedMap", "MapScore", "learn_map", "map_walk", "score_map"]
