"""What a record says about the tokens that an agent was pushed towards, spelled out.

An agent puts `agent_trace["top_token_ids"]` into its records, `[T, L, k]` (L layers, best token
first, negative ids are padding) or `[T, k]`, and what they mean into `receipt["reading"]`:
`layers`, `pushes` (the neurons and directions that the condition edits, with the tokens that they
write) and `words`, the text of every id. See `pilotage.agents.vla.reading`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.episodes.types import EpisodeRecord

# What the discrete actions of a world are called.
ACTION_WORDS = {
    "rooms": {
        "action 0": "stop",
        "action 1": "forward",
        "action 2": "turn left",
        "action 3": "turn right",
    }
}
_LAYER = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True)
class Push:
    """One neuron or direction that a condition edits. `series` float64 `[2, T]`: the neuron before
    and after the edit; None for a direction, or where it was not recorded."""

    kind: str
    layer: int
    place: str
    neuron: int | None
    words: tuple[str, ...]
    series: np.ndarray | None = None

    @property
    def name(self) -> str:
        what = f"direction at {self.place}" if self.neuron is None else f"neuron {self.neuron}"
        return f"layer {self.layer}, {what}"


@dataclass(frozen=True)
class TokenTrace:
    """The top tokens of one episode. ids int64 `[T, L, k]`; layers has L numbers, or none where
    the record does not say which layers they are."""

    ids: np.ndarray
    layers: tuple[int, ...]
    pushes: tuple[Push, ...]
    spelling: Mapping[int, str]

    @property
    def n_steps(self) -> int:
        return len(self.ids)

    @property
    def is_spelled(self) -> bool:
        """Whether every token has a word; otherwise some are shown as `#id`."""
        return all(int(i) in self.spelling for i in np.unique(self.ids) if i >= 0)

    @property
    def steered(self) -> frozenset[int]:
        """The layers that the condition edits."""
        return frozenset(push.layer for push in self.pushes)

    def label(self, row: int) -> str:
        """Of one row of `ids`."""
        return f"layer {self.layers[row]}" if self.layers else "top tokens"

    def words(self, step: int, row: int) -> list[str]:
        """The top tokens, best first; neighbouring bins that read the same are told once."""
        return list(dict.fromkeys(spelled(self.ids[step, row].tolist(), self.spelling)))

    def first_words(self, row: int) -> list[str]:
        """The best token of each step; "" where there is none."""
        return [(spelled([i], self.spelling) or [""])[0] for i in self.ids[:, row, 0].tolist()]

    def shares(self, row: int) -> list[tuple[str, float]]:
        """In which share of the steps each word is the best token; the most frequent first."""
        counts = Counter(word for word in self.first_words(row) if word)
        return [(word, count / self.n_steps) for word, count in counts.most_common()]


def token_trace(
    record: EpisodeRecord, vocabulary: Sequence[str] | None = None
) -> TokenTrace | None:
    """What `record` recorded of tokens, or None. `vocabulary`, words by id, helps where the record
    does not spell its own."""
    if "top_token_ids" not in record.agent_trace or not record.n_steps:
        return None
    ids = np.asarray(record.agent_trace["top_token_ids"], dtype=np.int64)
    if ids.ndim < 3:
        ids = ids.reshape(len(ids), 1, -1)
    told = record.receipt.get("reading")
    told = told if isinstance(told, Mapping) else {}
    spelling = dict(enumerate(vocabulary or ()))
    names = ACTION_WORDS.get(record.task.env, {})
    for token_id, word in dict(told.get("words", {})).items():
        spelling[int(token_id)] = names.get(str(word), str(word))
    layers = tuple(int(n) for n in told.get("layers", ()))
    pushes = _pushes(record, told.get("pushes", ()), spelling)
    return TokenTrace(ids, layers if len(layers) == ids.shape[1] else (), pushes, spelling)


def _pushes(
    record: EpisodeRecord, told: Sequence[Mapping[str, object]], spelling: Mapping[int, str]
) -> tuple[Push, ...]:
    sides = [
        record.agent_trace.get(name) for name in ("neuron_activations_before", "neuron_activations")
    ]
    pushes, column = [], 0
    for entry in told:
        neuron, series = entry.get("neuron"), None
        if isinstance(neuron, int):
            if all(side is not None and column < np.shape(side)[1] for side in sides):
                series = np.stack([np.asarray(side, float)[:, column] for side in sides])
            column += 1
        site = str(entry.get("site", ""))
        layer = _LAYER.match(site)
        ids = entry.get("top_token_ids", ())
        pushes.append(
            Push(
                str(entry.get("kind", "")),
                int(layer[1]) if layer else -1,
                site[layer.end() :] if layer else site,
                neuron if isinstance(neuron, int) else None,
                tuple(dict.fromkeys(spelled(list(ids), spelling))),  # type: ignore[call-overload]
                series,
            )
        )
    return tuple(pushes)


def spelled(ids: Sequence[int], words: Mapping[int, str]) -> list[str]:
    """Words of token ids; an id without a word is shown as `#id`, padding (< 0) is dropped."""
    return [words.get(int(i), f"#{i}") for i in ids if i >= 0]
