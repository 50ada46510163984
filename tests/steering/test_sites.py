"""Sites are found by structure, in several families, and the residual site is where it says."""

from __future__ import annotations

from dataclasses import replace

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
    ModelMap,
    SiteError,
    Steerer,
    describe_model,
    final_norm,
    offered_places,
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
WIDE = ((32, 48), (48, 32), (32, 48))
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


class OddMap(nn.Module):
    """A linear map that keeps its weight `[in, out]`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class OddBlock(nn.Module):
    """Mixes tokens by a running mean, calls its parts by unusual names, and returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.wide, self.narrow = OddMap(32, 32), OddMap(32, 48), OddMap(48, 32)

    def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, None]:
        steps = torch.arange(1, h.shape[1] + 1)[:, None]
        h = h + self.mix(h.cumsum(1) / steps)
        return h + self.narrow(torch.tanh(self.wide(h))), None


class OddModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.ln = nn.Embedding(50, 32), nn.LayerNorm(32)
        self.steps = nn.ModuleList(OddBlock() for _ in range(2))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.table(tokens)
        for step in self.steps:
            h, _ = step(h)
        return self.ln(h) @ self.table.weight.T


ODD = ModelMap(
    layers="steps",
    attention_out="mix",
    down="narrow",
    up="wide",
    final_norm="ln",
    unembedding="table",
    input_first=True,
)


def make_odd() -> OddModel:
    torch.manual_seed(0)
    return OddModel().eval()


def odd_by_hand(model: OddModel, tokens: torch.Tensor, neurons: list[int]) -> torch.Tensor:
    """The odd model's logits with neurons of its last block held at 1.5 in row 0."""
    h = model.steps[0](model.table(tokens))[0]
    last = model.steps[1]
    h = h + (h.cumsum(1) / torch.arange(1, 7)[:, None]) @ last.mix.weight
    x = torch.tanh(h @ last.wide.weight)
    x[0][:, neurons] = 1.5
    return nn.functional.layer_norm(
        h + x @ last.narrow.weight, (32,), model.ln.weight, model.ln.bias
    ) @ (model.table.weight.T)


def test_a_model_that_is_not_recognised_says_what_it_has_and_how_to_describe_it() -> None:
    with pytest.raises(SiteError) as caught:
        resolve(make_odd(), "layers.0.resid:out")
    for part in ("OddModel", "steps (2 of OddBlock", "narrow: OddMap", "describe_model(model"):
        assert part in str(caught.value)


def test_a_model_described_by_hand_is_steered_and_read() -> None:
    model, tokens, v = make_odd(), ids(2, 6), unit(32, 4)
    describe_model(model, ODD)
    assert len(find_layers(model)) == 2
    assert offered_places(model) == tuple(
        p for p in PLACES if p not in ("mlp:in", "mlp:out", "mlp.gate_proj:out", "mlp.router:in")
    )
    clamp = Intervention("clamp", "layers.1.mlp.down_proj:in", 1.5, neurons=torch.tensor([3, 40]))
    add = Intervention("add", "layers.1.resid:out", 2.0, direction=v)
    with torch.no_grad(), Steerer(model, n_rows=2) as steerer:
        plain = model(tokens)
        steerer.set_row(0, [clamp])
        begin(steerer, groups(2, 6) * 0)
        assert torch.allclose(model(tokens), odd_by_hand(model, tokens, [3, 40]), atol=1e-5)
        steerer.check_receipt(steerer.receipt(0))
        steerer.set_row(0, [add])
        begin(steerer, groups(2, 6) * 0)
        with capture(model, ["layers.1.resid:out"]) as seen:
            steered = model(tokens)
        steerer.check_receipt(steerer.receipt(0))
        captured = seen.activations("layers.1.resid:out").view(2, 6, 32)
        assert torch.allclose(model.ln(captured) @ model.table.weight.T, steered, atol=1e-5)
        assert torch.equal(steered[1], plain[1])
    assert torch.equal(value_vectors(model, 1), model.steps[1].narrow.weight)
    assert torch.equal(unembedding(model), model.table.weight)
    assert final_norm(model) is model.ln


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": "stack"}, r"no 'stack' in OddModel with table: Embedding"),
        ({"layers": "table"}, "must be a ModuleList"),
        ({"down": "narrow.inner"}, r"'narrow.inner', but there is no 'inner' in OddMap"),
        ({"attention_out": None, "down": None}, "the width is not known"),
        ({"final_norm": "norm"}, "no 'norm'"),
    ],
)
def test_a_wrong_description_is_refused_and_the_last_one_kept(
    change: dict[str, str | None], reason: str
) -> None:
    model = make_odd()
    describe_model(model, ODD)
    with pytest.raises(SiteError, match=reason):
        describe_model(model, replace(ODD, **change))
    assert resolve(model, "layers.1.mlp.down_proj:in").width == 48
    with pytest.raises(SiteError, match=reason):
        describe_model(make_odd(), replace(ODD, **change))


