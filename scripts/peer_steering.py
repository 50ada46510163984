"""One library's side of `bench_peers`: a process that steers, and times it, when it is told to.

    python -P scripts/peer_steering.py LIBRARY FOLDER LAYER

FOLDER holds a causal Llama (`save_pretrained`) and the inputs (`inputs.npz`). Requests and answers
are lines of JSON, see `serve`. Nothing of Pilotage is imported but in the class `Pilotage`, so any
interpreter with torch, transformers and the library can run this file.

All libraries do the same: after block LAYER a vector is added to the residual stream at every
token, one vector per row of the batch, and logits are computed for every token.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

# token ids [R, S], cache or None, number of the decode step or None -> logits [R, S, vocabulary]
Forward = Callable[[torch.Tensor, Any, "int | None"], torch.Tensor]
Session = contextlib.AbstractContextManager[Forward]
WORKS = ("prefill", "decode", "coefficients")
DECODES = 8  # cached steps that are timed together


class CannotError(Exception):
    """The library has no public way of doing this; the text says what is missing."""


class Library:
    """One library around one transformers Llama.

    `plain` is the yardstick, the bare model; `own` the library's forward when nothing is edited;
    `edited` the one with an edit. What a library can set up once for many forwards belongs before
    the `yield`, which is not timed.
    """

    package = "transformers"
    has_own = False  # whether `own` is anything but `plain`
    note = ""

    def __init__(self, model: Any, layer: int) -> None:
        self.model, self.layer = model, layer
        arguments = inspect.signature(type(model).forward).parameters
        self.cache_argument = "cache" if "cache" in arguments else "past_key_values"

    @contextlib.contextmanager
    def plain(self) -> Iterator[Forward]:
        """Forwards of the bare model."""
        yield self.call

    @contextlib.contextmanager
    def own(self, rows: int) -> Iterator[Forward]:
        """Forwards of so many rows through the library, without an edit."""
        yield self.call

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        """Forwards that add `coefficients` [R] times `direction` [width]."""
        raise CannotError("it steers nothing")
        yield self.call

    def cache_of(self, ids: torch.Tensor) -> Any:
        """The keys and values of these tokens, made by an unsteered forward."""
        return self.model(ids, use_cache=True).past_key_values

    def call(self, ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
        """The bare model's forward, with whatever hooks are on it."""
        logits: torch.Tensor = self.model(ids, **self.options(cache)).logits
        return logits

    def options(self, cache: Any) -> dict[str, Any]:
        """Keywords of a transformers forward."""
        return {"use_cache": False} if cache is None else {self.cache_argument: cache}


class Hook(Library):
    """One forward hook, written by hand: what people use without a library."""

    package = "torch"

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        change = coefficients[:, None, None] * direction

        def add(module: Any, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):  # blocks of older transformers
                return (output[0] + change, *output[1:])
            return output + change

        handle = self.model.model.layers[self.layer].register_forward_hook(add)
        try:
            yield self.call
        finally:
            handle.remove()


