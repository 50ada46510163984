"""The comparison with other libraries: who is let in, what is void, and what a row says.

The peer that runs here is a hook written by hand, an independent way to the same logits.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from pilotage.scripts.bench_peers import (
    WARM_UP,
    check,
    disagreement,
    interpreters,
    main,
    measure,
    results_of,
    row_of,
)

WORKS = ("prefill", "decode", "coefficients")


class FakeSide:
    """A side whose logits are off by `gap` at the work `at`; its edits are slower at first."""

    def __init__(self, name: str, gap: float = 0.0, at: str = "", cannot: str = "") -> None:
        self.name, self.gap, self.at, self.cannot = name, gap, at, cannot
        self.hello = {"has_own": name != "pilotage", "versions": "fake 1", "note": ""}
        self.asked: list[tuple[str, str]] = []
        self.change = 1.0

    def ask(self, work, how, logits=None):
        if work == self.cannot:
            return {"cannot": "it has no cache"}
        if logits is None:
            cold = 1.0 if self.asked.count((work, how)) < WARM_UP and how == "edited" else 0.0
            self.asked.append((work, how))
            return {"seconds": cold + {"plain": 2.0, "own": 3.0, "edited": 5.0, "runs": 20.0}[how]}
        value = 0.0 if how == "plain" else self.change + self.gap * (work == self.at)
        np.save(logits, np.full((3, 4), value, np.float32))
        return {"done": True}


def test_ours_and_a_hook_by_hand(capsys) -> None:
    sizes = ["--rows", "3", "--tokens", "9", "--width", "64", "--layers", "3"]
    more = ["--vocabulary", "97", "--coefficients", "3", "--repeats", "1", "--json"]
    main([*sizes, *more, "--peer-python", f"steering-vectors={sys.executable}"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = {(r["library"], r["how"]): r for r in report["results"]}
    assert set(found) == {("pilotage", "edited"), ("pilotage", "own"), ("hook", "edited")}
    for result in found.values():
        assert result["refused"] == {}  # the logits of the two agree
        assert all(result[work]["median"] > 0 for work in WORKS)
    assert found["hook", "edited"]["runs / batch"]["median"] > 0
    assert report["missing"]["pyvene"] == "not measured: no --peer-python"
    assert report["missing"]["steering-vectors"].startswith("not measured: ")
    assert "torch" in report["versions"]["hook"]


def test_other_logits_and_what_a_peer_cannot_do_are_not_timed(tmp_path) -> None:
    ours = FakeSide("pilotage")
    wrong, unable = FakeSide("wrong", 0.01, "decode"), FakeSide("unable", cannot="coefficients")
    refused = check([ours, wrong, unable], tmp_path)
    assert refused["pilotage"] == {}
    assert refused["wrong"] == {"decode": "void: logits differ from ours by 0.01"}
    assert refused["unable"] == {"coefficients": "it has no cache"}

    seconds = measure([ours, wrong, unable], refused, 3)
    assert {work for work, _ in wrong.asked} == {"prefill", "coefficients"}
    assert wrong.asked.count(("prefill", "own")) == 3 + WARM_UP
    edited, own = results_of(wrong, seconds["wrong"], refused["wrong"])
    assert edited["prefill"] == {"median": 2.5, "p10": 2.5, "p90": 2.5}
    assert own["prefill"]["median"] == 1.5
    assert edited["runs / batch"]["median"] == 4.0
    row = row_of(edited, 8)
    assert row["prefill"] == "2.500 (2.500 to 2.500)"
    assert row["decode"] == "void: logits differ from ours by 0.01"
    (alone,) = results_of(ours, seconds["pilotage"], {})
    assert alone["added ms"]["median"] == 1e3 * (5 - 2) / 8


def test_ours_must_agree_with_itself_and_change_something(tmp_path) -> None:
    weak = FakeSide("pilotage")
    weak.change = 1e-3
    with pytest.raises(RuntimeError, match=r"prefill: the edit moves .* 0.001 only"):
        check([weak], tmp_path)
    with pytest.raises(RuntimeError, match="decode: it has no cache"):
        check([FakeSide("pilotage", cannot="decode")], tmp_path)


def test_disagreement() -> None:
    ours = np.zeros((2, 3), np.float32)
    assert disagreement(ours + 9e-5, ours) == ""
    assert disagreement(ours + 2e-4, ours).startswith("void: logits differ")
    assert disagreement(ours[:1], ours) == "void: logits of shape (1, 3), ours (2, 3)"
    assert disagreement(ours + np.nan, ours).startswith("void")


def test_interpreters() -> None:
    found = interpreters(["/bin/sh", f"pyvene={sys.executable}"])
    assert (found["nnsight"], found["pyvene"]) == ("/bin/sh", sys.executable)
    assert found["hook"] == sys.executable
    assert interpreters([])["nnsight"] is None
    with pytest.raises(ValueError, match="no peer 'pyven'; there are: hook, nnsight"):
        interpreters(["pyven=/bin/sh"])
    with pytest.raises(ValueError, match="'/nowhere/python' cannot be run; give an interpreter"):
        interpreters(["pyvene=/nowhere/python"])
