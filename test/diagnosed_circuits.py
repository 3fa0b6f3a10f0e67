# SPDX-License-Identifier: Apache-2.0
"""Circuits that the literature on diagnostics has numbers for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from qiskit.circuit import Parameter, QuantumCircuit

CHAIN = ((3, 2), (2, 1), (1, 0))
RING = ((3, 0), (2, 3), (1, 2), (0, 1))
OTHER_RING = ((3, 2), (0, 3), (1, 0), (2, 1))
ALL = tuple((a, b) for a in (3, 2, 1, 0) for b in (3, 2, 1, 0) if a != b)
BRICKS = ((1, 0), (3, 2), (2, 1))


class _Writer:
    def __init__(self) -> None:
        self.circuit = QuantumCircuit(4)
        self.names: Iterator[int] = itertools.count()

    def turn(self, letters: str, qubits: Iterable[int] = range(4)) -> None:
        for letter, q in itertools.product(letters, qubits):
            getattr(self.circuit, f"r{letter}")(self.angle(), q)

    def entangle(self, gate: str, pairs: Iterable[tuple[int, int]]) -> None:
        for pair in pairs:
            angles = [self.angle()] if gate in ("crx", "crz") else []
            getattr(self.circuit, gate)(*angles, *pair)

    def angle(self) -> Parameter:
        return Parameter(f"w{next(self.names)}")


def sim_circuit(number: int, layers: int = 1) -> QuantumCircuit:
    """Circuit 1 to 19 of S. Sim, P. D. Johnson and A. Aspuru-Guzik (2019), four qubits."""
    writer = _Writer()
    turn, entangle = writer.turn, writer.entangle
    for _ in range(layers):
        if number <= 4:
            turn("xz")
            gate = {1: "", 2: "cx", 3: "crz", 4: "crx"}[number]
            if gate:
                entangle(gate, CHAIN)
        elif number <= 8:
            gate = "crz" if number in (5, 7) else "crx"
            turn("xz")
            if number <= 6:
                entangle(gate, ALL)
                turn("xz")
            else:
                entangle(gate, BRICKS[:2])
                turn("xz")
                entangle(gate, BRICKS[2:])
        elif number == 9:
            writer.circuit.h(range(4))
            entangle("cz", CHAIN)
            turn("x")
        elif number == 10:
            turn("y")
            entangle("cz", (*CHAIN, (3, 0)))
            turn("y")
        elif number <= 12:
            gate = "cx" if number == 11 else "cz"
            turn("yz")
            entangle(gate, BRICKS[:2])
            turn("yz", (1, 2))
            entangle(gate, BRICKS[2:])
        elif number <= 15:
            gate = {13: "crz", 14: "crx", 15: "cx"}[number]
            turn("y")
            entangle(gate, RING)
            turn("y")
            entangle(gate, OTHER_RING)
        else:
            turn("xz")
            entangle("crz" if number in (16, 18) else "crx", BRICKS if number <= 17 else RING)
    return writer.circuit
