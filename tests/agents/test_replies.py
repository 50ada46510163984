"""Replies of a tiny random language model, against transformers' own loss and a loop by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from pilotage.agents.replies import LanguageReplies

from .tiny_language import write_language


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"))


@pytest.mark.parametrize("options", [("go left", "go right"), ("right", "quickly go to the cube")])
def test_the_likelihood_of_an_option_is_transformers_loss(
    folder: Path, options: tuple[str, str]
) -> None:
    """Both where the options part at their last token and where they differ in length."""
    model = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = "go to the red cube "
    wanted = []
    for option in options:
        ids, tail = tokenizer.encode(prompt).ids, tokenizer.encode(option).ids
        labels = [-100] * len(ids) + tail
        with torch.no_grad():
            loss = model(torch.tensor([ids + tail]), labels=torch.tensor([labels])).loss
        wanted.append(-float(loss) * len(tail))
    speaker = LanguageReplies(str(folder))
    assert speaker.log_likelihoods(prompt, options) == pytest.approx(wanted, abs=1e-3)
    best = options[wanted.index(max(wanted))]
    assert speaker.chosen([prompt, prompt], options) == [best, best]


def test_a_free_reply_is_the_likeliest_token_again_and_again(folder: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode("go left").ids
    start = len(ids)
    for _ in range(6):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert model.config.eos_token_id not in ids
    speaker = LanguageReplies(str(folder))
    (reply,) = speaker.free(["go left"], max_new_tokens=6)
    assert reply == tokenizer.decode(ids[start:]).strip()
    assert speaker.n_tokens == len(ids)


def test_what_cannot_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    speaker = LanguageReplies(str(folder))
    with pytest.raises(ValueError, match=r"two or more different options, got \['a', 'a'\]"):
        speaker.chosen(["go"], ["a", "a"])
    with pytest.raises(ValueError, match="max_new_tokens must be >= 1, got 0"):
        speaker.free(["go"], max_new_tokens=0)
    with pytest.raises(ValueError, match="is no language model here"):
        LanguageReplies(str(tmp_path))
    long = "go left " * 3000
    with pytest.raises(ValueError, match=r"more than the 2048 that .* reads"):
        speaker.free([long])
