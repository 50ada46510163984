"""Prompts in, replies out: a causal language model of a folder that transformers wrote.

`free` lets it write; `chosen` asks which of a few replies it finds likeliest, which every model can
answer, however badly it follows instructions. Both are greedy: the same prompt, the same reply.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pilotage.agents.causal import CausalModel, shared_start
from pilotage.agents.vla.language import language_folder


class LanguageReplies:
    """A language model by the name or folder that `language_folder` knows.

    `n_tokens` counts all tokens that were read and written.

    Raises ValueError for a folder that holds no such model.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        self.name, self.n_tokens = name, 0
        self._model = CausalModel(language_folder(name), device=device)

    def free(self, prompts: Sequence[str], *, max_new_tokens: int = 24) -> list[str]:
        """What it writes, up to its end mark or `max_new_tokens`."""
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be >= 1, got {max_new_tokens}")
        return [
            self._write(self._ids(prompt, max_new_tokens), max_new_tokens) for prompt in prompts
        ]

    def chosen(self, prompts: Sequence[str], options: Sequence[str]) -> list[str]:
        """The likeliest of `options` for each prompt; the first of equal ones.

        Raises ValueError when there are no two different options.
        """
        if len(set(options)) < 2 or len(set(options)) != len(options):
            raise ValueError(f"a choice needs two or more different options, got {list(options)}")
        scores = [self.log_likelihoods(prompt, options) for prompt in prompts]
        return [options[max(range(len(options)), key=row.__getitem__)] for row in scores]

    @torch.inference_mode()
    def log_likelihoods(self, prompt: str, options: Sequence[str]) -> list[float]:
        """Natural logarithms of the probability of each option behind the prompt."""
        tails = [self._model.encode(option, special=False) for option in options]
        shared = shared_start(tails)
        ids = self._ids(prompt, max(len(tail) for tail in tails))
        if all(len(tail) == shared + 1 for tail in tails):  # they part at one token: one pass
            logits = self._logits(ids + tails[0][:shared])
            common = _sum_log(logits, ids, tails[0][:shared])
            last = logits[-1].log_softmax(-1)
            return [common + float(last[tail[-1]]) for tail in tails]
        return [_sum_log(self._logits(ids + tail), ids, tail) for tail in tails]

    def _logits(self, ids: list[int]) -> torch.Tensor:
        self.n_tokens += len(ids)
        return self._model.logits(ids)

    def _write(self, ids: list[int], max_new_tokens: int) -> str:
        written = self._model.write(ids, max_new_tokens)
        self.n_tokens += len(ids) + len(written)
        return self._model.decode(written).strip()

    def _ids(self, prompt: str, room: int) -> list[int]:
        ids = self._model.encode(self._model.chat(prompt))
        if len(ids) + room > self._model.longest:
            raise ValueError(
                f"a prompt has {len(ids)} tokens; with {room} for the reply that is more than the "
                f"{self._model.longest} that {self.name} reads; give a shorter one"
            )
        return ids


def _sum_log(logits: torch.Tensor, ids: Sequence[int], tail: Sequence[int]) -> float:
    """Of `tail` behind `ids`, from the logits of both."""
    if not tail:
        return 0.0
    rows = logits[len(ids) - 1 : len(ids) - 1 + len(tail)].log_softmax(-1)
    return float(rows.gather(1, torch.tensor([list(tail)], device=rows.device).T).sum())
