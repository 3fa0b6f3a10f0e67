# SPDX-License-Identifier: Apache-2.0
"""What QAOA and VQE are asked: largest cuts of graphs, and ground states of Hamiltonians."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse.linalg import eigsh
from torch import Tensor

from .. import CVaR
from .command_line import DemoError

FloatArray: TypeAlias = NDArray[np.float64]

MAX_NODES = 20
"""All cuts of a larger graph are too many to look at one by one."""

MOST_NODES = 2000
"""Larger graphs take minutes for each gradient."""

ORIGIN_TARGET = -0.25

H2 = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
"""Hydrogen at 0.735 angstrom in the STO-3G basis, by parity mapping on two qubits; in hartree."""


class Graph(NamedTuple):
    """An undirected graph without loops; node k is qubit k."""

    num_nodes: int
    edges: tuple[tuple[int, int], ...]  # pairs of nodes, the smaller one first
    weights: tuple[float, ...]  # one weight for each edge
    labels: tuple[int, ...] = ()  # the nodes' names in the file they came from; empty for 0, 1, 2,


@dataclass(frozen=True)
class Problem:
    """An expectation value to minimise."""

    title: str
    circuit: QuantumCircuit  # its parameters are all trained
    operator: SparsePauliOp
    least: float  # its lowest expectation value
    start: FloatArray  # the initial weights, in the order of ``circuit.parameters``
    graph: Graph | None = None  # the graph whose cuts it is about; ``None`` if it is about none
    # what is minimised, if not the expectation value itself
    loss: Callable[[Tensor], Tensor] | None = None
    tolerance: float = 1e-4  # the slope, and COBYLA's step, at which a run has converged
    measured: CVaR | None = None  # what is measured in the place of the operator's mean


def origin_problem() -> Problem:
    r"""Return the two-qubit case of the QizGloria notebook "2qubit-QAOA".

    Mixer and then :math:`e^{i\gamma ZZ/2}` on :math:`|00\rangle`, the observable
    :math:`-ZZ/4`, its target -1/4, and the squared distance to it as the loss. The last gate
    commutes with what is measured, so :math:`\langle E\rangle = -\cos^2(\beta)/4`.
    """
    beta, gamma = Parameter("beta"), Parameter("gamma")
    circuit = QuantumCircuit(2)
    circuit.rx(beta, [0, 1])
    circuit.cx(0, 1)
    circuit.rz(-gamma, 1)
    circuit.cx(0, 1)
    return Problem(
        "two qubits, the ground state of -ZZ/4",
        circuit,
        SparsePauliOp("ZZ", -0.25),
        ORIGIN_TARGET,
        np.full(2, math.pi / 4),
        loss=lambda value: (value - ORIGIN_TARGET).square(),
        tolerance=1e-6,  # a square is flat around its minimum
    )


def cut_problem(title: str, graph: Graph, reps: int) -> Problem:
    """Return MaxCut on ``graph``: minimise minus the cut, as a part of all weights."""
    largest = max_cut(graph)
    if largest <= 0:
        raise DemoError(f"No cut of {title} has a weight above zero: there is nothing to find.")
    return _cut_problem(title, graph, reps, largest)


def large_cut_problem(title: str, graph: Graph, reps: int) -> Problem:
    """Return MaxCut on a graph whose largest cut is not known.

    The least value that a problem names is that of a cut through all edges of a weight above zero:
    no cut has a lower one.
    """
    positive = sum(weight for weight in graph.weights if weight > 0)
    if not positive:
        raise DemoError(f"No cut of {title} has a weight above zero: there is nothing to find.")
    return _cut_problem(title, graph, reps, positive)


def _cut_problem(title: str, graph: Graph, reps: int, largest: float) -> Problem:
    # Angles and slopes then have the same size for all graphs, and so have good step sizes.
    scale = float(np.mean(np.abs(graph.weights)))
    scaled = graph._replace(weights=tuple(weight / scale for weight in graph.weights))
    circuit, gammas, betas = qaoa_circuit(scaled, reps)
    size = scale * len(graph.edges)
    ramp = (np.arange(reps) + 0.5) / reps
    angles = dict(zip([*gammas, *betas], [*(0.6 * ramp), *(0.6 * (1 - ramp))], strict=True))
    start = np.array([angles[parameter] for parameter in circuit.parameters])
    operator = cut_operator(graph) * (-1 / size)
    return Problem(title, circuit, operator, -largest / size, start, graph)


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


def cut_operator(graph: Graph) -> SparsePauliOp:
    r"""Return :math:`\sum w_{uv} (1 - Z_u Z_v) / 2`; its expectation value is the mean cut."""
    edges = zip(graph.edges, graph.weights, strict=True)
    terms = [("ZZ", list(edge), -weight / 2) for edge, weight in edges]
    terms.append(("", [], sum(graph.weights) / 2))
    return SparsePauliOp.from_sparse_list(terms, num_qubits=graph.num_nodes)


def cut_values(graph: Graph) -> FloatArray:
    """Return the weight of all ``2**n`` cuts; bit k of the index is the side of node k."""
    index = np.arange(2**graph.num_nodes)
    values = np.zeros(len(index))
    for (u, v), weight in zip(graph.edges, graph.weights, strict=True):
        values += weight * ((index >> u ^ index >> v) & 1)
    return values


def max_cut(graph: Graph) -> float:
    """Return the weight of the largest cut, found by looking at all of them."""
    return float(cut_values(graph).max())


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
        lacking = np.full(num_nodes, degree)
        allowed = np.triu(np.ones((num_nodes, num_nodes)), 1)
        edges: list[tuple[int, int]] = []
        while (chances := allowed * np.outer(lacking, lacking)).any():
            edge = int(rng.choice(chances.size, p=chances.ravel() / chances.sum()))
            u, v = divmod(edge, num_nodes)
            edges.append((u, v))
            allowed[u, v] = 0
            lacking[[u, v]] -= 1
        if not lacking.any():
            return _unweighted(num_nodes, edges)


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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DemoError(f"Cannot read the graph '{path}': {error}.") from error
    found: dict[tuple[int, int], float] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            edge, weight = _read_edge(words)
            if edge in found:
                raise ValueError(f"nodes {edge[0]} and {edge[1]} are joined already")
        except ValueError as error:
            raise DemoError(
                f"Expected 'u v' or 'u v weight' in '{path}', line {number}; got "
                f"{line.strip()!r}: {error}."
            ) from error
        found[edge] = weight
    labels = sorted({node for edge in found for node in edge})
    if not 0 < len(labels) <= MOST_NODES:
        raise DemoError(
            f"Expected '{path}' to describe a graph of 2 to {MOST_NODES:,} nodes; it has "
            f"{len(labels)} nodes and {len(found)} edges."
        )
    place = {label: index for index, label in enumerate(labels)}
    edges = tuple((place[u], place[v]) for u, v in found)
    return Graph(len(labels), edges, tuple(found.values()), tuple(labels))


def _read_edge(words: list[str]) -> tuple[tuple[int, int], float]:
    if len(words) not in (2, 3):
        raise ValueError(f"there are {len(words)} words")
    u, v = sorted(int(word) for word in words[:2])
    weight = float(words[2]) if len(words) == 3 else 1.0
    if u == v:
        raise ValueError("a node is not joined to itself")
    if not math.isfinite(weight):
        raise ValueError("a weight is finite")
    return (u, v), weight


def heisenberg(num_qubits: int) -> SparsePauliOp:
    """Return the antiferromagnetic Heisenberg chain with open ends, in units of J."""
    bonds = [[qubit, qubit + 1] for qubit in range(num_qubits - 1)]
    terms = [(pauli, bond, 1.0) for bond in bonds for pauli in ("XX", "YY", "ZZ")]
    return SparsePauliOp.from_sparse_list(terms, num_qubits=num_qubits)


def ground_energy(operator: SparsePauliOp) -> float:
    """Return the lowest eigenvalue."""
    matrix = operator.to_matrix(sparse=True)
    start = np.random.default_rng(0).normal(size=matrix.shape[0])  # ARPACK's own is not repeatable
    return float(eigsh(matrix, k=1, which="SA", return_eigenvectors=False, v0=start)[0])


def rotation_ansatz(flipped: Sequence[bool], reps: int) -> QuantumCircuit:
    """Return RY rotations with CZ entanglers between them, after X gates on ``flipped`` qubits."""
    size = len(flipped)
    theta = iter(ParameterVector("theta", size * (reps + 1)))
    circuit = QuantumCircuit(size)
    circuit.x([qubit for qubit in range(size) if flipped[qubit]])
    for layer in range(reps + 1):
        for qubit in range(size - 1 if layer else 0):
            circuit.cz(qubit, qubit + 1)
        for qubit in range(size):
            circuit.ry(next(theta), qubit)
    return circuit


def exchange_ansatz(num_qubits: int, reps: int) -> QuantumCircuit:
    r"""Return pairs in singlet states, and layers of :math:`e^{-i\theta (XX + YY + ZZ) / 2}`.

    Each of them swaps two neighbours in part, so the total spin stays zero, as it is in the ground
    state. Every bond of every layer has an angle of its own.
    """
    bonds = [(q, q + 1) for first in (1, 0) for q in range(first, num_qubits - 1, 2)]
    theta = iter(ParameterVector("theta", reps * len(bonds)))
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(0, num_qubits, 2):
        circuit.x([qubit, qubit + 1])
        circuit.h(qubit)
        circuit.cx(qubit, qubit + 1)
    for _ in range(reps):
        for bond in bonds:
            angle = next(theta)
            circuit.rxx(angle, *bond)
            circuit.ryy(angle, *bond)
            circuit.rzz(angle, *bond)
    return circuit
