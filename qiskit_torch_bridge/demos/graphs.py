# SPDX-License-Identifier: Apache-2.0
"""Graphs, their cuts, and the QAOA circuits that look for the largest one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from .common import DemoError

MAX_NODES = 20
"""All cuts of a larger graph are too many to look at one by one."""


class Graph(NamedTuple):
    """An undirected graph without loops; node k is qubit k.

    Attributes:
        num_nodes: The number of nodes.
        edges: Pairs of nodes, the smaller one first.
        weights: One weight for each edge.
        labels: The nodes' names in the file they came from; empty for 0, 1, 2, ...
    """

    num_nodes: int
    edges: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]
    labels: tuple[int, ...] = ()


def random_regular(num_nodes: int, degree: int, rng: np.random.Generator) -> Graph:
    """Draw a graph whose nodes all have ``degree`` neighbours, almost uniformly.

    Edges are added one by one between nodes that still lack some (Steger and Wormald, Comb. Prob.
    Comput. 8, 377, 1999); where that leads nowhere, it begins again.
    """
    if not 0 < degree < num_nodes or num_nodes * degree % 2:
        raise DemoError(
            f"There is no graph of {num_nodes} nodes with {degree} neighbours each: their product "
            "must be even, and the neighbours fewer than the nodes."
        )
    while True:
        edges = _regular_edges(num_nodes, degree, rng)
        if len(edges) == num_nodes * degree // 2:
            return _unweighted(num_nodes, edges)


def _regular_edges(num_nodes: int, degree: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    lacking = np.full(num_nodes, degree)
    allowed = np.triu(np.ones((num_nodes, num_nodes)), 1)
    edges: list[tuple[int, int]] = []
    while lacking.any():
        chances = allowed * np.outer(lacking, lacking)
        if not chances.any():
            break
        u, v = divmod(int(rng.choice(chances.size, p=chances.ravel() / chances.sum())), num_nodes)
        edges.append((u, v))
        allowed[u, v] = 0
        lacking[[u, v]] -= 1
    return edges


def random_gnp(num_nodes: int, probability: float, rng: np.random.Generator) -> Graph:
    """Draw a graph in which each pair of nodes is joined with the given probability."""
    joined = np.triu(rng.random((num_nodes, num_nodes)) < probability, 1)
    return _unweighted(num_nodes, [(int(u), int(v)) for u, v in np.argwhere(joined)])


def petersen() -> Graph:
    """Return the Petersen graph: 10 nodes, 3-regular, without triangles; its largest cut is 12."""
    outer = [(k, (k + 1) % 5) for k in range(5)]
    inner = [(5 + k, 5 + (k + 2) % 5) for k in range(5)]
    return _unweighted(10, [*outer, *inner, *((k, 5 + k) for k in range(5))])


def _unweighted(num_nodes: int, edges: list[tuple[int, int]]) -> Graph:
    ordered = tuple(sorted((min(edge), max(edge)) for edge in edges))
    return Graph(num_nodes, ordered, (1.0,) * len(ordered))


def read_edge_list(path: Path) -> Graph:
    """Read lines ``u v [weight]``; ``#`` begins a comment, and nodes are any whole numbers.

    Raises:
        DemoError: The file cannot be read, or one of its lines is wrong; it names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"Cannot read the graph '{path}': {error}.") from error
    found: dict[tuple[int, int], float] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            edge, weight = _edge(words)
            if edge in found:
                raise ValueError(f"nodes {edge[0]} and {edge[1]} are joined already")
        except ValueError as error:
            raise DemoError(
                f"Expected 'u v' or 'u v weight' in '{path}', line {number}; got "
                f"{line.strip()!r}: {error}."
            ) from error
        found[edge] = weight
    labels = sorted({node for edge in found for node in edge})
    if not 0 < len(labels) <= MAX_NODES:
        raise DemoError(
            f"Expected '{path}' to describe a graph of 2 to {MAX_NODES} nodes; it has "
            f"{len(labels)} nodes and {len(found)} edges."
        )
    place = {label: index for index, label in enumerate(labels)}
    edges = tuple((place[u], place[v]) for u, v in found)
    return Graph(len(labels), edges, tuple(found.values()), tuple(labels))


def _edge(words: list[str]) -> tuple[tuple[int, int], float]:
    if len(words) not in (2, 3):
        raise ValueError(f"there are {len(words)} words")
    u, v = (int(word) for word in words[:2])
    weight = float(words[2]) if len(words) == 3 else 1.0
    if u == v:
        raise ValueError("a node is not joined to itself")
    if not math.isfinite(weight):
        raise ValueError("a weight is finite")
    return (min(u, v), max(u, v)), weight


def cut_values(graph: Graph) -> npt.NDArray[np.float64]:
    """Return the weight of all ``2**n`` cuts; bit k of the index is the side of node k."""
    index = np.arange(2**graph.num_nodes)
    values = np.zeros(len(index))
    for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
        values += weight * ((index >> u ^ index >> v) & 1)
    return values


def max_cut(graph: Graph) -> float:
    """Return the weight of the largest cut, found by looking at all of them."""
    return float(cut_values(graph).max())


def cut_operator(graph: Graph) -> SparsePauliOp:
    r"""Return :math:`\sum w_{uv} (1 - Z_u Z_v) / 2`; its expectation value is the mean cut."""
    terms = [
        ("ZZ", [u, v], -weight / 2)
        for (u, v), weight in zip(graph.edges, graph.weights, strict=True)
    ]
    terms.append(("", [], sum(graph.weights) / 2))
    return SparsePauliOp.from_sparse_list(terms, num_qubits=graph.num_nodes)


def qaoa_circuit(
    graph: Graph, reps: int
) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    r"""Return the QAOA circuit, and its parameters :math:`\gamma` and :math:`\beta`.

    .. math:: \prod_k e^{-i \beta_k \sum_j X_j} e^{-i \gamma_k C} |+\rangle

    with the cut operator :math:`C` (Farhi, Goldstone and Gutmann, arXiv:1411.4028).
    """
    gammas, betas = ParameterVector("gamma", reps), ParameterVector("beta", reps)
    circuit = QuantumCircuit(graph.num_nodes)
    circuit.h(range(graph.num_nodes))
    for gamma, beta in zip(gammas, betas, strict=True):
        for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
            circuit.rzz(-weight * gamma, u, v)
        circuit.rx(2 * beta, range(graph.num_nodes))
    return circuit, gammas, betas
