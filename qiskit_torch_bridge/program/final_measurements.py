# SPDX-License-Identifier: Apache-2.0
"""Circuits that measure at their end: the gates alone, and what each classical bit is read from."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import CircuitInstruction, QuantumCircuit

from ..arrays import IntArray
from .validation import is_conditioned

Sources = tuple[int | None, ...]
"""The qubit that each bit of a register is read from; ``None`` for a bit that stays zero."""


@dataclass(frozen=True)
class FinalMeasurements:
    """A circuit that has been taken apart into its gates and the measurements at its end.

    Attributes:
        circuit: The circuit without these measurements, and without classical registers unless
            something else in it uses them.
        registers: The name of each classical register, and what its bits are read from.
    """

    circuit: QuantumCircuit
    registers: tuple[tuple[str, Sources], ...]

    @functools.cached_property
    def sources(self) -> Sources:
        """What the bits of all registers in their order are read from, the first one's lowest."""
        return tuple(qubit for _, sources in self.registers for qubit in sources)

    @functools.cached_property
    def qubits(self) -> tuple[int, ...]:
        """The qubits that are measured, each once, in the order of the bits they are read into."""
        return tuple(dict.fromkeys(q for q in self.sources if q is not None))

    def integers(self, outcomes: IntArray) -> list[int]:
        """Return outcomes of :attr:`qubits` as the integers that all registers' bits make."""
        if self.sources == self.qubits:
            found: list[int] = outcomes.tolist()
            return found
        place = {qubit: j for j, qubit in enumerate(self.qubits)}
        read = [(b, place[q]) for b, q in enumerate(self.sources) if q is not None]
        if len(self.sources) < 63:
            joined = np.zeros_like(outcomes)
            for bit, j in read:
                joined |= (outcomes >> j & 1) << bit
            found = joined.tolist()
            return found
        return [sum((o >> j & 1) << bit for bit, j in read) for o in outcomes.tolist()]


def split_final_measurements(circuit: QuantumCircuit) -> FinalMeasurements:
    """Take a circuit apart into its gates and the measurements at its end.

    A measurement is final if nothing acts on its qubit later and nothing depends on its bit. All
    others stay in the circuit, which is no circuit of gates alone then. Where two are read into one
    bit, the last one counts.
    """
    busy: set[object] = set()  # qubits and bits that something later acts on, or depends on
    final: set[int] = set()
    source: dict[object, int] = {}
    index = {qubit: q for q, qubit in enumerate(circuit.qubits)}
    for position in range(len(circuit.data) - 1, -1, -1):
        instruction = circuit.data[position]
        if instruction.name in ("barrier", "delay"):
            continue
        if _is_plain_measurement(instruction) and busy.isdisjoint(
            (*instruction.qubits, *instruction.clbits)
        ):
            final.add(position)
            source.setdefault(instruction.clbits[0], index[instruction.qubits[0]])
        else:
            busy.update(instruction.qubits, instruction.clbits)
    registers = tuple((r.name, tuple(source.get(bit) for bit in r)) for r in circuit.cregs)
    return FinalMeasurements(_without(circuit, final), registers)


def _is_plain_measurement(instruction: CircuitInstruction) -> bool:
    return instruction.name == "measure" and not is_conditioned(instruction.operation)


def _without(circuit: QuantumCircuit, final: set[int]) -> QuantumCircuit:
    """Return the circuit without some measurements, and what waits on measured qubits."""
    measured: set[object] = set()
    left = []
    for position, instruction in enumerate(circuit.data):
        if position in final:
            measured.update(instruction.qubits)
        elif not instruction.qubits or not measured.issuperset(instruction.qubits):
            left.append(instruction)
    if any(instruction.clbits for instruction in left):
        result = circuit.copy_empty_like()
    else:
        result = QuantumCircuit(
            circuit.qubits, name=circuit.name, global_phase=circuit.global_phase,
            metadata=circuit.metadata,
        )  # fmt: skip
        for register in circuit.qregs:
            result.add_register(register)
        result._layout = circuit.layout
    for instruction in left:
        result.append(instruction, copy=False)
    return result
