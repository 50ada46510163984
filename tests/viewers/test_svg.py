"""Drawing: exact coordinates of tiny pictures, round ticks, and text that cannot break out."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task
from pilotage.viewers import charts, scenes, style, svg, topdown

SVG = "{http://www.w3.org/2000/svg}"


def _walk(task: Task, positions: list[list[float]], condition: str = "baseline") -> EpisodeRecord:
    steps = len(positions) - 1
    return EpisodeRecord(
        task=task,
        condition=condition,
        seeds=Seeds(0, 0, 0),
        agent_id="walker@0",
        end=EndReason.GOAL_REACHED,
        success=True,
        actions=np.ones(steps, np.int64),
        rewards=np.zeros(steps),
        trace={"position": np.array(positions)},
    )


def test_map_of_three_steps_has_the_coordinates_worked_out_by_hand(
    task_of: Callable[..., Task],
) -> None:
    # A world without a plan, points (0,0) (4,0) (4,2). With the margin of 0.3, x is in -0.3..4.3
    # and y in -0.3..2.3: 4.6 m x 2.6 m, so 460 px wide are 100 px a metre and 260 px high.
    # Pixel of (x, y): (100 x + 30, 230 - 100 y).
    record = _walk(task_of(env="grid"), [[0, 0, 0], [4, 0, 0], [4, 2, 0]])
    root = ET.fromstring(topdown.topdown_svg([record], width=460, standalone=True))
    path = next(e for e in root.iter(f"{SVG}polyline") if "path" in e.get("class", "").split())
    assert path.get("points") == "30,230 430,230 430,30"
    end = next(e for e in root.iter(f"{SVG}circle") if e.get("class") == "mark")
    assert (end.get("cx"), end.get("cy")) == ("430", "30")


def test_side_view_shows_height_upwards(tabletop: Callable[..., EpisodeRecord]) -> None:
    record = tabletop("baseline")
    root = ET.fromstring(f'<r xmlns="http://www.w3.org/2000/svg">{topdown.side_svg([record])}</r>')
    path = next(e for e in root.iter(f"{SVG}polyline") if "path" in e.get("class", "").split())
    pixel_y = [float(p.split(",")[1]) for p in path.get("points", "").split()]
    height = record.trace["ee_position"][:, 2]
    assert np.corrcoef(pixel_y, height)[0, 1] < -0.999


def test_tabletop_map_lies_as_the_camera_sees_it(tabletop: Callable[..., EpisodeRecord]) -> None:
    """Right in the picture is +y of the robot; nearer to the robot is higher on the map."""
    points = scenes.map_points(tabletop("fast").task, np.array([[0.4, -0.2, 0.1], [0.6, 0.1, 0.3]]))
    np.testing.assert_allclose(points, [[-0.2, -0.4], [0.1, -0.6]])


def test_rooms_map_has_every_room_wall_and_the_path() -> None:
    from pilotage.envs.rooms import make_tasks
    from pilotage.envs.rooms.house import house_plan

    task = make_tasks("val", 1)[0]
    start = [*task.start["position"][:2], 0.0]
    markup = topdown.topdown_svg([_walk(task, [start, start])])
    plan = house_plan(task.scene)
    for room in plan["rooms"]:
        assert f">{room['name']}<" in markup
    assert markup.count('class="r-wall"') == len(plan["walls"])
    assert markup.count('class="r-furniture"') == len(plan["furniture"])


def test_chart_marks_lie_where_their_values_are() -> None:
    marks = [charts.Mark("a", 0.0, 0.5), charts.Mark("b", 1.0, 0.25, 0.5, 1.5)]
    slots = style.condition_slots(["a", "b"])
    drawn = charts.points_chart(marks, slots, title="t", x_label="x", y_label="y", percent_y=True)
    bar = next(
        e
        for e in ET.fromstring(drawn).iter("line")
        if e.get("class") == "bar" and e.get("y1") == e.get("y2")
    )
    # x spans 0..1.5 with 8 % of room on each side, in 442 px from 58 px on.
    left, right = float(bar.get("x1", "")), float(bar.get("x2", ""))
    pixels_a_unit = 442 / (1.5 * 1.16)
    assert right - left == pytest.approx(pixels_a_unit, abs=0.02)
    assert left == pytest.approx(58 + (0.5 + 0.12) * pixels_a_unit, abs=0.02)


def test_mean_curves_stop_when_few_are_left_and_skip_errors(
    tabletop: Callable[..., EpisodeRecord], task_of: Callable[..., Task]
) -> None:
    task = task_of(env="grid")
    walks = [_walk(task, [[i * v, 0, 0] for i in range(n)]) for v, n in ((1, 3), (3, 3), (5, 9))]
    broken = tabletop("baseline", error=True)
    (curve,) = charts.mean_curves([*walks, broken], scenes.speed_of, least_share=0.5)
    np.testing.assert_allclose(curve.middle, [3.0, 3.0])  # two of three end after two steps


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_inside_and_evenly_spaced(low: float, extent: float, n: int) -> None:
    high = low + extent
    if high <= low or extent < 1e-9 * abs(low):
        return
    ticks = svg.nice_ticks(low, high, n)
    assert all(low - 1e-6 * extent <= t <= high + 1e-6 * extent for t in ticks)
    if len(ticks) > 2:
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-3)


@given(st.text())
def test_any_text_survives_as_text_of_an_element(words: str) -> None:
    root = ET.fromstring(svg.el("text", svg.text(words), title=words))
    assert not list(root)
    for found in (root.text, root.get("title")):
        assert _visible(found) == _visible(words)


def _visible(words: str | None) -> str:
    """Without spaces, and without the characters that XML cannot hold."""
    return "".join(c for c in words or "" if c.isprintable() and c not in " \ufffd\ufffe\uffff")


def test_known_conditions_always_have_the_same_colour() -> None:
    first = style.condition_slots(["other", "fast", "baseline"])
    second = style.condition_slots(["baseline", "slow", "fast", "prompt"])
    assert first["fast"] == second["fast"]
    assert first["baseline"] == second["baseline"] == 0
    assert len(set(second.values())) == 4
    assert len(style.condition_slots(f"c{i}" for i in range(30))) == 30


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.12345, "0.123"),
        (-2.0, "\u22122.00"),
        (0, "0"),
        (1234, "1,234"),
        (None, "\u2013"),
        (float("nan"), "\u2013"),
        (0.9996, "1.00"),
        (True, "yes"),
    ],
)
def test_numbers_are_written_for_readers(value: object, words: str) -> None:
    assert style.number(value) == words


def test_topdown_files(tmp_path: Path, records: list[EpisodeRecord]) -> None:
    from PIL import Image

    picture = Image.open(topdown.write_topdown(tmp_path / "map.png", records, width=320))
    assert picture.width == 320
    assert len(picture.convert("RGB").getcolors(10**6) or []) > 20
    ET.fromstring(topdown.write_topdown(tmp_path / "deep" / "map.svg", records).read_text())
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        topdown.write_topdown(tmp_path / "map.jpg", records)


def test_a_map_refuses_records_of_two_tasks(tabletop: Callable[..., EpisodeRecord]) -> None:
    with pytest.raises(ValueError, match="one task, got records of 2"):
        topdown.topdown_svg([tabletop("fast", 0), tabletop("fast", 1)])
