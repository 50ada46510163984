"""Transport maps against closed forms, scipy's Wasserstein distance and least squares."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import wasserstein_distance
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention
from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.captures import capture
from pilotage.steering.lineas import LineasSettings, lineas, lineas_at_site, proximal
from pilotage.steering.maps import AffineMap, load_edit, load_map, save_map
from pilotage.steering.transport import gaussian_transport, sorted_transport, wasserstein
from pilotage.steering.vectors import load_vector

from .helpers import RESID, every_kind, ids, steered_logits

N, D = 400, 6


def _gaussians(n: int = N, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Source and target; unit i goes from N(i, 1) to N(3 - i, (1 + i / 2)^2), in no order."""
    rng = np.random.default_rng(seed)
    i = np.arange(D)
    source = rng.normal(i, 1.0, (n, D))
    target = rng.normal(3 - i, 1 + i / 2, (n, D))
    return torch.from_numpy(source), torch.from_numpy(target)


def test_the_gaussian_map_carries_mean_and_spread_over() -> None:
    source, target = _gaussians()
    made = gaussian_transport(target, source, site=RESID)
    moved = (source + made.moved(source)).numpy()
    np.testing.assert_allclose(moved.mean(0), target.numpy().mean(0), atol=1e-4)
    np.testing.assert_allclose(moved.std(0), target.numpy().std(0), rtol=1e-4)
    distances = np.linalg.norm(moved - source.numpy(), axis=1)
    assert made.norm == pytest.approx(distances.mean(), rel=1e-5)


def test_the_gaussian_map_is_the_published_one_between_gaussians() -> None:
    """w = s2 / s1 and b = m2 - w m1, of the distributions themselves, as the sample grows."""
    made = gaussian_transport(*reversed(_gaussians(200_000)), site=RESID)
    i = np.arange(D)
    np.testing.assert_allclose(made.affine[0], 1 + i / 2, rtol=0.02)
    np.testing.assert_allclose(made.affine[1], 3 - i - (1 + i / 2) * i, atol=0.08)


def test_the_sorted_map_is_the_line_through_sorted_pairs() -> None:
    source, target = _gaussians(seed=1)
    made = sorted_transport(target, source, site=RESID)
    for unit in range(D):
        x, y = np.sort(source[:, unit].numpy()), np.sort(target[:, unit].numpy())
        slope, offset = np.polyfit(x, y, 1)
        assert made.affine[:, unit].tolist() == pytest.approx([slope, offset], abs=1e-4)


def test_a_still_unit_is_only_shifted() -> None:
    source, target = _gaussians()
    source[:, 2] = 5.0
    for fit in (gaussian_transport, sorted_transport):
        made = fit(target, source, site=RESID)
        assert float(made.affine[0, 2]) == 1.0
        assert float(made.affine[1, 2]) == pytest.approx(float(target[:, 2].mean()) - 5, abs=1e-5)


def test_the_loss_is_the_squared_distance_of_optimal_transport() -> None:
    """One unit of four values: the minimum over all pairings, and scipy's distance of order 1."""
    x, y = torch.tensor([[0.0], [1.0], [5.0], [2.0]]), torch.tensor([[3.0], [0.5], [9.0], [4.0]])
    best = min(
        np.mean([(x[i, 0] - y[j, 0]) ** 2 for i, j in enumerate(p)]) for p in permutations(range(4))
    )
    assert float(wasserstein(x, y)) == pytest.approx(best)
    shifted = x + 2.5
    assert float(wasserstein(x, shifted)) == pytest.approx(
        wasserstein_distance(x[:, 0], shifted[:, 0]) ** 2
    )


def test_lineas_without_lasso_finds_the_optimal_map() -> None:
    """In one dimension, and in several: least squares through the sorted pairs is its optimum; for
    Gaussian samples that is the transport map between the Gaussians."""
    source, target = _gaussians(4000, seed=2)
    settings = LineasSettings(steps=300)
    one = lineas_at_site(target[:, :1], source[:, :1], site=RESID, settings=settings)
    assert one.affine[:, 0].tolist() == pytest.approx([1.0, 3.0], abs=0.06)
    made = lineas_at_site(target, source, site=RESID, settings=settings)
    theirs = sorted_transport(target, source, site=RESID)
    np.testing.assert_allclose(made.affine, theirs.affine, atol=2e-3)


def test_the_proximal_step_is_the_minimum_of_its_penalty() -> None:
    """One number: min over x of (x - v)^2 / 2 + single |x| + group |x|, by a search."""
    for v in (-2.0, -0.4, 0.3, 0.9, 4.0):
        found = proximal(torch.tensor([[v], [0.0]]), 0.2, 0.3)
        best = minimize_scalar(
            lambda x, v=v: (x - v) ** 2 / 2 + 0.5 * abs(x), bounds=(-5, 5), method="bounded"
        )
        assert float(found[0, 0]) == pytest.approx(best.x, abs=1e-4)
    pair = torch.tensor([[3.0], [4.0]])  # no lasso: the group shrinks it by its length
    np.testing.assert_allclose(proximal(pair, 0.0, 1.0), pair * 0.8, rtol=1e-6)


