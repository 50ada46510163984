"""The network learns to tell which words of the instruction are being carried out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.training import Trainer, WindowSampler

from .tiny import tiny_config, tiny_task, tiny_training

CONFIG = replace(tiny_config(), finds_clause=True)


def walk(rng: np.random.Generator, *, known: bool = True) -> Demo:
    """Two words in either order; the proprioception says which of them is being carried out, not
    where in the instruction it stands."""
    order = rng.permutation(["left", "right"]).tolist()
    now = [str(rng.choice(order)) for _ in range(3)]
    clause = np.zeros((3, CONFIG.max_instruction), bool)
    proprio = np.zeros((3, 4), np.float32)
    for step, word in enumerate(now):
        clause[step, 1 + order.index(word)] = True  # behind <bos>
        proprio[step, 0 if word == "left" else 1] = 1.0
    return Demo(
        task=tiny_task(0, " ".join(order)),
        images=[np.zeros((3, 16, 16, 3), np.uint8)],
        proprio=proprio,
        actions=np.zeros((3, 3), np.float32),
        narrations=["go"] * 3,
        aux=np.zeros((3, 2), np.float32),
        success=False,
        clause=clause if known else None,
    )


def made(demos: list[Demo]) -> tuple[Trainer, WindowSampler]:
    return tiny_training(CONFIG, demos, window_steps=2)


def test_the_words_that_are_carried_out_are_found_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    trainer, sampler = made([walk(rng) for _ in range(100)])
    first = trainer.update(sampler.draw())["clause"]
    for _ in range(150):
        last = trainer.update(sampler.draw())["clause"]
    assert last < 0.1 * first
    _, fresh = made([walk(rng) for _ in range(64)])
    window = fresh.draw()
    assert window.clause is not None
    with torch.no_grad():
        logits = trainer.model.eval()(window)["clause"]
    assert logits.shape == window.clause.shape
    right = window.clause.gather(-1, logits.argmax(-1, keepdim=True))
    assert float(right.float().mean()) > 0.95


def test_the_loss_is_that_of_any_of_the_words() -> None:
    """Against the definition, written out: minus log of the probability on the marked words."""
    rng = np.random.default_rng(1)
    trainer, sampler = made([walk(rng) for _ in range(8)])
    window = sampler.draw()
    assert window.clause is not None
    window.clause[0] = False  # not known
    window.clause[1, :, 0] = True  # two words
    with torch.no_grad():
        logits = trainer.model.eval()(window)["clause"].double().numpy()
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    on_marked = (probability * window.clause.numpy()).sum(-1)
    wanted = -np.log(on_marked[1:]).mean()
    with torch.no_grad():
        found = trainer._clause_loss(window, trainer.model(window))
    assert abs(float(found) - wanted) < 1e-5


def test_walks_without_labels_teach_nothing_here() -> None:
    rng = np.random.default_rng(0)
    trainer, sampler = made([walk(rng, known=False) for _ in range(8)])
    finder = trainer.model.clause
    assert finder is not None
    before = finder.of_word.weight.detach().clone()
    assert trainer.update(sampler.draw())["clause"] == 0.0
    assert torch.equal(finder.of_word.weight.detach(), before)
