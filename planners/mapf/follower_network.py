"""Follower-lite's network, and its weights read from the published ONNX file.

Skrynnik et al. 2024, "Learn to Follow" (AAAI-24, arXiv:2310.01207): what an agent sees of walls,
its planned path and the other agents becomes a preference over five actions. 3,678 parameters.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

RADIUS = 3  # the windows that the network sees are 2 r + 1 = 7 cells wide
N_CHANNELS = 8
FEATURES = N_CHANNELS * (2 * RADIUS + 1) ** 2
# the names of the published file, by ours
ONNX_NAMES = {
    "stem": "encoder.conv_head.0",
    "inner": "encoder.conv_head.1.res_block_core.1",
    "outer": "encoder.conv_head.1.res_block_core.3",
    "policy": "action_parameterization.distribution_linear",
    "critic": "critic_linear",
}


class FollowerLite(nn.Module):
    """One residual block between a convolution and two linear heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, N_CHANNELS, 3, padding=1)
        self.inner = nn.Conv2d(N_CHANNELS, N_CHANNELS, 3, padding=1)
        self.outer = nn.Conv2d(N_CHANNELS, N_CHANNELS, 3, padding=1)
        self.policy = nn.Linear(FEATURES, 5)
        self.critic = nn.Linear(FEATURES, 1)

    def forward(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the actions float [N, 5] and values float [N], from windows float [N, 2, 7, 7].

        Channels: walls -1 and the path +1; agents 1, oneself in the centre. The skip carries the
        rectified input of the block, as in the trained network.
        """
        x = torch.relu(self.stem(windows))
        x = torch.relu(self.outer(torch.relu(self.inner(x))) + x)
        features = x.flatten(1)
        return self.policy(features), self.critic(features).squeeze(1)


def load_follower_lite(path: str | Path) -> FollowerLite:
    """The network with the weights of an ONNX file such as `follower-lite.onnx`, in eval mode.

    Only the weights are read; the graph (which is fixed to one agent at a time) is not run.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: the package `onnx` is missing; the extra is named.
        ValueError: the file is no ONNX model, or its weights are not those of Follower-lite.
    """
    path = Path(path)
    weights = _onnx_weights(path)
    network = FollowerLite()
    state = {}
    for name, parameter in network.state_dict().items():
        module, _, kind = name.partition(".")
        theirs = f"{ONNX_NAMES[module]}.{kind}"
        if theirs not in weights:
            known = ", ".join(weights) or "none"
            raise ValueError(f"{path} has no weights {theirs!r}; it has {known}")
        array = weights[theirs]
        if array.shape != tuple(parameter.shape) or array.dtype != np.float32:
            raise ValueError(
                f"{path}: {theirs} is {array.dtype} {list(array.shape)}, expected float32 "
                f"{list(parameter.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {theirs} has values that are not finite")
        state[name] = torch.from_numpy(array.copy())
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _onnx_weights(path: Path) -> dict[str, np.ndarray]:
    """The initialisers of an ONNX file by name; nothing outside the file is opened."""
    try:
        onnx: Any = import_module("onnx")
        decode_error: Any = import_module("google.protobuf.message").DecodeError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path} needs the package onnx; install it with: pip install 'pilotage[onnx]'"
        ) from error
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
        return {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
    except (decode_error, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not an intact ONNX model: {error}") from error
