"""Neuron paths: one FFN neuron a layer, chosen so that together they carry the most.

After Fang et al., *Discovering Influential Neuron Path in Vision Transformers* (ICLR 2025,
arXiv:2503.09046). The neurons of a path P are clamped, together, on the straight line from values
`start` to values `end`; all others compute what they then compute. With a(t) = start + t (end -
start) and F the metric, the joint attribution is

    JAS(P) = sum over p in P of (end_p - start_p) * mean over t of dF/da_p at a(t)

an integrated gradient, so that it is complete: JAS(P) = F(P at end) - F(P at start), up to the
error of the mean over t (midpoints). The search goes from the first layer up and adds the neuron
that makes JAS largest; by completeness it compares candidates by their two ends, without
integrating.

The published score multiplies sums, (sum of a_p) (sum of mean dF/da_p), which is not complete;
`published_score` gives it for comparison. Its line starts at 0, which no run ever computes; between
two runs (`Sides`) both ends are natural, and JAS is the effect of patching the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.gradients import gradients_and_values
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import Site, resolve

# Runs the decoder once on fixed input -> one number a row, float [R].
Metric = Callable[[], torch.Tensor]
Path = Mapping[int, int]  # layer -> neuron


@dataclass(frozen=True, eq=False)
class Line:
    """Where the neurons go: by layer, `start` and `end` float32 `[R, S, d_ff]`, at the tokens of
    `mask` bool `[R, S]`.

    natural: `start` is what the neurons hold in the metric's own run, so that holding them there
    changes nothing and need not be run.
    """

    start: Mapping[int, torch.Tensor]
    end: Mapping[int, torch.Tensor]
    mask: torch.Tensor
    natural: bool = False

    @property
    def layers(self) -> list[int]:
        return sorted(self.start)

    def change(self, layer: int, neuron: int) -> torch.Tensor:
        """End less start, `[R, S]`, 0 outside the mask."""
        moved = self.end[layer][..., neuron] - self.start[layer][..., neuron]
        return torch.where(self.mask, moved, torch.zeros_like(moved))

    def at(self, layer: int, neuron: int, t: float) -> torch.Tensor:
        """The value `[R, S]` at t, 0 the start and 1 the end (both exactly)."""
        start, end = self.start[layer][..., neuron], self.end[layer][..., neuron]
        return torch.lerp(start, end, t)


class PathClamp:
    """A context manager: in every forward inside it the path's neurons hold their values at `t`.

    With gradients on, `values[layer]` `[R, S]` are the leaves that the neurons are set to.
    """

    def __init__(self, decoder: nn.Module, line: Line, path: Path, t: float) -> None:
        self._sites = {layer: resolve(decoder, neurons_of(layer)) for layer in path}
        for layer, neuron in path.items():
            width = self._sites[layer].width
            if not 0 <= neuron < width:
                raise ValueError(f"layer {layer} has neurons 0 to {width - 1}, not {neuron}")
        self.values = {
            layer: line.at(layer, neuron, t).detach().clone().requires_grad_()
            for layer, neuron in path.items()
        }
        self._path, self._mask = dict(path), line.mask
        self._handles = HookHandles()

    def __enter__(self) -> PathClamp:
        for layer, site in self._sites.items():
            hook_site(self._handles, site, partial(self._change, layer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()

    def _change(self, layer: int, value: torch.Tensor) -> torch.Tensor:
        neuron = self._path[layer]
        moved = self.values[layer].to(value) - value[..., neuron]
        moved = torch.where(self._mask.to(value.device), moved, torch.zeros_like(moved))
        change = torch.zeros_like(value)
        return change.index_copy(-1, torch.tensor([neuron], device=value.device), moved[..., None])


@dataclass(frozen=True, eq=False)
class PathScore:
    """A path's joint attribution, float64 `[R]`, and each neuron's part of it, by layer."""

    path: Mapping[int, int]
    parts: Mapping[int, torch.Tensor]

    @property
    def joint(self) -> torch.Tensor:
        return torch.stack(list(self.parts.values())).sum(0)


def neurons_of(layer: int) -> Site:
    """The site of a layer's FFN neurons."""
    return Site(layer, "mlp.down_proj:in")


def joint_attribution(
    decoder: nn.Module, metric: Metric, line: Line, path: Path, *, steps: int = 20
) -> PathScore:
    """JAS of a path by `steps` midpoints of the line, a forward and a backward each."""
    slopes = _mean_slopes(decoder, metric, line, path, steps)
    parts = {
        layer: (line.change(layer, neuron) * slopes[layer]).double().sum(1)
        for layer, neuron in path.items()
    }
    return PathScore(dict(path), parts)


