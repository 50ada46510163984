"""What becomes of a VLA's actions when its void layers are skipped, beside controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.activations import draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.agents.vla.monitoring import choosable_ids
from pilotage.steering.streams import Streams, lens
from pilotage.steering.tokens import ACTION, PAD
from pilotage.steering.voids import ALPHA, Skipping, last_active, shuffled, void_layers

CHUNK = 64  # env steps of one forward
PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class Skipped:
    """How the actions of one way to skip compare with those of the whole model.

    skipped: share of (token, block) pairs that are left out. same: share of action tokens with the
    same bin, by env step float64 `[n]`. apart: mean distance of the action from the whole model's,
    in units of the largest, `[n]` (discrete actions: NaN). steps belong to demos `clusters` `[n]`.
    """

    name: str
    skipped: float
    same: np.ndarray
    apart: np.ndarray
    clusters: np.ndarray


@dataclass
class _Kept:
    share: list[float] = field(default_factory=list)
    bins: list[np.ndarray] = field(default_factory=list)


@torch.inference_mode()
def skip_voids(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    alpha: float = ALPHA,
    n_steps: int = 256,
    seed: int = 0,
) -> tuple[list[Skipped], dict[str, np.ndarray]]:
    """Ways to leave blocks out at env steps drawn from the demos; and by phase, for each block, for
    what share of tokens it is a void, float64 `[L]` ("prefill": all that is read; "decode": action
    tokens that are fed back; only phases that occur).

    Ways: `voids` skipped in earnest; `voids, read out` behind the last active block, as the paper's
    code does; `random` as many blocks of each token; `block k` at all tokens. Every token may skip.
    The action tokens before one are the expert's, and the agent sees one step only.
    """
    c = model.config
    picks, steps = draw_steps(demos, n_steps, seed)
    kept: dict[str, _Kept] = {"whole": _Kept()}
    shares: dict[str, list[np.ndarray]] = {phase: [] for phase in PHASES}
    for number, first in enumerate(range(0, n_steps, CHUNK)):
        chunk = slice(first, min(first + CHUNK, n_steps))
        window = single_step_window(model, [demos[i] for i in picks[chunk]], steps[chunk], "")
        groups = model.token_groups(window).numpy()
        with Streams(model.decoder, all_positions=True) as streams:
            _keep(kept["whole"], model, window, 0.0)
        seen = streams.take()
        voids = void_layers(seen.norm(dim=-1).numpy(), alpha=alpha)
        fed = groups != PAD
        fed[:, -1] = False  # the last action token predicts nothing
        shares["prefill"].append(voids[fed & (groups != ACTION)])
        shares["decode"].append(voids[fed & (groups == ACTION)])
        kept.setdefault("voids, read out", _Kept()).share.append(float(voids[fed].mean()))
        kept["voids, read out"].bins.append(_read_out(model, seen, voids))
        for name, mask in _ways(voids, seed + number):
            skip = Skipping(model.decoder, torch.from_numpy(mask))
            _keep(kept.setdefault(name, _Kept()), model, window, float(mask[fed].mean()), skip)
    whole = np.concatenate(kept.pop("whole").bins)
    codec = ActionCodec(c.n_action_tokens, c.n_bins, c.n_discrete)
    found = [
        Skipped(
            name,
            float(np.mean(k.share)),
            (np.concatenate(k.bins) == whole).mean(1),
            _apart(codec, np.concatenate(k.bins), whole),
            picks,
        )
        for name, k in kept.items()
    ]
    of_phase = {p: np.concatenate(rows) for p, rows in shares.items()}
    return found, {p: rows.mean(0) for p, rows in of_phase.items() if len(rows)}


def _ways(voids: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    yield "voids", voids
    yield "random", shuffled(voids, seed=seed)
    for layer in range(voids.shape[-1]):
        mask = np.zeros_like(voids)
        mask[..., layer] = True
        yield f"block {layer}", mask


def _keep(
    kept: _Kept,
    model: VLAModel,
    window: Window,
    share: float,
    skip: AbstractContextManager[object] | None = None,
) -> None:
    with skip or nullcontext():
        states = model(window)["action"][:, 0]
    ids = choosable_ids(model)
    logits = model.decoder.lm_head(states)[..., ids.start : ids.stop]
    kept.share.append(share)
    kept.bins.append(logits.argmax(-1).numpy())


def _read_out(model: VLAModel, seen: torch.Tensor, voids: np.ndarray) -> np.ndarray:
    """Bins `[R, K]` from the trajectories `[R, S, L + 1, d]` behind each token's last active
    block."""
    k = model.config.n_action_tokens
    acting = slice(seen.shape[1] - k - 1, seen.shape[1] - 1)  # the tokens that predict actions
    place = torch.from_numpy(last_active(voids))[:, acting, None, None]
    streams = seen[:, acting].gather(2, place.expand(-1, -1, 1, seen.shape[-1]))[:, :, 0]
    return lens(model.decoder, choosable_ids(model))(streams).argmax(-1).numpy()


def _apart(codec: ActionCodec, bins: np.ndarray, whole: np.ndarray) -> np.ndarray:
    if codec.n_discrete:
        return np.full(len(bins), np.nan)
    return np.abs(codec.decode(bins) - codec.decode(whole)).mean(1)
