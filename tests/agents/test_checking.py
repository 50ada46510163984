"""What a condition does to natural activations, against the same edit made by hand."""

from __future__ import annotations

import pytest
import torch

from pilotage.agents.vla.checking import natural_and_edited
from pilotage.agents.vla.demos import Demo
from pilotage.steering.interventions import Intervention, Selector

from .tiny import tiny_config, tiny_demos, tiny_model

TEXT = "go to the red cube"
SITE = "layers.1.resid:out"


@pytest.fixture
def demos() -> list[Demo]:
    return tiny_demos()


def _add(**selector) -> Intervention:
    return Intervention(
        "add", SITE, 3.0, direction=torch.eye(32)[4], selector=Selector.from_spec(selector)
    )


def test_an_addition_is_found_at_every_selected_token(demos: list[Demo]) -> None:
    model = tiny_model(tiny_config())
    sides = natural_and_edited(model, demos, [_add()], n_steps=70)
    natural, edited = sides[SITE]
    torch.testing.assert_close(edited - natural, (3.0 * torch.eye(32)[4]).expand_as(natural))
    words = len(TEXT.split()) + 2
    config = model.config
    per_step = words + config.n_image_tokens + 1 + config.n_action_tokens - 1
    assert len(natural) == 70 * per_step
    proprio = natural_and_edited(model, demos, [_add(token_groups=["proprio"])], n_steps=70)
    assert len(proprio[SITE][0]) == 70


def test_a_site_is_judged_by_its_own_edit_with_the_others_in_place(demos: list[Demo]) -> None:
    model = tiny_model(tiny_config())
    above = Intervention("add", "layers.2.resid:out", 1.0, direction=torch.eye(32)[0])
    both = natural_and_edited(model, demos, [_add(), above], n_steps=8)
    natural, edited = both["layers.2.resid:out"]
    torch.testing.assert_close(edited - natural, torch.eye(32)[0].expand_as(natural))
    alone = natural_and_edited(model, demos, [above], n_steps=8)["layers.2.resid:out"][0]
    assert float((natural - alone).norm(dim=1).mean()) > 0.1, "the edit below is in place"


def test_an_edit_that_no_prefill_shows_is_refused(demos: list[Demo]) -> None:
    model = tiny_model(tiny_config())
    for selector in ({"phases": ["decode"]}, {"env_steps": [3, 5]}, {"decode_tokens": [0]}):
        with pytest.raises(ValueError, match="select no token"):
            natural_and_edited(model, demos, [_add(**selector)], n_steps=4)
