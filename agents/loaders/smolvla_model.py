"""The network of SmolVLA (arXiv:2506.01844): SmolVLM2's first layers, and an expert beside them.

The prefix (pictures, words, state) runs through the VLM once; its keys and values stay. The expert
turns noise into a chunk of actions in Euler steps of a flow. Every second layer of it attends to
itself and the prefix, the others to the prefix only, through maps of its keys and values. Blocks
are walked by hand, so a hook on a whole block is silent, while those on its parts are not.

Names on disk: `model.vlm_with_expert.{vlm, lm_expert}`, `model.state_proj`,
`model.action_{in, out}_proj`, `model.action_time_mlp_{in, out}`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pilotage.agents.vla.checkpoint import CheckpointError

WAVELENGTH = 10_000.0  # of the rotary embedding, whatever the VLM's configuration says


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values `[R, S, heads, head_dim]` of each layer; keep bool `[R, S]`."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    keep: torch.Tensor


class _Streams(nn.Module):
    """The two stacks, under the names of the release."""

    def __init__(self, vlm_config: Any, config: Mapping[str, Any]) -> None:
        super().__init__()
        from transformers import LlamaModel, SmolVLMForConditionalGeneration

        self.vlm = SmolVLMForConditionalGeneration(vlm_config)
        text = vlm_config.text_config
        own = copy.deepcopy(text)
        own.hidden_size = int(text.hidden_size * config.get("expert_width_multiplier", 0.75))
        own.intermediate_size = ffn_width(own.hidden_size)
        own.head_dim = text.head_dim
        self.lm_expert = LlamaModel(own)
        self.lm_expert.embed_tokens = None
        narrow = text.num_key_value_heads * text.head_dim
        for i, layer in enumerate(self.lm_expert.layers):
            if not sees_itself(i, config):
                layer.self_attn.k_proj = nn.Linear(narrow, narrow, bias=False)
                layer.self_attn.v_proj = nn.Linear(narrow, narrow, bias=False)


class SmolVLANetwork(nn.Module):
    """See the module's text. Widths: d of the VLM, e of the expert."""

    def __init__(self, vlm_config: Any, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.vlm_with_expert = _Streams(vlm_config, config)
        width, own = vlm_config.text_config.hidden_size, self.expert.config.hidden_size
        n_state, n_action = int(config["max_state_dim"]), int(config["max_action_dim"])
        self.state_proj = nn.Linear(n_state, width)
        self.action_in_proj = nn.Linear(n_action, own)
        self.action_out_proj = nn.Linear(own, n_action)
        self.action_time_mlp_in = nn.Linear(2 * own, own)
        self.action_time_mlp_out = nn.Linear(own, own)

    @property
    def vlm(self) -> Any:
        return self.vlm_with_expert.vlm

    @property
    def expert(self) -> Any:
        return self.vlm_with_expert.lm_expert

    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Embeddings `[R, n, d]` of pictures `[R, 3, H, W]` in [-1, 1]."""
        model = self.vlm.model
        states = model.vision_model(pixel_values=pictures).last_hidden_state
        return model.connector(states) * self.state_proj.out_features**0.5

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.vlm.get_input_embeddings()(ids) * self.state_proj.out_features**0.5

    def read_prefix(self, states: torch.Tensor, keep: torch.Tensor) -> Prefix:
        """Run `[R, S, d]` through the VLM; the last token is the state, which no other sees."""
        places = keep.cumsum(1) - 1
        is_state = torch.zeros_like(keep)
        is_state[:, -1] = True
        mask = keep[:, None, :] & keep[:, :, None] & ~(is_state[:, None, :] & ~is_state[:, :, None])
        keys, values = [], []
        for layer in self.vlm.model.text_model.layers:
            normed = layer.input_layernorm(states)
            q, k, v = (_heads(layer, name, normed) for name in ("q_proj", "k_proj", "v_proj"))
            q, k = rotated(q, places), rotated(k, places)
            keys.append(k)
            values.append(v)
            states = _finish(layer, states, attend(q, k, v, mask))
        return Prefix(keys, values, keep)

    def velocity(self, noisy: torch.Tensor, time: float, prefix: Prefix) -> torch.Tensor:
        """v `[R, H, max_action_dim]` at actions `[R, H, max_action_dim]` and flow time 1..0."""
        states = self._suffix(noisy, time)
        n_rows, n_steps, _ = states.shape
        device = states.device
        order = torch.arange(n_steps, device=device)
        causal = (order[None, :] <= order[:, None]).expand(n_rows, -1, -1)
        over_prefix = prefix.keep[:, None, :].expand(-1, n_steps, -1)
        both = torch.cat([over_prefix, causal], dim=2)
        places = prefix.keep.sum(1, keepdim=True) + order
        for i, layer in enumerate(self.expert.layers):
            normed = layer.input_layernorm(states)
            q = _heads(layer, "q_proj", normed)
            if sees_itself(i, self.config):
                k = rotated(_heads(layer, "k_proj", normed), places)
                v = _heads(layer, "v_proj", normed)
                k = torch.cat([prefix.keys[i], k], dim=1)
                v = torch.cat([prefix.values[i], v], dim=1)
                seen = attend(rotated(q, places), k, v, both)
            else:
                k = _heads(layer, "k_proj", prefix.keys[i].flatten(2))
                v = _heads(layer, "v_proj", prefix.values[i].flatten(2))
                seen = attend(rotated(q, order.expand(n_rows, -1)), k, v, over_prefix)
            states = _finish(layer, states, seen)
        return self.action_out_proj(self.expert.norm(states)).float()

    def sample(
        self, noise: torch.Tensor, prefix: Prefix, announce: Callable[[int], None]
    ) -> torch.Tensor:
        """Actions `[R, H, max_action_dim]` from noise; announce(k) before Euler step k."""
        n_steps = int(self.config.get("num_steps", 10))
        x = noise
        for k in range(n_steps):
            announce(k)
            x = x - self.velocity(x, 1.0 - k / n_steps, prefix) / n_steps
        return x

    def _suffix(self, noisy: torch.Tensor, time: float) -> torch.Tensor:
        weight = self.action_in_proj.weight
        acted = self.action_in_proj(noisy.to(weight.dtype))
        low, high = (float(self.config.get(n, d)) for n, d in _PERIODS.items())
        when = time_embedding(time, acted.shape[-1], low, high).to(acted)
        joined = torch.cat([acted, when.expand_as(acted)], dim=-1)
        return self.action_time_mlp_out(nn.functional.silu(self.action_time_mlp_in(joined)))


_PERIODS = {"min_period": 4e-3, "max_period": 4.0}


def time_embedding(time: float, width: int, low: float, high: float) -> torch.Tensor:
    """float64 `[width]`: sines, then cosines, of periods from low to high, in equal ratios."""
    share = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64)
    angle = 2 * math.pi * time / (low * (high / low) ** share)
    return torch.cat([angle.sin(), angle.cos()])


def rotated(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rotary positions for `[R, S, heads, head_dim]`; places `[R, S]`."""
    half = x.shape[-1] // 2
    power = torch.arange(half, dtype=torch.float32, device=x.device) / half
    angle = places[..., None, None].float() / WAVELENGTH**power
    a, b = x.float().split(half, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Grouped attention in float32: q `[R, Q, heads, h]`, k and v `[R, S, groups, h]`, mask bool
    `[R, Q, S]` -> `[R, Q, heads * h]`. A token that sees nothing gets the mean of all."""
    times = q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(times, dim=2) for t in (k, v))
    logits = torch.einsum("rqhd,rshd->rhqs", q.float(), k.float()) / q.shape[-1] ** 0.5
    logits = logits.masked_fill(~mask[:, None], torch.finfo(torch.float32).min)
    seen = torch.einsum("rhqs,rshd->rqhd", logits.softmax(-1).to(v.dtype), v)
    return seen.flatten(2)


def _heads(layer: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    made = getattr(layer.self_attn, name)(x)
    return made.view(*made.shape[:-1], -1, layer.self_attn.head_dim)


def _finish(layer: Any, states: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    states = states + layer.self_attn.o_proj(seen)
    return states + layer.mlp(layer.post_attention_layernorm(states))


def sees_itself(layer: int, config: Mapping[str, Any]) -> bool:
    """Whether a layer of the expert attends to itself, not to the prefix only."""
    every = int(config.get("self_attn_every_n_layers", 2))
    return every > 0 and layer % every == 0


def ffn_width(width: int, multiple: int = 256) -> int:
    """4 * 2/3 of the width, rounded up to a multiple, as the expert was made."""
    wanted = int(4 * int(2 * width / 3))
    return multiple * -(-wanted // multiple)


def check_variant(config: Mapping[str, Any], where: str) -> None:
    """CheckpointError for variants of the expert that are not built here."""
    n_vlm = int(config.get("num_vlm_layers", 16))
    wrong = {
        "attention_mode": config.get("attention_mode", "cross_attn") != "cross_attn",
        "num_expert_layers": config.get("num_expert_layers", -1) not in (-1, 0, n_vlm),
        "num_vlm_layers": n_vlm < 1,
        "add_image_special_tokens": bool(config.get("add_image_special_tokens")),
        "adapt_to_pi_aloha": bool(config.get("adapt_to_pi_aloha")),
    }
    named = [f"{name} = {config.get(name)!r}" for name, is_wrong in wrong.items() if is_wrong]
    if named:
        raise CheckpointError(f"{where}: {', '.join(named)} is not read here")
