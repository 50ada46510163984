"""Maps that a transformer with discrete bottlenecks learns from aliased observations and actions.

Dedieu et al. 2024, "Learning cognitive maps from transformer representations for efficient planning
in partially observed environments" (arXiv:2401.05946).
"""

from pilotage.planners.tdb.model import TDB, TDBConfig
from pilotage.planners.tdb.training import Progress, TdbRecipe, train_tdb
from pilotage.planners.tdb.walks import Reading, accuracy, read_off_map, read_walk

__all__ = [
    "TDB",
    "Progress",
    "Reading",
    "TDBConfig",
    "TdbRecipe",
    "accuracy",
    "read_off_map",
    "read_walk",
    "train_tdb",
]
