# SPDX-License-Identifier: Apache-2.0
"""Measurements against closed forms, and against ``qiskit.quantum_info``."""

from __future__ import annotations

import math
import runpy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from documented import DOCS
from qiskit import transpile
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit.primitives import BitArray
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import (
    DensityMatrix,
    SparsePauliOp,
    Statevector,
    entropy,
    partial_trace,
    purity,
    random_density_matrix,
    random_statevector,
    state_fidelity,
)

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
    expectation,
)
from qiskit_torch_bridge.exceptions import CircuitError, MeasurementError, ObservableError
from qiskit_torch_bridge.program.interpretations import OutcomeFunction, OutcomeTable, Parity
from qiskit_torch_bridge.program.operators import as_paulis, operator_from_list
from qiskit_torch_bridge.program.squares import square

THETA = Parameter("theta")
SUBSYSTEMS = [(0,), (3,), (1, 2), (3, 0), (2, 0, 1), (0, 1, 2, 3)]


def measured(circuit: QuantumCircuit, measurement: Any, **layout: Any) -> np.ndarray:
    """What the exact engine gives for a circuit without parameters."""
    return outputs(CircuitProgram(circuit, measurement, **layout))


def outputs(program: CircuitProgram) -> np.ndarray:
    return expectation(program, weights=torch.zeros(0, dtype=torch.float64)).numpy()


