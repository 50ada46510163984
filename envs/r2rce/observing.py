"""What an agent observes in the continuous world.

Batched over n slots:

    instruction       tuple of n str
    gps      float32  [n, 2]  metres ahead and to the right of the start, as one stood there
    compass  float32  [n, 1]  heading less that of the start, rad in [-pi, pi], clockwise
    collided uint8    [n, 1]  1 when the last action was a move that did not go where it should

and with captions (of the nearest viewpoint of the graph, in the view that is nearest to the
heading; see `pilotage.envs.r2r.words`)

    view_text         tuple of n str: what is ahead
    panorama_text     tuple of n str: 8 lines, the way ahead first, clockwise
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from pilotage.envs.r2r.observing import CHARSET as LATIN
from pilotage.envs.r2r.observing import MAX_WORDS
from pilotage.envs.r2r.views import N_HEADINGS, STEP, wrapped
from pilotage.envs.r2r.words import ScanWords

if TYPE_CHECKING:
    from .vector_env import R2RCEVectorEnv

FAR_M = 500.0
# RxR also speaks Hindi (Devanagari) and Telugu, with their joiners and danda.
CHARSET = LATIN | frozenset(map(chr, (*range(0x900, 0x980), *range(0xC00, 0xC80))))
CHARSET |= frozenset(map(chr, range(0x200B, 0x2010)))


def observation_space(text: bool, expert_actions: bool) -> gym.spaces.Dict:
    """The observation of one slot."""
    words = gym.spaces.Text(min_length=0, max_length=MAX_WORDS, charset=CHARSET)
    turn = np.float32(math.pi)
    spaces: dict[str, gym.Space] = {
        "instruction": words,
        "gps": gym.spaces.Box(-FAR_M, FAR_M, (2,), np.float32),
        "compass": gym.spaces.Box(-turn, turn, (1,), np.float32),
        "collided": gym.spaces.Box(0, 1, (1,), np.uint8),
    }
    if text:
        spaces |= dict.fromkeys(("view_text", "panorama_text"), words)
    if expert_actions:
        spaces["expert_action"] = gym.spaces.Discrete(4)
    return gym.spaces.Dict(spaces)


class Observer:
    """Turns the state of a world's slots into observations; texts are kept once made."""

    def __init__(self, world: R2RCEVectorEnv, *, text: bool) -> None:
        self._world, self._text = world, text
        self._words: dict[str, ScanWords] = {}
        self._panoramas: dict[tuple[str, int, int], str] = {}

    def observe(self) -> dict[str, Any]:
        """Observations of all slots; empty rows for slots that never began."""
        world = self._world
        gone = world.position - world.start
        sin, cos = np.sin(world.start_heading), np.cos(world.start_heading)
        ahead = gone[:, 0] * sin + gone[:, 1] * cos
        right = gone[:, 0] * cos - gone[:, 1] * sin
        turned = wrapped(world.turns * world.turn)
        observations: dict[str, Any] = {
            "instruction": tuple(t.instruction if t else "" for t in world.tasks),
            "gps": np.stack([ahead, right], axis=-1).astype(np.float32),
            "compass": turned.astype(np.float32)[:, None],
            "collided": world.collided.astype(np.uint8)[:, None],
        }
        if self._text:
            observations |= self._texts()
        return observations

    def _texts(self) -> dict[str, tuple[str, ...]]:
        world = self._world
        ahead, around = [""] * world.num_envs, [""] * world.num_envs
        slots = np.flatnonzero(world.begun)
        viewpoints = world.ground.viewpoint[world.place[slots]].tolist()
        # half a step goes up, as in MatterSim
        views = np.floor(world.heading[slots] / STEP + 0.5).astype(np.int64) % N_HEADINGS
        for slot, viewpoint, view in zip(slots.tolist(), viewpoints, (views + N_HEADINGS).tolist()):
            scan = world.scans[slot]
            if scan not in self._words:
                self._words[scan] = ScanWords(world.data.graphs, scan)
            words, key = self._words[scan], (scan, viewpoint, view)
            if key not in self._panoramas:
                self._panoramas[key] = words.panorama(viewpoint, view)
            ahead[slot] = words.views(viewpoint)[view]
            around[slot] = self._panoramas[key]
        return {"view_text": tuple(ahead), "panorama_text": tuple(around)}
