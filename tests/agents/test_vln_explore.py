"""Spectra against shifts and sums, alignment against brute force, an explorer in invented rooms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from pilotage.agents.vln.maps.explore import SEARCHES, ExploringAgent, _Trip
from pilotage.agents.vln.maps.known import KnownMap
from pilotage.agents.vln.maps.spectrum import (
    LOW,
    N_COLUMNS,
    Bag,
    Scene,
    aligned,
    blocks_of,
    category_of,
    spectrum,
)
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE, EpisodeRecord
from pilotage.scripts.vln_explore import open_exploring


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> R2RData:
    root = tmp_path_factory.mktemp("explore") / "data"
    write_synthetic(root)
    return R2RData(root)


def thing(name: str, *views: int, box: tuple[int, ...] = (160, 120, 320, 240)) -> dict[str, Any]:
    return {"name": name, "visible_pos": list(views), "bbox2d": [list(box)] * len(views)}


def test_turning_around_changes_no_spectrum() -> None:
    at_0 = blocks_of([thing("table lamp", 13, 1, box=(10, 20, 100, 90)), thing("bed", 30)])
    for steps in range(1, N_COLUMNS):
        turned = [13 - 12 + steps, 1 + steps, 30 - 24 + steps]
        views = [v % 12 + 12 * row for v, row in zip(turned, (1, 0, 2))]
        lamp = thing("table lamp", *views[:2], box=(10, 20, 100, 90))
        found = blocks_of([lamp, thing("bed", views[2])])
        for name in ("lamp", "bed"):
            np.testing.assert_allclose(found[name], at_0[name], atol=1e-9)


def test_a_spectrum_is_the_logarithm_of_fourier_sums() -> None:
    canvas = np.random.default_rng(0).random((18, 96)) < 0.1
    rows, cols = np.nonzero(canvas)
    u, v = 3, 5
    wave = np.exp(-2j * np.pi * (u * rows / 18 + v * cols / 96)).sum()
    assert spectrum(canvas).reshape(LOW)[u, v] == pytest.approx(np.log1p(abs(wave)))
    # frequency 0 counts cells: of the 6 x 8 of a view, rows 1 to 4 and columns 2 to 5 are touched
    assert blocks_of([thing("bed", 12)])["bed"][0] == pytest.approx(np.log1p(4 * 4))


def test_similarity_is_a_cosine_over_all_categories() -> None:
    one = Scene(blocks_of([thing("bed", 15)]))
    assert one.similarity("bed") == pytest.approx(1)  # the canonical box, in another direction
    assert one.similarity("lamp") == 0
    two = Scene(blocks_of([thing("bed", 15), thing("lamp", 20)]))
    assert two.similarity("bed") == pytest.approx(np.sqrt(0.5))
    large = Scene(blocks_of([thing("bed", 15), thing("lamp", 19, 20, 21, box=(0, 0, 640, 480))]))
    assert large.similarity("bed") < two.similarity("bed")
    assert Bag(large.blocks).similarity("bed") == pytest.approx(np.sqrt(0.5))
    assert Scene({}).similarity("bed") == Bag({}).similarity("bed") == 0


def test_only_the_views_asked_for_are_seen() -> None:
    seen = [thing("bed", 15), thing("lamps", 6)]
    assert set(blocks_of(seen, [2, 3, 4])) == {"bed"}
    assert set(blocks_of(seen)) == {"bed", "lamp"}
    assert category_of("the table lamp") == "lamp"


def test_alignment_is_the_best_of_all_orders() -> None:
    rng = np.random.default_rng(0)
    for p, t in ((1, 4), (3, 1), (3, 4), (4, 5)):
        table = rng.normal(size=(p, t))
        ways = itertools.combinations_with_replacement(range(t), p)
        best = max(sum(table[i, place] for i, place in enumerate(way)) for way in ways)
        assert aligned(table) == pytest.approx(best)
    assert aligned(np.zeros((0, 3))) == 0


def fork() -> KnownMap:
    """From `s` by `m` (where it stands) to `l`, 1 m on, and `r`, 5 m on; neither visited."""
    known = KnownMap()
    known.visit("s", [("m", 2.0)])
    known.visit("m", [("s", 2.0), ("r", 5.0), ("l", 1.0)])
    known.words |= {"s": set(), "m": set()}
    return known


def test_the_map_knows_where_it_was_and_what_it_saw() -> None:
    known = fork()
    assert (known.visited, known.seen_only()) == (["s", "m"], ["r", "l"])
    assert known.route("l", "r") == ["l", "m", "r"]
    assert known.metres(["s", "m", "r"]) == 7
    known.visit("m", known.ways["m"])
    assert known.visited == ["s", "m"]


def test_the_local_goal_is_where_the_instruction_fits_its_way() -> None:
    known = fork()
    for place, name in zip("smlr", ("door", "chair", "lamp", "bed")):
        known.scenes[place] = Scene(blocks_of([thing(name, 12)]))

    def goal(search: str, text: str) -> str:
        agent = ExploringAgent(lambda scan, viewpoint: {}, search=search)
        return agent._local_goal(_Trip("fork", text, known), "m")

    assert goal("sos", "go past the chair to the bed") == "r"
    assert goal("sos", "go past the chair to the lamp") == "l"
    assert goal("sos", "fetch the zebra") == "l"  # nothing fits: the nearest
    assert goal("bag", "go past the chair to the bed") == "r"
    assert goal("last", "go past the chair to the bed") == "l"


def play(data: R2RData, name: str, *, slots: int = 3, **world: Any) -> list[EpisodeRecord]:
    tasks = split_tasks("reverie", "val_seen", data.root)
    envs = R2RVectorEnv(slots, data=data.root, **world)
    agent = open_exploring(name, data, tasks)
    records = run_episodes(envs, agent, tasks, [BASELINE], frames="none", on_error="raise")
    envs.close()
    return records


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_plays_stops_and_names_what_it_sees(data: R2RData, search: str) -> None:
    records = play(data, f"metaexplore:{search}")
    assert {record.end.value for record in records} <= {"goal_reached", "agent_stopped"}
    for record in records:
        scan, last = record.task.scene["scan"], int(record.trace["viewpoint"].ravel()[-1])
        seen = data.boxes(scan).get(data.graph(scan).viewpoints[last], {})
        assert record.receipt["object"] in {None, *seen}
        assert record.trace["collision"].sum() == 0
    searched = sum(record.receipt["n_local_goals"] for record in records)
    assert (searched == 0) == (search == "none")


def test_neighbouring_lanes_and_missing_captions_do_no_harm(data: R2RData) -> None:
    alone, beside = play(data, "metaexplore:sos", slots=1), play(data, "metaexplore:sos", slots=4)
    for a, b in zip(alone, beside):
        np.testing.assert_array_equal(a.actions, b.actions)
        assert a.receipt == b.receipt
    assert len(play(data, "metaexplore:sos@5", text=False)) == len(alone)


def test_a_budget_ends_the_exploration(data: R2RData) -> None:
    for record in play(data, "metaexplore:last@4"):
        # four steps, perhaps more to a local goal under way, then back to a visited place, a stop
        assert record.receipt["n_visited"] <= len(record.actions)
    short, long = play(data, "metaexplore:last@2"), play(data, "metaexplore:last@20")
    n_visited = [sum(r.receipt["n_visited"] for r in records) for records in (short, long)]
    assert n_visited[0] < n_visited[1]


def test_wrong_names_are_refused(data: R2RData) -> None:
    tasks = split_tasks("reverie", "val_seen", data.root)
    with pytest.raises(KeyError, match="did you mean sos"):
        open_exploring("metaexplore:soss", data, tasks)
    with pytest.raises(ValueError, match="'few' is no number of steps"):
        open_exploring("metaexplore:sos@few", data, tasks)
    with pytest.raises(ValueError, match="at least one step, got 0"):
        open_exploring("metaexplore:sos@0", data, tasks)
    with pytest.raises(ValueError, match="--family reverie"):
        open_exploring("metaexplore:sos", data, split_tasks("r2r", "val_seen", data.root))
