"""Top tokens in a Rerun recording: a table at each step, a log over the steps, edited neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from .tokens import TokenTrace, token_trace


def log_tokens(
    rr: Any,
    stream: Any,
    root: str,
    record: EpisodeRecord,
    vocabulary: Sequence[str] | None,
    timeline: str,
) -> None:
    """Logs below `root` what the record recorded of tokens, if anything.

    `top_tokens`: a table of all layers at each step, with the edits below. `token_log`: a line a
    step, of the edited layers (of all, if none is). `neurons/before` and `neurons/after`: a curve
    for each edited neuron.
    """
    trace = token_trace(record, vocabulary)
    if trace is None:
        return
    edits = _edits(trace)
    for step in range(trace.n_steps):
        stream.set_time(timeline, sequence=step)
        table = rr.TextDocument(_table(trace, step) + edits, media_type="text/markdown")
        stream.log(f"{root}/top_tokens", table)
        stream.log(f"{root}/token_log", rr.TextLog(_line(trace, step)))
    stream.reset_time()
    _log_neurons(rr, stream, root, trace, timeline)


def _table(trace: TokenTrace, step: int) -> str:
    rows = [
        f"| {_label(trace, row)} | {_plain('  '.join(trace.words(step, row)))} |"
        for row in range(trace.ids.shape[1])
    ]
    head = [f"Step {step}: where the first action token is predicted", ""]
    return "\n".join([*head, "| after | best tokens |", "|---|---|", *rows, "", ""])


def _label(trace: TokenTrace, row: int) -> str:
    edited = bool(trace.layers) and trace.layers[row] in trace.steered
    return f"**{trace.label(row)}, edited**" if edited else trace.label(row)


def _edits(trace: TokenTrace) -> str:
    lines = [
        f"- {push.name} ({push.kind.replace('_', ' ')}) writes: {_plain('  '.join(push.words))}"
        for push in trace.pushes
    ]
    if not trace.is_spelled:
        lines.append("- The record does not spell all of its tokens: those are shown as #id.")
    return "\n".join(lines)


def _plain(words: str) -> str:
    """`words` for a cell of a Markdown table."""
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("#", "\\#")


def _line(trace: TokenTrace, step: int) -> str:
    rows = range(trace.ids.shape[1])
    edited = [r for r in rows if trace.layers and trace.layers[r] in trace.steered]
    parts = [f"{trace.label(r)}: {'  '.join(trace.words(step, r))}" for r in edited or rows]
    return "  |  ".join(parts) if trace.layers else "  ".join(trace.words(step, 0))


def _log_neurons(rr: Any, stream: Any, root: str, trace: TokenTrace, timeline: str) -> None:
    curves = [(push.name, push.series) for push in trace.pushes if push.series is not None]
    if not curves:
        return
    for side, name in enumerate(("before", "after")):
        values = np.stack([series[side] for _, series in curves], axis=1)  # [T, neurons]
        labels = [f"{label} {name}" for label, _ in curves]
        entity = f"{root}/neurons/{name}"
        stream.log(entity, rr.SeriesLines(names=labels), static=True)
        columns = rr.Scalars.columns(scalars=values.reshape(-1))
        stream.send_columns(
            entity,
            indexes=[rr.TimeColumn(timeline, sequence=np.arange(len(values)))],
            columns=columns.partition([len(curves)] * len(values)),
        )
