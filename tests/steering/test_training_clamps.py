"""Clamps during training: gradients against a forward written by hand, the release, and removal."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, ModelMap, Selector, SiteError, describe_model
from pilotage.steering.captures import capture
from pilotage.steering.training_clamps import Release, TrainingClamp, TrainingClamps

from .conftest import make_llama
from .helpers import ids, unit

D, D_FF, HEADS, N = 12, 20, 3, 9
HELD = torch.tensor([1, 4, 5, 17])
NEURONS = "layers.0.mlp.down_proj:in"
Edit = Callable[[torch.Tensor], torch.Tensor]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(D, 3 * D)
        self.attention_out = nn.Linear(D, D)
        self.ffn_in = nn.Linear(D, D_FF)
        self.ffn_out = nn.Linear(D_FF, D)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.read(x).chunk(3, -1)
        )
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(heads.transpose(1, 2).flatten(2))
        return x + self.ffn_out(functional.silu(self.ffn_in(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(N, D)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(D, N)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def make_net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.4)
    describe_model(
        net, ModelMap("blocks", attention_out="attention_out", up="ffn_in", down="ffn_out")
    )
    return net


def by_hand(
    w: dict[str, torch.Tensor], tokens: torch.Tensor, edits: dict[str, Edit]
) -> torch.Tensor:
    """`Net` as formulas of its state dict, with functions that places are passed through."""

    def at(place: str, value: torch.Tensor) -> torch.Tensor:
        return edits[place](value) if place in edits else value

    x = torch.eye(N, dtype=torch.float64)[tokens] @ w["tokens.weight"]
    length = tokens.shape[1]
    future = torch.triu(torch.full((length, length), -torch.inf, dtype=torch.float64), 1)
    for k in range(2):

        def linear(name: str, h: torch.Tensor, k: int = k) -> torch.Tensor:
            return h @ w[f"blocks.{k}.{name}.weight"].T + w[f"blocks.{k}.{name}.bias"]

        q, key, v = linear("read", at(f"{k}.resid:in", x)).split(D, -1)
        x = at(f"{k}.resid:in", x)
        heads = []
        for h in range(HEADS):
            part = slice(h * D // HEADS, (h + 1) * D // HEADS)
            pattern = q[..., part] @ key[..., part].mT / (D / HEADS) ** 0.5 + future
            heads.append(pattern.softmax(-1) @ v[..., part])
        x = x + linear("attention_out", at(f"{k}.heads", torch.cat(heads, -1)))
        inner = linear("ffn_in", x)
        x = x + linear("ffn_out", at(f"{k}.neurons", inner * inner.sigmoid()))
        x = at(f"{k}.resid:out", x)
    return x @ w["head.weight"].T + w["head.bias"]


def gradients(
    forward: Callable[[torch.Tensor], torch.Tensor], weights: dict[str, torch.Tensor]
) -> tuple[float, dict[str, torch.Tensor]]:
    tokens = ids(3, 5, vocabulary=N)
    loss = functional.cross_entropy(forward(tokens).flatten(0, 1), tokens.flatten())
    found = torch.autograd.grad(loss, list(weights.values()))
    return float(loss.detach()), dict(zip(weights, found, strict=True))


def towards(index: torch.Tensor, level: float, strength: float) -> Edit:
    def edit(x: torch.Tensor) -> torch.Tensor:
        held = torch.zeros(x.shape[-1], dtype=torch.float64)
        held[index] = strength
        return (1 - held) * x + held * level

    return edit


def along(v: torch.Tensor, low: float, high: float, strength: float) -> Edit:
    def edit(h: torch.Tensor) -> torch.Tensor:
        there = h @ v.double()
        below, above = (there < low).double(), (there > high).double()
        far = below * (low - there) + above * (high - there)
        return h + strength * far[..., None] * v.double()

    return edit


V = unit(D, 3)
CASES: dict[str, tuple[Intervention, str, Callable[[float], Edit]]] = {
    "neurons at a value": (
        Intervention("clamp", NEURONS, 0.7, neurons=HELD),
        "0.neurons",
        lambda s: towards(HELD, 0.7, s),
    ),
    "neurons off": (
        Intervention("ablate", "layers.1.mlp.down_proj:in", 1.0, neurons=HELD),
        "1.neurons",
        lambda s: towards(HELD, 0.0, s),
    ),
    "a head off": (
        Intervention("ablate", "layers.0.self_attn.o_proj:in", 1.0, neurons=torch.arange(4, 8)),
        "0.heads",
        lambda s: towards(torch.arange(4, 8), 0.0, s),
    ),
    "a direction off": (
        Intervention("ablate", "layers.0.resid:out", 1.0, direction=V),
        "0.resid:out",
        lambda s: along(V, 0.0, 0.0, s),
    ),
    "a direction at a value": (
        Intervention("setpoint", "layers.0.resid:in", 1.0, direction=V, bounds=(0.4, 0.4)),
        "0.resid:in",
        lambda s: along(V, 0.4, 0.4, s),
    ),
    "a direction within bounds": (
        Intervention("setpoint", "layers.0.resid:out", 1.0, direction=V, bounds=(-0.2, 0.1)),
        "0.resid:out",
        lambda s: along(V, -0.2, 0.1, s),
    ),
}


@pytest.mark.parametrize("step", [0, 3, 5], ids=["held", "being released", "free"])
@pytest.mark.parametrize("case", list(CASES))
def test_gradients_are_those_of_the_forward_written_by_hand(case: str, step: int) -> None:
    intervention, place, edit = CASES[case]
    net = make_net().double()
    weights = dict(net.named_parameters())
    strength = {0: 1.0, 3: 0.75, 5: 0.0}[step]
    with TrainingClamps(net, [TrainingClamp(intervention)], Release(2, 6, "linear")) as clamps:
        clamps.at({0: 0, 3: 3, 5: 9}[step])
        assert clamps.strength == strength
        loss, found = gradients(net, weights)
    wanted_loss, wanted = gradients(
        lambda tokens: by_hand(weights, tokens, {place: edit(strength)}), weights
    )
    assert loss == pytest.approx(wanted_loss, rel=1e-12)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-9, msg=name)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_what_is_held_passes_no_gradient_at_all(level: float) -> None:
    net = make_net()
    kind = "clamp" if level else "ablate"
    clamp = TrainingClamp(Intervention(kind, NEURONS, level or 1.0, neurons=HELD))
    with TrainingClamps(net, [clamp]) as clamps, capture(net, [NEURONS]) as seen:
        clamps.at(10**9)  # without a release it holds to the end
        _, found = gradients(net, dict(net.named_parameters()))
        assert (seen.activations(NEURONS)[:, HELD] == level).all()
    into, out = found["blocks.0.ffn_in.weight"], found["blocks.0.ffn_out.weight"]
    free = torch.ones(D_FF, dtype=torch.bool)
    free[HELD] = False
    assert (into[HELD] == 0).all()
    assert (found["blocks.0.ffn_in.bias"][HELD] == 0).all()
    assert (into[free] != 0).all()
    assert (out[:, free] != 0).all()
    assert bool((out[:, HELD] != 0).all()) == (
        level != 0
    )  # a held unit is a bias to what it writes


def test_a_release_is_full_then_falls_and_is_over() -> None:
    linear, cosine, at_once = Release(10, 20, "linear"), Release(10, 20), Release(7, 7)
    for release in (linear, cosine):
        assert [release.strength(k) for k in (0, 9, 10)] == [1.0] * 3
        assert release.strength(15) == pytest.approx(0.5)
        assert [release.strength(k) for k in (20, 21, 10**6)] == [0.0] * 3
        inside = [release.strength(k) for k in range(10, 21)]
        assert inside == sorted(inside, reverse=True)
    assert linear.strength(12) == pytest.approx(0.8)
    assert cosine.strength(12) == pytest.approx(0.9045, abs=1e-4)  # (1 + cos 36 deg) / 2
    assert [at_once.strength(k) for k in (6, 7)] == [1.0, 0.0]
    assert Release(0, 0).strength(0) == 0.0
    with pytest.raises(ValueError, match="0 <= begin <= end, got begin=5, end=4"):
        Release(5, 4)
    with pytest.raises(ValueError, match="unknown shape 'stairs'"):
        Release(1, 2, "stairs")


PLACES = (
    Intervention("clamp", "layers.1.mlp.down_proj:in", 2.0, neurons=torch.tensor([3, 5])),
    Intervention("ablate", "layers.0.resid:out", 1.0, direction=unit(32, 1)),
    Intervention("ablate", "layers.2.mlp.down_proj:out", 1.0, direction=unit(32, 2)),
    Intervention("setpoint", "layers.2.resid:in", 1.0, direction=unit(32, 4), bounds=(2.0, 2.0)),
)


def test_a_released_network_is_bit_identical_and_a_closed_one_has_no_hooks(
    llama: LlamaForCausalLM,
) -> None:
    tokens, bare = ids(2, 6), copy.deepcopy(llama)

    def forward_and_backward(model: nn.Module) -> list[torch.Tensor]:
        model.zero_grad()
        logits = model(tokens).logits
        logits.square().mean().backward()
        return [logits.detach(), *(p.grad.clone() for p in model.parameters())]

    wanted = forward_and_backward(bare)
    clamps = TrainingClamps(llama, [TrainingClamp(e) for e in PLACES], Release(1, 2))
    with clamps:
        assert not torch.equal(forward_and_backward(llama)[0], wanted[0])
        clamps.at(2)
        assert all(map(torch.equal, forward_and_backward(llama), wanted))
        with pytest.raises(RuntimeError, match="attached already"):
            clamps.attach()
    with pytest.raises(ZeroDivisionError), clamps:
        raise ZeroDivisionError
    clamps.close()
    for module in llama.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert all(map(torch.equal, forward_and_backward(llama), wanted))


def test_places_of_llama_hold_what_is_asked(llama: LlamaForCausalLM) -> None:
    sites = [edit.site for edit in PLACES]
    with TrainingClamps(llama, [TrainingClamp(e) for e in PLACES]), capture(llama, sites) as seen:
        llama(ids(2, 6))
    assert (seen.activations(sites[0])[:, [3, 5]] == 2.0).all()
    for site, direction, level in ((sites[1], 1, 0.0), (sites[2], 2, 0.0), (sites[3], 4, 2.0)):
        along = seen.activations(site) @ unit(32, direction)
        torch.testing.assert_close(along, torch.full_like(along, level), atol=2e-5, rtol=0)


def test_held_to_the_start_follows_the_input_but_not_the_learning() -> None:
    net = make_net()
    first = copy.deepcopy(net)
    describe_model(first, ModelMap("blocks", attention_out="attention_out", down="ffn_out"))
    heads = torch.arange(4, 8)
    edits = [
        Intervention("ablate", "layers.1.self_attn.o_proj:in", 1.0, neurons=heads),
        Intervention("ablate", "layers.0.resid:out", 1.0, direction=V),
    ]
    held = TrainingClamps(net, [TrainingClamp(e, to_start=True) for e in edits], Release(5, 5))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    with held:
        for k in range(3):
            optimizer.zero_grad()
            tokens = ids(4, 6, seed=k, vocabulary=N)
            functional.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten()).backward()
            assert (net.blocks[1].read.weight.grad[2 * D + heads] == 0).all()  # their values
            optimizer.step()
        tokens = ids(2, 5, seed=9, vocabulary=N)
        sites = [edit.site for edit in edits]
        with capture(net, sites) as now, torch.no_grad():
            net(tokens)
        held.at(5)
        with capture(net, sites) as free, torch.no_grad():
            net(tokens)
    with capture(first, sites) as before, torch.no_grad():
        first(tokens)
    at_start = before.activations(sites[0])[:, heads]
    assert torch.equal(now.activations(sites[0])[:, heads], at_start)
    assert not torch.allclose(free.activations(sites[0])[:, heads], at_start, atol=1e-3)
    rest = [k for k in range(D) if k not in heads.tolist()]
    moved = now.activations(sites[0])[:, rest] - before.activations(sites[0])[:, rest]
    assert moved.abs().max() > 1e-3
    torch.testing.assert_close(now.activations(sites[1]) @ V, before.activations(sites[1]) @ V)


def test_the_start_must_have_seen_the_input() -> None:
    net = make_net()
    outer = nn.Sequential(net)
    edit = Intervention("ablate", NEURONS, 1.0, neurons=HELD)
    clamps = TrainingClamps(net, [TrainingClamp(edit, to_start=True)], root=outer)
    with clamps:
        outer(ids(1, 3, vocabulary=N))
        with pytest.raises(RuntimeError, match="call the Sequential as a whole"):
            net(ids(1, 3, vocabulary=N))
    with pytest.raises(ValueError, match="they stay there"):
        clamps.onto(copy.deepcopy(net))
    with pytest.raises(ValueError, match="the Net is no part of Net"):
        TrainingClamps(net, [TrainingClamp(edit, to_start=True)], root=make_net())


def test_a_copy_can_be_judged_as_the_network_is_trained(llama: LlamaForCausalLM) -> None:
    tokens, other = ids(2, 6), copy.deepcopy(llama)
    with TrainingClamps(llama, [TrainingClamp(e) for e in PLACES], Release(0, 4)) as clamps:
        clamps.at(1)
        twin = clamps.onto(other)
        assert torch.equal(llama(tokens).logits, other(tokens).logits)
        twin.close()
        assert not torch.equal(llama(tokens).logits, other(tokens).logits)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("to_start", [False, True])
def test_a_compiled_training_is_the_same_training(to_start: bool) -> None:
    """Over the whole of a release; the strength changes without a new compilation."""
    results = []
    for compiled in (False, True):
        net = make_net()
        edit = Intervention("ablate", NEURONS, 1.0, neurons=HELD)
        turn = Intervention("ablate", "layers.1.resid:out", 1.0, direction=V)
        made = [TrainingClamp(edit, to_start), TrainingClamp(turn)]
        graphs: list[object] = []

        def backend(graph: torch.fx.GraphModule, _: object, kept: list = graphs) -> object:
            kept.append(graph)
            return graph

        clamps = TrainingClamps(net, made, Release(2, 5)).attach()
        run = torch.compile(net, backend=backend) if compiled else net
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        counts = []
        for step in range(8):
            clamps.at(step)
            tokens = ids(4, 6, seed=step, vocabulary=N)
            optimizer.zero_grad()
            functional.cross_entropy(run(tokens).flatten(0, 1), tokens.flatten()).backward()
            optimizer.step()
            counts.append(len(graphs))
        if compiled:
            assert counts[0] == counts[4] > 0
        results.append([p.detach().clone() for p in net.parameters()])
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(eager, fast, atol=1e-6, rtol=1e-5)


def test_what_is_no_training_clamp_is_refused() -> None:
    add = Intervention("add", "layers.0.resid:out", 1.0, direction=V)
    with pytest.raises(ValueError, match=r"add at layers\.0\.resid:out holds nothing"):
        TrainingClamp(add)
    with pytest.raises(ValueError, match=r"has coefficient 0\.5; a training clamp holds with 1"):
        TrainingClamp(Intervention("ablate", NEURONS, 0.5, neurons=HELD))
    with pytest.raises(ValueError, match="write what is held to the network's start as `ablate`"):
        TrainingClamp(Intervention("clamp", NEURONS, 1.0, neurons=HELD), to_start=True)
    late = Selector(env_steps=(3, 4))
    with pytest.raises(ValueError, match="acts at every token"):
        TrainingClamp(Intervention("ablate", NEURONS, 1.0, neurons=HELD, selector=late))
    with pytest.raises(ValueError, match="there are no clamps"):
        TrainingClamps(make_net(), [])
    beyond = TrainingClamp(Intervention("ablate", NEURONS, 1.0, neurons=torch.tensor([D_FF])))
    with pytest.raises(ValueError, match="neuron 20 does not exist, the site has 20"):
        TrainingClamps(make_net(), [beyond])
    nowhere = TrainingClamp(Intervention("ablate", "layers.7.resid:in", 1.0, direction=V))
    with pytest.raises(SiteError, match="layers 0 to 1"):
        TrainingClamps(make_net(), [nowhere])
    fine = TrainingClamps(
        make_net(), [TrainingClamp(Intervention("ablate", NEURONS, 1.0, neurons=HELD))]
    )
    with pytest.raises(ValueError, match="step must be >= 0, got -1"):
        fine.at(-1)


def test_a_digest_names_what_is_held_and_until_when() -> None:
    net = make_net()
    off = TrainingClamp(Intervention("ablate", NEURONS, 1.0, neurons=HELD))
    at_start = TrainingClamp(off.intervention, to_start=True)
    other = TrainingClamp(Intervention("ablate", NEURONS, 1.0, neurons=HELD + 1))
    made = [
        TrainingClamps(net, clamps, release).digest
        for clamps, release in (
            ([off], None),
            ([off], Release(1, 2)),
            ([off], Release(1, 2, "linear")),
            ([at_start], None),
            ([other], None),
        )
    ]
    assert len(set(made)) == 5
    assert TrainingClamps(make_net(1), [off], Release(1, 2)).digest == made[1]
    assert make_llama().config.num_hidden_layers == 3
