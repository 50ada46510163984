"""Rows, selectors, caches, receipts, and clean removal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache, LlamaForCausalLM

from pilotage.agents.vla.cache import CACHE_ARGUMENT
from pilotage.steering import (
    Intervention,
    ReceiptMismatch,
    Selector,
    SiteError,
    Steerer,
    random_matched,
)
from pilotage.steering.tokens import GROUP_IDS, GROUP_NAMES

from .conftest import make_llama
from .helpers import RESID, begin, every_kind, groups, ids, only, steered_logits, unit


def all_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("number", range(5))
def test_coefficient_zero_and_unsteered_rows_are_bit_identical(
    llama: LlamaForCausalLM, number: int
) -> None:
    tokens = ids(6, 8)
    with torch.no_grad():
        plain = llama(tokens).logits
    what = every_kind()[number]
    rows = {
        1: [what],
        2: [what.with_coefficient(0.0)],
        3: [random_matched(what, llama, 1)],
        4: [random_matched(what, llama, 1).with_coefficient(0.0)],
    }
    out = steered_logits(llama, tokens, rows)
    for row in (0, 2, 4, 5):
        assert torch.equal(out[row], plain[row])
    for row in (1, 3):
        assert not torch.allclose(out[row], plain[row], atol=1e-3)
    with torch.no_grad():
        assert torch.equal(llama(tokens).logits, plain)


def test_negative_zero_survives_in_unedited_rows(llama: LlamaForCausalLM) -> None:
    """Bit-identity, not only equality: adding 0.0 would turn -0.0 into 0.0."""
    branch = llama.model.layers[1].mlp.down_proj
    kept: list[torch.Tensor] = []
    zeros = branch.register_forward_hook(lambda m, a, out: torch.full_like(out, -0.0))
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 1))])
        look = branch.register_forward_hook(lambda m, a, out: kept.append(out))
        begin(steerer, groups(2, 4))
        llama(ids(2, 4))
        look.remove()
    zeros.remove()
    assert torch.signbit(kept[0][1]).all()
    assert torch.signbit(kept[0][0, -1]).all()  # padding
    assert not torch.signbit(kept[0][0, :-1]).all()


def conditions(model: nn.Module) -> list[list[Intervention]]:
    """Eight different conditions, among them an empty one and rows with several interventions."""
    kinds = every_kind()
    return [
        [],
        [kinds[0]],
        [random_matched(kinds[0], model, 4), kinds[3]],
        [kinds[1]],
        [random_matched(kinds[1], model, 4)],
        [random_matched(kinds[3], model, 4)],
        [kinds[2], kinds[0], kinds[4]],
        [Intervention("clamp", "layers.0.mlp.down_proj:in", 2.0, neurons=torch.arange(7))],
    ]


def test_rows_of_a_mixed_batch_equal_the_rows_alone(llama: LlamaForCausalLM) -> None:
    """In a batch of the same shape bit-identical, alone close; receipts the same bits too."""
    tokens, mixed = ids(8, 7), conditions(llama)
    layout = groups(8, 7)
    together = steered_logits(llama, tokens, dict(enumerate(mixed)), layout)
    for row, interventions in enumerate(mixed):
        same_shape = steered_logits(llama, tokens, {row: interventions}, layout)
        assert torch.equal(together[row], same_shape[row])
        alone = steered_logits(
            llama, tokens[row : row + 1], {0: interventions}, layout[row : row + 1]
        )
        assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_batch_rows_may_be_any_of_the_steerer_rows(llama: LlamaForCausalLM) -> None:
    tokens, mixed = ids(8, 7), conditions(llama)
    together = steered_logits(llama, tokens, dict(enumerate(mixed)))
    with Steerer(llama, n_rows=11) as steerer, torch.no_grad():
        order = torch.tensor([10, 0, 3, 7, 1, 9, 2, 5])
        for position, row in enumerate(order.tolist()):
            steerer.set_row(row, mixed[position])
        for _ in range(2):
            begin(steerer, groups(8, 7) * 0, rows=order)
            assert torch.equal(llama(tokens).logits, together)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        assert torch.allclose(llama(tokens[2:5]).logits, together[2:5], atol=1e-4)
        steerer.set_coefficient(7, 0, 0.3)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        weaker = llama(tokens[2:5]).logits[1]
        steerer.set_coefficient(3, 0, 0.0)
        steerer.set_coefficient(3, 1, 0.0)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        assert torch.equal(llama(tokens[2:5]).logits[0], llama_plain(llama, tokens[2:5])[0])
    alone = steered_logits(llama, tokens[3:4], {0: [mixed[3][0].with_coefficient(0.3)]})
    assert torch.allclose(weaker, alone[0], atol=1e-4)


def llama_plain(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    copy = make_llama()
    copy.load_state_dict(model.state_dict())
    return copy(tokens).logits


def run_cached(
    model: nn.Module, tokens: torch.Tensor, n_prompt: int, steerer: Steerer, layout: np.ndarray
) -> torch.Tensor:
    cache, logits = DynamicCache(config=model.config), []
    begin(steerer, layout[:, :n_prompt])
    logits.append(model(tokens[:, :n_prompt], use_cache=True, **{CACHE_ARGUMENT: cache}).logits)
    for k in range(tokens.shape[1] - n_prompt):
        at = slice(n_prompt + k, n_prompt + k + 1)
        begin(steerer, layout[:, at], phase="decode", decode_token=k)
        logits.append(model(tokens[:, at], use_cache=True, **{CACHE_ARGUMENT: cache}).logits)
    return torch.cat(logits, 1)


def test_cached_decode_equals_one_uncached_forward(llama: LlamaForCausalLM) -> None:
    tokens, mixed = ids(8, 9), conditions(llama)
    layout = groups(8, 9)
    whole = steered_logits(llama, tokens, dict(enumerate(mixed)), layout)
    with Steerer(llama, n_rows=8) as steerer, torch.no_grad():
        for row, interventions in enumerate(mixed):
            steerer.set_row(row, interventions)
        stepwise = run_cached(llama, tokens, 5, steerer, layout)
        receipts = [steerer.receipt(row) for row in range(8)]
    assert torch.allclose(whole, stepwise, atol=1e-4)
    for row, receipt in enumerate(receipts):
        steerer.check_receipt(receipt)
        assert receipt["forwards"] == {"prefill": 1, "decode": 4}
        for entry in receipt["interventions"]:
            decoded = 3 if row == 0 else 4
            assert entry["edited_tokens"] == {"prefill": 5, "decode": decoded}


def expected_tokens(
    selector: Selector,
    layout: np.ndarray,
    phase: str,
    decode_token: int,
    env_steps: Sequence[int],
    live: Sequence[bool],
) -> np.ndarray:
    """The selector read word by word, token by token."""
    mask = np.zeros(layout.shape, bool)
    for row in range(layout.shape[0]):
        for token in range(layout.shape[1]):
            name = GROUP_NAMES[int(layout[row, token])]
            mask[row, token] = (
                live[row]
                and name != "pad"
                and (selector.token_groups is None or name in selector.token_groups)
                and (selector.phases is None or phase in selector.phases)
                and (
                    selector.decode_tokens is None
                    or (phase == "decode" and decode_token in selector.decode_tokens)
                )
                and (
                    selector.env_steps is None
                    or selector.env_steps[0] <= env_steps[row] < selector.env_steps[1]
                )
            )
    return mask


NAMES = sorted(set(GROUP_IDS) - {"pad"})
SELECTORS = st.builds(
    Selector,
    token_groups=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
    phases=st.none() | st.just(frozenset({"decode"})) | st.just(frozenset({"prefill", "decode"})),
    decode_tokens=st.none() | st.lists(st.integers(0, 3), min_size=1).map(tuple),
    env_steps=st.none() | st.tuples(st.integers(0, 2), st.integers(3, 5)),
)
SHARED = make_llama(num_hidden_layers=2)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_edited_tokens_are_the_selected_ones(data: st.DataObject) -> None:
    """Which tokens changed, seen by a plain hook, against the selector read word by word."""
    n_rows, n_tokens = 3, 5
    selectors = [data.draw(SELECTORS) for _ in range(n_rows)]
    shape = st.lists(st.integers(-1, 5), min_size=n_tokens, max_size=n_tokens)
    layout = np.array([data.draw(shape) for _ in range(n_rows)], np.int8)
    phase = data.draw(st.sampled_from(["prefill", "decode"]))
    decode_token = data.draw(st.integers(0, 3))
    env_steps = np.array([data.draw(st.integers(0, 5)) for _ in range(n_rows)])
    live = np.array([data.draw(st.booleans()) for _ in range(n_rows)])
    outputs: list[torch.Tensor] = []
    block = SHARED.model.layers[1]
    tokens = ids(n_rows, n_tokens)
    with torch.no_grad():
        handle = block.register_forward_hook(lambda m, a, out: outputs.append(out))
        SHARED(tokens)
        with Steerer(SHARED, n_rows=n_rows) as steerer:
            for row, selector in enumerate(selectors):
                v = unit(32, row)
                steerer.set_row(
                    row, [Intervention("add", RESID, 1.0, direction=v, selector=selector)]
                )
            begin(
                steerer,
                layout,
                phase=phase,
                decode_token=decode_token,
                env_steps=env_steps,
                live=live,
            )
            SHARED(tokens)
            receipts = [steerer.receipt(row) for row in range(n_rows)]
        handle.remove()
    changed = (outputs[0] != outputs[1]).any(-1).numpy()
    for row, selector in enumerate(selectors):
        expected = expected_tokens(selector, layout, phase, decode_token, env_steps, live)[row]
        assert (changed[row] == expected).all()
        entry = receipts[row]["interventions"][0]
        assert entry["planned_tokens"][phase] == entry["edited_tokens"][phase] == expected.sum()


def test_receipt_norm_and_dose_against_a_plain_hook(llama: LlamaForCausalLM) -> None:
    """|dh| and |dh|/|h| measured on the block's output, outside the steerer."""
    tokens, layout = ids(5, 6), groups(5, 6)
    outputs: list[torch.Tensor] = []
    handle = llama.model.layers[1].register_forward_hook(lambda m, a, out: outputs.append(out))
    kinds = every_kind()[:3]
    with Steerer(llama, n_rows=5) as steerer, torch.no_grad():
        llama(tokens)
        for row, what in enumerate(kinds):
            steerer.set_row(row, [what])
        begin(steerer, layout)
        llama(tokens)
        doses = steerer.last_dose()
        receipts = [steerer.receipt(row) for row in range(5)]
    handle.remove()
    change, before = (outputs[1] - outputs[0]).norm(dim=-1), outputs[0].norm(dim=-1)
    for row in range(3):
        n = 5 if row == 0 else 6
        entry = receipts[row]["interventions"][0]
        assert entry["delivered_norm_sum"]["prefill"] == pytest.approx(
            float(change[row].sum()), rel=1e-4
        )
        expected = float((change[row] / before[row]).sum()) / n
        assert entry["mean_dose"] == pytest.approx(expected, rel=1e-4)
        assert doses[row] == pytest.approx(expected, rel=1e-4)
    assert doses.dtype == np.float32
    assert (doses[3:] == 0).all()


