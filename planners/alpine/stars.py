"""Learning to find the arm of a star graph that ends in the goal, by three objectives.

Bachmann & Nagarajan 2024, "The pitfalls of next-token prediction" (arXiv:2403.06963):

    next         each token of the path from those before it. All but the first step follow from
                 the step before, so that the first, the only hard one, is guessed: 1 / degree
    reversed     the path from the goal to the start: every step is found in one edge
    teacherless  all tokens of the path at once; the path itself is hidden behind masks

Lines are plain arrays (`envs.pathgraph.star_lines`): prompts [B, P] and paths [B, L] of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pilotage.planners.alpine.model import PathGPT, PathGPTConfig
from pilotage.planners.checkpoints import (
    digest_of,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)

OBJECTIVES = ("next", "reversed", "teacherless")
# (number of the batch) -> prompts int64 [B, P] and paths int64 [B, L]
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class StarRecipe:
    """AdamW with a short warm-up and a constant rate; the loss on the path alone."""

    objective: str = "next"
    n_updates: int = 2000
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}, got {self.objective!r}")


def train_stars(
    draw: Draw,
    config: PathGPTConfig,
    recipe: StarRecipe,
    *,
    mask: int,
    device: str = "cpu",
    every: int = 200,
    tell: Callable[[int, float], None] | None = None,
    state: Path | None = None,
) -> PathGPT:
    """A network trained on `draw(0)`, `draw(1)`, ...; `tell(updates, mean loss)` now and then.

    With `state` the trainer is kept in that file every `every` updates and goes on from it where it
    exists. ValueError when that is of another training.
    """
    r = recipe
    torch.manual_seed(r.seed)
    model = PathGPT(config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.95), weight_decay=r.weight_decay
    )
    about: dict[str, object] = {
        "config": asdict(config),
        "recipe": asdict(r),
        "lines": digest_of(*draw(0)),
    }
    done, losses = 0, list[float]()
    if state is not None and state.exists():
        found = read_state(state, about, what="a star-graph training")
        done = int(found["progress"])
        restore_training(model, optimizer, found)
    for step in range(done, r.n_updates):
        for group in optimizer.param_groups:
            group["lr"] = r.learning_rate * min(1.0, (step + 1) / max(1, r.warmup))
        prompts, paths = (torch.from_numpy(part).to(device) for part in draw(step))
        loss = path_loss(model, prompts, paths, r.objective, mask=mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % every == 0 or step + 1 == r.n_updates:
            if state is not None:
                progress = {"progress": torch.tensor(step + 1)}
                write_state(state, training_tensors(model, optimizer) | progress, about)
            if tell is not None:
                tell(step + 1, float(np.mean(losses[-every:])))
    return model.eval()


def path_loss(
    model: PathGPT, prompts: Tensor, paths: Tensor, objective: str, *, mask: int
) -> Tensor:
    """Mean cross entropy of the path's tokens, by objective."""
    target = paths.flip(1) if objective == "reversed" else paths
    shown = target[:, :-1]
    if objective == "teacherless":
        shown = torch.full_like(shown, mask)
    logits = model(torch.cat([prompts, shown], dim=1))[:, prompts.shape[1] - 1 :]
    return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())


@torch.inference_mode()
def find_paths(
    model: PathGPT,
    prompts: np.ndarray,
    length: int,
    objective: str,
    *,
    mask: int,
    device: str = "cpu",
) -> np.ndarray:
    """Likeliest paths int64 [B, length], start first, without any help: token by token as it was
    trained, or all at once."""
    line = torch.from_numpy(prompts).to(device)
    if objective == "teacherless":
        hidden = line.new_full((len(line), length - 1), mask)
        logits = model(torch.cat([line, hidden], dim=1))[:, line.shape[1] - 1 :]
        return logits.argmax(-1).cpu().numpy()
    for _ in range(length):
        line = torch.cat([line, model(line)[:, -1:].argmax(-1)], dim=1)
    path = line[:, prompts.shape[1] :]
    return (path.flip(1) if objective == "reversed" else path).cpu().numpy()


@torch.inference_mode()
def shares_right(
    model: PathGPT,
    prompts: np.ndarray,
    paths: np.ndarray,
    objective: str,
    *,
    mask: int,
    device: str = "cpu",
) -> dict[str, float]:
    """`exact`: paths all of whose tokens are right; `first step`: the node behind the start is;
    `other steps`: each token behind that one, given all those that were before it in training
    (teacher forcing; without it for "teacherless"): where next-token learners look good."""
    found = find_paths(model, prompts, paths.shape[1], objective, mask=mask, device=device)
    given = _forced(model, prompts, paths, objective, mask, device)
    return {
        "exact": float((found == paths).all(axis=1).mean()),
        "first step": float((found[:, 1] == paths[:, 1]).mean()),
        "other steps": float((given[:, 2:] == paths[:, 2:]).mean()),
    }


def _forced(
    model: PathGPT,
    prompts: np.ndarray,
    paths: np.ndarray,
    objective: str,
    mask: int,
    device: str,
) -> np.ndarray:
    """Each token's likeliest value [B, L] with the right ones before it, start first."""
    target = paths[:, ::-1] if objective == "reversed" else paths
    shown = np.full_like(target[:, :-1], mask) if objective == "teacherless" else target[:, :-1]
    line = torch.from_numpy(np.concatenate([prompts, shown], axis=1)).to(device)
    said = model(line)[:, prompts.shape[1] - 1 :].argmax(-1).cpu().numpy()
    return said[:, ::-1] if objective == "reversed" else said
