"""SmolVLA (arXiv:2506.01844) as LeRobot saves it: chunks of actions by flow matching."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.loaders import motion
from pilotage.agents.loaders.contract import Announce, Decision, Scene
from pilotage.agents.loaders.files import WeightFiles, read_json
from pilotage.agents.loaders.filling import fill
from pilotage.agents.loaders.lerobot_files import (
    ACTION,
    STATE,
    Features,
    Scale,
    companion,
    hand_state,
    lerobot_config,
    read_scale,
)
from pilotage.agents.loaders.pictures import channels_first, fitted
from pilotage.agents.loaders.smolvla_model import SmolVLANetwork, check_variant
from pilotage.agents.loaders.text import CheckpointTokenizer
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Json
from pilotage.steering import tokens as groups

HUB_NAME = "lerobot/smolvla_base"
VLM = "vlm"  # the folder inside with SmolVLM2's config.json and tokenizer.json
STREAMS = ("vlm", "expert")
_UNUSED = (
    r"(un)?normalize_(inputs|outputs|targets)\..*",
    r".*lm_expert\.(lm_head|embed_tokens)\..*",
)


class SmolVLAPolicy:
    """One chunk a decision, from noise of the episode's own seed.

    stream: which stack is steered. `vlm`: its tokens are read once a decision (prefill); `expert`:
    its action tokens pass at each Euler step, announced as denoise step and decode token.
    """

    def __init__(
        self,
        network: SmolVLANetwork,
        tokenizer: CheckpointTokenizer,
        features: Features,
        scales: dict[str, Scale],
        *,
        where: str,
        stream: str = "vlm",
    ) -> None:
        if stream not in STREAMS:
            raise unknown("stream", stream, STREAMS)
        config = network.config
        self.network, self.tokenizer = network, tokenizer
        self.features, self.scales = features, scales
        self.where, self.stream = where, stream
        self.decoder = network.vlm if stream == "vlm" else network.expert
        self.chunk = int(config.get("chunk_size", 50))
        self.horizon = int(config.get("n_action_steps", 50))
        self.max_prompt = int(config.get("tokenizer_max_length", 48))
        self.picture_size = tuple(config.get("resize_imgs_with_padding") or (512, 512))[::-1]
        self.cameras = shown_cameras(features.cameras, int(config.get("empty_cameras", 0)))
        self.picture_keys = tuple(c for c in self.cameras if c is not None)
        self.trace: dict[str, Any] = {}
        self.action_ids = range(0)  # actions are no tokens here
        self.text_ids = lru_cache(maxsize=1024)(self._text_ids)
        self.weight = network.state_proj.weight

    def text_of(self, token_id: int) -> str:
        return self.tokenizer.text_of(token_id)

    def _text_ids(self, text: str) -> tuple[int, ...]:
        ids = self.tokenizer.ids(text if text.endswith("\n") else f"{text}\n")
        if len(ids) > self.max_prompt:
            raise ValueError(
                f"the instruction has {len(ids)} tokens, at most {self.max_prompt} are read: "
                f"{text!r}"
            )
        return tuple(ids)

    def check_text(self, text: str) -> None:
        self.text_ids(text)

    def allocate(self, n_rows: int) -> None:
        """Nothing: keys and values live as long as a decision."""

    def decide(
        self, scene: Scene, announce: Announce, watch: AbstractContextManager[None]
    ) -> Decision:
        states, keep, kinds = self._prefix(scene)
        if self.stream == "vlm":
            announce(torch.where(keep, kinds, groups.PAD), "prefill", 0)
        with watch:
            prefix = self.network.read_prefix(states, keep)
        live = torch.from_numpy(scene.live)[:, None].expand(-1, self.chunk)
        acted = torch.where(live, groups.ACTION, groups.PAD)

        def step(k: int) -> None:
            if self.stream == "expert":
                announce(acted, "decode", k, denoise_step=k)

        shape = (self.chunk, int(self.network.config["max_action_dim"]))
        noise = np.zeros((len(scene.live), *shape), dtype=np.float32)
        for row in np.flatnonzero(scene.live).tolist():
            noise[row] = scene.noise[row].standard_normal(shape, dtype=np.float32)
        made = self.network.sample(torch.from_numpy(noise).to(self.weight.device), prefix, step)
        chunk = made[:, : self.horizon, : self.features.n_action].double().cpu().numpy()
        return Decision(self.scales[ACTION].restore(chunk), {})

    def _prefix(self, scene: Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Embeddings `[R, S, d]`, which are kept and token groups, each `[R, S]`: pictures, words
        and padding, the state."""
        n_rows = len(scene.live)
        live = torch.from_numpy(scene.live)[:, None]
        seen = [self.network.see(self._picture(scene, c)) for c in self.cameras]
        shown = [live.expand(-1, s.shape[1]) & (c is not None) for s, c in zip(seen, self.cameras)]
        ids = torch.zeros(n_rows, self.max_prompt, dtype=torch.long)
        real = torch.zeros(n_rows, self.max_prompt, dtype=torch.bool)
        for row in np.flatnonzero(scene.live).tolist():
            words = self.text_ids(scene.texts[row])
            ids[row, : len(words)] = torch.tensor(words)
            real[row, : len(words)] = True
        state = self.scales[STATE].normalise(
            hand_state(scene.proprio, self.features.n_state, self.where)
        )
        padded = np.zeros((n_rows, self.network.state_proj.in_features))
        padded[:, : state.shape[1]] = state
        own = self.network.state_proj(torch.from_numpy(padded).to(self.weight))[:, None]
        words_seen = self.network.embed(ids.to(self.weight.device))
        states = torch.cat([*seen, words_seen, own], dim=1)
        keep = torch.cat([*shown, real, live], dim=1).to(self.weight.device)
        kinds = torch.full(keep.shape, groups.INSTRUCTION, dtype=torch.int8, device=keep.device)
        kinds[:, : sum(s.shape[1] for s in seen)] = groups.IMAGE
        kinds[:, -1] = groups.PROPRIO
        return states, keep, kinds

    def _picture(self, scene: Scene, camera: str | None) -> torch.Tensor:
        if camera is None:
            made = torch.full((len(scene.live), 3, *self.picture_size), -1.0)
        else:
            shown = channels_first(scene.pictures[camera])
            made = fitted(shown, self.picture_size, centred=False) * 2.0 - 1.0
        return made.to(self.weight)

    def manifest(self) -> dict[str, Json]:
        return {"horizon": self.horizon, "stream": self.stream}


