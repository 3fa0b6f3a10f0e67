# SPDX-License-Identifier: Apache-2.0
r"""What a simulator offers, and which simulators there are.

A simulator is compiled from a circuit and a :class:`.Readout`. It takes inputs ``x`` of shape
``(B, I)`` and weights ``w`` of shape ``(1, W)``, which all rows share, or ``(B, W)``, and gives the
``S`` real numbers ``(B, S)`` that are read of each state, and their derivatives with respect to
``x`` and ``w``, whatever the circuit's parameter expressions are. With :math:`f(x, w)` these
numbers and :math:`c` a cotangent ``(B, S)``:

* ``evaluate``: :math:`f`,
* ``vjp``: :math:`g = J^T c`,
* ``tangent``: :math:`J\,(\dot x, \dot w)`,
* ``vjp_tangent``: the derivative of :math:`g` along :math:`\dot x, \dot w, \dot c`; with
  :math:`\dot c = 0` the product of a Hessian and a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike

from ..arrays import BoolArray, ComplexArray, FloatArray, IntArray
from ..exceptions import CircuitError, MeasurementError
from ..program import AnalysedCircuit
from ..program.readouts import Readout

NO_STATES = (
    "Amplitudes are read of a state vector alone; this circuit is simulated without one. Use "
    "Exact(method='statevector')."
)


class Cost(NamedTuple):
    """What values and a gradient take.

    Attributes:
        bytes: Of memory.
        operations: About how many complex multiplications: as many as take the time of those by
            which the state vector's kernels change amplitudes.
    """

    bytes: int
    operations: float


class Simulator(Protocol):
    """Evaluates and differentiates what is read of one circuit's state, over batches of values.

    Every method takes contiguous arrays of ``float64``, and raises

    * :class:`.InputError` where values, or the angles that they give, are not finite,
    * :class:`.ExpressionError` where a parameter expression has no value, or no derivative along a
      tangent,
    * :class:`.MemoryLimitError` where there is too little memory,
    * :class:`.CircuitError` where amplitudes are read and qubits left out are not in state zero.

    Gradients are not finite where an expression has no derivative: who asks for more of them than
    are used in the end finds out by :meth:`check_derivatives`.

    Attributes:
        is_affine: Whether every expression is affine, so that derivatives exist everywhere.
    """

    is_affine: bool

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient of ``rows`` points take; nothing is allocated."""

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        """Return what is read of the states, ``(B, S)``, and what a following :meth:`vjp` can use.

        The latter is the simulator's own, and ``None`` unless it is to be kept and there is any.
        """

    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        """Return what :meth:`evaluate` does, up to rounding.

        A row is the same to the last bit, however many others are evaluated with it.
        """
        rows = [slice(k, k + 1) for k in range(len(x))]
        if len(rows) < 2:
            return self.evaluate(x, w)[0]
        return np.concatenate([self.evaluate(x[r], w if len(w) == 1 else w[r])[0] for r in rows])

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        """Return the gradients with respect to ``x`` and ``w``, in their shapes.

        Args:
            x: Shape ``(B, I)``.
            w: Shape ``(1, W)`` or ``(B, W)``.
            cotangent: Weights of what is read, ``(B, S)``.
            kept: What :meth:`evaluate` has returned at the same ``x`` and ``w``.
            wanted: Whether the gradients with respect to ``x`` and to ``w`` are needed. The others
                are zero.
        """

    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives ``(B, S)`` of what is read along ``dx`` and ``dw``.

        Expressions need no derivative with respect to what does not move.
        """

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
        """Return the derivatives of :meth:`vjp` along ``dx``, ``dw`` and ``dcotangent``."""

    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        """Raise :class:`.ExpressionError` where a wanted derivative of an expression is singular.

        First derivatives are looked at, and then second ones.
        """

    def states(self, x: FloatArray, w: FloatArray) -> ComplexArray:
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated.

        Raises:
            MeasurementError: If the method has no state vectors, as most have none.
        """
        raise MeasurementError(NO_STATES)

    def tangent_states(
        self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray
    ) -> tuple[ComplexArray, ComplexArray]:
        """Return :meth:`states` and their derivatives along ``dx`` and ``dw``."""
        raise MeasurementError(NO_STATES)


class TooExpensive(CircuitError):
    """A plan was given up because it takes more operations than are of interest.

    Args:
        message: What takes so much.
        terms: Which terms of all operators in a row are known to do so, each alone: ``(K,)``.
    """

    def __init__(self, message: str, terms: BoolArray) -> None:
        super().__init__(message)
        self.terms = terms


class Plan(Protocol):
    """How a method would simulate a circuit: what is known before anything large is allocated.

    Plans are made by functions that take what a simulator is made of, and cost no more than reading
    the circuit. They raise :class:`.CircuitError` where the method cannot read what is asked for.
    """

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient of ``rows`` points take."""

    def compile(self) -> Simulator:
        """Return the simulator.

        Raises:
            MemoryLimitError: If there is too little memory, before it is allocated.
        """


class Planner(Protocol):
    """Plans the simulation of a circuit by one method."""

    def __call__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> Plan:
        """Return the plan, or raise :class:`.CircuitError`: arguments as of a simulator."""


@runtime_checkable
class GroupedPlan(Plan, Protocol):
    """A plan that simulates each group of terms on its own, so that others can take some of them.

    Only a plan for :class:`.Expectations` is one.
    """

    def groups(self) -> tuple[IntArray, FloatArray]:
        """Return the group of each term, and how many operations each group takes for one row.

        Returns:
            The terms of all operators in a row, ``(K,)``: the number of each one's group, and -1
            where nothing is simulated; and the operations by group, ``(G,)``.
        """


@runtime_checkable
class BoundedPlan(Plan, Protocol):
    """A plan whose estimate takes a search, so that it is asked for something simpler before."""

    def takes_more_than(self, operations: float, rows: int) -> bool:
        """Whether a gradient of ``rows`` points is known to take more operations than so many."""
