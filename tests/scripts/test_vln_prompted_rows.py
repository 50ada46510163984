"""`pilotage bench vln` with prompted agents: rows, costs, pages and mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks
from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds
from pilotage.scripts.vln_prompted import prompting
from pilotage.viewers.decisions import first_difference, write_decisions

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "data")
    return tmp_path / "data"


def test_rows_say_what_prompts_cost_and_pages_show_them(
    pilotage: Call, root: Path, tmp_path: Path
) -> None:
    agents = "shortest,a2nav:oracle,s2p:oracle,mapgpt:hashed"
    status, out, err = pilotage(
        *("bench", "vln", "--data", str(root), "--json", "--agents", agents, "--episodes", "9"),
        *("--controls", "shuffled-instructions", "--decisions", str(tmp_path / "pages")),
    )
    assert (status, err) == (0, "")
    rows = {row["agent"]: row for row in json.loads(out)}
    ceiling = rows["shortest"]
    for name in ("a2nav:oracle", "s2p:oracle", "s2p:oracle shuffled-instructions"):
        assert rows[name]["success"] == ceiling["success"] == 1.0
        assert rows[name]["spl"] == ceiling["spl"] == 1.0
        assert rows[name]["prompting"]["failures"] == {}
        assert rows[name]["prompting"]["prompts_an_episode"] > 3
    assert "prompting" not in ceiling
    page = (tmp_path / "pages" / "mapgpt-hashed-shuffled-instructions.html").read_text()
    assert page.count("<section") == 9
    assert "New Planning" in page
    assert not re.search(r"(?:src|href)=", page)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agents", "mapgbt:oracle"], "did you mean mapgpt"),
        (["--agents", "mapgpt:oracel"], "did you mean oracle"),
        (["--agents", "mapgpt:hf=nowhere"], "config.json is not there"),
        (["--agents", "stop", "--decisions", "x"], "there is none"),
    ],
)
def test_mistakes_are_one_line(pilotage: Call, root: Path, words: list[str], message: str) -> None:
    status, out, err = pilotage("bench", "vln", "--data", str(root), *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def record(root: Path, actions: list[int], *, success: bool = False, n: int = 0) -> EpisodeRecord:
    task = replace(make_tasks("train", n + 1, data=root)[n], instruction="Go <b>on</b>.")
    decisions = [
        {
            **{"viewpoint": f"v{k}", "action": action, "chosen": "A", "goal": "go", "plan": ""},
            **{"options": [{"label": "A", "text": "turn", "caption": "<i>", "action": action}]},
            **{
                "reply": "Action: A</pre>",
                "prompt": "p",
                "failures": ["unparsable"],
                "error": None,
            },
        }
        for k, action in enumerate(actions)
    ]
    receipt = {
        **{
            "n_prompts": len(actions),
            "n_moves": len(actions) - 1,
            "tokens_in": 10,
            "tokens_out": 2,
        },
        **{"failures": {"unparsable": len(actions)}, "mishaps": {}, "decisions": decisions},
    }
    end = EndReason.GOAL_REACHED if success else EndReason.AGENT_STOPPED
    return EpisodeRecord(
        task=task,
        condition="baseline",
        seeds=Seeds(0, 0, 0),
        agent_id="x",
        end=end,
        success=success,
        actions=np.array(actions),
        rewards=np.zeros(len(actions)),
        trace={},
        receipt=receipt,
    )


def test_costs_are_means_and_short_stops_are_counted(root: Path) -> None:
    short, longer = record(root, [1, 0]), record(root, [1] * 20 + [0])
    good = record(root, [1, 0], success=True)
    found = prompting([short, longer, good])
    assert found["prompts_an_episode"] == pytest.approx(25 / 3)
    assert found["tokens_in_an_episode"] == 10
    assert found["failures"] == {"unparsable": 25}
    assert found["stopped_short"] == 1
    assert prompting([replace(short, receipt={})]) == {}


def test_a_page_of_two_runs_marks_where_they_part(root: Path, tmp_path: Path) -> None:
    a, b = record(root, [1, 2, 0]), record(root, [1, 3, 0], success=True)
    assert first_difference(a, b) == 1
    assert first_difference(a, a) is None
    assert first_difference(a, record(root, [1, 2])) == 2
    same = record(root, [1, 0], n=1)
    text = write_decisions(tmp_path / "p.html", [same, a], [same, b]).read_text()
    assert "They part at decision 1." in text
    assert text.count("class=parts") == 2  # once in each column
    assert text.index(a.task.task_id) < text.index(same.task.task_id)  # the telling one first
    assert "<b>on</b>" not in text
    assert "Action: A&lt;/pre&gt;" in text
    with pytest.raises(ValueError, match="no record has decisions"):
        write_decisions(tmp_path / "q.html", [replace(a, receipt={})])
