# SPDX-License-Identifier: Apache-2.0
"""Evolutions by terms that do not commute: one function for one circuit, value and slope.

A program means the product formula of the gate's synthesis wherever it runs. A primitive, and a
gradient on it, mean what the installed Qiskit's ``StatevectorEstimator`` does: the exponential from
2.2 on, the product formula before.
"""

from __future__ import annotations

import functools
import itertools
import math
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit import quantum_info, transpile
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    InverseModifier,
    Operation,
    Parameter,
    PowerModifier,
    QuantumCircuit,
)
from qiskit.circuit.library import HamiltonianGate, PauliEvolutionGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import (
    Operator,
    PauliList,
    SparsePauliOp,
    Statevector,
    random_hermitian,
    random_pauli_list,
)
from qiskit.synthesis import LieTrotter, MatrixExponential, QDrift, SuzukiTrotter
from qiskit_aer.primitives import EstimatorV2
from qiskit_algorithms import VQE
from qiskit_algorithms.gradients import FiniteDiffEstimatorGradient, LinCombEstimatorGradient
from qiskit_algorithms.optimizers import SLSQP
from scipy.linalg import expm

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule, expectation, memory
from qiskit_torch_bridge.exceptions import GradientError, MemoryLimitError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.evolutions import (
    build_exponential,
    is_commuting,
    simulated_evolutions,
)
from qiskit_torch_bridge.program.identity import content_digest, content_key
from qiskit_torch_bridge.program.operators import PauliSpan
from qiskit_torch_bridge.program.program_state import difference_of_marks
from qiskit_torch_bridge.simulation.tape.paulis import PauliString

H = SparsePauliOp(["ZZ", "XI", "IX"], [1.0, 0.7, 0.7])
OBSERVABLE = SparsePauliOp("ZI")
A, T = Parameter("a"), Parameter("t")
STEP = 1e-4  # central differences: error STEP**2 / 6 times a third derivative of at most 100
SLOPE = 2e-6
GRADIENTS = (
    AdjointEstimatorGradient,
    ParameterShiftEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
)
TIMES = {"fixed": 1.0, "free": T, "of both": 0.5 * T + A}


def evolving(time: object, gate: Operation | None = None) -> QuantumCircuit:
    """The circuit of the report: in VQE its slope was zero where its energy was not least."""
    circuit = QuantumCircuit(2)
    circuit.ry(A, 0)
    circuit.append(PauliEvolutionGate(H, time) if gate is None else gate, [0, 1])
    circuit.rx(A, 1)
    return circuit


def differences(value, point: np.ndarray) -> np.ndarray:
    """Central differences of a function of all parameters."""
    steps = STEP * np.eye(len(point))
    return np.array([(value(point + s) - value(point - s)) / (2 * STEP) for s in steps])


def value_on(estimator, circuit: QuantumCircuit):
    """The function that an estimator evaluates."""
    return lambda x: float(estimator.run([(circuit, OBSERVABLE, x)]).result()[0].data.evs)


PLACES = {
    "exact engine": dict,
    "StatevectorEstimator": lambda: {"estimator": StatevectorEstimator()},
    "adjoint beside StatevectorEstimator": lambda: {
        "estimator": StatevectorEstimator(),
        "gradient": "adjoint",
    },
    "AQGD": lambda: {"estimator": BatchedStatevectorEstimator(), "gradient": "aqgd"},
    "Aer": lambda: {"estimator": EstimatorV2()},
}


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("place", PLACES)
def test_a_program_is_the_product_formula_everywhere(place: str, time: str) -> None:
    """Of fixed times as of free ones: value and slope are those of the transpiled circuit."""
    circuit = evolving(TIMES[time])
    point = np.array([0.4, 1.0][: circuit.num_parameters])
    w = torch.tensor(point, requires_grad=True)
    value = expectation(CircuitProgram(circuit, OBSERVABLE), weights=w, **PLACES[place]()).sum()
    (slope,) = torch.autograd.grad(value, w)
    transpiled = transpile(circuit, basis_gates=["rz", "sx", "cx"], optimization_level=0)

    def right(x: np.ndarray) -> float:
        return Statevector(transpiled.assign_parameters(x)).expectation_value(OBSERVABLE).real

    assert value.item() == pytest.approx(right(point), abs=1e-10)
    np.testing.assert_allclose(slope, differences(right, point), atol=SLOPE)
    if time == "fixed":
        assert (value.item(), slope.item()) == pytest.approx((-0.2272, -0.9738), abs=1e-4)


