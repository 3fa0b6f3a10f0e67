# SPDX-License-Identifier: Apache-2.0
r"""Outcomes of a matrix product state, drawn qubit by qubit from their exact probabilities.

The tensors are brought into the form in which all that lies to the right of a cut is an isometry,

.. math:: \sum_s K_i[s] K_i[s]^\dagger = 1,

by one QR decomposition for each site and state, exactly. The probability that a state begins with
the outcomes :math:`s_0 \ldots s_{i-1}` is then the squared length of the vector
:math:`K_0[s_0] \cdots K_{i-1}[s_{i-1}]` over the bond, whatever follows: a shot takes one product
of a vector and a tensor for each qubit, and no environments. Qubits that are not measured are drawn
as well and left out, which is exact, too. Bases are changed on the tensors alone, since a unitary
on a site leaves the form as it is.

References:
    A. J. Ferris & G. Vidal, arXiv:1201.3974, on perfect sampling; U. Schollwoeck, arXiv:1008.3477,
    on canonical forms.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ... import memory
from ...arrays import ComplexArray, FloatArray, IntArray
from ...exceptions import MemoryLimitError
from ..interface import Cost
from ..kernels.tables import SIGNALS
from ..threads import call_in_parallel, count_threads
from .plan import ColumnPlan

if TYPE_CHECKING:
    from .simulator import ColumnSimulator

Bits = NDArray[np.uint8]

DRAWN_NUMBERS = 1 << 20
"""Random numbers that are held at once."""
SMALL_WORK = 1 << 20
"""Multiplications below which starting a thread costs more than it saves."""
WIDTH = 1 << 12
"""Beginnings of bit strings that are followed in the search for the likeliest."""
MOST = 1 << 200
"""Bonds that are wider count as this in numbers of operations, which stay floating numbers."""

_TO_X: ComplexArray = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
_TO_Y: ComplexArray = np.array([[1, -1j], [1, 1j]], dtype=complex) / np.sqrt(2)


class ColumnSampler:
    """Draws outcomes of one circuit's qubits at any values of its parameters.

    Args:
        plan: The circuit as columns, with its parameters as inputs, and a readout of outcomes or
            none.

    Attributes:
        site_of: The site of each qubit that is simulated; the others stay in state zero.

    Cost:
        For each state about ``8 * n * D**3`` multiplications for the canonical form, with bonds of
        dimension ``D``, and ``2 * n * D**2`` for each shot. Memory ``64 * n * D**2`` bytes.
    """

    def __init__(self, plan: ColumnPlan) -> None:
        self._plan = plan
        self._simulator: ColumnSimulator | None = None
        self.site_of = plan.site_of

    def estimate(self, rows: int, shots: int) -> Cost:
        """Estimate what ``shots`` of all qubits at each of ``rows`` points take."""
        return estimate_sampling(self._plan.bonds, rows, shots)

    def prepare(self, values: FloatArray) -> CanonicalStates:
        """Return the states at values ``(B, P)`` of the circuit's parameters.

        Raises:
            InputError: Where values, or the angles that they give, are not finite.
            MemoryLimitError: If there is too little memory.
        """
        require_memory(self._plan.bonds, len(values))
        if self._simulator is None:
            self._simulator = self._plan.compile()
        tensors = self._simulator.matrix_product(values, np.zeros((1, 0))).tensors
        return CanonicalStates(tensors)


def estimate_sampling(bonds: Sequence[int], rows: int, shots: int) -> Cost:
    """Estimate what shots of states with bonds of some dimensions take.

    Args:
        bonds: The dimensions of the ``n + 1`` cuts.
        rows: How many states there are.
        shots: Of each.
    """
    floats = [float(min(bond, MOST)) for bond in bonds]
    pairs = list(itertools.pairwise(floats))
    form = sum(8 * left * right * min(left, 2 * right) for left, right in pairs)
    drawn = sum(2 * left * right for left, right in pairs)
    return Cost(_bytes_of(bonds), rows * (form + shots * drawn))


def require_memory(bonds: Sequence[int], rows: int) -> None:
    """Raise :class:`.MemoryLimitError` if so many states' tensors do not fit into memory."""
    memory.require_for(
        rows * _bytes_of(bonds),
        f"Sampling from columns with bonds of dimension {max(bonds)}",
        "Use fewer layers of gates between qubits, take fewer rows at a time, or sample on a "
        "backend.",
    )


