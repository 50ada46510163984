"""A VLA under two wordings: distributions against a plain forward; every method on a tiny VLA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from pilotage.agents.vla.activations import paired_activations
from pilotage.agents.vla.conditions import AgentCondition, parse_condition, vector_spec
from pilotage.agents.vla.contrasts import Contrast
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.rollouts import Rollouts
from pilotage.episodes.types import Condition
from pilotage.scripts import vector_methods
from pilotage.scripts.cmd_read import PairedSides
from pilotage.scripts.doses import (
    calibrated,
    calibrated_control,
    calibrated_mix,
    calibration_of,
    edit_of,
)
from pilotage.scripts.rollouts import Rolling
from pilotage.scripts.vector_methods import MAPS, NAMES, SHUFFLABLE, WORDLESS, Fitting, check_method
from pilotage.steering.artefacts import model_digest
from pilotage.steering.captures import capture
from pilotage.steering.controls import random_matched
from pilotage.steering.logit_mix import LogitMix
from pilotage.steering.maps import AffineMap, save_map
from pilotage.steering.tokens import IMAGE
from pilotage.steering.vectors import SteeringVector, save_vector
from pilotage.steering.vista import KIND

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
    rolling = Rolling(tasks=4, n=3, min_pairs=3)
    rollouts = Rollouts(
        {SITE: torch.randn(12, 32, generator=torch.Generator().manual_seed(0))},
        [f"tiny-{i // 3}" for i in range(12)],
        [5, 9, 7, 4, 4, 6, 8, 3, 2, 1, 1, 1],
        [True] * 7 + [False] + [True] * 4,
    )
    digest = model_digest(model.decoder)
    return PairedSides({0: sides[SITE]}, digest, source, agent, demos, rolling, rollouts)


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
    assert made.source.get("positive") == (None if name in WORDLESS else "quickly")
    path = tmp_path / "made.safetensors"
    if isinstance(made, AffineMap):
        save_map(made, path)
    else:
        save_vector(made, path)
    decoder = found.vla.model.decoder
    wanted = 0.3 if name == "vista" else 2.0  # a turn goes no farther than |h|
    spec = {"interventions": [vector_spec(made, path, fitting.coefficient(made, wanted))]}
    edits = AgentCondition.resolve(Condition("c", spec), decoder).interventions
    assert edits[0].selector.token_groups == {"proprio", "action"}
    # The delivered norm, counted outside the steerer.
    natural, c = fitting.tokens[1].double(), edits[0].coefficient
    if isinstance(made, AffineMap):
        moved = c * made.moved(natural)
    elif name == "vista":
        size = natural.norm(dim=1, keepdim=True)
        to = natural / size + c * made.direction.double()
        moved = size * to / to.norm(dim=1, keepdim=True) - natural
    else:
        moved = c * made.direction[None].double()
    assert float(moved.norm(dim=1).mean()) == pytest.approx(wanted, rel=1e-3)
    by_file = parse_condition(str(path), None).spec["interventions"][0]
    whole = 1.0 if isinstance(made, AffineMap) else made.source.get("turn", made.norm)
    assert by_file["kind"] == (KIND if name == "vista" else edits[0].kind)
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


def test_efficiency_is_fitted_to_the_pairs_of_each_start(found: PairedSides) -> None:
    """Of 5, 9, 7; of 4, 4, 6; of 8 and 2 (a failure of 3 steps between); of 1, 1, 1: none."""
    made = Fitting(found, 0).fit("efficiency")
    assert found.rollouts is not None
    z = found.rollouts.activations[SITE].double()
    expected = (z[[0, 3, 8]] - z[[1, 5, 6]]).mean(0)
    torch.testing.assert_close(made.norm * made.direction.double(), expected, atol=1e-5, rtol=1e-5)
    assert made.source["rolling"]["n"] == 3
    few = PairedSides(**{**vars(found), "rolling": Rolling(min_pairs=4)})
    with pytest.raises(ValueError, match="only 3 of 4 tasks have two successes"):
        Fitting(few, 0).fit("efficiency")


@pytest.mark.parametrize(
    ("absence", "change", "is_noticed"),
    [
        ("hidden", lambda x: 255 - x, False),
        ("blank", lambda x: np.roll(x, 5, axis=2), False),  # other places, the same mean colour
        ("blank", lambda x: 255 - x, True),
    ],
)
def test_what_is_unseen_plays_no_part(
    absence: str, change: Callable[[np.ndarray], np.ndarray], is_noticed: bool, found: PairedSides
) -> None:
    def sides(demos: list[Demo]) -> tuple[torch.Tensor, torch.Tensor]:
        words = {"positive": "", "negative": ""}
        return Contrast(found.vla.model, demos, **words, n_steps=16).visual(SITE, absence)

    changed = [replace(demo, images=[change(x) for x in demo.images]) for demo in found.demos]
    (seen, unseen), (other, still) = sides(found.demos), sides(changed)
    assert not torch.allclose(seen, other, atol=1e-5)
    assert not torch.allclose(seen, unseen, atol=1e-5)
    assert torch.equal(unseen, still) != is_noticed


def test_hidden_pictures_are_a_decoder_without_their_tokens(contrast: Contrast) -> None:
    """The rest of the sequence, at its own positions, through the decoder alone."""
    (window,) = contrast._windows("negative", 6)
    model = contrast.model
    kept: dict = {}
    handle = model.decoder.model.register_forward_pre_hook(
        lambda m, a, given: kept.update(given), with_kwargs=True
    )
    with torch.no_grad():
        model(window)
    handle.remove()
    rest = (model.token_groups(window) != IMAGE)[0]
    with torch.no_grad(), capture(model.decoder, ["layers.2.resid:out"]) as seen:
        model.decoder.model(
            inputs_embeds=kept["inputs_embeds"][:, rest],
            attention_mask=kept["attention_mask"][:, :, rest][..., rest],
            position_ids=kept["position_ids"][:, rest],
            use_cache=False,
        )
    prompt_end = int(rest[: model.config.max_instruction + model.config.n_image_tokens].sum())
    expected = seen.activations("layers.2.resid:out").view(6, -1, 32)[:, prompt_end]
    unseen = contrast.visual("layers.2.resid:out")[1][:6]
    torch.testing.assert_close(unseen, expected, atol=1e-4, rtol=1e-4)


def test_a_dose_is_reached_and_remembered(found: PairedSides, contrast: Contrast) -> None:
    fitting = Fitting(found, 0)
    for name, measure, target in (("mean-difference", "kl", 0.02), ("vista", "norm", 0.2)):
        made = calibrated(fitting, fitting.fit(name), measure, target)
        header = made.calibration
        assert header["reached"] == pytest.approx(target, rel=0.02)
        edit = edit_of(made).with_coefficient(header["coefficient"])
        effect = contrast.effect([edit], 48)
        assert getattr(effect, {"kl": "divergence", "norm": "dose"}[measure]) == pytest.approx(
            header["reached"]
        )
        assert (header["kind"], header["measure"]) == (edit.kind, measure)
    control = calibrated_control(fitting, made, 0.02, 1)
    twin = random_matched(edit_of(made), contrast.model.decoder, 1, orthogonal=True)
    reached = contrast.effect([twin.with_coefficient(control)], 48).divergence
    assert reached == pytest.approx(0.02, rel=0.02)
    with pytest.raises(ValueError, match="stays below 50"):
        calibrated(fitting, fitting.fit("vista"), "norm", 50.0)
    with pytest.raises(KeyError, match="kl, norm"):
        calibration_of(contrast, "entropy", 1.0, edit_of(made), 1.0)


def test_the_dose_of_an_effect_is_over_the_residual_stream(
    found: PairedSides, contrast: Contrast
) -> None:
    """Every edited token is moved by 1: the mean of 1 / |h| over acting tokens of 48 steps."""
    made = Fitting(found, 0).fit("mean-difference")
    tokens = contrast.activations("negative", SITE, reduce="all")
    expected = float((1 / tokens.norm(dim=1)).mean())
    assert contrast.effect([edit_of(made)], 48).dose == pytest.approx(expected, rel=1e-4)


def test_a_mix_of_logits_is_measured_at_the_action_tokens(contrast: Contrast) -> None:
    model, mix = contrast.model, LogitMix((0, 1), 0.6)
    (window,) = contrast._windows("negative", 48)
    c = model.config
    place = slice(c.max_instruction + c.n_image_tokens, None)
    with capture(model.decoder, [f"layers.{n}.resid:out" for n in (0, 1)]) as seen, torch.no_grad():
        z = model.decoder.lm_head(model(window)["action"][:, 0])
        lens = [
            model.decoder.lm_head(
                model.decoder.model.norm(
                    seen.activations(f"layers.{n}.resid:out").view(48, -1, 32)[:, place]
                )
            )[:, : c.n_action_tokens]
            for n in (0, 1)
        ]
    mixed = 0.4 * z + 0.6 * (lens[0] + lens[1]) / 2
    p, q = (x[..., list(model.action_ids)].softmax(-1).double().numpy() for x in (z, mixed))
    expected = stats.entropy(p, q, axis=-1).mean()
    assert contrast.effect([], 48, mix).divergence == pytest.approx(expected, rel=1e-3)
    assert contrast.effect([], 48, LogitMix((0,), 0.0)).divergence == 0.0
    target = 0.5 * expected
    found = calibrated_mix(contrast, target, (0, 1))
    assert contrast.effect([], 48, found).divergence == pytest.approx(target, rel=0.02)
