# SPDX-License-Identifier: Apache-2.0
"""Circuits of 30 to 127 qubits against closed forms, by every method that has the memory for them.

Rounding is some 1e-16 a step, over hundreds of steps and sums of about a hundred terms.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import rustworkx as rx
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, StabilizerState, random_clifford
from torch import Tensor

from qiskit_torch_bridge import Exact, TorchQuantumModule

CLOSE = {"rtol": 0, "atol": 1e-10}
NETWORK = pytest.param(
    "network",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("cotengra") is None, reason="an extra that is not installed"
    ),
)
METHODS = ["automatic", "light-cones", "columns", NETWORK]


def check(
    method: str,
    circuit: QuantumCircuit,
    observables: list[SparsePauliOp],
    closed_form: Callable[[Tensor], Tensor],
) -> None:
    """Compare values, and the gradient of a sum with weights of its own for each value."""
    count = circuit.num_parameters
    generator = torch.Generator().manual_seed(count)
    weights = 2 * torch.rand(count, dtype=torch.float64, generator=generator) - 1
    module = TorchQuantumModule(
        circuit, observables, estimator=Exact(method), initial_weights=weights
    ).double()
    with torch.no_grad():
        module.weight.copy_(weights)
    values = module()
    w = weights.clone().requires_grad_()
    expected = closed_form(w)
    torch.testing.assert_close(values, expected, **CLOSE)
    cotangent = torch.linspace(-1, 1, len(expected), dtype=torch.float64) + 0.1
    (values @ cotangent).backward()
    (gradient,) = torch.autograd.grad(expected @ cotangent, w)
    torch.testing.assert_close(module.weight.grad, gradient, **CLOSE)


def z_strings(width: int, *places: tuple[str, list[int]]) -> list[SparsePauliOp]:
    return [SparsePauliOp.from_sparse_list([(p, q, 1.0)], width) for p, q in places]


# -- free fermions ---------------------------------------------------------------------------------


def ising(width: int, layers: int) -> QuantumCircuit:
    """Trotter steps of the transverse-field Ising chain from |+...+>, each angle its own."""
    w = iter(ParameterVector("w", layers * (2 * width - 1)))
    circuit = QuantumCircuit(width)
    circuit.h(range(width))
    for _ in range(layers):
        for q in range(width - 1):
            circuit.rzz(next(w), q, q + 1)
        for q in range(width):
            circuit.rx(next(w), q)
    return circuit


def covariances(width: int, layers: int, w: Tensor) -> Tensor:
    r"""Return the final :math:`\Gamma_{ab} = \langle i \gamma_a \gamma_b\rangle`, where a is not b.

    With the Majorana operators :math:`\gamma_{2j} = X_0 \cdots X_{j-1} Z_j` and
    :math:`\gamma_{2j+1} = X_0 \cdots X_{j-1} Y_j`, :math:`X_j = i\gamma_{2j}\gamma_{2j+1}` and
    :math:`Z_j Z_{j+1} = i\gamma_{2j+1}\gamma_{2j+2}`. A rotation by an angle about
    :math:`i\gamma_a\gamma_b` turns the two into each other by that angle.
    """
    gamma = torch.zeros(2 * width, 2 * width, dtype=torch.float64)
    for j in range(width):
        gamma[2 * j, 2 * j + 1], gamma[2 * j + 1, 2 * j] = 1, -1  # X_j is one
    at = 0
    for _ in range(layers):
        for first, count in ((1, width - 1), (0, width)):
            angles = w[at : at + count]
            at += count
            a = torch.arange(count) * 2 + first
            turn = torch.eye(2 * width, dtype=torch.float64)
            turn = turn.index_put((a, a), angles.cos()).index_put((a + 1, a + 1), angles.cos())
            turn = turn.index_put((a, a + 1), angles.sin()).index_put((a + 1, a), -angles.sin())
            gamma = turn @ gamma @ turn.T
    return gamma


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("width", "layers"), [(30, 4), (100, 3), (127, 2)])
def test_ising_chain(method: str, width: int, layers: int) -> None:
    """Quadratic operators, and by Wick's theorem products of two of them."""
    pairs = [0, width // 2, width - 3]
    terms = [("ZZ", [j, j + 1], -1.0) for j in range(width - 1)]
    energy = SparsePauliOp.from_sparse_list(terms + [("X", [j], -0.8) for j in range(width)], width)
    observables = [energy, *z_strings(width, *(("X", [j]) for j in range(0, width, 9)))]
    observables += z_strings(width, *(("ZZ", [j, j + 2]) for j in pairs))

    def closed_form(w: Tensor) -> Tensor:
        gamma = covariances(width, layers, w)
        j = torch.arange(width)
        x, zz = gamma[2 * j, 2 * j + 1], gamma[2 * j[:-1] + 1, 2 * j[:-1] + 2]
        a = 2 * torch.tensor(pairs) + 1
        wick = gamma[a, a + 1] * gamma[a + 2, a + 3]
        wick = wick - gamma[a, a + 2] * gamma[a + 1, a + 3] + gamma[a, a + 3] * gamma[a + 1, a + 2]
        return torch.cat([(-zz.sum() - 0.8 * x.sum())[None], x[::9], wick])

    check(method, ising(width, layers), observables, closed_form)


# -- QAOA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["automatic", "light-cones", NETWORK])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_step_of_qaoa_on_a_random_graph(method: str, seed: int) -> None:
    """Z. Wang, S. Hadfield, Z. Jiang, E. G. Rieffel, arXiv:1706.02998, theorem 1."""
    width = 100
    graph = rx.undirected_gnm_random_graph(width, 150, seed=seed)
    edges = graph.edge_list()
    neighbours = [set(graph.neighbors(v)) for v in range(width)]
    gamma, beta = ParameterVector("g", 1), ParameterVector("h", 1)  # the order of the weights
    circuit = QuantumCircuit(width)
    circuit.h(range(width))
    for u, v in edges:
        circuit.rzz(-gamma[0], u, v)
    circuit.rx(2 * beta[0], range(width))

    def closed_form(w: Tensor) -> Tensor:
        g, b = w
        cuts = []
        for u, v in edges:
            f = len(neighbours[u] & neighbours[v])
            d, e = len(neighbours[u]) - 1, len(neighbours[v]) - 1
            once = (4 * b).sin() * g.sin() * (g.cos() ** d + g.cos() ** e) / 4
            both = (2 * b).sin() ** 2 * g.cos() ** (d + e - 2 * f) * (1 - (2 * g).cos() ** f) / 4
            cuts.append(0.5 + once - both)
        return 1 - 2 * torch.stack(cuts)  # of ZZ

    observables = z_strings(width, *(("ZZ", [u, v]) for u, v in edges))
    check(method, circuit, observables, closed_form)


# -- Clifford circuits -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [30, 60])
def test_clifford_circuits(method: str, width: int) -> None:
    """Stabilizers are plus or minus one; what anticommutes with one is zero."""
    rng = np.random.default_rng(width)
    circuit = QuantumCircuit(width)
    for layer in range(2):
        for q in range(layer, width - 1, 2):
            circuit.compose(random_clifford(2, int(rng.integers(1 << 30))).to_circuit(), [q, q + 1],
                            inplace=True)  # fmt: skip
    state = StabilizerState(circuit)
    paulis = [SparsePauliOp(label.lstrip("+-")) for label in state.clifford.to_labels(mode="S")]
    paulis += [SparsePauliOp.from_sparse_list([("X", [q], 1.0)], width) for q in range(0, width, 7)]
    expected = [state.expectation_value(p.paulis[0]) for p in paulis]
    assert {-1, 0, 1} >= set(expected) > {1}
    module = TorchQuantumModule(circuit, paulis, estimator=Exact(method)).double()
    np.testing.assert_allclose(module().detach().numpy(), expected, rtol=0, atol=1e-10)


# -- products --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [31, 127])
def test_product_circuits(method: str, width: int) -> None:
    """Strings on all qubits, too, which no light cone cuts down and no state vector holds."""
    w = ParameterVector("w", 2 * width)
    circuit = QuantumCircuit(width)
    for q in range(width):
        circuit.ry(w[2 * q] / 4, q)
        circuit.rz(w[2 * q + 1], q)
    letters = "ZX" * (width // 2) + "Z" * (width % 2)
    labels = ["I" * (width - 2) + "XY", "Y" + "I" * (width - 1), "Z" * width, letters]
    if method == "light-cones":  # the cone of a long string is the whole circuit
        labels = labels[:2]

    def closed_form(w: Tensor) -> Tensor:
        theta, phi = w[::2] / 4, w[1::2]
        bloch = {"X": theta.sin() * phi.cos(), "Y": theta.sin() * phi.sin(), "Z": theta.cos()}
        bloch["I"] = torch.ones_like(theta)
        return torch.stack(
            [
                torch.stack([bloch[p][q] for q, p in enumerate(reversed(label))]).prod()
                for label in labels
            ]
        )

    check(method, circuit, [SparsePauliOp(label) for label in labels], closed_form)
