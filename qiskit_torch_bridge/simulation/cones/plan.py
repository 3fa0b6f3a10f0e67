# SPDX-License-Identifier: Apache-2.0
"""What simulating a circuit by light cones takes, told before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ...arrays import FloatArray, IntArray
from ...exceptions import MeasurementError
from ...program import AnalysedCircuit
from ...program.readouts import Expectations, Readout
from ..interface import NO_STATES, Cost
from ..statevector.simulator import CACHED_NUMBERS, KEPT_BYTES
from ..threads import count_threads
from .classes import ConeClass
from .containment import CALL
from .find import find_cone_classes
from .simulator import LightConeSimulator

LEAST_NUMBERS = 64
"""Amplitudes times rows below which kernels are not faster for fewer."""


class LightConePlan:
    """How expectation values would be read from light cones: arguments are those of a simulator.

    Args:
        analysed: The circuit.
        readout: :class:`.Expectations`.
        inputs: The columns of its parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        dtype: ``complex128`` or ``complex64``.
        most: The operations for one row up to which cones are of interest.

    Attributes:
        cones: What would be simulated.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly, or coefficients are not real.
        TooExpensive: If a cone alone takes more operations.
        MeasurementError: If anything but expectation values is read.

    Cost:
        About in proportion to the lengths of the circuit and of all cones; no state is allocated.
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
        most: float = math.inf,
    ) -> None:
        if not isinstance(readout, Expectations):
            raise MeasurementError(NO_STATES)
        self._analysed, self._dtype = analysed, np.dtype(dtype)
        self.cones = find_cone_classes(analysed, readout.operators, inputs, weights, most)

    def estimate(self, rows: int) -> Cost:
        """Return what values and a gradient of ``rows`` points take."""
        costs = [self._estimate(c, rows * len(c.angles)) for c in self.cones.classes]
        further = sum((c.angles.size + c.weights.shape[0]) * rows for c in self.cones.classes)
        bytes_ = sum(cost.bytes for cost in costs) + 4 * 8 * further
        return Cost(bytes_, sum(cost.operations for cost in costs))

    def compile(self) -> LightConeSimulator:
        """Return the simulator.

        Raises:
            MemoryLimitError: If a light cone is too large for memory; it is named.
        """
        return LightConeSimulator.of_cones(self.cones, self._analysed, self._dtype)

    def groups(self) -> tuple[IntArray, FloatArray]:
        """Return the class of each term's cone, and what each class takes.

        Returns:
            The terms of all operators in a row, ``(K,)``: the number of each one's class, and -1
            for a constant; and the operations of each class for one row, ``(G,)``.
        """
        of_term = self.cones.terms.of_term
        group_of = np.append(self.cones.class_of_string, -1)[of_term]
        costs = [self._estimate(c, len(c.angles)).operations for c in self.cones.classes]
        return group_of, np.array(costs, dtype=float)

    def _estimate(self, cone_class: ConeClass, rows: int) -> Cost:
        numbers = max(rows << cone_class.num_bits, LEAST_NUMBERS)
        sweeps = len(cone_class.operations) + cone_class.num_strings
        at_once = max(CACHED_NUMBERS, 1 << cone_class.num_bits) * count_threads()
        vectors = 2 * min(numbers, at_once) * self._dtype.itemsize
        kept = numbers * self._dtype.itemsize
        return Cost(vectors + (kept if kept <= KEPT_BYTES else 0), 3.0 * numbers * sweeps + CALL)


plan_cones = LightConePlan
"""Plans the simulation of a circuit by light cones."""