def test_a_place_that_a_description_leaves_out_is_refused() -> None:
    model = make_odd()
    describe_model(model, ODD)
    with pytest.raises(SiteError, match="the map of OddModel names no ffn"):
        resolve(model, "layers.0.mlp:in")


class TinyAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)


def lone_block(ffn: nn.Module) -> nn.Module:
    block = nn.ModuleDict({"attn": TinyAttention(), "mlp": ffn})
    return nn.ModuleDict({"blocks": nn.ModuleList([block])})


def test_experts_in_a_list_are_read_but_not_steered() -> None:
    """Mixtures whose experts are modules of their own, each called with its own tokens."""
    experts = nn.ModuleList(
        nn.ModuleDict({"w1": nn.Linear(32, 48), "w2": nn.Linear(48, 32), "w3": nn.Linear(32, 48)})
        for _ in range(3)
    )
    model = lone_block(nn.ModuleDict({"gate": nn.Linear(32, 3), "experts": experts}))
    assert resolve(model, "layers.0.mlp.router:in").width == 32
    assert torch.equal(value_vectors(model, 0, expert=2), experts[2]["w2"].weight.T)
    with pytest.raises(SiteError, match="calls each of its 3 experts with only the tokens"):
        resolve(model, "layers.0.mlp.down_proj:in")


def test_unclear_linear_maps_are_refused_rather_than_guessed() -> None:
    names = ("w1", "w2", "w3")
    wide = lone_block(nn.ModuleDict({n: nn.Linear(*s) for n, s in zip(names, WIDE)}))
    assert resolve(wide, "layers.0.mlp.down_proj:in").width == 48
    with pytest.raises(SiteError, match="not clear which linear map is the gate"):
        resolve(wide, "layers.0.mlp.gate_proj:out")
    square = lone_block(nn.ModuleDict({n: nn.Linear(32, 32) for n in names}))
    with pytest.raises(SiteError, match="not clear which linear map writes the stream"):
        resolve(square, "layers.0.mlp.down_proj:in")
    named = lone_block(nn.ModuleDict({n: nn.Linear(32, 32) for n in ("gate", "down", "up")}))
    assert resolve(named, "layers.0.mlp.down_proj:in").module is named["blocks"][0]["mlp"]["down"]


def test_a_quantised_map_is_refused() -> None:
    model = lone_block(nn.ModuleDict({"up": nn.Linear(32, 48), "down": nn.Linear(48, 32)}))
    down = model["blocks"][0]["mlp"]["down"]
    del down.weight
    down.register_buffer("weight", torch.zeros(32, 48, dtype=torch.int8))
    with pytest.raises(SiteError, match="load the model unquantised"):
        resolve(model, "layers.0.mlp.down_proj:in")
    assert resolve(model, "layers.0.resid:out").width == 32
