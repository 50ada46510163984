"""`pilotage steer experts` on tiny mixtures with a hand-made tokenizer, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from pilotage.agents.vla.conditions import AgentCondition, parse_condition
from pilotage.scripts.cmd_experts import encode, experts, open_mixture, read_prompts
from pilotage.steering.artefacts import ArtefactError, model_digest
from pilotage.steering.experts import usage_over

WORDS = ["<unk>", "<s>", "go", "left", "right", "slowly", "red", "cube", "lift", "the"]
ON = ["go left slowly", "lift the red cube slowly"]
OFF = ["go left", "lift the red cube", "go right"]
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": len(WORDS),
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_SPARSE = {**_SIZES, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES = {
    "mixtral": (
        MixtralForCausalLM,
        MixtralConfig,
        {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen2_moe": (
        Qwen2MoeForCausalLM,
        Qwen2MoeConfig,
        {**_SPARSE, "shared_expert_intermediate_size": 16},
    ),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig, {**_SPARSE, "head_dim": 8}),
    "olmoe": (
        OlmoeForCausalLM,
        OlmoeConfig,
        {**_SIZES, "num_experts": 4, "num_experts_per_tok": 2},
    ),
}


@pytest.fixture
def prompts(tmp_path: Path) -> tuple[Path, Path]:
    for name, lines in (("on.txt", ON), ("off.txt", [*OFF, ""])):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path / "on.txt", tmp_path / "off.txt"


def saved(family: str, folder: Path, seed: int = 0) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(seed)
    model, config, settings = FAMILIES[family]
    model(config(**settings)).save_pretrained(folder)
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_conditions_that_are_written_steer_the_model_that_they_are_of(
    family: str, prompts: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, out = saved(family, tmp_path / "model"), tmp_path / "out"
    on, off = prompts
    options = {"n": 2, "shift": 50.0, "tokens": "all", "out": out, "seed": 0, "as_json": True}
    rows = {r["condition"]: r for r in experts(model=folder, on=on, off=off, **options)}  # type: ignore[arg-type]
    assert rows["baseline"]["used_on"] > rows["baseline"]["used_off"]
    assert rows["suppress"]["used_on"] == rows["suppress"]["used_off"] == 0.0
    assert rows["stimulate"]["used_on"] == rows["stimulate"]["used_off"] == 1.0
    assert rows["suppress-control"]["used_on"] == 0.0
    targets = rows["suppress"]["experts"].split()
    control = rows["suppress-control"]["experts"].split()
    assert not set(targets) & set(control)
    assert sorted(t.split(".")[0] for t in targets) == sorted(c.split(".")[0] for c in control)
    assert min(rows[name]["kl_on"] for name in ("suppress", "stimulate")) > 1e-4

    # What was written, loaded again: the same experts are gone from what the router itself chooses.
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    condition = parse_condition("suppress", out)
    edits = AgentCondition.resolve(condition, model, out, model_digest(model)).interventions
    _, tokenizer = open_mixture(folder)
    used, _ = usage_over(model, encode(tokenizer, ON), edits=edits)
    for target in targets:
        layer, expert = map(int, target.split("."))
        assert float(used[layer].share[expert]) == 0.0
    saved(family, tmp_path / "other", seed=1)
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "other").eval()
    with pytest.raises(ArtefactError, match="was made with the model"):
        AgentCondition.resolve(condition, other, out, model_digest(other))


def test_experts_are_those_that_the_router_names_more_often(
    prompts: tuple[Path, Path], tmp_path: Path
) -> None:
    """Counted from the logits that the model returns with `output_router_logits`."""
    folder, out = saved("mixtral", tmp_path / "model"), tmp_path / "out"
    options = {"shift": 50.0, "tokens": "last", "out": out, "seed": 0, "as_json": True}
    rows = experts(model=folder, on=prompts[0], off=prompts[1], n=1, **options)  # type: ignore[arg-type]
    model, tokenizer = open_mixture(folder)
    difference = torch.zeros(2, 4)
    for texts, sign in ((ON, 1), (OFF, -1)):
        for ids in encode(tokenizer, texts):
            with torch.no_grad():
                seen = model(ids[None], output_router_logits=True, use_cache=False).router_logits
            for layer in range(2):
                chosen = seen[layer].view(len(ids), 4)[-1].topk(2).indices
                difference[layer, chosen] += sign / len(texts)
    layer, expert = map(int, rows[1]["experts"].split("."))
    assert float(difference[layer, expert]) == pytest.approx(float(difference.max()))
    table = json.loads((out / "conditions.json").read_text())
    assert table["stimulate"]["interventions"][0]["site"] == f"layers.{layer}.mlp.router:in"


def test_bad_input_is_refused(prompts: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file of prompts"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="holds no prompt"):
        read_prompts(tmp_path / "empty.txt")
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        open_mixture(tmp_path)
    model, tokenizer = open_mixture(saved("mixtral", tmp_path / "model"))
    with pytest.raises(ValueError, match="it is all or last"):
        usage_over(model, encode(tokenizer, ON), tokens="first")
    with pytest.raises(ValueError, match="no prompts"):
        usage_over(model, [])
