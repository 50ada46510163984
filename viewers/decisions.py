"""What prompted agents decided, prompt by prompt, as one HTML file that opens offline.

One agent's episodes, or two agents' (or runs') side by side, with the first decision at which they
part marked. Reads the receipts: `decisions`, a list of one entry a prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage.episodes.types import EpisodeRecord

from .page import POLICY, style_sheet
from .svg import text as words
from .topdown import save

_CSS = """
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:16px}
.card{padding:14px 18px;margin:14px 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem;background:var(--soft);
padding:10px;border-radius:8px;max-height:28em;overflow:auto}
li.chosen{font-weight:700}
.bad{color:var(--bad)}.good{color:var(--good)}
details.parts{border-left:4px solid var(--bad);padding-left:10px}
summary{cursor:pointer;padding:3px 0}
"""


def write_decisions(
    out_path: Path | str,
    records: Iterable[EpisodeRecord],
    other: Iterable[EpisodeRecord] = (),
    *,
    title: str = "Decisions",
    max_episodes: int = 40,
) -> Path:
    """Write the page, whole or not at all; returns its path.

    Args:
        records: played episodes; those without decisions in their receipts are left out.
        other: another run of the same tasks, to be compared; tasks that it lacks stand alone.
        max_episodes: shown at most, those on which the two runs differ in success first.

    Raises ValueError when no record has decisions.
    """
    mine = {record.task.task_id: record for record in records if _decisions(record)}
    theirs = {record.task.task_id: record for record in other if _decisions(record)}
    if not mine:
        raise ValueError("no record has decisions: only prompted agents (mapgpt:…) write them")
    pairs = [(record, theirs.get(task)) for task, record in mine.items()]
    pairs.sort(key=lambda pair: not _differ(*pair))
    shown = "".join(_episode(*pair) for pair in pairs[:max_episodes])
    left_out = len(pairs) - min(len(pairs), max_episodes)
    summary = "".join(_summary(runs) for runs in (list(mine.values()), list(theirs.values())))
    rest = f"<p class=hint>{left_out} more episodes are not shown.</p>" if left_out else ""
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{words(title)}</title><style>{style_sheet()}{_CSS}</style>"
        f"<header class=top><h1>{words(title)}</h1>{summary}</header><main>{shown}{rest}</main>"
        "</html>"
    )
    return save(Path(out_path), page.encode())


def first_difference(a: EpisodeRecord, b: EpisodeRecord) -> int | None:
    """Index of the first decision that differs in place or choice; None when none does. A run that
    is over where the other goes on differs there."""
    mine, theirs = (
        [(d["viewpoint"], d["action"], d["chosen"]) for d in _decisions(record)]
        for record in (a, b)
    )
    for k, (x, y) in enumerate(zip(mine, theirs)):
        if x != y:
            return k
    return None if len(mine) == len(theirs) else min(len(mine), len(theirs))


def _decisions(record: EpisodeRecord) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = record.receipt.get("decisions", ())
    return found


def _differ(a: EpisodeRecord, b: EpisodeRecord | None) -> bool:
    return b is not None and a.success != b.success


def _summary(records: Sequence[EpisodeRecord]) -> str:
    """One line of counts a run."""
    if not records:
        return ""
    failures = Counter[str]()
    for record in records:
        failures.update(record.receipt.get("failures", {}))
        failures.update(record.receipt.get("mishaps", {}))
    n_good = sum(record.success for record in records)
    wrong = ", ".join(f"{kind} {n}" for kind, n in sorted(failures.items())) or "none"
    agent = words(records[0].agent_id)
    return (
        f"<p class=lead>{agent}: {n_good} of {len(records)} episodes succeed; failures: "
        f"{words(wrong)}</p>"
    )


def _episode(a: EpisodeRecord, b: EpisodeRecord | None) -> str:
    apart = first_difference(a, b) if b is not None else None
    columns = "".join(_column(record, apart) for record in (a, b) if record is not None)
    note = "" if apart is None else f"<p class=hint>They part at decision {apart}.</p>"
    return (
        f"<section class=card><h3>{words(a.task.task_id)}</h3><p>{words(a.task.instruction)}</p>"
        f"{note}<div class=pair>{columns}</div></section>"
    )


def _column(record: EpisodeRecord, apart: int | None) -> str:
    kind = "good" if record.success else "bad"
    steps = "".join(_decision(k, d, k == apart) for k, d in enumerate(_decisions(record)))
    end = words(record.end.value + (f": {record.error}" if record.error else ""))
    return (
        f"<div><p><b>{words(record.agent_id)}</b> <span class={kind}>{end}</span></p>{steps}</div>"
    )


def _decision(k: int, decision: Mapping[str, Any], parts: bool) -> str:
    options = "".join(
        f"<li{' class=chosen' if option['label'] == decision['chosen'] else ''}>"
        f"{words(option['label'])}: {words(option['text'])}"
        f" <span class=hint>{words(option['caption'])}</span></li>"
        for option in decision["options"]
    )
    wrong = [*decision["failures"], *([decision["error"]] if decision["error"] else [])]
    bad = f" <span class=bad>{words(', '.join(wrong))}</span>" if wrong else ""
    text = {o["label"]: o["text"] for o in decision["options"]}.get(decision["chosen"], "nothing")
    return (
        f"<details{' class=parts' if parts else ''}><summary>{k}. {words(text)}{bad}</summary>"
        f"<p class=hint>at {words(decision['viewpoint'])}; to do: {words(decision['goal'])}</p>"
        f"<ul>{options}</ul><p>Reply</p><pre>{words(decision['reply'])}</pre>"
        f"<details><summary>Prompt</summary><pre>{words(decision['prompt'])}</pre></details>"
        "</details>"
    )
