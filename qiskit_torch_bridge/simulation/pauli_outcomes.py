# SPDX-License-Identifier: Apache-2.0
r"""Probabilities of outcomes from a simulator that reads expectation values alone.

The probabilities of the outcomes :math:`i` of :math:`k` qubits are those of the strings of Z on
them, Walsh-Hadamard transformed,

.. math:: p_i = 2^{-k} \sum_z (-1)^{|i \wedge z|} \langle Z^z\rangle,

and what is read of them, :math:`f_o = \sum_{i \to o} p_i`, is linear in these:
:math:`f = A H e / 2^k` with the transform :math:`H`, which is symmetric, and the table :math:`A` of
what outcomes count for. So all derivatives of :math:`f` are those of the expectation values
:math:`e`, with the tangents transformed by :math:`A H / 2^k` and the cotangents by its transpose.

A parity is one string, whatever the number of qubits:
:math:`(1 \pm \langle Z \cdots Z\rangle) / 2`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from qiskit.quantum_info import PauliList, SparsePauliOp
from typing_extensions import override

from .. import memory
from ..arrays import BoolArray, ComplexArray, FloatArray, IntArray
from ..exceptions import MeasurementError
from ..program import AnalysedCircuit
from ..program.interpretations import Parity
from ..program.operators import walsh_hadamard
from ..program.readouts import Expectations, Outcomes
from .interface import Cost, Plan, Planner, Simulator

MOST_BITS = 12
"""With more qubits there would be too many strings of Z."""


class OutcomesPlan(NamedTuple):
    """How outcomes are read by a method for expectation values.

    Attributes:
        inner: The plan for the strings of Z.
        readout: What is read.
    """

    inner: Plan
    readout: Outcomes

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient of ``rows`` points take."""
        return _with_transform(self.inner.estimate(rows), rows, _transform_of(self.readout))

    def compile(self) -> PauliOutcomes:
        """Return the simulator."""
        return PauliOutcomes(self.inner.compile(), self.readout)


def plan_outcomes(
    plan: Planner,
    analysed: AnalysedCircuit,
    readout: Outcomes,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
) -> OutcomesPlan:
    """Plan to read outcomes by a method that reads expectation values alone.

    Args:
        plan: The method's planner.
        analysed: The circuit.
        readout: Which qubits are measured, and what their outcomes count for.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        dtype: ``complex128`` or ``complex64``.

    Raises:
        MeasurementError: If more than 12 qubits are measured, and not for their parity alone.
        CircuitError: What the planner raises.
    """
    strings = find_strings(readout, analysed.circuit.num_qubits)
    return OutcomesPlan(plan(analysed, strings, inputs, weights, dtype), readout)


