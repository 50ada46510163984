"""`pilotage project` and `pilotage vector`: reading a VLA's decoder and making directions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.agents.vla.rollouts import Rollouts
from pilotage.scripts.opening import load_readable, load_vla
from pilotage.scripts.rollouts import Rolling, play_rollouts

CONCEPTS = {
    "slow": ["slowly", "slow", "leisurely"],
    "fast": ["quickly", "fast", "rapidly", "swiftly"],
    "up": ["up", "high", "lift", "raise"],
    "down": ["down", "low", "lower"],
    "left": ["left"],
    "right": ["right"],
    "gentle": ["gently", "carefully", "softly"],
}


def concept_ids(tokenizer: Any, concept: str) -> list[int]:
    """Token ids of a concept: one of `CONCEPTS` (words the agent knows), or plain words.

    KeyError lists the concepts when a word is unknown to the agent.
    """
    if concept in CONCEPTS:
        known = [w for w in CONCEPTS[concept] if w in tokenizer.words]
        if known:
            return [tokenizer.id_of(w) for w in known]
    try:
        return tokenizer.encode(concept)
    except (KeyError, ValueError) as error:
        raise KeyError(f"{error.args[0]}; concepts: {', '.join(CONCEPTS)}") from error


def project(
    *, agent: str, env: str, top: int, concept: str | None, per_layer: int, as_json: bool
) -> None:
    """See `pilotage project --help`."""
    from pilotage.steering.projection import project_layers, search

    vla = load_readable(agent, env)
    model, tokenizer = vla.model, vla.model.tokenizer
    projections = dict(project_layers(model.decoder, top_k=top))
    if concept is not None:
        hits = search(model.decoder, concept_ids(tokenizer, concept), by="cosine", limit=top)
        rows = [
            {
                "layer": h.layer,
                "neuron": h.neuron,
                "cosine": round(h.score, 4),
                "tokens": " ".join(projections[h.layer].words(h.neuron, tokenizer.text_of)),
            }
            for h in hits
        ]
        _print(rows, f"value vectors nearest to {concept!r}", as_json)
        return
    shares, strongest = [], []
    for layer, projection in projections.items():
        share = projection.share(model.action_ids)
        shares.append(
            {
                "layer": layer,
                "neurons": len(share),
                "action_share": round(float(share.mean()), 4),
                "all_action": int((share == 1).sum()),
                "all_words": int((share == 0).sum()),
            }
        )
        for neuron in projection.logits[:, 0].topk(per_layer).indices.tolist():
            words = " ".join(projection.words(neuron, tokenizer.text_of))
            strongest.append({"layer": layer, "neuron": neuron, "tokens": words})
    if as_json:
        print(json.dumps({"layers": shares, "neurons": strongest}, indent=1))
        return
    _print(shares, f"share of action bins among the top {top} tokens", False)
    _print(strongest, f"the {per_layer} neurons with the largest top logit, per layer", False)


def _print(rows: list[dict[str, Any]], title: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console

    from pilotage.episodes.tables import to_rich

    Console().print(to_rich(rows, title=title))


def vector(
    *,
    agent: str,
    env: str,
    method: str,
    positive: str,
    negative: str,
    layer: int,
    out: Path,
    episodes: int,
    pairs: int,
    shuffle: int | None,
    seed: int,
    quiet: bool,
    rolling: Rolling | None = None,
    kl: float | None = None,
    norm: float | None = None,
) -> None:
    """See `pilotage vector --help`."""
    from pilotage.scripts.doses import calibrated
    from pilotage.scripts.vector_methods import MAPS, WORDLESS, Fitting, check_method
    from pilotage.steering.gguf_files import export_gguf
    from pilotage.steering.maps import AffineMap, save_map
    from pilotage.steering.vectors import save_vector

    check_method(method, shuffle)
    if out.suffix == ".gguf" and method in MAPS:
        raise ValueError(f"{out}: {method} gives a map, not a vector; write a .safetensors file")
    if not positive and method not in WORDLESS:
        raise ValueError(f"--method {method} needs --from, the words behind the instruction")
    if kl is not None and norm is not None:
        raise ValueError("--kl and --norm are two doses; give one of them")
    if out.suffix == ".gguf" and not (kl is None and norm is None):
        raise ValueError(f"{out} has no place for a calibration; write a .safetensors file")
    _check_can_write(out, layer)
    found = paired_sides(
        agent=agent,
        env=env,
        positive=positive,
        negative=negative,
        layers=[layer],
        episodes=episodes,
        pairs=pairs,
        seed=seed,
        quiet=quiet,
    )
    found.rolling = rolling or found.rolling
    fitting = Fitting(found, layer, mix=shuffle)
    made = fitting.fit(method)
    told = ""
    if kl is not None or norm is not None:
        made = calibrated(fitting, made, "norm" if kl is None else "kl", kl or norm or 0.0)
        told = ", {measure} {reached:.3g} at coefficient {coefficient:.4g} ({how})".format(
            **made.calibration
        )
    if isinstance(made, AffineMap):
        save_map(made, out)
    elif out.suffix == ".gguf":
        export_gguf([made], out, model_hint="llama")
    else:
        save_vector(made, out)
    print(f"{out}: {made.site}, {method}, norm {made.norm:.4f}, {pairs} pairs{told}")


def _check_can_write(out: Path, layer: int) -> None:
    """Refuse before anything is played what could not be written behind it."""
    if out.suffix not in (".safetensors", ".gguf"):
        raise ValueError(f"{out}: a vector is a .safetensors or a .gguf file")
    if out.suffix == ".gguf":
        from pilotage.steering.gguf_files import check_layer

        check_layer(layer)


@dataclass
class PairedSides:
    """Paired activations of an agent by layer, and where they come from: the agent, the episodes
    that it looked at, and in words."""

    sides: dict[int, tuple[Any, Any]]  # layer -> positive, negative float32 [n, d]
    model_digest: str
    source: dict[str, Any]
    vla: Any
    demos: list[Any]
    rolling: Rolling = field(default_factory=Rolling)
    rollouts: Rollouts | None = None  # played when a method asks for them
    quiet: bool = True

    def rolled_out(self, site: str) -> Rollouts:
        """Rollouts of train tasks with the activations at a site; played once."""
        if self.rollouts is None or site not in self.rollouts.activations:
            self.rollouts = play_rollouts(
                self.vla,
                self.source["env"],
                self.rolling,
                sites=[f"layers.{layer}.resid:out" for layer in self.sides],
                seed=self.source["seed"],
                quiet=self.quiet,
            )
        return self.rollouts

    def fit(self, method: Any, layer: int, sides: tuple[Any, Any] | None = None) -> Any:
        """The steering vector of a method at a layer."""
        return method(
            *(self.sides[layer] if sides is None else sides),
            site=f"layers.{layer}.resid:out",
            model_digest=self.model_digest,
            source=self.source,
        )


def mean_difference_vectors(**options: Any) -> dict[int, Any]:
    """A mean-difference vector a layer; options as in `paired_sides`."""
    from pilotage.steering.vectors import mean_difference

    found = paired_sides(**options)
    return {layer: found.fit(mean_difference, layer) for layer in found.sides}


def paired_sides(
    *,
    agent: str,
    env: str,
    positive: str,
    negative: str,
    layers: list[int],
    episodes: int = 48,
    pairs: int = 512,
    seed: int = 0,
    quiet: bool = True,
    families: Sequence[str] = (),
) -> PairedSides:
    """By layer, the residual under the instruction with `positive` behind it and with `negative`,
    at the tokens that lead to actions, on plain train tasks (of `families`, or all) that the expert
    plays."""
    from pilotage.agents.vla.activations import paired_activations
    from pilotage.steering.artefacts import model_digest

    vla = load_vla(agent, env)
    for text in (positive, negative):
        if text:
            vla.model.tokenizer.encode(text)  # unknown words are refused before anything is played
    demos = expert_demos(vla, env, episodes, seed=seed, quiet=quiet, families=families)
    sites = {layer: f"layers.{layer}.resid:out" for layer in layers}
    found = paired_activations(
        vla.model,
        demos,
        positive=positive,
        negative=negative,
        sites=list(sites.values()),
        n_pairs=pairs,
        seed=seed,
    )
    digest = model_digest(vla.model.decoder)
    source = {
        "agent": vla.agent_id,
        "env": env,
        "positive": positive,
        "negative": negative,
        "token_groups": ["proprio", "action"],
        "episodes": episodes,
        "seed": seed,
        "split": "train",
        **({"families": list(families)} if families else {}),
    }
    sides = {layer: found[site] for layer, site in sites.items()}
    return PairedSides(sides, digest, source, vla, demos, quiet=quiet)


def expert_demos(
    vla: Any, env: str, episodes: int, *, seed: int, quiet: bool, families: Sequence[str] = ()
) -> list[Any]:
    """Plain train tasks (of `families`, or all) played by the expert, as demos that `vla` can look
    at."""
    from pilotage.agents.vla.demos import Driver, collect
    from pilotage.scripts.opening import make_tasks, progress_bar
    from pilotage.scripts.worlds import training_world

    world = training_world(env)
    options: dict[str, Any] = {"manners": "none"} if env == "tabletop" else {}
    tasks = make_tasks(env, "train", episodes, seed=seed + 77, families=families, **options)
    envs = world.make_envs(8)
    bar, move = progress_bar(episodes, "episodes", quiet=quiet)
    try:
        with bar:
            return collect(
                envs,
                tasks,
                config=vla.config,
                driver=Driver(max_steps=world.max_collect_steps),
                aux_targets=world.aux_targets,
                seed=seed,
                progress=move,
            )
    finally:
        envs.close()
