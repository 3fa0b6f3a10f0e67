# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the final state of a circuit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from qiskit.circuit import QuantumCircuit
from typing_extensions import override

from .observables import Layout, normalise_observables
from .readouts import Expectations, Readout


class Bound(NamedTuple):
    """A measurement of one circuit.

    Attributes:
        measurement: What is asked, with nothing left to find out about the circuit. It does not
            change when the circuit is transpiled.
        readout: What an engine reads for it, on the circuit's qubits.
        shape: The shape of the output of one row.
        circuit: The circuit without final measurements that said what is measured.
    """

    measurement: Measurement
    readout: Readout
    shape: tuple[int, ...]
    circuit: QuantumCircuit


class Measurement(ABC):
    """What is asked of the final state; see the page "Probabilities and samples".

    Attributes:
        is_read: Whether what an engine reads is the output already.
    """

    is_read: ClassVar[bool] = True

    @abstractmethod
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        """Check that a circuit can be measured like this, and return how.

        Args:
            circuit: The circuit, transpiled or not.
            layout: Whether qubits are ``"virtual"`` or ``"physical"`` ones; see
                :class:`.CircuitProgram`.
        """

    def describe(self, readout: Readout) -> str:
        """Return what is measured as ``print`` shows it of a program."""
        return f"measurement={self!r}"


class ExpectationValues(Measurement):
    """Expectation values of observables: what a module gives that is told no other measurement."""

    def __init__(self, observables: Any = None) -> None:
        self.observables = observables

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        operators, shape = normalise_observables(self.observables, circuit, layout)
        return Bound(EXPECTATION_VALUES, Expectations(operators), shape, circuit)

    @override
    def describe(self, readout: Readout) -> str:
        return f"observables={readout}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExpectationValues)  # which ones is a matter of the readout

    def __hash__(self) -> int:
        return hash(ExpectationValues)


EXPECTATION_VALUES = ExpectationValues()
"""What every program of observables measures; which ones is in its readout."""
