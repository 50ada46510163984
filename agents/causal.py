"""A causal language model in a folder that transformers wrote: chats, tokens, logits, greedy text.

What asks it questions builds on this: `pilotage.agents.replies`, `pilotage.agents.vln.prompted`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pilotage.agents.vla.cache import CACHE_ARGUMENT

CHATML, END_OF_TURN = "<|im_start|>", "<|im_end|>"
FILES = ("config.json", "tokenizer.json")


class CausalModel:
    """`config.json`, `tokenizer.json` and `*.safetensors`, opened in float32: half precision is
    slower on a CPU.

    Raises ValueError when the folder is no such model.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        from tokenizers import Tokenizer

        for file in FILES:
            if not (folder / file).is_file():
                raise ValueError(f"{folder} is no language model: {file} is not there")
        self.folder, self.device = folder, device
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{folder / 'tokenizer.json'} is no tokenizer: {error}") from error
        self._template = _chat_template(folder)
        self._chats = self._tokenizer.token_to_id(CHATML) is not None
        self._model = _opened(folder).to(device)
        self._end = self._tokenizer.token_to_id(END_OF_TURN)
        if self._end is None:
            self._end = self._model.config.eos_token_id
        self.longest = getattr(self._model.config, "max_position_embeddings", math.inf)

    @property
    def n_parameters(self) -> int:
        """Of the whole model."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def chat(self, prompt: str, system: str = "") -> str:
        """The text up to where the reply begins: by the model's own template, else in ChatML where
        the tokenizer has its marks, else the parts as they are."""
        parts = [("system", system)] * bool(system) + [("user", prompt)]
        if self._template is not None:
            messages = [{"role": role, "content": text} for role, text in parts]
            text: str = self._template.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return text
        if self._chats:
            turns = "".join(f"{CHATML}{role}\n{text}{END_OF_TURN}\n" for role, text in parts)
            return f"{turns}{CHATML}assistant\n"
        return f"{system}\n\n{prompt}\n\n" if system else prompt

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Tokens of a text. `special`: with the mark of a beginning that the tokenizer adds, unless
        a template has written it already."""
        adds = special and self._template is None
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=adds).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def logits(self, ids: Sequence[int], cache: Any = None, keep: int = 0) -> torch.Tensor:
        """float32 [n, vocabulary]: what follows each of the last `keep` tokens (0: of all).

        `cache`, of transformers, holds what was read before and grows by `ids`.
        """
        more = {} if cache is None else {CACHE_ARGUMENT: cache}
        found: torch.Tensor = self._model(
            torch.tensor([list(ids)], device=self.device),
            use_cache=cache is not None,
            logits_to_keep=keep,
            **more,
        ).logits[0]
        return found.float()

    @torch.inference_mode()
    def write(self, ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """The likeliest tokens behind `ids`, up to the end of the turn (included) or to
        `max_new_tokens`."""
        tokens = torch.tensor([list(ids)], device=self.device)
        out = self._model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self._end,
            pad_token_id=0 if self._end is None else self._end,
        )
        written: list[int] = out[0, len(ids) :].tolist()
        return written


def shared_start(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, at most all but one of the shortest."""
    longest = min(map(len, rows)) - 1
    for k in range(longest):
        if len({row[k] for row in rows}) > 1:
            return k
    return max(longest, 0)


def _opened(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    showed = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no causal language model: {error}") from error
    finally:
        if showed:
            logging.enable_progress_bar()
    return model.eval()


def _chat_template(folder: Path) -> Any:
    """A tokenizer with a chat template; None where the folder has none."""
    path = folder / "tokenizer_config.json"
    has_file = (folder / "chat_template.jinja").is_file()
    if not has_file and not (path.is_file() and json.loads(path.read_text()).get("chat_template")):
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
