"""Clone-structured cognitive graphs: maps learned from aliased observations and actions.

George et al. 2021, Nature Communications 12:2392: a hidden Markov model in which every observation
has its own block of states ("clones"), and actions choose the transition matrix.
"""

from pilotage.planners.cscg.maps import learn_map, map_walk
from pilotage.planners.cscg.model import CSCG, Fit
from pilotage.planners.maps import LearnedMap, MapScore, score_map

__all__ = ["CSCG", "Fit", "LearnedMap", "MapScore", "learn_map", "map_walk", "score_map"]
