"""Episode files of RxR-CE: `{split}_guide.json.gz` and `{split}_follower.json.gz`.

Room-across-Room (Ku et al. 2020, arXiv:2010.07954) in continuous space, as VLN-CE carries it: the
entries of R2R-CE, whose instructions say in which language they are, who spoke them, and when.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.continuous import ContinuousEpisode, check_ids, episode_of
from pilotage.envs.r2r.errors import DataError
from pilotage.envs.r2r.files import field_of, read_json
from pilotage.episodes.names import unknown

Role = Literal["guide", "follower"]
TURN_DEG = 30  # of the RxR-Habitat challenge; VLN-CE turns by 15


@dataclass(frozen=True, eq=False)
class SpokenEpisode:
    """An episode and what RxR knows of its instruction.

    `timed` holds (word, start, end) in seconds from the start of the recording; NaN where the
    alignment has no time.
    """

    episode: ContinuousEpisode
    instruction_id: str
    language: str  # "en-US", "en-IN", "hi-IN", "te-IN"
    annotator_id: str
    edit_distance: float  # of the transcript to what the recogniser heard
    timed: tuple[tuple[str, float, float], ...]


def rxr_file(root: Path, split: str, role: Role = "guide") -> Path:
    """Where the episodes of a split lie."""
    split = SPLIT_ALIASES.get(split, split)
    return root / "rxr_ce" / "RxR_VLNCE_v0" / split / f"{split}_{role}.json.gz"


def read_rxr(path: Path, languages: Sequence[str] | None = None) -> list[SpokenEpisode]:
    """The episodes of a file, in its order.

    Args:
        languages: of "en", "hi", "te", or with their countries ("en-IN"); None keeps all.

    Raises:
        DataMissing: there is no such file.
        DataError: it is damaged, or an episode id occurs twice.
        KeyError: a language that no episode has.
    """
    content = field_of(read_json(path, dict), "episodes", list, str(path))
    spoken = [_spoken(entry, f"{path} entry {i}") for i, entry in enumerate(content)]
    check_ids([s.episode for s in spoken], path)
    if languages is None:
        return spoken
    there = sorted({name for s in spoken for name in (s.language, s.language.partition("-")[0])})
    for language in languages:
        if language not in there:
            raise unknown("language", language, there)
    wanted = set(languages)
    return [s for s in spoken if {s.language, s.language.partition("-")[0]} & wanted]


def _spoken(entry: Any, where: str) -> SpokenEpisode:
    episode = episode_of(entry, where)
    words = field_of(entry, "instruction", dict, where)
    timed = field_of(words, "timed_instruction", list, where)
    return SpokenEpisode(
        episode,
        str(field_of(words, "instruction_id", (int, str), where)),
        field_of(words, "language", str, where),
        str(field_of(words, "annotator_id", (int, str), where)),
        float(field_of(words, "edit_distance", (int, float), where)),
        tuple(_timed(word, f"{where} word {k}") for k, word in enumerate(timed)),
    )


def _timed(entry: Any, where: str) -> tuple[str, float, float]:
    times = []
    for name in ("start_time", "end_time"):
        value = entry.get(name) if isinstance(entry, dict) else None
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{where}: {name!r} is {value!r}, expected seconds or nothing")
        times.append(math.nan if value is None else float(value))
    return field_of(entry, "word", str, where), times[0], times[1]
