# SPDX-License-Identifier: Apache-2.0
"""Whatever operation Qiskit simulates is taken, with Qiskit's value; boxes; what is refused."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import qiskit
import torch
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    Gate,
    InverseModifier,
    Operation,
    Parameter,
    PowerModifier,
    QuantumCircuit,
    library,
)
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2, Options
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import (
    DensityMatrix,
    Pauli,
    SparsePauliOp,
    Statevector,
    random_clifford,
    random_hermitian,
    random_unitary,
)
from qiskit_aer.primitives import EstimatorV2

from qiskit_torch_bridge import (
    AnalysedCircuit,
    CircuitProgram,
    Probabilities,
    TorchQuantumModule,
    expectation,
)
from qiskit_torch_bridge.backends import prepare
from qiskit_torch_bridge.exceptions import CircuitError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

A, B, C, D = (Parameter(name) for name in "abcd")
UNITARY = random_unitary(4, seed=1)
STEP = 1e-4  # central differences: error STEP**2 / 6 times a third derivative of at most 1000
SLOPE = 1e-5

GIVEN = {
    "num_state_qubits": 2,
    "num_qubits": 2,
    "num_variables": 2,
    "num_variable_qubits": 2,
    "num_ctrl_qubits": 2,
    "num_target_qubits": 1,
    "theta": A,
    "phi": B,
    "lam": C,
    "gamma": D,
    "angle": A,
}
"""Arguments of most of the library's gates and circuits by their names."""

BUILT: dict[str, Callable[[Any], Any]] = {
    "BitFlipOracleGate": lambda f: f("a & ~b"),
    "BitwiseXorGate": lambda f: f(2, 1),
    "C3SXGate": lambda f: f(),
    "Delay": lambda f: f(10),
    "DiagonalGate": lambda f: f([1, 1j, -1, 1]),
    "ExactReciprocalGate": lambda f: f(2, 0.3),
    "GraphStateGate": lambda f: f([[0, 1], [1, 0]]),
    "HamiltonianGate": lambda f: f(random_hermitian(4, seed=2).data, A),
    "Initialize": lambda f: f([0.6, 0.8j]),
    "IntegerComparatorGate": lambda f: f(2, 1),
    "Isometry": lambda f: f(np.eye(4)[:, :2], 0, 0),
    "LinearAmplitudeFunctionGate": lambda f: f(2, 1, 0, (0, 1), (0, 1)),
    "LinearFunction": lambda f: f(np.array([[1, 1], [0, 1]])),
    "LinearPauliRotationsGate": lambda f: f(2, 0.3, 0.1),
    "MCMTGate": lambda f: f(library.RYGate(A), 2, 1),
    "MCGupDiag": lambda f: f(random_unitary(2, seed=1).data, 1, 0, 0),
    "MCPhaseGate": lambda f: f(A, 2),
    "MCU1Gate": lambda f: f(A, 2),
    "MCXGate": lambda f: f(3, ctrl_state=5),
    "MCXGrayCode": lambda f: f(3),
    "MCXRecursive": lambda f: f(3),
    "MCXVChain": lambda f: f(3),
    "MSGate": lambda f: f(2, 0.3),
    "PauliEvolutionGate": lambda f: f(SparsePauliOp(["XX", "ZZ"]), A),
    "PauliGate": lambda f: f("XYZ"),
    "PauliProductRotationGate": lambda f: f(Pauli("XY"), A),
    "PermutationGate": lambda f: f([1, 2, 0]),
    "PhaseOracleGate": lambda f: f("a & ~b"),
    "PiecewiseChebyshevGate": lambda f: f(lambda x: x, 2, 1, breakpoints=[0, 1]),
    "PiecewiseLinearPauliRotationsGate": lambda f: f(2, [0, 1], [0.1, 0.2], [0, 0.1]),
    "PiecewisePolynomialPauliRotationsGate": lambda f: f(2, [0, 1], [[0.1], [0.2]]),
    "PolynomialPauliRotationsGate": lambda f: f(2, [0.1, 0.2]),
    "QuadraticFormGate": lambda f: f(2, [[1, 0], [0, 1]], [1, 1], 0),
    "RVGate": lambda f: f(0.1, 0.2, 0.3),
    "StatePreparation": lambda f: f([0.6, 0.8j]),
    "UCGate": lambda f: f([random_unitary(2, seed=k).data for k in range(2)]),
    "UCPauliRotGate": lambda f: f([0.1, 0.2], "X"),
    "UCRXGate": lambda f: f([0.1, 0.2]),
    "UCRYGate": lambda f: f([0.1, 0.2]),
    "UCRZGate": lambda f: f([0.1, 0.2]),
    "UnitaryGate": lambda f: f(UNITARY),
}
"""How those are made that need something else."""

