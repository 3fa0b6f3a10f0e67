# SPDX-License-Identifier: Apache-2.0
"""What a tape is made of, and which of Qiskit's gates become which of it.

Three things are left of every circuit of unitary gates: Pauli rotations, which may depend on
parameters; Clifford gates, which are absorbed; and fixed matrices.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from qiskit.circuit import Barrier, Delay, Operation, library
from qiskit.circuit.library import Initialize, PauliEvolutionGate, StatePreparation, UnitaryGate
from qiskit.quantum_info import Operator

from ...arrays import ComplexArray
from ...program.amplitudes import AmplitudePreparation
from ...program.definitions import class_of
from ...program.evolutions import (
    TIMED,
    ProductFormula,
    TermRotation,
    generator_of,
    has_commuting_projectors,
    is_commuting,
)
from ...program.expressions import expressions_of
from .paulis import PauliString

Turn = tuple[str, int]
"""A rotation by whole quarter turns: letters of a Pauli string on the gate's qubits, and turns."""

CLIFFORDS: dict[type[Operation], tuple[Turn, ...]] = {
    library.XGate: (("X", 2),),
    library.YGate: (("Y", 2),),
    library.ZGate: (("Z", 2),),
    library.HGate: (("Z", 2), ("Y", 1)),
    library.SGate: (("Z", 1),),
    library.SdgGate: (("Z", 3),),
    library.SXGate: (("X", 1),),
    library.SXdgGate: (("X", 3),),
    library.CXGate: (("ZI", 1), ("IX", 1), ("ZX", 3)),
    library.CYGate: (("ZI", 1), ("IY", 1), ("ZY", 3)),
    library.CZGate: (("ZI", 1), ("IZ", 1), ("ZZ", 3)),
    library.SwapGate: (("XX", 3), ("YY", 3), ("ZZ", 3)),
}
"""Clifford gates as products of quarter turns, up to a phase; others follow their definition."""

ROTATIONS: dict[type[Operation], str] = {
    library.RXGate: "X",
    library.RYGate: "Y",
    library.RZGate: "Z",
    library.PhaseGate: "Z",
    library.U1Gate: "Z",
    library.RXXGate: "XX",
    library.RYYGate: "YY",
    library.RZZGate: "ZZ",
    library.RZXGate: "ZX",
}
"""Gates that are one Pauli rotation, up to a phase: the letters on the gate's qubits."""

PHASED = (library.PhaseGate, library.U1Gate)
"""Those of them that have half of their angle as a phase beside the rotation."""

EULER: dict[type[Operation], tuple[int | None, int, int]] = {
    library.UGate: (0, 1, 2),
    library.U3Gate: (0, 1, 2),
    library.U2Gate: (None, 0, 1),
}
"""Gates that are RZ(phi) RY(theta) RZ(lambda): the places of their three angles. They have half of
phi plus lambda as a phase beside these."""

_CONTROLLED = (library.CXGate, library.CYGate, library.CZGate)

NOTHING = (Barrier, Delay, library.GlobalPhaseGate, library.IGate)


