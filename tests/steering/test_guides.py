"""Guided edits: against the formula, closed gates, what a gate reads and when; training, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.steering import Intervention, Steerer, SteeringVector, capture, random_matched
from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.gates import Gate
from pilotage.steering.guides import Guide, GuideFit, fit_guide

from .conftest import D
from .helpers import RESID, begin, gate, groups, ids, only, steered_logits, unit

READS = "layers.1.resid:in"


def _constant(value: float) -> Gate:
    """A gate of `value` for every state: sigmoid(s) = value, and a layer's weight of 1."""
    outer = torch.zeros(2, 2)
    outer[0, -1] = torch.logit(torch.tensor(value, dtype=torch.float64)).float()
    outer[1, -1] = 40.0
    return Gate(READS, torch.zeros(1, D + 1), outer)


def _guided(found: Gate, coefficient: float = 6.0, **more: object) -> Intervention:
    return Intervention("guided", RESID, coefficient, direction=unit(D, 1), gate=found, **more)


def test_an_open_gate_is_an_addition_and_half_open_is_half_of_it(llama) -> None:
    tokens = ids(2, 6)
    added = Intervention("add", RESID, 3.0, direction=unit(D, 1))
    expected = steered_logits(llama, tokens, {0: [added]})
    half = steered_logits(llama, tokens, {0: [_guided(_constant(0.5), 6.0)]})
    whole = steered_logits(llama, tokens, {0: [_guided(_constant(1 - 1e-7), 3.0)]})
    torch.testing.assert_close(half, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(whole, expected, atol=2e-5, rtol=1e-5)


def test_what_it_adds_is_the_two_sigmoids_of_the_last_state_before(llama) -> None:
    tokens, found = ids(3, 6), gate()
    with torch.no_grad(), capture(llama, ["layers.0.resid:out"], reduce="last") as seen:
        llama(tokens)
    h = seen.activations("layers.0.resid:out").double().numpy()
    inner, outer = found.inner.double().numpy(), found.outer.double().numpy()
    hidden = np.maximum(h @ inner[:, :-1].T + inner[:, -1], 0)
    s, omega = (hidden @ outer[:, :-1].T + outer[:, -1]).T
    expected = 6.0 / ((1 + np.exp(-s)) * (1 + np.exp(-omega)))
    with Steerer(llama, n_rows=3) as steerer, torch.no_grad():
        for row in range(3):
            steerer.set_row(row, [_guided(found)])
        begin(steerer, np.zeros((3, 6), np.int8))
        llama(tokens)
        norms = [
            steerer.receipt(row)["interventions"][0]["mean_delivered_norm"] for row in range(3)
        ]
    np.testing.assert_allclose(norms, expected, rtol=1e-4)
    assert max(expected) / min(expected) > 1.2, "the rows get different amounts"


def test_a_shut_gate_delivers_nothing_and_its_receipt_is_no_mismatch(llama) -> None:
    tokens = ids(2, 6)
    plain = steered_logits(llama, tokens, {})
    shut = steered_logits(llama, tokens, {0: [_guided(_constant(1e-30))]})
    torch.testing.assert_close(shut, plain, atol=0, rtol=0)


def test_coefficient_zero_is_bit_identical(llama) -> None:
    tokens = ids(2, 6)
    plain = steered_logits(llama, tokens, {})
    off = steered_logits(llama, tokens, {0: [_guided(gate(), 0.0)], 1: [_guided(gate())]})
    assert torch.equal(off[0], plain[0])
    assert not torch.equal(off[1], plain[1])


def test_rows_under_different_gates_are_as_alone(llama) -> None:
    tokens = ids(4, 6)
    rows = {
        0: [_guided(gate(seed=1))],
        1: [],
        2: [_guided(gate(seed=2)), Intervention("add", RESID, 2.0, direction=unit(D, 7))],
        3: [random_matched(_guided(gate(seed=3)), llama, 5)],
    }
    together = steered_logits(llama, tokens, rows)
    for row, edits in rows.items():
        alone = steered_logits(llama, tokens, {row: edits})
        assert torch.equal(together[row], alone[row])


def test_a_gate_sees_the_edits_before_it(llama) -> None:
    tokens = ids(2, 6)
    push = Intervention("add", "layers.0.resid:out", 5.0, direction=unit(D, 3))

    def delivered(edits: list[Intervention]) -> float:
        with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
            steerer.set_row(0, edits)
            begin(steerer, np.zeros((2, 6), np.int8))
            llama(tokens)
            return steerer.receipt(0)["interventions"][-1]["mean_delivered_norm"]

    guided = _guided(gate())
    assert delivered([push, guided]) == pytest.approx(delivered([guided, push][::-1]))
    assert delivered([push, guided]) != pytest.approx(delivered([guided]), rel=1e-3)


def test_decoded_tokens_get_what_the_prefill_decided(llama) -> None:
    found = gate()
    edit = _guided(found, selector=only("action"))
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [edit])
        first = np.zeros((2, 5), np.int8)
        begin(steerer, first)  # nothing to edit here, and yet the state is read
        with capture(llama, ["layers.0.resid:out"], reduce="last") as seen:
            llama(ids(2, 5))
        expected = 6.0 * float(found.value(seen.activations("layers.0.resid:out"))[0])
        begin(steerer, first, live=np.zeros(2, bool))  # and not that of rows that are not live
        llama(ids(2, 5, seed=3))
        for k in range(2):
            begin(steerer, groups(2, 8)[:, -2:-1], phase="decode", decode_token=k)
            llama(ids(2, 1, seed=9 + k))
        receipt = steerer.receipt(0)["interventions"][0]
    assert receipt["edited_tokens"] == {"prefill": 0, "decode": 2}
    assert receipt["mean_delivered_norm"] == pytest.approx(expected, rel=1e-5)