def test_clamp_dose_is_over_the_stream_it_is_added_to(llama: LlamaForCausalLM) -> None:
    tokens = ids(1, 6)
    blocks: list[torch.Tensor] = []
    streams: list[torch.Tensor] = []
    block = llama.model.layers[1]
    handles = [
        block.register_forward_hook(lambda m, a, out: blocks.append(out)),
        block.post_attention_layernorm.register_forward_pre_hook(lambda m, a: streams.append(a[0])),
    ]
    with Steerer(llama, n_rows=1) as steerer, torch.no_grad():
        llama(tokens)
        steerer.set_row(0, [every_kind()[3]])
        begin(steerer, groups(1, 6) * 0)
        llama(tokens)
        entry = steerer.receipt(0)["interventions"][0]
    for handle in handles:
        handle.remove()
    change = (blocks[1] - blocks[0]).norm(dim=-1)
    assert entry["mean_delivered_norm"] == pytest.approx(float(change.mean()), rel=1e-4)
    dose = float((change / streams[0].norm(dim=-1)).mean())
    assert entry["mean_dose"] == pytest.approx(dose, rel=1e-4)


def test_last_dose_is_of_the_last_env_step(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 1))])
        begin(steerer, layout, env_steps=np.array([0, 0]))
        llama(tokens)
        first = steerer.last_dose()[0]
        begin(steerer, layout[:, :1], phase="decode", env_steps=np.array([0, 0]))
        llama(tokens[:, :1])
        with_decode = steerer.last_dose()[0]
        steerer.set_coefficient(0, 0, 2.0)
        begin(steerer, layout, env_steps=np.array([1, 1]))
        llama(tokens)
        second = steerer.last_dose()[0]
        begin(steerer, layout, env_steps=np.array([2, 2]), live=np.array([False, True]))
        llama(tokens)
        steerer.check_receipt(steerer.receipt(0))
        steerer.set_row(0, [])
        assert steerer.last_dose()[0] == 0
    assert second == pytest.approx(2 * first, rel=1e-5)
    assert with_decode != first


