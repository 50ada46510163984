"""One contract for every family: sites are where their names say, against blocks made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import DynamicCache

from pilotage.agents.vla.cache import CACHE_ARGUMENT
from pilotage.steering import (
    Intervention,
    SiteError,
    Steerer,
    capture,
    final_norm,
    find_layers,
    offered_places,
    project,
    project_layers,
    resolve,
    unembedding,
    value_vectors,
)
from pilotage.steering.readout import NeuronProbe
from pilotage.steering.sites import PLACES
from pilotage.steering.tokens import INSTRUCTION

from .hand_made import D_FF, FAMILIES, N_EXPERTS, D, HandMade, build
from .helpers import begin, groups, ids, only, steered_logits, unit

NEURONS = torch.tensor([3, 5, 9])
NEURON_PLACES = ("mlp.down_proj:in", "self_attn.o_proj:in")
DENSE = [name for name, family in FAMILIES.items() if not family.mixture]
MIXTURES = [name for name, family in FAMILIES.items() if family.mixture]


@pytest.fixture(params=list(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def prompt(rows: int, tokens: int) -> torch.Tensor:
    return 2 + ids(rows, tokens, vocabulary=43)  # above are a family's image tokens


@cache
def plain(name: str) -> Any:
    """An unsteered forward of two rows of six tokens, with all that the model itself tells."""
    with torch.no_grad():
        return build(name)(
            prompt(2, 6), output_hidden_states=True, output_attentions=True, use_cache=False
        )


def places(name: str) -> list[str]:
    return [place for place in PLACES if place in FAMILIES[name].places]


def edit(name: str, place: str, layer: int = 1) -> Intervention:
    """A clamp where there are neurons, else an addition of 2.5 times a direction."""
    site = f"layers.{layer}.{place}"
    if place in NEURON_PLACES:
        return Intervention("clamp", site, 1.5, neurons=NEURONS, selector=only("instruction"))
    v = unit(resolve(build(name), site).width, 7)
    return Intervention("add", site, 2.5, direction=v, selector=only("instruction"))


def by_hand(what: Intervention, chosen: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same edit as a plain function; chosen: the tokens, bool `[R, S]`."""

    def change(value: torch.Tensor) -> torch.Tensor:
        changed = value.clone()
        if what.neurons is not None:
            changed[..., what.neurons] = what.coefficient
        else:
            changed += what.coefficient * what.direction
        return torch.where(chosen[..., None], changed, value)

    return change


def seen_at(name: str, sites: Sequence[str], rows: dict[int, list[Intervention]]) -> Any:
    """(logits, {site: captured `[R, S, width]`}, receipts) of a prefill of two rows."""
    model, layout = build(name), groups(2, 6)
    with Steerer(model, n_rows=2) as steerer, torch.no_grad():
        for row, interventions in rows.items():
            steerer.set_row(row, interventions)
        with capture(model, sites) as seen:
            begin(steerer, layout)
            logits = model(prompt(2, 6), use_cache=False).logits
        receipts = [steerer.receipt(row) for row in range(2)]
    for receipt in receipts:
        steerer.check_receipt(receipt)
    return logits, {site: seen.activations(site).unflatten(0, (2, 6)) for site in sites}, receipts


def every_edit(name: str) -> list[Intervention]:
    """One edit at each place, half of them in either block."""
    return [edit(name, place, layer=i % 2) for i, place in enumerate(places(name))]


def test_what_is_captured_is_the_block_made_by_hand(name: str) -> None:
    hand, model = HandMade(name), plain(name)
    assert set(offered_places(hand.model)) == FAMILIES[name].places
    sites = [f"layers.{layer}.{place}" for layer in (0, 1) for place in places(name)]
    logits, captured, _ = seen_at(name, sites, {})
    assert torch.equal(logits, model.logits)
    for layer in (0, 1):
        made = hand.block(layer, model.hidden_states[layer], model.attentions[layer])
        for place in places(name):
            found = captured[f"layers.{layer}.{place}"]
            assert found.shape == made[place].shape, place
            assert torch.allclose(found, made[place], atol=1e-5), place
    assert torch.equal(captured["layers.1.resid:in"], model.hidden_states[1])
    assert torch.equal(captured["layers.0.resid:out"], model.hidden_states[1])
    normed = final_norm(hand.model)(captured["layers.1.resid:out"])
    assert torch.allclose(normed, model.hidden_states[2], atol=1e-6)


