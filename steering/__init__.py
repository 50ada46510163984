"""Sites, interventions, doses, vectors, projections: steering a transformer while it acts.

Knows `torch.nn.Module`; knows neither agents nor worlds.
"""

from pilotage.steering.controls import random_matched, random_matched_all
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.receipts import ReceiptMismatch, check_receipt
from pilotage.steering.sites import (
    ResolvedSite,
    Site,
    SiteError,
    find_layers,
    parse_site,
    resolve,
    unembedding,
    value_vectors,
)
from pilotage.steering.steerer import Steerer

__all__ = [
    "Intervention",
    "ReceiptMismatch",
    "ResolvedSite",
    "Selector",
    "Site",
    "SiteError",
    "Steerer",
    "check_receipt",
    "find_layers",
    "parse_site",
    "random_matched",
    "random_matched_all",
    "resolve",
    "unembedding",
    "value_vectors",
]
