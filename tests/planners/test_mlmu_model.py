"""What a place of a path can know, and the network: by perturbation, and beside other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from pilotage.planners.mlmu import MazeNet, MazeNetConfig, Objective, training_flops
from pilotage.planners.mlmu.lines import FIRST_CELL, PAD
from pilotage.planners.mlmu.model import Turns, rotations
from pilotage.planners.mlmu.objectives import HORIZON, sight

N_PROMPT, LENGTHS = 6, (5, 3)


def a_net(objective: str = "mlm-u", **sizes: int) -> MazeNet:
    torch.manual_seed(0)
    net = MazeNet(MazeNetConfig(3, Objective(objective), **{"d_model": 16, "n_layers": 2} | sizes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return net.eval()


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(1, FIRST_CELL + 9, (2, N_PROMPT), generator=generator)
    path = torch.randint(FIRST_CELL, FIRST_CELL + 9, (2, max(LENGTHS)), generator=generator)
    path[1, LENGTHS[1] :] = PAD
    prompt[1, :2] = PAD
    return prompt, path


def influence(objective: Objective, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bool [B, P, P]: does another token at the last axis' place change a place's logits? And which
    places the loss is about, bool [B, P]."""
    net, (prompt, path) = a_net(objective), a_batch()
    masks = sight(objective, prompt, path, np.random.default_rng(seed))
    found = np.zeros((2, path.shape[1], path.shape[1]), bool)
    with torch.no_grad():
        before = net(torch.cat([prompt, path], 1), masks.encoder, masks.decoder, N_PROMPT)
        for k in range(path.shape[1]):
            other = path.clone()
            other[:, k] = FIRST_CELL + (other[:, k] - FIRST_CELL + 4) % 9
            tokens = torch.cat([prompt, other], 1)
            after = net(tokens, masks.encoder, masks.decoder, N_PROMPT)
            found[:, :, k] = ((after - before).abs() > 1e-5).any(-1).numpy()
    return found, masks.scored.numpy()


IS_PATH = np.arange(5) < np.array(LENGTHS)[:, None]


def test_next_token_knows_exactly_what_comes_before() -> None:
    found, scored = influence(Objective.NEXT_TOKEN, 0)
    before = np.tri(5, k=-1, dtype=bool)
    for row in range(2):
        assert np.array_equal(found[row], before & IS_PATH[row])
    assert np.array_equal(scored, IS_PATH)


def test_teacherless_knows_nothing_of_the_path() -> None:
    found, scored = influence(Objective.TEACHERLESS, 0)
    assert not found.any()
    assert np.array_equal(scored, IS_PATH)


def test_mlm_u_knows_what_is_not_hidden_on_both_sides() -> None:
    seen_ahead = 0
    for seed in range(6):
        found, scored = influence(Objective.MLM_U, seed)
        for row in range(2):
            seen = IS_PATH[row] & ~scored[row]
            assert np.array_equal(found[row], np.broadcast_to(seen, (5, 5)))
        seen_ahead += np.triu(found[0], 1).any()
    assert seen_ahead > 1


def test_multi_token_knows_a_prefix_that_may_stop_early() -> None:
    gaps = set()
    for seed in range(12):
        found, scored = influence(Objective.MULTI_TOKEN, seed)
        assert np.array_equal(scored, IS_PATH)
        for place in range(5):
            known = np.flatnonzero(found[0, place])
            assert known.tolist() == list(range(len(known)))
            gaps |= {place - len(known)}
    assert gaps == set(range(HORIZON))  # 0: all that comes before


def test_the_number_of_hidden_tokens_is_uniform() -> None:
    """A binomial whose rate is U(0, 1) takes each of 0 to n equally often."""
    n, length = 7000, 6
    path = torch.full((n, length), FIRST_CELL)
    prompt = torch.ones(n, 1, dtype=torch.int64)
    masks = sight(Objective.MLM_U, prompt, path, np.random.default_rng(0))
    counts = np.bincount(masks.scored.sum(1).numpy(), minlength=length + 1)
    assert abs(counts - 1000).max() < 5 * 1000**0.5


