"""A fleet in 3-D: plan, drive the plan in a warehouse made from the map, count contacts, draw.

    python -m pilotage.scripts.render_fleet --out fleet.png
    python -m pilotage.scripts.render_fleet --path MAPS --maps room-32-32-4 --out fleet.mp4

Without --path a drawn map is taken. A PNG shows the fleet at --at seconds; an MP4 (needs the extra
`view`) drives all of the plan. Robots follow the plan whatever they meet; every meeting is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pilotage.envs.mapf import MapfInstance, make_tasks, validate_paths
from pilotage.envs.mapf.tasks import instance_of
from pilotage.episodes.names import unknown
from pilotage.planners.mapf import PlanStatus
from pilotage.scripts.cmd_bench_mapf import SEEDED, SOLVERS, UNLABELLED, groups

FRAMES_A_STEP = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; 1 where there is no plan, 2 for what cannot be asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", type=Path, help="a folder with .map and .scen, or POGEMA's .yaml")
    parser.add_argument("--maps", default="", help="one of the folder's")
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--size", type=int, default=16, help="of a drawn map")
    parser.add_argument("--solver", default="lacam_star")
    parser.add_argument("--time-limit-s", type=float, default=5.0)
    parser.add_argument("--radius", type=float, default=0.3, help="of the robots, in cells")
    parser.add_argument("--at", type=float, default=4.0, help="seconds, of a PNG")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="FILE.png or FILE.mp4")
    a = parser.parse_args(argv)
    if a.out.suffix not in (".png", ".mp4"):
        parser.error(f"--out must end in .png or .mp4, got {a.out}")
    if min(a.agents, a.height, a.width) < 1:
        parser.error("--agents, --height and --width must be at least 1")
    try:
        return _render(a)
    except (ValueError, KeyError, FileNotFoundError, ImportError) as error:
        print(f"render_fleet: {error.args[0] if error.args else error}", file=sys.stderr)
        return 2


def _render(a: argparse.Namespace) -> int:
    if a.solver not in SOLVERS or a.solver in UNLABELLED:
        raise unknown("solver", a.solver, sorted(set(SOLVERS) - UNLABELLED))
    instance = _instance(a)
    more = {"seed": a.seed} if a.solver in SEEDED else {}
    result = SOLVERS[a.solver](instance, time_limit_s=a.time_limit_s, **more)
    if result.status is not PlanStatus.SOLVED or result.paths is None:
        print(f"render_fleet: {a.solver}: {result.status.value}", file=sys.stderr)
        return 1
    verdict = validate_paths(instance, result.paths)
    if not verdict.success:
        raise RuntimeError(f"{a.solver} on {instance.name}: {verdict.violations[0]}")
    draw(instance, result.paths, a)
    return 0


def _instance(a: argparse.Namespace) -> MapfInstance:
    if a.path is None:
        (task,) = make_tasks(
            "test", 1, seed=a.seed, families=["oneshot"], n_agents=a.agents, size=a.size
        )
        return instance_of(task)
    maps = [a.maps] if a.maps else []
    for _, _, instances in groups(a.path, maps, [a.agents], 1):
        return instances[0]
    raise ValueError(f"{a.path} has no instance with {a.agents} agents; choose --agents")


def draw(instance: MapfInstance, paths: np.ndarray, a: argparse.Namespace) -> None:
    """Write the file and print what touched what."""
    from PIL import Image

    from pilotage.envs.mapf.warehouse import WALL, Warehouse, drive, poses

    report = drive(instance, paths, radius=a.radius)
    end = paths.shape[1] - 1
    print(
        f"{instance.n_agents} robots of radius {a.radius:g}, {end} steps: {report.n_contacts} "
        f"contacts; centres never closer than {report.closest_m:.3f} m"
    )
    for time_s, one, other in report.contacts[:20]:
        whom = "a wall" if other == WALL else f"robot {other}"
        print(f"  {time_s:.1f} s: robot {one} touches {whom}")
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with Warehouse(instance, radius=a.radius) as hall:

        def picture(time_s: float) -> np.ndarray:
            hall.place(*poses(paths, time_s))
            return hall.picture(a.height, a.width)

        if a.out.suffix == ".png":
            Image.fromarray(picture(min(a.at, float(end)))).save(a.out)
        else:
            from pilotage.viewers.video import write_mp4

            times = np.arange(end * FRAMES_A_STEP + 1) / FRAMES_A_STEP
            frames = np.stack([picture(float(t)) for t in times])
            write_mp4(a.out, frames, fps=2.0 * FRAMES_A_STEP)
    print(f"wrote {a.out}")


if __name__ == "__main__":
    raise SystemExit(main())
