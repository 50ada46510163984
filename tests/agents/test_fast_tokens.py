"""FAST action tokens against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pilotage.agents.loaders.fast import FastCodec
from pilotage.agents.loaders.pi0fast import without

from . import tiny_lerobot as tiny


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> FastCodec:
    folder = tmp_path_factory.mktemp("fast") / "t"
    tiny.write_fast_tokenizer(folder)
    return FastCodec.read(
        folder, "a/b", horizon=4, n_numbers=2, vocabulary=tiny.VOCABULARY, skipped=tiny.SKIPPED
    )


def test_fast_tokens_are_the_coefficients_of_a_cosine_transform(codec: FastCodec) -> None:
    """Coefficients (20, -10) of the constant wave and scale 10: 2 / sqrt(4) and -1 / sqrt(4) at all
    steps. (0, 14) of the first wave adds 1.4 sqrt(2 / 4) cos(pi (2t + 1) / 8) to the second."""
    shifted = [20 + 60, -10 + 60, 0 + 60, 14 + 60, 60, 60, 60, 60]
    pairs = codec.tokenizer.encode("".join(map(chr, shifted))).ids
    assert len(pairs) < 8, "two zeros in a row are one token"
    last = tiny.VOCABULARY - 1 - tiny.SKIPPED
    chunk, wrong = codec.decode([last - k for k in pairs])
    wave = [1.4 * math.sqrt(0.5) * math.cos(math.pi * (2 * t + 1) / 8) for t in range(4)]
    np.testing.assert_allclose(chunk[:, 0], [1.0] * 4, atol=1e-9)
    np.testing.assert_allclose(chunk[:, 1], [-0.5 + w for w in wave], atol=1e-9)
    assert wrong == 0
    assert codec.ids.stop - 1 == last


def test_fast_encoding_returns_up_to_rounding(codec: FastCodec) -> None:
    """Each coefficient is off by at most 0.05, so the length of the error is at most
    0.05 sqrt(8)."""
    chunk = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    back, wrong = codec.decode(codec.encode(chunk))
    assert wrong == 0
    assert 0 < np.linalg.norm(back - chunk) <= 0.05 * math.sqrt(8)


def test_what_is_wrong_with_fast_tokens_is_counted(codec: FastCodec) -> None:
    whole = codec.encode(np.full((4, 2), 0.5))
    chunk, wrong = codec.decode([3, *whole, 5])  # two words among them
    assert wrong == 2
    np.testing.assert_allclose(chunk, np.full((4, 2), 0.5), atol=1e-9)
    short, wrong = codec.decode(whole[:2])  # the constant wave, and the rest is zero
    assert wrong == 1
    np.testing.assert_allclose(short, np.full((4, 2), 0.5), atol=1e-9)
    empty, wrong = codec.decode([])
    assert wrong == 1
    assert not empty.any()


def test_bytes_that_are_no_character_are_no_number(codec: FastCodec) -> None:
    """A lone continuation byte would be read as a coefficient of 65,533."""
    lone = codec.tokenizer.encode("\x80").ids[1]  # the second byte of two
    chunk, wrong = codec.decode([codec.ids.stop - 1 - lone])
    assert wrong == 2  # it, and the wrong length
    assert not chunk.any()


def test_the_preamble_is_left_out_wherever_it_stands() -> None:
    assert without([7, 8, 1, 7, 8, 2, 7], [7, 8]) == [1, 2, 7]
    assert without([1, 2], []) == [1, 2]