def test_an_edit_reaches_the_logits_as_by_hand_and_is_counted(name: str) -> None:
    """Every place of the last block, edited in one row. The receipt is held against the number of
    tokens at which what passes the place differs from an unsteered forward."""
    hand, model = HandMade(name), plain(name)
    chosen = torch.from_numpy(groups(2, 6) == INSTRUCTION)
    chosen[1] = False
    h, probabilities = model.hidden_states[1], model.attentions[1]
    untouched = hand.block(1, h, probabilities)
    for place in places(name):
        what = edit(name, place)
        logits, captured, receipts = seen_at(name, [what.site], {0: [what]})
        if place == "resid:in":  # the attention looks at it: its probabilities move with it
            assert not torch.equal(logits[0], model.logits[0])
        else:
            made = hand.block(1, h, probabilities, {place: by_hand(what, chosen)})
            assert torch.allclose(logits, hand.logits(made["resid:out"]), atol=1e-4), place
        assert torch.equal(logits[1], model.logits[1])
        change = captured[what.site] - untouched[place]
        differs = change.abs().amax(-1) > 1e-4
        assert torch.equal(differs, chosen), place
        (entry,) = receipts[0]["interventions"]
        assert entry["edited_tokens"] == {"prefill": int(differs.sum()), "decode": 0}
        if place not in NEURON_PLACES:
            assert torch.allclose(change[chosen], 2.5 * what.direction, atol=1e-4)
            assert entry["mean_delivered_norm"] == pytest.approx(2.5, rel=1e-5)


def test_clamped_neurons_write_their_value_vectors(name: str) -> None:
    """The delivered norm of a receipt is the length of what the branch writes more than before."""
    for place, after in zip(NEURON_PLACES, ("mlp:out", "self_attn.o_proj:out")):
        if place not in places(name):
            continue
        what, out = edit(name, place), f"layers.1.{after}"
        _, before, _ = seen_at(name, [out], {})
        _, steered, receipts = seen_at(name, [out], {0: [what]})
        lengths = (steered[out] - before[out])[0].norm(dim=-1)
        delivered = receipts[0]["interventions"][0]["delivered_norm_sum"]["prefill"]
        assert delivered == pytest.approx(float(lengths.sum()), rel=1e-4)


def test_coefficient_zero_is_bit_identical(name: str) -> None:
    off = [what.with_coefficient(0.0) for what in every_edit(name)]
    logits, _, receipts = seen_at(name, ["layers.1.resid:out"], {0: off, 1: off})
    assert torch.equal(logits, plain(name).logits)
    for entry in receipts[0]["interventions"]:
        assert entry["edited_tokens"] == {"prefill": 0, "decode": 0}


def test_cached_decode_equals_one_uncached_forward(name: str) -> None:
    model, edits = build(name), [[], *([what] for what in every_edit(name))]
    tokens, layout = prompt(len(edits), 7), groups(len(edits), 7)
    layout[:, 4:] = INSTRUCTION
    whole = steered_logits(model, tokens, dict(enumerate(edits)), layout)
    cache, stepwise = DynamicCache(config=model.config.get_text_config()), []
    with Steerer(model, n_rows=len(edits)) as steerer, torch.no_grad():
        for row, interventions in enumerate(edits):
            steerer.set_row(row, interventions)
        for first, stop in ((0, 4), (4, 5), (5, 6), (6, 7)):
            phase = "decode" if first else "prefill"
            begin(steerer, layout[:, first:stop], phase=phase, decode_token=max(0, first - 4))
            arguments = {CACHE_ARGUMENT: cache, "use_cache": True}
            stepwise.append(model(tokens[:, first:stop], **arguments).logits)
        receipts = [steerer.receipt(row) for row in range(len(edits))]
    assert torch.allclose(whole, torch.cat(stepwise, 1), atol=1e-4)
    for receipt in receipts[1:]:
        steerer.check_receipt(receipt)
        assert receipt["interventions"][0]["edited_tokens"]["decode"] == 3


