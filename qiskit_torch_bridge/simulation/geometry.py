# SPDX-License-Identifier: Apache-2.0
"""How far apart a circuit's states are, by the state vector or by columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .. import memory
from ..arrays import FloatArray
from ..exceptions import CircuitError, MemoryLimitError
from ..program import AnalysedCircuit
from ..program.deferral import defer
from .columns.geometry import ColumnGeometry
from .statevector import StateGeometry
from .statevector.plan import StatevectorPlan

NARROW = 10
"""Up to so many qubits state vectors are taken without a look at columns."""


class Geometry(Protocol):
    """Metric and fidelities of the states that a circuit prepares."""

    def metric(self, values: FloatArray, columns: Sequence[int]) -> FloatArray:
        """Return the Fubini-Study metric ``(C, C)`` at ``values`` ``(P,)`` for some parameters."""

    def fidelities(self, values: FloatArray, others: FloatArray) -> FloatArray:
        """Return the fidelities ``(K,)`` of the state at ``values`` ``(P,)`` with ``(K, P)``."""


def make_geometry(analysed: AnalysedCircuit) -> Geometry:
    """Return what finds the metric of a circuit with the least work.

    Args:
        analysed: The circuit.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If neither a state vector nor columns for each parameter fit into memory.
    """
    width = analysed.circuit.num_qubits
    analysed, _ = defer(analysed, None)
    if analysed.circuit.num_qubits > width:
        raise CircuitError(
            "The circuit measures, resets or branches and ends in a mixed state; metric and "
            "fidelities are those of pure states. Take a circuit of gates, or an optimizer that "
            "needs neither."
        )
    count = max(1, analysed.num_parameters)
    state = StatevectorPlan(analysed, None, range(analysed.num_parameters), ())
    if state.num_bits <= NARROW or analysed.vectors:
        return StateGeometry(analysed)
    columns = ColumnGeometry(analysed)
    cost, needed = columns.estimate(count), 32 * count << state.num_bits
    operations = count * state.most_operations(state.num_bits)
    if memory.fits(needed) and operations <= cost.operations:
        return StateGeometry(analysed)
    if memory.fits(cost.bytes):
        return columns
    if memory.fits(needed):
        return StateGeometry(analysed)
    raise MemoryLimitError(
        f"The metric of {count} parameters of {state.num_bits} qubits needs {memory.gib(needed)} "
        f"GiB as state vectors, and {memory.gib(cost.bytes)} GiB as columns; "
        f"{memory.gib(memory.available())} GiB are available. Use fewer layers of gates between "
        "qubits, or a metric that is measured: give qgt= or fidelity=."
    )
