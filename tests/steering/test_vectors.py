"""Vectors, neuron sets, specs: what is written is read back, and what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from pilotage.steering import (
    ArtefactError,
    Intervention,
    NeuronSet,
    Selector,
    Steerer,
    SteeringVector,
    capture,
    load_neurons,
    load_vector,
    mean_difference,
    model_digest,
    random_matched,
    save_neurons,
    save_vector,
)

from .conftest import make_llama
from .helpers import NEURONS, RESID, begin, every_kind, groups, ids, steered_logits, unit


def a_vector(model: LlamaForCausalLM) -> SteeringVector:
    return SteeringVector(RESID, unit(32, 1), 2.5, model_digest(model), "by hand", {"n": 3})


def test_mean_difference_of_pairs() -> None:
    noise = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(8)
    shift[2], shift[5] = 3.0, -4.0
    vector = mean_difference(noise + shift, noise, site=RESID)
    assert vector.norm == pytest.approx(5.0, rel=1e-6)
    assert torch.allclose(vector.direction * 5, shift, atol=1e-5)
    assert vector.source["n_pairs"] == 20
    what = vector.intervention(scale=-2.0)
    assert what.coefficient == pytest.approx(-10.0, rel=1e-6)


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 4), "is zero"),
        (torch.zeros(3, 4), torch.zeros(2, 4), "paired"),
        (torch.zeros(0, 4), torch.zeros(0, 4), "paired"),
        (torch.tensor([[1.0], [torch.nan]]), torch.zeros(2, 1), "positive .* row 1 is not finite"),
    ],
)
def test_mean_difference_refuses(
    positive: torch.Tensor, negative: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_difference(positive, negative, site=RESID)


def test_captured_difference_is_an_added_vector(llama: LlamaForCausalLM) -> None:
    """Capturing with and without an addition, and taking the mean difference, gives it back."""
    tokens, layout, v = ids(4, 6), groups(4, 6) * 0, unit(32, 5)
    sides = []
    for rows in ([], [Intervention("add", RESID, 3.0, direction=v)]):
        with Steerer(llama, n_rows=4) as steerer, torch.no_grad():
            for row in range(4):
                steerer.set_row(row, rows)
            with capture(llama, [RESID], reduce="mean") as seen:
                begin(steerer, layout)
                llama(tokens)
        sides.append(seen.activations(RESID))
    vector = mean_difference(sides[1], sides[0], site=RESID)
    assert vector.norm == pytest.approx(3.0, rel=1e-5)
    assert torch.allclose(vector.direction, v, atol=1e-5)


def test_capture_selects_tokens(llama: LlamaForCausalLM) -> None:
    tokens = ids(2, 5)
    mask = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0]], dtype=torch.bool)
    found = {}
    for reduce in ("all", "mean", "last"):
        with capture(llama, [RESID, NEURONS], reduce=reduce) as seen, torch.no_grad():
            if reduce == "all":
                llama(tokens)
                whole = seen.activations(RESID).reshape(2, 5, 32)
                seen.clear()
            seen.select(mask)
            llama(tokens)
            found[reduce] = seen.activations(RESID)
            assert seen.activations(NEURONS).shape[1] == 48
    assert torch.equal(
        found["all"], torch.stack([whole[0, 0], whole[0, 1], whole[1, 1], whole[1, 3]])
    )
    assert torch.allclose(found["mean"][1], (whole[1, 1] + whole[1, 3]) / 2, atol=1e-6)
    assert torch.equal(found["last"], torch.stack([whole[0, 1], whole[1, 3]]))


def test_capture_refuses(llama: LlamaForCausalLM) -> None:
    seen = capture(llama, [RESID], reduce="last")
    with pytest.raises(ValueError, match="row 1 has no selected token"):
        seen.select(torch.tensor([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="no forward ran"):
        seen.activations(RESID)
    with pytest.raises(KeyError, match=r"there are: layers\.1\.resid:out"):
        seen.activations(NEURONS)
    with seen, torch.no_grad():
        seen.select(torch.ones(1, 4, dtype=torch.bool))
        with pytest.raises(ValueError, match="call select before each forward"):
            llama(ids(1, 3))


def test_vector_file_round_trip(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    vector = a_vector(llama)
    save_vector(vector, tmp_path / "v.safetensors")
    read = load_vector(tmp_path / "v.safetensors", llama)
    assert torch.equal(read.direction, vector.direction)
    for name in ("site", "norm", "model_digest", "method", "source", "digest"):
        assert getattr(read, name) == getattr(vector, name)
    assert [path.name for path in tmp_path.iterdir()] == ["v.safetensors"]


def test_vector_of_another_model_is_refused(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    path, other = tmp_path / "v.safetensors", make_llama(seed=1)
    save_vector(a_vector(other), path)
    with pytest.raises(ArtefactError) as caught:
        load_vector(path, llama)
    for part in ("v.safetensors", model_digest(other), model_digest(llama), "allow_other_model"):
        assert part in str(caught.value)
    assert load_vector(path, llama, allow_other_model=True).norm == 2.5
    with pytest.raises(ArtefactError, match=r"has 16 in this model|32 numbers"):
        load_vector(path, make_llama(hidden_size=16), allow_other_model=True)
    with pytest.raises(ArtefactError, match="layers 0 to 0"):
        load_vector(path, make_llama(num_hidden_layers=1), allow_other_model=True)


def test_model_digest_sees_one_changed_number(llama: LlamaForCausalLM) -> None:
    before = model_digest(llama)
    assert model_digest(make_llama()) == before
    with torch.no_grad():
        llama.model.layers[2].mlp.down_proj.weight[0, 0] += 1e-3
    assert model_digest(llama) != before


def test_damaged_files_are_refused(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    whole, broken = tmp_path / "v.safetensors", tmp_path / "broken.safetensors"
    save_vector(a_vector(llama), whole)
    data = whole.read_bytes()
    for size in (0, 4, 100, len(data) - 1):
        broken.write_bytes(data[:size])
        with pytest.raises(ArtefactError, match=r"broken\.safetensors is damaged"):
            load_vector(broken)
    flipped = bytearray(data)
    flipped[-4] ^= 1  # the last bit of the last number
    broken.write_bytes(bytes(flipped))
    with pytest.raises(ArtefactError, match=r"broken.*do not match the digest"):
        load_vector(broken)
    save_file({"direction": unit(32, 1)}, broken)
    with pytest.raises(ArtefactError, match="no Pilotage header"):
        load_vector(broken)
    with pytest.raises(ArtefactError, match="is a steering vector file, not a neuron set"):
        load_neurons(whole)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        load_vector(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("direction", "norm", "message"),
    [
        (torch.zeros(4), 1.0, "length 0"),
        (torch.full((4,), torch.nan), 1.0, "not finite"),
        (torch.ones(4), 1.0, "length 2"),
        (torch.tensor([1.0, 0]), 0.0, "norm is 0"),
        (torch.tensor([1.0, 0]), torch.inf, "norm is inf"),
        (torch.eye(2), 1.0, r"must be \[d\]"),
    ],
)
def test_bad_vectors_are_refused(direction: torch.Tensor, norm: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SteeringVector(RESID, direction, norm)


def test_failed_write_leaves_the_old_file(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_vector(a_vector(llama), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save_vector(SteeringVector(RESID, unit(32, 2), 1.0, source={"x": float("nan")}), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_neuron_set_round_trip_and_interventions(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    neurons = NeuronSet(((2, 4), (0, 7), (2, 1)), 10.0, model_digest(llama), "by hand", {"a": 1})
    save_neurons(neurons, tmp_path / "n.safetensors")
    assert load_neurons(tmp_path / "n.safetensors", llama) == neurons
    first, second = neurons.interventions()
    assert (first.site, first.neurons.tolist()) == ("layers.0.mlp.down_proj:in", [7])
    assert (second.site, second.neurons.tolist()) == ("layers.2.mlp.down_proj:in", [1, 4])
    assert second.coefficient == 10.0
    with pytest.raises(ArtefactError, match="neuron 7 at"):
        load_neurons(
            tmp_path / "n.safetensors", make_llama(intermediate_size=6), allow_other_model=True
        )
    with pytest.raises(ValueError, match="distinct"):
        NeuronSet(((0, 1), (0, 1)), 1.0)


def test_specs_round_trip(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    """Every kind, with a control and a selector, through JSON text, gives the same logits."""
    tokens = ids(2, 6)
    selector = Selector(
        frozenset({"instruction", "image"}), frozenset({"prefill"}), None, env_steps=(0, 9)
    )
    for what in every_kind():
        chosen = replace(what, selector=selector)
        for one in (chosen, random_matched(chosen, llama, 3, orthogonal=True)):
            spec = json.loads(json.dumps(one.to_spec(tmp_path)))
            read = Intervention.from_spec(spec, tmp_path)
            assert read.digest == one.digest
            assert read.selector == selector
            assert torch.equal(
                steered_logits(llama, tokens, {0: [read]}),
                steered_logits(llama, tokens, {0: [one]}),
            )


def test_spec_by_hand_scales_a_vector_file(llama: LlamaForCausalLM, tmp_path: Path) -> None:
    save_vector(a_vector(llama), tmp_path / "fast.safetensors")
    spec = {"kind": "add", "site": RESID, "scale": 2.0, "vector": "fast.safetensors"}
    what = Intervention.from_spec(spec, tmp_path, model_digest=model_digest(llama))
    assert what.coefficient == 5.0
    assert what.to_spec()["vector"]["file"] == "fast.safetensors"
    control = Intervention.from_spec({"random_matched": {"seed": 1}, "target": spec}, tmp_path)
    assert control.digest == random_matched(what, None, 1).digest
    neurons = {"kind": "clamp", "site": NEURONS, "coefficient": 2, "neurons": [1, 2]}
    both = {"random_matched": {"seed": 1}, "target": neurons}
    assert Intervention.from_spec(both, decoder=llama).n_neurons == 2
    with pytest.raises(ValueError, match="needs the decoder"):
        Intervention.from_spec(both)
    with pytest.raises(ArtefactError, match="made with the model"):
        Intervention.from_spec(spec, tmp_path, model_digest="0" * 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kidn": "add"}, r"unknown fields \['kidn'\]"),
        ({"scale": 1.0}, "either 'coefficient' or 'scale'"),
        ({"selector": {"group": ["image"]}}, "unknown selector fields"),
        ({"site": "layers.0.resid:out"}, "the spec says"),
        ({"vector": {"file": "v.safetensors", "digest": "00"}}, "the spec asks for 00"),
        ({"kind": "push"}, "unknown intervention kind"),
    ],
)
def test_bad_specs_are_refused(
    llama: LlamaForCausalLM, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    save_vector(a_vector(llama), tmp_path / "v.safetensors")
    spec = {"kind": "add", "site": RESID, "coefficient": 1.0, "vector": "v.safetensors", **changes}
    with pytest.raises(ValueError, match=message):
        Intervention.from_spec(spec, tmp_path)


def test_direction_without_a_file_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="pass a folder"):
        every_kind()[0].to_spec()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "clamp", "direction": unit(4, 0)}, "needs neurons"),
        ({"kind": "add", "neurons": [1]}, "needs a direction"),
        ({"kind": "add"}, "needs a direction and nothing else, got nothing"),
        ({"kind": "affine", "direction": unit(4, 0)}, "needs an affine map"),
        ({"kind": "setpoint", "direction": unit(4, 0)}, "setpoint, which needs them"),
        ({"kind": "setpoint", "direction": unit(4, 0), "bounds": (2, 1)}, "low <= high"),
        ({"kind": "add", "direction": unit(4, 0), "bounds": (1, 2)}, "bounds are for a setpoint"),
        ({"kind": "affine", "affine": torch.ones(3, 4)}, r"\[2, d\], got \[3, 4\]"),
        ({"kind": "clamp", "neurons": [1]}, "not at layers.1.resid:out"),
        ({"kind": "clamp", "site": NEURONS, "neurons": [1, 1]}, "distinct"),
        ({"kind": "clamp", "site": NEURONS, "neurons": []}, "non-empty"),
        (
            {"kind": "add", "direction": unit(4, 0), "coefficient": float("nan")},
            "coefficient is nan",
        ),
        ({"kind": "add", "direction": unit(4, 0), "matched_to": every_kind()[1]}, "has the kind"),
    ],
)
def test_bad_interventions_are_refused(settings: dict[str, object], message: str) -> None:
    values = {"site": RESID, "coefficient": 1.0, **settings}
    if "neurons" in values:
        values["neurons"] = torch.tensor(values["neurons"])
    with pytest.raises(ValueError, match=message):
        Intervention(**values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_groups": frozenset({"pad"})}, "padding is never edited"),
        ({"token_groups": frozenset()}, "empty"),
        ({"token_groups": "image"}, r"write \['image'\]"),
        ({"phases": frozenset({"encode"})}, "prefill, decode"),
        ({"decode_tokens": (0,), "phases": frozenset({"prefill"})}, "nothing is left"),
        ({"decode_tokens": (-1,)}, ">= 0"),
        ({"env_steps": (3, 3)}, "env_steps must be .* first < stop"),
        ({"replans": (-1, 3)}, "replans must be .* first < stop"),
        ({"denoise_steps": ()}, "denoise_steps must be indices >= 0"),
    ],
)
def test_bad_selectors_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selector(**settings)
