"""The visual vector, and that playing it keeps every length."""

from __future__ import annotations

import pytest
import torch

from pilotage.steering import Steerer, capture
from pilotage.steering.vista import KIND, visual_vector

from .conftest import make_llama
from .helpers import RESID, begin, groups, ids


def test_the_vector_is_what_the_picture_adds() -> None:
    generator = torch.Generator().manual_seed(0)
    unseen = torch.randn(40, 6, generator=generator) + 3
    picture = torch.tensor([0.0, 2.0, 0, 0, 1.5, 0])
    noise = 0.01 * torch.randn(40, 6, generator=generator)
    made = visual_vector(unseen + picture + noise, unseen, site=RESID)
    torch.testing.assert_close(made.direction, picture / 2.5, atol=0.01, rtol=0)
    assert made.norm == pytest.approx(2.5, rel=0.01)
    length = (unseen + picture).norm(dim=1).mean()
    assert made.source["turn"] == pytest.approx(2.5 / float(length), rel=0.01)
    assert made.source["kind"] == KIND
    with pytest.raises(ValueError, match="the two sides are the same"):
        visual_vector(unseen, unseen, site=RESID)


def test_playing_it_turns_towards_the_vector_and_keeps_every_length() -> None:
    model, tokens = make_llama(), ids(2, 6)
    made = visual_vector(torch.randn(9, 32), torch.randn(9, 32), site=RESID)
    v, layout = made.direction.double(), groups(2, 6)
    streams = []
    for scale in (0.0, 0.4):
        steerer = Steerer(model, n_rows=2)
        for row in range(2):
            steerer.set_row(row, [made.intervention(scale, kind=KIND)])
        with steerer, capture(model, [RESID]) as seen, torch.no_grad():
            begin(steerer, layout)
            model(tokens, use_cache=False)
            steerer.check_receipt(steerer.receipt(0))
        streams.append(seen.activations(RESID).double())
    before, after = streams
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), atol=1e-4, rtol=1e-5)
    unit = before / before.norm(dim=1, keepdim=True) + 0.4 * v
    expected = before.norm(dim=1, keepdim=True) * unit / unit.norm(dim=1, keepdim=True)
    real = torch.from_numpy(layout.reshape(-1) >= 0)
    torch.testing.assert_close(after[real], expected[real], atol=1e-4, rtol=1e-4)
    assert torch.equal(after[~real], before[~real])  # padding
    assert (((after - before) @ v)[real] > 0).all()
