"""Training clamps as a person writes them: a line of text, or a JSON file.

A line has clamps with semicolons between them, each `SITE[UNITS]@VALUE`:

    layers.0.mlp.down_proj:in[all]@0            every neuron at 0
    layers.0.mlp.down_proj:in[4,17-20]@2.5      these neurons at 2.5
    layers.0.mlp.down_proj:in[random 48 seed 1]@0
    layers.1.self_attn.o_proj:in[heads 0,2 of 4]@start   two of four heads, as when training began

A file is a JSON list of such texts and of interventions as `specs` reads them (for directions),
with `"to_start": true` where that is meant. A release is `BEGIN:END` or `BEGIN:END:SHAPE`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering.interventions import Intervention
from pilotage.steering.sites import resolve
from pilotage.steering.specs import intervention_from_spec
from pilotage.steering.training_clamps import Release, TrainingClamp

_CLAMP = re.compile(r"(?P<site>[^\[\]@\s]+)\[(?P<units>[^\[\]]+)\]@(?P<value>\S+)")
_RANDOM = re.compile(r"random (\d+) seed (\d+)")
_HEADS = re.compile(r"heads (?P<heads>[\d,\- ]+) of (?P<n>\d+)")
_UNITS = "all, numbers and ranges (4,17-20), `heads 0,2 of 4`, `random 48 seed 1`"


def read_clamps(text: str, decoder: nn.Module) -> list[TrainingClamp]:
    """The clamps of a line, or of the JSON file that it names.

    Raises ValueError naming the entry: unknown form, units that the site has not got, a file that
    is no such list. SiteError for a site of another network, OSError without the file.
    """
    if not text.endswith(".json"):
        parts = [part.strip() for part in text.split(";") if part.strip()]
        return [_from_text(part, decoder) for part in parts]
    path = Path(text)
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(e, str | dict) for e in entries):
        raise ValueError(f"{path} must be a JSON list of clamps, each a text or an object")
    return [
        _from_text(entry, decoder)
        if isinstance(entry, str)
        else _from_spec(entry, path.parent, decoder)
        for entry in entries
    ]


def read_release(text: str) -> Release | None:
    """`"5000:6000"`, `"5000:6000:linear"` or `"5000"` (at once); empty: never."""
    if not text:
        return None
    begin, *rest = text.split(":")
    end, *shape = rest or [begin]
    if len(shape) > 1 or not (begin.isdigit() and end.isdigit()):
        raise ValueError(f"a release is BEGIN:END or BEGIN:END:SHAPE in updates, got {text!r}")
    return Release(int(begin), int(end), *shape)


def random_units(n: int, width: int, seed: int) -> torch.Tensor:
    """`n` distinct units of `width`, int64, ascending: as many as a clamp holds, for a control."""
    if not 1 <= n <= width:
        raise ValueError(f"asked for {n} random units of {width}")
    chosen = np.random.default_rng([31, seed]).choice(width, n, replace=False)
    return torch.from_numpy(np.sort(chosen))


def hold_units(site: str, units: torch.Tensor, value: float) -> TrainingClamp:
    """A clamp of units int64 `[k]` at a value, 0 included."""
    if value == 0:
        return TrainingClamp(Intervention("ablate", site, 1.0, neurons=units))
    return TrainingClamp(Intervention("clamp", site, value, neurons=units))


def _from_text(text: str, decoder: nn.Module) -> TrainingClamp:
    match = _CLAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no clamp; write SITE[UNITS]@VALUE, units being {_UNITS}")
    site, value = match["site"], match["value"]
    units = _units(match["units"].strip(), resolve(decoder, site).width, text)
    if value == "start":
        return TrainingClamp(Intervention("ablate", site, 1.0, neurons=units), to_start=True)
    try:
        level = float(value)
    except ValueError:
        raise ValueError(f"{text!r}: {value!r} is neither a number nor `start`") from None
    return hold_units(site, units, level)


def _from_spec(spec: Mapping[str, Any], folder: Path, decoder: nn.Module) -> TrainingClamp:
    rest = {name: value for name, value in spec.items() if name != "to_start"}
    edit = intervention_from_spec(rest, folder, decoder=decoder)
    return TrainingClamp(edit, bool(spec.get("to_start", False)))


def _units(text: str, width: int, where: str) -> torch.Tensor:
    """Unit numbers int64 `[k]` of a site with `width` units."""
    if text == "all":
        return torch.arange(width)
    if match := _RANDOM.fullmatch(text):
        return random_units(int(match[1]), width, int(match[2]))
    if match := _HEADS.fullmatch(text):
        n = int(match["n"])
        if n < 1 or width % n:
            raise ValueError(f"{where!r}: the site's {width} units are not {n} equal heads")
        heads = _numbers(match["heads"], n, where)
        return (heads[:, None] * (width // n) + torch.arange(width // n)).flatten()
    return _numbers(text, width, where)


def _numbers(text: str, n: int, where: str) -> torch.Tensor:
    """`"4,17-20"` -> 4, 17, 18, 19, 20, all below n."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise ValueError(f"{where!r}: {part.strip()!r} is no unit; there are: {_UNITS}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < n:
            raise ValueError(f"{where!r}: {part.strip()!r} is not within 0 to {n - 1}")
        found += range(first, last + 1)
    return torch.tensor(found)
