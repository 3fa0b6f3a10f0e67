# SPDX-License-Identifier: Apache-2.0
"""Graphs of hundreds of nodes: drawn, cut by classical means, and what one layer of QAOA gives."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from .command_line import DemoError, require
from .problems import FloatArray, Graph

LARGE_GIRTH = {1: 0.5 + math.sqrt(3) / 9, 2: 0.7559, 3: 0.7924}
"""What QAOA of so many layers cuts of a 3-regular graph without short cycles, at best.

E. Farhi et al., arXiv:1411.4028, and J. Basso et al., arXiv:2110.14206, table 1.
"""

BLOCK = 6
"""Nodes among which the chords of a narrow graph are drawn."""

WIDEST = 16
"""Nodes between two parts of a graph whose sides may all be tried together."""


def random_cubic(num_nodes: int, seed: int) -> Graph:
    """Draw a graph whose nodes all have three neighbours, almost uniformly.

    By networkx, which follows Steger and Wormald as :func:`.random_regular` does, in linear time.
    """
    drawn = require("networkx").random_regular_graph(3, num_nodes, seed=seed)
    return _unweighted(num_nodes, [(int(u), int(v)) for u, v in drawn.edges])


def narrow_cubic(num_nodes: int, rng: np.random.Generator) -> Graph:
    """Draw a chain of nodes with a chord at each of them, to another one nearby.

    The chords pair the nodes of each block of six; the two ends of the chain lack a neighbour, and
    nodes that make no whole block have no chord. Few edges lead over any place of the chain, so
    that states of QAOA on it have narrow bonds.
    """
    if num_nodes < BLOCK:
        raise DemoError(
            f"Expected at least {BLOCK} nodes for a chain with chords; got {num_nodes}."
        )
    edges = [(node, node + 1) for node in range(num_nodes - 1)]
    for first in range(0, num_nodes - BLOCK + 1, BLOCK):
        while True:
            pairs = first + np.sort(rng.permutation(BLOCK).reshape(-1, 2), axis=1)
            if (pairs[:, 1] - pairs[:, 0] > 1).all():
                break
        edges += [(int(u), int(v)) for u, v in pairs]
    return _unweighted(num_nodes, edges)


def _unweighted(num_nodes: int, edges: list[tuple[int, int]]) -> Graph:
    ordered = tuple(sorted((min(edge), max(edge)) for edge in edges))
    return Graph(num_nodes, ordered, (1.0,) * len(ordered))


def cut_sizes(graph: Graph, sides: NDArray[np.integer]) -> FloatArray:
    """Return the weight of each of the cuts ``(C, n)``, given as the side of each node."""
    u, v = np.array(graph.edges).T
    sizes: FloatArray = (sides[:, u] != sides[:, v]) @ np.array(graph.weights)
    return sizes


def search_locally(
    graph: Graph, starts: int, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Move the node that gains most to the other side until none gains, from random sides.

    Args:
        graph: The graph.
        starts: How many random sides to begin from.
        rng: Draws them.

    Returns:
        The weights of the cuts ``(starts,)``, and the sides ``(n,)`` of the largest.
    """
    neighbours, weights = _neighbours(graph)
    spins = rng.choice([-1.0, 1.0], (starts, graph.num_nodes))
    fields = np.einsum("skd,kd->sk", spins[:, neighbours], weights)
    row = np.arange(starts)
    while len(row):
        gains = spins[row] * fields[row]
        node = gains.argmax(1)
        moves = gains[np.arange(len(row)), node] > 1e-12
        row, node = row[moves], node[moves]
        spins[row, node] *= -1
        # A node has as many places in the table as the busiest has neighbours, the rest without
        # weight, and each of its neighbours comes once.
        np.add.at(
            fields,
            (row[:, None], neighbours[node]),
            2 * spins[row, node][:, None] * weights[node],
        )
    sides = (spins > 0).astype(np.int64)
    cuts = cut_sizes(graph, sides)
    return cuts, sides[cuts.argmax()]


def _neighbours(graph: Graph) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the neighbours of each node, and the edges' weights, both ``(n, most neighbours)``."""
    lists: list[list[tuple[int, float]]] = [[] for _ in range(graph.num_nodes)]
    for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
        lists[u].append((v, weight))
        lists[v].append((u, weight))
    most = max(map(len, lists))
    padded = [near + [(0, 0.0)] * (most - len(near)) for near in lists]
    table = np.array(padded)
    return table[..., 0].astype(np.int64), table[..., 1]