def published_score(
    decoder: nn.Module, metric: Metric, line: Line, path: Path, *, steps: int = 20
) -> torch.Tensor:
    """The paper's product of sums, float64 `[R]`, at each token and summed over tokens."""
    slopes = _mean_slopes(decoder, metric, line, path, steps)
    change = torch.stack([line.change(layer, neuron) for layer, neuron in path.items()]).sum(0)
    slope = torch.stack(list(slopes.values())).sum(0)
    return (change * slope).double().sum(1)


def path_effect(decoder: nn.Module, metric: Metric, line: Line, path: Path) -> torch.Tensor:
    """F with the path's neurons at the end less F with them at the start, float64 `[R]`: what a
    real patch of the path does."""
    return _held(decoder, metric, line, path, 1.0) - _held(decoder, metric, line, path, 0.0)


def _held(decoder: nn.Module, metric: Metric, line: Line, path: Path, t: float) -> torch.Tensor:
    """F with the path's neurons at t, float64 `[R]`."""
    with torch.no_grad(), PathClamp(decoder, line, path, t):
        return metric().double().cpu()


def find_path(
    decoder: nn.Module,
    metric: Metric,
    line: Line,
    *,
    candidates: int | None = 8,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, int]:
    """The greedy path through the line's layers, by the mean over rows of JAS in the direction
    `F at end > F at start` (give minus the metric for the other).

    candidates: how many neurons of a layer are tried with the path so far, those with the largest
    first-order guess of JAS; None tries all of them. progress: called with the layers done.
    """
    path: dict[int, int] = {}
    same_start = _held(decoder, metric, line, {}, 0.0) if line.natural else None
    for done, layer in enumerate(line.layers):
        guesses = first_order(decoder, metric, line, path, layer)
        n = len(guesses) if candidates is None else min(candidates, len(guesses))
        joint = {}
        for neuron in guesses.topk(n).indices.tolist():
            longer = {**path, layer: neuron}
            start = same_start
            if start is None:
                start = _held(decoder, metric, line, longer, 0.0)
            joint[neuron] = float((_held(decoder, metric, line, longer, 1.0) - start).mean())
        path[layer] = max(joint, key=joint.__getitem__)
        progress(done + 1)
    return path


def first_order(
    decoder: nn.Module, metric: Metric, line: Line, path: Path, layer: int
) -> torch.Tensor:
    """For each neuron of a layer, JAS of the path with it, guessed from the gradients at both ends
    of the path, mean over rows, float64 `[d_ff]`, up to a constant that is the same for all. A
    forward and a backward pass an end; a natural start, where nothing moves, is left out."""
    site = str(neurons_of(layer))
    guess: torch.Tensor | float = 0.0
    ends = [(1.0, line.end, 1.0), (0.0, line.start, -1.0)]
    for t, target, sign in ends[:1] if line.natural else ends:
        with PathClamp(decoder, line, path, t):
            seen: list[torch.Tensor] = []
            found = gradients_and_values(decoder, partial(_kept, metric, seen), [site])
        gradient, now = found[site]
        moved = torch.where(line.mask.cpu()[..., None], target[layer].cpu() - now, 0.0)
        at_end = seen[0].double().cpu()[:, None] + (gradient * moved).sum(1).double()
        guess = guess + sign * at_end.mean(0)
    return torch.as_tensor(guess)


def _kept(metric: Metric, seen: list[torch.Tensor]) -> torch.Tensor:
    value = metric()
    seen.append(value.detach())
    return value


def _mean_slopes(
    decoder: nn.Module, metric: Metric, line: Line, path: Path, steps: int
) -> dict[int, torch.Tensor]:
    """dF/da of the path's neurons `[R, S]`, mean over midpoints of `steps` parts of the line."""
    if steps < 1 or not path:
        raise ValueError(f"integrating needs a path and at least one step, got {path}, {steps}")
    total = {layer: torch.zeros(line.mask.shape) for layer in path}
    for step in range(steps):
        clamp = PathClamp(decoder, line, path, (step + 0.5) / steps)
        with clamp, torch.enable_grad():
            value = metric().sum()
        leaves: Sequence[torch.Tensor] = [clamp.values[layer] for layer in path]
        slopes = torch.autograd.grad(value, leaves)
        for layer, slope in zip(path, slopes, strict=True):
            total[layer] += slope.float().cpu() / steps
    return total
