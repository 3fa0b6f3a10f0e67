# SPDX-License-Identifier: Apache-2.0
"""The reference is held to closed forms and, parameters bound, to Qiskit's own matrices.

Binding comes first everywhere: a simulator that met an unbound angle could ignore it silently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import operation_strategies as operations
import pytest
import reference
import torch
from hypothesis import given, settings
from operation_strategies import Template
from qiskit import QuantumCircuit
from qiskit.circuit import Operation, Parameter
from qiskit.circuit import library as lib
from qiskit.circuit.annotated_operation import AnnotatedOperation, InverseModifier, PowerModifier
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from strategies import Case, cases
from torch import Tensor

# Qiskit's own PauliEvolutionGate.to_matrix hands SciPy a sparse format that costs a conversion.
pytestmark = pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")

EXACT = 1e-12  # a few thousand float64 roundings of numbers of size one
ANGLES = tuple(Parameter(f"angle_{i}") for i in range(4))
NUMBERS = torch.tensor([0.7, -1.9, 0.4, 2.3], dtype=torch.float64)
LIBRARY: dict[str, Template] = {
    **operations.GATES,
    **operations.CONTROLLED_GATES,
    "evolution": Template(
        lambda t: lib.PauliEvolutionGate(SparsePauliOp(["XXI", "ZZX", "III"], [0.5, -1.2, 0.3]), t),
        1,
        3,
    ),
    "evolutions": Template(
        lambda t: lib.PauliEvolutionGate([SparsePauliOp("XX"), SparsePauliOp("ZZ")], t), 1, 2
    ),
    "ms": Template(lambda theta: lib.MSGate(3, theta), 1, 3),
    "mcmt": Template(lambda theta: lib.MCMTGate(lib.RYGate(theta), 1, 2), 1, 3),
}


def _placed(op: Operation) -> QuantumCircuit:
    """The operation on the qubits of a slightly wider circuit, in falling order."""
    circuit = QuantumCircuit(op.num_qubits + 1)
    circuit.append(op, list(reversed(range(1, op.num_qubits + 1))))
    return circuit


def _check_unitary(
    circuit: QuantumCircuit, parameters: Sequence[Parameter] = (), values: Tensor = NUMBERS[:0]
) -> None:
    bound = circuit.assign_parameters(dict(zip(parameters, values.tolist(), strict=True)))
    assert not bound.parameters
    matrix = reference.unitary(circuit, parameters, values).numpy()
    np.testing.assert_allclose(matrix, Operator(bound).data, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", LIBRARY)
def test_parameterized_gate(name: str) -> None:
    template = LIBRARY[name]
    k = template.num_params
    _check_unitary(_placed(template.build(*ANGLES[:k])), ANGLES[:k], NUMBERS[:k])


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize(("num_controls", "state"), [(1, 1), (1, 0), (2, 3), (2, 1), (2, 0)])
@pytest.mark.parametrize("name", operations.GATES)
def test_controlled_gate(name: str, num_controls: int, state: int, annotated: bool) -> None:
    template = operations.GATES[name]
    k = template.num_params
    gate = template.build(*ANGLES[:k])
    controlled = operations.controlled_gate(gate, num_controls, state, annotated)
    _check_unitary(_placed(controlled), ANGLES[:k], NUMBERS[:k])


@pytest.mark.parametrize("state", [0, 1])
def test_phase_of_a_controlled_custom_gate(state: int) -> None:
    theta, phi = ANGLES[:2]
    block = QuantumCircuit(1, global_phase=theta)
    block.rx(2 * phi, 0)
    gate = block.to_gate()
    for op in (gate, gate.inverse(), gate.control(1, ctrl_state=state, annotated=False)):
        outer = QuantumCircuit(op.num_qubits, global_phase=theta - phi)
        outer.append(op, range(op.num_qubits))
        _check_unitary(_placed(outer.to_instruction()), (theta, phi), NUMBERS[:2])


def test_every_standard_gate_is_covered() -> None:
    standard = lib.get_standard_gate_name_mapping()
    parameterized = {name for name, gate in standard.items() if gate.params} - {"delay"}
    assert parameterized <= set(LIBRARY)
    others = (set(standard) - parameterized) - {"delay", "measure", "reset"}
    assert {"h", "cx", "ecr", "swap", "ccx", "sxdg"} <= others
    for name in others:
        _check_unitary(_placed(standard[name]))


def test_modifiers() -> None:
    rotation = lib.RXGate(ANGLES[0])
    op = AnnotatedOperation(rotation, [InverseModifier(), PowerModifier(3)])
    expected = QuantumCircuit(1)
    expected.rx(-3 * ANGLES[0], 0)
    matrix = reference.unitary(_only(op), ANGLES[:1], NUMBERS[:1])
    torch.testing.assert_close(matrix, reference.unitary(expected, ANGLES[:1], NUMBERS[:1]))
    with pytest.raises(NotImplementedError, match="integer power"):
        reference.unitary(
            _only(AnnotatedOperation(rotation, PowerModifier(0.5))), ANGLES[:1], NUMBERS[:1]
        )


def test_refusals() -> None:
    measured = QuantumCircuit(1, 1)
    measured.measure(0, 0)
    noncommuting = lib.PauliEvolutionGate(SparsePauliOp(["X", "Z"]), ANGLES[0])
    with pytest.raises(NotImplementedError, match="unitary"):
        reference.unitary(measured, (), NUMBERS[:0])
    with pytest.raises(NotImplementedError, match="commuting"):
        reference.unitary(_only(noncommuting), ANGLES[:1], NUMBERS[:1])


def _only(op: Operation) -> QuantumCircuit:
    circuit = QuantumCircuit(op.num_qubits)
    circuit.append(op, range(op.num_qubits))
    return circuit


@given(cases())
def test_state_and_expectations(case: Case) -> None:
    circuit = case.circuit.assign_parameters(
        dict(zip(case.parameters, case.values.tolist(), strict=True))
    )
    assert not circuit.parameters
    psi = Statevector(circuit)
    ours = reference.statevector(case.circuit, case.parameters, case.values)
    np.testing.assert_allclose(ours.numpy(), psi.data, rtol=0, atol=EXACT)
    evs = reference.expectations(case.circuit, case.observables, case.parameters, case.values)
    expected = [psi.expectation_value(observable).real for observable in case.observables]
    np.testing.assert_allclose(evs.numpy(), expected, rtol=0, atol=10 * EXACT)


@settings(max_examples=min(100, settings.default.max_examples))
@given(cases(batch=(2,), max_gates=4))
def test_rows_are_independent(case: Case) -> None:
    problem = (case.circuit, case.observables, case.parameters)
    for f in (reference.expectations, reference.jacobian):
        rows = torch.stack([f(*problem, row) for row in case.values])
        torch.testing.assert_close(f(*problem, case.values), rows, rtol=EXACT, atol=10 * EXACT)
