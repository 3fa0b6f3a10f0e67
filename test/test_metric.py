# SPDX-License-Identifier: Apache-2.0
"""The Fubini-Study metric is what closed forms, dense simulation and fidelities say it is.

Exact computations are compared to 1e-10: sums of at most a few thousand terms of size one, each
with a rounding of 1e-16, times coefficients of at most 3 squared.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, layered, nonlinear
from hypothesis import assume, given
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp, Statevector
from reference import statevector
from strategies import Case, cases

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.optim import FubiniStudyMetric, StateFidelity
from qiskit_torch_bridge.simulation.statevector.geometry import StateGeometry

EXACT = 1e-10


def dense_metric(circuit, order, values, count) -> np.ndarray:  # (count, count), the last ones
    """By automatic differentiation of a dense simulation that shares no code with the package."""
    point = torch.as_tensor(values, dtype=torch.float64)

    def parts(v):
        return torch.view_as_real(statevector(circuit, order, v))

    jacobian = torch.view_as_complex(torch.func.jacfwd(parts)(point).movedim(-1, 1).contiguous())
    jacobian = jacobian[:, len(point) - count :].numpy()  # (2**n, C)
    psi = statevector(circuit, order, point).numpy()
    along = psi.conj() @ jacobian
    return np.real(jacobian.conj().T @ jacobian - np.outer(along.conj(), along))


def test_one_qubit_in_closed_form():
    """The sphere's metric: a quarter of d(theta)^2 + sin(theta)^2 d(phi)^2."""
    theta, phi, lam = Parameter("theta"), Parameter("phi"), Parameter("lambda")
    circuit = QuantumCircuit(1)
    circuit.rz(lam, 0)  # acts on |0>: a phase
    circuit.ry(theta, 0)
    circuit.rz(phi, 0)
    program = CircuitProgram(circuit, weight_params=[theta, phi, lam])
    for t in (0.0, 0.4, np.pi / 2, 2.5, -1.1):
        expected = np.diag([0.25, np.sin(t) ** 2 / 4, 0.0])
        found = FubiniStudyMetric(program)([t, 0.7, -0.3])
        np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_rotations_of_plus_and_scaled_shared_parameters_in_closed_form():
    """G of exp(-i t H) is the variance of H: n / 4 for n RY with one angle, times its scale^2."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(3)
    for q, scale in enumerate((1, 2, -0.5)):
        circuit.ry(scale * theta + 0.3, q)
    expected = (1 + 4 + 0.25) / 4
    np.testing.assert_allclose(FubiniStudyMetric(circuit)([1.3]), [[expected]], atol=EXACT)


def test_pauli_evolution_is_the_variance_of_its_operator():
    """For U = exp(-i t H), G = <H^2> - <H>^2 whatever t; the terms commute."""
    operator = SparsePauliOp.from_list([("ZZI", 0.7), ("IZZ", -1.2), ("ZII", 0.4)])
    time = Parameter("t")
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(0.4 + q, q)
    psi = Statevector(circuit)
    mean, square = (psi.expectation_value(o).real for o in (operator, operator @ operator))
    circuit.append(PauliEvolutionGate(operator, time), range(3))
    found = FubiniStudyMetric(circuit)([0.9])
    np.testing.assert_allclose(found, [[square - mean**2]], rtol=0, atol=EXACT)


def test_a_global_phase_and_unmoved_states_have_no_length():
    a, b, c = ParameterVector("a", 3)
    circuit = QuantumCircuit(2, global_phase=2 * a)
    circuit.rz(b, 0)
    circuit.crx(c, 0, 1)  # its control is never set
    assert np.abs(FubiniStudyMetric(circuit)([0.3, 0.4, 0.5])).max() < EXACT


def swap_weights(program):
    """The same circuit with its weights in another order."""
    order = [*program.weight_params[1:], program.weight_params[0]]
    return CircuitProgram(
        program.circuit, input_params=program.input_params or None, weight_params=order
    )


@pytest.mark.parametrize("circuit", [hybrid, nonlinear], ids=["affine", "not"])
def test_inputs_are_averaged_over_and_weights_keep_their_order(circuit):
    program = CircuitProgram(circuit(), input_params=X, weight_params=A)
    generator = np.random.default_rng(3)
    inputs, weights = generator.uniform(-2, 2, (4, 2)), np.array([0.3, -0.8, 1.9])
    for swapped in (program, swap_weights(program)):
        order = swapped.weight_params
        w = [weights[list(A).index(p)] for p in order]
        rows = [dense_metric(circuit(), (*X, *order), [*row, *w], 3) for row in inputs]
        assert np.abs(rows[0] - rows[1]).max() > 1e-2  # the input matters
        metric = FubiniStudyMetric(swapped)
        found = metric(w, inputs)
        np.testing.assert_allclose(found, np.mean(rows, axis=0), rtol=0, atol=EXACT)
        one_by_one = [metric(w, row[None]) for row in inputs]
        np.testing.assert_allclose(found, np.mean(one_by_one, axis=0), rtol=0, atol=1e-15)


def test_tensors_that_require_gradients_are_taken():
    program = CircuitProgram(hybrid(), input_params=X, weight_params=A)
    w = torch.nn.Parameter(torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64))
    x = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    expected = FubiniStudyMetric(program)([0.3, 0.5, 0.7], x.detach().numpy())
    np.testing.assert_array_equal(FubiniStudyMetric(program)(w, x), expected)


def test_idle_qubits_change_nothing():
    circuit, inputs, weights = layered(3, 1)
    wide = QuantumCircuit(9)
    wide.compose(circuit, [1, 4, 8], inplace=True)
    values = np.linspace(-1, 2, 6)
    narrow, idle = (
        FubiniStudyMetric(CircuitProgram(c, input_params=inputs, weight_params=weights))(
            values, [[0.1, 0.2, 0.3]]
        )
        for c in (circuit, wide)
    )
    np.testing.assert_allclose(idle, narrow, rtol=0, atol=EXACT)


@given(cases(max_qubits=4, max_gates=6))
def test_random_circuits_against_dense_differentiation(case: Case):
    """Value, symmetry and positivity; entries grow with the angles' slopes squared."""
    assume(case.parameters)
    program = CircuitProgram(
        case.circuit, input_params=case.inputs or None, weight_params=case.weights
    )
    expected = dense_metric(case.circuit, case.parameters, case.values, len(case.weights))
    inputs = case.values[: case.num_inputs].numpy()[None] if case.num_inputs else None
    found = FubiniStudyMetric(program)(case.values[case.num_inputs :].numpy(), inputs)
    size = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT * size)
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min(initial=0.0) > -EXACT * size


