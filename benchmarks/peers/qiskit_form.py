# SPDX-License-Identifier: Apache-2.0
"""A workload in Qiskit's terms, for all candidates that build on Qiskit."""

from __future__ import annotations

from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from workloads import Observable, Workload


def circuit_of(work: Workload) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """Return the workload's circuit, its inputs and its weights."""
    inputs = ParameterVector("x", work.x.shape[1])
    weights = ParameterVector("w", len(work.w))
    values = [*inputs, *weights]
    circuit = QuantumCircuit(work.qubits)
    for name, qubits, parameter, factor in work.gates:
        angles = () if parameter is None else (factor * values[parameter],)
        getattr(circuit, name)(*angles, *qubits)
    return circuit, inputs, weights


def observables_of(work: Workload) -> list[SparsePauliOp]:
    """Return the workload's observables."""
    return [operator_of(work, o) for o in work.observables]


def operator_of(work: Workload, observable: Observable) -> SparsePauliOp:
    """Return one observable on the workload's qubits."""
    return SparsePauliOp.from_sparse_list(observable, num_qubits=work.qubits)
