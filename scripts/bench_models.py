"""The models that the steering benchmarks time: random, and so of any size and free to make."""

from __future__ import annotations

from torch import nn


def random_llama(*, width: int, layers: int, vocabulary: int, device: str = "cpu") -> nn.Module:
    """A random causal Llama (seed 0) with heads of 64 units."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = max(1, width // 64)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 64 * 64 or width * 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
    )
    return LlamaForCausalLM(config).eval().to(device)
