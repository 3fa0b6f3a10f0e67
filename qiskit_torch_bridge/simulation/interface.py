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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arguments import require_choice
from ..arrays import FloatArray
from ..program import AnalysedCircuit
from ..program.readouts import Readout

ComplexArray = NDArray[np.complex128]


class Cost(NamedTuple):
    """What values and a gradient take.

    Attributes:
        bytes: Of memory.
        operations: About how many complex multiplications.
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
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated."""

    def tangent_states(
        self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray
    ) -> tuple[ComplexArray, ComplexArray]:
        """Return the final states ``(B, 2**n)`` and their derivatives along ``dx`` and ``dw``."""


def _statevector() -> type[Simulator]:
    from .statevector import StatevectorSimulator

    return StatevectorSimulator


SIMULATORS: dict[str, Callable[[], type[Simulator]]] = {"statevector": _statevector}
"""What loads the class of each method, by the method's name."""


def make_simulator(
    method: str,
    analysed: AnalysedCircuit,
    readout: Readout | None,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
) -> Simulator:
    """Compile a circuit and what is read of its state for the simulator of a name.

    Args:
        method: One of :data:`SIMULATORS`.
        analysed: The circuit.
        readout: What is read of its state; ``None`` to prepare states only.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: The columns that ``w`` holds.
        dtype: ``complex128``, or ``complex64`` for half of the memory and time.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If a state, or what is read of one, does not fit into memory.
    """
    make: Any = SIMULATORS[require_choice(method, "method", SIMULATORS)]()
    simulator: Simulator = make(analysed, readout, inputs, weights, dtype)
    return simulator
