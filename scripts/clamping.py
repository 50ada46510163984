"""`--clamp` and `--release` of the trainings: text to clamps on a network."""

from __future__ import annotations

from collections.abc import Callable

from pilotage.agents.vla.model import VLAModel
from pilotage.planners.alpine import PathGPT
from pilotage.scripts.planner_sites import PATH_NET
from pilotage.steering import describe_model
from pilotage.steering.clamp_specs import read_clamps, read_release
from pilotage.steering.training_clamps import Release, TrainingClamps


def path_net_clamps(clamp: str, release: str) -> Callable[[PathGPT], TrainingClamps] | None:
    """What `train_alpine` takes as `clamp`; None where nothing is held."""
    until = _until(clamp, release)
    if not clamp:
        return None

    def on(net: PathGPT) -> TrainingClamps:
        describe_model(net, PATH_NET)
        return TrainingClamps(net, read_clamps(clamp, net), until)

    return on


def vla_clamps(clamp: str, release: str, model: VLAModel) -> TrainingClamps | None:
    """Clamps attached to a VLA's decoder; None where nothing is held.

    ValueError where something is held to the start: the agent that drives in the rounds reads its
    tokens one by one, so that a frozen copy has nothing to say about them.
    """
    until = _until(clamp, release)
    if not clamp:
        return None
    clamps = read_clamps(clamp, model.decoder)
    if held := [str(c.site) for c in clamps if c.to_start]:
        raise ValueError(
            f"--clamp holds {', '.join(held)} to the start, which an agent that also drives cannot "
            "be; hold it at a value"
        )
    return TrainingClamps(model.decoder, clamps, until, root=model).attach()


def _until(clamp: str, release: str) -> Release | None:
    if release and not clamp:
        raise ValueError(f"--release {release} without --clamp: there is nothing to release")
    return read_release(release)
