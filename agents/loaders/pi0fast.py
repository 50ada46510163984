"""pi0-FAST (arXiv:2501.09747) as LeRobot saves it: PaliGemma that writes FAST action tokens.

A decision is one chunk: pictures, `Task: ..., State: ...;` and `<bos>` see each other, then tokens
are written one by one, greedily, up to `|`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.agents.loaders import motion
from pilotage.agents.loaders.contract import Announce, Decision, Scene
from pilotage.agents.loaders.decoding import RowDecoder
from pilotage.agents.loaders.fast import FastCodec
from pilotage.agents.loaders.files import WeightFiles
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
from pilotage.agents.loaders.pi0fast_model import load_network
from pilotage.agents.loaders.pictures import channels_first, fitted
from pilotage.agents.loaders.text import CheckpointTokenizer
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.episodes.types import Json
from pilotage.steering import tokens as groups

HUB_NAME = "lerobot/pi0fast-libero"
TEXT_TOKENIZER, ACTION_TOKENIZER = "text_tokenizer", "action_tokenizer"  # folders inside
N_BINS = 256  # of the state
PREAMBLE = "Action: "
END = "|"


class Pi0FastPolicy:
    """One chunk of actions a decision; `horizon` of them are carried out before the next.

    Words among the action tokens, and chunks of the wrong length, are counted (`odd`).
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: CheckpointTokenizer,
        codec: FastCodec,
        features: Features,
        scales: dict[str, Scale],
        *,
        config: dict[str, Any],
        where: str,
    ) -> None:
        self.decoder: Any = network
        self.tokenizer, self.codec, self.features, self.scales = tokenizer, codec, features, scales
        self.where = where
        self.horizon = int(config.get("n_action_steps", 50))
        self.max_prompt = int(config.get("tokenizer_max_length", 200))
        self.max_tokens = int(config.get("max_decoding_steps", 256))
        self.n_state = int(config.get("max_state_dim", 32))
        self.picture_keys = tuple(c for c in features.cameras if c is not None)
        self.trace = {"action_tokens": (-1, (self.max_tokens,))}
        tokenizer.describe = self._describe
        self.bos, self.end = (self._piece(piece) for piece in ("<bos>", END))
        self.preamble = tokenizer.ids(PREAMBLE, special=False)
        self.text_ids = lru_cache(maxsize=4096)(tokenizer.ids)
        self.device = next(network.parameters()).device

    @property
    def action_ids(self) -> range:
        return self.codec.ids

    def _piece(self, piece: str) -> int:
        found = self.tokenizer.piece_id(piece)
        if found is None:
            raise CheckpointError(f"{self.tokenizer.path} has no {piece!r}; is it PaliGemma's?")
        return found

    def _describe(self, token_id: int) -> str | None:
        if token_id not in self.codec.ids:
            return None
        return f"<fast {self.codec.ids.stop - 1 - token_id}>"

    def text_of(self, token_id: int) -> str:
        return self.tokenizer.text_of(token_id)

    def check_text(self, text: str) -> None:
        self._prompt(text, np.zeros(self.features.n_state))

    def _prompt(self, text: str, state: np.ndarray) -> list[int]:
        """Ids of the prompt with the state in [-1, 1] as 256 bins, and `<bos>` behind it."""
        padded = np.zeros(self.n_state)
        padded[: len(state)] = state
        bins = np.digitize(padded, np.linspace(-1.0, 1.0, N_BINS + 1)[:-1]) - 1
        words = text.strip().replace("_", " ").replace("\n", " ")
        said = f"Task: {words}, State: {' '.join(map(str, bins))};\n"
        ids = [*self.text_ids(said), self.bos]
        if len(ids) > self.max_prompt + 1:
            raise ValueError(
                f"the instruction makes a prompt of {len(ids)} tokens, at most "
                f"{self.max_prompt + 1} are read: {text!r}"
            )
        return ids

    def allocate(self, n_rows: int) -> None:
        config = self.decoder.config.vision_config
        self.n_patches = (config.image_size // config.patch_size) ** 2
        seen = len(self.features.cameras) * self.n_patches
        capacity = seen + self.max_prompt + 1 + self.max_tokens
        self._rows = RowDecoder(self.decoder.model.language_model, n_rows=n_rows, capacity=capacity)

    def decide(
        self, scene: Scene, announce: Announce, watch: AbstractContextManager[None]
    ) -> Decision:
        states, keep, kinds = self._prefix(scene)
        places = keep.cumsum(1) - 1
        self._rows.restart()
        announce(torch.where(keep, kinds, groups.PAD), "prefill", 0)
        with watch:
            turns = torch.zeros_like(places)  # all of the prefix see each other
            hidden = self._rows.feed(states, places=places, turns=turns, keep=keep)[:, -1]
        going = torch.from_numpy(scene.live).to(self.device)
        place = places[:, -1:]
        written: list[torch.Tensor] = []
        for k in range(self.max_tokens):
            token = self.decoder.lm_head(hidden).argmax(-1)
            written.append(torch.where(going, token, -1))
            going = going & (token != self.end)
            if k == self.max_tokens - 1 or not going.any():
                break
            place = place + 1
            own = going[:, None]
            announce(torch.where(own, groups.ACTION, groups.PAD), "decode", k)
            state = self._embed(token[:, None])
            turns = torch.full_like(place, k + 1)
            hidden = self._rows.feed(state, places=place, turns=turns, keep=own)[:, -1]
        return self._read(torch.stack(written, dim=1).cpu().numpy(), scene.live)

    def _read(self, written: np.ndarray, live: np.ndarray) -> Decision:
        """Chunks from the ids `[R, K]` that the rows wrote; -1 behind their end."""
        n_rows = len(written)
        actions = np.zeros((n_rows, self.horizon, self.codec.n_numbers))
        tokens = np.full((n_rows, self.max_tokens), -1, dtype=np.int32)
        odd = np.zeros(n_rows, dtype=np.int64)
        tokens[:, : written.shape[1]] = written
        for row in np.flatnonzero(live).tolist():
            ids = [i for i in written[row].tolist() if i >= 0]
            ended = ids[-1:] == [self.end]
            ids = without(ids[:-1] if ended else ids, self.preamble)
            chunk, wrong = self.codec.decode(ids)
            odd[row] = wrong + (not ended)
            actions[row] = self.scales[ACTION].restore(chunk)[: self.horizon]
        return Decision(actions, {"action_tokens": tokens}, odd)

    def _prefix(self, scene: Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Embeddings `[R, S, d]`, which are kept and token groups, each `[R, S]`: pictures,
        padding, prompt; all rows end in the last column."""
        n_rows, size = len(scene.live), self.max_prompt + 1
        ids = torch.zeros(n_rows, size, dtype=torch.long)
        real = torch.zeros(n_rows, size, dtype=torch.bool)
        state = self.scales[STATE].normalise(
            hand_state(scene.proprio, self.features.n_state, self.where)
        )
        for row in np.flatnonzero(scene.live).tolist():
            words = self._prompt(scene.texts[row], state[row])
            ids[row, -len(words) :] = torch.tensor(words)
            real[row, -len(words) :] = True
        live = torch.from_numpy(scene.live)[:, None]
        shown = torch.tensor([c is not None for c in self.features.cameras])
        seen = live & shown.repeat_interleave(self.n_patches)[None]
        keep = torch.cat([seen, real], dim=1).to(self.device)
        kinds = torch.full(keep.shape, groups.INSTRUCTION, dtype=torch.int8, device=self.device)
        kinds[:, : seen.shape[1]] = groups.IMAGE
        states = torch.cat([self._see(scene), self._embed(ids.to(self.device))], dim=1)
        return states, keep, kinds

    def _see(self, scene: Scene) -> torch.Tensor:
        """Embeddings `[R, cameras * n_patches, d]`; a camera without a picture is black."""
        model = self.decoder.model
        size = self.decoder.config.vision_config.image_size
        weight = model.multi_modal_projector.linear.weight
        made = []
        for camera in self.features.cameras:
            if camera is None:
                pictures = torch.full((len(scene.live), 3, size, size), -1.0)
            else:
                shown = channels_first(scene.pictures[camera])
                pictures = fitted(shown, (size, size), centred=True) * 2.0 - 1.0
            moved = pictures.to(device=weight.device, dtype=weight.dtype)
            made.append(model.multi_modal_projector(model.vision_tower(moved).last_hidden_state))
        return torch.cat(made, dim=1)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Text embeddings times sqrt(d), whether or not the library's module does so itself."""
        weight = self.decoder.get_input_embeddings().weight
        return nn.functional.embedding(ids, weight) * weight.shape[1] ** 0.5

    def manifest(self) -> dict[str, Json]:
        return {"horizon": self.horizon, "max_prompt": self.max_prompt}


def without(ids: list[int], part: list[int]) -> list[int]:
    """`ids` without every occurrence of the sequence `part`."""
    out: list[int] = []
    i = 0
    while i < len(ids):
        if part and ids[i : i + len(part)] == part:
            i += len(part)
        else:
            out.append(ids[i])
            i += 1
    return out


def load_pi0fast(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None
) -> tuple[Pi0FastPolicy, str]:
    """A pi0-FAST folder of LeRobot and the SHA-256 of its weights.

    Its two tokenizers lie elsewhere on the hub; they are looked for in `text_tokenizer/` and
    `action_tokenizer/` inside the folder first. Raises CheckpointError saying what is missing.
    """
    config = lerobot_config(folder, "pi0_fast", HUB_NAME)
    features = Features.read(config, str(folder / "config.json"))
    motion.check_numbers(features.n_action, str(folder))
    if config.get("use_relative_actions"):
        raise CheckpointError(f"{folder}: use_relative_actions is not read here")
    weights = WeightFiles.find(folder, HUB_NAME)
    scales = {
        STATE: read_scale(folder, weights, config, STATE, features.n_state),
        ACTION: read_scale(folder, weights, config, ACTION, features.n_action),
    }
    hand_state(np.zeros((1, 7)), features.n_state, str(folder))
    text_name = config.get("text_tokenizer_name", "google/paligemma-3b-pt-224")
    fast_name = config.get("action_tokenizer_name", "lerobot/fast-action-tokenizer")
    text_folder = companion(folder, TEXT_TOKENIZER, text_name, "tokenizer.json")
    fast_folder = companion(folder, ACTION_TOKENIZER, fast_name, "processor_config.json")
    tokenizer = CheckpointTokenizer(text_folder / "tokenizer.json", text_name)
    codec = FastCodec.read(
        fast_folder,
        fast_name,
        horizon=int(config.get("chunk_size", 50)),
        n_numbers=features.n_action,
        vocabulary=tokenizer.size,
        skipped=int(config.get("fast_skip_tokens", 128)),
    )
    network = load_network(config, weights, device, dtype)
    policy = Pi0FastPolicy(
        network, tokenizer, codec, features, scales, config=config, where=str(folder)
    )
    return policy, weights.sha256()
