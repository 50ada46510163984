"""A tiny random Llama with a trained tokenizer, in the files that transformers writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.language import language_shape

from .tiny import tiny_config

N_BINS = 16
TEXTS = [
    "go left",
    "go to the red cube slowly",
    "right",
    "the gripper is over the red cube",
    "quickly go to the left of the cube",
]


def write_language(folder: Path, *, seed: int = 0, tied: bool = True) -> Path:
    """`config.json`, `tokenizer.json` and `model.safetensors` of a random Llama with fewer heads
    of keys than of queries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>", "<spare>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size() + N_BINS,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6.0)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def language_vla(folder: Path) -> VLAConfig:
    """A memoryless VLA around it."""
    config = replace(
        tiny_config(), words=(), n_bins=N_BINS, max_instruction=14, **language_shape(str(folder))
    )
    return config