def _bytes_of(bonds: Sequence[int]) -> int:
    """The bytes of a state's tensors, their canonical form and that in a measured basis."""
    return 3 * 32 * sum(left * right for left, right in itertools.pairwise(bonds))


class CanonicalStates:
    """States as right-canonical matrix products, from which outcomes are drawn.

    Args:
        tensors: For each of ``n`` sites ``(B, l, 2, r)``: bonds to the left and right, and the
            basis state.
    """

    def __init__(self, tensors: Sequence[ComplexArray]) -> None:
        self._tensors = make_right_canonical(tensors)

    def __len__(self) -> int:
        return len(self._tensors[0])

    def draw(
        self,
        sites: Sequence[int],
        shots: int,
        generator: np.random.Generator,
        axes: Mapping[int, str] | None = None,
    ) -> Bits:
        """Draw outcomes of some sites, each shot on its own.

        Args:
            sites: Which are measured; bit ``j`` of an outcome is that of ``sites[j]``.
            shots: How many to draw from each state.
            generator: Where randomness comes from; states take it one after the other.
            axes: The sites that are measured in ``"X"`` or ``"Y"``.

        Returns:
            Zeros and ones, shape ``(B, shots, len(sites))``.
        """
        if not sites:
            return np.zeros((len(self), shots, 0), np.uint8)
        tensors = self._turned(axes or {})[: max(sites) + 1]
        bonds = np.array([t.shape[1] for t in tensors] + [tensors[-1].shape[3]], dtype=np.int64)
        packed = _pack(tensors)
        starts = np.cumsum([0, *(4 * t.shape[1] * t.shape[3] for t in tensors[:-1])])
        found = np.empty((len(self), shots, len(sites)), np.uint8)
        step = max(1, DRAWN_NUMBERS // len(tensors))
        for row, numbers in enumerate(packed):
            for first in range(0, shots, step):
                uniform = generator.random((min(step, shots - first), len(tensors)))
                bits = _draw(numbers, starts, bonds, uniform)
                found[row, first : first + step] = bits[:, list(sites)]
        return found

    def find_most_likely(self, sites: Sequence[int], tie: float, width: int = WIDTH) -> Bits:
        r"""Return the likeliest outcome of some sites in each state, ``(B, len(sites))``.

        Beginnings of outcomes are followed from the left, the ``width`` most promising ones: an
        outcome that begins with :math:`s_0 \ldots s_{i-1}` is at most as likely as this beginning
        times :math:`\prod_{j \ge i} \max_s \lVert K_j[s]\rVert^2`. What is returned is the
        likeliest for certain.

        Args:
            sites: Which are measured; bit ``j`` of an outcome is that of ``sites[j]``.
            tie: Probabilities that differ by less, relatively, count as equal; of such outcomes it
                is the smallest as a number.
            width: How many beginnings are followed.

        Raises:
            MemoryLimitError: If one that was not followed could lead to a likelier outcome.
        """
        found = np.zeros((len(self), len(sites)), np.uint8)
        for row in range(len(self) if sites else 0):
            tensors = [tensor[row] for tensor in self._tensors[: max(sites) + 1]]
            found[row] = _search(tensors, sites, tie, width)
        return found

    def _turned(self, axes: Mapping[int, str]) -> list[ComplexArray]:
        """Return the tensors with the basis of some sites changed."""
        turned = list(self._tensors)
        for site, axis in axes.items():
            if axis != "Z":
                turn = _TO_X if axis == "X" else _TO_Y
                turned[site] = np.matmul(turn, turned[site])
        return turned


def make_right_canonical(tensors: Sequence[ComplexArray]) -> list[ComplexArray]:
    """Return tensors of the same states, of length one, all but the first of which are isometries.

    Bonds become as narrow as the sites to their right allow. A state's numbers do not depend on
    the states beside it.

    Args:
        tensors: For each site ``(B, l, 2, r)``.
    """
    carried: ComplexArray = np.ones((len(tensors[0]), 1, 1), dtype=complex)
    found: list[ComplexArray] = []
    for tensor in reversed(tensors):
        rows, left, _, right = tensor.shape
        joined = np.matmul(tensor.reshape(rows, 2 * left, right), carried)
        joined = joined.reshape(rows, left, -1)
        isometry, rest = np.linalg.qr(joined.conj().transpose(0, 2, 1))
        found.append(isometry.conj().transpose(0, 2, 1).reshape(rows, -1, 2, carried.shape[2]))
        carried = rest.conj().transpose(0, 2, 1)
        # The norm of what is left may exceed the range of numbers over hundreds of sites.
        carried = carried / np.abs(carried).max(axis=(1, 2), keepdims=True)
    return found[::-1]


def _pack(tensors: Sequence[ComplexArray]) -> FloatArray:
    """Return all tensors as the kernel takes them, ``(B, numbers)``."""
    rows = len(tensors[0])
    parts = [np.ascontiguousarray(t.transpose(0, 2, 3, 1)).reshape(rows, -1) for t in tensors]
    packed: FloatArray = np.concatenate(parts, axis=1).view(float)
    return packed


def _draw(numbers: FloatArray, starts: IntArray, bonds: IntArray, uniform: FloatArray) -> Bits:
    """Return the outcomes ``(shots, k)`` of one state, on several threads if that saves time."""
    from .kernels.draw import LANES, draw  # which takes longer to import than this package

    shots = len(uniform)
    bits = np.empty(uniform.shape, np.uint8)
    parts = min(count_threads(), -(-shots // LANES), -(-shots * len(numbers) // SMALL_WORK))
    step = -(-shots // (LANES * parts)) * LANES

    def draw_part(part: int) -> bool:
        some = slice(part * step, (part + 1) * step)
        draw(numbers, starts, bonds, uniform[some], bits[some])
        return True

    call_in_parallel(draw_part, parts, np.zeros(SIGNALS, dtype=np.int64))
    return bits


def _search(tensors: Sequence[ComplexArray], sites: Sequence[int], tie: float, width: int) -> Bits:
    """Return the likeliest outcome of one state: see :meth:`CanonicalStates.find_most_likely`."""
    measured = set(sites)
    # What an outcome may gain at each site at most, and from there on.
    gains = [
        float(np.linalg.norm(tensor, 2, axis=(0, 2)).max()) ** 2 if site in measured else 1.0
        for site, tensor in enumerate(tensors)
    ]
    bounds = np.cumprod([1.0, *gains[::-1]])[::-1]
    vectors: ComplexArray = np.ones((1, 1, 1), dtype=complex)  # beginnings, traced, bond
    bits: Bits = np.zeros((1, 0), np.uint8)
    dropped = 0.0
    for site, tensor in enumerate(tensors):
        left, _, right = tensor.shape
        count, traced, _ = vectors.shape
        found = np.matmul(vectors, tensor.reshape(left, 2 * right)).reshape(count, traced, 2, right)
        if site not in measured:
            vectors = _trace(found.reshape(count, 2 * traced, right))
            continue
        vectors = found.transpose(0, 2, 1, 3).reshape(2 * count, traced, right)
        bits = np.hstack([np.repeat(bits, 2, axis=0), np.tile([[0], [1]], (count, 1))])
        bits = bits.astype(np.uint8)
        if len(bits) > width:
            weights = _weigh(vectors)
            order = np.argsort(-weights, kind="stable")
            dropped = max(dropped, float(weights[order[width]] * bounds[site + 1]))
            kept = np.sort(order[:width])
            vectors, bits = vectors[kept], bits[kept]
    weights = _weigh(vectors)
    least = weights.max() * (1 - tie)
    if dropped >= least:
        raise MemoryLimitError(
            f"The likeliest outcome of {len(sites)} qubits could not be told among {width} "
            f"candidates: the best of them has probability {weights.max():.3g}, and others may "
            f"have up to {dropped:.3g}. Give shots=, to take the most frequent of as many samples."
        )
    place = {site: column for column, site in enumerate(sorted(measured))}
    best = bits[weights >= least][:, [place[site] for site in sites]]
    smallest: Bits = best[np.lexsort(best.T)[0]]
    return smallest


def _trace(vectors: ComplexArray) -> ComplexArray:
    """Return as few vectors over the bond as make the same mixed states."""
    if vectors.shape[1] <= vectors.shape[2]:
        return vectors
    remaining: ComplexArray = np.asarray(np.linalg.qr(vectors, mode="r"))
    return remaining


def _weigh(vectors: ComplexArray) -> FloatArray:
    """Return the probabilities of beginnings."""
    weights: FloatArray = np.einsum("ptb,ptb->p", vectors, vectors.conj()).real
    return weights
