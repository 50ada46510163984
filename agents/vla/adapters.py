"""Training a pretrained decoder by low-rank adapters (LoRA, arXiv:2106.09685), as OpenVLA is
fine-tuned (arXiv:2406.09246, section 5.3), and putting the result into a plain network.

While it trains, the decoder's linear layers carry adapters (peft), and the rows of the action bins
in the tied table of embeddings are a parameter of their own. What is saved is only what was
trained; `install` adds it onto the pretrained weights, so that what acts is a plain
`LlamaForCausalLM` again, which every tool can read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from pilotage.agents.vla.model import VLAModel

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SCALE = 2  # alpha / rank, the customary factor of an adapter's output
ADAPTER = "default"  # the name that peft gives it
ROWS = "decoder.model.embed_tokens.bins"
_A, _B = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"


class SplitEmbedding(nn.Module):
    """A frozen table of words, and the trained rows of the action bins behind them."""

    def __init__(self, table: torch.Tensor, n_bins: int) -> None:
        super().__init__()
        words = table[: len(table) - n_bins].detach().clone()
        self.words = nn.Parameter(words, requires_grad=False)
        self.bins = nn.Parameter(ordered_rows(n_bins, words))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        n_words = len(self.words)
        is_bin = ids >= n_words
        words = nn.functional.embedding(ids.masked_fill(is_bin, 0), self.words)
        bins = nn.functional.embedding((ids - n_words).clamp(min=0), self.bins)
        return torch.where(is_bin[..., None], bins, words)


class SplitHead(nn.Module):
    """The unembedding tied to a `SplitEmbedding`: logits `[..., V]`."""

    def __init__(self, embedding: SplitEmbedding) -> None:
        super().__init__()
        self._of = [embedding]  # in a list: it is no module of this one

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        (embedding,) = self._of
        return torch.cat([hidden @ embedding.words.T, hidden @ embedding.bins.T], dim=-1)


def ordered_rows(n: int, like: torch.Tensor, n_waves: int = 8) -> torch.Tensor:
    """Rows `[n, d]` in which neighbours are alike, as loud as the rows of `like` `[V, d]`: sums of
    waves of up to `n_waves` half periods along the bins, in random directions."""
    at = torch.linspace(0.0, math.pi, n)[:, None]
    waves = torch.cat([f(at * k) for k in range(1, n_waves + 1) for f in (torch.cos, torch.sin)], 1)
    rows = waves @ torch.randn(waves.shape[1], like.shape[1])
    return rows * (like.std() / rows.std())


def adapt(model: VLAModel, rank: int) -> None:
    """Freeze the pretrained decoder of `model` and give it adapters of a rank, in place.

    Raises:
        ValueError: the model was not made from a pretrained decoder, or rank < 1.
        RuntimeError: peft is not installed.
    """
    if not model.config.language:
        raise ValueError("only a pretrained decoder is adapted; this model is trained as it is")
    if rank < 1:
        raise ValueError(f"the rank of an adapter must be at least 1, got {rank}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RuntimeError(
            "training a pretrained decoder needs peft: pip install 'pilotage[smol]'"
        ) from error
    decoder = model.decoder
    decoder.requires_grad_(False)
    lora = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=list(TARGETS))
    inject_adapter_in_model(lora, decoder, adapter_name=ADAPTER)
    table = decoder.model.embed_tokens.weight
    embedding = SplitEmbedding(table, model.config.n_bins)
    decoder.model.embed_tokens = embedding
    decoder.lm_head = SplitHead(embedding)


def trained_state(model: VLAModel) -> dict[str, torch.Tensor]:
    """What is saved of a model: all of it, or of one with adapters what was trained. ValueError
    for a pretrained decoder without them: what was trained is not to be told from the rest."""
    state = model.state_dict()
    if not model.config.language:
        return state
    if not isinstance(model.decoder.model.embed_tokens, SplitEmbedding):
        raise ValueError("adapters that were added onto the weights cannot be taken out again")
    own = (_A, _B, ROWS)
    return {k: v for k, v in state.items() if not k.startswith("decoder.") or k.endswith(own)}


def load_trained_state(model: VLAModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put what `trained_state` gave into a model of the same form. RuntimeError when it is not."""
    expected = set(trained_state(model))
    if expected != set(tensors):
        missing, more = sorted(expected - set(tensors)), sorted(set(tensors) - expected)
        raise RuntimeError(f"tensors missing: {missing[:3]}, unknown: {more[:3]}")
    model.load_state_dict(dict(tensors), strict=False)


@torch.no_grad()
def install(model: VLAModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Add trained adapters onto the pretrained weights of a plain `model`, and put in the rest.

    Weights become `W + SCALE B A` (arXiv:2106.09685, section 4.1). Raises RuntimeError for tensors
    that do not belong to this architecture.
    """
    state = model.state_dict()
    rest = dict(tensors)
    for name in [k for k in tensors if k.endswith(_A)]:
        down, up = rest.pop(name), rest.pop(name.removesuffix(_A) + _B, None)
        weight = name.removesuffix(_A) + ".weight"
        if up is None or weight not in state:
            raise RuntimeError(f"the adapter {name} has no {'partner' if up is None else weight}")
        change = SCALE * up.float() @ down.float()
        if change.shape != state[weight].shape:
            raise RuntimeError(
                f"the adapter of {weight} is {list(change.shape)}, not {list(state[weight].shape)}"
            )
        state[weight] += change
    if (rows := rest.pop(ROWS, None)) is not None:
        state["decoder.model.embed_tokens.weight"][-len(rows) :] = rows
    own = {k for k in state if not k.startswith("decoder.")}
    if set(rest) != own:
        missing, more = sorted(own - set(rest)), sorted(set(rest) - own)
        raise RuntimeError(f"tensors missing: {missing[:3]}, unknown: {more[:3]}")
    model.load_state_dict({k: v.float() for k, v in rest.items()}, strict=False)
