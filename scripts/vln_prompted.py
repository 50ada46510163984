"""Prompted agents by name (`mapgpt:oracle`), and what their episodes cost and got wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.vln.prompted.agent import PromptedAgent
from pilotage.agents.vln.prompted.asking import Backend
from pilotage.agents.vln.prompted.bank import Bank, Recorder
from pilotage.agents.vln.prompted.choosers import Embedder, Nearest, Oracle
from pilotage.agents.vln.prompted.embedding import HashedWords, MiniLM
from pilotage.agents.vln.prompted.scheme import Scheme
from pilotage.agents.vln.prompted.schemes import SCHEMES, mapgpt, select2plan
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, EpisodeRecord, Task
from pilotage.scripts.vln_training import is_held_out

SMOL = "smollm2-135m-instruct"
BACKENDS = ("oracle", "minilm", "hashed", "smol", "smol-raw", "smol-free", "api", "hf=FOLDER")
N_BANK_WALKS = 150
SMALL_CAPTION_WORDS = 12  # of an image in MapGPT's prompt, for models that run on the spot


def is_prompted(name: str) -> bool:
    """Whether a name means a scheme with a back end: `scheme:backend`."""
    return ":" in name and not Path(name).exists()


@dataclass
class PromptedAgents:
    """Opens agents by name; a back end is opened once, a bank once for each way to embed."""

    data: R2RData
    tasks: Sequence[Task]  # to be played: no bank may hold their paths
    seed: int = 0
    _backends: dict[str, Backend] = field(default_factory=dict)
    _embedders: dict[str, Embedder] = field(default_factory=dict)
    _banks: dict[str, Bank] = field(default_factory=dict)

    def open(self, name: str) -> PromptedAgent:
        """KeyError for a scheme or back end that is not known."""
        scheme, _, backend = name.partition(":")
        if scheme not in SCHEMES:
            raise unknown("scheme", scheme, SCHEMES)
        if backend.partition("=")[0] not in {b.partition("=")[0] for b in BACKENDS}:
            raise unknown("back end", backend, BACKENDS)
        opened = self._backends.get(backend) or self._backend(backend)
        self._backends[backend] = opened
        about: dict[str, Any] = {}
        if scheme == "s2p":
            embedder = "minilm" if backend in ("minilm", "api") else "hashed"
            about = {"retrieval": embedder, "bank_walks": N_BANK_WALKS}
        return PromptedAgent(self._scheme(scheme, backend), opened, about=about)

    def _scheme(self, scheme: str, backend: str) -> Scheme:
        if scheme == "s2p":
            return select2plan(self._bank("minilm" if backend in ("minilm", "api") else "hashed"))
        if scheme == "mapgpt" and backend.startswith(("smol", "hf")):
            return mapgpt(n_caption_words=SMALL_CAPTION_WORDS)
        return SCHEMES[scheme]()

    def _backend(self, name: str) -> Backend:
        if name == "oracle":
            return Oracle()
        if name in ("minilm", "hashed"):
            return Nearest(self._embedder(name))
        if name == "api":
            from pilotage.agents.vln.prompted.service import Service

            return Service.from_environment()
        from pilotage.agents.vla.language import language_folder
        from pilotage.agents.vln.prompted.local import CausalLM

        if name.startswith("hf="):
            return CausalLM(Path(name[3:]), name=Path(name[3:]).name)
        folder = language_folder(SMOL)
        return CausalLM(folder, name=name, calibrated=name == "smol", free=name == "smol-free")

    def _embedder(self, name: str) -> Embedder:
        if name not in self._embedders:
            self._embedders[name] = MiniLM() if name == "minilm" else HashedWords()
        return self._embedders[name]

    def _bank(self, embedder: str) -> Bank:
        """Decisions of shortest walks of the train split, drawn by the seed."""
        if embedder not in self._banks:
            played = {task.info["path_id"] for task in self.tasks}
            known = [
                task
                for task in split_tasks("r2r", "train", self.data.root)
                if not is_held_out(task.scene["scan"]) and task.info["path_id"] not in played
            ]
            order = np.random.default_rng(self.seed).permutation(len(known))[:N_BANK_WALKS]
            recorder = Recorder()
            envs = R2RVectorEnv(16, expert_actions=True, data=self.data.root)
            chosen = [known[i] for i in order.tolist()]
            run_episodes(envs, recorder, chosen, [BASELINE], frames="none", on_error="raise")
            envs.close()
            self._banks[embedder] = Bank(recorder.examples, self._embedder(embedder))
        return self._banks[embedder]


def prompting(records: Iterable[EpisodeRecord]) -> dict[str, Any]:
    """What the prompts of some episodes cost and what went wrong, for a table; {} where no episode
    asked anything.

    `stopped_short`: episodes that stopped of their own accord, without success, after fewer moves
    than the annotated path has.
    """
    asked = [record for record in records if "n_prompts" in record.receipt]
    if not asked:
        return {}
    receipts = [record.receipt for record in asked]
    failures, mishaps = Counter[str](), Counter[str]()
    for receipt in receipts:
        failures.update(receipt["failures"])
        mishaps.update(receipt["mishaps"])
    n = len(asked)
    return {
        "prompts_an_episode": sum(r["n_prompts"] for r in receipts) / n,
        "moves_an_episode": sum(r["n_moves"] for r in receipts) / n,
        "tokens_in_an_episode": sum(r["tokens_in"] for r in receipts) / n,
        "tokens_out_an_episode": sum(r["tokens_out"] for r in receipts) / n,
        "failures": dict(sorted(failures.items())),
        "mishaps": dict(sorted(mishaps.items())),
        "stopped_short": sum(map(_stopped_short, asked)),
    }


def _stopped_short(record: EpisodeRecord) -> bool:
    moves = record.receipt["n_moves"]
    stopped = record.end.value == "agent_stopped"
    return bool(stopped and moves < len(record.task.info["path"]) - 1)


def prompting_line(found: dict[str, Any]) -> str:
    """One line of text."""
    counts = {**found["failures"], **found["mishaps"]}
    wrong = ", ".join(f"{kind} {n}" for kind, n in counts.items()) or "none"
    return (
        f"an episode: {found['prompts_an_episode']:.1f} prompts, "
        f"{found['moves_an_episode']:.1f} moves, {found['tokens_in_an_episode']:.0f} tokens read, "
        f"{found['tokens_out_an_episode']:.0f} written; failures: {wrong}; "
        f"stopped short {found['stopped_short']}"
    )
