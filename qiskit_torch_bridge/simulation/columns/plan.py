# SPDX-License-Identifier: Apache-2.0
"""How column networks would simulate a circuit: the order of its qubits, bonds, cost."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from ...exceptions import CircuitError
from ...program import AnalysedCircuit
from ...program.operators import Observable
from ...program.readouts import Expectations, Outcomes, Readout
from ..expressions import ExpressionColumns
from ..interface import Cost
from ..tape.compile_tape import Tape, compile_placed_tape, compile_tape
from ..tape.effective import drop_ineffective, merge_rotations
from ..tape.operations import FixedMatrix, Rotation
from ..threads import count_threads
from .clifford_ends import absorb_end, conjugate
from .layout import LINE, Form, Sizes, measure
from .network import Network, weigh
from .order import cost_of_cuts, cut_widths, order_bits
from .strings import Automaton, Strings, collect_strings, count_edges, find_automaton, masks_of

APART, TOGETHER = (0.35, 160.0, 25.0, 14_500.0), (4.5, 700.0, 50.0, 15_000.0)
"""What a multiplication within a product of matrices, a number of a column, a block of it and a
site take, in multiplications of the state vector's kernels: for one row, and for all that lie side
by side. Measured on chains of 20 to 127 qubits.
"""

KEPT_BYTES = 1 << 28
"""Environments up to this size are kept from the forward pass for the backward pass."""

NEAR_BYTES = 1 << 22
"""A size that is read again sooner than computed, however narrow bonds are."""

WIDE = 32
"""Dimension of a bond from which on environments are read sooner than computed, for one row."""

MOST_IN_MASKS = 20_000
"""Letters of all strings up to which it is asked what they commute with."""

HUGE = 10**60
"""A dimension that nothing will ever have, whose third power is still a number."""

MOST_LETTERS = 4
"""How many times longer all strings may become where Clifford gates are taken out of a circuit."""

if TYPE_CHECKING:
    from .simulator import ColumnSimulator


class ColumnPlan:
    """A circuit as columns, and what is read of it: all but what is as large as its bonds.

    Args:
        analysed: The circuit.
        readout: :class:`.Expectations`; :class:`.Outcomes` or ``None`` to sample from the state.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: The columns that ``w`` holds.
        dtype: ``complex128`` or ``complex64``.

    Attributes:
        network: The columns.
        strings: What is read; no strings if it is no expectation values.
        site_of: The site of each qubit that is simulated; the others stay in state zero.
        bonds: The dimensions of the ``n + 1`` cuts along the line.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly, or column networks cannot read
            what is asked for.
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> None:
        if readout is not None and not isinstance(readout, (Expectations, Outcomes)):
            raise CircuitError(
                f"Column networks cannot read {type(readout).__name__.lower()}; they read "
                "expectation values, and outcomes. Use method='statevector'."
            )
        self.analysed, self.readout = analysed, readout
        self.inputs, self.weights, self.dtype = inputs, weights, np.dtype(dtype)
        observables = readout.operators if isinstance(readout, Expectations) else ()
        if isinstance(readout, Expectations):
            candidates = _candidates(analysed, observables)
        else:
            tape = compile_placed_tape(analysed)
            measured: Sequence[int] = () if readout is None else readout.qubits
            bits = [tape.position[q] for q in measured if q in tape.position]
            masks = None if readout is None else [(0, 1 << bit) for bit in bits]
            strings = collect_strings((), _qubits(tape))
            candidates = [_Candidate(tape, tape.operations, strings, masks, thorough=True)]
        best = min(candidates, key=lambda candidate: candidate.cost)
        self.tape, self.strings = best.tape, best.strings
        self.network, self.automaton = best.build()
        self.bonds = self.network.cuts
        self._sizes: dict[Form, Sizes] = {}
        place = {bit: site for site, bit in enumerate(self.network.order)}
        self.site_of = {q: place[bit] for q, bit in self.tape.position.items()}

    @functools.cached_property
    def columns(self) -> ExpressionColumns:
        """The columns that expressions add to inputs and weights."""
        return ExpressionColumns(self.tape.angle_map, self.inputs, self.weights)

    def compile(self) -> ColumnSimulator:
        """Return the simulator."""
        from .simulator import ColumnSimulator

        return ColumnSimulator(self)

    @property
    def operations(self) -> float:
        """About how many complex multiplications values and a gradient of one row take."""
        return self.count_operations(1)

    @functools.cached_property
    def _operations(self) -> tuple[float, float]:
        """Those of one row by itself, and those of all rows that lie side by side."""
        apart, together = (
            _count_operations(self.network, self.automaton, width, prices)
            for width, prices in ((self._lanes, APART), (1, TOGETHER))
        )
        return apart, together

    @property
    def _itemsize(self) -> int:
        return 4 if self.dtype == np.complex64 else 8

    @property
    def _lanes(self) -> int:
        return LINE // self._itemsize

    def count_operations(self, rows: int) -> float:
        """Return about how many complex multiplications values and a gradient take."""
        apart, together = self._operations
        return min(rows * apart, -(-rows // self._lanes) * together)

    def choose_form(self, rows: int, keeps: bool = False, separately: bool = False) -> Form:
        """Return where numbers are for so many rows.

        Args:
            rows: How many rows there are.
            keeps: Whether environments are to be kept, if it pays.
            separately: Whether the number of rows is to make no difference.
        """
        apart, together = self._operations
        groups = -(-rows // self._lanes)
        found = Form(
            together < self._lanes * apart if separately else groups * together < rows * apart
        )
        if not keeps:
            return found
        keeping = found._replace(keeps=True)
        count = groups if found.together else rows
        is_wide = max(self.bonds) * (1 + found.together) >= WIDE
        most = KEPT_BYTES if is_wide else NEAR_BYTES
        return keeping if count * self.count_bytes(keeping) <= most else found

    def automaton_of(self, form: Form) -> Automaton:
        """Return what is read: strings, or the identity alone."""
        n = self.network.num_sites
        return Automaton([0] * (n + 1), [[]] * n, -1) if form.samples else self.automaton

    def sizes(self, form: Form) -> Sizes:
        """Return how large everything is."""
        if form not in self._sizes:
            self._sizes[form] = measure(self.network, self.automaton_of(form), form, self._itemsize)
        return self._sizes[form]

    def count_bytes(self, form: Form) -> int:
        """Return about how many bytes a buffer takes, without tangents."""
        rows = self._lanes if form.together else 1
        return 2 * rows * self._itemsize * self.sizes(form).quarter

    def estimate(self, rows: int) -> Cost:
        """Estimate what values and a gradient of ``rows`` points take; nothing is allocated."""
        form = self.choose_form(rows, keeps=True)
        buffers = -(-rows // self._lanes) if form.together else rows
        if not form.keeps:
            buffers = min(buffers, count_threads())
        values = 2 * 8 * rows * len(self.strings.constants)
        return Cost(buffers * self.count_bytes(form) + values, self.count_operations(rows))


def plan_columns(
    analysed: AnalysedCircuit,
    readout: Readout | None,
    inputs: Sequence[int],
    weights: Sequence[int],
    dtype: DTypeLike = np.complex128,
) -> ColumnPlan:
    """Plan the simulation of a circuit by column networks: see :class:`ColumnPlan`."""
    return ColumnPlan(analysed, readout, inputs, weights, dtype)


class _Candidate:
    """One way to write a circuit and what is read of it.

    Args:
        tape: The circuit.
        operations: Those of it that stay.
        strings: What is read of the state that they make.
        masks: What has an effect is what does not commute with all of these; ``None``: everything.
        thorough: Whether to search long for an order of the bits: samples of many qubits have no
            other method to come from.
    """

    def __init__(
        self,
        tape: Tape,
        operations: Sequence[Rotation | FixedMatrix],
        strings: Strings,
        masks: list[tuple[int, int]] | None,
        thorough: bool = False,
    ) -> None:
        self.tape, self.strings = tape, strings
        kept = merge_rotations(operations, up_to_phase=True)
        if masks is not None:
            kept = drop_ineffective(kept, tape.preparations, masks, tape.num_bits)
        weights = weigh(kept, tape.preparations)
        order = order_bits(tape.num_bits, weights, thorough)
        along = strings.letters[:, order]
        edges = [count_edges(along), count_edges(along[:, ::-1])]
        if edges[1] < edges[0]:
            order, along = order[::-1], along[:, ::-1]
        self._operations, self._order, self._along = kept, order, along
        self.cost = (1 + min(edges) / tape.num_bits) * cost_of_cuts(cut_widths(order, weights))
        """What compares with that of other ways."""

    def build(self) -> tuple[Network, Automaton]:
        """Return the columns, and the strings along them."""
        tape = self.tape
        network = Network(self._operations, tape.preparations, tape.num_bits, self._order)
        return network, find_automaton(self._along)


def _candidates(analysed: AnalysedCircuit, observables: Sequence[Observable]) -> list[_Candidate]:
    """Return the ways to write a circuit that may be the cheapest one.

    Clifford gates that end it go into the observables. Those within it cross cuts, unless all are
    taken out, which makes strings of rotations longer, or shorter, as where two CX and a rotation
    between them are one about two qubits.
    """
    tape = compile_placed_tape(analysed)
    strings = collect_strings(observables, _qubits(tape))
    masks = masks_of(strings)
    kept = drop_ineffective(tape.operations, tape.preparations, masks, tape.num_bits)
    operations, frame = absorb_end(kept, tape.num_bits)
    found = [_Candidate(tape, kept, strings, None)]
    conjugated = None if frame is None else conjugate(strings, frame)
    if conjugated is not None:
        found.append(_Candidate(tape, operations, conjugated, _masks(conjugated)))
    if any(_is_joint_clifford(o) for o in operations):
        framed = compile_tape(analysed)
        if _count_letters(framed.operations) <= MOST_LETTERS * _count_letters(operations):
            strings = collect_strings(observables, _qubits(framed))
            conjugated = conjugate(strings, framed.frame)
            if conjugated is not None:
                found.append(_Candidate(framed, framed.operations, conjugated, _masks(conjugated)))
    return found


def _masks(strings: Strings) -> list[tuple[int, int]] | None:
    """Return the masks of strings, if these are short."""
    return masks_of(strings) if np.count_nonzero(strings.letters) <= MOST_IN_MASKS else None


def _is_joint_clifford(operation: Rotation | FixedMatrix) -> bool:
    if isinstance(operation, FixedMatrix) or not operation.angle.is_fixed:
        return False
    return (operation.pauli.x | operation.pauli.z).bit_count() > 1


def _count_letters(operations: Sequence[Rotation | FixedMatrix]) -> int:
    return sum(
        len(o.bits) if isinstance(o, FixedMatrix) else (o.pauli.x | o.pauli.z).bit_count()
        for o in operations
    )


def _qubits(tape: Tape) -> list[int]:
    """Return the circuit's qubit that each bit is."""
    return sorted(tape.position, key=tape.position.__getitem__)


def _count_operations(
    network: Network, automaton: Automaton, width: int, prices: tuple[float, float, float, float]
) -> float:
    for_a_product, for_a_number, for_a_block, for_a_site = prices
    total, sites = 0.0, 0
    for site, (left, right) in enumerate(itertools.pairwise(network.cuts)):
        if not automaton.edges[site] and automaton.first_end >= site:
            continue
        done = automaton.first_end <= site
        a, b = float(min(left, HUGE)), float(min(right, HUGE))
        across, back = (width * -(-dim // width) for dim in (b, a))
        sources = len({edge.source for edge in automaton.edges[site]})
        targets = sum(edge.target >= 0 for edge in automaton.edges[site])
        ends = len(automaton.edges[site]) - targets
        by_right, by_left, transposed = 2 * a * b * across, 2 * a * a * across, 2 * a * b * back
        products = (5 * done + 3 * targets + sources) * by_right + (targets + sources) * by_left
        products += (3 * done + sources) * transposed + 4 * (targets + ends) * a * across
        total += for_a_product * products
        total += for_a_number * float(min(network.lattices[site], HUGE))
        total += for_a_block * sum(len(step.matrices) for step in network.steps[site])
        sites += 1
    return total + for_a_site * sites
