"""`openvla:PATH[,option=value...]`: from words on the command line to a loaded agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage.episodes.names import unknown

if TYPE_CHECKING:  # torch takes seconds to import, and most commands need no checkpoint
    from pilotage.agents.loaders.policy import PretrainedAgent

WORLD = "tabletop"  # the one whose actions are a step of the hand, a turn, and the gripper
PICTURE_PX = 224  # side of the pictures that the world is asked for
OPTIONS = ("key", "motion", "rows", "dtype", "stream")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Wanted:
    """A name taken apart. key: whose action statistics; motion: what actions mean; rows: of one
    forward; dtype: numbers to compute with (None: as stored); stream: the stack that is steered,
    where there are two."""

    kind: str
    path: str
    key: str | None = None
    motion: str | None = None
    rows: int = 4
    stream: str | None = None
    dtype: str | None = None


def is_pretrained(name: str) -> bool:
    """Whether an `--agent` names a published checkpoint (`openvla:...`)."""
    return name.partition(":")[0] in LOADERS and ":" in name


def parse(name: str) -> Wanted:
    """KeyError or ValueError naming the option that is wrong and those that exist."""
    kind, _, rest = name.partition(":")
    if kind not in LOADERS:
        raise unknown("kind of checkpoint", kind, LOADERS)
    path, *options = rest.split(",")
    if not path:
        raise ValueError(f"{name!r} has no path; write {kind}:FOLDER[,option=value]")
    given: dict[str, Any] = {}
    for option in options:
        word, equals, value = option.partition("=")
        if word not in OPTIONS:
            raise unknown("option", word, OPTIONS, f", written {kind}:{path},option=value")
        if not equals or not value:
            raise ValueError(f"option {word!r} in {name!r} has no value; write {word}=...")
        given[word] = value
    if "rows" in given:
        if not given["rows"].isdigit() or int(given["rows"]) < 1:
            raise ValueError(f"rows={given['rows']} in {name!r} is no whole number above 0")
        given["rows"] = int(given["rows"])
    if given.get("dtype", DTYPES[0]) not in DTYPES:
        raise unknown("dtype", given["dtype"], DTYPES)
    unfit = [word for word in given if word in ("key", "stream") and word not in FITS[kind]]
    if unfit:
        raise ValueError(f"{kind} has no option {unfit[0]!r}; it was given in {name!r}")
    return Wanted(kind, path, **given)


def pretrained_folder(name: str) -> Path:
    """The folder of a published checkpoint, from the hub if need be."""
    from pilotage.agents.loaders.files import checkpoint_folder

    wanted = parse(name)
    return checkpoint_folder(wanted.path, HUB_NAMES[wanted.kind])


def load_pretrained(name: str, world: str, *, device: str = "cpu") -> PretrainedAgent:
    """The agent behind `openvla:PATH[,key=...][,motion=...][,rows=...][,dtype=...]`, `pi0fast:`,
    `smolvla:PATH[,stream=...]`.

    Raises CheckpointError saying what is missing and where to put it, KeyError for an unknown
    option, ValueError for a world whose actions it does not know.
    """
    from pilotage.agents.loaders.motion import motion_named
    from pilotage.agents.loaders.policy import PretrainedAgent

    wanted = parse(name)
    if world != WORLD:
        raise ValueError(f"{wanted.kind} acts in the world {WORLD!r} only, not in {world!r}")
    if wanted.motion is not None:
        motion_named(wanted.motion)
    folder = pretrained_folder(name)
    policy, digest, motion = LOADERS[wanted.kind](folder, wanted, device)
    return PretrainedAgent(
        policy,
        motion_named(wanted.motion or motion),
        name=f"{wanted.kind}-{folder.name}",
        weights_sha256=digest,
        folder=folder,
        rows_per_forward=wanted.rows,
    )


def _openvla(folder: Path, wanted: Wanted, device: str) -> tuple[Any, str, str]:
    from pilotage.agents.loaders.openvla import load_openvla

    policy, digest = load_openvla(folder, key=wanted.key, device=device, dtype=_dtype(wanted))
    return policy, digest, "libero" if policy.key.startswith("libero") else "metric"


def _pi0fast(folder: Path, wanted: Wanted, device: str) -> tuple[Any, str, str]:
    from pilotage.agents.loaders.pi0fast import load_pi0fast

    return *load_pi0fast(folder, device=device, dtype=_dtype(wanted)), "robosuite"


def _smolvla(folder: Path, wanted: Wanted, device: str) -> tuple[Any, str, str]:
    from pilotage.agents.loaders.smolvla import load_smolvla

    stream = wanted.stream or "vlm"
    loaded = load_smolvla(folder, device=device, dtype=_dtype(wanted), stream=stream)
    return *loaded, "robosuite"


def _dtype(wanted: Wanted) -> Any:
    import torch

    return None if wanted.dtype is None else getattr(torch, wanted.dtype)


# Kind -> a loader that gives the policy, the digest of its weights, and what its actions mean.
LOADERS: dict[str, Callable[[Path, Wanted, str], tuple[Any, str, str]]] = {
    "openvla": _openvla,
    "pi0fast": _pi0fast,
    "smolvla": _smolvla,
}
HUB_NAMES = {
    "openvla": "openvla/openvla-7b",
    "pi0fast": "lerobot/pi0fast-libero",
    "smolvla": "lerobot/smolvla_base",
}
FITS = {"openvla": ("key",), "pi0fast": (), "smolvla": ("stream",)}  # options of some kinds only
