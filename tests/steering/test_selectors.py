"""Which tokens a selector picks, read word by word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.steering import Intervention, Selector, Steerer
from pilotage.steering.tokens import GROUP_IDS, GROUP_NAMES

from .conftest import make_llama
from .helpers import RESID, begin, ids, unit


def expected_tokens(
    selector: Selector,
    layout: np.ndarray,
    phase: str,
    decode_token: int,
    env_steps: Sequence[int],
    live: Sequence[bool],
    replans: Sequence[int],
    denoise_step: int | None,
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
                and (
                    selector.replans is None
                    or selector.replans[0] <= replans[row] < selector.replans[1]
                )
                and (selector.denoise_steps is None or denoise_step in selector.denoise_steps)
            )
    return mask


NAMES = sorted(set(GROUP_IDS) - {"pad"})
SELECTORS = st.builds(
    Selector,
    token_groups=st.none() | st.frozensets(st.sampled_from(NAMES), min_size=1),
    phases=st.none() | st.just(frozenset({"decode"})) | st.just(frozenset({"prefill", "decode"})),
    decode_tokens=st.none() | st.lists(st.integers(0, 3), min_size=1).map(tuple),
    env_steps=st.none() | st.tuples(st.integers(0, 2), st.integers(3, 5)),
    replans=st.none() | st.tuples(st.integers(0, 2), st.integers(3, 5)),
    denoise_steps=st.none() | st.lists(st.integers(0, 3), min_size=1).map(tuple),
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
    replans = np.array([data.draw(st.integers(0, 5)) for _ in range(n_rows)])
    denoise_step = data.draw(st.none() | st.integers(0, 3))
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
                replans=replans,
                denoise_step=denoise_step,
            )
            SHARED(tokens)
            receipts = [steerer.receipt(row) for row in range(n_rows)]
        handle.remove()
    changed = (outputs[0] != outputs[1]).any(-1).numpy()
    for row, selector in enumerate(selectors):
        expected = expected_tokens(
            selector, layout, phase, decode_token, env_steps, live, replans, denoise_step
        )[row]
        assert (changed[row] == expected).all()
        entry = receipts[row]["interventions"][0]
        assert entry["planned_tokens"][phase] == entry["edited_tokens"][phase] == expected.sum()


def test_a_policy_that_decides_at_every_step_counts_decisions_as_steps() -> None:
    with torch.no_grad(), Steerer(SHARED, n_rows=1) as steerer:
        late = Selector(replans=(2, 9))
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 0), selector=late)])
        planned = []
        for step in range(4):
            begin(steerer, np.zeros((1, 5), np.int8), env_steps=np.array([step]))
            SHARED(ids(1, 5))
            entry = steerer.receipt(0)["interventions"][0]
            planned.append(entry["planned_tokens"]["prefill"])
    assert planned == [0, 0, 5, 10]


def test_clauses_of_the_clock_go_through_json() -> None:
    selector = Selector(replans=(1, 4), denoise_steps=(3, 0))
    assert selector.to_spec() == {"replans": [1, 4], "denoise_steps": [0, 3]}
    assert Selector.from_spec(selector.to_spec()) == selector