def test_receipt_starts_anew_for_each_episode_of_a_row(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    what = every_kind()[0]
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [what])
        steerer.set_row(1, [what])
        for _ in range(3):
            begin(steerer, layout)
            llama(tokens)
        first = steerer.receipt(0)
        steerer.set_row(0, [what])
        begin(steerer, layout)
        llama(tokens)
        second, other = steerer.receipt(0), steerer.receipt(1)
    for receipt in (first, second, other):
        steerer.check_receipt(receipt)
    assert second["forwards"] == {"prefill": 1, "decode": 0}
    assert [r["interventions"][0]["edited_tokens"]["prefill"] for r in (first, second, other)] == [
        18,
        6,
        24,
    ]


def test_forward_without_begin_and_skipped_module_fail_the_receipt(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[0]])
        begin(steerer, layout)
        llama(tokens)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="6 tokens planned in prefill, 12 edited"):
            steerer.check_receipt(steerer.receipt(0))
        steerer.set_row(0, [every_kind()[3]])
        begin(steerer, layout)
        begin(steerer, layout)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="12 tokens planned in prefill, 6 edited"):
            steerer.check_receipt(steerer.receipt(0))


def test_addition_below_the_precision_fails_the_receipt(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(1, 6), groups(1, 6) * 0
    with Steerer(llama, n_rows=1) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1e-30, direction=unit(32, 1))])
        begin(steerer, layout)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="precision"):
            steerer.check_receipt(steerer.receipt(0))