def test_a_random_control_delivers_as_much(llama) -> None:
    tokens, guided = ids(2, 6), _guided(gate())
    control = random_matched(guided, llama, 4, orthogonal=True)
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [guided])
        steerer.set_row(1, [control])
        begin(steerer, np.zeros((2, 6), np.int8))
        llama(tokens[:1].expand(2, -1))
        one, two = (steerer.receipt(r)["interventions"][0]["mean_delivered_norm"] for r in range(2))
    assert one == pytest.approx(two, rel=1e-4)


def test_a_gate_that_reads_later_than_the_edit_is_refused() -> None:
    late = gate(reads="layers.2.resid:in")
    with pytest.raises(ValueError, match=r"reads layers.2.resid:in, which comes later"):
        _guided(late)
    with pytest.raises(ValueError, match=r"give layers.0.resid:in, or layers.1.resid:in"):
        gate(reads="layers.0.resid:out")
    with pytest.raises(ValueError, match="a guided edit, which needs one"):
        Intervention("guided", RESID, 1.0, direction=unit(D, 1))
    with pytest.raises(ValueError, match="a gate is for a guided edit"):
        Intervention("add", RESID, 1.0, direction=unit(D, 1), gate=gate())


def test_what_the_gate_is_decides_the_digest_and_a_control_has_its_targets() -> None:
    one, two = _guided(gate(seed=1)), _guided(gate(seed=2))
    assert one.digest != two.digest
    assert one.digest == _guided(gate(seed=1)).digest
    with pytest.raises(ValueError, match="a matched control has the gate of its target"):
        _guided(gate(seed=2), matched_to=one)
    assert _guided(gate(seed=1), matched_to=one).gate == one.gate


def test_a_gate_of_another_width_is_refused_before_anything_runs(llama) -> None:
    refused = pytest.raises(ValueError, match=r"reads 8 numbers, layers\.1\.resid:in has 32")
    with Steerer(llama, n_rows=1) as steerer, refused:
        steerer.set_row(0, [_guided(gate(8))])


def _vectors(model: str = "m") -> list[SteeringVector]:
    return [SteeringVector(f"layers.{k}.resid:out", unit(D, k), 2.0 + k, model) for k in (1, 2)]


def _labelled(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    states = np.random.default_rng(0).normal(size=(n, D)) * 3 + 10
    return states, (states[:, 0] - 10) * (states[:, 1] - 10) > 0  # no line separates these


def test_training_finds_what_no_line_separates_and_puts_the_weights_at_their_shares() -> None:
    states, wanted = _labelled()
    fit = GuideFit(n_updates=800)
    guide = fit_guide(_vectors(), states, wanted, reads=READS, shares=(0.9, 0.3), fit=fit)
    found = guide.gates(torch.from_numpy(states)).numpy()
    assert ((found > 0.5) == wanted).mean() > 0.9
    assert ((found >= 0) & (found <= 1)).all()
    for site, share in zip(guide.sites, (0.9, 0.3), strict=True):
        weights = guide.gate(site).value(torch.from_numpy(states)).numpy()[wanted] / found[wanted]
        assert weights.mean() == pytest.approx(share, abs=0.1)
    again = fit_guide(_vectors(), states, wanted, reads=READS, shares=(0.9, 0.3), fit=fit)
    assert again.digest == guide.digest


def test_states_of_one_kind_and_vectors_of_two_models_are_refused() -> None:
    states, wanted = _labelled(20)
    with pytest.raises(ValueError, match="20 of 20 labels say yes"):
        fit_guide(_vectors(), states, np.ones(20, bool), reads=READS)
    mixed = [*_vectors("m")[:1], *_vectors("n")[1:]]
    with pytest.raises(ValueError, match=r"vectors of one model, got \['m', 'n'\]"):
        fit_guide(mixed, states, wanted, reads=READS)


def test_a_guide_survives_the_disk_and_gives_edits_that_specs_can_name(tmp_path: Path) -> None:
    states, wanted = _labelled(60)
    made = fit_guide(_vectors(), states, wanted, reads=READS, fit=GuideFit(n_updates=5))
    path = tmp_path / "guide.safetensors"
    made.save(path)
    found = Guide.load(path, model_digest="m")
    assert found.digest == made.digest
    edits = found.interventions(1.5)
    assert [e.coefficient for e in edits] == [1.5 * 3.0, 1.5 * 4.0]
    spec = edits[1].to_spec()
    assert Intervention.from_spec(spec).digest == edits[1].digest
    by_hand = {"kind": "guided", "site": edits[1].site, "scale": 1.5, "guide": spec["guide"]}
    assert Intervention.from_spec(by_hand).digest == edits[1].digest
    with pytest.raises(ArtefactError, match="made with the model m, this one is other"):
        Guide.load(path, model_digest="other")
    with pytest.raises(ArtefactError, match="the spec asks for 00"):
        Intervention.from_spec({**spec, "guide": {**spec["guide"], "digest": "00"}})
    with pytest.raises(KeyError, match=r"no site layers\.0\.resid:out; there are: layers\.1"):
        found.gate("layers.0.resid:out")
