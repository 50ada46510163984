"""Logits of middle layers in the last one's: against the model's own hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from pilotage.steering import Intervention, ReceiptMismatch, Steerer
from pilotage.steering.logit_mix import LogitMix, LogitMixer, late_window

from .conftest import make_llama
from .helpers import begin, ids, unit

ALL = slice(0, 4)
LIVE = np.ones(4, bool)
MIXES = [None, LogitMix((0,), 0.3), LogitMix((0, 1), 0.8), LogitMix((1,), 0.0)]


def by_hand(model: torch.nn.Module, tokens: torch.Tensor, mix: LogitMix) -> torch.Tensor:
    """(1 - g) z_L + g mean z_l of the last position, from the hidden states that it returns."""
    with torch.no_grad():
        out = model(tokens, output_hidden_states=True, use_cache=False)
        lens = [model.lm_head(model.model.norm(out.hidden_states[n + 1])) for n in mix.layers]
    return (1 - mix.share) * out.logits[:, -1] + mix.share * torch.stack(lens).mean(0)[:, -1]


def mixed(mixes: list[LogitMix | None], tokens: torch.Tensor, **where: object) -> torch.Tensor:
    model = make_llama(num_hidden_layers=4)
    known = [m for m in MIXES if m is not None]
    with LogitMixer(model, known, n_rows=4) as mixer, torch.no_grad():
        for row, mix in enumerate(mixes):
            mixer.set_row(row, mix)
        logits = model(tokens, use_cache=False).logits[:, -1]
        out = mixer.mix(logits, ALL, LIVE, **where)  # type: ignore[arg-type]
        for row in range(4):
            mixer.receipt(row, 1)
    return out


def n_hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_every_row_has_the_logits_of_its_own_mix() -> None:
    model, tokens = make_llama(num_hidden_layers=4), ids(4, 7)
    out = mixed(MIXES, tokens)
    with torch.no_grad():
        plain = model(tokens, use_cache=False).logits[:, -1]
    for row, mix in enumerate(MIXES):
        if mix is None or mix.share == 0:
            assert torch.equal(out[row], plain[row])
        else:
            expected = by_hand(model, tokens, mix)[row]
            torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-5)
            assert not torch.allclose(out[row], plain[row], atol=1e-2)


def test_a_row_is_the_same_bits_whatever_its_neighbours_are_under() -> None:
    tokens, mix = ids(4, 7), LogitMix((0, 1), 0.8)
    out = mixed(MIXES, tokens)
    assert torch.equal(out[2], mixed([None, None, mix, None], tokens)[2])
    assert torch.equal(out[2], mixed([mix] * 4, tokens)[2])


def test_rows_that_are_not_live_are_neither_mixed_nor_counted() -> None:
    model, tokens = make_llama(), ids(4, 7)
    mix = LogitMix((1,), 0.5)
    with LogitMixer(model, [mix], n_rows=8) as mixer, torch.no_grad():
        for row in range(8):
            mixer.set_row(row, mix)
        logits = model(tokens, use_cache=False).logits[:, -1]
        out = mixer.mix(logits, slice(4, 8), np.array([True, False, True, True]))
        with pytest.raises(RuntimeError, match="did not pass"):  # one forward, one mix
            mixer.mix(logits, slice(4, 8), LIVE)
        assert torch.equal(out[1], logits[1])
        assert not torch.equal(out[0], logits[0])
        assert mixer.receipt(5, 0)["mixed_tokens"] == 0
        receipt = mixer.receipt(4, 1)
        with pytest.raises(ReceiptMismatch, match="2 tokens planned, 1 mixed"):
            mixer.receipt(6, 2)
        mixer.set_row(4, mix)
        assert mixer.receipt(4, 0)["mean_kl"] == 0.0
    p, q = (special.softmax(x[0].double().numpy()) for x in (logits, out))
    assert receipt["mean_kl"] == pytest.approx(stats.entropy(p, q), rel=1e-4)


def test_several_positions_and_a_part_of_the_vocabulary() -> None:
    model, tokens = make_llama(), ids(2, 7)
    mix = LogitMix((1,), 0.5)
    with LogitMixer(model, [mix], n_rows=2, vocabulary=slice(10, 30)) as mixer, torch.no_grad():
        mixer.set_row(0, mix)
        mixer.set_row(1, mix)
        logits = model(tokens, use_cache=False).logits[:, 3:6, 10:30]
        out = mixer.mix(logits, slice(0, 2), np.ones(2, bool), slice(3, 6))
        assert mixer.receipt(1, 3)["mixed_tokens"] == 3
    for k, end in enumerate((4, 5, 6)):  # causal: what is behind a position changes nothing
        expected = by_hand(model, tokens[:, :end], mix)[:, 10:30]
        torch.testing.assert_close(out[:, k], expected, atol=1e-5, rtol=1e-5)


def test_inside_a_steerer_the_steered_stream_is_mixed_and_nothing_stays_attached() -> None:
    model, tokens = make_llama(), ids(1, 7)
    mix = LogitMix((1,), 0.5)
    edit = Intervention("add", "layers.1.resid:out", 5.0, direction=unit(32, 1))
    with torch.no_grad():
        model(tokens, output_hidden_states=True)  # transformers has hooks of its own from now on
    before = n_hooks(model)
    with Steerer(model, n_rows=1) as steerer, torch.no_grad():
        steerer.set_row(0, [edit])
        with LogitMixer(model, [mix], n_rows=1) as mixer:
            mixer.set_row(0, mix)
            begin(steerer, np.zeros((1, 7), np.int8))
            out = model(tokens, output_hidden_states=True, use_cache=False)
            z = mixer.mix(out.logits[:, -1], slice(0, 1), np.ones(1, bool))
        lens = model.lm_head(model.model.norm(out.hidden_states[2]))[:, -1]
    torch.testing.assert_close(z, 0.5 * out.logits[:, -1] + 0.5 * lens, atol=1e-5, rtol=1e-5)
    assert n_hooks(model) == before


def test_what_cannot_be_mixed_is_refused() -> None:
    model = make_llama()
    for bad, why in (
        ({"layers": [1, 1]}, "distinct"),
        ({"layers": [0], "share": 1.5}, "between 0 and 1"),
        ({"layers": [0], "gamma": 0.3}, r"unknown fields \['gamma'\]"),
        ({"share": 0.3}, "no layers"),
    ):
        with pytest.raises(ValueError, match=why):
            LogitMix.from_spec(bad)
    assert LogitMix.from_spec(MIXES[2].to_spec()) == MIXES[2]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="not all before the last of 3 blocks"):
        LogitMixer(model, [LogitMix((2,))], n_rows=1)
    mixer = LogitMixer(model, [LogitMix((1,))], n_rows=1)
    with pytest.raises(ValueError, match=r"layers \(0,\) are not among \[1\]"):
        mixer.set_row(0, LogitMix((0,)))
    mixer.set_row(0, LogitMix((1,)))
    with pytest.raises(RuntimeError, match=r"did not pass the layers \[1\]"):
        mixer.mix(torch.zeros(1, 50), slice(0, 1), np.ones(1, bool))
    assert [late_window(n) for n in (2, 4, 8)] == [(0,), (2,), (5, 6)]
    assert late_window(32) == tuple(range(23, 31))
    with pytest.raises(ValueError, match="none before the last"):
        late_window(1)
