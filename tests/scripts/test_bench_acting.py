"""The bench of an agent's step: what it turns on, and what it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pilotage.scripts.bench_acting import everything, main, observations
from pilotage.scripts.opening import load_vla


def test_everything_is_every_way_of_watching_that_an_agent_has() -> None:
    """An option of watching that is added to the agent and forgotten here would not be timed."""
    agent = load_vla("nano", "tabletop")
    plain = set(agent.manifest())
    for option, value in everything(agent).items():
        setattr(agent, option, value)
    assert set(agent.manifest()) - plain == set(everything(agent))
    assert len(agent.record_sites) == agent.config.n_layers
    seen = observations(agent, 3)
    assert all(np.asarray(seen[key]).shape == (3, 64, 64, 3) for key in agent.config.image_keys)


def test_every_case_is_timed_in_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "2", "--repeats", "2", "--json"])
    pairs = json.loads(capsys.readouterr().out)["other / plain"]
    assert len(pairs) == 6
    assert list(pairs)[2] == "mixed, all that watches is on"
    for pair in pairs.values():
        assert 0 < pair["ratio_p10"] <= pair["ratio"] <= pair["ratio_p90"]
        assert pair["plain_s"] > 0
        assert pair["other_s"] > 0
