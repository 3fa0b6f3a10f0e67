# SPDX-License-Identifier: Apache-2.0
"""What simulating a circuit by its state vector takes, told before there is one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ... import memory
from ...program import AnalysedCircuit
from ...program.definitions import class_of
from ...program.readouts import Expectations, Readout
from ..interface import Cost
from ..tape.operations import NOTHING
from ..tape.reduce import WIDEST
from .pauli_sums import count_bits
from .simulator import StatevectorSimulator

MOST_BITS = 900
"""With more, numbers of operations would leave the range of floating numbers."""


class StatevectorPlan:
    """How the state vector would simulate a circuit: arguments are those of its simulator.

    What it takes is known from the simulator itself, whose compilation takes no more than the
    state; where the state does not fit into memory, from the number of gates.

    Attributes:
        num_qubits: On how many qubits gates act.
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> None:
        self._arguments = analysed, readout, inputs, weights, dtype
        acting = [qubits for gate, qubits in analysed.steps if class_of(gate) not in NOTHING]
        self._gates = len(acting)
        self.num_qubits = len(set(itertools.chain.from_iterable(acting))) or 1

    @functools.cached_property
    def num_bits(self) -> int:
        """On how many bits the state is, once what has no effect is left out; at most."""
        analysed, readout = self._arguments[:2]
        if self.num_qubits > WIDEST or not isinstance(readout, Expectations):
            return self.num_qubits
        return count_bits(analysed, readout.operators)

    @functools.cached_property
    def fits(self) -> bool:
        """Whether bra and ket fit into memory."""
        return memory.fits(self._bytes)

    @property
    def _bytes(self) -> int:
        return 2 * np.dtype(self._arguments[-1]).itemsize << self.num_bits

    def most_operations(self, bits: int) -> float:
        """What values and a gradient of one row take if every gate is applied to so many bits."""
        return float(3 * self._gates << min(bits, MOST_BITS))

    def estimate(self, rows: int) -> Cost:
        """Return what values and a gradient take."""
        if self.fits:
            return self._simulator.estimate(rows)
        return Cost(self._bytes, rows * self.most_operations(self.num_bits))

    def compile(self) -> StatevectorSimulator:
        """Return the simulator."""
        return self._simulator

    @functools.cached_property
    def _simulator(self) -> StatevectorSimulator:
        return StatevectorSimulator(*self._arguments)


plan_statevector = StatevectorPlan
"""Plans the simulation of a circuit by its state vector."""
