"""Every way to find a steering edit for a VLA, by name, and the controls of each.

All are fitted to the same env steps under two wordings. Those of `steering.methods` see paired
means of the residual stream; the others take what they need of a `Contrast`. All give an edit of
the residual stream after one block, at the tokens that act, so that they can be played at one
delivered norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from pilotage.agents.vla.conditions import edit_kind
from pilotage.agents.vla.contrasts import Contrast
from pilotage.episodes.names import unknown
from pilotage.scripts.cmd_read import PairedSides
from pilotage.steering.calibration import calibrate
from pilotage.steering.entropic import efficiency_pairs, efficiency_vector, entropy_vector
from pilotage.steering.lineas import LineasSettings, lineas, lineas_at_site
from pilotage.steering.maps import AffineMap, Artefact
from pilotage.steering.methods import METHODS, shuffled
from pilotage.steering.operations import turn
from pilotage.steering.snmf import snmf_vector
from pilotage.steering.transport import gaussian_transport, sorted_transport
from pilotage.steering.vista import visual_vector

N_FEATURES, KEPT = 16, 0.05  # of SNMF: features of 26 of 512 neurons
LASSO = 0.2  # of sparse LinEAS; the spread of a unit is 1
N_DEEP = 32  # env steps a side, as in the paper
DEEP = LineasSettings(steps=60, rate=0.03)
ABSENCE = "hidden"  # of VISTA: its release leaves the image tokens out of the prompt
MAPS = ("ot-gaussian", "ot-sorted", "lineas", "lineas-sparse", "lineas-deep")
WORDLESS = ("vista", "efficiency")  # what is behind the instruction plays no part
NAMES = (*METHODS, *MAPS, "snmf", "east", *WORDLESS)
# With exchanged labels these are fitted to nothing; of the others see `methods.shuffled`.
SHUFFLABLE = ("mean-difference", "ot-gaussian", "ot-sorted", "lineas", "snmf", "east", *WORDLESS)


def check_method(name: str, mix: int | None = None) -> None:
    """KeyError for an unknown method, ValueError where exchanged labels are no control of it."""
    if name == "experts":
        raise ValueError("experts are routed to, not added: use `pilotage steer experts`")
    if name not in NAMES:
        raise unknown("method", name, NAMES)
    if mix is not None and name not in SHUFFLABLE:
        raise ValueError(
            f"--shuffle is no control of {name}: it looks at both signs of a difference, at one "
            f"side, or at the whole model; it is one of {', '.join(SHUFFLABLE)}"
        )


@dataclass
class Fitting:
    """What all methods are fitted to at one layer. mix: a seed by which the labels are exchanged
    (of EAST: the entropies are), for a control."""

    found: PairedSides
    layer: int
    mix: int | None = None

    @property
    def site(self) -> str:
        return f"layers.{self.layer}.resid:out"

    @cached_property
    def contrast(self) -> Contrast:
        """The steps of the paired sides, for what these do not hold."""
        f = self.found
        return Contrast(
            f.vla.model,
            f.demos,
            positive=f.source["positive"],
            negative=f.source["negative"],
            n_steps=len(f.sides[self.layer][0]),
            seed=f.source["seed"],
        )

    @cached_property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positive and negative residuals of every acting token, float32 `[n * k, d]`."""
        positive, negative = (
            self.contrast.activations(side, self.site, reduce="all")
            for side in ("positive", "negative")
        )
        return positive, negative

    def fit(self, name: str) -> Artefact:
        """The vector or the map of a method. Errors as in `check_method`."""
        check_method(name, self.mix)
        if name in METHODS:
            made: Artefact = METHODS[name](*self._mixed(self._means), **self._origin)
        else:
            made = _FITS[name](self)
        return made

    def coefficient(self, artefact: Artefact, norm: float) -> float:
        """With which its intervention moves an acting token by `norm`, on average."""
        h = self.tokens[1].double()
        if isinstance(artefact, AffineMap):
            return norm / float(artefact.moved(h).norm(dim=1).mean())
        if edit_kind(artefact) == "add":
            return norm
        v = artefact.direction.double()

        def moved(c: float) -> float:
            change = turn(h[None], torch.tensor(c, dtype=h.dtype), v)
            return float(change.norm(dim=-1).mean())

        first = norm / float(h.norm(dim=1).mean())
        found = calibrate(moved, norm, first=first, limit=1e3 * first, tolerance=1e-4)
        return found.named("norm", edit_kind(artefact)).check().coefficient

    @property
    def _means(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.found.sides[self.layer]

    def _mixed(self, sides: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return sides if self.mix is None else shuffled(*sides, self.mix)

    @property
    def _origin(self) -> dict[str, Any]:
        mixed = {} if self.mix is None else {"shuffled_labels": self.mix}
        source = {**self.found.source, **mixed}
        return {"site": self.site, "model_digest": self.found.model_digest, "source": source}

    def transport(self, fit: Any, **options: Any) -> Artefact:
        """A map fitted to single tokens."""
        return fit(*self._mixed(self.tokens), **self._origin, **options)

    def lineas(self, lasso: float) -> Artefact:
        settings = LineasSettings(steps=300, lasso=lasso)
        return lineas_at_site(*self._mixed(self._means), **self._origin, settings=settings)

    def lineas_deep(self) -> Artefact:
        """One map at this layer, answerable for all layers from here on."""
        model = self.found.vla.model
        sites = [f"layers.{i}.resid:out" for i in range(self.layer, model.config.n_layers)]
        n = min(N_DEEP, len(self.contrast))
        targets, sources = (
            {site: self.contrast.activations(side, site)[:n] for site in sites}
            for side in ("positive", "negative")
        )
        forward, mask = self.contrast.inputs("negative", n)
        origin = self._origin
        made = lineas(
            model.decoder,
            forward,
            targets,
            sources,
            mask,
            maps_at=[self.site],
            model_digest=origin["model_digest"],
            source=origin["source"],
            settings=DEEP,
        )
        return made[self.site]

    def snmf(self) -> Artefact:
        neurons = f"layers.{self.layer}.mlp.down_proj:in"
        on, off = (self.contrast.activations(side, neurons) for side in ("positive", "negative"))
        down = self.found.vla.model.decoder.model.layers[self.layer].mlp.down_proj
        return snmf_vector(
            *self._mixed((on, off)),
            weight=down.weight,
            n_features=N_FEATURES,
            kept=KEPT,
            seed=self.found.source["seed"],
            **self._origin,
        )

    def vista(self) -> Artefact:
        """What the pictures add to the last token of the prompt."""
        sides = self.contrast.visual(self.site, ABSENCE)
        origin = self._origin
        origin["source"] = {**_wordless(origin["source"]), "absence": ABSENCE}
        return visual_vector(*self._mixed(sides), **origin)

    def efficiency(self) -> Artefact:
        """The quickest less the slowest success of a start, over sampled rollouts."""
        rollouts, rolling = self.found.rolled_out(self.site), self.found.rolling
        origin = self._origin
        origin["source"] = {**_wordless(origin["source"]), "rolling": asdict(rolling)}
        states = rollouts.activations[self.site]
        pairs = efficiency_pairs(rollouts.tasks, rollouts.steps, rollouts.successes)
        if self.mix is not None and len(pairs) > 1:
            ends = [list(side) for side in zip(*pairs, strict=True)]
            states = states.clone()
            states[ends[0]], states[ends[1]] = self._mixed((states[ends[0]], states[ends[1]]))
        return efficiency_vector(
            states,
            rollouts.tasks,
            rollouts.steps,
            rollouts.successes,
            min_pairs=rolling.min_pairs,
            **origin,
        )

    def east(self) -> Artefact:
        """Under the plain wording: entropy is followed, the words play no part in it."""
        entropies = self.contrast.entropies("negative")
        if self.mix is not None:
            generator = torch.Generator().manual_seed(self.mix)
            entropies = entropies[torch.randperm(len(entropies), generator=generator)]
        phases = self.contrast.phases
        return entropy_vector(self._means[1], entropies, strata=phases, **self._origin)


_FITS: dict[str, Callable[[Fitting], Artefact]] = {
    "ot-gaussian": lambda f: f.transport(gaussian_transport),
    "ot-sorted": lambda f: f.transport(sorted_transport),
    "lineas": lambda f: f.lineas(0.0),
    "lineas-sparse": lambda f: f.lineas(LASSO),
    "lineas-deep": Fitting.lineas_deep,
    "snmf": Fitting.snmf,
    "east": Fitting.east,
    "vista": Fitting.vista,
    "efficiency": Fitting.efficiency,
}


def _wordless(source: dict[str, Any]) -> dict[str, Any]:
    """Where the activations come from, without the words that play no part."""
    return {name: value for name, value in source.items() if name != "positive"}
