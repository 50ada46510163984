"""The network: vision tower, proprioception, and a transformers `LlamaForCausalLM` decoder.

One sequence is `[instruction][block 0]...[block T-1]`, a block being one env step:
`[image tokens][proprio][action tokens]`. The token before each action token predicts it. With
`memory_steps == 1` a block sees the instruction and itself; else also the blocks before it.
Narrations ("i move left slowly") hang off a block and are seen by nothing else, so that an agent
that does not speak acts exactly as one that does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.language import (
    TOKENIZER,
    language_config,
    language_folder,
    language_weights,
)
from pilotage.agents.vla.subwords import SubwordTokenizer
from pilotage.agents.vla.tokenizer import WordTokenizer
from pilotage.agents.vla.vision import VisionTower
from pilotage.steering.tokens import ACTION, IMAGE, INSTRUCTION, NARRATION, PAD, PROPRIO


@dataclass
class Window:
    """A training batch: B windows of T env steps, R narrations each.

    instruction int64 [B, I]; images: per key uint8 [B, T, H, W, C]; proprio float32 [B, T, P];
    actions int64 [B, T, K] (bin indices); valid bool [B, T]; narration_step int64 [B, R] (index
    into T); narration int64 [B, R, N] starting with <say>; aux float32 [B, T, A]; pointed bool
    [B, T, n_image_tokens, n_pointed], which patches show which named thing, where has_pointed [B];
    clause bool [B, T, I], the words being carried out (none where that is not known).
    """

    instruction: torch.Tensor
    images: list[torch.Tensor]
    proprio: torch.Tensor
    actions: torch.Tensor
    valid: torch.Tensor
    first_step: torch.Tensor  # int64 [B], the env step of block 0 (positions start there)
    narration_step: torch.Tensor
    narration: torch.Tensor
    aux: torch.Tensor
    pointed: torch.Tensor | None = None
    has_pointed: torch.Tensor | None = None
    clause: torch.Tensor | None = None


class ClauseFinder(nn.Module):
    """Logits `[B, T, I]` of "this word is being carried out at this step", from states `[B, T, d]`
    of the steps and `[B, I, d]` of the words: a bilinear form, as in attention."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.of_step = nn.Linear(d_model, d_model, bias=False)
        self.of_word = nn.Linear(d_model, d_model, bias=False)

    def forward(self, steps: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        width = steps.shape[-1]
        asked = self.of_step(nn.functional.rms_norm(steps, (width,)))
        found = self.of_word(nn.functional.rms_norm(words, (width,)))
        return asked @ found.transpose(-1, -2) / width**0.5


def make_tokenizer(config: VLAConfig) -> WordTokenizer | SubwordTokenizer:
    """One of the world's words, or that of the pretrained decoder."""
    if not config.language:
        return WordTokenizer(config.words, n_bins=config.n_bins)
    folder = language_folder(config.language)
    found = language_config(folder)
    return SubwordTokenizer.load(
        folder / TOKENIZER,
        vocab_size=found.vocab_size,
        bos_id=found.bos_token_id,
        eos_id=found.eos_token_id,
        n_bins=config.n_bins,
    )


def make_decoder(
    config: VLAConfig, tokenizer: WordTokenizer | SubwordTokenizer
) -> LlamaForCausalLM:
    """A fresh decoder, or the pretrained one with its weights."""
    if config.language:
        shape = language_config(language_folder(config.language))
        shape._attn_implementation = "sdpa"
        with torch.device("meta"):
            decoder = LlamaForCausalLM(shape)
        weights = language_weights(config)
        if shape.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        decoder.load_state_dict(weights, assign=True)
        decoder.tie_weights()
        decoder.model.rotary_emb = type(decoder.model.rotary_emb)(config=shape)
        return decoder
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_id,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
            attn_implementation="sdpa",
        )
    )


