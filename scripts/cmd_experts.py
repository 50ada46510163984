"""`pilotage steer experts`: the experts of a concept, from two sets of prompts, as conditions.

Mixture of Tunable Experts (arXiv:2502.11096): which experts a router asks for more often with the
concept than without; conditions that suppress and stimulate them; and for each the control of as
many other experts of the same layers that are used equally often.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pilotage.episodes.files import write_atomically
from pilotage.scripts.tabulate import show_rows
from pilotage.steering.artefacts import model_digest
from pilotage.steering.distributions import divergence
from pilotage.steering.experts import (
    METHOD,
    ExpertSet,
    ExpertUsage,
    contrast_experts,
    usage_matched,
    usage_over,
)


def experts(
    *,
    model: Path,
    on: Path,
    off: Path,
    n: int,
    shift: float,
    tokens: str,
    out: Path,
    seed: int,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer experts --help`."""
    if not shift > 0:
        raise ValueError(f"--shift {shift}: it is taken off and added; give a number > 0")
    words = {"on": read_prompts(on), "off": read_prompts(off)}
    network, tokenizer = open_mixture(model)
    prompts = {side: encode(tokenizer, texts) for side, texts in words.items()}
    used = {side: usage_over(network, ids, tokens=tokens) for side, ids in prompts.items()}
    found = contrast_experts(used["on"][0], used["off"][0], n)
    both = usage_over(network, [*prompts["on"], *prompts["off"]], tokens=tokens)[0]
    control = usage_matched(found, both, seed)
    out.mkdir(parents=True, exist_ok=True)
    digest = model_digest(network)
    table: dict[str, Any] = {"_made_by": "pilotage steer experts"}
    rows = [_usage_row("baseline", found, used["on"][0], used["off"][0])]
    for name, chosen, by in (
        ("suppress", found, -shift),
        ("suppress-control", control, -shift),
        ("stimulate", found, shift),
        ("stimulate-control", control, shift),
    ):
        source = {**chosen.source, "model": digest, "method": METHOD}
        edits = ExpertSet(chosen.experts, source).interventions(network, by)
        table[name] = {"interventions": [edit.to_spec(out) for edit in edits]}
        steered = {
            side: usage_over(network, ids, tokens=tokens, edits=edits)
            for side, ids in prompts.items()
        }
        row = _usage_row(name, chosen, steered["on"][0], steered["off"][0])
        for side in ("on", "off"):
            far = divergence(used[side][1], steered[side][1]).mean()
            row[f"kl_{side}"] = round(float(far), 4)
        rows.append(row)
    write_atomically(out / "conditions.json", (json.dumps(table, indent=1) + "\n").encode())
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        title = f"{n} experts of {model.name}: share of tokens that ask for them, and what it does"
        show_rows(rows, title, out / "experts.md", width=120)
    return rows


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that say something. ValueError where none does."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of prompts {path}; write one prompt a line")
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no prompt; write one a line")
    return lines


def open_mixture(folder: Path) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a folder on disk; weights are safetensors."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} is no folder of a model (no config.json); download one, e.g. OLMoE, first"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    )
    return model.eval().requires_grad_(False), tokenizer


def encode(tokenizer: Any, texts: Sequence[str]) -> list[torch.Tensor]:
    """Ids int64 `[S]` of each prompt. ValueError naming one that gives no token."""
    ids = [torch.tensor(tokenizer(text)["input_ids"], dtype=torch.int64) for text in texts]
    for text, row in zip(texts, ids, strict=True):
        if len(row) == 0:
            raise ValueError(f"the prompt {text!r} gives no token")
    return ids


def _usage_row(
    name: str, chosen: ExpertSet, on: Sequence[ExpertUsage], off: Sequence[ExpertUsage]
) -> dict[str, Any]:
    """How often these experts are asked for on either side, mean over them."""
    row: dict[str, Any] = {
        "condition": name,
        "experts": " ".join(f"{layer}.{expert}" for layer, expert in chosen.experts),
    }
    for side, usages in (("on", on), ("off", off)):
        shares = {u.layer: u.share for u in usages}
        mean = sum(float(shares[layer][e]) for layer, e in chosen.experts) / len(chosen.experts)
        row[f"used_{side}"] = round(mean, 4)
    return row | {"kl_on": 0.0, "kl_off": 0.0}
