"""What action training did to the value vectors of a pretrained decoder.

    python -m pilotage.scripts.bench_language [--agent smol] [--neurons 256] [--json]

Projects value vectors onto the vocabulary (arXiv:2509.00328) before and after the training, layer
by layer: how many have action bins for most of their top tokens, how many mean something in words
(`steering/meanings.py`; *alike* and *coherent*), and what chance gives, from random directions.
Then, for words of manner and direction: which pretrained value vectors are nearest to them, and
how near those still are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from pilotage.agents.vla.model import VLAModel
from pilotage.episodes.tables import to_markdown
from pilotage.scripts.cmd_read import concept_ids
from pilotage.scripts.opening import load_vla
from pilotage.steering.meanings import coherence, coherence_of_chance, largest_family
from pilotage.steering.projection import project, search
from pilotage.steering.sites import find_layers, unembedding, value_vectors

PATTERN = 4  # of the top tokens share something (arXiv:2509.00328)
CONCEPTS = ("slow", "fast", "up", "down", "left", "right", "gentle")


@dataclass(frozen=True)
class Counts:
    """Shares of a layer's vectors."""

    action: float  # most of the top tokens are action bins
    alike: float  # not action, and four of them are forms of one word
    coherent: float  # not action, and their embeddings point together
    bins: float  # of all top tokens, those that are bins


def count(model: VLAModel, values: torch.Tensor, bar: float, top_k: int) -> Counts:
    """Of value vectors `[n, d]`; bar: the coherence that chance stays below."""
    rows = unembedding(model.decoder)
    found = project(values, rows, top_k=top_k)
    share = found.share(model.action_ids)
    words = share <= 0.5
    families = [largest_family(found.words(i, model.tokenizer.text_of)) for i in range(len(values))]
    alike = torch.tensor(families) >= PATTERN
    together = coherence(found.token_ids, rows) > bar
    return Counts(
        action=float((~words).float().mean()),
        alike=float((words & alike).float().mean()),
        coherent=float((words & together).float().mean()),
        bins=float(share.mean()),
    )


def layers_table(
    before: VLAModel, after: VLAModel, *, neurons: int, top_k: int, seed: int
) -> list[dict[str, Any]]:
    """A row a layer, and one of random directions."""
    generator = torch.Generator().manual_seed(seed)
    models = {"before": before, "after": after}
    bars = {
        name: coherence_of_chance(unembedding(m.decoder), top_k=top_k, seed=seed)
        for name, m in models.items()
    }
    rows = []
    for layer in range(len(find_layers(before.decoder))):
        n = len(value_vectors(before.decoder, layer))
        chosen = torch.randperm(n, generator=generator)[: neurons or n]
        counts = {
            name: count(m, value_vectors(m.decoder, layer)[chosen], bars[name], top_k)
            for name, m in models.items()
        }
        rows.append({"layer": layer, "vectors": len(chosen), **_columns(counts)})
    n, width = neurons or 1536, before.config.d_model
    directions = torch.randn(n, width, generator=generator)
    chance = {name: count(m, directions, bars[name], top_k) for name, m in models.items()}
    return [*rows, {"layer": "random", "vectors": n, **_columns(chance)}]


def _columns(counts: dict[str, Counts]) -> dict[str, float]:
    return {
        f"{what} {when}": round(getattr(found, what), 3)
        for what in ("bins", "action", "alike", "coherent")
        for when, found in counts.items()
    }


def concepts_table(
    before: VLAModel, after: VLAModel, concepts: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """The pretrained value vectors nearest to each concept, and what became of them."""
    rows = []
    for concept in concepts:
        ids = concept_ids(before.tokenizer, concept)
        hits = search(before.decoder, ids, by="cosine", limit=limit)
        again = search(after.decoder, ids, by="cosine", limit=limit)
        meant = normalize(unembedding(before.decoder)[ids].float(), dim=-1).mean(0)
        kept, moved = [], []
        for hit in hits:
            old, new = (
                value_vectors(m.decoder, hit.layer)[hit.neuron].float() for m in (before, after)
            )
            kept.append(float(normalize(new, dim=0) @ meant))
            moved.append(float(normalize(old, dim=0) @ normalize(new, dim=0)))
        best = hits[0]
        top = project(
            value_vectors(before.decoder, best.layer)[best.neuron][None],
            unembedding(before.decoder),
            top_k=6,
        )
        same = {(h.layer, h.neuron) for h in hits} & {(h.layer, h.neuron) for h in again}
        rows.append(
            {
                "concept": concept,
                "layers": " ".join(str(layer) for layer in sorted({h.layer for h in hits})),
                "nearness before": round(sum(h.score for h in hits) / len(hits), 3),
                "after": round(sum(kept) / len(kept), 3),
                "cosine to before": round(sum(moved) / len(moved), 3),
                "still nearest": f"{len(same)} of {len(hits)}",
                "nearest says": ",".join(top.words(0, before.tokenizer.text_of)),
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run and print; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", default="smol", help="a VLA with a pretrained decoder")
    parser.add_argument("--neurons", type=int, default=256, help="a layer, drawn; 0: all")
    parser.add_argument("--top", type=int, default=30, help="tokens of a vector that are looked at")
    parser.add_argument("--limit", type=int, default=10, help="value vectors of a concept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    after = load_vla(args.agent, "tabletop").model
    if not after.config.language:
        raise SystemExit(f"{args.agent} was not pretrained: there is no before; give smol")
    before = VLAModel(after.config).eval().requires_grad_(False)
    layers = layers_table(before, after, neurons=args.neurons, top_k=args.top, seed=args.seed)
    concepts = concepts_table(before, after, CONCEPTS, args.limit)
    if args.json:
        print(json.dumps({"layers": layers, "concepts": concepts}, indent=1))
    else:
        print(to_markdown(layers), to_markdown(concepts), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
