"""What an agent observes in the graph world.

Batched over n slots, K = 16 places, A actions:

    instruction          tuple of n str
    pose        float32  [n, 2]        heading in [0, 2 pi) and elevation of the camera, rad
    candidates  float32  [n, K, 3]     relative heading, relative elevation (rad), distance (m) of
                                       the places that can be chosen, in the order of the actions
    action_mask uint8    [n, A]        1 for every action that does something
    viewpoint            tuple of n str: id of the place where the agent stands
    candidate_ids        tuple of n str: ids of the places, separated by spaces

and with captions

    view_text            tuple of n str: the present view
    panorama_text        tuple of n str: 8 lines, the way ahead first, clockwise
    candidate_text       tuple of n str: per place, what is seen in its direction; one line each

Places are the neighbours in panoramic order (`"panoramic"`) or those navigable from the present
view (`"view"`); see `views`. Ids are what a map can be built from; they carry no meaning.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from .views import MAX_CANDIDATES, N_HEADINGS, view_angles, wrapped

if TYPE_CHECKING:
    from .vector_env import R2RVectorEnv

FAR_M = 100.0  # no edge of a scan is as long
# What occurs in instructions and captions, and their Latin relatives.
CHARSET = frozenset(string.printable) | frozenset(map(chr, range(0xA0, 0x250))) | {"€"}
CHARSET |= frozenset(map(chr, range(0x2010, 0x2030)))
MAX_WORDS = 20_000


def observation_space(n_actions: int, text: bool, expert_actions: bool) -> gym.spaces.Dict:
    """The observation of one slot."""
    words = gym.spaces.Text(min_length=0, max_length=MAX_WORDS, charset=CHARSET)
    turn = np.float32(2 * np.pi)
    low = np.tile(np.array([-turn, -turn, 0], np.float32), (MAX_CANDIDATES, 1))
    high = np.tile(np.array([turn, turn, FAR_M], np.float32), (MAX_CANDIDATES, 1))
    spaces: dict[str, gym.Space] = {
        "instruction": words,
        "pose": gym.spaces.Box(-turn, turn, (2,), np.float32),
        "candidates": gym.spaces.Box(low, high, dtype=np.float32),
        "action_mask": gym.spaces.Box(0, 1, (n_actions,), np.uint8),
        "viewpoint": words,
        "candidate_ids": words,
    }
    if text:
        spaces |= dict.fromkeys(("view_text", "panorama_text", "candidate_text"), words)
    if expert_actions:
        spaces["expert_action"] = gym.spaces.Discrete(n_actions)
    return gym.spaces.Dict(spaces)


class Observer:
    """Turns the state of a world's slots into observations; texts are kept once made."""

    def __init__(self, world: R2RVectorEnv, *, text: bool, expert_actions: bool) -> None:
        self._world, self._text, self._expert = world, text, expert_actions
        self._ids: dict[int, str] = {}
        self._candidate_texts: dict[int, str] = {}
        self._panoramas: dict[int, str] = {}

    def observe(self) -> dict[str, Any]:
        """Observations of all slots; empty rows for slots that never began."""
        world, n = self._world, self._world.num_envs
        n_actions = world.first_move + MAX_CANDIDATES
        slots = np.flatnonzero(world.begun)
        pose = np.zeros((n, 2), np.float32)
        candidates = np.zeros((n, MAX_CANDIDATES, 3), np.float32)
        mask = np.zeros((n, n_actions), np.uint8)
        columns = np.zeros((0, MAX_CANDIDATES), np.int64)
        if len(slots):
            node, view = world.node[slots], world.view[slots]
            heading, elevation = view_angles(view)
            pose[slots, 0], pose[slots, 1] = heading, elevation
            columns = self._columns(node, view)
            candidates[slots] = self._geometry(node, columns, heading, elevation)
            mask[slots, : world.first_move] = 1
            mask[slots, world.first_move :] = columns >= 0
        observations: dict[str, Any] = {
            "instruction": tuple(t.instruction if t else "" for t in world.tasks),
            "pose": pose,
            "candidates": candidates,
            "action_mask": mask,
        }
        observations |= self._words(slots, columns)
        if self._expert:
            observations["expert_action"] = self._expert_actions(slots, columns)
        return observations

    def _columns(self, node: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Columns of `neighbour` that can be chosen, [m, K], -1 behind the last."""
        tables = self._world.atlas.tables
        if self._world.panoramic:
            every = np.arange(MAX_CANDIDATES)
            return np.where(every < tables.count[node][:, None], every, -1)
        return tables.navigable[node, view].astype(np.int64)

    def _geometry(
        self, node: np.ndarray, columns: np.ndarray, heading: np.ndarray, elevation: np.ndarray
    ) -> np.ndarray:
        """Relative heading, relative elevation and distance, float64 [m, K, 3]; 0 behind."""
        tables, rows = self._world.atlas.tables, node[:, None]
        toward = wrapped(tables.heading[rows, columns] - heading[:, None])
        up = tables.elevation[rows, columns] - elevation[:, None]
        values = np.stack([toward, up, tables.distance[rows, columns]], axis=-1)
        values[columns < 0] = 0.0
        return values

    def _words(self, slots: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
        world, n = self._world, self._world.num_envs
        names = ["viewpoint", "candidate_ids"]
        names += ["view_text", "panorama_text", "candidate_text"] if self._text else []
        texts = {name: [""] * n for name in names}
        ids, nodes, views = world.atlas.ids, world.node.tolist(), world.view.tolist()
        for slot, row in zip(slots.tolist(), columns):
            node, view = nodes[slot], views[slot]
            key = node if world.panoramic else node * 64 + view
            if key not in self._ids:
                self._ids[key] = " ".join(ids[i] for i in self._neighbours(node, row))
            texts["viewpoint"][slot] = ids[node]
            texts["candidate_ids"][slot] = self._ids[key]
            if self._text:
                words, local = world.atlas.words[node]
                texts["view_text"][slot] = words.views(local)[view]
                texts["panorama_text"][slot] = self._panorama(node, view)
                if key not in self._candidate_texts:
                    self._candidate_texts[key] = self._candidate_text(node, row)
                texts["candidate_text"][slot] = self._candidate_texts[key]
        return {name: tuple(values) for name, values in texts.items()}

    def _neighbours(self, node: int, row: np.ndarray) -> list[int]:
        return self._world.atlas.tables.neighbour[node, row[row >= 0]].tolist()

    def _panorama(self, node: int, view: int) -> str:
        key = node * N_HEADINGS + view % N_HEADINGS
        if key not in self._panoramas:
            words, local = self._world.atlas.words[node]
            self._panoramas[key] = words.panorama(local, view)
        return self._panoramas[key]

    def _candidate_text(self, node: int, row: np.ndarray) -> str:
        """One line per place: the text of the view that faces it best."""
        words, local = self._world.atlas.words[node]
        faced = self._world.atlas.tables.view[node, row[row >= 0]]
        texts = words.views(local)
        return "\n".join(texts[view] for view in faced.tolist())

    def _expert_actions(self, slots: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Next action of a shortest path, int64 [n]; 0 at the goal.

        "view": goes as soon as the place is navigable from the present view, else turns toward the
        view that faces it best, heading first.
        """
        world = self._world
        actions = np.zeros(world.num_envs, np.int64)
        node, view = world.node[slots], world.view[slots]
        hop = world.next_hop[slots, node - world.base[slots]]
        on_way = hop >= 0
        neighbour = world.atlas.tables.neighbour[node]  # [m, K]
        wanted = (neighbour == (hop + world.base[slots])[:, None]).argmax(axis=1)
        if world.panoramic:
            actions[slots] = np.where(on_way, wanted + 1, 0)
            return actions
        here = columns == wanted[:, None]
        target = world.atlas.tables.view[node, wanted].astype(np.int64)
        right = (target - view) % N_HEADINGS
        turn = np.where(right <= N_HEADINGS // 2, 2, 1)
        tilt = np.where(target // N_HEADINGS > view // N_HEADINGS, 3, 4)
        turn = np.where(right == 0, tilt, turn)
        go = np.where(here.any(axis=1), world.first_move + here.argmax(axis=1), turn)
        actions[slots] = np.where(on_way, go, 0)
        return actions
