"""A VLA under two wordings: distributions against a plain forward; every method on a tiny VLA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from pilotage.agents.vla.activations import paired_activations
from pilotage.agents.vla.conditions import AgentCondition, parse_condition, vector_spec
from pilotage.agents.vla.contrasts import Contrast
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import Condition
from pilotage.scripts import vector_methods
from pilotage.scripts.cmd_read import PairedSides
from pilotage.scripts.vector_methods import MAPS, NAMES, SHUFFLABLE, Fitting, check_method
from pilotage.steering.artefacts import model_digest
from pilotage.steering.maps import AffineMap, save_map
from pilotage.steering.vectors import SteeringVector, save_vector

from .tiny import tiny_config, tiny_demos, tiny_model

SITE = "layers.0.resid:out"


@pytest.fixture(scope="module")
def found() -> PairedSides:
    model = tiny_model(tiny_config())
    source = {"positive": "quickly", "negative": "", "seed": 0}
    source["token_groups"] = ["proprio", "action"]
    demos = tiny_demos()
    words = {"positive": "quickly", "negative": ""}
    sides = paired_activations(model, demos, **words, sites=[SITE], n_pairs=48, seed=0)
    agent = VLAAgent(model, name="tiny", weights_sha256="0" * 64)
    return PairedSides({0: sides[SITE]}, model_digest(model.decoder), source, agent, demos)


@pytest.fixture
def contrast(found: PairedSides) -> Contrast:
    return Fitting(found, 0).contrast


def test_steps_and_means_are_those_of_the_pairs(found: PairedSides, contrast: Contrast) -> None:
    for side, pair in zip(("positive", "negative"), found.sides[0], strict=True):
        means = contrast.activations(side, SITE)
        torch.testing.assert_close(means, pair, atol=1e-5, rtol=1e-5)
        tokens = contrast.activations(side, SITE, reduce="all")
        assert tokens.shape == (48 * 4, 32)  # one token of proprioception, three of actions
        torch.testing.assert_close(tokens.view(48, 4, 32).mean(1), means, atol=1e-5, rtol=1e-5)
    assert sorted(set(contrast.phases)) == [0, 1, 2, 3]


def test_entropy_is_that_of_the_bins_in_a_plain_forward(contrast: Contrast) -> None:
    model = contrast.model
    (window,) = contrast._windows("negative", 48)
    with torch.no_grad():
        logits = model.decoder.lm_head(model(window)["action"][:, 0]).double().numpy()
    bins = logits[..., list(model.action_ids)]
    p = np.exp(bins) / np.exp(bins).sum(-1, keepdims=True)
    expected = stats.entropy(p, axis=-1).mean(-1)
    np.testing.assert_allclose(contrast.entropies("negative"), expected, rtol=1e-4)


def test_an_edit_of_coefficient_zero_has_no_effect_at_all(
    found: PairedSides, contrast: Contrast
) -> None:
    made = Fitting(found, 0).fit("mean-difference")
    effect = contrast.effect([made.intervention(0.0)], 20)
    assert (effect.divergence, effect.entropy) == (0.0, 0.0)
    assert contrast.effect([made.intervention(5.0)], 20).divergence > 1e-4


def test_the_decoder_alone_computes_what_the_model_does(contrast: Contrast) -> None:
    forward, mask = contrast.inputs("positive", 10)
    (window,) = contrast._windows("positive", 10)
    kept: list[torch.Tensor] = []
    handle = contrast.model.decoder.model.norm.register_forward_hook(
        lambda m, a, out: kept.append(out)
    )
    with torch.no_grad():
        forward()
        contrast.model(window)
    handle.remove()
    assert torch.equal(kept[0], kept[1])
    assert mask.sum(1).tolist() == [4] * 10


@pytest.mark.parametrize("name", NAMES)
def test_every_method_gives_an_edit_that_a_condition_can_play(
    name: str, found: PairedSides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a model that has learned nothing words do little: less than the lasso would let through.
    monkeypatch.setattr(vector_methods, "LASSO", 1e-3)
    fitting = Fitting(found, 0)
    made = fitting.fit(name)
    assert isinstance(made, AffineMap if name in MAPS else SteeringVector)
    assert (made.site, made.model_digest) == (SITE, found.model_digest)
    assert made.source["positive"] == "quickly"
    path = tmp_path / "made.safetensors"
    if isinstance(made, AffineMap):
        save_map(made, path)
    else:
        save_vector(made, path)
    decoder = found.vla.model.decoder
    wanted = 2.0
    spec = {"interventions": [vector_spec(made, path, wanted / fitting.mean_move(made))]}
    edits = AgentCondition.resolve(Condition("c", spec), decoder).interventions
    assert edits[0].selector.token_groups == {"proprio", "action"}
    # The delivered norm, counted outside the steerer.
    natural = fitting.tokens[1]
    moved = made.moved(natural.double()) if isinstance(made, AffineMap) else made.direction[None]
    assert edits[0].coefficient * float(moved.double().norm(dim=1).mean()) == pytest.approx(wanted)
    by_file = parse_condition(str(path), None).spec["interventions"][0]
    whole = 1.0 if isinstance(made, AffineMap) else made.norm
    assert by_file["coefficient"] == pytest.approx(whole)


@pytest.mark.parametrize("name", SHUFFLABLE)
def test_exchanged_labels_say_so_and_give_another_edit(name: str, found: PairedSides) -> None:
    mixed = Fitting(found, 0, mix=3).fit(name)
    assert mixed.source["shuffled_labels"] == 3
    assert mixed.digest != Fitting(found, 0).fit(name).digest


def test_unknown_methods_and_controls_that_are_none_are_refused() -> None:
    with pytest.raises(KeyError, match="ot-sorted"):
        check_method("ot-sortd")
    with pytest.raises(ValueError, match="no control of lineas-deep"):
        check_method("lineas-deep", 1)
