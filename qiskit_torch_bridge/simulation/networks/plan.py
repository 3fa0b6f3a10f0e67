# SPDX-License-Identifier: Apache-2.0
"""The networks of a circuit and its observables, and what they take; nothing is allocated."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike
from qiskit.quantum_info import SparsePauliOp

from ...arrays import FloatArray, IntArray
from ...exceptions import MeasurementError, ObservableError
from ...program import AnalysedCircuit
from ...program.operators import ProductOperator
from ...program.readouts import Expectations, Readout
from ..expressions import ExpressionColumns
from ..interface import Cost
from ..tape.compile_tape import compile_placed_tape
from ..tape.operations import Rotation
from ..tape.sources import compile_sources
from .contraction import Contraction
from .groups import Group, Groups
from .network import BOND, FIXED, PAIR, Leaf, NetworkBuilder
from .orders import Order, find_order, load_cotengra
from .past import X, Z
from .tables import Tables

if TYPE_CHECKING:
    from .simulator import NetworkSimulator

BLOCK_BYTES = 1 << 26
"""What the results of one contraction may take before networks and rows are taken in turns."""
KEPT_BYTES = 1 << 28
"""Results up to this size are kept from the forward pass for the backward pass."""
MAX_NUMBERS = 1 << 27
"""Numbers that one contraction of one network may keep; beyond it, indices are sliced."""
OPERATIONS_PER_STEP = 16000.0
"""What calling one contraction of two tensors takes, in complex multiplications."""
OPERATIONS_PER_MULTIPLICATION = 4.0
"""What a multiplication within one takes: tensors are small, and put in order for each product."""
DERIVATIVES = 0.25
"""Memory for derivatives on their way back, in that for tensors and results."""
PASSES = 3.0
"""Contractions that values and a gradient take, in those of values."""
MAX_EXPANDED = 1 << 12
"""Pauli strings that products of projectors are written as."""


class NetworkPlan:
    """The networks of a circuit and its observables, before an order of contraction is known.

    Args:
        analysed: The circuit.
        readout: Expectation values.
        inputs: The columns of its parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        dtype: ``complex128`` or ``complex64``.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MeasurementError: If something else is read.
        MissingNetworksError: If cotengra is not installed.
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> None:
        load_cotengra()
        if not isinstance(readout, Expectations):
            what = "states" if readout is None else type(readout).__name__.lower()
            raise MeasurementError(
                f"The method 'network' gives expectation values; it cannot read {what}. Choose "
                "another method."
            )
        if any(np.imag(o.coeffs).any() for o in readout.operators):
            raise MeasurementError(
                "The method 'network' takes Hermitian observables; some coefficients are complex. "
                "Choose another method."
            )
        self.analysed, self.readout, self.dtype = analysed, readout, np.dtype(dtype)
        self.inputs, self.weights = list(inputs), list(weights)
        try:
            self._paulis = [
                o.expanded(MAX_EXPANDED) if isinstance(o, ProductOperator) else o
                for o in readout.operators
            ]
        except ObservableError as error:
            raise MeasurementError(
                "The method 'network' takes Pauli strings, and these observables of projectors are "
                f"too many: more than {MAX_EXPANDED}. Choose another method."
            ) from error
        self.tape = compile_placed_tape(analysed)

    @functools.cached_property
    def columns(self) -> ExpressionColumns:
        """The columns of non-affine expressions."""
        return ExpressionColumns(self.tape.angle_map, self.inputs, self.weights)

    @functools.cached_property
    def tables(self) -> Tables:
        """What the networks refer to by number; complete once they are made."""
        sources = compile_sources(
            self.tape.operations, self.tape.angle_map, self.columns, self.inputs, self.weights
        )
        return Tables(sources, self.columns.num_inputs)

    @functools.cached_property
    def _builder(self) -> NetworkBuilder:
        slots: dict[int, int] = {}
        for place, operation in enumerate(self.tape.operations):
            if isinstance(operation, Rotation):
                slots[place] = len(slots)
        return NetworkBuilder(self.tape, slots, self.tables)

    @functools.cached_property
    def _networks(self) -> tuple[Groups, Any, FloatArray]:
        """All networks, coefficients ``(O, N)`` of their numbers, and constants ``(O,)``."""
        builder, groups = self._builder, Groups(self._is_by_row)
        constants = np.zeros(len(self._paulis))
        known: dict[tuple[tuple[int, int], ...], int | None] = {}
        entries: list[tuple[int, int, float]] = []
        for o, paulis in enumerate(self._paulis):
            coefficients = np.real(paulis.coeffs).tolist()
            for row, coefficient in zip(_letters(paulis), coefficients, strict=True):
                string = self._string(row)
                if string is None or not coefficient:
                    continue
                key = tuple(sorted(string.items()))
                if key not in known:
                    network = builder.build(string)
                    known[key] = groups.add(network) if network.ket else None
                at = known[key]
                if at is None:
                    constants[o] += coefficient
                else:
                    entries.append((o, at, coefficient))
        found = np.array(entries).reshape(-1, 3)
        places = found[:, :2].astype(np.int64).T
        shape = (len(self._paulis), len(groups))
        matrix = scipy.sparse.csr_array((found[:, 2], (places[0], places[1])), shape=shape)
        return groups, matrix, constants

    def _is_by_row(self, leaf: Leaf) -> bool:
        """Whether a tensor depends on inputs."""
        if leaf.kind in (PAIR, BOND):
            return self.tables.is_by_row(leaf.number)
        return any(map(self.tables.is_by_row, self.tables.segments[leaf.number].phases))

    def _string(self, row: IntArray) -> dict[int, int] | None:
        """Return a string's letters by bit; ``None`` if its value is zero on qubits left alone."""
        found = {}
        for q in np.flatnonzero(row).tolist():
            bit = self.tape.position.get(q)
            if bit is not None:
                found[bit] = int(row[q])
            elif row[q] != Z:
                return None
        return found

    @property
    def groups(self) -> list[Group]:
        """The networks by their form."""
        return self._networks[0].groups

    @property
    def coefficients(self) -> Any:
        """What each network counts for each observable: a sparse matrix ``(O, N)``."""
        return self._networks[1]

    @property
    def constants(self) -> FloatArray:
        """What the observables have beside, ``(O,)``."""
        return self._networks[2]

    @functools.cached_property
    def orders(self) -> list[Order]:
        """How to contract each group."""
        return [find_order(group.form.inputs(), MAX_NUMBERS) for group in self.groups]

    @functools.cached_property
    def contractions(self) -> list[Contraction]:
        """The contraction of each group."""
        pairs = zip(self.groups, self.orders, strict=True)
        return [Contraction(group.form.inputs(), order) for group, order in pairs]

    @functools.cached_property
    def _differing(self) -> list[list[bool]]:
        """Which of the ket's tensors differ between the networks of each group."""
        tables = (np.array(group.numbers) for group in self.groups)
        return [(table != table[0]).any(axis=0).tolist() for table in tables]

    def _count_numbers(self, place: int, rows: int) -> float:
        """Return how many numbers all tensors and results of a group's networks are at once."""
        group = self.groups[place]
        shared = 1 if self.inputs else rows  # weights may differ between rows if they are all
        shapes = [
            (1, 1)
            if leaf.kind == FIXED
            else (len(group.numbers) if differs else 1, rows if leaf.number else shared)
            for leaf, differs in zip(group.form.leaves, self._differing[place], strict=True)
        ]
        shapes = [*shapes, *shapes, *[(1, 1)] * len(group.form.middle)]
        return self.contractions[place].count_numbers(shapes)

    def count_kept(self, rows: int) -> float:
        """Return how many bytes a backward pass has less to do for."""
        counts = (
            self._count_numbers(place, rows) * contraction.num_slices
            for place, contraction in enumerate(self.contractions)
        )
        return self.dtype.itemsize * sum(counts)

    def takes_more_than(self, operations: float, rows: int) -> bool:
        """Whether a gradient of ``rows`` points takes more operations.

        If it may take fewer with good orders, these are searched, one group after the other, until
        those that are known take more.
        """
        if self._takes_more_whatever_the_orders(operations, rows):
            return True
        largest_first = sorted(
            range(len(self.groups)), key=lambda place: -len(self.groups[place].form.leaves)
        )
        found = 0.0
        for place in largest_first:
            order = find_order(self.groups[place].form.inputs(), MAX_NUMBERS)
            found += self._operations(place, order, rows)
            if found > operations:
                return True
        return False

    def _takes_more_whatever_the_orders(self, operations: float, rows: int) -> bool:
        """Whether a gradient takes more operations, however good the orders are.

        Strings that depend on different numbers of rotations have networks of different forms. The
        last strings come first: where everything depends on what comes before, they are the worst.
        Dense networks are told by :attr:`.Network.least_width`, as long as all of them together
        may take too much for that alone.
        """
        strings = [
            string
            for paulis in reversed(self._paulis)
            for row in reversed(_letters(paulis))
            if (string := self._string(row))
        ]
        counts: set[int] = set()
        contents: set[tuple[tuple[int, int], ...]] = set()
        least, is_dense = 0.0, True
        for string in strings:
            count = len(self._builder.past.operations_before(string))
            if count not in counts:
                counts.add(count)
                least += _least_operations(count)
            if is_dense:
                network = self._builder.build(string)
                content = tuple(sorted([(leaf.kind, leaf.number) for leaf in network.ket]))
                if content not in contents:  # what is equal is contracted once
                    contents.add(content)
                    widest = _WORK * rows * 2.0 ** (network.least_width + 1)
                    is_dense = widest * len(strings) > operations
                    least += widest * is_dense
            if least > operations:
                return True
        return False

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient take: networks are made, orders searched once."""
        operations = largest = 0.0
        size = self.dtype.itemsize
        for place, (group, order) in enumerate(zip(self.groups, self.orders, strict=True)):
            times = rows * len(group.numbers)
            operations += self._operations(place, order, rows)
            at_once = min(1.0, max(1 / times, BLOCK_BYTES / size / order.written / times))
            largest = max(largest, size * at_once * self._count_numbers(place, rows))
        kept = self.count_kept(rows)
        held = kept if kept <= KEPT_BYTES else largest
        return Cost(int((1 + DERIVATIVES) * held) + 16 * rows * len(self._paulis), operations)

    def _operations(self, place: int, order: Order, rows: int) -> float:
        """Return what values and a gradient of a group's networks take in an order."""
        times = rows * len(self.groups[place].numbers)
        steps = len(order.path) << len(order.sliced)
        blocks = max(1.0, times * order.written * self.dtype.itemsize / BLOCK_BYTES)
        work = OPERATIONS_PER_MULTIPLICATION * times * order.multiplications
        return PASSES * (work + OPERATIONS_PER_STEP * blocks * steps)

    def compile(self) -> NetworkSimulator:
        """Return the simulator.

        Raises:
            MemoryLimitError: If a contraction does not fit into memory.
        """
        from .simulator import NetworkSimulator

        return NetworkSimulator(self)


def plan_networks(
    analysed: AnalysedCircuit,
    readout: Readout | None,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
) -> NetworkPlan:
    """Return how general networks would simulate a circuit: see :class:`NetworkPlan`."""
    return NetworkPlan(analysed, readout, inputs, weights, dtype)


_WORK = PASSES * OPERATIONS_PER_MULTIPLICATION


def _letters(operator: SparsePauliOp) -> IntArray:
    """Return the letters of an operator's strings by qubit, ``(K, n)``."""
    x, z = np.asarray(operator.paulis.x), np.asarray(operator.paulis.z)
    found: IntArray = x * np.int64(X) + z * np.int64(Z)
    return found


def _least_operations(count: int) -> float:
    """Return what a gradient takes at least in a network of so many rotations.

    Several rotations of one qubit are one tensor; of those that are not, there is one in ket and
    bra for each two.
    """
    return PASSES * OPERATIONS_PER_STEP * count / 4