class PauliOutcomes(Simulator):
    """Outcomes read by a simulator of expectation values, with all derivatives.

    Args:
        inner: The simulator of the strings that :func:`find_strings` names.
        readout: Which qubits are measured, and what their outcomes count for.

    Cost:
        That of the expectation values of ``2**k - 1`` strings of Z on ``k`` measured qubits, or of
        one for the parity of any number, and ``k * 2**k`` additions for each row.
    """

    def __init__(self, inner: Simulator, readout: Outcomes) -> None:
        memory.require_outputs(1, readout.size)
        self._transform = _transform_of(readout)
        self.inner = inner
        self.is_affine = inner.is_affine
        self.size = readout.size

    @override
    def estimate(self, rows: int) -> Cost:
        return _with_transform(self.inner.estimate(rows), rows, self._transform)

    @override
    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        evs, kept = self.inner.evaluate(x, w, keep)
        return self._transform.apply(evs, 1.0), kept

    @override
    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        return self._transform.apply(self.inner.evaluate_separately(x, w), 1.0)

    @override
    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        return self.inner.vjp(x, w, self._transform.pull_back(cotangent), kept, wanted)

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        return self._transform.apply(self.inner.tangent(x, w, dx, dw), 0.0)

    @override
    def vjp_tangent(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        dx: FloatArray,
        dw: FloatArray,
        dcotangent: FloatArray,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        back = self._transform.pull_back
        return self.inner.vjp_tangent(x, w, back(cotangent), dx, dw, back(dcotangent), wanted)

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        self.inner.check_derivatives(x, w, wanted)

    @override
    def states(self, x: FloatArray, w: FloatArray) -> ComplexArray:
        return self.inner.states(x, w)

    @override
    def tangent_states(
        self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray
    ) -> tuple[ComplexArray, ComplexArray]:
        return self.inner.tangent_states(x, w, dx, dw)


def find_strings(readout: Outcomes, num_qubits: int) -> Expectations:
    """Return the strings of Z whose expectation values give what is read of outcomes.

    They are all those on the measured qubits but the empty one, in the order of the numbers whose
    bit ``j`` says whether ``readout.qubits[j]`` has a Z; for a parity the longest one alone.

    Args:
        readout: What is read.
        num_qubits: On how many qubits the circuit is.

    Raises:
        MeasurementError: If there are too many.
    """
    bits = len(readout.qubits)
    z: BoolArray
    if isinstance(readout.interpretation, Parity):
        z = np.ones((min(bits, 1), bits), dtype=bool)
    elif bits > MOST_BITS:
        raise MeasurementError(
            f"Expected at most {MOST_BITS} measured qubits where no state vector is held, since "
            "their probabilities take the expectation values of all 2**k products of Z on them; "
            f"got {bits}. Measure fewer qubits, take interpret='parity', which is one product, or "
            "draw samples: give shots=, a sampler as estimator=, or a backend."
        )
    else:
        z = (np.arange(1, 1 << bits)[:, None] >> np.arange(bits) & 1).astype(bool)
    table = np.zeros((len(z), num_qubits), dtype=bool)
    table[:, list(readout.qubits)] = z
    paulis = PauliList.from_symplectic(table, np.zeros_like(table))
    return Expectations(tuple(SparsePauliOp(pauli) for pauli in paulis))


class _Transform(ABC):
    """A linear map from the expectation values of strings, and of none, to what is read.

    Attributes:
        numbers: How many numbers it takes and gives for each row.
    """

    numbers: int

    @abstractmethod
    def apply(self, evs: FloatArray, unit: float) -> FloatArray:
        """Return what ``evs`` ``(B, K)`` make, with so much for the empty string: ``(B, S)``."""

    @abstractmethod
    def pull_back(self, cotangent: FloatArray) -> FloatArray:
        """Return the cotangent ``(B, K)`` of expectation values for one of ``(B, S)``."""


def _with_transform(inner: Cost, rows: int, transform: _Transform) -> Cost:
    """Return the cost of expectation values together with that of the transform."""
    numbers = rows * transform.numbers
    return Cost(inner.bytes + 8 * numbers, inner.operations + numbers)


def _transform_of(readout: Outcomes) -> _Transform:
    """Return the map to what is read."""
    bits, interpretation = len(readout.qubits), readout.interpretation
    if isinstance(interpretation, Parity):
        return _ParityTransform(bits, interpretation.size)
    return _OutcomeTransform(
        bits, None if interpretation is None else interpretation.table(bits), readout.size
    )


class _OutcomeTransform(_Transform):
    """The probabilities of all outcomes of ``bits`` qubits, summed where they count alike."""

    def __init__(self, bits: int, table: IntArray | None, size: int) -> None:
        self._bits, self._table, self._size = bits, table, size
        self.numbers = (2 << bits) + size

    @override
    def apply(self, evs: FloatArray, unit: float) -> FloatArray:
        whole = np.empty((1 << self._bits, len(evs)))
        whole[0], whole[1:] = unit, evs.T
        found = walsh_hadamard(whole) / (1 << self._bits)
        if self._table is not None:
            outcomes, found = found, np.zeros((self._size, len(evs)))
            np.add.at(found, self._table, outcomes)
        return np.ascontiguousarray(found.T)

    @override
    def pull_back(self, cotangent: FloatArray) -> FloatArray:
        by_outcome = cotangent.T if self._table is None else cotangent.T[self._table]
        return np.ascontiguousarray(walsh_hadamard(by_outcome)[1:].T / (1 << self._bits))


class _ParityTransform(_Transform):
    """Whether the number of ones is even or odd; further outputs are never counted."""

    def __init__(self, bits: int, size: int) -> None:
        self._has_string, self._size = bits > 0, size
        self.numbers = size + 1

    @override
    def apply(self, evs: FloatArray, unit: float) -> FloatArray:
        found = np.zeros((len(evs), self._size))
        parity = evs[:, 0] if self._has_string else np.full(len(evs), unit)
        found[:, 0], found[:, 1] = (unit + parity) / 2, (unit - parity) / 2
        return found

    @override
    def pull_back(self, cotangent: FloatArray) -> FloatArray:
        by_string = (cotangent[:, :1] - cotangent[:, 1:2]) / 2
        return np.ascontiguousarray(by_string[:, : int(self._has_string)])