class Pilotage(Library):
    """This project's Steerer, used as an agent does: an env step per prefill or per decodes."""

    package = "pilotage"
    has_own = True
    note = "with counts and doses per row"

    @contextlib.contextmanager
    def own(self, rows: int) -> Iterator[Forward]:
        with self._steered([[]] * rows) as forward:
            yield forward

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        from pilotage.steering import Intervention

        site = f"layers.{self.layer}.resid:out"
        edits = [Intervention("add", site, float(c), direction=direction) for c in coefficients]
        with self._steered([[edit] for edit in edits]) as forward:
            yield forward

    @contextlib.contextmanager
    def _steered(self, per_row: Sequence[Sequence[Any]]) -> Iterator[Forward]:
        from pilotage.steering import Steerer

        n, env_step = len(per_row), 0
        live = np.ones(n, bool)
        steerer = Steerer(self.model, n_rows=n)
        for row, interventions in enumerate(per_row):
            steerer.set_row(row, interventions)

        def forward(ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
            nonlocal env_step
            if not token:  # a prefill, or the first decode
                env_step += 1
                steerer.last_dose()
            phase = "prefill" if token is None else "decode"
            groups, steps = np.zeros(ids.shape, np.int8), np.full(n, env_step)
            steerer.begin(slice(0, n), groups, phase, token or 0, steps, live)
            return self.call(ids, cache, token)

        with steerer:
            yield forward


class NnsightTrace(Library):
    """nnsight as its guide shows it: the edit is written in the trace of each forward."""

    package = "nnsight"
    has_own = True

    def __init__(self, model: Any, layer: int) -> None:
        from nnsight import NNsight

        super().__init__(model, layer)
        self.lens = NNsight(model)

    @contextlib.contextmanager
    def own(self, rows: int) -> Iterator[Forward]:
        lens = self.lens

        def forward(ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
            with lens.trace(ids, **self.options(cache)):
                logits = lens.output.logits.save()
            return logits  # type: ignore[no-any-return]

        yield forward

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        lens, change = self.lens, coefficients[:, None, None] * direction
        block = lens.model.layers[self.layer]

        def forward(ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
            with lens.trace(ids, **self.options(cache)):
                block.output = block.output + change
                logits = lens.output.logits.save()
            return logits  # type: ignore[no-any-return]

        yield forward


class NnsightEdit(NnsightTrace):
    """nnsight with an edit that is stored once and then acts in every forward."""

    @contextlib.contextmanager
    def own(self, rows: int) -> Iterator[Forward]:
        yield self._forward_of(self.lens)

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        layer, change = self.layer, coefficients[:, None, None] * direction
        with self.lens.edit() as (_tracer, lens):
            lens.model.layers[layer].output = lens.model.layers[layer].output + change
        yield self._forward_of(lens)

    def _forward_of(self, lens: Any) -> Forward:
        def forward(ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
            out: torch.Tensor = lens.trace(ids, trace=False, **self.options(cache)).logits
            return out

        return forward


class TransformerLens(Library):
    """A bridge around a copy of the model, whose submodules it replaces."""

    package = "transformer-lens"
    has_own = True

    def __init__(self, model: Any, layer: int) -> None:
        from transformer_lens.model_bridge.sources import build_bridge_from_module

        super().__init__(model, layer)
        self.bridge = build_bridge_from_module(
            copy.deepcopy(model), "LlamaForCausalLM", hf_config=copy.deepcopy(model.config)
        )

    @contextlib.contextmanager
    def own(self, rows: int) -> Iterator[Forward]:
        yield self._forward

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        change = coefficients[:, None, None] * direction

        def add(residual: torch.Tensor, hook: Any) -> torch.Tensor:
            return residual + change

        with self.bridge.hooks(fwd_hooks=[(f"blocks.{self.layer}.hook_resid_post", add)]):
            yield self._forward

    def _forward(self, ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
        options = {} if cache is None else {"past_key_values": cache}
        logits: torch.Tensor = self.bridge(ids, **options)
        return logits


class Pyvene(Library):
    """An IntervenableModel, made once for an edit; the rows differ by a function of one's own."""

    package = "pyvene"

    def __init__(self, model: Any, layer: int) -> None:
        import pyvene

        super().__init__(model, layer)
        self.pyvene = pyvene

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        place = {"layer": self.layer, "component": "block_output"}
        if bool((coefficients == coefficients[0]).all()):
            what = {
                "intervention_type": self.pyvene.AdditionIntervention,
                "source_representation": coefficients[0] * direction,
            }
        else:
            change = coefficients[:, None, None] * direction
            what = {"intervention": lambda base, source: base + change}
        steered = self.pyvene.IntervenableModel(place | what, model=self.model)

        def forward(ids: torch.Tensor, cache: Any, token: int | None) -> torch.Tensor:
            _, out = steered(base={"input_ids": ids, **self.options(cache)})
            return out.logits  # type: ignore[no-any-return]

        yield forward


class SteeringVectors(Library):
    """A SteeringVector with its multiplier; the rows differ by an operator of one's own."""

    package = "steering-vectors"

    def __init__(self, model: Any, layer: int) -> None:
        import steering_vectors

        super().__init__(model, layer)
        self.make = steering_vectors.SteeringVector

    @contextlib.contextmanager
    def edited(self, direction: torch.Tensor, coefficients: torch.Tensor) -> Iterator[Forward]:
        vector = self.make({self.layer: direction}, "decoder_block")
        how: dict[str, Any] = {"multiplier": float(coefficients[0])}
        if not bool((coefficients == coefficients[0]).all()):
            how = {"operator": lambda _, vector: coefficients[:, None, None] * vector}
        with vector.apply(self.model, **how):
            yield self.call


LIBRARIES: dict[str, type[Library]] = {
    "pilotage": Pilotage,
    "hook": Hook,
    "nnsight": NnsightTrace,
    "nnsight-edit": NnsightEdit,
    "transformer-lens": TransformerLens,
    "pyvene": Pyvene,
    "steering-vectors": SteeringVectors,
}


class Bench:
    """A library and the work that it is timed at."""

    def __init__(self, library: Library, inputs: Any) -> None:
        self.library = library
        self.ids = torch.from_numpy(inputs["ids"])  # int64 [rows, tokens]
        self.direction = torch.from_numpy(inputs["direction"])  # unit float32 [width]
        self.coefficients = {name: torch.from_numpy(inputs[name]) for name in WORKS}
        self._caches: dict[tuple[int, int], Any] = {}

    def seconds(self, work: str, how: str) -> float:
        """Processor time of one pass of `work`; setting up and removing are not in it."""
        total = 0.0
        for first, stop in self._spans(work, how):
            self._prepare(work, first, stop)
            with self._session(work, how, first, stop) as forward:
                start = time.process_time()
                self._run(forward, work, first, stop)
                total += time.process_time() - start
        return total

    def logits(self, work: str, how: str) -> np.ndarray:
        """Logits after the last token of each row, float32 [rows, vocabulary]."""
        found = []
        for first, stop in self._spans(work, how):
            self._prepare(work, first, stop)
            with self._session(work, how, first, stop) as forward:
                found.append(self._run(forward, work, first, stop)[:, -1])
        return torch.cat(found).float().numpy()

    def _spans(self, work: str, how: str) -> list[tuple[int, int]]:
        """First and stop of the rows of each forward: `runs` are of one row each."""
        n = len(self.coefficients[work])
        return [(i, i + 1) for i in range(n)] if how == "runs" else [(0, n)]

    def _session(self, work: str, how: str, first: int, stop: int) -> Session:
        if how == "plain":
            return self.library.plain()
        if how == "own":
            return self.library.own(stop - first)
        return self.library.edited(self.direction, self.coefficients[work][first:stop])

    def _run(self, forward: Forward, work: str, first: int, stop: int) -> torch.Tensor:
        """One prefill, or DECODES steps of one token on an unsteered prefill's cache."""
        ids = self.ids[first:stop]
        if work == "prefill":
            return forward(ids, None, None)
        cache = self._caches[first, stop]
        for token in range(DECODES):
            logits = forward(ids[:, token : token + 1], cache, token)
        return logits

    def _prepare(self, work: str, first: int, stop: int) -> None:
        """Make the cache of these rows, or crop what a run before has added to it.

        Not within a session: the hooks of an edit would act on the prefill, too.
        """
        if work == "prefill":
            return
        if (first, stop) not in self._caches:
            self._caches[first, stop] = self.library.cache_of(self.ids[first:stop])
        cache = self._caches[first, stop]
        if (added := cache.get_seq_length() - self.ids.shape[1]) > 0:
            cache.crop(-added)


def serve(library: Library, folder: str) -> None:
    """Answer requests until the input ends.

    `{"work", "how"}` is answered with `{"seconds"}`; with `"logits": PATH` the logits are written
    there (.npy) instead. What the library cannot do is answered with `{"cannot": why}`.
    """
    bench = Bench(library, np.load(os.path.join(folder, "inputs.npz"), allow_pickle=False))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "logits" in request:
                np.save(request["logits"], bench.logits(request["work"], request["how"]))
                answer(done=True)
            else:
                answer(seconds=bench.seconds(request["work"], request["how"]))
        except CannotError as error:
            answer(cannot=str(error))
        except Exception as error:
            # Whatever a library raises at such an edit is a row of the table, with its words.
            answer(cannot=f"{type(error).__name__}: {error}"[:200])


def answer(**fields: Any) -> None:
    """One line of JSON to whoever asked, on the output that the libraries do not print to."""
    print(json.dumps(fields), file=_OUT, flush=True)


def versions(package: str) -> str:
    """The library's version, and those of torch and transformers that it runs on."""
    found = {
        name: metadata.version(name) for name in dict.fromkeys((package, "torch", "transformers"))
    }
    return ", ".join(f"{name} {version}" for name, version in found.items())


def main(name: str, folder: str, layer: str) -> None:
    """Load the library and the model, say so, and serve."""
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    try:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        library = LIBRARIES[name](model, int(layer))
    except ImportError as error:
        answer(missing=str(error))
        return
    except Exception as error:
        answer(missing=f"{type(error).__name__}: {error}"[:300])
        return
    answer(versions=versions(library.package), note=library.note, has_own=library.has_own)
    with torch.no_grad():
        serve(library, folder)


if __name__ == "__main__":
    _OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(*sys.argv[1:])