def largest_cut(graph: Graph) -> float | None:
    """Return the weight of the largest cut; ``None`` if the graph is too wide to find it.

    Node by node, the best cut so far is kept for all sides of those nodes that have a neighbour
    still to come: ``2**k`` numbers for ``k`` of them.
    """
    last = np.arange(graph.num_nodes)
    arriving: list[list[tuple[int, float]]] = [[] for _ in range(graph.num_nodes)]
    for edge, weight in zip(graph.edges, graph.weights, strict=True):
        u, v = sorted(edge)
        last[u] = max(last[u], v)
        arriving[v].append((u, weight))
    frontier: list[int] = []  # axis k of the table is the side of frontier[k]
    best = np.zeros(())
    for node in range(graph.num_nodes):
        if len(frontier) >= WIDEST:
            return None
        best = np.stack([best, best], -1)
        for near, weight in arriving[node]:
            shape = [1] * best.ndim
            shape[frontier.index(near)] = shape[-1] = 2
            best = best + weight * (1 - np.eye(2)).reshape(shape)
        frontier.append(node)
        for done in [k for k in reversed(range(len(frontier))) if last[frontier[k]] <= node]:
            best = best.max(done)
            del frontier[done]
    return float(best)


def find_width(graph: Graph) -> int:
    """Return how many edges lead over the busiest place of the nodes in a row.

    In order of their numbers, or in that of Cuthill and McKee, reversed, if it is narrower.
    """
    u, v = np.array(graph.edges).T
    joined = coo_array((np.ones(2 * len(u)), (np.append(u, v), np.append(v, u)))).tocsr()
    return min(
        _width(np.sort(place[[u, v]], axis=0))
        for place in (np.arange(graph.num_nodes), np.argsort(reverse_cuthill_mckee(joined, True)))
    )


def _width(ends: NDArray[np.integer]) -> int:
    """Return the width of edges from places ``ends[0]`` to places ``ends[1]`` beyond them."""
    opened, closed = (np.bincount(end, minlength=ends.max() + 1) for end in ends)
    return int((opened - closed).cumsum().max())


def one_layer_cuts(graph: Graph, gamma: float, beta: float) -> FloatArray:
    r"""Return the chance that each edge is cut after one layer of QAOA, ``(edges,)``.

    For an edge whose ends have :math:`d` and :math:`e` further neighbours, :math:`f` of them common
    (Z. Wang, S. Hadfield, Z. Jiang and E. G. Rieffel, Phys. Rev. A 97, 022304, arXiv:1706.02998,
    theorem 1; for edges without weights),

    .. math:: \tfrac12 + \tfrac14\sin4\beta\,\sin\gamma\,(\cos^d\gamma + \cos^e\gamma)
        - \tfrac14\sin^2 2\beta\,\cos^{d+e-2f}\gamma\,(1 - \cos^f 2\gamma).
    """
    near: list[set[int]] = [set() for _ in range(graph.num_nodes)]
    for u, v in graph.edges:
        near[u].add(v)
        near[v].add(u)
    counts = [(len(near[u]) - 1, len(near[v]) - 1, len(near[u] & near[v])) for u, v in graph.edges]
    d, e, f = np.array(counts).T
    c = np.cos(gamma)
    straight = np.sin(4 * beta) * np.sin(gamma) * (c**d + c**e)
    triangles = np.sin(2 * beta) ** 2 * c ** (d + e - 2 * f) * (1 - np.cos(2 * gamma) ** f)
    found: FloatArray = 0.5 + 0.25 * straight - 0.25 * triangles
    return found


class Surroundings(NamedTuple):
    """What ``p`` layers of QAOA see from an edge: all that is no more than ``p`` steps away."""

    nodes: int
    edges: int  # among those that lead to a node one step nearer, and the edge itself

    @property
    def is_tree(self) -> bool:
        """Whether no cycle is seen."""
        return self.edges == self.nodes - 1


def surroundings(graph: Graph, reps: int) -> list[Surroundings]:
    """Return what each edge's expectation value after ``reps`` layers depends on."""
    near: list[set[int]] = [set() for _ in range(graph.num_nodes)]
    for u, v in graph.edges:
        near[u].add(v)
        near[v].add(u)
    found = []
    for edge in graph.edges:
        seen, inner = set(edge), set(edge)
        for _ in range(reps):
            inner = set(seen)
            seen = seen.union(*(near[node] for node in inner))
        # Edges between two of the outermost nodes commute with what has been measured by then.
        count = sum(1 for u in seen for v in near[u] & seen if u < v and (u in inner or v in inner))
        found.append(Surroundings(len(seen), count))
    return found
