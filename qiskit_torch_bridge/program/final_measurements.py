# SPDX-License-Identifier: Apache-2.0
"""The measurements that end a circuit, taken off it: what is left is a circuit of gates."""

from __future__ import annotations

import warnings
from typing import NamedTuple

from qiskit.circuit import Clbit, Operation, QuantumCircuit, Qubit

from .definitions import condition_of, is_box
from .lowering import remove_boxes

_IDLE = ("barrier", "delay")
"""Operations that do not change the outcome of a measurement before them."""


class SplitCircuit(NamedTuple):
    """A circuit in two parts.

    Attributes:
        circuit: The circuit without the measurements that end it. What it still has of measurements
            is in its middle. It has no classical bits unless something uses them.
        qubit_of: The qubit that each measured classical bit holds in the end, by their indices, in
            ascending order of the bits.
    """

    circuit: QuantumCircuit
    qubit_of: dict[int, int]


def split_final_measurements(circuit: QuantumCircuit) -> SplitCircuit:
    """Take off the measurements after which only measurements, barriers and delays follow.

    A measurement stays where a later gate acts on its qubit, or a later operation reads or writes
    its bit and is no measurement; it is then one in the middle of the circuit. So does one that is
    conditioned, as in Qiskit 1. Where two are written to the same bit, the later one counts. Boxes
    that measure are replaced by what they contain.
    """
    if any(is_box(i.operation) and _measures(i.operation) for i in circuit.data):
        circuit = remove_boxes(circuit)
    place: dict[Qubit | Clbit, int] = {qubit: q for q, qubit in enumerate(circuit.qubits)}
    place |= {clbit: c for c, clbit in enumerate(circuit.clbits)}
    taken: set[Qubit | Clbit] = set()
    found: dict[int, int] = {}
    kept = []
    for instruction in reversed(circuit.data):
        qubits, clbits = instruction.qubits, instruction.clbits
        ends = instruction.name == "measure" and taken.isdisjoint((*qubits, *clbits))
        if ends and condition_of(instruction.operation) is None:
            found.setdefault(place[clbits[0]], place[qubits[0]])
            continue
        kept.append(instruction)
        if instruction.name not in _IDLE:
            taken.update(qubits, clbits)
        if instruction.name == "store":  # which does not say what bits it reads and writes
            taken.update(circuit.clbits)
    kept.reverse()
    used = circuit.num_vars or any(i.clbits or i.name == "store" for i in kept)
    result = _copy_empty(circuit) if used else _copy_without_bits(circuit)
    for instruction in kept:
        result.append(instruction.operation, instruction.qubits, instruction.clbits, copy=False)
    return SplitCircuit(result, dict(sorted(found.items())))


def _copy_empty(circuit: QuantumCircuit) -> QuantumCircuit:
    if type(circuit) is QuantumCircuit:
        return circuit.copy_empty_like()
    result = circuit.copy()  # since Qiskit 1.4 builds what is empty anew, if it is a blueprint
    result.clear()
    return result


def _copy_without_bits(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit on the same qubits, with its layout, without instructions and bits."""
    result = _copy_empty(circuit)
    if not (circuit.num_qubits and circuit.num_clbits):
        return result
    # Qiskit removes bits only together with the last measurement into them.
    result.measure([0] * circuit.num_clbits, result.clbits)
    with warnings.catch_warnings():  # Qiskit 2.2 warns of what it does itself
        warnings.filterwarnings("ignore", "Trying to add QuantumRegister")
        return result.remove_final_measurements(inplace=False)


def _measures(operation: Operation) -> bool:
    """Whether there is a measurement in a box."""
    return any(
        i.name == "measure" or (is_box(i.operation) and _measures(i.operation))
        for i in operation.body.data
    )
