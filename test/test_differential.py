# SPDX-License-Identifier: Apache-2.0
"""Random circuits of everything that Qiskit offers, on every exact place, against Qiskit itself.

A place is an estimator, or none. There its value must be Qiskit's own, where Qiskit has one, and
its gradient the central difference of *its* value. A module evaluates an evolution by terms that do
not commute as the product formula wherever it runs, so Qiskit's value is that of the circuit
synthesised; the statevector estimators take the circuit as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operation_strategies import BINDS_SQUARES, steps
from qiskit import transpile
from qiskit.circuit import Gate, Parameter, ParameterExpression, ParameterVector, QuantumCircuit
from qiskit.circuit import library as lib
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import (
    Operator,
    Pauli,
    SparsePauliOp,
    Statevector,
    random_clifford,
    random_hermitian,
    random_unitary,
)
from qiskit.synthesis import LieTrotter, SuzukiTrotter
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_algorithms.gradients import BaseEstimatorGradient
from strategies import expressions

from qiskit_torch_bridge import CircuitProgram, Exact, expectation
from qiskit_torch_bridge.exceptions import ExpressionError, GradientError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

QUBITS = 3
PARAMETERS = (*ParameterVector("x", 2), Parameter("a"))
STANDARD = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if isinstance(gate, Gate) and 1 <= gate.num_qubits <= QUBITS
}
TERMS = ["XZI", "ZYX", "IXX", "ZZI", "YIZ", "IIX"]
STEP = 1e-3
ROUNDING = 1e-12  # of a value, relative to the observable's norm; products of some 100 matrices


@st.composite
def operations(draw: st.DrawFn) -> tuple[Any, list[int]]:
    """One operation of any kind, and its qubits."""
    kind = draw(st.sampled_from(["standard", "fixed", "evolution", "evolution", "block"]))
    angles = expressions(PARAMETERS)
    if kind == "standard":
        gate = STANDARD[draw(st.sampled_from(sorted(STANDARD)))]
        operation: Any = gate.copy()
        operation = operation.to_mutable()
        operation.params = [draw(angles) for _ in operation.params]
    elif kind == "evolution":
        operation = draw(evolutions(angles))
    elif kind == "fixed":
        operation = draw(fixed())
    else:
        return draw(steps(QUBITS, angles, False, True, depth=1))
    return operation, draw(st.permutations(range(QUBITS)))[: operation.num_qubits]


@st.composite
def evolutions(draw: st.DrawFn, angles: st.SearchStrategy[ParameterExpression]) -> Any:
    """An evolution by terms that may commute or not, for a fixed or a free time."""
    labels = draw(st.lists(st.sampled_from(TERMS), min_size=1, max_size=3, unique=True))
    coefficients = draw(
        st.lists(st.sampled_from([0.5, -0.3, 1.0]), min_size=len(labels), max_size=len(labels))
    )
    depends = angles.filter(lambda angle: bool(angle.sympify().free_symbols))
    time = draw(st.just(0.7) | depends)
    synthesis = draw(st.sampled_from([None, LieTrotter(reps=2), SuzukiTrotter(order=2)]))
    return lib.PauliEvolutionGate(SparsePauliOp(labels, coefficients), time, synthesis=synthesis)


@st.composite
def fixed(draw: st.DrawFn) -> Any:
    """An operation with a matrix or a definition and without an angle."""
    seed = draw(st.integers(0, 50))
    makers: list[Callable[[], Any]] = [
        lambda: lib.UnitaryGate(random_unitary(4, seed=seed)),
        lambda: Operator(random_unitary(2, seed=seed)).to_instruction(),
        lambda: random_clifford(2, seed=seed),
        lambda: lib.PauliGate("XZY"),
        lambda: lib.PermutationGate([2, 0, 1]),
        lambda: lib.DiagonalGate([1, 1j, -1, 1]),
        lambda: lib.HamiltonianGate(random_hermitian(4, seed=seed), 0.4),
        lambda: lib.QFTGate(2),
        lambda: lib.Barrier(3),
    ]
    return draw(st.sampled_from(makers))()


@st.composite
def observables(draw: st.DrawFn) -> Any:
    """A label, a Pauli, a sum with coefficients of any size, or a matrix."""
    size = 10.0 ** draw(st.integers(-12, 6))
    forms: list[Callable[[], Any]] = [
        lambda: draw(st.sampled_from(["ZIX", "0+r", "1I-", "YYl"])),
        lambda: Pauli("-XYZ"),
        lambda: SparsePauliOp("ZZX", size),
        lambda: SparsePauliOp(["IZI", "XIX", "YZI"], [size, 1.0, -1e-12]),
        lambda: {"ZZI": size, "IXY": -0.5 * size},
        lambda: Operator(size * random_hermitian(8, seed=draw(st.integers(0, 50))).data),
    ]
    return draw(st.sampled_from(forms))()


@st.composite
def cases(draw: st.DrawFn) -> tuple[QuantumCircuit, Any, np.ndarray]:
    """A circuit with at least one parameter, an observable, and values."""
    circuit = QuantumCircuit(QUBITS)
    for q in range(QUBITS):
        circuit.u(0.8 + 0.3 * q, 0.5 - 0.4 * q, 0.2, q)
    circuit.ry(PARAMETERS[0], draw(st.integers(0, QUBITS - 1)))
    for operation, qubits in draw(st.lists(operations(), min_size=1, max_size=4)):
        circuit.append(operation, qubits)
    circuit.rx(PARAMETERS[0] - 0.3, draw(st.integers(0, QUBITS - 1)))
    numbers = st.integers(20, 140).map(lambda k: k / 100)
    count = len(circuit.parameters)
    values = draw(st.lists(numbers, min_size=count, max_size=count))
    return circuit, draw(observables()), np.array(values)


def matrix_of(observable: Any) -> np.ndarray:
    """The observable as it was meant, by a way of its own: letter by letter."""
    if isinstance(observable, str):
        letters = {
            "I": [[1, 0], [0, 1]],
            "X": [[0, 1], [1, 0]],
            "Y": [[0, -1j], [1j, 0]],
            "Z": [[1, 0], [0, -1]],
            "0": [[1, 0], [0, 0]],
            "1": [[0, 0], [0, 1]],
            "+": [[0.5, 0.5], [0.5, 0.5]],
            "-": [[0.5, -0.5], [-0.5, 0.5]],
            "r": [[0.5, -0.5j], [0.5j, 0.5]],
            "l": [[0.5, 0.5j], [-0.5j, 0.5]],
        }
        return functools.reduce(np.kron, [np.array(letters[letter]) for letter in observable])
    if isinstance(observable, dict):
        return sum(c * matrix_of(label) for label, c in observable.items())
    if isinstance(observable, SparsePauliOp):
        return sum(c * matrix_of(label) for label, c in observable.to_list())
    return observable.data if isinstance(observable, Operator) else observable.to_matrix()


def value_of(circuit: QuantumCircuit, matrix: np.ndarray) -> float:
    """Qiskit's state of a circuit without parameters, and the mean of a matrix in it."""
    state = Statevector(circuit).data
    return float((state.conj() @ matrix @ state).real)