@given(cases(max_qubits=4, max_gates=6, batch=(3,), affine_only=True))
def test_random_fidelities_against_dense_states(case: Case):
    program = CircuitProgram(case.circuit, weight_params=case.parameters)
    states = [statevector(case.circuit, case.parameters, v).numpy() for v in case.values]
    expected = [abs(np.vdot(states[0], s)) ** 2 for s in states]
    values = case.values.numpy()
    found = StateFidelity(program)(values[0], values)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_second_differences_of_the_fidelity(seed):
    """|<psi(0)|psi(t d)>|^2 = 1 - t^2 d.G.d + O(t^3), and odd orders cancel between t and -t.

    The error of (1 - (F(t) + F(-t)) / 2) / t^2 is t^2 M / 24, with M a bound of the fourth
    derivative: (sum of the angles' slopes)^4, where |d| has entries of at most 1. Rounding adds
    4e-15 over t^2.
    """
    program = CircuitProgram(hybrid())
    generator = np.random.default_rng(seed)
    values = generator.uniform(-2, 2, 5)
    metric, fidelity = FubiniStudyMetric(program), StateFidelity(program)
    g = metric(values)
    for d in [*np.eye(5), generator.uniform(-1, 1, 5)]:
        t = 1e-3
        ends = fidelity(values, [values + t * d, values - t * d])
        found = (1 - ends.mean()) / t**2
        # Of x0, 2 a0 + x1, a1, a1 / 2 and a2.
        bound = t**2 * (1 + 3 + 1 + 0.5 + 1) ** 4 / 24 + 1e-15 / t**2 * 4
        assert abs(found - d @ g @ d) < bound
        assert bound < 1e-3


def test_fidelity_in_closed_form_and_averaged_over_inputs():
    theta, x = Parameter("theta"), Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.ry(x * 0.5, 0)
    circuit.rz(theta, 0)
    program = CircuitProgram(circuit, input_params=[x])
    inputs, others = np.array([[0.3], [1.9]]), np.array([[0.1], [0.9], [-2.0]])

    def closed(x, d):  # overlap cos^2 + sin^2 exp(i d) of half-angles
        c, s = np.cos(x / 4) ** 2, np.sin(x / 4) ** 2
        return abs(c + s * np.exp(1j * d)) ** 2

    expected = [np.mean([closed(x, o - 0.1) for (x,) in inputs]) for (o,) in others]
    found = StateFidelity(program)([0.1], others, inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def aligned(states, references):
    """States with the phases that bring them closest to references."""
    overlaps = np.einsum("kn,kn->k", states.conj(), references)
    return states * (overlaps / np.abs(overlaps))[:, None]


def test_states_and_tangents_of_the_simulator():
    """States are Qiskit's up to a phase; tangents are their differences, up to that phase too."""
    program = CircuitProgram(hybrid())
    geometry = StateGeometry(program.analysed)
    simulator = geometry._simulator
    none = np.zeros((1, 0))
    points = np.random.default_rng(5).uniform(-2, 2, (4, 5))

    def qiskit_states(rows):
        order = list(program.parameters)
        return np.array(
            [
                Statevector(hybrid().assign_parameters(dict(zip(order, row, strict=True)))).data
                for row in rows
            ]
        )

    states = simulator.states(points, none)
    references = qiskit_states(points)
    np.testing.assert_allclose(aligned(states, references), references, rtol=0, atol=1e-13)
    found, tangents = simulator.tangent_states(np.repeat(points[:1], 5, 0), none, np.eye(5), none)
    np.testing.assert_allclose(found, np.repeat(found[:1], 5, 0), rtol=0, atol=0)
    np.testing.assert_allclose(aligned(found[:1], references[:1]), references[:1], atol=1e-13)
    h = 1e-5
    ahead, back = (points[0] + s * h * np.eye(5) for s in (1, -1))
    slopes = (simulator.states(ahead, none) - simulator.states(back, none)) / (2 * h)
    # h^2 / 6 times a third derivative of at most 2^3, and rounding over h.
    np.testing.assert_allclose(tangents, slopes, rtol=0, atol=h**2 * 8 / 6 + 4e-16 / h * 4)
