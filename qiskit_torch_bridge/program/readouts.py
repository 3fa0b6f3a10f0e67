# SPDX-License-Identifier: Apache-2.0
r"""What an engine reads from the final state of a circuit: real numbers, so many for each row.

A measurement (:mod:`.measurements`) is what a user asks for; its readout is the part of it that is
done where the circuit runs. There are three, each linear in the state or its density matrix, so
that derivatives of all of them take one adjoint sweep, or one job of shift points:

* :class:`Expectations`: :math:`\langle\psi|O|\psi\rangle`,
* :class:`Outcomes`: :math:`\sum_i |\langle i|\psi\rangle|^2` over the outcomes that count alike,
* :class:`Amplitudes`: :math:`\operatorname{Re}` and :math:`\operatorname{Im}` of
  :math:`\langle i|\psi\rangle`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.transpiler import TranspileLayout
from typing_extensions import override

from ..arrays import IntArray
from .operators import Observable, acted_on, axes_of, restrict_operator, same_operator

MEASURED = "meas"
"""The classical register that outcomes are read into."""


class Readout(ABC):
    """What is read of a final state, on the qubits of one circuit.

    Attributes:
        size: How many real numbers there are for each row.
        operators: The observables, if it is these that are read.
        measured: The qubits that are read although perhaps no gate acts on them.
        is_expectation: Whether they are expectation values, or probabilities, which are those of
            projectors: quadratic in the state, so that shift rules apply.
    """

    is_expectation: ClassVar[bool] = True
    operators: tuple[Observable, ...] = ()
    measured: tuple[int, ...] = ()

    @property
    @abstractmethod
    def size(self) -> int:
        """The numbers for each row."""

    @property
    def depends_on(self) -> frozenset[int]:
        """The qubits whose density matrix tells all that is read."""
        return frozenset(self.measured)

    @abstractmethod
    def axes_read(self, num_qubits: int) -> dict[int, str]:
        """Return the axes in which qubits are read: ``"Z"`` if it is that one alone, or ``"*"``."""

    @property
    def bits_read(self) -> tuple[int, ...]:
        """The classical bits that are read, by their indices."""
        return ()

    @abstractmethod
    def of_deferred(self, ancillas: range, qubit_of: Mapping[int, int]) -> Readout:
        """Return what is read instead of a circuit whose measurements have been deferred.

        Args:
            ancillas: The qubits that it has behind those of the circuit.
            qubit_of: The qubits that end with the values of classical bits.
        """

    @abstractmethod
    def apply_layout(self, layout: TranspileLayout, num_qubits: int) -> Readout:
        """Return what is read of the transpiled circuit instead."""

    @abstractmethod
    def restrict(self, kept: Sequence[int]) -> Readout:
        """Return it on the qubits ``kept``, numbered anew; the others are in state zero."""

    def difference(self, other: Readout) -> str | None:
        """Name the first thing in which two readouts differ; ``None`` if they are equal."""
        return None if self == other else f"readout: {self} against {other}"


@dataclass(frozen=True)
class Expectations(Readout):
    """Expectation values of Hermitian operators on the circuit's qubits: ``(B, O)``."""

    operators: tuple[Observable, ...]

    @property
    @override
    def size(self) -> int:
        return len(self.operators)

    @property
    @override
    def depends_on(self) -> frozenset[int]:
        return frozenset().union(*map(acted_on, self.operators))

    @override
    def axes_read(self, num_qubits: int) -> dict[int, str]:
        axes: dict[int, str] = {}
        for operator in self.operators:
            x, z = axes_of(operator)
            axes.update((int(q), "*") for q in np.flatnonzero(x.any(axis=0)))
            for q in np.flatnonzero(z.any(axis=0)):
                axes.setdefault(int(q), "Z")
        return axes

    @override
    def of_deferred(self, ancillas: range, qubit_of: Mapping[int, int]) -> Expectations:
        places = list(range(ancillas.start))
        return Expectations(tuple(o.apply_layout(places, ancillas.stop) for o in self.operators))

    @override
    def apply_layout(self, layout: TranspileLayout, num_qubits: int) -> Expectations:
        return Expectations(tuple(o.apply_layout(layout, num_qubits) for o in self.operators))

    @override
    def restrict(self, kept: Sequence[int]) -> Expectations:
        return Expectations(tuple(restrict_operator(o, kept) for o in self.operators))

    @override
    def difference(self, other: Readout) -> str | None:
        if len(self.operators) != len(other.operators):
            return f"observables: {self} against {other}"
        for own, others in zip(self.operators, other.operators, strict=True):
            if not same_operator(own, others):
                return f"observables: {brief(own)} against {brief(others)}"
        return None

    def __str__(self) -> str:
        return f"[{', '.join(map(brief, self.operators))}]"


class Interpretation(ABC):
    """Which of ``size`` outputs each outcome of ``k`` bits counts for."""

    size: int

    @abstractmethod
    def table(self, num_bits: int) -> IntArray:
        """Return the outputs of all outcomes in order: ``(2**k,)``."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return it as JSON has it."""

    @property
    @abstractmethod
    def mark(self) -> str:
        """A short text that is the same for equal ones, in every process."""

    @abstractmethod
    def of_packed(self, packed: NDArray[np.uint8], num_bits: int) -> IntArray:
        """Return the outputs of outcomes ``(..., bytes)`` that are packed as in a ``BitArray``."""


