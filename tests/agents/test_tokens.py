"""Words and actions as token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.tokenizer import WordTokenizer

WORDS = ["red", "cube", "slowly"]


def test_action_bins_are_the_last_ids() -> None:
    tokenizer = WordTokenizer(WORDS, n_bins=256)
    assert tokenizer.vocab_size == 5 + 3 + 256
    assert tokenizer.text_of(tokenizer.vocab_size - 1) == "<bin 255>"
    assert tokenizer.text_of(tokenizer.first_bin_id) == "<bin 0>"
    assert tokenizer.text_of(tokenizer.first_bin_id - 1) == "slowly"


def test_text_survives_the_round_trip() -> None:
    tokenizer = WordTokenizer(WORDS)
    ids = tokenizer.padded("Red cube, slowly!", 8, start_id=tokenizer.bos_id)
    assert ids.tolist()[0] == tokenizer.bos_id
    assert (ids == tokenizer.pad_id).sum() == 3
    assert tokenizer.decode(ids.tolist()) == "red cube slowly"


def test_an_unknown_word_names_its_neighbours() -> None:
    with pytest.raises(KeyError, match=r"'slowy' is not among.*slowly"):
        WordTokenizer(WORDS).encode("red slowy")


def test_empty_and_too_long_texts_are_refused() -> None:
    tokenizer = WordTokenizer(WORDS)
    with pytest.raises(ValueError, match="no words"):
        tokenizer.encode("  !")
    with pytest.raises(ValueError, match="reads at most 2"):
        tokenizer.padded("red red red", 4, start_id=tokenizer.bos_id)


@given(st.lists(st.floats(-1, 1, width=32), min_size=7, max_size=7))
def test_a_decoded_action_is_within_half_a_bin(values: list[float]) -> None:
    codec = ActionCodec(n_tokens=7)
    back = codec.decode(codec.encode(np.array(values, np.float32)))
    assert np.abs(back - np.array(values)).max() <= 1.0 / 255 + 1e-6


def test_full_open_and_full_closed_are_exact() -> None:
    codec = ActionCodec(n_tokens=2)
    assert codec.decode(codec.encode(np.array([-1.0, 1.0]))).tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("value", [np.nan, 1.5, -np.inf])
def test_actions_outside_the_space_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"finite and in \[-1, 1\]"):
        ActionCodec(n_tokens=1).encode(np.array([value]))


def test_discrete_actions_are_their_own_bins() -> None:
    codec = ActionCodec(n_tokens=1, n_discrete=4)
    actions = np.array([0, 3, 1])
    assert codec.decode(codec.encode(actions)).tolist() == [0, 3, 1]
    with pytest.raises(ValueError, match=r"\[0, 4\)"):
        codec.encode(np.array([4]))
