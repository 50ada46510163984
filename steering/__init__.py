"""Sites, interventions, doses, vectors, projections: steering a transformer while it acts.

Knows `torch.nn.Module`; knows neither agents nor worlds.
"""

from pilotage.steering.artefacts import ArtefactError, model_digest
from pilotage.steering.calibration import Calibration, CalibrationWarning, calibrate
from pilotage.steering.captures import Capture, capture
from pilotage.steering.clusters import Clusters, cluster_neurons, random_neurons
from pilotage.steering.controls import random_matched, random_matched_all
from pilotage.steering.families import ModelMap, describe_model
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.logit_mix import LogitMix, LogitMixer
from pilotage.steering.projection import (
    Hit,
    Projection,
    action_share,
    concept_embedding,
    project,
    project_layers,
    search,
    semantic_embeddings,
)
from pilotage.steering.readout import NeuronProbe, Reading
from pilotage.steering.receipts import ReceiptMismatch, check_receipt
from pilotage.steering.sites import (
    ResolvedSite,
    Site,
    SiteError,
    final_norm,
    find_layers,
    offered_places,
    parse_site,
    resolve,
    unembedding,
    value_vectors,
)
from pilotage.steering.steerer import Steerer
from pilotage.steering.vectors import (
    NeuronSet,
    SteeringVector,
    load_neurons,
    load_vector,
    mean_difference,
    save_neurons,
    save_vector,
)

__all__ = [
    "ArtefactError",
    "Calibration",
    "CalibrationWarning",
    "Capture",
    "Clusters",
    "Hit",
    "Intervention",
    "LogitMix",
    "LogitMixer",
    "ModelMap",
    "NeuronProbe",
    "NeuronSet",
    "Projection",
    "Reading",
    "ReceiptMismatch",
    "ResolvedSite",
    "Selector",
    "Site",
    "SiteError",
    "Steerer",
    "SteeringVector",
    "action_share",
    "calibrate",
    "capture",
    "check_receipt",
    "cluster_neurons",
    "concept_embedding",
    "describe_model",
    "final_norm",
    "find_layers",
    "load_neurons",
    "load_vector",
    "mean_difference",
    "model_digest",
    "offered_places",
    "parse_site",
    "project",
    "project_layers",
    "random_matched",
    "random_matched_all",
    "random_neurons",
    "resolve",
    "save_neurons",
    "save_vector",
    "search",
    "semantic_embeddings",
    "unembedding",
    "value_vectors",
]