def test_other_shape_than_announced_is_refused(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[0]])
        begin(steerer, groups(2, 6) * 0)
        with pytest.raises(RuntimeError, match="announced 2 rows of 6 tokens"):
            llama(ids(2, 5))


def test_hooks_are_removed_on_exception(llama: LlamaForCausalLM) -> None:
    tokens = ids(2, 6)
    with torch.no_grad():
        plain = llama(tokens).logits

    def fail() -> None:
        with Steerer(llama, n_rows=2) as steerer:
            steerer.set_row(0, every_kind())
            assert all_hooks(llama) > 0
            begin(steerer, groups(2, 6))
            llama(ids(2, 5))

    with pytest.raises(RuntimeError, match="announced"):
        fail()
    assert all_hooks(llama) == 0
    with torch.no_grad():
        assert torch.equal(llama(tokens).logits, plain)
    with Steerer(llama, n_rows=2):
        pass  # the model can be steered again


def test_nested_steerers_are_refused_and_sequential_ones_work(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=1) as outer:
        with pytest.raises(RuntimeError, match="already steered"), Steerer(llama.model, n_rows=1):
            pass
        outer.set_row(0, [every_kind()[0]])
        begin(outer, groups(1, 4) * 0)
        with torch.no_grad():
            llama(ids(1, 4))
        outer.check_receipt(outer.receipt(0))
    with pytest.raises(RuntimeError, match="outside"):
        begin(outer, groups(1, 4))
    with outer, torch.no_grad():
        begin(outer, groups(1, 4) * 0)
        llama(ids(1, 4))
        assert outer.receipt(0)["interventions"][0]["edited_tokens"]["prefill"] == 8


def test_rows_set_before_entering_and_inside_are_the_same(llama: LlamaForCausalLM) -> None:
    tokens, what = ids(1, 6), every_kind()[0]
    inside = steered_logits(llama, tokens, {0: [what]})
    steerer = Steerer(llama, n_rows=1)
    steerer.prepare([[what], [what, what]])
    steerer.set_row(0, [what])
    n_lanes = len(steerer._lanes)
    with steerer, torch.no_grad():
        begin(steerer, groups(1, 6) * 0)
        before = llama(tokens).logits
        steerer.set_row(0, [what, what])
    assert torch.equal(before, inside)
    assert len(steerer._lanes) == n_lanes == 2


def test_inference_mode_may_come_and_go(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6)
    with Steerer(llama, n_rows=2) as steerer:
        steerer.set_row(0, every_kind())
        with torch.inference_mode():
            steerer.set_row(1, every_kind())
            begin(steerer, layout)
            llama(tokens)
        begin(steerer, layout)
        llama(tokens).logits.sum().backward()
        for row in (0, 1):
            steerer.check_receipt(steerer.receipt(row))


