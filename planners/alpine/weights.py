"""A graph written into weights, and a graph read out of weights.

`construct` builds the transformer of the paper's expressiveness theorem (arXiv:2405.09220, theorem
1): one layer, one head, width O(n), exact, without training. `read_adjacency` and
`read_reachability` are the paper's W^{M'} and W^{V'} and read any one-layer network, trained or
built; what `construct` wrote comes back exactly (off the diagonal, which the first step uses).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import networkx as nx
import numpy as np
import torch
from scipy.stats import rankdata

from pilotage.envs.pathgraph.alpine import END, FIRST_NODE, reachable
from pilotage.planners.alpine.model import PathGPT, PathGPTConfig

_SHARPNESS = 100.0  # of the attention on the target: exp(-100) is nothing in float32


def construct(graph: nx.DiGraph, *, epsilon: float = 1e-3) -> PathGPT:
    """The network that completes `s t` with a path for every reachable pair of a DAG.

    Each sampled line is a valid path with probability at least 1 - `epsilon`. The stream has four
    parts: the token, the target (which the head copies from the second position), the answer, and
    marks of the positions. Hidden unit k is ReLU(A[i, k] + R[t, k] - 1): node k comes after the
    present i and is t or leads to it. It is a logical and, and so exact. Two more units a node end
    the line at the target, and begin the path: the second position looks at the first instead, and
    says its token.

    Raises ValueError: the graph has a cycle (a walk towards t need not arrive), its nodes are not
    0 to n - 1, or epsilon is not between 0 and 1.
    """
    n = len(graph)
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon must be between 0 and 1, got {epsilon}")
    if set(graph) != set(range(n)):
        raise ValueError(f"nodes must be 0 to {n - 1}; networkx.convert_node_labels_to_integers")
    if not nx.is_directed_acyclic_graph(graph):
        raise ValueError(f"the graph has a cycle, {nx.find_cycle(graph)}; give a DAG")
    adjacency = nx.to_numpy_array(graph, nodelist=range(n), weight=None)
    leads = (reachable(graph) | np.eye(n, dtype=bool)).T  # [t, k]: k is t or leads to it
    scale = math.log((n + FIRST_NODE) * n / epsilon)  # at most n moves, each wrong with epsilon / n
    return _write(adjacency, leads.astype(float), scale, nx.dag_longest_path_length(graph) + 4)


def _write(adjacency: np.ndarray, leads: np.ndarray, scale: float, n_positions: int) -> PathGPT:
    n = len(adjacency)
    n_tokens = n + FIRST_NODE
    target, answer = n_tokens, n_tokens + n
    first, second, one = (answer + n_tokens + k for k in range(3))
    width = one + 1
    config = PathGPTConfig(
        n_tokens, n_positions, width, d_ff=3 * n, norms=False, tied=False, relu=True
    )
    model = PathGPT(config).requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    block: Any = model.blocks[0]
    nodes = torch.arange(n)
    model.tokens.weight[:, :n_tokens] = torch.eye(n_tokens)
    model.positions.weight[0, first] = 1.0
    model.positions.weight[1, second] = 1.0
    model.positions.weight[:, one] = 1.0
    query, key, value = block.query_key_value.weight.view(3, width, width)
    query[0, one] = _SHARPNESS * math.sqrt(width)
    key[0, second] = 1.0
    query[1, second] = 2 * _SHARPNESS * math.sqrt(width)  # stronger than its own mark
    key[1, first] = 1.0
    value[target + nodes, FIRST_NODE + nodes] = 1.0
    block.attention_out.weight[target + nodes, target + nodes] = 1.0
    into: torch.Tensor = block.ffn_in.weight
    out: torch.Tensor = block.ffn_out.weight
    into[:n, FIRST_NODE:n_tokens] = torch.from_numpy(adjacency.T).float()
    into[:n, target : target + n] = torch.from_numpy(leads.T).float()
    into[n + nodes, FIRST_NODE + nodes] = 1.0  # the present node is the target: the line ends
    into[n : 2 * n, target : target + n] = torch.eye(n)
    into[2 * n + nodes, target + nodes] = 1.0  # at the second position: the source
    into[2 * n :, second] = 1.0
    into[:, one] = -1.0
    out[answer + FIRST_NODE + nodes, nodes] = scale
    out[answer + END, n : 2 * n] = 2 * scale
    out[answer + FIRST_NODE + nodes, 2 * n + nodes] = scale
    model.head.weight[:, answer : answer + n_tokens] = torch.eye(n_tokens)
    return model.eval()


@torch.no_grad()
def read_adjacency(model: PathGPT, *, through_norms: bool = False) -> torch.Tensor:
    """W^{M'} float32 `[n, n]`: how much node i as the present token speaks for node k.

    The head on wte_i + FFN(wte_i), without norms and positions (Wang et al. 2024, sec. 5.2), or
    with the norms that the network has there.
    """
    block, embedded = _only_block(model), model.tokens.weight[FIRST_NODE:]
    if through_norms:
        read = model.final_norm(embedded + block.ffn(block.ffn_norm(embedded)))
    else:
        read = embedded + block.ffn(embedded)
    return cast(torch.Tensor, model.head(read)[:, FIRST_NODE:].float())


@torch.no_grad()
def read_reachability(model: PathGPT) -> torch.Tensor:
    """W^{V'} float32 `[n, n]`: how much node t, attended to as the target, speaks for node k.

    The head on FFN(wte_t W^V), where W^V is the whole way through the attention, without norms. A
    unit that joins the target with the present node shows little of itself here: a small gap does
    not say that the network knows nothing of reachability.
    """
    block, embedded = _only_block(model), model.tokens.weight[FIRST_NODE:]
    value = block.attention_out(block.query_key_value(embedded)[:, 2 * model.config.d_model :])
    return cast(torch.Tensor, model.head(block.ffn(value))[:, FIRST_NODE:].float())


@dataclass(frozen=True)
class WeightGap:
    """Mean read-out where something was observed, where it was not, and the difference.

    roc_area: the chance that an observed entry reads higher than one that is not (Mann-Whitney);
    0.5 says that nothing stands in the weights, 1 that a threshold recovers all of it.
    correlation: Pearson's, of the read-out with 1 where observed and 0 elsewhere.
    """

    observed: float
    unobserved: float
    roc_area: float
    correlation: float

    @property
    def gap(self) -> float:
        return self.observed - self.unobserved


def weight_gap(read: torch.Tensor, observed: np.ndarray) -> WeightGap:
    """Of a read-out `[n, n]` and bool `[n, n]`; the diagonal counts in neither."""
    off = ~np.eye(len(observed), dtype=bool)
    values, marks = read.cpu().numpy()[off], observed[off]
    n_yes, n_no = int(marks.sum()), int((~marks).sum())
    if not n_yes or not n_no:
        raise ValueError(f"{n_yes} entries observed and {n_no} not; a gap needs both")
    area = (rankdata(values)[marks].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no)
    level = float(values.std()) > 0
    correlation = float(np.corrcoef(values, marks)[0, 1]) if level else 0.0
    return WeightGap(
        float(values[marks].mean()), float(values[~marks].mean()), float(area), correlation
    )


def _only_block(model: PathGPT) -> Any:
    if model.config.n_layers != 1 or model.config.n_heads != 1:
        raise ValueError(
            f"the read-outs are of one layer and one head, not {model.config.n_layers} and "
            f"{model.config.n_heads}"
        )
    return model.blocks[0]
