"""Where am I in which schema, and what is bound to its slots: all hypotheses, kept side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.planners.schemas.schema import UNKNOWN, Schema

UNBOUND = -1


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A schema, the slots where the walk began and where it is now, and the symbols bound, int64
    `[slots]`, UNBOUND where nothing is yet."""

    schema: Schema
    start: int
    here: int
    bound: np.ndarray


class Binding:
    """The posterior over (schema, starting slot) of a walk, exactly.

    Schemas without chance and their start decide the whole path, so that for each hypothesis the
    best binding of slots to symbols is read off the walk: what was seen at a slot when it was first
    entered. A hypothesis that sees something else there later, or takes an action that its schema
    does not know, is given up. Evidence: every new slot costs the probability of its symbol, so
    that who explains the walk with fewer places wins. Guntupalli et al. 2023 (arXiv:2302.07350)
    seek the same by EM over emissions under fixed transitions, which starts from a guess.

    Args:
        schemas: of one number of actions; equally probable at first, and so are a schema's slots.
        n_symbols: what there is to see.
        distinct: no two slots show the same symbol.

    When no hypothesis is left, all begin anew with the symbol seen last, and `n_restarts` counts.
    """

    def __init__(self, schemas: Sequence[Schema], n_symbols: int, *, distinct: bool) -> None:
        if not schemas or len({schema.n_actions for schema in schemas}) != 1:
            found = [schema.n_actions for schema in schemas]
            raise ValueError(f"need schemas of one number of actions, got {found}")
        self.schemas, self.n_symbols, self.distinct = list(schemas), n_symbols, distinct
        starts = [(k, slot) for k, schema in enumerate(schemas) for slot in range(schema.n_slots)]
        self._schema = np.array([k for k, _ in starts])
        self._start = np.array([slot for _, slot in starts])
        widest = max(schema.n_slots for schema in schemas)
        self._leads = np.full((len(schemas), widest, schemas[0].n_actions), UNKNOWN)
        for k, schema in enumerate(schemas):
            self._leads[k, : schema.n_slots] = schema.leads
        sizes = np.array([schema.n_slots for schema in schemas])
        self._prior = -np.log(len(schemas) * sizes[self._schema])
        self._bound = np.empty((len(starts), widest), np.int64)
        self.n_restarts = -1
        self._row = np.arange(len(starts))
        self._restart()

    def _restart(self) -> None:
        self._here = self._start.copy()
        self._bound[:] = UNBOUND
        self.log_evidence = self._prior.copy()
        self.n_restarts += 1

    def see(self, symbol: int, action: int | None = None) -> None:
        """Takes in the symbol after an action; without one, the first of the walk."""
        if not 0 <= symbol < self.n_symbols:
            raise ValueError(f"symbol {symbol} is outside 0 to {self.n_symbols - 1}")
        if action is not None:
            self._here = self._leads[self._schema, self._here, action]
        self._take_in(symbol)
        if np.isneginf(self.log_evidence).all():
            self._restart()
            self._take_in(symbol)

    def _take_in(self, symbol: int) -> None:
        here = self._bound[self._row, self._here]
        new = here == UNBOUND
        wrong = (self._here == UNKNOWN) | ~(new | (here == symbol))
        chance = np.full(len(new), float(self.n_symbols))
        if self.distinct:
            wrong |= new & (self._bound == symbol).any(axis=1)
            chance = np.maximum(chance - (self._bound != UNBOUND).sum(axis=1), 1)
        self.log_evidence = np.where(new, self.log_evidence - np.log(chance), self.log_evidence)
        self.log_evidence[wrong] = -np.inf
        fits = ~wrong
        self._bound[self._row[fits], self._here[fits]] = symbol

    @property
    def best(self) -> Hypothesis:
        """The likeliest hypothesis, the first of equal ones."""
        row = int(self.log_evidence.argmax())
        schema = self.schemas[self._schema[row]]
        bound = self._bound[row, : schema.n_slots].copy()
        return Hypothesis(schema, int(self._start[row]), int(self._here[row]), bound)

    def posterior(self) -> np.ndarray:
        """Probabilities of the schemas, float64 `[schemas]`."""
        weights = np.exp(self.log_evidence - self.log_evidence.max())
        return np.bincount(self._schema, weights, len(self.schemas)) / weights.sum()