def test_gradients_flow_through_an_edit(llama: LlamaForCausalLM) -> None:
    """What an ablation takes out of h gets no gradient from above; the rest does."""
    v = unit(32, 3)
    branches: list[torch.Tensor] = []

    def keep(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        out.retain_grad()
        branches.append(out)

    handle = llama.model.layers[1].mlp.down_proj.register_forward_hook(keep)
    for rows in ([], [Intervention("ablate", RESID, 1.0, direction=v)]):
        with Steerer(llama, n_rows=1) as steerer:
            steerer.set_row(0, rows)
            begin(steerer, groups(1, 4) * 0)
            llama(ids(1, 4)).logits.square().sum().backward()
    handle.remove()
    plain, ablated = (branch.grad @ v for branch in branches)
    assert (plain.abs() > 1e-3).all()
    assert (ablated.abs() < 1e-4 * branches[1].grad.norm(dim=-1)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [0, 0]}, "distinct"),
        ({"rows": [0, 2]}, "from 0 to 1"),
        ({"phase": "train"}, "prefill, decode"),
        ({"live": np.ones(2)}, "live must be bool"),
        ({"env_steps": np.zeros(3, int)}, "env_steps has shape"),
    ],
)
def test_begin_refuses_bad_arguments(
    llama: LlamaForCausalLM, changes: dict[str, object], message: str
) -> None:
    with Steerer(llama, n_rows=2) as steerer, pytest.raises(ValueError, match=message):
        begin(steerer, groups(2, 6), **changes)


def test_unknown_token_group_is_refused(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=2) as steerer:
        with pytest.raises(ValueError, match="unknown token group id 9"):
            begin(steerer, groups(2, 6) * 0 + 9)
        with pytest.raises(ValueError, match="unknown token group 'imgae'; there are: pad, image"):
            only("imgae")


def test_set_row_refuses_what_does_not_fit_and_changes_nothing(llama: LlamaForCausalLM) -> None:
    good = every_kind()[0]
    with Steerer(llama, n_rows=2) as steerer:
        steerer.set_row(0, [good])
        bad: list[tuple[Intervention, type[Exception], str]] = [
            (Intervention("add", RESID, 1.0, direction=unit(16, 0)), ValueError, "16 numbers"),
            (Intervention("add", "layers.9.resid:out", 1.0, direction=unit(32, 0)), SiteError, "9"),
            (
                Intervention("clamp", "layers.0.mlp.down_proj:in", 1.0, neurons=torch.tensor([48])),
                ValueError,
                "neuron 48",
            ),
        ]
        for what, error, message in bad:
            with pytest.raises(error, match=message):
                steerer.set_row(0, [good, what])
            assert steerer.row(0) == (good,)
        with pytest.raises(IndexError, match="row 2"):
            steerer.set_row(2, [])
        with pytest.raises(IndexError, match="1 interventions"):
            steerer.set_coefficient(0, 1, 2.0)


def test_compiled_forward_takes_coefficients_updated_in_place() -> None:
    """One graph, no recompilation, same numbers as eager after the coefficients change."""
    model, tokens, layout = make_llama(num_hidden_layers=2), ids(3, 5), groups(3, 5) * 0
    kinds = [
        Intervention("add", "layers.0.resid:out", 1.0, direction=unit(32, 1)),
        Intervention("clamp", "layers.1.mlp.down_proj:in", 1.0, neurons=torch.tensor([1, 2])),
        Intervention("ablate", RESID, 1.0, direction=unit(32, 1)),
    ]
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    with Steerer(model, n_rows=3) as steerer, torch.no_grad():
        for row, what in enumerate(kinds):
            steerer.set_row(row, [what])
        compiled = torch.compile(model, backend=backend)
        for coefficient in (1.0, 2.0, 0.5):
            for row in range(3):
                steerer.set_coefficient(row, 0, coefficient)
            results = []
            for forward in (model, compiled):
                begin(steerer, layout)
                results.append(forward(tokens, use_cache=False).logits)
            assert torch.equal(results[0], results[1])
        for row in range(3):
            steerer.check_receipt(steerer.receipt(row))
    torch._dynamo.reset()
    assert len(graphs) == 1
