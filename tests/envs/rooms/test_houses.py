"""Generated houses: whole, furnished sensibly, the same every time, and in one split only."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from pilotage.envs.rooms import house_plan, make_house
from pilotage.envs.rooms.house import _draw, house_split, load_house
from pilotage.envs.rooms.palette import CATEGORIES, COLORS, ROOM_COLORS

SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_rooms_tile_the_house(seed):
    house = make_house(seed)
    assert 4 <= len(house.rooms) <= 8
    assert min(house.size) >= 9.9
    assert max(house.size) <= 16.1
    areas = [(r.rect[2] - r.rect[0]) * (r.rect[3] - r.rect[1]) for r in house.rooms]
    assert sum(areas) == pytest.approx(house.size[0] * house.size[1])
    points = np.random.default_rng(seed).uniform(0, 1, (200, 2)) * house.size
    for x, y in points:
        assert sum(r.contains(x, y) for r in house.rooms) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_doors_open_both_walls(seed):
    house = make_house(seed)
    walls = [b.footprint for b in house.bodies if b.solid]
    for door in house.doors:
        assert 0.9 <= door.width <= 1.1
        for off in np.linspace(-0.3, 0.3, 13):
            for aside in (-0.49, 0.0, 0.49):
                spot = list(door.center)
                spot[door.axis] += off
                spot[1 - door.axis] += aside * door.width
                inside = [w for w in walls if w[0] < spot[0] < w[2] and w[1] < spot[1] < w[3]]
                assert not inside


@pytest.mark.parametrize("seed", SEEDS)
def test_furniture_stands_in_its_room_and_apart(seed):
    house = make_house(seed)
    for item in house.items:
        x0, y0, x1, y1 = house.rooms[item.room].rect
        a0, b0, a1, b1 = item.rect
        assert x0 + 0.06 <= a0
        assert a1 <= x1 - 0.06
        assert y0 + 0.06 <= b0
        assert b1 <= y1 - 0.06
        for part in item.parts:
            assert a0 - 0.01 <= part.center[0] <= a1 + 0.01
            assert b0 - 0.01 <= part.center[1] <= b1 + 0.01
    solid = [i for i in house.items if i.solid]
    for a, b in itertools.combinations(solid, 2):
        if a.room != b.room or {a.category, b.category} == {"chair", "table"}:
            continue
        apart_x = max(a.rect[0] - b.rect[2], b.rect[0] - a.rect[2])
        apart_y = max(a.rect[1] - b.rect[3], b.rect[1] - a.rect[3])
        assert max(apart_x, apart_y) > 0.5


def test_same_seed_same_house_other_seed_other_house():
    for seed in (3, 4):
        make_house.cache_clear()
        first = json.dumps(make_house(seed).to_json())
        make_house.cache_clear()
        assert json.dumps(make_house(seed).to_json()) == first
    assert make_house(3).scene()["digest"] != make_house(4).scene()["digest"]
    assert _draw(np.random.default_rng(1), 0) is not _draw(np.random.default_rng(1), 0)


def test_a_changed_generator_is_noticed():
    scene = make_house(5).scene()
    assert load_house(scene) is make_house(5)
    with pytest.raises(ValueError, match="make the tasks again"):
        load_house({**scene, "digest": "0" * 16})
    with pytest.raises(ValueError, match="version"):
        load_house({**scene, "version": 0})
    with pytest.raises(ValueError, match="house_seed"):
        load_house({})
    with pytest.raises(ValueError, match=">= 0"):
        make_house(-1)


def test_splits_have_their_shares():
    splits = [house_split(s) for s in range(4000)]
    for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert abs(splits.count(name) / 4000 - share) < 0.02


def test_plan_is_plain_data():
    house = make_house(7)
    plan = json.loads(json.dumps(house_plan(house.scene())))
    assert [r["name"] for r in plan["rooms"]] == [r.name for r in house.rooms]
    assert len(plan["doors"]) == len(house.doors)
    assert len(plan["furniture"]) == len(house.items)
    for item in plan["furniture"]:
        assert item["category"] in CATEGORIES
        assert item["color_name"] in {"", *COLORS}
        assert item["shapes"]
    assert {r["name"].rstrip(" 12") for r in plan["rooms"]} <= set(ROOM_COLORS)
