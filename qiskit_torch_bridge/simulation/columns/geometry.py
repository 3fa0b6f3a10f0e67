# SPDX-License-Identifier: Apache-2.0
r"""Metric and fidelities of the states of wide circuits, from their columns.

The derivative of a state by one angle is the state with one column in place of another: the weights
:math:`\cos\frac a2` and :math:`\sin\frac a2` of a rotation stand at its first site, so that

.. math:: \partial_a K(a) = \tfrac12 K(a + \pi).

Overlaps of two such states, at sites :math:`i < j`, are those of the environments to the left of
:math:`j` in which the column of site :math:`i` has been exchanged, carried along the line for all
parameters at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ... import memory
from ...arrays import ComplexArray, FloatArray
from ...exceptions import InputError
from ...program import AnalysedCircuit
from ..interface import Cost
from ..tape.sources import compile_sources
from .plan import ColumnPlan
from .tensors import build_tensors, sweep_right

_NO_WEIGHTS = np.zeros((1, 0))


class ColumnGeometry:
    """Metric and fidelities of the states that a circuit prepares, by column networks.

    Args:
        analysed: The circuit.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.

    Cost:
        For ``C`` parameters and bonds of dimension ``D`` between ``n`` qubits about
        ``4 * C * n * D**3`` multiplications, and memory for ``3 * C * D**2`` numbers.
    """

    def __init__(self, analysed: AnalysedCircuit) -> None:
        columns = range(analysed.num_parameters)
        self._analysed = analysed
        self._plan = ColumnPlan(analysed, None, columns, ())
        network = self._plan.network
        self._sources = compile_sources(
            network.rotations, self._plan.tape.angle_map, self._plan.columns, columns, ()
        )
        # The site that has the weights of a rotation is the first one that it acts on.
        place = {bit: site for site, bit in enumerate(network.order)}
        self._slots_of: list[list[int]] = [[] for _ in range(network.num_sites)]
        for slot, rotation in enumerate(network.rotations):
            mask = rotation.pauli.x | rotation.pauli.z
            bits = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
            self._slots_of[min(place[bit] for bit in bits)].append(slot)

    def estimate(self, parameters: int) -> Cost:
        """Estimate what the metric of so many parameters takes."""
        bonds = [min(bond, 1 << 200) for bond in self._plan.bonds]
        operations = sum(4.0 * float(a) * b * max(a, b) for a, b in itertools.pairwise(bonds))
        widest = max(a * b for a, b in itertools.pairwise(self._plan.bonds))
        held = sum(a * b for a, b in itertools.pairwise(self._plan.bonds))
        most = 1 + max(map(len, self._slots_of), default=0)
        return Cost(16 * (4 * parameters * widest + 2 * most * held), parameters * operations)

    def metric(self, values: FloatArray, columns: Sequence[int]) -> FloatArray:
        """Return the Fubini-Study metric ``(C, C)`` at ``values`` ``(P,)`` for some parameters."""
        row = np.ascontiguousarray(values, dtype=float)[None]
        if not len(columns):
            self._analysed.check(row)
            return np.zeros((0, 0))
        self._require(len(columns))
        (angles,) = self._angles(row)
        slopes = self._slopes(row, columns)
        rounds = max(map(len, self._slots_of))
        tensors = build_tensors(self._plan.network, self._displaced(angles, rounds))
        products, along = self._sweep(tensors, slopes)
        metric: FloatArray = np.real(products - np.outer(along.conj(), along))
        return (metric + metric.T) / 2

    def fidelities(self, values: FloatArray, others: FloatArray) -> FloatArray:
        """Return the fidelities ``(K,)`` of the state at ``values`` ``(P,)`` with ``(K, P)``."""
        points = np.vstack([np.asarray(values, dtype=float)[None], others])
        self._require(len(points))
        tensors = build_tensors(self._plan.network, self._angles(points))
        overlaps: ComplexArray = np.ones((len(others), 1, 1), dtype=complex)
        for tensor in tensors:
            overlaps = _carry(overlaps, tensor[:1], tensor[1:])
        return np.asarray(np.abs(overlaps[:, 0, 0]) ** 2, dtype=float)

    def _require(self, parameters: int) -> None:
        memory.require_for(
            self.estimate(parameters).bytes,
            f"A metric from columns with bonds of dimension {max(self._plan.bonds)}",
            "Use fewer layers of gates between qubits, or a metric that is measured: give qgt= or "
            "fidelity=.",
        )

    def _angles(self, values: FloatArray) -> FloatArray:
        """Return the angles ``(B, S)`` at values ``(B, P)``."""
        self._analysed.check(values)
        extended = np.hstack(self._plan.columns.extend(values, np.zeros((len(values), 0))))
        angles: FloatArray = self._sources.offsets + extended @ self._matrix.T
        if not np.isfinite(angles).all():
            raise InputError(
                "Expected angles that are finite numbers; the circuit's expressions exceed the "
                "range of double precision at these values. Scale the inputs."
            )
        return angles

    def _slopes(self, row: FloatArray, columns: Sequence[int]) -> FloatArray:
        """Return the derivatives ``(S, C)`` of the angles with respect to some parameters."""
        count = len(columns)
        directions = np.zeros((count, row.shape[1]))
        directions[np.arange(count), list(columns)] = 1
        empty = np.zeros((count, 0))
        repeated = np.repeat(row, count, axis=0)
        moved = self._plan.columns.extend_tangents(repeated, empty, directions, empty)
        slopes: FloatArray = self._matrix @ np.hstack(moved).T
        return slopes

    @property
    def _matrix(self) -> FloatArray:
        """The coefficients ``(S, columns)`` of inputs and expressions in the angles."""
        sources, columns = self._sources, self._plan.columns
        slots = len(sources.offsets)
        matrix = np.zeros((slots, columns.num_inputs + columns.num_weights))
        slot_of = np.repeat(np.arange(slots), np.diff(sources.starts))
        np.add.at(matrix, (slot_of, sources.columns), sources.coefficients)
        return matrix

    def _displaced(self, angles: FloatArray, rounds: int) -> FloatArray:
        """Return angles ``(1 + rounds, S)``: as they are, and with one of each site turned."""
        found = np.tile(angles, (1 + rounds, 1))
        for slots in self._slots_of:
            found[1 + np.arange(len(slots)), slots] += np.pi
        return found

    def _sweep(
        self, tensors: list[ComplexArray], slopes: FloatArray
    ) -> tuple[ComplexArray, ComplexArray]:
        """Return the products ``(C, C)`` of derivatives, and theirs with the state, ``(C,)``."""
        count = slopes.shape[1]
        products, along = np.zeros((count, count), dtype=complex), np.zeros(count, dtype=complex)
        rights = sweep_right([tensor[:1] for tensor in tensors])
        left: ComplexArray = np.ones((1, 1), dtype=complex)
        touched = np.zeros(0, dtype=np.int64)  # the parameters of sites to the left
        carried: ComplexArray = np.zeros((0, 1, 1), dtype=complex)
        for site, tensor in enumerate(tensors):
            ket, right, slots = tensor[0], rights[site + 1][0], self._slots_of[site]
            here = np.flatnonzero(slopes[slots].any(axis=0))
            bond, _, bond_right = ket.shape
            parts = tensor[1 : 1 + len(slots)].reshape(len(slots), ket.size)
            flat = slopes[slots][:, here].T / 2 @ parts
            moved = flat.reshape(len(here), *ket.shape)
            closed = np.matmul(moved, right).reshape(len(here), bond, 2 * bond_right)
            # From the right, up to the cut before this site, ket first.
            following = np.matmul(closed, ket.reshape(bond, 2 * bond_right).conj().T)
            following = following.transpose(0, 2, 1).reshape(len(here), bond * bond)
            along[here] += following @ left.ravel()
            beside = np.matmul(left, closed).reshape(flat.shape)
            products[np.ix_(here, here)] += flat.conj() @ beside.T
            across = carried.reshape(len(touched), bond * bond) @ following.T
            products[np.ix_(touched, here)] += across
            products[np.ix_(here, touched)] += across.conj().T
            carried = _carry(carried, ket[None], ket[None])
            begun = _carry(left[None], moved, ket[None])
            fresh = np.setdiff1d(here, touched)
            touched = np.concatenate([touched, fresh])
            padding = np.zeros((len(fresh), *begun.shape[1:]), dtype=complex)
            carried = np.concatenate([carried, padding])
            rank = np.zeros(count, dtype=np.int64)
            rank[touched] = np.arange(len(touched))
            carried[rank[here]] += begun
            left = _carry(left[None], ket[None], ket[None])[0]
        return products, along


def _carry(environments: ComplexArray, bra: ComplexArray, ket: ComplexArray) -> ComplexArray:
    r"""Return environments ``(A, l', l)``, bra first, beyond one site, ``(A, r', r)``.

    .. math:: \sum K'^*[l', s, r']\, E[l', l]\, K[l, s, r]

    Args:
        environments: Shape ``(A, l', l)``, or one for all.
        bra: The columns ``(A, l', 2, r')``, or one for all.
        ket: The columns ``(A, l, 2, r)``, or one for all.
    """
    (_, left, _, right), (_, height, _, bond) = ket.shape, bra.shape
    half = np.matmul(environments, ket.reshape(len(ket), left, 2 * right))
    half = half.reshape(len(half), 2 * height, right)
    adjoint = bra.reshape(len(bra), 2 * height, bond).conj().transpose(0, 2, 1)
    found: ComplexArray = np.matmul(adjoint, half)
    return found
