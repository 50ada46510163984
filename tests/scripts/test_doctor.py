"""The doctor: says what is missing with the command that gets it, and survives a broken machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pilotage.scripts import doctor, doctor_checks
from pilotage.scripts.doctor_checks import Check


def test_json_of_this_machine_names_every_part(capfd: pytest.CaptureFixture[str]) -> None:
    code = doctor.run_doctor(as_json=True)
    answer = json.loads(capfd.readouterr().out)
    status = {row["name"]: row["status"] for row in answer["checks"]}
    assert {"python", "pilotage", "torch", "pybullet import", "numba compiles", "disk"} <= set(
        status
    )
    needed_problems = [r for r in answer["checks"] if r["needed"] and r["status"] != "ok"]
    assert (code, answer["ok"]) == ((0, True) if not needed_problems else (1, False))
    assert status["python"] == status["numpy"] == status["torch device"] == "ok"


@pytest.mark.parametrize(
    ("requirement", "extra", "status", "needed", "remedy"),
    [
        ("numpy>=1.26", None, "ok", True, "pip install 'numpy>=1.26'"),
        ("numpy", None, "ok", True, "pip install 'numpy'"),
        ("numpy>=999", None, "broken", True, "pip install 'numpy>=999'"),
        ("no-such-thing>=1", None, "missing", True, "pip install 'no-such-thing>=1'"),
        ("no-such>=1; extra == 'view'", "view", "missing", False, "pip install 'pilotage[view]'"),
    ],
)
def test_a_package_has_a_state_and_a_command(
    requirement: str, extra: str | None, status: str, needed: bool, remedy: str
) -> None:
    assert doctor_checks.extra_of(requirement) == extra
    check = doctor_checks.package_check(requirement, extra)
    assert (check.status, check.needed, check.remedy) == (status, needed, remedy)


def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, 2.13 would come before 2.4."""
    monkeypatch.setattr(doctor_checks.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert doctor_checks.package_check("torch>=2.4", None).status == "ok"
    assert doctor_checks.package_check("torch>=2.13.1", None).status == "broken"


def test_an_unreadable_requirement_is_refused() -> None:
    with pytest.raises(ValueError, match="'numpy<2' is not of the form"):
        doctor_checks.package_check("numpy<2", None)


def _ship(root: Path, name: str, weights: bytes, sha256: str) -> None:
    folder = root / name
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "agent.json").write_text(json.dumps({"weights_sha256": sha256}))


def test_agents_are_checked_against_their_digest(tmp_path: Path) -> None:
    good = hashlib.sha256(b"weights").hexdigest()
    _ship(tmp_path, "fine", b"weights", good)
    _ship(tmp_path, "cut", b"weig", good)
    _ship(tmp_path, "gone", b"", good)
    (tmp_path / "gone" / "model.safetensors").unlink()
    _ship(tmp_path, "garbled", b"weights", good)
    (tmp_path / "garbled" / "agent.json").write_text("{")
    found = {c.name: c for c in doctor_checks.check_agents(tmp_path)}
    assert {name: c.status for name, c in found.items()} == {
        "agent fine": "ok",
        "agent cut": "broken",
        "agent gone": "broken",
        "agent garbled": "broken",
    }
    assert good[:12] in found["agent cut"].detail
    assert "FileNotFoundError" in found["agent gone"].detail


def test_no_agents_is_told_and_not_fatal(tmp_path: Path) -> None:
    (check,) = doctor_checks.check_agents(tmp_path)
    assert (check.status, check.needed) == ("missing", False)


def test_data_sets_are_found_by_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_DATA", str(tmp_path))
    assert doctor_checks.check_data()[0].status == "missing"
    (tmp_path / "mapf").mkdir()
    (check,) = doctor_checks.check_data()
    assert check.status == "ok"
    assert check.detail.startswith("mapf in")
    assert "absent: r2r" in check.detail


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print('plugin 3')", "ok"),
        ("print('plugin -1')", "missing"),
        ("print('plugin 3'); raise SystemExit(1)", "missing"),
        ("pass", "missing"),
    ],
)
def test_an_egl_plugin_that_ends_its_process_is_only_missing(
    program: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_checks, "EGL_PROGRAM", program)
    assert doctor_checks._egl_check().status == status


def test_a_library_that_fails_on_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("libgomp.so.1 not found")

    monkeypatch.setattr(doctor_checks.importlib, "import_module", fail)
    (check,) = doctor_checks.check_torch()
    assert (check.status, check.needed) == ("broken", True)
    assert "libgomp" in check.detail


def _fine() -> Sequence[Check]:
    return [Check("good", "ok", "1.0", needed=True)]


def _optional() -> Sequence[Check]:
    return [Check("films", "missing", "none [at all]", "pip install 'pilotage[view]'")]


def _needed() -> Sequence[Check]:
    return [Check("engine", "missing", "none", "pip install engine", needed=True)]


def _crash() -> Sequence[Check]:
    raise ZeroDivisionError("surprise")


@pytest.mark.parametrize(
    ("functions", "code"),
    [((_fine,), 0), ((_fine, _optional), 0), ((_fine, _needed), 1), ((_crash, _fine), 1)],
)
def test_only_needed_parts_decide_the_exit_code(
    functions: tuple,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", functions)
    assert doctor.run_doctor(as_json=False) == code
    text = capsys.readouterr().out
    assert "good" in text
    assert ("Everything that Pilotage needs is here" in text) == (code == 0)


def test_the_table_shows_the_command_with_its_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "CHECKS", (_optional, _crash))
    doctor.run_doctor()
    text = capsys.readouterr().out
    assert "pip install 'pilotage[view]'" in text
    assert "none [at all]" in text
    assert "surprise" in text
