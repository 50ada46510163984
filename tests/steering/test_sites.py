"""Sites are found by structure, in several families, and the residual site is where it says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from pilotage.steering import (
    Intervention,
    SiteError,
    Steerer,
    parse_site,
    resolve,
    unembedding,
    value_vectors,
)
from pilotage.steering.captures import capture
from pilotage.steering.sites import PLACES, find_layers

from .helpers import begin, groups, ids, unit

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WORKING = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "gemma": (GemmaForCausalLM, GemmaConfig),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig),
    "smollm3": (SmolLM3ForCausalLM, SmolLM3Config),
}
OTHER_RESIDUAL = {
    "granite": (GraniteForCausalLM, GraniteConfig),
    "olmo2": (Olmo2ForCausalLM, Olmo2Config),
    "cohere2": (Cohere2ForCausalLM, Cohere2Config),
}


def build(model_class: type, config_class: type, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return model_class(config_class(**SIZES, **more)).eval()


def test_site_text_round_trip() -> None:
    for place in PLACES:
        assert str(parse_site(f"layers.12.{place}")) == f"layers.12.{place}"


@pytest.mark.parametrize(
    "text", ["layers.1.mlp", "layer.1.resid:out", "layers.x.resid:out", "layers.1.resid:mid", ""]
)
def test_unknown_site_lists_what_exists(text: str) -> None:
    with pytest.raises(SiteError, match=r"layers\.<i>\.mlp\.down_proj:in"):
        parse_site(text)


def test_layer_out_of_range_says_which_exist(llama: LlamaForCausalLM) -> None:
    with pytest.raises(SiteError, match="layers 0 to 2"):
        resolve(llama, "layers.3.resid:out")


@pytest.mark.parametrize("family", ["llama", *WORKING, *OTHER_RESIDUAL])
def test_residual_site_is_the_output_of_the_block(family: str, llama: LlamaForCausalLM) -> None:
    """What the leaf hooks call the residual stream is what a hook on the block itself sees, and an
    addition there changes exactly that by exactly the vector. Blocks that add their branches in
    another way (scaled, normalised afterwards, in parallel) are hooked as a whole."""
    model = llama if family == "llama" else build(*{**WORKING, **OTHER_RESIDUAL}[family])
    if family == "granite":
        for block in find_layers(model):
            block.residual_multiplier = 0.5
    assert resolve(model, "layers.1.resid:out").adds_stream == (family not in OTHER_RESIDUAL)
    tokens, v = ids(2, 6), unit(32, 4)
    outputs: list[torch.Tensor] = []

    def look(module: nn.Module, args: object, output: object) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = find_layers(model)[1].register_forward_hook(look)
    with torch.no_grad(), capture(model, ["layers.1.resid:out"]) as seen:
        model(tokens)
        with Steerer(model, n_rows=2) as steerer:
            steerer.set_row(0, [Intervention("add", "layers.1.resid:out", 2.5, direction=v)])
            begin(steerer, groups(2, 6) * 0)
            model(tokens)
            steerer.check_receipt(steerer.receipt(0))
    handle.remove()
    captured = seen.activations("layers.1.resid:out")[:12].reshape(2, 6, 32)
    assert torch.equal(captured, outputs[0])
    assert torch.allclose(outputs[1][0], outputs[0][0] + 2.5 * v, atol=1e-5)
    assert torch.equal(outputs[1][1], outputs[0][1])


def test_two_stacks_without_a_name_for_the_decoder_are_refused() -> None:
    pair = nn.ModuleDict({"a": build(*WORKING["qwen3"]), "b": build(*WORKING["qwen2"])})
    with pytest.raises(SiteError, match="several decoder stacks"):
        find_layers(pair)
    assert len(find_layers(pair["a"])) == 3


def test_value_vectors_and_unembedding(llama: LlamaForCausalLM) -> None:
    vectors = value_vectors(llama, 2)
    one = torch.zeros(48)
    one[7] = 1.0
    with torch.no_grad():
        written = llama.model.layers[2].mlp.down_proj(one)
    assert vectors.shape == (48, 32)
    assert torch.allclose(vectors[7], written)
    assert unembedding(llama) is not None
    assert torch.equal(unembedding(llama), llama.lm_head.weight)
    with pytest.raises(SiteError, match="output embeddings"):
        unembedding(llama.model.layers[0])


@pytest.mark.parametrize("place", PLACES)
def test_width_of_every_place(llama: LlamaForCausalLM, place: str) -> None:
    if place == "mlp.router:in":
        with pytest.raises(SiteError, match=r"LlamaForCausalLM does not offer.*no router"):
            resolve(llama, f"layers.0.{place}")
        return
    wide = ("mlp.gate_proj:out", "mlp.up_proj:out", "mlp.down_proj:in")
    assert resolve(llama, f"layers.0.{place}").width == (48 if place in wide else 32)