class Angle(NamedTuple):
    """``offset`` plus the sum of ``scale * angle[source]`` over the terms ``(source, scale)``.

    Sources are angles of a tape's :class:`.AngleMap`.
    """

    offset: float = 0.0
    terms: tuple[tuple[int, float], ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether it depends on no parameter."""
        return not self.terms

    def plus(self, other: Angle, factor: float = 1.0) -> Angle:
        """Return the sum with ``factor`` times another angle; terms of one source are added."""
        scales = dict(self.terms)
        for source, scale in other.terms:
            scales[source] = scales.get(source, 0.0) + factor * scale
        terms = tuple((source, scale) for source, scale in scales.items() if scale)
        return Angle(self.offset + factor * other.offset, terms)


class Rotation(NamedTuple):
    r"""The gate :math:`e^{-i\,\mathrm{angle}\,P/2}` with a Hermitian Pauli string."""

    pauli: PauliString
    angle: Angle


@dataclass(frozen=True)
class FixedMatrix:
    """A unitary matrix ``(2**k, 2**k)`` on bits of the state, the first bit least significant."""

    bits: tuple[int, ...]
    matrix: ComplexArray


@dataclass(frozen=True)
class Preparation:
    """Amplitudes ``(2**k,)`` for bits that nothing has acted on before.

    Attributes:
        bits: The bits.
        amplitudes: Their amplitudes; none if these depend on parameters.
        numbers: What is to be normalised then: amplitudes, or real parts and imaginary parts.
    """

    bits: tuple[int, ...]
    amplitudes: ComplexArray
    numbers: tuple[Angle, ...] = ()

    def on(self, bits: tuple[int, ...]) -> Preparation:
        """Return the same for other bits."""
        return replace(self, bits=bits)


def is_simple(operation: Operation) -> bool:
    """Whether an operation is in one of the tables above."""
    kind = class_of(operation)
    if kind in ROTATIONS or kind in EULER:
        return True
    # An open control is another gate.
    return kind in CLIFFORDS and (kind not in _CONTROLLED or operation.ctrl_state == 1)


def accepts_tape(operation: Operation) -> bool:
    """Accept what the tape takes as it is; everything else follows its definition."""
    if is_simple(operation) or isinstance(operation, NOTHING):
        return True
    if isinstance(operation, AmplitudePreparation):
        return bool(expressions_of(operation))
    if isinstance(operation, TIMED):
        return expand_evolution(operation) is not None
    if expressions_of(operation) or class_of(operation) in CLIFFORDS:
        return False
    if isinstance(operation, (Initialize, StatePreparation)):
        return find_prepared_amplitudes(operation) is not None
    return isinstance(operation, UnitaryGate) or (
        operation.num_qubits == 1 and hasattr(operation, "__array__")
    )


def expand_evolution(
    operation: PauliEvolutionGate | ProductFormula,
) -> list[TermRotation] | None:
    """Return the rotations that an evolution is; ``None`` if it is better taken by definition."""
    if isinstance(operation, ProductFormula):
        return operation.rotations
    if has_commuting_projectors(operation):
        return None
    operator = generator_of(operation)
    if not is_commuting(operator):
        return None
    return [(letters, on, 2 * c.real) for letters, on, c in operator.to_sparse_list()]


def find_prepared_amplitudes(operation: Operation) -> ComplexArray | None:
    """Return the amplitudes that a state preparation makes from zeros, if they are known."""
    if isinstance(operation, Initialize):  # resets, and a preparation
        (operation,) = (
            i.operation
            for i in operation.definition.data
            if isinstance(i.operation, StatePreparation)
        )
        if len(operation.params) != 1 << operation.num_qubits:  # labels, or a whole number
            return np.asarray(Operator(operation).data[:, 0])
    if operation.name != "state_preparation":
        return None  # an inverse, for instance
    amplitudes = np.asarray(operation.params)
    if amplitudes.dtype.kind not in "cif" or amplitudes.shape != (1 << operation.num_qubits,):
        return None
    return amplitudes.astype(complex)


def count_quarter_turns(angle: float) -> int | None:
    """Return an angle as a number of quarter turns modulo four, if it is a whole number."""
    turns = angle / (math.pi / 2)
    whole = round(turns)
    return whole % 4 if abs(turns - whole) < 1e-14 * max(1.0, abs(turns)) else None


def find_euler_angles(matrix: ComplexArray) -> tuple[float, float, float]:
    """Return theta, phi, lambda with ``matrix ~ RZ(phi) RY(theta) RZ(lambda)`` up to a phase."""
    theta = 2 * math.atan2(abs(matrix[1, 0]), abs(matrix[0, 0]))
    if abs(matrix[1, 0]) < 1e-15:
        return 0.0, cmath.phase(matrix[1, 1]) - cmath.phase(matrix[0, 0]), 0.0
    if abs(matrix[0, 0]) < 1e-15:
        return math.pi, cmath.phase(matrix[1, 0]) - cmath.phase(-matrix[0, 1]), 0.0
    phi = cmath.phase(matrix[1, 0]) - cmath.phase(matrix[0, 0])
    return theta, phi, cmath.phase(matrix[1, 1]) - cmath.phase(matrix[1, 0])
