"""Attribution against closed forms, its check by patches, and its statistics against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from pilotage.steering.agreement import agreement, pearson_difference, random_control
from pilotage.steering.attribution import METHODS, Place, Scores, attribute, patch_places, verify
from pilotage.steering.patching import Sides, both_sides
from pilotage.steering.tokens import ACTION, INSTRUCTION

from .plain_nets import D_FF, N_LAYERS, TOKENS, PlainNet, two_inputs

R = 3
GROUPS = torch.tensor([[INSTRUCTION, INSTRUCTION, ACTION, ACTION]] * R, dtype=torch.int8)
ATTENTION = [f"layers.{n}.self_attn.o_proj:out" for n in range(N_LAYERS)]
NEURONS = [f"layers.{n}.mlp.down_proj:in" for n in range(N_LAYERS)]
MLP = [f"layers.{n}.mlp:out" for n in range(N_LAYERS)]


def setting(act: type[nn.Module] = nn.Identity):
    net, inputs = PlainNet(act), two_inputs(R)

    def forward(side: str) -> torch.Tensor:
        return net(inputs[side])

    return net, forward


def test_in_a_linear_net_attribution_is_the_patch_by_closed_form() -> None:
    """The stream's change times the product of the later blocks' matrices (Kronecker products)."""
    net, forward = setting()
    sides = both_sides(net, forward, [*MLP, *NEURONS], (R, TOKENS))
    for method in ("atp", "relp"):
        scores = attribute(net, forward, sides, GROUPS, ["action"], method=method, by_unit=NEURONS)
        assert len(scores.places) == N_LAYERS * (1 + D_FF)
        true = patch_places(net, forward, sides, GROUPS, scores.places)
        for place, guess, patched in zip(scores.places, scores.carried, true.carried, strict=True):
            layer = int(place.site.split(".")[1])
            positive, negative = sides.activations[place.site]
            change = (positive - negative).double().numpy()
            change[:, :2] = 0.0  # the instruction
            if place.unit is not None:
                written = net.layers[layer].ffn.down.weight[:, place.unit].double().numpy()
                change = change[..., place.unit, None] * written
            expected = (change * net.reading_after(layer)).sum((1, 2))
            np.testing.assert_allclose(guess, expected, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(patched, expected, rtol=1e-3, atol=1e-4)


def test_relp_is_exact_where_the_other_side_is_nothing_and_the_gradient_is_not() -> None:
    """The identity rule is the secant through 0: taking a unit's input before its GELU to 0, in the
    last block, does just what RelP says."""
    net, forward = setting(nn.GELU)
    site = f"layers.{N_LAYERS - 1}.mlp.up_proj:out"
    seen = both_sides(net, forward, [site], (R, TOKENS))
    negative = seen.activations[site][1]
    sides = Sides(seen.positive, seen.negative, {site: (torch.zeros_like(negative), negative)})
    true = patch_places(net, forward, sides, GROUPS, [Place(site, "all")]).carried
    by_method = {
        method: attribute(net, forward, sides, GROUPS, ["all"], method=method).carried
        for method in ("relp", "atp")
    }
    np.testing.assert_allclose(by_method["relp"], true, rtol=1e-3, atol=1e-5)
    assert np.abs(by_method["atp"] - true).max() > 0.1 * np.abs(true).max()


def test_units_add_up_to_their_site_and_a_patch_moves_one_alone() -> None:
    net, forward = setting(nn.GELU)
    sides = both_sides(net, forward, NEURONS, (R, TOKENS))
    units = attribute(net, forward, sides, GROUPS, ["all"], method="atp", by_unit=NEURONS)
    whole = attribute(net, forward, sides, GROUPS, ["all"], method="atp")
    by_site = units.carried.reshape(N_LAYERS, D_FF, R).sum(1)
    np.testing.assert_allclose(by_site, whole.carried, rtol=1e-4, atol=1e-6)
    place = Place(NEURONS[1], "action", 4)
    patched = patch_places(net, forward, sides, GROUPS, [place]).carried[0]

    def by_hand(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        changed = args[0].clone()
        changed[:, 2:, 4] = sides.activations[NEURONS[1]][0][:, 2:, 4]
        return (changed,)

    handle = net.layers[1].ffn.down.register_forward_pre_hook(by_hand)
    expected = (forward("negative") - sides.negative).numpy()
    handle.remove()
    np.testing.assert_allclose(patched, expected, rtol=1e-4, atol=1e-6)


def test_verifying_patches_the_top_the_sample_and_its_controls() -> None:
    net, forward = setting(nn.GELU)
    sides = both_sides(net, forward, NEURONS, (R, TOKENS))
    scores = {
        method: attribute(net, forward, sides, GROUPS, ["action"], method=method, by_unit=NEURONS)
        for method in ("relp", "atp")
    }
    done = []
    relp, atp = verify(
        net,
        forward,
        sides,
        GROUPS,
        scores,
        clusters=[0, 1, 1],
        k=4,
        n_sample=12,
        progress=lambda at, total: done.append((at, total)),
    )
    assert done[-1][0] == done[-1][1] == len(done)
    everything = patch_places(net, forward, sides, GROUPS, scores["atp"].places)
    shares = dict(zip(everything.places, everything.means / sides.gap, strict=True))
    for checked, found in ((relp, scores["relp"]), (atp, scores["atp"])):
        by_size = sorted(found.places, key=lambda p: -abs(found.of([p]).mean()))
        assert [v.place for v in checked.top] == by_size[:4]
        for v in checked.top:
            assert v.true == pytest.approx(shares[v.place], rel=1e-5)
            assert v.attributed == pytest.approx(found.of([v.place]).mean() / sides.gap)
            assert v.low <= v.true <= v.high
        assert checked.control.top == pytest.approx(
            np.mean([abs(shares[v.place]) for v in checked.top])
        )
        assert checked.agreement.n == 12
        assert checked.by_part["mlp.down_proj:in"] == checked.agreement
    assert relp.better["all"].value == 0.0
    assert atp.better["all"].value == pytest.approx(atp.agreement.pearson - relp.agreement.pearson)


def test_the_matched_control_is_another_place_at_the_same_tokens() -> None:
    """Of three places two share their tokens: the one is the control of the other."""
    net, forward = setting()
    sides = both_sides(net, forward, MLP, (R, TOKENS))
    best, alike, other = places = (
        Place(MLP[0], "action"),
        Place(MLP[1], "action"),
        Place(MLP[2], "instruction"),
    )
    carried = np.array([[3.0] * R, [2.0] * R, [1.0] * R])
    true = patch_places(net, forward, sides, GROUPS, [alike]).means / sides.gap
    for seed in range(5):
        (found,) = verify(
            net,
            forward,
            sides,
            GROUPS,
            {"atp": Scores(places, carried)},
            clusters=range(R),
            k=1,
            seed=seed,
        )
        assert [v.place for v in found.top] == [best]
        assert found.control.matched == pytest.approx(abs(float(true[0])))
    assert other.part == "mlp:out"


def test_places_where_nothing_differs_are_not_drawn() -> None:
    net, _ = setting()
    inputs = two_inputs(R)
    inputs["positive"][:, :2] = inputs["negative"][:, :2]  # the pattern is causal: these stay equal

    def forward(side: str) -> torch.Tensor:
        return net(inputs[side])

    sides = both_sides(net, forward, ATTENTION, (R, TOKENS))
    scores = attribute(net, forward, sides, GROUPS, ["instruction", "action"], method="atp")
    assert scores.can_carry() == [Place(site, "action") for site in ATTENTION]


def test_agreement_is_that_of_scipy_and_its_interval_that_of_resampled_clusters() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(9, 40))
    guess = true + 1.5 * rng.normal(size=(9, 40))
    guess[3] = guess[4]  # a tie
    clusters = np.repeat(np.arange(8), 5)
    found = agreement(guess, true, clusters)
    assert found.n == 9
    assert found.pearson == pytest.approx(stats.pearsonr(guess.mean(1), true.mean(1))[0])
    assert found.spearman == pytest.approx(stats.spearmanr(guess.mean(1), true.mean(1))[0])
    assert found.pearson_rows == pytest.approx(stats.pearsonr(guess.ravel(), true.ravel())[0])
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(clusters == c) for c in rng.integers(8, size=8)])
        drawn.append(stats.pearsonr(guess[:, rows].mean(1), true[:, rows].mean(1))[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.06)
    assert found.high == pytest.approx(high, abs=0.03)
    better = pearson_difference(true, guess, true, clusters)
    assert better.value == pytest.approx(1 - found.pearson)
    assert better.low == pytest.approx(1 - found.high, abs=1e-9), "the draws are paired"
    few = agreement(guess[:2], true[:2], clusters)
    assert np.isnan([few.pearson, few.spearman, few.low]).all()


def test_the_control_says_how_often_random_places_do_as_well() -> None:
    drawn = np.array([0.0] * 9 + [1.0])
    found = random_control(np.array([-1.0]), np.array([0.25]), drawn)
    assert found.top == 1.0
    assert found.matched == 0.25
    assert found.drawn == pytest.approx(0.1)
    assert found.chance == pytest.approx(0.1, abs=0.03)  # 2,000 draws of one in ten


def test_what_cannot_be_ranked_is_refused() -> None:
    net, forward = setting()
    sides = both_sides(net, forward, MLP, (R, TOKENS))
    with pytest.raises(ValueError, match=f"'lrp'; there are: {', '.join(METHODS)}"):
        attribute(net, forward, sides, GROUPS, ["all"], method="lrp")
    nothing = Scores((Place(MLP[0], "all"),), np.zeros((1, R)))
    with pytest.raises(ValueError, match="only 0 places can carry anything"):
        verify(net, forward, sides, GROUPS, {"atp": nothing}, clusters=range(R))
