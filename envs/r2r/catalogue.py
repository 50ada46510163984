"""What the public VLN data sets are, where they come from, and what a whole copy of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TERMS = "Matterport3D terms of use: https://kaldir.vc.in.tum.de/matterport/MP_TOS.pdf"


@dataclass(frozen=True)
class Expected:
    """Counts of a split, from the publications and the published files."""

    n_paths: int
    n_instructions: int
    n_scans: int
    sha256: str | None = None  # of the published file, where it was seen


@dataclass(frozen=True)
class DataSet:
    """One thing to put into the data folder."""

    name: str
    what: str
    source: str
    files: str  # where they go, below the data folder
    terms: str = TERMS
    splits: Mapping[str, Expected] = field(default_factory=dict)


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        "connectivity",
        "navigation graphs of the 90 Matterport3D scans",
        "github.com/peteanderson80/Matterport3DSimulator: connectivity/",
        "r2r/connectivity/<scan>_connectivity.json",
    ),
    DataSet(
        "r2r",
        "Room-to-Room paths and instructions (arXiv:1711.07280)",
        "github.com/YicongHong/Fine-Grained-R2R: source/R2R-original/",
        "r2r/R2R_<split>.json",
        splits={
            "train": Expected(
                *(4675, 14039, 61),
                "f640b790f93a2574ba642518b2feafbf49db08c700bc0327bfa751b97506e5ef",
            ),
            "val_seen": Expected(
                *(340, 1021, 56),
                "755633db9d5e64d5ca71d329c5046bb722781a09f0d1d501d7e8d094c83652ec",
            ),
            "val_unseen": Expected(783, 2349, 11),
        },
    ),
    DataSet(
        "r4r",
        "joined paths (arXiv:1905.12255)",
        "github.com/aimagelab/perceive-transform-and-act: tasks/R2R/data/",
        "r2r/R4R_<split>.json",
        splits={
            "val_seen": Expected(
                *(115, 1035, 40),
                "f170f6167e6f68b86a187b79ddee20ecacfd055e2e0a79f4bd4ba3cd9896b922",
            ),
        },
    ),
    DataSet(
        "reverie",
        "remote objects (arXiv:1904.10151), version 2",
        "github.com/YuankaiQi/REVERIE: tasks/REVERIE/data_v2/",
        "reverie/REVERIE_<split>.json",
        splits={
            "train": Expected(
                *(4071, 10290, 60),
                "67ce4fd05a0eaf6fd3bb7dad32d671330e7a91fa8dedfc5ca8f002a7304aceb4",
            ),
            "val_seen": Expected(
                *(501, 1384, 46),
                "6776ce0c5e8c2c928742c05c693a353e30e15fab293e441991c65f700a876b61",
            ),
            "val_unseen": Expected(1292, 3433, 10),
        },
    ),
    DataSet(
        "boxes",
        "object boxes in the 36 views, merged per scan (viewpoint -> object id -> fields)",
        "github.com/YuankaiQi/REVERIE: tasks/REVERIE/data/BBox/",
        "reverie/bbox/<scan>.json.gz",
    ),
    DataSet(
        "captions",
        "8 captions and object lists per viewpoint (NavGPT, arXiv:2305.16986)",
        "github.com/Malak-Mansour/Language_In_Robotic_Navigation: datasets/R2R/",
        "r2r/text/{observations_list_summarized,objects_list}/<scan>.json",
    ),
    DataSet(
        "r2r-ce",
        "R2R in continuous space, version 1-3 (arXiv:2004.02857)",
        "github.com/jacobkrantz/VLN-CE (links), github.com/sohamtiwari3120/Discrete-Continuous-VLN",
        "r2r_ce/R2R_VLNCE_v1-3/<split>/<split>.json.gz",
        splits={
            "train": Expected(
                *(3603, 10819, 61),
                "f411066b53f96d1241c045fd05a6a9e01b484c2ed9369f5b6f41806969056a34",
            ),
            "val_seen": Expected(
                *(259, 778, 53),
                "7fc94841ebbd2eac0d398e020a2f638426948beaf4a561f6ee310dd67cddce55",
            ),
            "val_unseen": Expected(613, 1839, 11),
        },
    ),
    DataSet(
        "r2r-ce-traces",
        "what the shortest-path follower did in R2R-CE",
        "github.com/sohamtiwari3120/Discrete-Continuous-VLN: R2R_VLNCE_v1-3_preprocessed/",
        "r2r_ce/gt/<split>_gt.json.gz",
        splits={
            "val_seen": Expected(
                *(259, 778, 53),
                "cf41ac4dc6bcbada202e9cf0c414b0469153a4e1c5d02a21f088edd6032299fc",
            ),
            "val_unseen": Expected(613, 1839, 11),
        },
    ),
)
