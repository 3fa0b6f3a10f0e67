# SPDX-License-Identifier: Apache-2.0
"""What a circuit may contain, checked once before anything runs.

The walk follows definitions as deep as parameters go, so a measurement or an opaque gate hidden
in a custom instruction is found too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlFlowOp,
    ControlledGate,
    Delay,
    Instruction,
    Measure,
    Operation,
    ParameterExpression,
    PowerModifier,
    QuantumCircuit,
    Qubit,
    Reset,
)
from qiskit.circuit.library import (
    HamiltonianGate,
    Initialize,
    Isometry,
    PauliEvolutionGate,
    StatePreparation,
    UnitaryGate,
)

from ..exceptions import CircuitError
from .expressions import expressions_of
from .lowering import definition_of, is_standard, opaque, steps_of_definition

LEAVES = (Barrier, Initialize, StatePreparation, Isometry, UnitaryGate, PauliEvolutionGate)


def validated(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return ``circuit``, or raise :class:`CircuitError` naming what cannot be run.

    Evolutions by Pauli terms that do not commute are replaced by their definition: simulators
    take such a gate for the exact exponential and the transpiler for a product formula, and a
    gradient must be of the one function that is evaluated.
    """
    if not isinstance(circuit, QuantumCircuit):
        raise CircuitError(
            f"Expected a QuantumCircuit; got {type(circuit).__name__}. For an algorithm or a "
            "library function pass the circuit that it builds."
        )
    for instruction in circuit.data:
        _check(instruction.operation)
    if not any(_holds_product_formula(i.operation) for i in circuit.data):
        return circuit
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        if _holds_product_formula(instruction.operation):
            _append_resolved(result, instruction.operation, instruction.qubits)
        else:
            result.append(instruction, copy=False)
    return result


def _append_resolved(
    circuit: QuantumCircuit, operation: Operation, qubits: Sequence[Qubit]
) -> None:
    for inner, inner_qubits in steps_of_definition(operation, qubits):
        if _holds_product_formula(inner):
            _append_resolved(circuit, inner, inner_qubits)
        else:
            circuit.append(inner, inner_qubits, copy=False)


def _holds_product_formula(operation: Operation) -> bool:
    """Whether a parameterized evolution by non-commuting terms is in it, however deep."""
    if not expressions_of(operation) or is_standard(operation):
        return False
    if isinstance(operation, PauliEvolutionGate):
        return _is_product_formula(operation)
    if isinstance(operation, AnnotatedOperation):
        return _holds_product_formula(operation.base_op)
    if isinstance(operation, ControlledGate) and _holds_product_formula(operation.base_gate):
        return True
    return any(_holds_product_formula(i.operation) for i in definition_of(operation).data)


def _is_product_formula(operation: PauliEvolutionGate) -> bool:
    operators = operation.operator
    for operator in operators if isinstance(operators, list) else [operators]:
        paulis = getattr(operator, "paulis", None)
        if paulis is None or len(paulis.group_commuting()) > 1:
            return True
    return isinstance(operators, list)


def _check(operation: Operation) -> None:
    name = operation.name
    if isinstance(operation, Measure):
        raise CircuitError(
            "The circuit contains a measurement; an estimator measures the observables itself. "
            "Remove it, for instance with circuit.remove_final_measurements(inplace=False)."
        )
    if isinstance(operation, Reset):
        raise CircuitError(
            "The circuit contains a reset, which has no gradient rule. Start from fresh qubits "
            "instead."
        )
    if _is_conditioned(operation):
        raise CircuitError(
            f"The operation {name!r} is conditioned on classical bits. Remove the condition."
        )
    if isinstance(operation, ControlFlowOp):
        if any(block.parameters for block in operation.blocks):
            raise CircuitError(
                f"The control-flow operation {name!r} contains circuit parameters, which cannot "
                "be differentiated there. Move the parameterized gates out of the block."
            )
        for block in operation.blocks:
            for inner in block.data:
                _check(inner.operation)
        return
    if isinstance(operation, Delay) and expressions_of(operation):
        raise CircuitError("A delay has a parameter as its duration, which has no gradient rule.")
    if isinstance(operation, HamiltonianGate) and expressions_of(operation):
        raise opaque(operation)
    if isinstance(operation, AnnotatedOperation):
        _check(operation.base_op)
        powers = [m.power for m in operation.modifiers if isinstance(m, PowerModifier)]
        if expressions_of(operation) and any(power != int(power) for power in powers):
            raise CircuitError(
                f"The operation {name!r} is a fractional power of a parameterized gate, which has "
                "no definition. Scale the gate's angle instead."
            )
        return
    if not isinstance(operation, Instruction):
        raise opaque(operation)
    if is_standard(operation) or isinstance(operation, (*LEAVES, Delay)):
        return
    if hasattr(operation, "__array__") and not expressions_of(operation):
        return
    for inner in definition_of(operation).data:
        _check(inner.operation)


def _is_conditioned(operation: Operation) -> bool:
    """Whether Qiskit 1's ``c_if`` was used; Qiskit 2 has no such attribute."""
    if not hasattr(type(operation), "condition"):
        return False
    with warnings.catch_warnings():  # even reading it is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return operation.condition is not None


def leaf_expressions(circuit: QuantumCircuit) -> Iterator[ParameterExpression]:
    """Yield the expressions of all standard gates, looking into custom definitions."""
    for instruction in circuit.data:
        yield from leaf_expressions_of(instruction.operation)


def leaf_expressions_of(operation: Operation) -> Iterator[ParameterExpression]:
    """Yield an operation's expressions, and those of what it is built from."""
    expressions = expressions_of(operation)
    if not expressions:
        return
    if isinstance(operation, AnnotatedOperation):
        operation = operation.base_op
    yield from expressions
    if not is_standard(operation) and not isinstance(operation, PauliEvolutionGate):
        yield from leaf_expressions(definition_of(operation))
