"""Top tokens over time: what is read from a record, and what of it a page shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from pilotage.episodes.types import EpisodeRecord
from pilotage.viewers import token_strips
from pilotage.viewers.style import condition_slots
from pilotage.viewers.tokens import spelled, token_trace

Make = Callable[..., EpisodeRecord]
SVG = re.compile(r"<svg[^>]*class=\"fig\".*?</svg>", re.DOTALL)


def test_ids_become_words() -> None:
    assert spelled([1, 5, -1], {0: "a", 1: "b"}) == ["b", "#5"]


def test_a_record_says_what_its_tokens_mean(tabletop: Make, reading: Make) -> None:
    record = reading(tabletop("fast"))  # 20 steps
    trace = token_trace(record)
    assert trace is not None
    assert trace.layers == (0, 2)
    assert trace.steered == {2}
    assert trace.is_spelled
    assert trace.words(0, 0) == ["-0.10", "+0.10", "-1.00"]
    assert trace.words(19, 1) == ["quickly", "slowly", "<unk>"]
    assert trace.shares(1) == [("+0.10", 0.5), ("quickly", 0.5)]
    direction, first, second = trace.pushes
    assert (direction.name, direction.series) == ("layer 2, direction at resid:out", None)
    assert direction.words == ("+1.00", "+0.10")
    assert first.name == "layer 2, neuron 7"
    assert second.words == ("quickly",)  # told once
    assert second.series is not None
    np.testing.assert_array_equal(
        second.series[0], record.agent_trace["neuron_activations_before"][:, 1]
    )
    np.testing.assert_array_equal(second.series[1], 3.0)


def test_records_that_say_less(tabletop: Make, reading: Make) -> None:
    plain = tabletop("fast")
    assert token_trace(plain) is None
    flat = replace(plain, agent_trace={"top_token_ids": np.tile([3, 0, -1], (20, 1))})
    trace = token_trace(flat, vocabulary=["a", "b"])
    assert trace is not None
    assert (trace.ids.shape, trace.layers, trace.label(0)) == ((20, 1, 3), (), "top tokens")
    assert trace.words(7, 0) == ["#3", "a"]
    assert not trace.is_spelled
    untold = token_trace(reading(plain, told=False))
    assert untold is not None
    assert (untold.layers, untold.pushes, untold.is_spelled) == ((), (), False)
    never = replace(
        plain,
        actions=plain.actions[:0],
        rewards=plain.rewards[:0],
        trace={},
        agent_trace={"top_token_ids": np.zeros((0, 2, 3), np.int32)},
        frames=None,
    )
    assert token_trace(never) is None


def test_discrete_actions_have_names(task_of: Callable[..., object], tabletop: Make) -> None:
    record = replace(
        tabletop("fast"),
        task=task_of(env="rooms"),
        agent_trace={"top_token_ids": np.tile(np.array([0, 1], np.int32), (20, 1, 1))},
        receipt={"reading": {"layers": [3], "words": {"0": "action 2", "1": "<bin 9>"}}},
    )
    trace = token_trace(record)
    assert trace is not None
    assert trace.words(0, 0) == ["turn left", "<bin 9>"]
    page = token_strips.panel([record], {"fast": 1})
    assert len(re.findall(r'<rect [^>]*class="cell action2"', page)) == 1
    assert 'class="key action2"' in page
    assert ">turn left</text>" in page


def _panel(records: list[EpisodeRecord]) -> str:
    return token_strips.panel(records, condition_slots(r.condition for r in records))


def test_a_strip_shows_every_step_of_every_layer(tabletop: Make, reading: Make) -> None:
    record = reading(tabletop("fast"))
    (figure,) = SVG.findall(_panel([record]))
    root = ElementTree.fromstring(figure)
    cells = list(root.iter("rect"))
    rows: dict[str, list[tuple[float, float, str]]] = {}
    for cell in cells:
        x, width = float(cell.get("x", "")), float(cell.get("width", ""))
        rows.setdefault(cell.get("y", ""), []).append((x, width, cell.get("class", "")))
    assert [len(row) for row in rows.values()] == [1, 2]
    lower, upper = rows.values()
    assert lower[0][2] == "cell shade4"  # -0.10 of 9 shades from -1 to 1
    assert [kind for *_, kind in upper] == ["cell shade4", "cell word"]
    for row in rows.values():  # the cells of a row touch, and cover the episode
        ends = [x + width for x, width, _ in row]
        np.testing.assert_allclose(ends[:-1], [x for x, *_ in row[1:]], atol=0.02)
        np.testing.assert_allclose([row[0][0], ends[-1]], [66.0, 520.0 - 16.0], atol=0.02)
    np.testing.assert_allclose(upper[1][0], (66 + 504) / 2, atol=0.02)  # half of the steps
    labels = [t.text for t in root.iter("text")]
    assert labels[:2] == ["layer 0", "layer 2"]
    assert "quickly" in labels
    classes = [t.get("class") for t in root.iter("text")][:2]
    assert classes == ["tick", "tick edited"]
    assert "steps 10 to 19: quickly slowly <unk>" in [t.text for t in root.iter("title")]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("-1.00", ("shade0", "")),
        ("+1.00", ("shade8", "")),
        ("+0.00", ("shade4", "")),
        ("+0.74", ("shade7", "")),
        ("forward", ("action1", "forward")),
        ("quickly", ("word", "quickly")),
        ("<unk>", ("other", "<unk>")),
        ("#12", ("other", "#12")),
        ("", ("other", "")),
    ],
)
def test_cells_by_word(word: str, kind: tuple[str, str]) -> None:
    assert token_strips._cell_kind(word) == kind


def test_long_episodes_are_thinned_and_say_so(tabletop: Make) -> None:
    record = tabletop("slow")  # 55 steps
    n = 10 * record.n_steps
    long = replace(
        record,
        actions=np.zeros((n, 7), np.float32),
        rewards=np.zeros(n),
        trace={},
        frames=None,
        agent_trace={"top_token_ids": np.arange(n)[:, None, None] % 2},
        receipt={"reading": {"layers": [1], "words": {"0": "left", "1": "<eos>"}}},
    )
    page = _panel([long])
    assert "One step in 4 is drawn." in page
    (figure,) = SVG.findall(page)
    assert figure.count('class="cell') == 1  # every fourth step says the same
    assert page.count('<th scope="row">') == 24  # the table samples the steps
    assert '<th scope="row">0</th>' in page
    assert f'<th scope="row">{n - 1}</th>' in page
    assert "layer 1: left 50\u202f%" in page  # shares count every step


def test_edits_are_listed_with_what_they_write(tabletop: Make, reading: Make) -> None:
    page = _panel([reading(tabletop(c)) for c in ("baseline", "fast")])
    assert page.count("<details") == 2 + 1
    assert "The 3 edits, and what they write" in page
    assert "layer 2, direction at resid:out" in page
    assert re.search(r"neuron 7</th><td>clamp</td><td[^>]*>slowly &lt;unk&gt;</td>", page)
    before = float(np.linspace(-0.5, 0.0, 40).reshape(20, 2)[:, 0].mean())
    assert f"\u2212{-before:.3f} \u2192 3.00" in page
    assert page.count('class="course"') == 2


def test_a_panel_of_nothing_and_of_ids(tabletop: Make, reading: Make) -> None:
    assert _panel([tabletop("fast")]) == ""
    page = _panel([reading(tabletop("fast"), told=False)])
    assert "do not spell all of their tokens" in page
    assert "#4" in page


def test_words_cannot_become_markup(tabletop: Make, reading: Make) -> None:
    record = reading(tabletop("fast"))
    told = dict(record.receipt["reading"])
    told["words"] = {str(i): "<b>x</b>" for i in range(7)}
    page = _panel([replace(record, receipt={"reading": told}, condition="<i>")])
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;" in page