def hidden(time: object, how: str) -> Operation:
    """An evolution inside of other operations."""
    inner = QuantumCircuit(2)
    inner.append(PauliEvolutionGate(H, time), [0, 1])
    gate = inner.to_gate()
    if how == "nested":
        outer = QuantumCircuit(2)
        outer.append(gate, [1, 0])
        outer.h(0)
        return outer.to_instruction()
    if how == "gate":
        return gate
    if how == "inverse of the gate":
        return PauliEvolutionGate(H, time).inverse()
    if how == "controlled custom":
        return gate.control(1, ctrl_state=0, annotated=False)
    if how == "controlled":
        return PauliEvolutionGate(H, time).control(1)
    return AnnotatedOperation(
        gate if how.endswith("custom") else PauliEvolutionGate(H, time),
        {
            "annotated control": ControlModifier(1, 0),
            "annotated control, custom": ControlModifier(1),
            "annotated inverse": InverseModifier(),
            "annotated inverse, custom": InverseModifier(),
            "annotated power": PowerModifier(3),
            "annotated root": PowerModifier(0.5),
        }[how],
    )


HIDDEN = (
    "gate",
    "nested",
    "inverse of the gate",
    "controlled",
    "controlled custom",
    "annotated control",
    "annotated control, custom",
    "annotated inverse",
    "annotated inverse, custom",
    "annotated power",
    "annotated root",
)


def around(gate: Operation) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    circuit.rz(0.3, [0, 2])
    circuit.append(gate, range(gate.num_qubits))
    circuit.ry(0.4, range(3))
    return circuit


@pytest.mark.parametrize(
    ("how", "free"),
    # Roots of parameterized gates are refused: Qiskit cannot transpile them.
    [(how, free) for how in HIDDEN for free in (False, True) if (how, free) != (HIDDEN[-1], True)],
)
def test_however_deep(how: str, free: bool) -> None:
    """Programs agree with what is transpiled, the primitive with Qiskit's simulation."""
    circuit = around(hidden(T if free else 0.9, how))
    values = [[0.9], [-0.4]] if free else [[]]
    operator = SparsePauliOp(["XYZ", "ZIY", "IXI"], [1.0, 0.5, -0.7])
    program = CircuitProgram(circuit, operator)
    w = torch.tensor(values, dtype=torch.float64)
    found = torch.stack([expectation(program, weights=row).squeeze() for row in w])
    batched = BatchedStatevectorEstimator().run([(circuit, operator, values)]).result()[0].data.evs
    for row, value, simulated in zip(values, found, np.reshape(batched, -1), strict=True):
        bound = circuit.assign_parameters(row)
        unrolled = transpile(bound, basis_gates=["rz", "sx", "cx"], optimization_level=0)
        right = Statevector(unrolled).expectation_value(operator).real
        assert value.item() == pytest.approx(right, abs=1e-9)
        assert simulated == pytest.approx(
            Statevector(bound).expectation_value(operator).real, abs=1e-9
        )
        assert value_of(StatevectorEstimator(), program.circuit, operator, row) == (
            pytest.approx(right, abs=1e-9)
        )


def value_of(estimator, circuit, operator, values) -> float:
    return float(estimator.run([(circuit, operator, values)]).result()[0].data.evs)