class VLAModel(nn.Module):
    """See the module's text. `decoder` is the plain transformers class: every tool that knows
    Llama can read it."""

    def __init__(self, config: VLAConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = make_tokenizer(config)
        self.vision = nn.ModuleList(
            [
                VisionTower(
                    channels=config.channels,
                    patches=patches,
                    width=config.vision_width,
                    d_model=config.d_model,
                )
                for _, patches in zip(config.image_keys, config.image_patches, strict=True)
            ]
        )
        self.proprio = nn.Sequential(
            nn.Linear(config.proprio_dim, config.d_model),
            nn.GELU(),
            nn.Linear(config.d_model, config.d_model),
        )
        self.decoder = make_decoder(config, self.tokenizer)
        # How loud what is no word is made before a pretrained decoder reads it: as its words are.
        self.loudness = nn.Parameter(self._loudness_of_words()) if config.language else None
        self.aux = nn.Linear(config.d_model, config.aux_dim) if config.aux_dim else None
        self.pointer = nn.Linear(config.d_model, config.n_pointed) if config.n_pointed else None
        self.clause = ClauseFinder(config.d_model) if config.finds_clause else None

    def _loudness_of_words(self) -> torch.Tensor:
        return self.decoder.get_input_embeddings().weight.detach().square().mean().sqrt()

    @property
    def action_ids(self) -> range:
        """The ids of the action bins: the last of the vocabulary."""
        return range(self.tokenizer.first_bin_id, self.tokenizer.vocab_size)

    def embed_block(self, images: list[torch.Tensor], proprio: torch.Tensor) -> torch.Tensor:
        """`[N, n_image_tokens + 1, d]` from one image batch uint8 `[N, H, W, C]` a camera and
        proprio float32 `[N, P]`."""
        tokens = [tower(image) for tower, image in zip(self.vision, images, strict=True)]
        seen = torch.cat([*tokens, self.proprio(proprio)[:, None]], dim=1)
        if self.loudness is None:
            return seen
        return self.loudness * nn.functional.rms_norm(seen, seen.shape[-1:])

    def embed_ids(self, ids: torch.Tensor) -> torch.Tensor:
        return self.decoder.get_input_embeddings()(ids)

    def forward(self, window: Window) -> dict[str, torch.Tensor]:
        """Hidden states of a training batch, cut into the parts that losses need.

        Returns action `[B, T, K, d]` (states that predict the action tokens), narration
        `[B, R, N, d]`, instruction `[B, I, d]`, all after the decoder's final norm; and with a
        pointer, image `[B, T, n_image_tokens, d]`, the residual stream at `pointing_layer`; with a
        clause finder, clause `[B, T, I]`, its logits for each word at each step.
        """
        c = self.config
        n_batch, n_steps = window.valid.shape
        n_words, n_told = c.max_instruction, window.narration.shape[1]
        flat_images = [x.flatten(0, 1) for x in window.images]
        seen = self.embed_block(flat_images, window.proprio.flatten(0, 1))
        acted = self.embed_ids(window.actions + self.tokenizer.first_bin_id).flatten(0, 1)
        blocks = torch.cat([seen, acted.to(seen.dtype)], dim=1)
        blocks = blocks.view(n_batch, n_steps * c.block_size, c.d_model)
        told = self.embed_ids(window.narration).flatten(1, 2).to(seen.dtype)
        sequence = torch.cat(
            [self.embed_ids(window.instruction).to(seen.dtype), blocks, told], dim=1
        )
        positions, mask = self._positions_and_mask(window)
        output = self.decoder.model(
            inputs_embeds=sequence,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            output_hidden_states=self.pointer is not None or self.clause is not None,
        )
        hidden = output.last_hidden_state
        end = n_words + n_steps * c.block_size
        per_block = hidden[:, n_words:end].reshape(n_batch, n_steps, c.block_size, c.d_model)
        states = {
            "instruction": hidden[:, :n_words],
            "action": per_block[:, :, c.n_image_tokens : c.n_image_tokens + c.n_action_tokens],
            "narration": hidden[:, end:].reshape(n_batch, n_told, c.max_narration, c.d_model),
        }
        if self.pointer is not None:
            middle = output.hidden_states[c.pointing_layer][:, n_words:end]
            middle = middle.reshape(n_batch, n_steps, c.block_size, c.d_model)
            states["image"] = middle[:, :, : c.n_image_tokens]
        if self.clause is not None:
            middle = output.hidden_states[c.clause_layer]
            acting = middle[:, n_words + c.n_image_tokens : end : c.block_size]  # proprioception
            logits = self.clause(acting, middle[:, :n_words])
            unsaid = window.instruction == self.tokenizer.pad_id
            states["clause"] = logits.masked_fill(unsaid[:, None], -torch.inf)
        return states

    def point(self, image_states: torch.Tensor) -> torch.Tensor:
        """Logits `[..., n_pointed]` of "this patch shows that thing" from states `[..., d]`."""
        if self.pointer is None:
            raise ValueError("this model has no pointer; set n_pointed in its configuration")
        return self.pointer(nn.functional.rms_norm(image_states, image_states.shape[-1:]))

    def next_word(self, hidden: torch.Tensor) -> torch.Tensor:
        """Ids int64 `[...]` of the likeliest word, or <eos>, behind final states `[..., d]`."""
        tokenizer = self.tokenizer
        logits = self.decoder.lm_head(hidden)[..., : tokenizer.first_bin_id].clone()
        for special in (tokenizer.pad_id, tokenizer.bos_id, tokenizer.say_id, tokenizer.unk_id):
            logits[..., special] = -torch.inf
        return logits.argmax(dim=-1)

    def token_groups(self, window: Window) -> torch.Tensor:
        """Token groups int8 `[B, S]` of a training batch (`pilotage.steering.tokens`)."""
        c = self.config
        n_batch, n_steps = window.valid.shape
        block = [IMAGE] * c.n_image_tokens + [PROPRIO] + [ACTION] * c.n_action_tokens
        n_told = window.narration.shape[1] * c.max_narration
        kinds = [INSTRUCTION] * c.max_instruction + block * n_steps + [NARRATION] * n_told
        groups = torch.tensor(kinds, dtype=torch.int8).expand(n_batch, -1).clone()
        groups[:, : c.max_instruction][window.instruction == self.tokenizer.pad_id] = PAD
        return groups

    def _positions_and_mask(self, w: Window) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions int64 `[B, S]` and attention mask bool `[B, 1, S, S]` of a training batch."""
        c, device = self.config, w.valid.device
        n_batch, n_steps = w.valid.shape
        n_words, n_block = c.max_instruction, c.block_size
        remembers = c.memory_steps > 1
        # What each token is: its step (-1 for the instruction) and its place within the step.
        step = torch.arange(n_steps, device=device).repeat_interleave(n_block)
        place = torch.arange(n_block, device=device).repeat(n_steps)
        step = torch.cat(
            [
                torch.full((n_batch, n_words), -1, device=device),
                step.expand(n_batch, -1),
                w.narration_step.repeat_interleave(c.max_narration, dim=1),
            ],
            dim=1,
        )
        told_place = n_block + torch.arange(c.max_narration, device=device)
        place = torch.cat(
            [
                torch.arange(n_words, device=device),
                place,
                told_place.repeat(w.narration.shape[1]),
            ]
        ).expand(n_batch, -1)
        absolute = step + w.first_step[:, None] if remembers else torch.zeros_like(step)
        positions = torch.where(step < 0, place, n_words + absolute * n_block + place)
        told = place >= n_block
        told &= step >= 0
        teller = torch.cumsum(told & (place == n_block), dim=1) * told  # which narration, from 1
        real = torch.cat(
            [
                w.instruction != self.tokenizer.pad_id,
                w.valid.repeat_interleave(n_block, dim=1),
                (w.narration != self.tokenizer.pad_id).flatten(1),
            ],
            dim=1,
        )
        q_step, k_step = step[:, :, None], step[:, None, :]
        q_place, k_place = place[:, :, None], place[:, None, :]
        same_step = (q_step == k_step) & (k_place <= q_place)
        mask = same_step | ((q_step >= 0) & (k_step < 0))
        if remembers:
            past = (k_step >= 0) & (k_step < q_step)
            if not c.sees_past_actions:
                past &= k_place <= c.n_image_tokens
            mask |= past
        mask &= ~told[:, None, :] | (teller[:, :, None] == teller[:, None, :])
        mask &= real[:, None, :]
        mask |= torch.eye(step.shape[1], dtype=torch.bool, device=device)
        return positions, mask[:, None]
