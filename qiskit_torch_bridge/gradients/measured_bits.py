# SPDX-License-Identifier: Apache-2.0
"""Circuits that measure, for gradients of probabilities: their gates, and what outcomes mean."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.circuit import QuantumCircuit

from ..arguments import shown
from ..exceptions import CircuitError
from ..lru_cache import LRUCache
from ..program.control_flow import written_bits
from ..program.final_measurements import split_final_measurements
from ..program.identity import content_key

KEPT_CIRCUITS = 64


@dataclass(frozen=True)
class MeasuredBits:
    """The qubits that a circuit measures, and the bits of its registers that they are read into.

    Attributes:
        qubits: Each once, in the order of the bits.
        places: For each bit that is written, where it is among the bits of all registers, the first
            register's lowest, and which of the qubits it is read from. Other bits stay zero.
    """

    qubits: tuple[int, ...]
    places: tuple[tuple[int, int], ...]

    def integers(self, outcomes: Any) -> list[int]:
        """Return outcomes of the qubits as the integers that the bits of all registers make."""
        if all(bit == k for bit, k in self.places) and len(self.places) == len(self.qubits):
            return [int(outcome) for outcome in outcomes]
        return [sum((int(o) >> k & 1) << bit for bit, k in self.places) for o in outcomes]


class MeasuredCircuits:
    """Takes circuits apart into gates and measurements, and remembers that of the last ones."""

    def __init__(self) -> None:
        self._kept: LRUCache[tuple[QuantumCircuit, MeasuredBits]] = LRUCache(KEPT_CIRCUITS)

    def split(
        self, circuits: Sequence[QuantumCircuit]
    ) -> tuple[list[QuantumCircuit], list[MeasuredBits]]:
        """Return circuits without the measurements at their end, and what these measure.

        Raises:
            CircuitError: If one is no circuit, or measures nothing.
        """
        found = {id(circuit): circuit for circuit in circuits}
        split = {
            key: self._kept(content_key(circuit), functools.partial(_split, circuit))
            for key, circuit in found.items()
        }
        pairs = [split[id(circuit)] for circuit in circuits]
        return [circuit for circuit, _ in pairs], [bits for _, bits in pairs]


def _split(circuit: QuantumCircuit) -> tuple[QuantumCircuit, MeasuredBits]:
    bare, qubit_of = split_final_measurements(circuit.copy())
    index = {clbit: c for c, clbit in enumerate(circuit.clbits)}
    sources = [qubit_of.get(index[clbit]) for register in circuit.cregs for clbit in register]
    qubits = tuple(dict.fromkeys(q for q in sources if q is not None))
    if not qubits and not bare.clbits:  # what is measured earlier is refused with the gates
        raise CircuitError(
            "Expected a circuit that measures some of its qubits into a classical register; got "
            f"{shown(circuit)}, which measures none. Measure all of them: circuit.measure_all()."
        )
    listed = {index[clbit] for register in circuit.cregs for clbit in register}
    written = {index[clbit] for clbit in written_bits(bare)}
    midway = sorted(written & listed - set(qubit_of))
    if midway:
        raise CircuitError(
            f"The circuit measures into classical bit {midway[0]} before its end; gradients of "
            "samplers are those of what is measured at the end. A TorchQuantumModule with "
            "Probabilities of the qubits that you ask for differentiates such circuits."
        )
    place = {qubit: k for k, qubit in enumerate(qubits)}
    read = ((bit, place[q]) for bit, q in enumerate(sources) if q is not None)
    return bare, MeasuredBits(qubits, tuple(read))
