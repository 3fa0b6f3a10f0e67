# SPDX-License-Identifier: Apache-2.0
r"""Preparing a state whose amplitudes are parameters: the gate, and the rotations that it is.

A vector :math:`x` of :math:`2^n` real numbers, or of as many real and imaginary parts, stands for
the state

.. math:: |\psi\rangle = \frac{1}{\lVert x\rVert} \sum_k x_k\, |k\rangle,

amplitude ``k`` belonging to the basis state whose bit ``j`` is qubit ``j``, as in Qiskit's
``Statevector``. From zeros it is made by multiplexed rotations: qubit by qubit from the last one, a
rotation about Y whose angle depends on the qubits before, and likewise rotations about Z for the
phases. A rotation with :math:`2^k` angles is as many plain ones with a CX after each, whose angles
are the Walsh-Hadamard transform of these in the order of Gray's code.

References:
    M. Mottonen, J. J. Vartiainen, V. Bergholm, M. M. Salomaa, "Transformation of quantum states
    using uniformly controlled rotations", Quantum Inf. Comput. 5, 467 (2005),
    arXiv:quant-ph/0407010.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Gate, ParameterExpression, ParameterVector, QuantumCircuit
from qiskit.circuit.library import StatePreparation

from ..arguments import as_real, require_bool, shown
from ..arrays import ComplexArray, FloatArray, N
from ..exceptions import CircuitError
from .angle_map import take_entries
from .expressions import Angle, expressions_of

MOST_QUBITS = 20
"""With more, a circuit would have millions of parameters."""

NAMES = {False: "amplitudes", True: "complex_amplitudes"}
"""The name of the gate, by whether there are imaginary parts."""


class AmplitudePreparation(Gate):
    r"""The gate that prepares a state from zeros, its amplitudes being parameters.

    Whatever numbers are bound, the state is divided by its norm. The exact engine takes the
    amplitudes as they are, and differentiates with respect to them; for estimators and samplers
    a program has multiplexed rotations in its place (see :mod:`.amplitudes`). It has to be the
    first gate on its qubits. With numbers for all parameters it is Qiskit's ``StatePreparation``.

    Args:
        amplitudes: ``2**n`` parameters, parameter expressions or real numbers, in the order of
            ``Statevector.data``; with imaginary parts ``2 * 2**n``, first all real parts.
        is_complex: Whether there are imaginary parts.

    Raises:
        CircuitError: If there are not so many, if one is neither an expression nor real, or if all
            are zero.

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import AmplitudePreparation
        >>> x, circuit = ParameterVector("x", 4), QuantumCircuit(2)
        >>> _ = circuit.append(AmplitudePreparation(x), [0, 1])
        >>> print(circuit)
             ┌──────────────────────────────────┐
        q_0: ┤0                                 ├
             │  Amplitudes(x[0],x[1],x[2],x[3]) │
        q_1: ┤1                                 ├
             └──────────────────────────────────┘
    """

    def __init__(
        self,
        amplitudes: Sequence[ParameterExpression | float],
        is_complex: bool = False,
    ) -> None:
        require_bool(is_complex, "is_complex", error=CircuitError)
        anything: Any = amplitudes
        listed = isinstance(anything, (list, tuple, ParameterVector, np.ndarray))
        given: list[ParameterExpression | float] = list(anything) if listed else []
        count = len(given) // (1 + is_complex)
        num_qubits = count.bit_length() - 1
        if not (1 <= num_qubits <= MOST_QUBITS and (1 + is_complex) << num_qubits == len(given)):
            wanted = "2 * 2**n (real parts, then imaginary parts)" if is_complex else "2**n"
            raise CircuitError(
                f"Expected amplitudes to be a list of {wanted} parameters, expressions or numbers, "
                f"n being the number of qubits; got {shown(anything)}."
            )
        for value in given:
            if not isinstance(value, ParameterExpression) and not math.isfinite(as_real(value)):
                raise CircuitError(
                    "Expected amplitudes to be parameters, parameter expressions or finite real "
                    f"numbers; got {shown(value)}."
                )
        if all(not isinstance(value, ParameterExpression) and not value for value in given):
            raise CircuitError(f"Expected amplitudes of which one is not zero; got {shown(given)}.")
        self.is_complex = is_complex
        super().__init__(NAMES[is_complex], num_qubits, given)

    def _define(self) -> None:
        if expressions_of(self):
            return  # what rotations they are is told by numbers alone
        definition = QuantumCircuit(self.num_qubits)
        amplitudes = unit_vector(np.array([float(p) for p in self.params]), self.is_complex)
        definition.append(StatePreparation(amplitudes), definition.qubits)
        self.definition = definition


def unit_vector(numbers: FloatArray, is_complex: bool) -> ComplexArray:
    """Return the amplitudes ``(..., 2**n)`` that numbers ``(..., V)`` stand for.

    Raises:
        CircuitError: If they have no norm.
    """
    scale: FloatArray = np.abs(numbers).max(-1, keepdims=True)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise CircuitError(
            "Expected the amplitudes of a state to be finite numbers, not all of them zero."
        )
    scaled = numbers / scale
    scaled = scaled / np.sqrt((scaled * scaled).sum(-1, keepdims=True))
    half = numbers.shape[-1] // 2
    found: ComplexArray = (
        scaled[..., :half] + 1j * scaled[..., half:] if is_complex else scaled.astype(complex)
    )
    return found


def count_angles(num_qubits: int, is_complex: bool) -> int:
    """Return how many angles the rotations have."""
    return (1 + is_complex) * ((1 << num_qubits) - 1)


def rotation_angles(numbers: N, is_complex: bool, m: Any = np) -> N:
    """Return the angles ``(..., A)`` of the rotations that prepare vectors ``(..., V)``.

    Where a part of the vector is zero, the angles inside of it have no influence: they are zero,
    and have no derivative.

    Args:
        numbers: Real parts, and imaginary parts behind them if there are phases.
        is_complex: Whether there are.
        m: NumPy or torch.

    Returns:
        Those about Y for the last qubit, the one before, ..., the first; then those about Z.
    """
    angles: list[N] = []
    if is_complex:
        half = numbers.shape[-1] // 2
        real, imaginary = numbers[..., :half], numbers[..., half:]
        phases: N = m.arctan2(imaginary, real)
        sizes: list[N] = [m.hypot(real, imaginary)]
    else:
        sizes = [numbers]
    while sizes[-1].shape[-1] > 2:
        even, odd = _halves(sizes[-1])
        sizes.append(m.hypot(even, odd))
    for size in reversed(sizes):
        even, odd = _halves(size)
        angles.append(_multiplexed(2 * m.arctan2(odd, even), m))
    if is_complex:
        while phases.shape[-1] > 1:
            even, odd = _halves(phases)
            angles.append(_multiplexed(odd - even, m))
            phases = (even + odd) / 2
    joined: N = m.concatenate(angles, -1)
    return joined


def write_rotations(num_qubits: int, is_complex: bool, angles: Sequence[Angle]) -> QuantumCircuit:
    """Return the circuit of the rotations with the angles of :func:`rotation_angles`.

    It prepares the state up to a global phase, from ``2**n`` CX less two; twice as many with
    phases.
    """
    circuit, left = QuantumCircuit(num_qubits), iter(angles)
    for target in reversed(range(num_qubits)):
        _multiplex(circuit, circuit.ry, target, left)
    for target in range(num_qubits) if is_complex else ():
        _multiplex(circuit, circuit.rz, target, left)
    return circuit


def _multiplex(
    circuit: QuantumCircuit,
    rotate: Callable[[Angle, int], object],
    target: int,
    angles: Iterator[Angle],
) -> None:
    """Append a rotation whose angle depends on all qubits after the target."""
    controls = circuit.num_qubits - 1 - target
    for step in range(1 << controls):
        rotate(next(angles), target)
        if controls:
            # The bit in which Gray's code changes: the last bit of all goes back to the beginning.
            changed = min((step + 1 & -(step + 1)).bit_length(), controls) - 1
            circuit.cx(target + 1 + changed, target)


def _multiplexed(angles: N, m: Any) -> N:
    """Return the angles of plain rotations for those by the state of the controls, ``(..., N)``."""
    count = angles.shape[-1]
    for bit in range(count.bit_length() - 1):
        pairs = angles.reshape((*angles.shape[:-1], -1, 2, 1 << bit))
        zero, one = pairs[..., 0, :], pairs[..., 1, :]
        both: N = m.stack([(zero + one) / 2, (zero - one) / 2], -2)
        angles = both.reshape((*both.shape[:-3], count))
    steps = np.arange(count)
    return take_entries(angles, steps ^ (steps >> 1), m)


def _halves(vector: N) -> tuple[N, N]:
    return vector[..., 0::2], vector[..., 1::2]
