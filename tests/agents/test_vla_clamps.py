"""Clamps on a VLA while it learns, and on the copy that is judged and drives."""

from __future__ import annotations

import pytest
import torch

from pilotage.agents.vla.training import Trainer
from pilotage.scripts.clamping import vla_clamps
from pilotage.steering.captures import capture

from .tiny import tiny_config, tiny_demos, tiny_training


def test_a_vla_learns_under_clamps_and_its_copy_is_judged_under_them() -> None:
    trainer, sampler = tiny_training(tiny_config(), tiny_demos(), window_steps=4)
    model = trainer.model
    place = "layers.1.mlp.down_proj:in"
    clamps = vla_clamps(f"{place}[0-9]@0.5", "2", model)
    trainer = Trainer(model, trainer.t, clamps)
    with capture(model.decoder, [place]) as seen:
        for step in range(4):
            seen.clear()
            trainer.update(sampler.draw())
            units = seen.activations(place)
            assert bool((units[:, :10] == 0.5).all()) == (step < 2)
            assert not (units[:, 10:] == 0.5).all()
    assert clamps is not None
    clamps.at(0)
    copied = trainer.averaged_model()
    twin = clamps.onto(copied.decoder)
    with capture(copied.decoder, [place]) as seen, torch.no_grad():
        copied(sampler.draw())
        assert (seen.activations(place)[:, :10] == 0.5).all()
    twin.close()
    clamps.close()
    assert vla_clamps("", "", model) is None
    with pytest.raises(ValueError, match="which an agent that also drives cannot be"):
        vla_clamps(f"{place}[all]@start", "", model)