def ghz(n: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    circuit.h(0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    return circuit


def w_state(n: int) -> QuantumCircuit:
    amplitudes = np.zeros(2**n)
    amplitudes[2 ** np.arange(n)] = n**-0.5
    circuit = QuantumCircuit(n)
    circuit.prepare_state(amplitudes)
    return circuit


def mixer(n: int = 4, seed: int = 0) -> QuantumCircuit:
    """A circuit that prepares nothing special."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (2, n, 2))
    circuit = QuantumCircuit(n, global_phase=0.7)
    for layer in angles:
        for q, (a, b) in enumerate(layer):
            circuit.ry(a, q)
            circuit.rz(b, q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    return circuit


def tangled(theta: Any) -> QuantumCircuit:
    """Two qubits of which the reduced states have the eigenvalues cos and sin squared of half."""
    circuit = QuantumCircuit(2)
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    return circuit


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# -- closed forms --------------------------------------------------------------------------------


def test_bell_states_have_one_bit_of_entropy():
    for flips in ((), (0,), (1,), (0, 1)):
        circuit = QuantumCircuit(2)
        for q in flips:
            circuit.x(q)
        circuit.compose(tangled(np.pi / 2), inplace=True)
        close(measured(circuit, Entropy(0)), [math.log(2)])
        close(measured(circuit, Entropy([1], base=2)), [1.0])
        close(measured(circuit, Purity([1])), [0.5])


@pytest.mark.parametrize("n", [3, 5])
def test_ghz_states(n):
    ends = np.zeros(2 ** (n - 1))
    ends[[0, -1]] = 0.5
    close(measured(ghz(n), Probabilities(range(1, n))), ends)
    for k in range(1, n):
        close(measured(ghz(n), Entropy(range(k), base=2)), [1.0])
        close(measured(ghz(n), Purity(range(k))), [0.5])
    close(measured(ghz(n), Entropy(range(n))), [0.0], 1e-14)
    close(
        measured(
            ghz(n), Variance(SparsePauliOp(["I" * q + "Z" + "I" * (n - 1 - q) for q in range(n)]))
        ),
        [n**2],
    )
    even = measured(ghz(n), Probabilities(interpret="parity"))
    close(even, [1.0, 0.0] if n % 2 == 0 else [0.5, 0.5])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_w_states(k):
    """One excitation over n qubits: in the k of a subsystem with probability k / n."""
    n = 4
    p = k / n
    close(measured(w_state(n), Purity(range(k))), [p**2 + (1 - p) ** 2])
    close(measured(w_state(n), Entropy(range(k))), [-p * math.log(p) - (1 - p) * math.log(1 - p)])
    close(measured(w_state(n), Probabilities(interpret=int.bit_count)), [0, 1, 0, 0, 0])


def test_variances_of_sums():
    theta = 0.4
    circuit = QuantumCircuit(3)
    circuit.ry(theta, [0, 1, 2])
    total = SparsePauliOp(["ZII", "IZI", "IIZ"])
    close(measured(circuit, Variance("IIZ")), [math.sin(theta) ** 2])
    close(measured(circuit, Variance(total)), [3 * math.sin(theta) ** 2])  # independent qubits
    nested = measured(circuit, Variance([["IIZ", "IIX"], ["IZI", "YII"]]))
    s, c = math.sin(theta) ** 2, math.cos(theta) ** 2
    close(nested, [[s, c], [s, 1.0]])
    close(measured(circuit, Variance("0" * 3)), [(p := math.cos(theta / 2) ** 6) * (1 - p)])


def test_variances_do_not_lose_digits_to_offsets():
    circuit = tangled(0.4)
    offset = SparsePauliOp(["IZ", "II"], [1.0, 1e9])
    close(measured(circuit, Variance(offset)), [math.sin(0.4) ** 2])


def test_the_variance_of_a_projector_on_many_qubits_has_one_term():
    """Of an eigenstate of an observable it is zero; squares of products of projectors stay one."""
    n = 40
    program = CircuitProgram(QuantumCircuit(n), Variance("0" * n))
    assert [len(o) for o in program.observables] == [1, 1]


GREEDY = [0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 0.99, 1.0]


@pytest.mark.parametrize("alpha", GREEDY)
def test_conditional_value_at_risk_of_known_distributions(alpha):
    """Taken greedily from the lowest value up, as qiskit-algorithms aggregates."""
    circuit = mixer()
    operator = SparsePauliOp(["ZIIZ", "IZZI", "IIIZ"], [1.0, -0.4, 0.3])
    values = np.diag(operator.to_matrix()).real
    chances = Statevector(circuit).probabilities()
    left, total = alpha, 0.0
    for i in np.argsort(values):
        taken = min(left, chances[i])
        left, total = left - taken, total + taken * values[i]
    close(measured(circuit, CVaR(operator, alpha)), [total / alpha])


def test_limits_of_the_conditional_value_at_risk():
    circuit, operators = mixer(), ["ZIIZ", {"IZZI": 0.5, "0III": 1.0}]
    close(measured(circuit, CVaR(operators, 1)), measured(circuit, operators))
    close(measured(circuit, CVaR(operators, 1e-9)), [-1.0, -0.5])
    close(measured(circuit, CVaR([operators, operators], 1)).shape, (2, 2))
    close(measured(QuantumCircuit(2), CVaR({"II": 3.0}, 0.2)), [3.0])
    two = QuantumCircuit(1)
    two.ry(2 * math.asin(math.sqrt(0.2)), 0)  # -1 with probability 0.2
    close(measured(two, CVaR("Z", 0.5)), [(-0.2 + 0.3) / 0.5])


@pytest.mark.parametrize("alpha", [0.2, 0.6, 1.0])
def test_gradients_of_the_conditional_value_at_risk(alpha):
    """Of the lower tail of cos(theta): -1 with probability sin(theta / 2)**2."""
    program = CircuitProgram(tangled(THETA), CVaR("IZ", alpha))
    w = torch.tensor([1.1], dtype=torch.float64, requires_grad=True)
    p = math.sin(0.55) ** 2
    y = expectation(program, weights=w)
    close(y.item(), -1.0 if p > alpha else 1 - 2 * p / alpha)
    (gradient,) = torch.autograd.grad(y, w, create_graph=True)
    close(gradient.item(), 0.0 if p > alpha else -math.sin(1.1) / alpha)
    (second,) = torch.autograd.grad(gradient, w)
    close(second.item(), 0.0 if p > alpha else -math.cos(1.1) / alpha)


# -- against qiskit.quantum_info -----------------------------------------------------------------


def rest(qubits: Sequence[int], n: int = 4) -> list[int]:
    return [q for q in range(n) if q not in qubits]


@pytest.mark.parametrize("qubits", SUBSYSTEMS)
def test_what_qiskit_makes_of_the_state(qubits):
    circuit = mixer()
    state = Statevector(circuit)
    reduced = partial_trace(state, rest(qubits))
    close(measured(circuit, Probabilities(qubits)), state.probabilities(list(qubits)))
    close(measured(circuit, Purity(qubits)), [purity(reduced).real])
    close(measured(circuit, Entropy(qubits, base=3)), [entropy(reduced, base=3)])
    target = random_statevector(2 ** len(qubits), seed=4)
    # partial_trace keeps the qubits in ascending order, and qubits[j] is to be the j-th.
    order = np.argsort(np.argsort(qubits)).tolist()
    placed = QuantumCircuit(len(qubits))
    placed.prepare_state(target.data, order)
    expected = state_fidelity(Statevector(placed), reduced, validate=False)
    close(measured(circuit, Fidelity(target, qubits)), [expected])


def test_states_and_fidelities_with_states_of_every_kind():
    circuit = mixer()
    state = Statevector(circuit)
    close(measured(circuit, State()), state.data)  # with its global phase
    target, mixed = random_statevector(16, seed=1), random_density_matrix(16, seed=2)
    for kind in (target, target.data, target.data.tolist(), target.data.astype("complex64")):
        tolerance = 1e-6 if getattr(kind, "dtype", None) == np.complex64 else 1e-10
        close(measured(circuit, Fidelity(kind)), [state_fidelity(target, state)], tolerance)
    close(measured(circuit, Fidelity(DensityMatrix(target))), [state_fidelity(target, state)])
    close(measured(circuit, Fidelity(mixed)), [state_fidelity(mixed, state)])
    close(
        measured(circuit, Fidelity(mixer(seed=3))),
        [state_fidelity(Statevector(mixer(seed=3)), state)],
    )
    close(measured(circuit, Fidelity(circuit)), [1.0])


@pytest.mark.parametrize("letters", ["IXYZ", "IZ01", "IX+-", "IYrl", "IXYZ01+-rl"])
def test_squares_are_squares(letters):
    generator = np.random.default_rng(3)
    for _ in range(5):
        labels = ["".join(generator.choice(list(letters), 3)) for _ in range(6)]
        operator = operator_from_list([(label, generator.normal()) for label in labels])
        matrix, result = as_paulis(operator).to_matrix(), square(operator)
        close(as_paulis(result).to_matrix(), matrix @ matrix)
        assert len({label for label, _ in result.to_list()}) == len(result)
        circuit = mixer(3)
        state = Statevector(circuit).data
        expected = np.vdot(state, matrix @ matrix @ state) - np.vdot(state, matrix @ state) ** 2
        close(measured(circuit, Variance(operator)), [expected.real])


# -- entropy where spectra are degenerate --------------------------------------------------------


def binary_entropy(theta: float) -> tuple[float, float, float]:
    """Value and two derivatives for the probability sin(theta / 2)**2."""
    p, slope, bend = math.sin(theta / 2) ** 2, math.sin(theta) / 2, math.cos(theta) / 2
    odds = math.log((1 - p) / p)
    value = -p * math.log(p) - (1 - p) * math.log(1 - p)
    return value, slope * odds, bend * odds - slope**2 / (p * (1 - p))


def two_pairs() -> QuantumCircuit:
    """Qubits 0 and 1 tangled with 2 and 3, and turned on their own, which changes no entropy."""
    circuit = QuantumCircuit(4)
    angles = [Parameter(name) for name in "abcdef"]
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    circuit.cx([0, 1], [2, 3])
    circuit.rxx(angles[2], 0, 1)
    circuit.ry(angles[3], 1)
    circuit.ryy(angles[4], 2, 3)
    circuit.rx(angles[5], 2)
    return circuit


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.7, 1.1),  # distinct eigenvalues
        (0.7, 0.7),  # two of them equal
        (np.pi / 2, np.pi / 2),  # all equal
        (np.pi / 2, 1.1),
        (1e-3, 1.1),
    ],
)
def test_derivatives_of_entropy_whatever_the_spectrum(a, b):
    program = CircuitProgram(two_pairs(), Entropy([0, 1]))
    w = torch.tensor([a, b, 0.3, 0.4, 0.5, 0.6], dtype=torch.float64)
    first, second = binary_entropy(a), binary_entropy(b)

    def f(w):
        return expectation(program, weights=w)[0]

    close(f(w), first[0] + second[0])
    close(torch.func.grad(f)(w), [first[1], second[1], 0, 0, 0, 0])
    expected = np.diag([first[2], second[2], 0, 0, 0, 0])
    close(torch.func.hessian(f)(w), expected, 1e-9)
    close(torch.autograd.functional.hessian(f, w), expected, 1e-9)


def test_derivatives_of_entropy_where_eigenvalues_stay_zero():
    """One pair only: two of the four eigenvalues are zero, and no parameter changes that."""
    circuit = QuantumCircuit(4)
    a, b, c = (Parameter(name) for name in "abc")
    circuit.ry(a, 0)
    circuit.cx(0, 2)
    circuit.rxx(b, 0, 1)
    circuit.ryy(c, 2, 3)
    program = CircuitProgram(circuit, Entropy([0, 1]))
    value, slope, bend = binary_entropy(0.7)
    for turns in ([0.4, 0.5], [0.0, 0.0]):
        w = torch.tensor([0.7, *turns], dtype=torch.float64)
        f = lambda w: expectation(program, weights=w)[0]  # noqa: E731
        close(f(w), value)
        close(torch.func.grad(f)(w), [slope, 0, 0])
        close(torch.func.hessian(f)(w), np.diag([bend, 0, 0]), 1e-9)


def test_entropy_of_product_states_is_least_with_no_gradient():
    program = CircuitProgram(tangled(THETA), Entropy(0))
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    y = expectation(program, weights=w)
    (gradient,) = torch.autograd.grad(y, w, create_graph=True)
    assert y.item() == 0 and gradient.item() == 0
    (second,) = torch.autograd.grad(gradient, w)
    # Infinite: what there is instead is that of the amplitude 2**-53, d^2/dx^2 of -x^2 log x^2
    # with x = theta / 2, from log(2**106) / 2 up.
    assert 0.5 * math.log(2.0**106) - 2 < second.item() < 0.5 * math.log(2.0**106) + 2
    circuit = QuantumCircuit(3)
    for q, name in enumerate("abc"):
        circuit.ry(Parameter(name), q)
    module = TorchQuantumModule(circuit, Entropy([0, 2]), seed=1)
    module().backward()
    close(module().item(), 0.0, 1e-14)
    close(module.weight.grad, np.zeros(3), 1e-14)


# -- which qubits --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transpiled() -> tuple[QuantumCircuit, QuantumCircuit]:
    """A circuit of four qubits, and it on other ones of six."""
    circuit = mixer()
    backend = GenericBackendV2(6, coupling_map=[[q, q + 1] for q in range(5)], seed=1)
    moved = transpile(circuit, backend, initial_layout=[4, 2, 3, 1], seed_transpiler=2)
    assert moved.layout.final_index_layout(filter_ancillas=True) != [4, 2, 3, 1]
    return circuit, moved


MEASUREMENTS = [
    Probabilities(),
    Probabilities([2, 0]),
    CVaR(["ZIIZ", "IZII"], 0.3),
    Variance(["ZIIX", "IYII"]),
    Purity([0, 3]),
    Entropy([1, 3]),
    Fidelity(random_statevector(4, seed=1), [3, 1]),
    Fidelity(random_statevector(16, seed=1)),
]


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=str)
def test_qubits_are_those_before_transpilation(measurement, transpiled):
    circuit, moved = transpiled
    expected = measured(circuit, measurement)
    close(measured(moved, measurement), expected)
    program = CircuitProgram(circuit, measurement)
    rewritten = program.rewritten(lambda _: moved)
    assert rewritten.measurement == program.measurement
    close(outputs(rewritten), expected)


def test_the_state_of_a_transpiled_circuit_up_to_its_phase(transpiled):
    circuit, moved = transpiled
    found = measured(moved, State())
    assert found.shape == (16,)
    close(abs(np.vdot(found, Statevector(circuit).data)), 1.0)
    whole = measured(moved, State(), observables_layout="physical")
    close(whole, Statevector(moved).data)


def test_qubits_of_the_device_when_asked_for(transpiled):
    _, moved = transpiled
    state = Statevector(moved)
    close(
        measured(moved, Probabilities([5, 1, 2]), observables_layout="physical"),
        state.probabilities([5, 1, 2]),
    )
    close(
        measured(moved, Purity([2, 3]), observables_layout="physical"),
        [purity(partial_trace(state, [0, 1, 4, 5])).real],
    )
    close(measured(moved, Entropy([0]), observables_layout="physical"), [0.0], 1e-14)


def test_qubits_as_objects(transpiled):
    circuit, moved = transpiled
    a, b = QuantumRegister(2, "a"), QuantumRegister(2, "b")
    named = QuantumCircuit(a, b)
    named.compose(mixer(), inplace=True)
    state = Statevector(named)
    close(measured(named, Probabilities(b)), state.probabilities([2, 3]))
    close(measured(named, Probabilities([b[1], 0])), state.probabilities([3, 0]))
    close(measured(moved, Probabilities(circuit.qubits[2])), state.probabilities([2]))
    close(measured(moved, Probabilities(moved.qubits[4])), Statevector(moved).probabilities([4]))
    with pytest.raises(MeasurementError, match="which it does not have"):
        CircuitProgram(circuit, Probabilities(b[0]))


def test_an_object_that_is_a_qubit_of_both_circuits_may_be_meant_twice():
    circuit = mixer(3)
    backend = GenericBackendV2(3, seed=1)
    moved = transpile(circuit, backend, initial_layout=[2, 0, 1], seed_transpiler=2)
    qubit = circuit.qubits[0]
    with pytest.raises(MeasurementError, match="both before and after transpilation"):
        CircuitProgram(moved, Probabilities(qubit))
    for layout, place in (("physical", 0), ("virtual", moved.layout.final_index_layout()[0])):
        program = CircuitProgram(moved, Probabilities(qubit), observables_layout=layout)
        assert program.readout.measured == (place,)


# -- final measurements --------------------------------------------------------------------------


def test_final_measurements_say_what_is_measured():
    state = Statevector(mixer())
    circuit = mixer()
    circuit.measure_all()
    close(measured(circuit, Probabilities()), state.probabilities())
    close(measured(circuit, Probabilities([3])), state.probabilities([3]))
    close(measured(circuit, CVaR("ZIIZ", 0.2)), measured(mixer(), CVaR("ZIIZ", 0.2)))
    circuit = mixer()
    a, b = ClassicalRegister(2, "a"), ClassicalRegister(3, "b")
    circuit.add_register(a, b)
    circuit.measure(1, b[2])
    circuit.measure(3, a[1])
    circuit.measure(0, b[0])
    program = CircuitProgram(circuit, Probabilities())
    assert program.readout.measured == (3, 0, 1)  # a[1], b[0], b[2]
    close(outputs(program), state.probabilities([3, 0, 1]))
    assert program == CircuitProgram(mixer(), Probabilities([3, 0, 1]))
    assert "measure" not in program.circuit.count_ops() and not program.circuit.clbits


def test_final_measurements_of_a_transpiled_circuit(transpiled):
    circuit = mixer()
    circuit.measure_all()
    moved = transpile(circuit, GenericBackendV2(6, seed=1), seed_transpiler=3)
    close(measured(moved, Probabilities()), Statevector(mixer()).probabilities())


def test_other_measurements_are_refused_where_they_are():
    final = mixer()
    final.measure_all()
    for measurement in (Variance("ZIII"), Purity(0), Entropy(0), Fidelity(mixer()), State(), None):
        with pytest.raises(CircuitError, match="remove_final_measurements"):
            CircuitProgram(final, measurement)
    twice = QuantumCircuit(1, 2)
    twice.measure([0, 0], [0, 1])
    with pytest.raises(MeasurementError, match="each qubit once; got 0 twice"):
        CircuitProgram(twice, Probabilities())


# -- what outcomes count for ---------------------------------------------------------------------


def test_interpretations():
    chances = Statevector(mixer()).probabilities()
    ones = np.array([i.bit_count() for i in range(16)])
    by_count = np.bincount(ones, chances)
    for interpret in (int.bit_count, ones, ones.tolist(), ones.astype("uint8")):
        close(measured(mixer(), Probabilities(interpret=interpret)), by_count)
    close(measured(mixer(), Probabilities(interpret=ones, output_size=7)), [*by_count, 0.0, 0.0])
    parity = np.bincount(ones % 2, chances)
    close(measured(mixer(), Probabilities(interpret="parity")), parity)
    close(measured(mixer(), Probabilities(interpret="parity", output_size=3)), [*parity, 0.0])
    close(
        measured(mixer(), Probabilities(interpret=lambda i: i > 7)),
        np.add.reduceat(chances, [0, 8]),
    )
    close(
        measured(mixer(), Probabilities([3, 1], interpret=[1, 0, 0, 1])),
        np.bincount([1, 0, 0, 1], Statevector(mixer()).probabilities([3, 1])),
    )


@pytest.mark.parametrize("n", [1, 7, 8, 9, 12, 70])
def test_what_samplers_found_is_counted_without_a_table_of_all_outcomes(n):
    bits = np.random.default_rng(n).integers(0, 2, (3, 50, n)).astype(bool)
    packed = BitArray.from_bool_array(bits, order="little").array
    ones = bits.sum(-1)
    asked = []

    def third(outcome: int) -> int:
        asked.append(outcome)
        return outcome.bit_count() % 3

    assert (Parity().of_packed(packed, n) == ones % 2).all()
    assert (OutcomeFunction(third, 3).of_packed(packed, n) == ones % 3).all()
    assert len(asked) == len(set(asked)) <= 150
    if n <= 12:
        assert (Parity().table(n)[:2] == [0, 1]).all()
        table = OutcomeTable(OutcomeFunction(third, 3).table(n))
        assert (table.of_packed(packed, n) == ones % 3).all()


def test_a_function_of_few_bits_is_asked_once_for_each_outcome():
    asked = []
    program = CircuitProgram(mixer(), Probabilities(interpret=lambda i: asked.append(i) or i % 3))
    assert asked == list(range(16)) and program.output_shape == (3,)
    program.to_state(), program.marks, expectation(program)
    assert len(asked) == 16


def test_wide_circuits_have_room_for_interpreted_outcomes_only():
    wide = QuantumCircuit(60)
    wide.h(range(60))
    assert CircuitProgram(wide, Probabilities(interpret="parity")).output_shape == (2,)
    program = CircuitProgram(wide, Probabilities(interpret=lambda i: i >> 59, output_size=2))
    assert program.readout.size == 2
    with pytest.raises(MeasurementError, match="at most 30 qubits.*got 60"):
        CircuitProgram(wide, Probabilities())
    with pytest.raises(MeasurementError, match="output_size together with a function"):
        CircuitProgram(wide, Probabilities(interpret=lambda i: 0))
    with pytest.raises(MeasurementError, match="at most 25 qubits"):
        CircuitProgram(wide, CVaR("Z" * 60, 0.1))
    assert CircuitProgram(wide, CVaR("Z" * 20 + "I" * 40, 0.1)).readout.size == 2**20


# -- what is refused -----------------------------------------------------------------------------

MADE = {
    "no qubits": (lambda: Probabilities([]), "Expected qubits.*got an empty list"),
    "text": (lambda: Probabilities("a"), "Expected qubits to be.*got 'a'"),
    "negative": (lambda: Purity([-1]), r"Expected qubits to be.*got \[-1\]"),
    "twice": (lambda: Entropy([1, 1]), "each qubit once; got 1 twice"),
    "size alone": (lambda: Probabilities(output_size=2), "interpret= together with output_size"),
    "another word": (lambda: Probabilities(interpret="party"), "or 'parity'; got 'party'"),
    "numbers between": (lambda: Probabilities(interpret=[0.5, 1.0]), "whole numbers of shape"),
    "below zero": (lambda: Probabilities(interpret=[0, -1]), "got -1 for the outcome 1"),
    "beyond the size": (
        lambda: Probabilities(interpret=[0, 3], output_size=3),
        "from 0 to 2; got 3 for the outcome 1",
    ),
    "no size": (lambda: Probabilities(interpret=[0], output_size=0), "from 1 to"),
    "no part": (lambda: CVaR("Z", 0), "alpha to be a number above 0 and at most 1.*got 0"),
    "more than all": (lambda: CVaR("Z", 1.5), "alpha to be.*got 1.5"),
    "base of one": (lambda: Entropy(0, base=1), "base to be a finite number above 1; got 1"),
    "three amplitudes": (lambda: Fidelity([1, 0, 0]), "2\\*\\*k amplitudes"),
    "no norm": (lambda: Fidelity([1, 1]), "a normalised state; got one of norm 1.41"),
    "not positive": (lambda: Fidelity(np.diag([2.0, -1.0])), "Hermitian and positive"),
    "too wide": (
        lambda: Fidelity(QuantumCircuit(50)),
        "whose state can be computed; got one of 50",
    ),
    "unbound": (lambda: Fidelity(tangled(THETA)), "without parameters; got one with .'theta'."),
}


@pytest.mark.parametrize("case", MADE)
def test_what_is_refused_when_a_measurement_is_made(case):
    make, message = MADE[case]
    with pytest.raises(MeasurementError, match=message):
        make()


BOUND = {
    "beyond": (Probabilities([4]), MeasurementError, "numbers from 0 to 3.*got 4"),
    "table": (Probabilities([0], interpret=[0, 1, 1]), MeasurementError, "each of the 2 outcomes"),
    "function": (
        Probabilities([0], interpret=lambda i: i - 1),
        MeasurementError,
        "got -1 for the outcome 0",
    ),
    "raising": (Probabilities([0], interpret=lambda i: 1 // i), MeasurementError, "of 0 it raised"),
    "too large": (
        Probabilities([0], interpret=lambda i: 9, output_size=3),
        MeasurementError,
        "from 0 to 2; got 9 for the outcome 0",
    ),
    "target": (Fidelity([1, 0]), MeasurementError, "a state of 4 qubits.*got one of 1"),
    "mixed": (Fidelity(np.eye(2) / 2, [0]), MeasurementError, "a pure state, since it is compared"),
    "width": (CVaR("ZZ", 0.5), ObservableError, "Expected observables on 4 qubits; got one on 2"),
    "squares": (Variance("ZZ"), ObservableError, "Expected observables on 4 qubits; got one on 2"),
}


@pytest.mark.parametrize("case", BOUND)
def test_what_is_refused_when_a_measurement_is_bound(case):
    measurement, error, message = BOUND[case]
    with pytest.raises(error, match=message):
        CircuitProgram(mixer(), measurement)


def test_observables_that_cannot_be_measured_so():
    with pytest.raises(ObservableError, match="Z and projectors on 0 and 1 alone.*got XZ"):
        CVaR(["ZZ", "XZ"], 0.5)
    with pytest.raises(ObservableError, match="that have a variance; got 2.II, a multiple"):
        Variance(["ZI", {"II": 2.0}])
    with pytest.raises(ObservableError, match="on one number of qubits; got some on each of"):
        CVaR(["Z", "ZZ"], 0.5)
    with pytest.raises(ObservableError, match="Hermitian"):
        Variance(SparsePauliOp("Z", 1j))
    labels = {format(i, "014b").replace("0", "I").replace("1", "X"): 1.0 for i in range(1, 2**14)}
    with pytest.raises(ObservableError, match="at most 8192 terms.*got one of 16383"):
        CircuitProgram(QuantumCircuit(14), Variance(labels))


def test_the_figure_of_the_documentation_can_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["probabilities.py", str(tmp_path / "figure.png")])
    runpy.run_path(str(DOCS / "how-tos" / "probabilities.py"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000