def test_the_primitive_gives_what_qiskits_gives() -> None:
    """At all points of one PUB, with another time in each."""
    circuit = evolving(T)
    points = np.random.default_rng(3).uniform(-3, 3, (7, 2))
    pub = (circuit, [[OBSERVABLE], [SparsePauliOp(["XY", "YI"], [0.3, 1.1])]], points)
    ours, theirs = (
        e.run([pub]).result()[0].data.evs
        for e in (BatchedStatevectorEstimator(), StatevectorEstimator())
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_the_form_is_found_by_trying() -> None:
    """A canary: which form the installed Qiskit's estimator takes, on a gate of its own."""
    gate, plain = PauliEvolutionGate(H, 1.0), SparsePauliOp("ZZ")
    circuit = QuantumCircuit(2)
    circuit.append(gate, [0, 1])
    found = value_of(StatevectorEstimator(), circuit, plain, [])
    forms = {
        "exponential": Operator(expm(-1j * H.to_matrix())),
        "definition": Operator(gate.definition),
    }
    values = {
        name: Statevector.from_label("00").evolve(form).expectation_value(plain).real
        for name, form in forms.items()
    }
    assert found == pytest.approx(values[simulated_evolutions()], abs=1e-10)
    assert abs(values["exponential"] - values["definition"]) > 0.01


ESTIMATORS = {
    "StatevectorEstimator": StatevectorEstimator,
    "BatchedStatevectorEstimator": BatchedStatevectorEstimator,
    "dispatched": lambda: DispatchingEstimator(StatevectorEstimator()),
    "Aer": EstimatorV2,
}


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("estimator", ["StatevectorEstimator", "BatchedStatevectorEstimator"])
def test_gradients_are_of_the_function_that_their_estimator_evaluates(
    estimator: str, kind: type, time: str
) -> None:
    circuit, place = evolving(TIMES[time]), ESTIMATORS[estimator]()
    point = np.array([0.4, 1.0][: circuit.num_parameters])
    found = kind(place).run([circuit], [OBSERVABLE], [point]).result().gradients[0]
    right = differences(value_on(place, circuit), point)
    np.testing.assert_allclose(found, right, atol=SLOPE)
    np.testing.assert_allclose(
        AdjointEstimatorGradient().run([circuit], [OBSERVABLE], [point]).result().gradients[0],
        differences(value_on(StatevectorEstimator(), circuit), point),
        atol=SLOPE,
    )


@pytest.mark.parametrize("kind", [*GRADIENTS, FiniteDiffEstimatorGradient])
@pytest.mark.parametrize("estimator", ["StatevectorEstimator", "BatchedStatevectorEstimator"])
@pytest.mark.parametrize("time", ["fixed", "free"])
def test_vqe_reaches_the_minimum_of_its_own_energy(time: str, estimator: str, kind: type) -> None:
    """With slopes of the other form it stopped where these vanish."""
    circuit, place = evolving(TIMES[time]), ESTIMATORS[estimator]()
    gradient = kind(place, 1e-6) if kind is FiniteDiffEstimatorGradient else kind(place)
    vqe = VQE(place, circuit, SLSQP(maxiter=200, ftol=1e-12), gradient=gradient)
    vqe.initial_point = start_of(circuit)
    found = vqe.compute_minimum_eigenvalue(OBSERVABLE)
    energy = value_on(StatevectorEstimator(), circuit)
    assert found.eigenvalue == pytest.approx(energy(found.optimal_point), abs=1e-9)
    np.testing.assert_allclose(differences(energy, found.optimal_point), 0, atol=1e-4)
    assert found.eigenvalue == pytest.approx(least_energy(time), abs=1e-6)


def start_of(circuit: QuantumCircuit) -> np.ndarray:
    """Where the search for its minimum begins."""
    return np.array([0.4, 1.0][: circuit.num_parameters])


@functools.cache
def least_energy(time: str) -> float:
    """The minimum by differences of the energy, whatever the gradient."""
    circuit = evolving(TIMES[time])
    energy = value_on(StatevectorEstimator(), circuit)
    return float(SLSQP(maxiter=200, ftol=1e-12).minimize(energy, start_of(circuit)).fun)


@pytest.mark.parametrize("estimator", ["Aer", "transpiled", "wrapped", "dispatched"])
def test_what_stands_around_an_estimator_decides(estimator: str) -> None:
    """Aer, and whatever is transpiled, runs product formulas; wrappers change nothing."""
    circuit, options = evolving(T), {}
    right = circuit.decompose("PauliEvolution")
    if estimator == "Aer":
        place = EstimatorV2()
    elif estimator == "transpiled":
        from qiskit.transpiler import generate_preset_pass_manager

        place = StatevectorEstimator()
        options = {"transpiler": generate_preset_pass_manager(0, basis_gates=["rz", "sx", "cx"])}
    else:
        place, right = DispatchingEstimator(StatevectorEstimator()), circuit
        if estimator == "wrapped":
            place = DispatchingEstimator(place)
    gradient = ParameterShiftEstimatorGradient(place, **options)
    found = gradient.run([circuit], [OBSERVABLE], [[0.4, 1.0]]).result().gradients[0]
    value = value_on(StatevectorEstimator(), right)
    np.testing.assert_allclose(found, differences(value, np.array([0.4, 1.0])), atol=SLOPE)


@pytest.mark.parametrize("kind", [FiniteDiffEstimatorGradient, LinCombEstimatorGradient])
def test_gradients_of_qiskit_algorithms_find_the_same_on_either_primitive(kind: type) -> None:
    options = {"epsilon": 1e-4} if kind is FiniteDiffEstimatorGradient else {}
    ours, theirs = (
        kind(e(), **options).run([evolving(1.0)], [OBSERVABLE], [[0.4]]).result().gradients[0]
        for e in (BatchedStatevectorEstimator, StatevectorEstimator)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_exponentials_are_exact(seed: int) -> None:
    """Against SciPy: several components, terms that commute with all, terms that repeat."""
    rng = np.random.default_rng(seed)
    labels = ["".join(rng.choice(list("IIXYZ"), 4)) for _ in range(rng.integers(2, 8))]
    operator = SparsePauliOp(labels + labels[:1], rng.normal(size=len(labels) + 1))
    for time in (0.7, -2.0):
        right = Operator(expm(-1j * time * operator.to_matrix()))
        assert np.allclose(Operator(build_exponential(operator, time)).data, right.data, atol=1e-10)
        free = build_exponential(operator, T).assign_parameters([time])
        found = free.decompose("PauliEvolution")
        assert np.allclose(Operator(found).data, right.data, atol=1e-10)


def test_components_keep_the_matrices_small() -> None:
    """Two bonds apart from each other are two matrices on two qubits, not one on five."""
    operator = SparsePauliOp(["IIIXZ", "IIIZI", "XZIII", "ZIIII", "IIZII"], [1, 2, 3, 4, 5])
    circuit = build_exponential(operator, T)
    matrices = [i for i in circuit.data if i.operation.name == "unitary"]
    assert sorted(len(i.qubits) for i in matrices) == [2, 2, 2, 2]


def hamiltonian_circuit(time: object) -> QuantumCircuit:
    """Its trace counts, since the gate is controlled."""
    matrix = random_hermitian(4, seed=5).data + 0.8 * np.eye(4)
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    circuit.append(AnnotatedOperation(HamiltonianGate(matrix, time), ControlModifier(1)), range(3))
    circuit.append(HamiltonianGate(matrix, 0.3 * time), [2, 0])
    return circuit


@pytest.mark.parametrize("place", [p for p in PLACES if p != "AQGD"])
def test_a_hamiltonian_with_a_free_time(place: str) -> None:
    """It has no product formula: its exponential everywhere."""
    circuit, operator = hamiltonian_circuit(T), SparsePauliOp(["XYZ", "ZZI"], [1.0, 0.4])
    w = torch.tensor([0.6], dtype=torch.float64, requires_grad=True)
    value = expectation(CircuitProgram(circuit, operator), weights=w, **PLACES[place]()).sum()
    (slope,) = torch.autograd.grad(value, w)

    def right(x: np.ndarray) -> float:
        return Statevector(hamiltonian_circuit(x[0])).expectation_value(operator).real

    assert value.item() == pytest.approx(right([0.6]), abs=1e-9)
    np.testing.assert_allclose(slope, differences(right, np.array([0.6])), atol=2e-5)


def test_aqgd_finds_the_frequencies_of_a_hamiltonian() -> None:
    circuit = evolving(None, HamiltonianGate(random_hermitian(4, seed=5), T))
    place, point = StatevectorEstimator(), np.array([0.4, 0.8])
    gradient = AQGDEstimatorGradient(place)
    found = gradient.run([circuit], [OBSERVABLE], [point]).result().gradients[0]
    np.testing.assert_allclose(found, differences(value_on(place, circuit), point), atol=2e-5)


SYNTHESES = {
    "Lie-Trotter": LieTrotter(reps=2),
    "Suzuki-Trotter": SuzukiTrotter(order=2),
    "matrix": MatrixExponential(),
    "random": QDrift(reps=3, seed=4),
}


@pytest.mark.parametrize("synthesis", SYNTHESES)
@pytest.mark.parametrize("labels", [["ZZ", "XI"], ["ZZ", "XX"]])
def test_it_is_the_formula_of_the_gates_own_synthesis(labels: list[str], synthesis: str) -> None:
    """Also of terms that commute: a random formula is not exact even there."""
    gate = PauliEvolutionGate(
        SparsePauliOp(labels, [0.5, 0.8]), 0.7, synthesis=SYNTHESES[synthesis]
    )
    formula = Operator(gate.definition.decompose("PauliEvolution"))
    circuit = evolving(None, gate).assign_parameters([0.3])
    found = TorchQuantumModule(circuit, "YZ").double()().item()
    state = Statevector(QuantumCircuit(2)).evolve(Operator(around_by(formula)))
    assert found == pytest.approx(state.expectation_value(SparsePauliOp("YZ")).real, abs=1e-10)


def around_by(formula: Operator) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.ry(0.3, 0)
    circuit.unitary(formula, [0, 1])
    circuit.rx(0.3, 1)
    return circuit


@pytest.mark.parametrize("synthesis", [LieTrotter(reps=2), SuzukiTrotter(order=4), None])
@pytest.mark.parametrize("free", [True, False])
def test_many_terms_are_as_many_rotations(
    synthesis: object, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks for the circuit of each term, and the values are those of that circuit."""
    operator = SparsePauliOp(
        random_pauli_list(5, 40, seed=3, phase=False), np.linspace(-0.3, 0.5, 40)
    )
    observable = random_pauli_list(5, 1, seed=8, phase=False)[0]
    gate = PauliEvolutionGate(operator, 2 * T - 1 if free else 0.2, synthesis=synthesis)
    circuit = QuantumCircuit(6)
    circuit.h(range(6))
    circuit.ry(A, 2)
    circuit.append(gate, [4, 0, 5, 2, 1])
    formula = circuit.decompose("PauliEvolution")
    right = Statevector(formula.assign_parameters([0.3, 0.6][: formula.num_parameters]))
    synthesised: list[object] = []
    monkeypatch.setattr(
        PauliEvolutionGate, "_define", lambda self: synthesised.append(self), raising=True
    )
    operator_on_six = SparsePauliOp(observable).apply_layout([4, 0, 5, 2, 1], 6)
    program = CircuitProgram(circuit, operator_on_six)
    point = torch.tensor([0.3, 0.6][: 1 + free], dtype=torch.float64)
    value = expectation(program, weights=point).item()
    assert not synthesised
    assert value == pytest.approx(right.expectation_value(operator_on_six).real, abs=1e-11)


@given(
    st.lists(st.tuples(*[st.integers(0, 511)] * 2), max_size=12),
    st.tuples(*[st.integers(0, 511)] * 2),
)
def test_what_commutes_with_a_span_commutes_with_each(
    strings: list[tuple[int, int]], other: tuple[int, int]
) -> None:
    span = PauliSpan(9)
    for string in strings:
        span.add(*string)
    each = [PauliString(*s).commutes(PauliString(*other)) for s in strings]
    assert span.commutes(*other) == all(each)


def test_pairs_of_many_terms_are_not_looked_at() -> None:
    """Of 2**15 terms there are 2**30 pairs; the memory for a bit of each would be 128 MB."""
    z = (np.arange(1 << 15)[:, None] >> np.arange(15) & 1).astype(bool)
    operator = SparsePauliOp(PauliList.from_symplectic(z, np.zeros_like(z)))
    tracemalloc.start()
    assert is_commuting(operator)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert not is_commuting(operator + SparsePauliOp("X" + "I" * 14))


@pytest.mark.skipif(
    not hasattr(quantum_info.SparseObservable, "as_paulis"),
    reason="gates of this Qiskit take no projectors",
)
@pytest.mark.parametrize("gradient", ["adjoint", "aqgd", "parameter-shift"])
def test_projectors_are_controls(gradient: str) -> None:
    """Sixteen of them would be 2**16 strings; of four the exponential is there to compare with."""
    for labels in (["1" * 16], ["10r+", "1Zr-"]):
        operator = quantum_info.SparseObservable.from_list([(p, 0.7) for p in labels])
        circuit = QuantumCircuit(len(labels[0]))
        circuit.h(range(len(labels[0])))
        circuit.append(PauliEvolutionGate(operator, 2 * T), circuit.qubits)
        program = CircuitProgram(circuit, "X" * len(labels[0]))
        w = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
        value = expectation(program, weights=w, gradient=gradient).sum()
        (slope,) = torch.autograd.grad(value, w)
        if labels == ["1" * 16]:  # all other outcomes have X...X 1; two of 2**16 turn
            right = 1 - (2 / 2**16) * (1 - np.cos(1.4 * 0.4))
            derivative = -(2 / 2**16) * 1.4 * np.sin(1.4 * 0.4)
        else:
            matrix = SparsePauliOp.from_sparse_observable(operator).to_matrix()
            plus, flip = np.full(16, 0.25), np.fliplr(np.eye(16))
            state = expm(-0.8j * matrix) @ plus
            right = np.vdot(state, flip @ state).real
            derivative = 2 * np.vdot(state, flip @ (-2j * matrix @ state)).real
        assert value.item() == pytest.approx(right, abs=1e-12)
        assert slope.item() == pytest.approx(derivative, abs=1e-12)


def test_frequencies_of_a_time_are_differences_of_energies() -> None:
    """Of sums of rotations that commute, too: fewer than sums of all their frequencies."""
    circuit = QuantumCircuit(2)
    circuit.append(
        PauliEvolutionGate(SparsePauliOp(["XX", "ZZ", "YY"], [1.0, 1.0, 1.0]), T), [0, 1]
    )
    assert AnalysedCircuit(circuit).frequencies(0) == (4.0,)  # singlet and triplet
    whole = AnalysedCircuit(evolving(T), evolutions="exponential")
    energies = np.linalg.eigvalsh(H.to_matrix())
    gaps = np.abs(np.subtract.outer(energies, energies)).round(9)
    right = np.unique(gaps[gaps > 1e-9])
    np.testing.assert_allclose(whole.frequencies(1), right, atol=1e-8)


def test_what_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if simulated_evolutions() == "definition":
        pytest.skip("this Qiskit simulates the product formula, which needs no matrix")
    monkeypatch.setattr(memory, "available", lambda: 1 << 27)
    line = [("X" + "I" * 10, 1.0)] + [("I" * k + "ZZ" + "I" * (9 - k), 1.0) for k in range(10)]
    line += [("I" * k + "X" + "I" * (10 - k), 1.0) for k in range(1, 11)]
    circuit = QuantumCircuit(11)
    circuit.append(PauliEvolutionGate(SparsePauliOp.from_list(line), T), range(11))
    operator = SparsePauliOp("Z" + "I" * 10)
    with pytest.raises(MemoryLimitError, match=r"on 11 qubits needs .* GiB.*product formula"):
        BatchedStatevectorEstimator().run([(circuit, operator, [0.1])])
    assert math.isfinite(expectation(CircuitProgram(circuit, operator), weights=torch.ones(1)))


def test_too_many_frequencies_are_refused_by_name() -> None:
    operator = SparsePauliOp.from_operator(random_hermitian(16, seed=2))
    circuit = QuantumCircuit(4)
    circuit.append(PauliEvolutionGate(operator, T), range(4))
    circuit.append(HamiltonianGate(random_hermitian(8, seed=3), T), range(3))
    with pytest.raises(GradientError, match="'t' has more than 128 frequencies"):
        AQGDEstimatorGradient(BatchedStatevectorEstimator()).run(
            [circuit], [SparsePauliOp("ZIII")], [[0.1]]
        ).result()


def test_programs_keep_their_meaning_in_saved_states() -> None:
    program = CircuitProgram(evolving(T), OBSERVABLE)
    again = CircuitProgram.from_state(program.to_state())
    assert again == program
    kept, qubits = program.without_idle_qubits()
    w = torch.tensor([0.4, 1.0], dtype=torch.float64)
    assert qubits == (0, 1)
    for other in (again, kept):
        assert expectation(other, weights=w).item() == pytest.approx(
            expectation(program, weights=w).item(), abs=1e-12
        )


def test_programs_of_other_evolutions_are_others() -> None:
    """Which terms there are counts, and their order, wherever circuits are compared."""
    operators = [SparsePauliOp(["XX", "ZI"]), SparsePauliOp(["ZI", "XX"])]
    operators += [SparsePauliOp(["XX", "ZI"], [1.0, 0.9]), SparsePauliOp(["XX", "IZ"])]
    made = []
    for operator in operators:
        circuit = QuantumCircuit(2)
        circuit.append(PauliEvolutionGate(operator, T), [0, 1])
        made.append(CircuitProgram(circuit))
    circuits = [program.circuit for program in made]
    assert len({content_key(c) for c in circuits}) == len(operators)
    assert len({content_digest(c) for c in circuits}) == len(operators)
    for a, b in itertools.combinations(made, 2):
        assert a.difference(b) == "the circuit's gates or angles"
        assert difference_of_marks(a.marks, b.marks) == "the circuit's gates or angles"
    again = CircuitProgram.from_state(made[0].to_state())
    assert again == made[0] and difference_of_marks(again.marks, made[0].marks) is None


def test_the_form_is_looked_for_silently_and_only_where_it_matters() -> None:
    """Qiskit's own matrix of such a gate makes SciPy warn, and starts a pool of threads.

    A process that is forked later waits for those threads without end, as soon as it transpiles.
    """
    simulated_evolutions.cache_clear()
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(SparsePauliOp(["ZZ", "XX"]), T), [0, 1])
    estimator = BatchedStatevectorEstimator()
    gradient = AQGDEstimatorGradient(estimator)
    gradient.run([circuit], [SparsePauliOp("ZI")], [[0.1]]).result()
    assert simulated_evolutions.cache_info().misses == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.run([(evolving(T), OBSERVABLE, [0.4, 1.0])]).result()
    assert simulated_evolutions.cache_info().misses == 1