REFUSED = {
    "Measure": "remove_final_measurements",
    "WeightedSumGate": "opaque",  # Qiskit cannot synthesise it without more qubits
}
NO_GATES = {"GlobalPhaseGate", "Measure", "PauliProductMeasurement", "Reset"}
"""What has no qubits, or no state."""


def made(name: str) -> Operation:
    """An object of one of the library's classes."""
    kind = getattr(library, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some classes are deprecated
        if name in BUILT:
            return BUILT[name](kind)
        needed = [
            p.name
            for p in inspect.signature(kind).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        return kind(**{argument: GIVEN[argument] for argument in needed})


def names_of_the_library() -> list[str]:
    """All operations that the installed Qiskit has a class for."""
    kinds = {name: getattr(library, name) for name in dir(library)}
    operations = [n for n, k in kinds.items() if isinstance(k, type) and issubclass(k, Operation)]
    return [n for n in operations if n not in REFUSED and n not in NO_GATES]


def within(operation: Any) -> QuantumCircuit:
    """The operation between gates that make it count."""
    size = operation.num_qubits
    circuit = QuantumCircuit(size)
    if not isinstance(operation, library.Initialize):
        for q in range(size):
            circuit.ry(0.3 + 0.2 * q, q)
            circuit.rz(0.5 - 0.3 * q, q)
        for q in range(size - 1):
            circuit.cx(q, q + 1)
    if isinstance(operation, QuantumCircuit):
        circuit.compose(operation, inplace=True)
    else:
        circuit.append(operation, range(size))
    for q in range(size):
        circuit.ry(0.4 - 0.1 * q, q)
    return circuit


def observable_of(size: int) -> SparsePauliOp:
    labels = np.random.default_rng(size).choice(list("IXYZ"), (3, size))
    return SparsePauliOp(["".join(row) for row in labels] + ["Z" * size], [1.0, 0.5, -0.7, 0.3])


def check(circuit: QuantumCircuit, *estimators: Any, bound: QuantumCircuit | None = None) -> None:
    """Value as Qiskit's and slope as its central differences, in all places; kept in states."""
    operator = observable_of(circuit.num_qubits)
    program = CircuitProgram(circuit, operator)
    parameters = list(program.parameters)
    point = np.random.default_rng(1).uniform(-2, 2, len(parameters))
    reference = circuit if bound is None else bound

    def right(x: np.ndarray) -> float:
        state = Statevector(reference.assign_parameters(dict(zip(parameters, x, strict=True))))
        return float(state.expectation_value(operator).real)

    slopes = [(right(point + s) - right(point - s)) / (2 * STEP) for s in STEP * np.eye(len(point))]
    for place in ({}, *({"estimator": e} for e in estimators)):
        w = torch.tensor(point, requires_grad=True)
        value = expectation(program, weights=w, **place).sum()
        assert value.item() == pytest.approx(right(point), abs=1e-8)
        if parameters:
            (slope,) = torch.autograd.grad(value, w)
            np.testing.assert_allclose(slope, slopes, atol=SLOPE)
    assert program.difference_from_state(program.to_state()) is None


@pytest.mark.parametrize("name", names_of_the_library())
def test_every_operation_of_the_library(name: str) -> None:
    operation = made(name)
    check(within(operation), EstimatorV2())


@pytest.mark.parametrize("name", REFUSED)
def test_operations_that_are_refused(name: str) -> None:
    if not hasattr(library, name):
        pytest.skip(f"this Qiskit has no {name}")
    arguments = {"WeightedSumGate": (2, [1, 1])}
    operation = getattr(library, name)(*arguments.get(name, ()))
    circuit = QuantumCircuit(operation.num_qubits, operation.num_clbits)
    circuit.append(operation, circuit.qubits, circuit.clbits)
    with pytest.raises(CircuitError, match=REFUSED[name]):
        TorchQuantumModule(circuit)


@pytest.mark.skipif(not hasattr(library, "PauliProductMeasurement"), reason="new in Qiskit 2.2")
def test_a_measurement_of_a_product_leaves_the_state_it_projects_on() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.ry(A, 0)
    circuit.ry(B, 1)
    circuit.append(library.PauliProductMeasurement(Pauli("ZX")), [0, 1], [0])
    circuit.h(0)
    x, y = 0.7, 0.4
    module = TorchQuantumModule(circuit, Probabilities(), initial_weights=[x, y]).double()
    mean = np.sin(x) * np.cos(y)
    np.testing.assert_allclose(module().detach(), [(1 + mean) / 2, (1 - mean) / 2], atol=1e-7)
    module = TorchQuantumModule(circuit, ["IZ", "IX", "ZI"], initial_weights=[x, y]).double()
    np.testing.assert_allclose(module().detach(), [np.sin(x), 0, np.cos(y)], atol=1e-7)


class OfAMatrix(Gate):
    """A gate of which nothing but its matrix is known."""

    def __init__(self) -> None:
        super().__init__("of_a_matrix", 2, [])

    def to_matrix(self) -> np.ndarray:
        return UNITARY.data


def clifford_in_an_instruction() -> Operation:
    inner = QuantumCircuit(2)
    inner.append(random_clifford(2, seed=3), [1, 0])
    inner.rz(A, 0)
    return inner.to_instruction()


OTHERS: dict[str, Callable[[], Any]] = {
    "Clifford": lambda: random_clifford(3, seed=1),
    "Clifford, controlled": lambda: AnnotatedOperation(
        random_clifford(2, seed=1), ControlModifier(1, 0)
    ),
    "Clifford, inverted": lambda: AnnotatedOperation(random_clifford(2, seed=1), InverseModifier()),
    "Clifford, repeated": lambda: AnnotatedOperation(random_clifford(2, seed=1), PowerModifier(3)),
    "Clifford, inside": clifford_in_an_instruction,
    "Operator": lambda: UNITARY,
    "Pauli": lambda: Pauli("-iXY"),
    "a matrix": OfAMatrix,
    "a matrix, controlled": lambda: AnnotatedOperation(OfAMatrix(), ControlModifier(1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_else_can_be_appended(name: str) -> None:
    check(within(OTHERS[name]()), EstimatorV2(), StatevectorEstimator())


NEEDS_BOXES = pytest.mark.skipif(
    not hasattr(QuantumCircuit, "box"), reason="boxes are new in Qiskit 2.0"
)


def boxed(box: Callable[[QuantumCircuit], Any]) -> QuantumCircuit:
    """Parameters in a box, in a box within it, and beside them; some in several."""
    circuit = QuantumCircuit(3)
    circuit.h(0)
    with box(circuit):
        circuit.ry(A, 2)
        circuit.crx(2 * A + B, 2, 0)
        with box(circuit):
            circuit.append(library.PauliEvolutionGate(SparsePauliOp(["XZ", "ZX", "ZZ"]), B), [0, 1])
            circuit.rx(B * 0.5, 1)
    circuit.rx(A, 1)
    return circuit


def no_box(circuit: QuantumCircuit) -> Any:
    return contextlib.nullcontext()


def a_box(circuit: QuantumCircuit) -> Any:
    return circuit.box()


@NEEDS_BOXES
@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd", "adjoint"])
@pytest.mark.parametrize("estimator", [None, StatevectorEstimator, EstimatorV2])
def test_boxes_change_no_value(estimator: Any, gradient: str) -> None:
    place = {} if estimator is None else {"estimator": estimator()}
    found = []
    for box in (no_box, a_box):
        program = CircuitProgram(boxed(box), observable_of(3))
        w = torch.tensor([0.4, -0.9], dtype=torch.float64, requires_grad=True)
        value = expectation(program, weights=w, gradient=gradient, **place).sum()
        (slope,) = torch.autograd.grad(value, w)
        found.append([value.item(), *slope.tolist()])
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


def evolution_of(time: Parameter) -> Any:
    return library.PauliEvolutionGate(SparsePauliOp("Z"), time)


def made_of_others(time: Parameter) -> Any:
    definition = QuantumCircuit(1)
    definition.rz(2 * time, 0)
    return definition.to_gate()


@NEEDS_BOXES
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("gate", [evolution_of, made_of_others])
def test_binding_leaves_the_circuit_as_it_was(gate: Any, nested: bool) -> None:
    """Qiskit changes such gates in the boxes of the circuit that it copies."""
    circuit = QuantumCircuit(1)
    circuit.h(0)
    with circuit.box(), circuit.box() if nested else contextlib.nullcontext():
        circuit.append(gate(A), [0])
    circuit.h(0)
    module = TorchQuantumModule(circuit, "Z", input_params=[A])
    for _ in range(2):
        bound = module.bind([[0.3], [0.9]])
        values = [TorchQuantumModule(c, "Z")().item() for c in bound]
        np.testing.assert_allclose(values, np.cos([0.6, 1.8]), atol=1e-7)  # in float32
    again = TorchQuantumModule(circuit, "Z", input_params=[A])
    for made in (module, again):
        x = torch.tensor([[0.5]], dtype=torch.float64)
        assert made(x).item() == pytest.approx(np.cos(1.0), abs=1e-12)


class Submitted(BaseEstimatorV2):
    """Knows boxes, as hardware does, and keeps what it is given."""

    default_precision = 0.0  # for the step of finite differences

    def __init__(self) -> None:
        self.circuits: list[QuantumCircuit] = []

    def run(self, pubs, *, precision=None):
        pubs = [EstimatorPub.coerce(pub) for pub in pubs]
        self.circuits += [pub.circuit for pub in pubs]
        return BatchedStatevectorEstimator().run(pubs, precision=precision)


def annotated_box() -> tuple[QuantumCircuit, list[Any]]:
    """One box with a parameter of two gates, annotated where Qiskit knows annotations."""
    annotations = []
    if hasattr(qiskit.circuit, "Annotation"):

        class Twirled(qiskit.circuit.Annotation):
            namespace = "bridge.test"

        annotations.append(Twirled())
    circuit = QuantumCircuit(2)
    circuit.ry(A, 0)
    with circuit.box(annotations) if annotations else circuit.box():
        circuit.rz(2 * A, 0)
        circuit.cx(0, 1)
        circuit.rx(B, 1)
    return circuit, annotations


GRADIENTS = {
    "parameter-shift": ParameterShiftEstimatorGradient,
    "aqgd": AQGDEstimatorGradient,
    "finite-difference": FiniteDifferenceEstimatorGradient,
}


@NEEDS_BOXES
@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("plugin", [False, True])
def test_boxes_and_their_annotations_reach_the_hardware(gradient: str, plugin: bool) -> None:
    """With angles of their own inside for the shift rule, untouched for the others."""
    circuit, annotations = annotated_box()
    estimator, operator = Submitted(), SparsePauliOp(["XY", "ZZ"], [1.0, 0.3])
    if plugin:
        made = GRADIENTS[gradient](estimator)
        (slope,) = made.run([circuit], [operator], [[0.4, 0.7]]).result().gradients
    else:
        w = torch.tensor([0.4, 0.7], dtype=torch.float64, requires_grad=True)
        program = CircuitProgram(circuit, operator)
        value = expectation(program, weights=w, estimator=estimator, gradient=gradient).sum()
        (slope,) = torch.autograd.grad(value, w)
        assert estimator.circuits[0] == circuit
    plain = AdjointEstimatorGradient().run([circuit], [operator], [[0.4, 0.7]])
    np.testing.assert_allclose(slope, plain.result().gradients[0], atol=SLOPE)
    submitted = estimator.circuits[-1]
    (box,) = (i.operation for i in submitted.data if i.operation.name == "box")
    assert list(getattr(box, "annotations", [])) == annotations
    if gradient == "parameter-shift":
        assert len(box.body.parameters) == 2 and submitted.num_parameters == 3
    else:
        assert submitted == circuit


@NEEDS_BOXES
@pytest.mark.parametrize("knows_boxes", [True, False])
def test_a_device_keeps_boxes_if_its_target_has_them(knows_boxes: bool) -> None:
    from qiskit.circuit import BoxOp

    described = GenericBackendV2(3, control_flow=knows_boxes, seed=1).target
    if knows_boxes and "box" not in described.operation_names:  # before Qiskit 2.1
        described.add_instruction(BoxOp, name="box")

    class Device(BackendV2):
        """A device that is not known to be simulated; it runs nothing here."""

        target = described
        max_circuits = None

        @classmethod
        def _default_options(cls):
            return Options()

        def run(self, run_input, **options):
            raise NotImplementedError

    prepared = prepare(CircuitProgram(annotated_box()[0], "ZZ"), Device())
    assert ("box" in prepared.program.circuit.count_ops()) is knows_boxes
    assert prepared.program.circuit.num_qubits == 3


@NEEDS_BOXES
def test_programs_with_boxes_are_saved() -> None:
    """An annotation that QPY is not told how to write costs the boxes, not the program."""
    for circuit, boxes in ((boxed(a_box), True), (annotated_box()[0], not annotated_box()[1])):
        program = CircuitProgram(circuit)
        again = CircuitProgram.from_state(program.to_state())
        assert ("box" in again.circuit.count_ops()) is boxes
        w = torch.tensor([0.3, 0.8], dtype=torch.float64)
        assert torch.allclose(
            expectation(again, weights=w), expectation(program, weights=w), atol=1e-12
        )
        assert program.difference_from_state(program.to_state()) is None
        assert program == CircuitProgram(circuit)


@NEEDS_BOXES
def test_numbers_are_right_in_boxes_whatever_qiskit_binds() -> None:
    """Qiskit 2.1.0 to 2.5.1 bind A**2 + B**2 as (A + B)**2."""
    circuit = QuantumCircuit(1)
    with circuit.box():
        circuit.rx(A**2 + B**2, 0)
    bound = AnalysedCircuit(circuit).assigned({A: 0.3, B: 0.5})
    (instruction,) = bound.data[0].operation.body.data
    assert float(instruction.operation.params[0]) == pytest.approx(0.34, abs=1e-12)


def test_a_parameterized_instruction_on_a_classical_bit() -> None:
    """It is what it is built from, to a shift rule as to the exact engine."""
    inner = QuantumCircuit(1, 1)
    inner.rx(2 * A, 0)
    inner.ry(A, 0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_instruction(), [0], [0])
    for options in (
        {},
        {"estimator": BatchedStatevectorEstimator(), "gradient": "parameter-shift"},
    ):
        module = TorchQuantumModule(circuit, "Z", initial_weights=[0.3], **options).double()
        module().backward()
        w = module.weight.item()
        slope = -2 * np.sin(2 * w) * np.cos(w) - np.cos(2 * w) * np.sin(w)
        assert float(module.weight.grad) == pytest.approx(slope, abs=1e-10)


def measuring(later: Callable[[QuantumCircuit], Any]) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    later(circuit)
    return circuit


@pytest.mark.parametrize(
    ("later", "remedy"),
    [
        (lambda c: c.barrier(), "remove_final_measurements"),
        (lambda c: c.rx(B, 1), "remove_final_measurements"),
    ],
)
def test_what_only_ends_with_measurements_is_refused_for_observables(later, remedy) -> None:
    with pytest.raises(CircuitError, match=remedy):
        TorchQuantumModule(measuring(later))


def test_a_measurement_in_the_middle_does_what_a_cx_onto_a_fresh_qubit_does() -> None:
    point, operator = [0.7, 1.1], SparsePauliOp(["XZ", "YI", "ZZ"], [0.5, 1.0, -0.3])
    removed = measuring(lambda c: None).remove_final_measurements(inplace=False)
    assert TorchQuantumModule(removed).program.circuit.num_qubits == 2

    state = DensityMatrix(removed.assign_parameters(point[:1]))
    dephased = state.data.reshape(2, 2, 2, 2).copy()
    dephased[:, 0, :, 1] = dephased[:, 1, :, 0] = 0  # coherences of qubit 0
    after = QuantumCircuit(2)
    after.rx(point[1], 0)
    right = DensityMatrix(dephased.reshape(4, 4)).evolve(after).expectation_value(operator).real
    circuit = QuantumCircuit(3)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.cx(0, 2)
    circuit.rx(B, 0)
    w = torch.tensor(point, dtype=torch.float64)
    found = expectation(CircuitProgram(circuit, SparsePauliOp("I").tensor(operator)), weights=w)
    assert found.item() == pytest.approx(right, abs=1e-12)
    measured = CircuitProgram(measuring(lambda c: c.rx(B, 0)), operator)
    assert expectation(measured, weights=w).item() == pytest.approx(right, abs=1e-12)


def test_a_circuit_without_qubits_is_refused() -> None:
    with pytest.raises(CircuitError, match="no qubits"):
        TorchQuantumModule(QuantumCircuit(0))
