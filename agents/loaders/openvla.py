"""OpenVLA (arXiv:2406.09246) as a policy: its prompt, its pictures, its 7 tokens an action."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.loaders import motion
from pilotage.agents.loaders.bins import BinCodec, NormStats
from pilotage.agents.loaders.contract import Announce, Decision, Scene
from pilotage.agents.loaders.decoding import RowDecoder
from pilotage.agents.loaders.files import WeightFiles, read_json
from pilotage.agents.loaders.openvla_model import OpenVLANetwork, load_network
from pilotage.agents.loaders.pictures import scaled, stretched
from pilotage.agents.loaders.text import SPACE, CheckpointTokenizer
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.episodes.types import Json
from pilotage.steering import tokens as groups

HUB_NAME = "openvla/openvla-7b"
PROMPT = "In: What action should the robot take to {}?\nOut:"
VICUNA_PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: What action should the "
    "robot take to {}? ASSISTANT:"
)
MAX_PROMPT = 96  # tokens behind the picture; forwards are padded to it


class OpenVLAPolicy:
    """One picture, one instruction, one action a step, greedy.

    The likeliest of the 256 action tokens is taken. Where a word would have been likelier, the
    published code decodes that word as if it were an action; here it is counted (`odd`).
    """

    horizon = 1
    picture_keys = ("rgb",)

    def __init__(
        self,
        network: OpenVLANetwork,
        tokenizer: CheckpointTokenizer,
        codec: BinCodec,
        stats: NormStats,
        *,
        key: str,
        prompt: str,
        scales: list[tuple[list[float], list[float]]],
        max_prompt: int = MAX_PROMPT,
    ) -> None:
        self.network, self.tokenizer, self.codec, self.stats = network, tokenizer, codec, stats
        self.decoder = network.language_model
        self.key, self.prompt, self.scales, self.max_prompt = key, prompt, scales, max_prompt
        self.trace = {"action_tokens": (-1, (stats.n_numbers,))}
        self.device = next(network.parameters()).device
        tokenizer.describe = self._describe
        self.prompt_ids = lru_cache(maxsize=256)(self._prompt_ids)

    @property
    def action_ids(self) -> range:
        return self.codec.ids

    def _describe(self, token_id: int) -> str | None:
        return (
            f"{self.codec.decode(np.array(token_id)):+.2f}" if token_id in self.codec.ids else None
        )

    def text_of(self, token_id: int) -> str:
        return self.tokenizer.text_of(token_id)

    def _prompt_ids(self, text: str) -> tuple[int, ...]:
        """Ids of the whole prompt: `<s>` first, and last the empty piece that the policy was
        trained to see before actions."""
        ids = self.tokenizer.ids(self.prompt.format(text.lower()))
        first, empty = self.decoder.config.bos_token_id, self.tokenizer.piece_id(SPACE)
        if empty is None:
            raise CheckpointError(f"{self.tokenizer.path} has no piece {SPACE!r}; is it Llama's?")
        ids = ids if ids[:1] == [first] else [first, *ids]
        ids = ids if ids[-1] == empty else [*ids, empty]
        if len(ids) - 1 > self.max_prompt:
            raise ValueError(
                f"the instruction makes a prompt of {len(ids) - 1} tokens, at most "
                f"{self.max_prompt} are read: {text!r}"
            )
        return tuple(ids)

    def check_text(self, text: str) -> None:
        self.prompt_ids(text)

    def allocate(self, n_rows: int) -> None:
        capacity = 1 + self.network.n_patches + self.max_prompt + self.stats.n_numbers
        self._rows = RowDecoder(self.decoder.model, n_rows=n_rows, capacity=capacity)

    def decide(
        self, scene: Scene, announce: Announce, watch: AbstractContextManager[None]
    ) -> Decision:
        states, places, keep, kinds = self._prefix(scene)
        self._rows.restart()
        announce(torch.where(keep, kinds, groups.PAD), "prefill", 0)
        with watch:
            hidden = self._rows.feed(states, places=places, turns=places, keep=keep)[:, -1]
        live = keep[:, :1]
        kind = torch.where(live, groups.ACTION, groups.PAD)
        chosen: list[torch.Tensor] = []
        odd = torch.zeros(len(keep), dtype=torch.long, device=self.device)
        place = places[:, -1:]
        for k in range(self.stats.n_numbers):
            logits = self.decoder.lm_head(hidden)
            token = logits[:, self.codec.ids.start : self.codec.ids.stop].argmax(-1)
            token = token + self.codec.ids.start
            odd += live[:, 0] & (logits.argmax(-1) != token)
            chosen.append(token)
            if k < self.stats.n_numbers - 1:
                place = place + 1
                announce(kind, "decode", k)
                state = self.network.embed(token)[:, None]
                hidden = self._rows.feed(state, places=place, turns=place, keep=live)[:, -1]
        ids = torch.stack(chosen, dim=1).cpu().numpy()
        actions = self.stats.restore(self.codec.decode(ids))
        trace = {"action_tokens": ids.astype(np.int32)}
        return Decision(actions[:, None], trace, odd.cpu().numpy())

    def _prefix(self, scene: Scene) -> tuple[torch.Tensor, ...]:
        """Embeddings `[R, S, d]`, positions, which are kept, and token groups, each `[R, S]`.

        `<s>`, the picture, padding, the prompt: its last token is in the last column of all rows.
        """
        n_rows, n_seen = len(scene.live), 1 + self.network.n_patches
        ids = torch.zeros(n_rows, self.max_prompt, dtype=torch.long)
        places = torch.arange(n_seen).repeat(n_rows, 1)
        behind = torch.zeros_like(ids)
        real = torch.zeros_like(ids, dtype=torch.bool)
        for row in np.flatnonzero(scene.live).tolist():
            words = self.prompt_ids(scene.texts[row])[1:]
            ids[row, -len(words) :] = torch.tensor(words)
            behind[row, -len(words) :] = n_seen + torch.arange(len(words))
            real[row, -len(words) :] = True
        live = torch.from_numpy(scene.live)[:, None]
        keep = torch.cat([live.expand(-1, n_seen), real], dim=1)
        kinds = torch.full(keep.shape, groups.INSTRUCTION, dtype=torch.int8)
        kinds[:, 1:n_seen] = groups.IMAGE
        first = torch.full((n_rows, 1), self.decoder.config.bos_token_id)
        said = self.network.embed(torch.cat([first, ids], dim=1).to(self.device))
        seen = self.network.see(self._pictures(scene))
        states = torch.cat([said[:, :1], seen, said[:, 1:]], dim=1)
        places = torch.cat([places, behind], dim=1)
        return states, places.to(self.device), keep.to(self.device), kinds.to(self.device)

    def _pictures(self, scene: Scene) -> list[torch.Tensor]:
        """A batch a tower; each tower has its own size and scale."""
        pictures = scene.pictures["rgb"]
        return [
            scaled(stretched(pictures, size), mean, std)
            for size, (mean, std) in zip(self.network.picture_sizes, self.scales, strict=True)
        ]

    def manifest(self) -> dict[str, Json]:
        return {"norm_stats": self.key, "max_prompt": self.max_prompt}


def load_openvla(
    folder: Path,
    *,
    key: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    max_prompt: int = MAX_PROMPT,
) -> tuple[OpenVLAPolicy, str]:
    """An OpenVLA folder as released: config.json, model*.safetensors with their index,
    preprocessor_config.json and tokenizer.json. Also returns the SHA-256 of the weights.

    key: whose action statistics undo the scaling (`norm_stats` of config.json, and
    dataset_statistics.json where tuning left one). Raises CheckpointError naming what is missing.
    """
    config = read_json(folder / "config.json", "the configuration", HUB_NAME)
    if config.get("model_type") != "openvla":
        raise CheckpointError(
            f"{folder / 'config.json'} says model_type {config.get('model_type')!r}, not 'openvla'"
        )
    if config.get("image_resize_strategy", "resize-naive") != "resize-naive":
        raise CheckpointError(
            f"{folder / 'config.json'} prepares pictures by "
            f"{config['image_resize_strategy']!r}; only 'resize-naive' is read here"
        )
    stats = dict(config.get("norm_stats") or {})
    tuned = folder / "dataset_statistics.json"
    if tuned.is_file():
        stats |= read_json(tuned, "the statistics of the tuning data", HUB_NAME)
    key, chosen = NormStats.read(stats, key, str(folder))
    motion.check_numbers(chosen.n_numbers, f"{key!r} in {folder}")
    tokenizer = CheckpointTokenizer(folder / "tokenizer.json", HUB_NAME)
    weights = WeightFiles.find(folder, HUB_NAME)
    network = load_network(config, weights, device=device, dtype=dtype)
    padding = int(config.get("pad_to_multiple_of", 64))  # rows of the embedding table, as published
    n_bins = int(config.get("n_action_bins", 256))
    policy = OpenVLAPolicy(
        network,
        tokenizer,
        BinCodec(network.language_model.config.vocab_size - padding, n_bins),
        chosen,
        key=key,
        prompt=VICUNA_PROMPT if "vicuna" in str(config.get("llm_backbone_id")) else PROMPT,
        scales=_scales(folder, network.vision_backbone.n_towers),
        max_prompt=max_prompt,
    )
    return policy, weights.sha256()


def _scales(folder: Path, n_towers: int) -> list[tuple[list[float], list[float]]]:
    path = folder / "preprocessor_config.json"
    found: dict[str, Any] = read_json(path, "how pictures are scaled", HUB_NAME)
    means, stds = found.get("means"), found.get("stds")
    if not means or not stds or not len(means) == len(stds) == n_towers:
        raise CheckpointError(
            f"{path}: means is {means!r} and stds {stds!r}; expected {n_towers} lists of 3 numbers"
        )
    return [(list(mean), list(std)) for mean, std in zip(means, stds)]
