"""Graph schemas: the structure of a known place, bound anew to what is seen in another one.

After Guntupalli et al. 2023, "Graph schemas as abstractions for transfer learning, inference, and
planning" (arXiv:2302.07350).
"""

from pilotage.planners.schemas.binding import UNBOUND, Binding, Hypothesis
from pilotage.planners.schemas.learning import join, learn_schema, without_symbols
from pilotage.planners.schemas.schema import UNKNOWN, Schema

__all__ = [
    "UNBOUND",
    "UNKNOWN",
    "Binding",
    "Hypothesis",
    "Schema",
    "join",
    "learn_schema",
    "without_symbols",
]
