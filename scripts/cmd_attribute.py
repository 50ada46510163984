"""`pilotage steer attribute`: sites and neurons that carry a word, ranked and then patched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.agents.vla.tracing import GROUPS, PLACES, WordPair, sites_of, word_pair
from pilotage.episodes.names import unknown
from pilotage.scripts.attribute_paths import NEURONS, neuron_path_tables
from pilotage.scripts.cmd_read import expert_demos
from pilotage.scripts.opening import load_vla, progress_bar
from pilotage.steering.agreement import Agreement, Difference
from pilotage.steering.attribution import METHODS, Verification, attribute, verify

NEURON_PATH = "neuron-path"
PATH_STEPS = 4  # midpoints of a path's integral
PATH_RANDOM = 6  # random paths beside the one that is found
PATH_CANDIDATES = 6  # neurons of a layer that are tried with the path so far


@dataclass(frozen=True)
class Asked:
    """What `pilotage steer attribute` was asked for; see its help."""

    agent: str
    methods: Sequence[str]
    positive: str
    negative: str
    metric: str
    top: int
    sample: int
    episodes: int
    steps: int
    seed: int
    quiet: bool
    as_json: bool


def attribute_word(asked: Asked) -> dict[str, Any]:
    """See `pilotage steer attribute --help`."""
    for method in asked.methods:
        if method not in (*METHODS, NEURON_PATH):
            raise unknown("method", method, (*METHODS, NEURON_PATH))
    vla = load_vla(asked.agent, "tabletop")
    demos = expert_demos(vla, "tabletop", asked.episodes, seed=asked.seed, quiet=asked.quiet)
    pair = word_pair(
        vla.model,
        demos,
        positive=asked.positive,
        negative=asked.negative,
        n_steps=asked.steps,
        seed=asked.seed,
        metric=asked.metric,
    )
    found: dict[str, Any] = {}
    methods = [m for m in asked.methods if m != NEURON_PATH]
    for name, places, by_unit in (("sites", PLACES, False), ("neurons", (NEURONS,), True)):
        if methods:
            found[name] = ranked(pair, methods, sites_of(vla.model, places), by_unit, name, asked)
    if NEURON_PATH in asked.methods:
        found[NEURON_PATH] = neuron_path_tables(
            pair,
            n_random=PATH_RANDOM,
            steps=PATH_STEPS,
            candidates=PATH_CANDIDATES,
            seed=asked.seed,
            quiet=asked.quiet,
        )
    if asked.as_json:
        print(json.dumps(found, indent=1))
    else:
        _show(vla.agent_id, found, asked)
    return found


def ranked(
    pair: WordPair,
    methods: Sequence[str],
    sites: Sequence[str],
    by_unit: bool,
    label: str,
    asked: Asked,
) -> dict[str, Any]:
    """Rows of the top places, and of how each method agrees with real patches."""
    sides = pair.sides(sites)
    decoder, forward, tokens = pair.model.decoder, pair.forward, pair.token_groups
    scores = {
        method: attribute(
            decoder,
            forward,
            sides,
            tokens,
            GROUPS,
            method=method,
            by_unit=sites if by_unit else (),
        )
        for method in methods
    }
    bar, move = progress_bar(asked.sample + asked.top, f"patching {label}", quiet=asked.quiet)
    with bar:
        checked = verify(
            decoder,
            forward,
            sides,
            tokens,
            scores,
            clusters=pair.clusters,
            k=asked.top,
            n_sample=asked.sample,
            seed=asked.seed,
            progress=lambda done, total: move(done),
        )
    return {
        "positive": float(sides.positive.mean()),
        "negative": float(sides.negative.mean()),
        "top": [row for v in checked for row in _top_rows(v)],
        "agreement": [row for v in checked for row in _agreement_rows(v)],
        "control": [_control_row(v) for v in checked],
    }


def _top_rows(v: Verification) -> list[dict[str, Any]]:
    return [
        {
            "method": v.method,
            "site": p.place.site,
            **({} if p.place.unit is None else {"neuron": p.place.unit}),
            "tokens": p.place.group,
            "attributed": round(p.attributed, 5),
            "true": round(p.true, 5),
            "low": round(p.low, 5),
            "high": round(p.high, 5),
        }
        for p in v.top
    ]


def _agreement_rows(v: Verification) -> list[dict[str, Any]]:
    parts = {"all": v.agreement, **(v.by_part if len(v.by_part) > 1 else {})}
    return [_agreement_row(v.method, part, a, v.better[part]) for part, a in parts.items()]


def _agreement_row(method: str, part: str, a: Agreement, better: Difference) -> dict[str, Any]:
    return {
        "method": method,
        "part": part,
        "n": a.n,
        "pearson": round(a.pearson, 3),
        "low": round(a.low, 3),
        "high": round(a.high, 3),
        "spearman": round(a.spearman, 3),
        "pearson_rows": round(a.pearson_rows, 3),
        "better": f"{better.value:+.3f} ({better.low:+.3f}, {better.high:+.3f})",
    }


def _control_row(v: Verification) -> dict[str, Any]:
    c = v.control
    return {
        "method": v.method,
        "k": len(v.top),
        "top": round(c.top, 6),
        "matched": round(c.matched, 6),
        "drawn": round(c.drawn, 6),
        "chance": round(c.chance, 4),
    }


def _show(agent_id: str, found: dict[str, Any], asked: Asked) -> None:
    from rich.console import Console

    from pilotage.episodes.tables import to_rich

    console = Console(width=140)
    for name, tables in found.items():
        console.print(
            f"{agent_id}, {name}: mean {asked.metric} {tables['negative']:.3f} "
            f"({asked.negative!r}) to {tables['positive']:.3f} ({asked.positive!r}); effects are "
            f"shares of that, over {asked.steps} env steps of {asked.episodes} episodes"
        )
        if name == NEURON_PATH:
            console.print(to_rich(tables["path"], title="a neuron a layer, and its part"))
            console.print(to_rich(tables["paths"], title="joint attribution and real patch"))
            console.print(f"correlation of the two over all paths: {tables['pearson']:.4f}")
            continue
        console.print(to_rich(tables["top"], title=f"the top {asked.top} {name}, each patched"))
        title = f"agreement on places drawn at random; better: Pearson less {asked.methods[0]}'s"
        console.print(to_rich(tables["agreement"], title=title))
        title = "mean size of true effects: the top, random ones alike, all drawn"
        console.print(to_rich(tables["control"], title=title))
