"""`pilotage steer`: doses and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts.cli_options import (
    AgentName,
    AsJson,
    Concept,
    Env,
    Episodes,
    Families,
    Quiet,
    Seed,
    Slots,
    Split,
    numbers,
    words,
)

app = typer.Typer(no_args_is_help=True, help="Doses and what they do.")


@app.command("sweep")
def steer_sweep(
    agent: AgentName = "nano",
    split: Split = "val",
    episodes: Episodes = 40,
    families: Families = "reach",
    concept: Concept = "fast",
    doses: Annotated[
        str, typer.Option(help="Multiples of its coefficients.")
    ] = "0.25,0.5,0.75,1,1.5,2",
    n_random: Annotated[int, typer.Option(min=1, help="Random controls per dose.")] = 1,
    out: Annotated[Path, typer.Option(help="Run folder; resumed.")] = Path("runs/sweep"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """The dose-response curve of a concept: effect, success and controls at every dose."""
    from pilotage.scripts.cmd_sweep import sweep

    sweep(
        agent=agent,
        split=split,
        episodes=episodes,
        families=words(families),
        concept=concept,
        doses=numbers(doses, "--doses", float),
        n_random=n_random,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("patch")
def steer_patch(
    positive: Annotated[str, typer.Option("--from", help="Words whose activations are put in.")] = (
        "quickly"
    ),
    negative: Annotated[str, typer.Option("--to", help="Words of the run they go into.")] = (
        "slowly"
    ),
    agent: AgentName = "nano",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Env steps drawn from them.")] = 128,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Through which layers and tokens a word reaches the actions (activation patching)."""
    from pilotage.scripts.cmd_patch import patch

    patch(
        agent=agent,
        positive=positive,
        negative=negative,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("attribute")
def steer_attribute(
    method: Annotated[
        str,
        typer.Option(help="relp, relp-attention, atp, neuron-path; several between commas."),
    ] = "relp",
    positive: Annotated[str, typer.Option("--from", help="Words whose activations are put in.")] = (
        "quickly"
    ),
    negative: Annotated[str, typer.Option("--to", help="Words of the run they go into.")] = (
        "slowly"
    ),
    metric: Annotated[
        str, typer.Option(help="length, value, logit-difference, log-probability, kl.")
    ] = "logit-difference",
    top: Annotated[int, typer.Option(min=1, help="Places of each kind that are patched.")] = 10,
    sample: Annotated[int, typer.Option(min=3, help="Random places beside them.")] = 24,
    agent: AgentName = "nano",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Env steps drawn from them.")] = 32,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Which sites and neurons carry a word: ranked by gradients, the top checked by patching."""
    from pilotage.scripts.cmd_attribute import Asked, attribute_word

    attribute_word(
        Asked(
            agent=agent,
            methods=words(method),
            positive=positive,
            negative=negative,
            metric=metric,
            top=top,
            sample=sample,
            episodes=episodes,
            steps=steps,
            seed=seed,
            quiet=quiet,
            as_json=as_json,
        )
    )


@app.command("check")
def steer_check(
    condition: Annotated[
        list[str], typer.Option("--condition", help="A condition or a vector file; repeatable.")
    ],
    agent: AgentName = "nano",
    env: Env = "tabletop",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Env steps drawn from them.")] = 256,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Whether an edit stays in the natural range, is mere shrinking, or a few huge dimensions."""
    from pilotage.scripts.cmd_check import check

    check(
        agent=agent,
        env=env,
        conditions=condition,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("monitor")
def steer_monitor(
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="Default: baseline, fast, fast:random-matched."),
    ] = None,
    agent: AgentName = "nano",
    env: Env = "tabletop",
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
    episodes: Episodes = 48,
    families: Families = "",
    at: Annotated[str, typer.Option(help="Env steps at which signals are compared.")] = "8,16,32",
    tolerance: Annotated[int, typer.Option(min=0, help="Bins that count as the same.")] = 8,
    alpha: Annotated[float, typer.Option(help="Threshold of voids (arXiv:2505.14467).")] = 0.8,
    steps: Annotated[
        int, typer.Option(min=0, help="Env steps at which blocks are skipped; 0: none.")
    ] = 256,
    out: Annotated[Path, typer.Option(help="Run folder; resumed.")] = Path("runs/monitor"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Signals of the layers that may tell outcomes, commitment depths, and voids."""
    from pilotage.scripts.cmd_monitor import monitor

    monitor(
        agent=agent,
        env=env,
        conditions=condition or ["baseline", "fast", "fast:random-matched"],
        split=split,
        episodes=episodes,
        families=words(families),
        at=numbers(at, "--at", int),
        tolerance=tolerance,
        alpha=alpha,
        steps=steps,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("illusion")
def steer_illusion(
    positive: Annotated[str, typer.Option("--from", help="Words whose part is put in.")] = (
        "quickly"
    ),
    negative: Annotated[str, typer.Option("--to", help="Words of the run it goes into.")] = (
        "slowly"
    ),
    direction: Annotated[
        str, typer.Option(help="mean: of the difference; planted: a known illusion.")
    ] = "mean",
    group: Annotated[str, typer.Option(help="Token group, or all.")] = "proprio",
    agent: AgentName = "nano",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=4, help="Env steps drawn from them.")] = 128,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Whether a direction is read, or only wakes a dormant one (row and null space patches)."""
    from pilotage.scripts.cmd_axes import illusion

    illusion(
        agent=agent,
        positive=positive,
        negative=negative,
        made=direction,
        group=group,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("neurofeedback")
def steer_neurofeedback(
    positive: Annotated[str, typer.Option("--from", help="Words of one side.")] = "quickly",
    negative: Annotated[str, typer.Option("--to", help="Words of the other.")] = "slowly",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 1,
    dose: Annotated[float, typer.Option(help="Length of an edit, of a state's.")] = 0.2,
    agent: AgentName = "nano",
    episodes: Annotated[int, typer.Option(min=5, help="Train episodes to look at.")] = 32,
    steps: Annotated[int, typer.Option(min=64, help="Env steps drawn from them.")] = 512,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """What actions report of axes inside the agent, and what edits along these reach."""
    from pilotage.scripts.cmd_axes import neurofeedback

    neurofeedback(
        agent=agent,
        positive=positive,
        negative=negative,
        layer=layer,
        dose=dose,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("experts")
def steer_experts(
    model: Annotated[Path, typer.Option(help="Folder of a mixture of experts on disk.")],
    on: Annotated[Path, typer.Option(help="Prompts with the concept, one a line.")],
    off: Annotated[Path, typer.Option(help="Prompts without it, one a line.")],
    out: Annotated[Path, typer.Option(help="Folder for conditions.json and its vectors.")],
    n: Annotated[int, typer.Option(min=1, help="Experts, over all layers.")] = 10,
    shift: Annotated[float, typer.Option(help="Of the router's logits.")] = 50.0,
    tokens: Annotated[
        str, typer.Option(help="all, or last: where prompts of one template differ.")
    ] = "all",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Conditions that suppress or stimulate the experts of a concept, with their controls."""
    from pilotage.scripts.cmd_experts import experts

    experts(
        model=model,
        on=on,
        off=off,
        n=n,
        shift=shift,
        tokens=tokens,
        out=out,
        seed=seed,
        as_json=as_json,
    )
