"""`pilotage data` and `pilotage bench vln` on an invented building."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotage.envs.r2r.catalogue import DATA_SETS, DataSet, Expected
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.files import sha256_of
from pilotage.envs.r2r.inspection import inspect
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.scripts import bench_r2r

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "data")
    return tmp_path / "data"


def predictions(root: Path, folder: Path, n: int = 99) -> Path:
    tasks = split_tasks("r2r", "val_seen", root)[:n]
    entries = [{"instr_id": t.info["instr_id"], "trajectory": t.info["path"]} for t in tasks]
    path = folder / "my_agent.json"
    path.write_text(json.dumps(entries))
    return path


def test_the_floors_and_a_prediction_file_in_one_table(
    pilotage: Call, root: Path, tmp_path: Path
) -> None:
    file = predictions(root, tmp_path)
    status, out, err = pilotage(
        *("bench", "vln", "--data", str(root), "--json", "--predictions", str(file)),
        *("--convention", "r2r,habitat"),
    )
    assert (status, err) == (0, "")
    rows = {(r["agent"], r["convention"]): r for r in json.loads(out)}
    assert len(rows) == 10
    for agent, rate in [("stop", 0.0), ("shortest", 1.0), ("reference", 1.0), ("my_agent", 1.0)]:
        row = rows[agent, "r2r"]
        assert (row["success"], row["n_total"], row["n_scored"]) == (rate, 18, 18)
        assert (row["n_nan"], row["n_inf"]) == (0, 0)
    assert 0 <= rows["random", "r2r"]["success"] < 1
    assert rows["stop", "r2r"]["ends"] == {"agent_stopped": 18}
    assert rows["shortest", "habitat"]["ends"] == {"goal_reached": 18}


def test_named_objects_have_columns_of_their_own_on_reverie(
    pilotage: Call, root: Path, tmp_path: Path
) -> None:
    tasks = split_tasks("reverie", "val_seen", root)
    entries = [
        {"instr_id": t.info["instr_id"], "trajectory": t.info["path"], "predObjId": answer}
        for t, answer in zip(tasks, [int(tasks[0].goal["object"]), *[-1] * len(tasks)])
    ]
    (tmp_path / "named.json").write_text(json.dumps(entries))
    words = ["bench", "vln", "--family", "reverie", "--data", str(root)]
    words += ["--agents", "stop,reference,mobility:oracle,metaexplore:sos@3"]
    words += ["--predictions", str(tmp_path / "named.json")]
    status, out, err = pilotage(*words, "--json")
    assert (status, err) == (0, "")
    rows = {row["agent"]: row for row in json.loads(out)}
    rates = {name: (row["rgs"], row["rgspl"]) for name, row in rows.items()}
    assert 0 <= rates.pop("metaexplore:sos@3")[1] <= 1
    one = pytest.approx((1 / len(tasks), 1 / len(tasks)))
    assert rates == {"stop": (0, 0), "reference": (1, 1), "mobility:oracle": (1, 1), "named": one}
    _, out, _ = pilotage(*words)
    assert "RGSPL" in out
    assert "metaexplore:sos@3: " in out  # no sign in the place of :sos:


def test_the_table_shows_counts_ends_and_what_is_missing(
    pilotage: Call, root: Path, tmp_path: Path
) -> None:
    file = predictions(root, tmp_path, n=15)
    words = ["bench", "vln", "--data", str(root), "--predictions", str(file), "--agents", "stop"]
    status, _, err = pilotage(*words)
    assert status == 2
    assert "3 of 18 instructions have no prediction" in err
    status, out, _ = pilotage(*words, "--allow-missing", "--convention", "all")
    assert status == 0
    assert "n_scored" in out
    assert "stop: agent_stopped 18" in out
    assert "my_agent: agent_stopped 15 (3 missing; 0 moves without an edge)" in out
    assert out.count("vlnpe") == 2


def test_other_families_and_a_drawn_sample(pilotage: Call, root: Path) -> None:
    for family in ("r4r", "reverie"):
        status, out, _ = pilotage(
            *("bench", "vln", "--data", str(root), "--family", family, "--episodes", "5"),
            *("--agents", "shortest", "--json"),
        )
        row = json.loads(out)[0]
        assert (status, row["n_total"], row["success"]) == (0, 5, 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agents", "shotest"], "did you mean shortest"),
        (["--convention", "r2"], "did you mean r2r"),
        (["--family", "r5r"], "there are: r2r, r4r, reverie"),
        (["--split", "val_unseen"], "R2R_val_unseen.json is not there"),
        (["--predictions", "nothing.json"], "nothing.json is not there"),
    ],
)
def test_mistakes_are_one_line(pilotage: Call, root: Path, words: list[str], message: str) -> None:
    status, out, err = pilotage("bench", "vln", "--data", str(root), *words)
    assert status == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_data_says_what_is_there_and_how_to_get_the_rest(pilotage: Call, root: Path) -> None:
    status, out, _ = pilotage("data", "--data", str(root))
    assert status == 0  # invented buildings are another data set, nothing is damaged
    for words in ("2 of 2 scans", "12 paths, 36 instructions, 2 scans", "Fine-Grained-R2R"):
        assert words in out
    assert "nothing may be tuned on it" in out
    (root / "r2r/R2R_train.json").write_text("[{")
    (root / "reverie/bbox/synthetic01.json.gz").unlink()
    status, out, _ = pilotage("data", "--data", str(root), "--json")
    assert status == 1
    findings = {(f["name"], f["split"]): f for f in json.loads(out)["findings"]}
    assert findings["r2r", "train"]["state"] == "damaged"
    assert "is no JSON" in findings["r2r", "train"]["detail"]
    assert findings["boxes", ""]["state"] == "missing"
    assert "synthetic01" in findings["boxes", ""]["detail"]
    assert findings["r2r", "val_unseen"]["state"] == "missing"
    assert findings["r2r", "val_seen"]["state"] == "another"


def test_a_changed_file_is_noticed_by_its_digest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "r2r/R2R_train.json"
    known = DataSet("r2r", "", "", "", splits={"train": Expected(12, 36, 2, sha256_of(path))})
    monkeypatch.setattr("pilotage.envs.r2r.inspection.DATA_SETS", (known,))
    assert [f.state for f in inspect(R2RData(root)) if f.name == "r2r"] == ["ok"]
    path.write_text(path.read_text().replace("Leave the", "Quit the", 1))
    (finding,) = (f for f in inspect(R2RData(root)) if f.name == "r2r")
    assert finding.state == "another"
    assert "SHA-256" in finding.detail


def test_the_published_copies_are_whole(data_path: Callable[[str], Path]) -> None:
    data = R2RData(data_path("r2r/R2R_train.json").parents[1])
    findings = inspect(data)
    assert {f.state for f in findings if "unseen" not in f.split} == {"ok"}
    names = {known.name for known in DATA_SETS}
    assert {f.name for f in findings} == names


def test_an_empty_folder_is_all_missing(tmp_path: Path) -> None:
    assert {f.state for f in inspect(R2RData(tmp_path))} == {"missing"}


def test_synthetic_writes_a_world_that_can_be_played(pilotage: Call, tmp_path: Path) -> None:
    status, out, _ = pilotage("data", "--synthetic", str(tmp_path / "new"))
    assert status == 0
    assert "2 invented buildings" in out
    status, _, err = pilotage("data", "--synthetic", str(tmp_path / "new"))
    assert status == 2
    assert "is there already" in err


def test_the_benchmark_runs_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--slots", "4", "--steps", "5", "--repeats", "1", "--data", str(tmp_path)]
    bench_r2r.main(words)
    out = capsys.readouterr().out
    assert "panoramic, captions" in out
    assert "median / peer" in out
