"""A causal language model in a folder as a back end: it chooses by likelihood, or writes.

Choosing is constrained: the labels of the options are the only replies, and the one with the
largest mean log-likelihood per token behind the form's own words is taken. So a small model that
cannot hold a format can still be asked what it prefers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotage.agents.causal import CausalModel, shared_start
from pilotage.episodes.types import Json

from .asking import ANSWER, Reply, Request, need_options

if TYPE_CHECKING:
    import torch

SPLIT = "\x00"  # stands for a prompt where only what comes before it is wanted
NO_CONTENT = "N/A"


class CausalLM:
    """A model that transformers wrote: `config.json`, `tokenizer.json`, `*.safetensors`.

    Requests are served one by one, so that none feels its neighbours.

    Args:
        folder: of the model.
        name: for tables.
        calibrated: take from each label's score what it gets from a prompt that says nothing
            (Zhao et al. 2021, arXiv:2102.09690, in logarithms), for small models like some letters.
        free: write the reply greedily instead of choosing among the labels.
        max_new_tokens: of a reply that is written.

    Raises ValueError when the folder is no such model.
    """

    needs_expert = False

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        calibrated: bool = False,
        free: bool = False,
        max_new_tokens: int = 64,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be >= 1, got {max_new_tokens}")
        self.name, self.writes = name, free
        self._max_new_tokens = max_new_tokens
        self._calibrated = calibrated
        self._stems: dict[str, tuple[list[int], Any]] = {}
        self._priors: dict[tuple[str, str, tuple[str, ...]], np.ndarray] = {}
        self._model = CausalModel(folder)

    def manifest(self) -> dict[str, Json]:
        written = {"max_new_tokens": self._max_new_tokens}
        how: dict[str, Json] = written if self.writes else {"calibrated": self._calibrated}
        n = self._model.n_parameters
        about = {"model": self._model.folder.name, "n_parameters": n, "tokens": "of the model"}
        return {"backend": self.name, **about, **how}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """A prompt that is longer than the model can read gets a reply with an `error`."""
        import torch

        with torch.inference_mode():
            return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        if self.writes:
            return self._written(request)
        need_options(request, self.name)
        labels = [option.label for option in request.options]
        rows = self._rows(request, request.prompt)
        too_long = self._too_long(max(map(len, rows)))
        if too_long:
            return too_long
        scores = self._scores(request, rows)
        if self._calibrated:
            scores = scores - self._without_content(request)
        best = int(scores.argmax())
        n_read = shared_start(rows)
        return Reply(request.worded(labels[best]), n_read, len(rows[best]) - n_read)

    def _rows(self, request: Request, prompt: str) -> list[list[int]]:
        """Tokens of the prompt and each possible reply, up to where its label ends."""
        start = self._model.chat(prompt, request.system) + request.form.split(ANSWER)[0]
        return [self._model.encode(start + option.label) for option in request.options]

    def _without_content(self, request: Request) -> np.ndarray:
        """Scores [options] where the prompt says nothing: what the labels get for themselves."""
        labels = tuple(option.label for option in request.options)
        key = (request.system, request.form, labels)
        if key not in self._priors:
            self._priors[key] = self._scores(request, self._rows(request, NO_CONTENT))
        return self._priors[key]

    def _scores(self, request: Request, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Mean log-likelihood [n] of each row behind the tokens that all rows share.

        The system's part is read once and kept; it is read by itself, so that keeping it changes
        no number.
        """
        shared = shared_start(rows)
        stem, cache = self._stem(request.system, rows[0][:shared])
        first = self._model.logits(rows[0][stem:shared], cache, 1)[-1].log_softmax(-1)
        scores = []
        for row in rows:
            rest = row[shared:]
            total = float(first[rest[0]])
            if len(rest) > 1:
                logits = self._model.logits(rest[:-1], cache, 0)
                cache.crop(1 - len(rest))
                total += float(_picked(logits, rest[1:]).sum())
            scores.append(total / len(rest))
        cache.crop(stem - shared)
        self._stems[request.system] = (list(rows[0][:stem]), cache)
        return np.array(scores)

    def _stem(self, system: str, row: Sequence[int]) -> tuple[int, Any]:
        """How many tokens of `row` are read already, and the cache that holds them. The cache is
        taken out of the keeping, so that a failure leaves none that is half full."""
        from transformers import DynamicCache

        if system in self._stems:
            ids, cache = self._stems.pop(system)
        else:
            encoded = self._model.encode(self._model.chat(SPLIT, system).split(SPLIT)[0])
            ids, cache = encoded[:-1], DynamicCache()  # the last token may join with what follows
            self._model.logits(ids, cache, 1)
        if list(row[: len(ids)]) == list(ids) and len(ids) < len(row):
            return len(ids), cache
        return 0, DynamicCache()

    def _written(self, request: Request) -> Reply:
        ids = self._model.encode(self._model.chat(request.prompt, request.system))
        too_long = self._too_long(len(ids) + self._max_new_tokens)
        if too_long:
            return too_long
        written = self._model.write(ids, self._max_new_tokens)
        return Reply(self._model.decode(written), len(ids), len(written))

    def _too_long(self, n: int) -> Reply | None:
        if n <= self._model.longest:
            return None
        return Reply(
            "", 0, 0, f"{n} tokens, the model reads {self._model.longest}", {"too long": 1}
        )


def _picked(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Log-likelihoods [n] of `tokens` under logits [n, vocabulary]."""
    import torch

    return logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)]
