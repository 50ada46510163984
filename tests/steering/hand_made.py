"""Tiny random models of many families, and their blocks written out by hand.

The arithmetic here knows each family by the names of its tensors, which are spelled out below, and
shares nothing with the resolver: it reads the state dict. Only the attention probabilities are the
model's own (`output_attentions`); what they are multiplied with is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional

D, D_FF, HEADS, HEAD_DIM, VOCABULARY, N_EXPERTS = 32, 48, 4, 8, 50, 4
Edits = Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
_NO_EDITS: Edits = {}

_SIZES: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": D_FF,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,  # large enough that every block matters
}
_TEXT = {**_SIZES, "head_dim": HEAD_DIM}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
_VISION: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": D_FF,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_VISION: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": D_FF,
    "depth": 1,
    "num_heads": 4,
    "out_hidden_size": D,
}
_QWEN_TOKENS = {
    "image_token_id": 46,
    "video_token_id": 47,
    "vision_start_token_id": 48,
    "vision_end_token_id": 49,
}
_ALWAYS = {
    "resid:in",
    "resid:out",
    "self_attn.o_proj:in",
    "self_attn.o_proj:out",
    "mlp:in",
    "mlp:out",
}
_UNGATED = frozenset(_ALWAYS | {"mlp.up_proj:out", "mlp.down_proj:in", "mlp.down_proj:out"})
_DENSE = _UNGATED | {"mlp.gate_proj:out"}
_MIXTURE = frozenset(_ALWAYS | {"mlp.router:in"})


@dataclass(frozen=True)
class Family:
    """One class of model: how to make it, and what its tensors are called.

    block: the blocks' prefix, with `{}` for the number. norms: before attention, before FFN, and
    after each if there are four. ffn: (gate, up, down) or (up, down) inside the block.
    """

    model: str
    config: str
    settings: Mapping[str, Any]
    block: str = "model.layers.{}."
    qkv: str = "self_attn.v_proj"
    attention_out: str = "self_attn.o_proj"
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    ffn: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    final_norm: str = "model.norm"
    act: Callable[[torch.Tensor], torch.Tensor] = functional.silu
    kind_of_norm: str = "rms"  # "rms", "rms from one" (Gemma), "layer"
    input_first: bool = False
    parallel: bool = False
    softcap: float | None = None
    mixture: str = ""  # "", "normalised", "plain": what is done to the chosen experts' shares
    places: frozenset[str] = _DENSE


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate="tanh")


_GEMMA: dict[str, Any] = {"act": _gelu, "kind_of_norm": "rms from one"}
_FOUR = (
    "input_layernorm",
    "pre_feedforward_layernorm",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
)
_NEOX: dict[str, Any] = {
    "block": "gpt_neox.layers.{}.",
    "qkv": "attention.query_key_value",
    "attention_out": "attention.dense",
    "ffn": ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    "final_norm": "gpt_neox.final_layer_norm",
    "act": functional.gelu,
    "kind_of_norm": "layer",
    "places": _UNGATED,
}
_NEOX_SIZES = {k: v for k, v in _SIZES.items() if k != "num_key_value_heads"}
_EXPERTS = {**_SIZES, "num_experts": N_EXPERTS, "num_experts_per_tok": 2}

FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", "LlamaConfig", {**_TEXT, "mlp_bias": True}),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", _SIZES),
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Config", _TEXT),
    "gemma": Family("GemmaForCausalLM", "GemmaConfig", _TEXT, **_GEMMA),
    "gemma2": Family(
        "Gemma2ForCausalLM", "Gemma2Config", _TEXT, norms=_FOUR, softcap=30.0, **_GEMMA
    ),
    "gemma3": Family("Gemma3ForCausalLM", "Gemma3TextConfig", _TEXT, norms=_FOUR, **_GEMMA),
    "gpt2": Family(
        "GPT2LMHeadModel",
        "GPT2Config",
        {
            "n_embd": D,
            "n_layer": 2,
            "n_head": HEADS,
            "n_inner": D_FF,
            "vocab_size": VOCABULARY,
            "initializer_range": 0.2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        block="transformer.h.{}.",
        qkv="attn.c_attn",
        attention_out="attn.c_proj",
        norms=("ln_1", "ln_2"),
        ffn=("mlp.c_fc", "mlp.c_proj"),
        final_norm="transformer.ln_f",
        act=_gelu,
        kind_of_norm="layer",
        input_first=True,
        places=_UNGATED,
    ),
    "gpt_neox": Family("GPTNeoXForCausalLM", "GPTNeoXConfig", _NEOX_SIZES, parallel=True, **_NEOX),
    "gpt_neox_sequential": Family(
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**_NEOX_SIZES, "use_parallel_residual": False},
        **_NEOX,
    ),
    "paligemma": Family(
        "PaliGemmaForConditionalGeneration",
        "PaliGemmaConfig",
        {
            "text_config": {"model_type": "gemma", **_TEXT},
            "vision_config": {"model_type": "siglip_vision_model", "projection_dim": D, **_VISION},
            "projection_dim": D,
            "image_token_index": 49,
        },
        block="model.language_model.layers.{}.",
        final_norm="model.language_model.norm",
        **_GEMMA,
    ),
    "gemma3_vl": Family(
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        {
            "text_config": _TEXT,
            "vision_config": {"vision_use_head": False, **_VISION},
            "mm_tokens_per_image": 1,
            "image_token_index": 49,
        },
        block="model.language_model.layers.{}.",
        final_norm="model.language_model.norm",
        norms=_FOUR,
        **_GEMMA,
    ),
    **{
        name: Family(
            f"{kind}ForConditionalGeneration",
            f"{kind}Config",
            {
                "text_config": {"model_type": "llama", **_TEXT},
                "vision_config": _VISION,
                "image_token_id": 49,
                "scale_factor": 2,
            },
            block="model.text_model.layers.{}.",
            final_norm="model.text_model.norm",
        )
        for name, kind in (("smolvlm", "SmolVLM"), ("idefics3", "Idefics3"))
    },
    "qwen2_5_vl": Family(
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLConfig",
        {
            "text_config": {**_SIZES, "rope_parameters": _MROPE},
            "vision_config": _QWEN_VISION,
            **_QWEN_TOKENS,
        },
        block="model.language_model.layers.{}.",
        final_norm="model.language_model.norm",
    ),
    "qwen3_vl": Family(
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLConfig",
        {
            "text_config": {**_TEXT, "rope_parameters": _MROPE},
            "vision_config": {
                **_QWEN_VISION,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            **_QWEN_TOKENS,
        },
        block="model.language_model.layers.{}.",
        final_norm="model.language_model.norm",
    ),
    "mixtral": Family(
        "MixtralForCausalLM",
        "MixtralConfig",
        {**_TEXT, "num_local_experts": N_EXPERTS},
        mixture="normalised",
        places=_MIXTURE,
    ),
    "qwen2_moe": Family(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {**_EXPERTS, "moe_intermediate_size": D_FF, "shared_expert_intermediate_size": 40},
        mixture="plain",
        places=_MIXTURE,
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**_EXPERTS, "head_dim": HEAD_DIM, "moe_intermediate_size": D_FF, "norm_topk_prob": True},
        mixture="normalised",
        places=_MIXTURE,
    ),
    "olmoe": Family("OlmoeForCausalLM", "OlmoeConfig", _EXPERTS, mixture="plain", places=_MIXTURE),
}


@cache
def build(name: str) -> nn.Module:
    """The family's model, with random norms and biases, so that none of them goes unnoticed."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, family.config)(**family.settings)
    model = getattr(transformers, family.model)(config).eval()
    model.set_attn_implementation("eager")  # the one that gives its probabilities
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn(parameter.shape)
    return model