def bound(circuit: QuantumCircuit, values: np.ndarray) -> QuantumCircuit:
    return circuit.assign_parameters(dict(zip(circuit.parameters, values.tolist(), strict=True)))


def synthesised(circuit: QuantumCircuit) -> QuantumCircuit:
    """Qiskit's own gates for a device: evolutions are product formulas there."""
    return transpile(circuit, basis_gates=["u", "cx"], optimization_level=0)


def slopes(f: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of fourth order, and how far they are off at the most.

    The error falls by 16 with half of the step, so the finer ones are off by a fifteenth of the
    difference to the coarser ones; and by rounding.
    """

    def differences(step: float) -> np.ndarray:
        offsets = step * np.array([-2.0, -1.0, 1.0, 2.0])
        units = np.eye(len(at))
        points = at + offsets[:, None, None] * units  # (4, P, P)
        evs = f(points.reshape(-1, len(at))).reshape(4, len(at))
        return np.array([1.0, -8.0, 8.0, -1.0]) @ evs / (12 * step)

    fine, coarse = differences(STEP), differences(2 * STEP)
    return fine, np.abs(fine - coarse)


BY_TORCH = "exact by torch"
"""Which differentiates by the adjoint method alone."""
PLACES: dict[str, Callable[[], dict[str, Any]]] = {
    "exact": dict,
    BY_TORCH: lambda: {"estimator": Exact(kernels="torch")},
    "statevector": lambda: {"estimator": StatevectorEstimator()},
    "batched": lambda: {"estimator": BatchedStatevectorEstimator()},
    "aer": lambda: {"estimator": AerEstimator()},
}
METHODS = ("adjoint", "parameter-shift", "aqgd")


def compared(
    found: np.ndarray, f: Callable[[np.ndarray], np.ndarray], at: np.ndarray, norm: float
) -> None:
    expected, error = slopes(f, at)
    tolerance = error + 20 * ROUNDING * norm / STEP
    assert (np.abs(found - expected) <= tolerance).all(), (found, expected, tolerance)


@pytest.mark.parametrize("place", PLACES)
@settings(suppress_health_check=list(HealthCheck))
@given(case=cases(), method=st.sampled_from(METHODS))
def test_modules_on_every_place(place, case, method):
    circuit, observable, at = case
    matrix = matrix_of(observable)
    norm = float(np.linalg.norm(matrix, 2))
    options = PLACES[place]()
    program = CircuitProgram(circuit, observable)

    def f(points: np.ndarray) -> np.ndarray:
        evaluate = torch.vmap(lambda w: expectation(program, weights=w, **options))
        return evaluate(torch.as_tensor(points))[:, 0].numpy()

    try:
        value = f(at[None])[0]
    except ExpressionError:
        # Some versions of Qiskit bind some expressions to other angles, on estimators that bind.
        assert place in ("statevector", "aer") and not BINDS_SQUARES
        return
    expected = value_of(synthesised(bound(circuit, at)), matrix)
    assert abs(value - expected) <= 50 * ROUNDING * norm, (value, expected)
    w = torch.as_tensor(at, dtype=torch.float64).requires_grad_()
    if place == BY_TORCH:
        method = "adjoint"
    try:
        y = expectation(program, weights=w, gradient=method, **options)
    except GradientError:
        assert method == "aqgd"  # an expression that is not affine, or too many frequencies
        return
    (gradient,) = torch.autograd.grad(y.sum(), w)
    compared(gradient.numpy(), f, at, norm)


A, B = Parameter("a"), Parameter("b")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("angles", [(A, A - A - 0.5, 0.3), (A, B * 0 - 0.2, A - A), (-0.4, A, 0.1)])
@pytest.mark.parametrize("gate", ["u", "cu"])
def test_expressions_that_are_numbers(place, angles, gate):
    """Some versions of Qiskit know no hash of negative ones, so that Aer fails on them."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    angles = (*angles, A + B) if gate == "cu" else angles
    getattr(circuit, gate)(*angles, *range(1 + (gate == "cu")))
    numbers = dict.fromkeys(circuit.parameters, 0.7)
    fixed = circuit.assign_parameters(numbers)
    w = torch.full((len(numbers),), 0.7, dtype=torch.float64)
    found = expectation(CircuitProgram(circuit, "ZX"), weights=w, **PLACES[place]())
    expected = value_of(synthesised(fixed), matrix_of("ZX"))
    assert abs(found.item() - expected) <= 50 * ROUNDING


@settings(suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_the_primitive_is_qiskits(case):
    """As a drop-in for StatevectorEstimator: one value for the circuit as it was handed over."""
    circuit, observable, at = case
    if isinstance(observable, Operator):
        observable = SparsePauliOp.from_operator(observable, atol=0, rtol=0)
    matrix = matrix_of(observable)
    pub = (circuit, [[observable]], {tuple(circuit.parameters): at[None]})
    found = float(BatchedStatevectorEstimator().run([pub]).result()[0].data.evs[0, 0])
    expected = value_of(bound(circuit, at), matrix)
    assert abs(found - expected) <= 50 * ROUNDING * float(np.linalg.norm(matrix, 2))


@pytest.mark.parametrize("estimator", [StatevectorEstimator, BatchedStatevectorEstimator])
@settings(suppress_health_check=list(HealthCheck))
@given(case=cases(), which=st.integers(0, 2))
def test_gradient_objects_are_of_what_their_estimator_evaluates(estimator, case, which):
    circuit, observable, at = case
    if isinstance(observable, Operator):
        observable = SparsePauliOp.from_operator(observable, atol=0, rtol=0)
    elif not isinstance(observable, SparsePauliOp):
        observable = SparsePauliOp.from_list(
            list(observable.items()) if isinstance(observable, dict) else [("ZIX", 1.0)]
        )
    matrix = matrix_of(observable)
    norm = float(np.linalg.norm(matrix, 2))
    place = estimator()
    gradient: BaseEstimatorGradient = (
        AdjointEstimatorGradient,
        ParameterShiftEstimatorGradient,
        AQGDEstimatorGradient,
    )[which](place)

    def f(points: np.ndarray) -> np.ndarray:
        return np.array([value_of(bound(circuit, point), matrix) for point in points])

    try:
        found = gradient.run([circuit], [observable], [at.tolist()]).result().gradients[0]
    except GradientError:
        assert which == 2
        return
    except ExpressionError:
        assert estimator is StatevectorEstimator and not BINDS_SQUARES
        return
    compared(np.asarray(found), f, at, norm)
