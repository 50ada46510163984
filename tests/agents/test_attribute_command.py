"""`pilotage steer attribute` on a tiny agent: what it prints, and that it adds up."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from pilotage.scripts import cli, cmd_attribute

from .tiny import tiny_config, tiny_demos, tiny_model


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`call("--method", "relp")` -> (status, standard output, standard error)."""
    agent = SimpleNamespace(model=tiny_model(tiny_config()), agent_id="tiny@0")
    monkeypatch.setattr(cmd_attribute, "load_vla", lambda *_: agent)
    monkeypatch.setattr(cmd_attribute, "expert_demos", lambda *_, **__: tiny_demos())

    def run(*words: str) -> tuple[int, str, str]:
        small = ["--metric", "length", "--top", "2", "--sample", "5", "--steps", "4", "--quiet"]
        monkeypatch.setattr(sys, "argv", ["pilotage", "steer", "attribute", *words, *small])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


def test_every_top_place_is_shown_with_its_real_effect_and_a_control(call) -> None:
    status, out, _ = call("--method", "relp,atp,neuron-path", "--json")
    assert status == 0
    found = json.loads(out)
    for name in ("sites", "neurons"):
        top = found[name]["top"]
        assert [row["method"] for row in top] == ["relp", "relp", "atp", "atp"]
        for row in top:
            assert row["low"] <= row["true"] <= row["high"]
        assert [row["method"] for row in found[name]["control"]] == ["relp", "atp"]
        parts = {row["part"]: row["n"] for row in found[name]["agreement"]}
        assert parts["all"] == 5
    assert {"neuron"} < set(found["neurons"]["top"][0])
    path = found["neuron-path"]
    greedy = path["paths"][0]
    assert greedy["attributed"] == pytest.approx(sum(row["part"] for row in path["path"]), abs=1e-4)
    assert greedy["neurons"] == " ".join(f"{row['layer']}:{row['neuron']}" for row in path["path"])
    assert greedy["true"] >= path["paths"][-1]["true"], "a random path does better"


def test_the_tables_name_the_agent_and_a_wrong_method_what_there_is(call) -> None:
    status, out, _ = call("--method", "atp")
    assert status == 0
    assert "tiny@0, sites: mean length" in out
    status, _, err = call("--method", "gradient")
    assert status != 0
    assert "unknown method 'gradient'" in err
    assert "relp-attention" in err
