"""Blocksworld as a graph: a node for every arrangement, an edge for moving one block.

With 4 blocks: 73 arrangements and 240 directed edges (the graph of Wang et al. 2024,
arXiv:2405.09220). Moves go both ways, so the graph is symmetric.
"""

from __future__ import annotations

import networkx as nx

State = tuple[tuple[int, ...], ...]  # stacks, bottom block first, in the order of their bottoms


def blocksworld(n_blocks: int = 4) -> nx.DiGraph:
    """Arrangements of `n_blocks` numbered blocks in stacks on a table with room for all.

    Nodes are numbered 0 to n - 1; the attribute "state" has the stacks. The number of nodes grows
    like 1, 3, 13, 73, 501, 4051 (sets of lists, OEIS A000262).
    """
    if not 1 <= n_blocks <= 6:
        raise ValueError(f"n_blocks must be from 1 to 6, got {n_blocks}")
    start: State = tuple((block,) for block in range(n_blocks))
    number, waiting, edges = {start: 0}, [start], []
    for state in waiting:  # grows while it is read
        for neighbour in moves(state):
            if neighbour not in number:
                number[neighbour] = len(number)
                waiting.append(neighbour)
            edges.append((number[state], number[neighbour]))
    graph = nx.DiGraph()
    for state, node in number.items():
        graph.add_node(node, state=state)
    graph.add_edges_from(edges)
    return graph


def moves(state: State) -> list[State]:
    """What one move of a top block, onto another stack or the table, makes of `state`."""
    found = []
    for i, stack in enumerate(state):
        block, rest = stack[-1], stack[:-1]
        others = [s for k, s in enumerate(state) if k != i]
        left = [rest] if rest else []
        if rest:
            found.append(_sorted([*others, rest, (block,)]))
        for k, other in enumerate(others):
            onto = [*others[:k], (*other, block), *others[k + 1 :]]
            found.append(_sorted([*onto, *left]))
    return found


def _sorted(stacks: list[tuple[int, ...]]) -> State:
    return tuple(sorted(stacks))


def describe(state: State) -> str:
    """`A on table, C on A, ...` for an arrangement, blocks as letters."""
    letters = "ABCDEF"
    words = []
    for stack in state:
        below = "table"
        for block in stack:
            words.append(f"{letters[block]} on {below}")
            below = letters[block]
    return ", ".join(sorted(words))