@dataclass(frozen=True)
class Outcomes(Readout):
    """Probabilities of the outcomes of some qubits, ``(B, 2**k)``, or of what they count for.

    Attributes:
        qubits: Bit ``j`` of an outcome is the one of ``qubits[j]``: bit 0 comes last in a bit
            string.
        interpretation: What each outcome counts for; ``None`` if each is an output of its own.
    """

    qubits: tuple[int, ...]
    interpretation: Interpretation | None = None

    @property
    @override
    def size(self) -> int:
        return 1 << len(self.qubits) if self.interpretation is None else self.interpretation.size

    @property
    def measured(self) -> tuple[int, ...]:  # type: ignore[override]
        """All qubits that are measured."""
        return self.qubits

    @override
    def axes_read(self, num_qubits: int) -> dict[int, str]:
        return dict.fromkeys(self.qubits, "Z")

    @override
    def of_deferred(self, ancillas: range, qubit_of: Mapping[int, int]) -> Outcomes:
        return self

    @override
    def apply_layout(self, layout: TranspileLayout, num_qubits: int) -> Outcomes:
        return Outcomes(_places(self.qubits, layout), self.interpretation)

    @override
    def restrict(self, kept: Sequence[int]) -> Outcomes:
        return Outcomes(_renumber(self.qubits, kept), self.interpretation)

    def measure(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit with bit ``j`` of a new classical register measured on ``qubits[j]``.

        It is the last of the registers, after those that the circuit has of its own.
        """
        measured = circuit.copy()
        register = ClassicalRegister(len(self.qubits), free_register_name(circuit))
        measured.add_register(register)
        measured.measure(list(self.qubits), list(register))
        return measured


def free_register_name(circuit: QuantumCircuit) -> str:
    """Return a name for a register to measure into that none of the circuit's has."""
    taken, name = {register.name for register in circuit.cregs}, MEASURED
    while name in taken:
        name += "_"
    return name


@dataclass(frozen=True)
class RecordedBits(Readout):
    """Probabilities of what classical bits hold in the end, ``(B, 2**k)``, or of what that is for.

    Attributes:
        bits: Bit ``j`` of an outcome is the classical bit ``bits[j]`` of the circuit.
        interpretation: What each outcome counts for; ``None`` if each is an output of its own.
    """

    bits: tuple[int, ...]
    interpretation: Interpretation | None = None

    @property
    @override
    def size(self) -> int:
        return 1 << len(self.bits) if self.interpretation is None else self.interpretation.size

    @property
    @override
    def bits_read(self) -> tuple[int, ...]:
        return self.bits

    @override
    def axes_read(self, num_qubits: int) -> dict[int, str]:
        return {}

    @override
    def of_deferred(self, ancillas: range, qubit_of: Mapping[int, int]) -> Outcomes:
        return Outcomes(tuple(qubit_of[bit] for bit in self.bits), self.interpretation)

    @override
    def apply_layout(self, layout: TranspileLayout, num_qubits: int) -> RecordedBits:
        return self  # transpilers leave classical bits where they are

    @override
    def restrict(self, kept: Sequence[int]) -> RecordedBits:
        return self


@dataclass(frozen=True)
class Amplitudes(Readout):
    """Amplitudes of the state, ``(B, 2 * 2**k)``: real and imaginary parts in turn.

    Attributes:
        qubits: Bit ``j`` of an amplitude's index is the one of ``qubits[j]``. All other qubits are
            in state zero.
    """

    is_expectation = False

    qubits: tuple[int, ...]

    @property
    @override
    def size(self) -> int:
        return 2 << len(self.qubits)

    @override
    def axes_read(self, num_qubits: int) -> dict[int, str]:
        return dict.fromkeys(range(num_qubits), "*")

    @override
    def of_deferred(self, ancillas: range, qubit_of: Mapping[int, int]) -> Amplitudes:
        return Amplitudes((*self.qubits, *ancillas))

    @override
    def apply_layout(self, layout: TranspileLayout, num_qubits: int) -> Amplitudes:
        return Amplitudes(_places(self.qubits, layout))

    @override
    def restrict(self, kept: Sequence[int]) -> Amplitudes:
        return Amplitudes(_renumber(self.qubits, kept))


def _places(qubits: Sequence[int], layout: TranspileLayout) -> tuple[int, ...]:
    index = layout.final_index_layout()
    return tuple(index[q] for q in qubits)


def _renumber(qubits: Sequence[int], kept: Sequence[int]) -> tuple[int, ...]:
    place = {q: i for i, q in enumerate(kept)}
    return tuple(place[q] for q in qubits)


def brief(operator: Observable) -> str:
    """A short text for an operator: all of a few terms, the number of many."""
    if len(operator) > 3:
        return f"<{len(operator)} terms>"
    parts = [label if c == 1 else f"{c.real:g}*{label}" for label, c in operator.to_list()]
    return " + ".join(parts)