def test_rotations_are_those_of_llama() -> None:
    x = torch.randn(2, 4, 9, 8)
    places = torch.arange(9)
    angles = places[:, None] / 10_000 ** (torch.arange(0, 8, 2) / 8)
    angles = torch.cat([angles, angles], -1)[None]
    wanted, _ = apply_rotary_pos_emb(x, x, angles.cos(), angles.sin())
    turns = rotations(places, 8)
    assert torch.allclose(Turns(turns, turns).of_queries(x), wanted, atol=1e-5)
    half = Turns(turns, turns).of_keys(x.bfloat16())
    assert half.dtype == torch.bfloat16


def test_angles_of_a_long_prompt_stay_exact_under_autocast() -> None:
    """In bfloat16 neighbouring places would be turned alike beyond 256."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cosines, _ = rotations(torch.tensor([2705, 2706]), 32)
    assert cosines[:, 0].tolist() == pytest.approx([np.cos(2705), np.cos(2706)], abs=1e-6)


def test_an_encoder_block_without_turns_is_torchs() -> None:
    block = a_net().encoder[0]
    peer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    assert isinstance(block, nn.Module)
    mine = dict(block.named_parameters())
    renamed = {
        "self_attn.in_proj_weight": torch.cat([mine["query.weight"], mine["key_value.weight"]]),
        "self_attn.in_proj_bias": torch.cat([mine["query.bias"], mine["key_value.bias"]]),
    }
    for theirs, ours in (
        ("self_attn.out_proj", "attention_out"), ("linear1", "ffn_in"), ("linear2", "ffn_out"),
        ("norm1", "attention_norm"), ("norm2", "ffn_norm"),
    ):  # fmt: skip
        for part in ("weight", "bias"):
            renamed[f"{theirs}.{part}"] = mine[f"{ours}.{part}"]
    peer.load_state_dict(renamed)
    x, mask = torch.randn(3, 7, 16), torch.rand(3, 7, 7) < 0.6
    mask |= torch.eye(7, dtype=torch.bool)
    still = rotations(torch.zeros(7, dtype=torch.int64), 4)
    with torch.no_grad():
        wanted = peer(x, src_mask=~mask.repeat_interleave(4, 0))
        assert torch.allclose(block(x, x, Turns(still, still), mask), wanted, atol=1e-5)


def test_padding_on_the_left_changes_nothing() -> None:
    """Rotations are relative: a prompt moved to the right by padding gets the same logits."""
    net, (prompt, path) = a_net("next-token"), a_batch()
    padded = torch.cat([torch.full((2, 3), PAD), prompt], 1)
    logits = []
    for p in (prompt, padded):
        masks = sight(Objective.NEXT_TOKEN, p, path, np.random.default_rng(0))
        with torch.no_grad():
            tokens = torch.cat([p, path], 1)
            logits.append(net(tokens, masks.encoder, masks.decoder, p.shape[1]))
    assert torch.allclose(logits[0], logits[1], atol=1e-4)


def test_flops_are_those_that_torch_counts() -> None:
    net, (prompt, path) = a_net("teacherless").train(), a_batch()
    masks = sight(Objective.TEACHERLESS, prompt, path, np.random.default_rng(0))
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        tokens = torch.cat([prompt, path], 1)
        net(tokens, masks.encoder, masks.decoder, N_PROMPT).sum().backward()
    wanted = training_flops(net.config, 2, N_PROMPT, path.shape[1])
    assert counter.get_total_flops() == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(
    ("n_layers", "d_model", "published"), [(7, 128, 2.8e6), (20, 128, 7.9e6), (16, 256, 25.2e6)]
)
def test_sizes_are_the_published_ones(n_layers: int, d_model: int, published: float) -> None:
    """The names 3M, 8M and 25M count 12 width^2 a layer; norms and biases come to 2 % more."""
    with torch.device("meta"):
        net = MazeNet(MazeNetConfig(30, d_model=d_model, n_layers=n_layers))
    count = sum(p.numel() for name, p in net.named_parameters() if "coder" in name)
    assert count == pytest.approx(published, rel=0.03)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="d_model 36 must be a multiple of 2 \\* n_heads = 8"):
        MazeNetConfig(3, d_model=36)
    with pytest.raises(ValueError, match="size must be >= 2"):
        MazeNetConfig(1)
    with pytest.raises(ValueError, match="'bert' is not a valid Objective"):
        MazeNetConfig(3, "bert")  # type: ignore[arg-type]
