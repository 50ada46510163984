"""`pilotage run --read-tokens`: what the layers would say, from the command line to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage.episodes.runs import RunFolder
from pilotage.scripts import cmd_run, cmd_view
from pilotage.scripts.opening import make_tasks


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A tabletop agent with random weights and one condition that clamps two neurons."""
    import torch

    from pilotage.agents.vla.checkpoint import save_checkpoint
    from pilotage.agents.vla.model import VLAModel
    from pilotage.agents.vla.presets import preset
    from pilotage.envs.tabletop import vocabulary

    torch.manual_seed(0)
    folder = tmp_path / "untrained"
    model = VLAModel(preset("tabletop", "nano", vocabulary(), aux_dim=4)).eval()
    save_checkpoint(folder, model, training={"command": "random weights"})
    clamp = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "coefficient": 3.0}
    conditions = {"clamp": {"interventions": [{**clamp, "neurons": [5, 9]}]}}
    (folder / "conditions.json").write_text(json.dumps(conditions))
    return folder


def test_a_page_spells_the_tokens_without_the_agent(agent: Path, tmp_path: Path) -> None:
    (task,) = make_tasks("tabletop", "test", 1, families=["reach"], manners="none")
    tasks = [replace(task, max_steps=12)]
    cmd_run.play(
        env="tabletop",
        agent=str(agent),
        tasks=tasks,
        condition_names=["baseline", "clamp"],
        out=tmp_path / "run",
        n_slots=2,
        frames="none",
        read_tokens=True,
        quiet=True,
    )
    (agent / "model.safetensors").unlink()  # the run must not need it any more
    run = RunFolder.open(tmp_path / "run")
    assert run.manifest["agent"]["read_tokens"] is True
    records = list(cmd_view.in_order(run))
    assert [r.condition for r in records] == ["baseline", "clamp"]
    words = records[1].receipt["reading"]["words"]
    assert set(words) >= {str(i) for i in records[1].agent_trace["top_token_ids"].flat}
    page = cmd_view.write_html(run).read_text()
    assert 'class="tokens"' in page
    assert "layer 1, neuron 9" in page
    assert "are shown as #id" not in page


def test_an_agent_without_layers_is_refused(tmp_path: Path) -> None:
    tasks = make_tasks("tabletop", "test", 1, families=["reach"], manners="none")
    with pytest.raises(ValueError, match="no layers to read; leave --read-tokens out"):
        cmd_run.play(
            env="tabletop",
            agent="expert",
            tasks=tasks,
            condition_names=["baseline"],
            out=tmp_path / "run",
            n_slots=1,
            read_tokens=True,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()