class HandMade:
    """A family's block and head, from its state dict."""

    def __init__(self, name: str) -> None:
        self.family, self.model = FAMILIES[name], build(name)
        self.weights = self.model.state_dict()

    def block(
        self, layer: int, h: torch.Tensor, probabilities: torch.Tensor, edits: Edits = _NO_EDITS
    ) -> dict[str, torch.Tensor]:
        """Every place of a block, from the stream `[R, S, d]` that goes in.

        probabilities: the attention's, `[R, heads, S, S]`. edits: functions to pass a place
        through.
        """
        family, prefix, seen = self.family, self.family.block.format(layer), {}

        def at(place: str, value: torch.Tensor) -> torch.Tensor:
            seen[place] = edits[place](value) if place in edits else value
            return seen[place]

        h = at("resid:in", h)
        values = self._values(prefix, self._norm(prefix + family.norms[0], h))
        heads = torch.einsum("rhst,rthd->rshd", probabilities, values).flatten(2)
        written = self._linear(prefix + family.attention_out, at("self_attn.o_proj:in", heads))
        written = at("self_attn.o_proj:out", written)
        if len(family.norms) == 4:
            written = self._norm(prefix + family.norms[2], written)
        middle = h if family.parallel else h + written
        x = at("mlp:in", self._norm(prefix + family.norms[1], middle))
        out = self._experts(prefix, x, at) if family.mixture else self._dense(prefix, x, at)
        out = at("mlp:out", out)
        if len(family.norms) == 4:
            out = self._norm(prefix + family.norms[3], out)
        at("resid:out", h + written + out)
        return seen

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """The final norm and the unembedding."""
        out = self._norm(self.family.final_norm, h) @ self.unembedding().T
        cap = self.family.softcap
        return out if cap is None else cap * torch.tanh(out / cap)

    def unembedding(self) -> torch.Tensor:
        """`[vocabulary, d]`, under the name that a checkpoint of the family has for it."""
        names = ("lm_head.weight", "embed_out.weight")
        return next(self.weights[name] for name in names if name in self.weights)

    def matrix(self, name: str) -> torch.Tensor:
        """A linear map's weight as `[out, in]`."""
        weight = self.weights[f"{name}.weight"]
        return weight.T if self.family.input_first else weight

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        out = x @ self.matrix(name).T
        return out + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else out

    def _norm(self, name: str, h: torch.Tensor) -> torch.Tensor:
        weight, config = self.weights[f"{name}.weight"], self.model.config.get_text_config()
        if self.family.kind_of_norm == "layer":
            eps = getattr(config, "layer_norm_eps", 1e-5)
            centred = h - h.mean(-1, keepdim=True)
            scale = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
            return centred * scale * weight + self.weights[f"{name}.bias"]
        normed = h * (h.square().mean(-1, keepdim=True) + config.rms_norm_eps).rsqrt()
        return normed * (1 + weight if self.family.kind_of_norm == "rms from one" else weight)

    def _values(self, prefix: str, x: torch.Tensor) -> torch.Tensor:
        """The heads' values `[R, S, heads, head_dim]`."""
        out = self._linear(prefix + self.family.qkv, x)
        if self.family.qkv == "attn.c_attn":  # all queries, all keys, all values
            return out[..., 2 * D :].unflatten(-1, (HEADS, HEAD_DIM))
        if self.family.qkv == "attention.query_key_value":  # query, key, value of each head
            return out.unflatten(-1, (HEADS, 3, HEAD_DIM))[..., 2, :]
        values = out.unflatten(-1, (-1, HEAD_DIM))
        return values.repeat_interleave(HEADS // values.shape[2], 2)

    def _dense(self, prefix: str, x: torch.Tensor, at: Callable[..., Any]) -> torch.Tensor:
        *first, down = [prefix + name for name in self.family.ffn]
        if len(first) == 2:
            gate = at("mlp.gate_proj:out", self._linear(first[0], x))
            neurons = self.family.act(gate) * at("mlp.up_proj:out", self._linear(first[1], x))
        else:
            neurons = self.family.act(at("mlp.up_proj:out", self._linear(first[0], x)))
        out = self._linear(down, at("mlp.down_proj:in", neurons))
        return at("mlp.down_proj:out", out)

    def _experts(self, prefix: str, x: torch.Tensor, at: Callable[..., Any]) -> torch.Tensor:
        """Every expert on every token; all but the chosen ones weigh nothing."""
        shares = (at("mlp.router:in", x) @ self.weights[f"{prefix}mlp.gate.weight"].T).softmax(-1)
        least = shares.topk(2).values[..., -1:]
        shares = torch.where(shares >= least, shares, 0)
        if self.family.mixture == "normalised":
            shares = shares / shares.sum(-1, keepdim=True)
        both = self.weights[f"{prefix}mlp.experts.gate_up_proj"]
        down = self.weights[f"{prefix}mlp.experts.down_proj"]
        gate, up = torch.einsum("rsd,efd->rsef", x, both).chunk(2, -1)
        out = torch.einsum("rsef,edf,rse->rsd", functional.silu(gate) * up, down, shares)
        if f"{prefix}mlp.shared_expert_gate.weight" in self.weights:
            shared = f"{prefix}mlp.shared_expert."
            neurons = functional.silu(self._linear(f"{shared}gate_proj", x))
            neurons = neurons * self._linear(f"{shared}up_proj", x)
            open_ = self._linear(f"{prefix}mlp.shared_expert_gate", x).sigmoid()
            out = out + open_ * self._linear(f"{shared}down_proj", neurons)
        return out