def test_rows_under_different_edits_equal_rows_alone(name: str) -> None:
    model, edits = build(name), [[], *([what] for what in every_edit(name))]
    tokens, layout = prompt(len(edits), 6), groups(len(edits), 6)
    together = steered_logits(model, tokens, dict(enumerate(edits)), layout)
    for row, interventions in enumerate(edits):
        one = slice(row, row + 1)
        alone = steered_logits(model, tokens[one], {0: interventions}, layout[one])
        assert torch.allclose(together[one], alone, atol=1e-5), interventions


def test_nothing_stays_on_the_model(name: str) -> None:
    model = build(name)
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._buffers)) for m in model.modules()
    ]
    with Steerer(model, n_rows=1) as steerer, capture(model, [edit(name, "mlp:in").site]):
        steerer.set_row(0, every_edit(name))
    after = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._buffers)) for m in model.modules()
    ]
    assert after == hooks


def test_the_lens_reads_every_block_as_the_head_made_by_hand(name: str) -> None:
    hand, model = HandMade(name), plain(name)
    with NeuronProbe(hand.model, {}, lens_layers=[0, 1], top_k=3) as probe, torch.no_grad():
        logits = hand.model(prompt(2, 6), use_cache=False).logits
    (reading,) = probe.take()
    first = hand.logits(model.hidden_states[1])[:, -1]
    assert torch.equal(reading.token_ids[0], first.topk(3).indices)
    assert torch.equal(reading.token_ids[1], logits[:, -1].topk(3).indices)


def test_projection_is_the_explicit_product(name: str) -> None:
    hand, family = HandMade(name), FAMILIES[name]
    head = unembedding(hand.model)
    assert torch.equal(head, hand.unembedding())
    for layer in (0, 1):
        if family.mixture:
            down = hand.weights[f"{family.block.format(layer)}mlp.experts.down_proj"]
            written = {e: down[e].T for e in range(N_EXPERTS)}
            found = {e: value_vectors(hand.model, layer, expert=e) for e in written}
        else:
            written = {0: hand.matrix(family.block.format(layer) + family.ffn[-1]).T}
            found = {0: value_vectors(hand.model, layer)}
        for key, rows in written.items():
            assert torch.equal(found[key], rows)
            product = rows.numpy().astype(np.float64) @ head.numpy().astype(np.float64).T
            top = np.argsort(-product, axis=1)[:, :5]
            assert (project(found[key], head, top_k=5).token_ids.numpy() == top).all()
    if not family.mixture:
        assert [n for n, _ in project_layers(hand.model, top_k=3, final_norm=True)] == [0, 1]


@pytest.mark.parametrize("name", DENSE)
def test_one_neuron_alone_writes_its_value_vector(name: str) -> None:
    """The orientation: the down projection of a unit vector, less its bias, is the row."""
    model = build(name)
    down = resolve(model, "layers.1.mlp.down_proj:in").module
    with torch.no_grad():
        neurons = torch.eye(D_FF)[None]
        written = down(neurons) - down(torch.zeros_like(neurons))
    assert torch.allclose(written[0], value_vectors(model, 1), atol=1e-5)


