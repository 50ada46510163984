"""Residual activations of a VLA under paired instructions on the same observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.captures import capture
from pilotage.steering.steerer import Steerer
from pilotage.steering.tokens import group_id


def draw_steps(demos: Sequence[Demo], n: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """`n` env steps drawn uniformly, with repetition: which demo int64 `[n]`, and which step."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(demos), size=n)
    return picks, [int(rng.integers(demos[i].n_steps)) for i in picks]


def single_step_window(
    model: VLAModel, demos: Sequence[Demo], steps: Sequence[int], suffix: str
) -> Window:
    """One window a demo, holding one env step, with `suffix` behind its instruction."""
    c, tokenizer = model.config, model.tokenizer
    codec = ActionCodec(c.n_action_tokens, c.n_bins, c.n_discrete)
    rows = list(zip(demos, steps, strict=True))
    words = [
        tokenizer.padded(
            f"{d.task.instruction} {suffix}", c.max_instruction, start_id=tokenizer.bos_id
        )
        for d in demos
    ]
    n = len(rows)
    return Window(
        instruction=torch.from_numpy(np.stack(words)),
        images=[
            torch.from_numpy(np.stack([d.images[k][t] for d, t in rows]))[:, None]
            for k in range(len(c.image_keys))
        ],
        proprio=torch.from_numpy(np.stack([d.proprio[t] for d, t in rows]))[:, None],
        actions=torch.from_numpy(codec.encode(np.stack([d.actions[t] for d, t in rows])))[:, None],
        valid=torch.ones(n, 1, dtype=torch.bool),
        first_step=torch.zeros(n, dtype=torch.long),
        narration_step=torch.zeros(n, 0, dtype=torch.long),
        narration=torch.zeros(n, 0, c.max_narration, dtype=torch.long),
        aux=torch.zeros(n, 1, 0),
    )


@torch.inference_mode()
def paired_activations(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    positive: str,
    negative: str,
    sites: Sequence[str],
    token_groups: Sequence[str] = ("proprio", "action"),
    n_pairs: int = 512,
    seed: int = 0,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Per site two float32 `[n_pairs, d]`: the mean over the chosen tokens of one env step, under
    the instruction followed by `positive` and by `negative`.

    Steps are drawn uniformly from the demos with the seed; both sides see the same observation and
    the same (expert) actions, so only words differ.
    """
    picks, steps = draw_steps(demos, n_pairs, seed)
    kinds = [group_id(name) for name in token_groups]
    sides = []
    for suffix in (positive, negative):
        with capture(model.decoder, sites, reduce="mean") as seen:
            for first in range(0, n_pairs, 64):
                chunk = slice(first, first + 64)
                window = single_step_window(
                    model, [demos[i] for i in picks[chunk]], steps[chunk], suffix
                )
                groups = model.token_groups(window)
                seen.select(torch.isin(groups, torch.tensor(kinds, dtype=groups.dtype)))
                model(window)
        sides.append({site: seen.activations(site) for site in sites})
    return {site: (sides[0][site], sides[1][site]) for site in sites}


def begin_window(steerer: Steerer, groups: torch.Tensor) -> None:
    """Announce the forward of a training window (token groups int8 `[B, S]`) as a first step."""
    n = len(groups)
    steerer.begin(
        rows=slice(0, n),
        token_groups=groups,
        phase="prefill",
        decode_token=0,
        env_steps=np.zeros(n, np.int64),
        live=np.ones(n, bool),
    )
