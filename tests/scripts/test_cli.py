"""The command line: the main path on real worlds, and one clear line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotage.agents.vla.checkpoint import save_checkpoint
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.presets import preset


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tabletop agent with random weights: enough to walk every path of the code."""
    import torch

    from pilotage.envs.tabletop import vocabulary

    torch.manual_seed(0)
    model = VLAModel(preset("tabletop", "nano", vocabulary(), aux_dim=4)).eval()
    folder = tmp_path_factory.mktemp("agents") / "untrained"
    save_checkpoint(folder, model, training={"command": "random weights"})
    return folder


def test_the_expert_solves_held_out_tasks_and_the_run_is_resumed(pilotage, tmp_path: Path) -> None:
    words = [
        "run",
        "--env",
        "tabletop",
        "--agent",
        "expert",
        "--episodes",
        "2",
        "--quiet",
        "--json",
    ]
    words += ["--family", "reach", "--out", str(tmp_path / "run")]
    status, out, _ = pilotage(*words)
    assert status == 0
    (row,) = json.loads(out)
    assert (row["condition"], row["n"], row["success_rate"]) == ("baseline", 2, 1.0)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "records").iterdir()}
    assert len(kept) == 2
    assert pilotage(*words)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in kept} == kept, "a resumed run plays nothing again"
    for name in ("summary.md", "summary.csv", "summary.parquet", "episodes.parquet"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_vector_is_made_saved_and_steers(pilotage, untrained: Path, tmp_path: Path) -> None:
    vector = tmp_path / "fast.safetensors"
    status, out, err = pilotage(
        "vector",
        "--agent",
        str(untrained),
        "--from",
        "quickly",
        "--out",
        str(vector),
        "--episodes",
        "2",
        "--pairs",
        "8",
        "--layer",
        "2",
    )
    assert status == 0, err
    assert "layers.2.resid:out" in out
    run = tmp_path / "run"
    status, out, err = pilotage(
        "run",
        "--agent",
        str(untrained),
        "--episodes",
        "1",
        "--family",
        "reach",
        "--quiet",
        "--json",
        "--out",
        str(run),
        "--condition",
        "baseline",
        "--condition",
        f"{vector}@2",
        "--condition",
        f"{vector}@2:random-matched",
    )
    assert status == 0, err
    baseline, steered, control = json.loads(out)
    assert baseline["mean_dose"] == 0
    assert steered["mean_dose"] > 0
    assert control["mean_dose"] > 0
    assert steered["n_errors"] == control["n_errors"] == 0
    status, out, _ = pilotage("view", str(run), "--html")
    assert status == 0
    assert "random-matched" in Path(out.strip()).read_text()


def test_projection_names_words_and_bins(pilotage, untrained: Path) -> None:
    status, out, _ = pilotage("project", "--agent", str(untrained), "--json", "--top", "6")
    assert status == 0
    found = json.loads(out)
    assert [row["layer"] for row in found["layers"]] == [0, 1, 2, 3]
    assert all(0 <= row["action_share"] <= 1 for row in found["layers"])
    assert len(found["neurons"][0]["tokens"].replace("<bin ", "<bin_").split()) == 6
    status, out, _ = pilotage("project", "--agent", str(untrained), "--concept", "slow", "--json")
    assert len(json.loads(out)) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--env", "tabeltop"], "did you mean tabletop"),
        (["run", "--agent", "nobody"], "unknown agent 'nobody'; there are: expert, random"),
        (["run", "--agent", "expert", "--condition", "fast"], "unknown condition 'fast'"),
        (["run", "--agent", "expert", "--family", "juggle"], "juggle"),
        (["run", "--agent", "expert", "--split", "tset"], "tset"),
        (["view", "no/such/run"], "no/such/run"),
        (["bench", "nav", "--agents", "expert,nobody", "--episodes", "1", "--quiet"], "nobody"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    pilotage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = pilotage(*words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_unknown_words_of_a_vector_are_refused_before_anything_is_played(
    pilotage, untrained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.safetensors"
    status, _, err = pilotage(
        "vector", "--agent", str(untrained), "--from", "hastily", "--out", str(out)
    )
    assert status == 2
    assert "'hastily' is not among the agent's" in err
    assert not out.exists()


def test_an_unknown_concept_lists_the_concepts(pilotage, untrained: Path) -> None:
    status, _, err = pilotage("project", "--agent", str(untrained), "--concept", "purpleness")
    assert status == 2
    assert "concepts: slow, fast, up" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("steer", "sweep", "--doses", "0.5,much"), "--doses '0.5,much': 'much' is not a number"),
        (("bench", "hold", "--targets", ","), "--targets is empty"),
        (("bench", "mapf", "--agents", "50,1.5"), "'1.5' is not a whole number"),
    ],
)
def test_a_list_of_numbers_that_holds_none_is_refused(
    pilotage, words: tuple[str, ...], told: str
) -> None:
    status, _, err = pilotage(*words)
    assert status == 2
    assert told in err