@pytest.mark.parametrize("name", MIXTURES)
def test_logits_of_the_router_are_its_input_times_its_weight(name: str) -> None:
    model = build(name)
    site = resolve(model, "layers.0.mlp.router:in")
    with torch.no_grad(), capture(model, [str(site.site)]) as seen:
        out = model(prompt(2, 6), output_router_logits=True, use_cache=False)
    logits = seen.activations(str(site.site)) @ site.weight.detach().T
    assert torch.allclose(logits, out.router_logits[0].view(12, N_EXPERTS), atol=1e-5)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_push_along_the_router_keeps_an_expert_away(name: str) -> None:
    """Along the pseudo-inverse of its weight one logit moves alone. The experts' input stays."""
    model = build(name)
    weight = resolve(model, "layers.0.mlp.router:in").weight.detach()
    push = torch.linalg.pinv(weight)[:, 2]
    what = Intervention(
        "add", "layers.0.mlp.router:in", -50 * float(push.norm()), direction=push / push.norm()
    )
    chosen: list[torch.Tensor] = []
    (router,) = [m for n, m in model.named_modules() if n.endswith("layers.0.mlp.gate")]
    handle = router.register_forward_hook(lambda m, a, out: chosen.append(out[2]))
    steered_logits(model, prompt(2, 6), {})
    steered_logits(model, prompt(2, 6), {0: [what]})
    handle.remove()
    before, after = (part.view(2, 6, 2) for part in chosen)
    assert (before[0] == 2).any()
    assert not (after[0] == 2).any()
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("place", ["mlp.down_proj:in", "mlp.down_proj:out", "mlp.gate_proj:out"])
def test_fused_experts_are_refused_by_name(name: str, place: str) -> None:
    with pytest.raises(SiteError) as caught:
        resolve(build(name), f"layers.1.{place}")
    text = str(caught.value)
    for word in (FAMILIES[name].model, place, "4 experts fused", "down_proj [4, 32, 48]"):
        assert word in text
    assert text.endswith("offers: " + ", ".join(places(name)))
    assert ("shared_expert" in text) == (name == "qwen2_moe")


@pytest.mark.parametrize("name", MIXTURES)
def test_value_vectors_of_experts_are_asked_for_one_by_one(name: str) -> None:
    for expert, remedy in ((None, "give `expert`, from 0 to 3"), (4, "from 0 to 3, not 4")):
        with pytest.raises(SiteError, match=f"{FAMILIES[name].model}.*{remedy}"):
            value_vectors(build(name), 0, expert=expert)


@pytest.mark.parametrize("name", DENSE)
def test_what_a_dense_family_lacks_is_refused_by_name(name: str) -> None:
    model, family = build(name), FAMILIES[name]
    with pytest.raises(SiteError, match=f"{family.model} does not offer this: .* no router"):
        resolve(model, "layers.0.mlp.router:in")
    with pytest.raises(SiteError, match="has no experts"):
        value_vectors(model, 0, expert=0)
    if len(family.ffn) == 2:
        with pytest.raises(SiteError, match=r"has no gate; its activation is of mlp\.up_proj:out"):
            resolve(model, "layers.0.mlp.gate_proj:out")


@pytest.mark.parametrize("name", ["paligemma", "smolvlm", "qwen2_5_vl", "qwen3_vl", "gemma3_vl"])
def test_the_text_stack_is_found_beside_a_vision_tower(name: str) -> None:
    model = build(name)
    text = [n for n, m in model.named_modules() if m is find_layers(model)]
    assert text == [FAMILIES[name].block.removesuffix(".{}.")]


@pytest.mark.parametrize("pixels", [True, False])
def test_image_tokens_are_steered_in_the_language_model(pixels: bool) -> None:
    """PaliGemma with an image: four of its tokens come from the vision tower."""
    model, v = build("paligemma"), unit(D, 7)
    tokens = prompt(1, 6)
    extra: dict[str, torch.Tensor] = {}
    if pixels:
        tokens[:, :4] = 49
        extra = {"pixel_values": torch.randn(1, 3, 28, 28, generator=torch.manual_seed(0))}
    what = Intervention("add", "layers.0.resid:in", 2.0, direction=v)
    seen: list[torch.Tensor] = []
    for rows in ([], [what]):
        with Steerer(model, n_rows=1) as steerer, torch.no_grad():
            steerer.set_row(0, rows)
            begin(steerer, np.zeros((1, 6), np.int8))
            with capture(model, [what.site]) as captured:
                model(tokens, **extra, use_cache=False)
            steerer.check_receipt(steerer.receipt(0))
        seen.append(captured.activations(what.site))
    assert torch.allclose(seen[1], seen[0] + 2.0 * v, atol=1e-5)


def test_a_block_without_ffn_is_refused() -> None:
    model = build("llama")
    kept = find_layers(model)[1].mlp
    find_layers(model)[1].mlp = nn.Identity()
    try:
        with pytest.raises(SiteError, match=r"block 1 .* has no attention part or no FFN part"):
            resolve(model, "layers.1.resid:out")
    finally:
        find_layers(model)[1].mlp = kept
