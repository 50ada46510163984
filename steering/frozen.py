"""A network as it was at some moment, run on the same inputs as the one that goes on learning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.families import describe_model, description
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import Site, resolve


class FrozenStart:
    """A copy of `root`, made now and never trained, that is run on each input before `root` is.

    decoder: the part of `root` that `sites` are of. Raises ValueError where it is no part of it.
    """

    def __init__(self, root: nn.Module, decoder: nn.Module, sites: Iterable[Site]) -> None:
        path = next((name for name, m in root.named_modules() if m is decoder), None)
        if path is None:
            raise ValueError(f"the {type(decoder).__name__} is no part of {type(root).__name__}")
        self._root = root
        self._copy = copy.deepcopy(root).eval().requires_grad_(False)
        inner = self._copy.get_submodule(path)
        if (model_map := description(decoder)) is not None:
            describe_model(inner, model_map)
        self._seen: dict[Site, torch.Tensor] = {}
        handles = HookHandles()  # for the copy's whole life
        for site in sites:
            hook_site(handles, resolve(inner, site), partial(self._keep, site))

    def attach(self, handles: HookHandles, on: Callable[[], bool]) -> None:
        """Put the hooks that run the copy on `root`; they do so while `on()`."""

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if on():
                with torch.no_grad():
                    self._copy(*args, **kwargs)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            self._seen.clear()

        handles.before(self._root, before, with_kwargs=True)
        handles.after(self._root, after)

    def recall(self, site: Site) -> Callable[[], torch.Tensor]:
        """A function that gives what the copy had at the site in this forward, `[R, S, width]`."""
        return partial(self._recalled, site)

    def _keep(self, site: Site, value: torch.Tensor) -> None:
        self._seen[site] = value

    def _recalled(self, site: Site) -> torch.Tensor:
        if site not in self._seen:
            raise RuntimeError(
                f"{site} is held to the network's start, but the start has not seen this input; "
                f"call the {type(self._root).__name__} as a whole, or give its caller as `root`"
            )
        return self._seen[site]
