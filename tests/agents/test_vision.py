"""The vision tower: patches, crops, and what grounding teaches it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pilotage.agents.vla.config import PatchGrid, VLAConfig
from pilotage.agents.vla.grounding import Thing, ViewBuilder, count_pixels, pretrain_vision
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.vision import VisionTower

from .tiny import tiny_config


def tower(patches: PatchGrid, seed: int = 0) -> VisionTower:
    torch.manual_seed(seed)
    return VisionTower(channels=3, patches=patches, width=16, d_model=12).eval()


def pictures(n: int, size: int = 32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8)


@pytest.mark.parametrize("fold", [1, 2, 4])
def test_square_folds_are_torchs_pixel_unshuffle(fold: int) -> None:
    made = tower(PatchGrid(0, 32, 32, 8 * fold, 8 * fold))
    x = torch.randn(2, 16, 4, 4)
    theirs = nn.functional.pixel_unshuffle(x, fold).flatten(2).transpose(1, 2)
    assert torch.equal(made._folded(x), theirs)


def test_column_tokens_hold_the_cells_of_their_column() -> None:
    made = tower(PatchGrid(0, 32, 32, 32, 8))
    x = torch.arange(4.0).expand(1, 16, 4, 4)  # each cell holds its column's number
    assert made._folded(x)[0].unique(dim=1).squeeze(1).tolist() == [0, 1, 2, 3]


def test_a_crop_sees_its_rows_and_no_others() -> None:
    made = tower(PatchGrid(8, 24, 32, 8, 8))
    images = pictures(2)
    before = made(images)
    assert before.shape == (2, 8, 12)
    outside = images.clone()
    outside[:, :8] = 0
    outside[:, 24:] = 255
    assert torch.equal(made(outside), before)
    inside = images.clone()
    inside[:, 8] = 255 - inside[:, 8]
    assert not torch.equal(made(inside), before)


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="rows 0 to 20 are not whole patches of 8"):
        PatchGrid(0, 20, 32, 8, 8)
    with pytest.raises(ValueError, match="multiple of the patch width 24, got 32"):
        PatchGrid(0, 32, 32, 8, 24)


def test_a_configuration_survives_json_with_its_pairs() -> None:
    config = VLAConfig(
        world="w",
        words=("go",),
        image_keys=("rgb", "wrist_rgb"),
        image_folds=((8, 1), 4),
        image_crops=((0, 64), (0, 64)),
    )
    again = VLAConfig.from_json(config.to_json() | {"image_folds": [[8, 1], 4]})
    assert again == config
    assert again.n_image_tokens == 8 + 4


def test_pixels_are_counted_patch_by_patch() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((32, 32)) < 0.3
    grid = PatchGrid(8, 24, 32, 8, 16)
    counted = [
        int(mask[top : top + 8, left : left + 16].sum()) for top in (8, 16) for left in (0, 16)
    ]
    assert count_pixels(mask, grid).tolist() == counted


def test_views_say_the_words_and_the_main_place_of_each_patch() -> None:
    grid = PatchGrid(0, 16, 16, 8, 8)
    builder = ViewBuilder([grid], ("red", "cube", "zone"))
    segment = np.full((16, 16), -1, np.int32)
    segment[:8, :8] = 5  # a zone fills the first patch,
    segment[2:5, 2:5] = 2  # a cube lies on it,
    segment[12, 12] = 2  # and one pixel of it shows in the last: too little
    things = {
        2: Thing(("red", "cube"), (1.0, 0.0, 0.0), weight=10.0),
        5: Thing(("zone",), (0.0, 1.0, 0.0)),
    }
    builder.add(0, np.zeros((16, 16, 3), np.uint8), segment, things)
    labels = builder.done().labels[0]
    assert labels.words[0].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert labels.placed[0].tolist() == [True, False, False, False]
    assert labels.place[0, 0].tolist() == [1.0, 0.0, 0.0]  # 9 pixels times 10 against 55


def test_grounding_learns_to_see() -> None:
    """A coloured square in one of four patches: after a minute part the towers say which."""
    config = tiny_config()
    model = VLAModel(config)
    rng = np.random.default_rng(0)
    builder = ViewBuilder(config.image_patches, ("dark", "bright"))
    for _ in range(256):
        image = np.full((16, 16, 3), 128, np.uint8)
        is_bright = bool(rng.integers(2))
        row, column = rng.integers(2, size=2) * 8
        image[row + 2 : row + 6, column + 2 : column + 6] = 250 if is_bright else 5
        segment = np.full((16, 16), -1, np.int32)
        segment[row + 2 : row + 6, column + 2 : column + 6] = int(is_bright)
        place = (float(row / 8), float(column / 8), 0.0)
        builder.add(0, image, segment, {0: Thing(("dark",), place), 1: Thing(("bright",), place)})
    told: list[dict[str, float]] = []
    pretrain_vision(model, builder.done(), n_updates=150, batch=32, tell=told.append)
    assert told[0]["all_right"] < 0.9
    assert told[-1]["all_right"] > 0.95
    assert told[-1]["place_gap"] < 0.2
