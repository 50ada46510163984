"""What a team must still pay, from what its pairs must pay: a vertex cover with weights.

If agents i and j together pay at least w above their shortest paths, whatever they do, then the
team pays at least the least sum of amounts x with x_i + x_j >= w for all such pairs (Li et al.
2019, Improved Heuristics for Multi-Agent Path Finding with Conflict-Based Search, IJCAI).
"""

from __future__ import annotations

from collections.abc import Mapping

Pairs = Mapping[tuple[int, int], int]
EXACT_UP_TO = 9  # agents that hang together; of more only a matching is counted


def least_total(pairs: Pairs) -> int:
    """The least sum of whole amounts x >= 0 with x_i + x_j >= pairs[i, j]; where many agents hang
    together, a bound below it (a matching)."""
    around: dict[int, dict[int, int]] = {}
    for (i, j), weight in pairs.items():
        around.setdefault(i, {})[j] = weight
        around.setdefault(j, {})[i] = weight
    total, left = 0, set(around)
    while left:
        part = _part(around, left.pop())
        left -= part
        edges = {e: w for e, w in pairs.items() if e[0] in part}
        total += _cover(around, edges) if len(part) <= EXACT_UP_TO else _matching(edges)
    return total


def _part(around: dict[int, dict[int, int]], first: int) -> set[int]:
    part, stack = {first}, [first]
    while stack:
        for other in around[stack.pop()]:
            if other not in part:
                part.add(other)
                stack.append(other)
    return part


def _matching(edges: Pairs) -> int:
    """Weights of pairs that share no agent, the largest first."""
    total, taken = 0, set[int]()
    for (i, j), weight in sorted(edges.items(), key=lambda item: -item[1]):
        if i not in taken and j not in taken:
            taken |= {i, j}
            total += weight
    return total


def _cover(around: dict[int, dict[int, int]], edges: Pairs) -> int:
    """The exact answer for agents that hang together, branching over what one of them pays."""
    if len(edges) == 1:
        return next(iter(edges.values()))
    best = sum(max(around[i].values()) for i in {e[0] for e in edges})  # the first ones pay all

    def branch(open_edges: dict[tuple[int, int], int], paid: int) -> None:
        nonlocal best
        if paid + _matching(open_edges) >= best:
            return
        if not open_edges:
            best = paid
            return
        count: dict[int, int] = {}
        for edge in open_edges:
            for i in edge:
                count[i] = count.get(i, 0) + 1
        agent = max(count, key=lambda i: count[i])
        mine = {e: w for e, w in open_edges.items() if agent in e}
        rest = {e: w for e, w in open_edges.items() if agent not in e}
        for amount in range(max(mine.values()) + 1):
            # the others must pay what this leaves over; that lowers what their own pairs need
            owed = {e[0] + e[1] - agent: w - amount for e, w in mine.items() if w > amount}
            after = {}
            for (i, j), weight in rest.items():
                need = weight - owed.get(i, 0) - owed.get(j, 0)
                if need > 0:
                    after[i, j] = need
            branch(after, paid + amount + sum(owed.values()))

    branch(dict(edges), 0)
    return best