def test_the_lasso_leaves_units_alone_exactly_and_moves_those_that_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(300, 8, generator=generator)
    target = torch.randn(300, 8, generator=generator)
    target[:, 3] += 4
    made = lineas_at_site(target, source, site=RESID, settings=LineasSettings(steps=300, lasso=0.4))
    still = [i for i in range(8) if i != 3]
    assert made.affine[0, still].tolist() == [1.0] * 7
    assert made.affine[1, still].tolist() == [0.0] * 7
    assert float(made.affine[1, 3]) > 2
    assert made.n_units == 1
    plain = lineas_at_site(target, source, site=RESID, settings=LineasSettings(steps=300))
    assert plain.n_units == 8


def test_lineas_in_a_model_brings_later_layers_to_the_target(llama: LlamaForCausalLM) -> None:
    """A map at block 0 is fitted for what it does at blocks 0 to 2; played by the Steerer it does
    it, measured without LinEAS's own hooks."""
    sites = [f"layers.{i}.resid:out" for i in range(3)]
    source_ids, target_ids = ids(12, 6, seed=1), ids(12, 6, seed=2)
    target_ids[:, :3] = 7  # what makes the two sides differ
    seen = {}
    for name, tokens in (("source", source_ids), ("target", target_ids)):
        with capture(llama, sites, reduce="mean") as kept, torch.no_grad():
            llama(tokens)
        seen[name] = {site: kept.activations(site) for site in sites}
    before = [p.clone() for p in llama.parameters()]
    made = lineas(
        llama,
        lambda: llama(source_ids),
        seen["target"],
        seen["source"],
        torch.ones(12, 6, dtype=torch.bool),
        maps_at=sites[:1],
        settings=LineasSettings(steps=80, rate=0.02),
    )
    assert all(torch.equal(a, b) for a, b in zip(before, llama.parameters(), strict=True))
    assert list(made) == sites[:1]
    with capture(llama, sites, reduce="mean") as kept:
        steered_logits(llama, source_ids, {i: [made[sites[0]].intervention()] for i in range(12)})
        # Captured outside the Steerer: its own edit at block 0 is not seen there, later ones are.
    for site in sites[1:]:
        scale = seen["source"][site].std(0)
        ends = [
            wasserstein(h / scale, seen["target"][site] / scale)
            for h in (seen["source"][site], kept.activations(site))
        ]
        assert float(ends[1]) < 0.5 * float(ends[0]), site


def test_a_map_goes_through_a_file_and_a_spec(tmp_path: Path) -> None:
    source, target = _gaussians()
    made = gaussian_transport(target, source, site=RESID, model_digest="m", source={"env": "e"})
    save_map(made, tmp_path / "map.safetensors")
    back = load_edit(tmp_path / "map.safetensors")
    assert isinstance(back, AffineMap)
    assert torch.equal(back.affine, made.affine)
    assert (back.norm, back.source["env"], back.method) == (made.norm, "e", made.method)
    what = back.intervention(0.5)
    for one in (what, every_kind()[5], every_kind()[6]):
        again = Intervention.from_spec(one.to_spec(tmp_path), tmp_path)
        assert again.digest == one.digest
    spec = what.to_spec()
    with pytest.raises(ArtefactError, match="the spec asks for"):
        Intervention.from_spec({**spec, "map": {**spec["map"], "digest": "00"}})
    with pytest.raises(ArtefactError, match="made with the model m"):
        load_map(tmp_path / "map.safetensors", model_digest="other")
    with pytest.raises(ArtefactError, match="is a affine map file, not a steering vector"):
        load_vector(tmp_path / "map.safetensors")


def test_a_map_of_another_width_is_refused(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    made = gaussian_transport(*reversed(_gaussians()), site=RESID)
    save_map(made, tmp_path / "map.safetensors")
    with pytest.raises(ArtefactError, match=r"of 6 units, .* has 32"):
        load_map(tmp_path / "map.safetensors", llama, allow_other_model=True)
    with pytest.raises(ValueError, match="the map is of 6 units"):
        steered_logits(llama, ids(1, 4), {0: [made.intervention()]})


@pytest.mark.parametrize("fit", [gaussian_transport, sorted_transport, lineas_at_site])
def test_sides_that_do_not_fit_or_do_not_differ_are_refused(fit) -> None:
    source, target = _gaussians(20)
    with pytest.raises(ValueError, match="paired"):
        fit(target, source[:-1], site=RESID)
    with pytest.raises(ValueError, match="moves nothing"):
        fit(torch.zeros(20, 3), torch.zeros(20, 3), site=RESID)
    source[4, 1] = torch.nan
    with pytest.raises(ValueError, match="row 4 is not finite"):
        fit(target, source, site=RESID)