def shown_cameras(cameras: tuple[str | None, ...], n_empty: int) -> tuple[str | None, ...]:
    """Cameras with a picture, then as many black ones as the policy was trained with."""
    real = [c for c in cameras if c is not None]
    return (*real, *[None] * min(n_empty, len(cameras) - len(real)))


def load_smolvla(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None, stream: str = "vlm"
) -> tuple[SmolVLAPolicy, str]:
    """A SmolVLA folder of LeRobot and the SHA-256 of its weights; float32 unless `dtype` says else.

    The configuration and tokenizer of its VLM are looked for in `vlm/` inside the folder, then on
    the hub. Raises CheckpointError saying what is missing.
    """
    from transformers import SmolVLMConfig

    config = lerobot_config(folder, "smolvla", HUB_NAME)
    where = str(folder / "config.json")
    check_variant(config, where)
    features = Features.read(config, where)
    motion.check_numbers(features.n_action, str(folder))
    hand_state(np.zeros((1, 7)), features.n_state, str(folder))
    weights = WeightFiles.find(folder, HUB_NAME)
    scales = {
        STATE: read_scale(folder, weights, config, STATE, features.n_state),
        ACTION: read_scale(folder, weights, config, ACTION, features.n_action),
    }
    name = config.get("vlm_model_name", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct")
    vlm_folder = companion(folder, VLM, name, "config.json")
    vlm = read_json(vlm_folder / "config.json", "the sizes of the VLM", name)
    if vlm.get("model_type") != "smolvlm":
        raise CheckpointError(f"{vlm_folder / 'config.json'} is no SmolVLM configuration")
    vlm_config = SmolVLMConfig.from_dict(vlm)
    vlm_config.text_config.num_hidden_layers = int(config.get("num_vlm_layers", 16))
    defaults = {"max_state_dim": 32, "max_action_dim": 32}
    with torch.device("meta"):
        network = SmolVLANetwork(vlm_config, defaults | config)

    def rename(on_disk: str) -> str:
        return on_disk.removeprefix("model.").removeprefix("_orig_mod.")

    fill(
        network,
        weights,
        rename=rename,
        unused=_UNUSED,
        device=device,
        dtype=dtype or torch.float32,
    )
    tokenizer = CheckpointTokenizer(vlm_folder / "tokenizer.json", name)
    policy = SmolVLAPolicy(
        network.eval().requires_grad_(False),
        tokenizer,
        features,
        scales,
        where=str(folder),
        stream=stream,
    )
    return policy, weights.sha256()
