# SPDX-License-Identifier: Apache-2.0
r"""A circuit cut between qubits: the column of each site, and the variables that join columns.

A rotation :math:`\cos\frac a2 - i \sin\frac a2\,P` about a string on several sites is a sum over
one variable :math:`v \in \{0, 1\}`: each site applies :math:`P^v`, and one of them also the weight
:math:`\cos\frac a2` or :math:`-i\sin\frac a2`. A matrix on several sites is a sum over variables
between them, by its operator-Schmidt decompositions (M. A. Nielsen et al., arXiv:quant-ph/0208077).
A variable crosses every cut between its first and its last site. What the operations do at one site
is the column :math:`K[l, s, r]`: ``l`` and ``r`` are the variables that cross the cuts to its left
and right, ``s`` is the final basis state. The state is the product of all columns, summed over the
variables: a matrix product state of bond dimension :math:`D = \prod_v \dim v`, exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...arrays import ComplexArray, IntArray
from ..tape.operations import Angle, FixedMatrix, Preparation, Rotation
from ..tape.paulis import PauliString

PAULIS: ComplexArray = np.array(
    [[[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]]], dtype=complex
)
"""The matrices of I, Z, X and Y, ``(4, 2, 2)``, numbered by bits for Z and X."""

LONGEST = 6
"""Operations on two sites that are looked at together."""

VANISHING = 1e-14
"""Singular values of a matrix of gates, relative to the largest, that are rounding."""


class Variable(NamedTuple):
    """What joins the columns of the sites from ``first`` to ``last``: it takes ``dim`` values."""

    dim: int
    first: int
    last: int


class Turn(NamedTuple):
    """A rotation of one site: about which Pauli, and the slot of its angle."""

    letter: int
    slot: int


@dataclass
class Step:
    r"""What a column does to the state of its site: some turns, and then a sum over variables.

    Block ``m`` of the new state is :math:`B_m F_k \cdots F_1 \psi`.

    Attributes:
        factors: The :math:`F`: turns, and fixed matrices ``(2, 2)``, in the order of time.
        matrices: The :math:`B`, shape ``(M, 2, 2)``.
        variables: Those that ``m`` counts the values of, the first one slowest.
        slot: If not negative, that of the angle ``a`` by whose :math:`\cos\frac a2` and
            :math:`-i\sin\frac a2` the two blocks are multiplied.
        merge: If not ``None``, coefficients ``(M, N)`` by which the ``N`` outermost blocks become
            ``M``, and there is nothing else to the step but its variables.
    """

    factors: list[Turn | ComplexArray] = field(default_factory=list)
    matrices: ComplexArray = field(default_factory=lambda: PAULIS[:1])
    variables: tuple[int, ...] = ()
    slot: int = -1
    merge: ComplexArray | None = None

    @property
    def slots(self) -> list[int]:
        """Those of all its angles."""
        own = [] if self.slot < 0 else [self.slot]
        return own + [factor.slot for factor in self.factors if isinstance(factor, Turn)]

    @property
    def num_blocks(self) -> int:
        """The blocks ``M`` that it makes."""
        return len(self.matrices if self.merge is None else self.merge)

    def after(self, length: int) -> int:
        """Return the length of the state after it."""
        return self.num_blocks * length // (1 if self.merge is None else self.merge.shape[1])


@dataclass
class _Run:
    """Steps of two sites by operations on both and no others in between.

    Attributes:
        sites: The two.
        steps: Of each of them, in the order of time.
        variables: One for each operation.
    """

    sites: tuple[int, int]
    steps: tuple[list[Step], list[Step]] = field(default_factory=lambda: ([], []))
    variables: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """The column of one site.

    Attributes:
        steps: What it does, in the order of time, from state zero.
        left: The dimension of the cut to its left.
        right: That of the cut to its right.
        places: Where the numbers of its state, block within block, are in ``K``: the sum of
            ``l * right + r``, for each of the variables' values, shape ``(V,)``.
        wires: What is added to them for each value of the variables that pass by, shape ``(W,)``.
    """

    steps: list[Step]
    left: int
    right: int
    places: IntArray
    wires: IntArray


class Network:
    """All columns of a circuit.

    Args:
        operations: Of a tape, those that have an effect.
        preparations: Amplitudes of bits that do not start in zero.
        num_bits: The number ``n`` of bits.
        order: The bits from left to right.

    Attributes:
        order: The bits from left to right.
        rotations: The rotations with parameters, whose angles have the slots ``0 .. S-1``.
        variables: What joins columns.
        cuts: The dimensions of the ``n + 1`` cuts, as Python's numbers.
        lattices: The numbers ``V`` of each column, before what passes by.
    """

    def __init__(
        self,
        operations: Sequence[Rotation | FixedMatrix],
        preparations: Sequence[Preparation],
        num_bits: int,
        order: Sequence[int],
    ) -> None:
        self.num_sites = num_bits
        self.order = list(order)
        self.rotations: list[Rotation] = []
        self.variables: list[Variable] = []
        self._site_of = {bit: site for site, bit in enumerate(self.order)}
        self.steps: list[list[Step]] = [[] for _ in range(num_bits)]
        self._waiting: list[list[Turn | ComplexArray]] = [[] for _ in range(num_bits)]
        self._runs: list[_Run] = []
        self._last_run: dict[int, _Run] = {}
        for preparation in preparations:
            self._prepare(preparation)
        for operation in operations:
            if isinstance(operation, FixedMatrix):
                self._multiply(operation)
            else:
                self._rotate(operation)
        for site, waiting in enumerate(self._waiting):
            if waiting:
                self.steps[site].append(Step(waiting))
        for run in self._runs:
            self._merge(run)
        self.cuts = self._count()
        self.lattices = [
            functools.reduce(lambda length, step: step.after(length), steps, 1)
            for steps in self.steps
        ]

    def column(self, site: int) -> Column:
        """Return the column of a site; its tables are as large as it is itself."""
        left, right = self._strides(site), self._strides(site + 1)
        dim_left, dim_right = self.cuts[site], self.cuts[site + 1]
        places = np.zeros(1, dtype=np.int64)
        acting: set[int] = set()
        for step in self.steps[site]:
            block = np.zeros(1, dtype=np.int64)  # of blocks that will be merged, too
            for v in step.variables:
                acting.add(v)
                stride = left.get(v, 0) * dim_right + right.get(v, 0)
                block = np.add.outer(block, stride * np.arange(self.variables[v].dim)).ravel()
            places = np.add.outer(block, places).ravel()
        wires = np.zeros(1, dtype=np.int64)
        for v, stride in left.items():
            if v not in acting:
                both = stride * dim_right + right[v]
                wires = np.add.outer(both * np.arange(self.variables[v].dim), wires).ravel()
        return Column(self.steps[site], dim_left, dim_right, places, wires)

    def _strides(self, cut: int) -> dict[int, int]:
        """Return how far the values of each variable are apart in the index of a cut."""
        strides, dim = {}, 1
        for v in self._crossing[cut]:
            strides[v] = dim
            dim *= self.variables[v].dim
        return strides

    def _count(self) -> list[int]:
        self._crossing: list[list[int]] = [[] for _ in range(self.num_sites + 1)]
        for v, variable in enumerate(self.variables):
            for cut in range(variable.first + 1, variable.last + 1):
                if variable.dim > 1:
                    self._crossing[cut].append(v)
        return [math.prod(self.variables[v].dim for v in crossing) for crossing in self._crossing]

    def _rotate(self, rotation: Rotation) -> None:
        letters = self._letters(rotation.pauli)
        if not letters:
            return
        angle = rotation.angle
        if (rotation.pauli.k - (rotation.pauli.x & rotation.pauli.z).bit_count()) % 4:
            angle = Angle().plus(angle, -1.0)
        slot = -1
        if not angle.is_fixed:
            slot = len(self.rotations)
            self.rotations.append(Rotation(rotation.pauli, angle))
        if len(letters) == 1:
            ((site, letter),) = letters
            if slot >= 0:
                self._waiting[site].append(Turn(letter, slot))
            else:
                half = angle.offset / 2
                self._apply(site, np.cos(half) * PAULIS[0] - 1j * np.sin(half) * PAULIS[letter])
            return
        first = letters[0][0]
        self.variables.append(Variable(2, first, letters[-1][0]))
        for site, letter in letters:
            matrices = PAULIS[[0, letter]]
            if site == first and slot < 0:
                half = angle.offset / 2
                matrices = matrices * np.array([np.cos(half), -1j * np.sin(half)])[:, None, None]
            self._branch(site, matrices, (len(self.variables) - 1,), slot if site == first else -1)
        if len(letters) == 2:
            self._extend_run(first, letters[1][0])
        else:
            self._end_runs(site for site, _ in letters)

    def _end_runs(self, sites: Iterable[int]) -> None:
        for site in sites:
            self._last_run.pop(site, None)

    def _extend_run(self, first: int, second: int) -> None:
        """Note that the last steps of two sites are by one operation on both."""
        run = self._last_run.get(first)
        if run is None or run is not self._last_run.get(second) or len(run.variables) == LONGEST:
            run = _Run((first, second))
            self._runs.append(run)
            self._last_run[first] = self._last_run[second] = run
        run.variables.append(len(self.variables) - 1)
        for site, steps in zip(run.sites, run.steps, strict=True):
            steps.append(self.steps[site][-1])

    def _merge(self, run: _Run) -> None:
        """Join two sites by fewer values than operations of a run have one by one.

        Where nothing that depends on parameters comes between the operations at one of the sites,
        what it applies is one of ``2**m`` fixed matrices, combinations of at most four. The other
        site adds up its blocks accordingly.
        """
        count = len(run.variables)
        if count < 2:
            return
        best: tuple[int, ComplexArray, ComplexArray] | None = None
        for side in (0, 1):
            steps = run.steps[side]
            if any(isinstance(f, Turn) for step in steps[1:] for f in step.factors):
                continue
            products = steps[0].matrices
            for step in steps[1:]:
                between = functools.reduce(lambda a, b: b @ a, step.factors, PAULIS[0])
                products = ((step.matrices @ between)[:, None] @ products).reshape(-1, 2, 2)
            u, s, v = np.linalg.svd(products.reshape(-1, 4), full_matrices=False)
            rank = int((s > VANISHING * s[0]).sum())
            if rank < (2**count if best is None else len(best[1])):
                best = side, v[:rank].reshape(-1, 2, 2), (u[:, :rank] * s[:rank]).T
        if best is None:
            return
        side, matrices, coefficients = best
        new = len(self.variables)
        self.variables.append(Variable(len(matrices), *run.sites))
        for old in run.variables:
            self.variables[old] = self.variables[old]._replace(dim=1)
        fixed, other = self.steps[run.sites[side]], self.steps[run.sites[1 - side]]
        for one, two in zip(run.steps[side], run.steps[1 - side], strict=True):
            two.slot = max(one.slot, two.slot)
            one.variables = two.variables = ()
        at = _place_of(run.steps[side][0], fixed)
        fixed[at : at + count] = [Step(run.steps[side][0].factors, matrices, (new,))]
        at = _place_of(run.steps[1 - side][-1], other)
        other.insert(at + 1, Step(variables=(new,), merge=coefficients))

    def _letters(self, pauli: PauliString) -> list[tuple[int, int]]:
        """Return sites and letters of a string, from left to right."""
        x, z, _ = pauli
        return sorted(
            (self._site_of[bit], (z >> bit & 1) | (x >> bit & 1) << 1) for bit in _bits(x | z)
        )

    def _multiply(self, operation: FixedMatrix) -> None:
        if len(operation.bits) == 1:
            self._apply(self._site_of[operation.bits[0]], operation.matrix)
            return
        sites, tensors = decompose(operation, self._site_of)
        self._join(sites, tensors)

    def _prepare(self, preparation: Preparation) -> None:
        amplitudes = preparation.amplitudes
        columns = np.zeros((len(amplitudes), len(amplitudes)), dtype=complex)
        columns[:, 0] = amplitudes
        self._multiply(FixedMatrix(preparation.bits, columns))

    def _join(self, sites: Sequence[int], tensors: Sequence[ComplexArray]) -> None:
        """Sum over the bonds ``a`` and ``b`` of tensors ``(a, b, 2, 2)`` on some sites."""
        number = len(self.variables)
        self._end_runs(sites)
        for k, (site, tensor) in enumerate(zip(sites, tensors, strict=True)):
            bonds = []
            if k:
                bonds.append(number + k - 1)
            if k < len(sites) - 1:
                bonds.append(number + k)
                self.variables.append(Variable(tensor.shape[1], site, sites[k + 1]))
            self._branch(site, tensor.reshape(-1, 2, 2), tuple(bonds))

    def _apply(self, site: int, matrix: ComplexArray) -> None:
        """Apply a fixed matrix to one site; neighbours in time are multiplied."""
        waiting = self._waiting[site]
        if waiting and not isinstance(waiting[-1], Turn):
            waiting[-1] = matrix @ waiting[-1]
        else:
            waiting.append(matrix)

    def _branch(
        self, site: int, matrices: ComplexArray, variables: tuple[int, ...], slot: int = -1
    ) -> None:
        waiting = self._waiting[site]
        if len(waiting) == 1 and not isinstance(waiting[0], Turn):
            matrices, waiting = matrices @ waiting[0], []
        self.steps[site].append(Step(waiting, matrices, variables, slot))
        self._waiting[site] = []


def _place_of(step: Step, steps: Sequence[Step]) -> int:
    return next(place for place, other in enumerate(steps) if other is step)


def decompose(
    operation: FixedMatrix, site_of: dict[int, int]
) -> tuple[list[int], list[ComplexArray]]:
    """Return the sites of a matrix from left to right, and its tensors ``(a, b, 2, 2)`` there."""
    count = len(operation.bits)
    by_site = sorted(range(count), key=lambda j: site_of[operation.bits[j]])
    axes = [axis for j in by_site for axis in (count - 1 - j, 2 * count - 1 - j)]
    rest = operation.matrix.reshape((2,) * (2 * count)).transpose(axes).reshape(1, -1)
    tensors: list[ComplexArray] = []
    for _ in range(count - 1):
        bond = len(rest)
        u, s, v = np.linalg.svd(rest.reshape(4 * bond, -1), full_matrices=False)
        rank = max(1, int((s > VANISHING * s[0]).sum()))
        root = np.sqrt(s[:rank])
        tensors.append((u[:, :rank] * root).reshape(bond, 2, 2, rank).transpose(0, 3, 1, 2))
        rest = root[:, None] * v[:rank]
    tensors.append(rest.reshape(len(rest), 1, 2, 2))
    return [site_of[operation.bits[j]] for j in by_site], tensors


def weigh(
    operations: Sequence[Rotation | FixedMatrix], preparations: Sequence[Preparation]
) -> dict[tuple[int, ...], float]:
    """Return the bits of bond that operations on each set of bits take."""
    weights: dict[tuple[int, ...], float] = {}
    for operation in operations:
        if isinstance(operation, FixedMatrix):
            bits, weight = tuple(sorted(operation.bits)), _bond_bits(operation)
        else:
            mask = operation.pauli.x | operation.pauli.z
            bits, weight = tuple(_bits(mask)), 1.0
        weights[bits] = weights.get(bits, 0.0) + weight
    for preparation in preparations:
        bits = tuple(sorted(preparation.bits))
        weights[bits] = weights.get(bits, 0.0) + len(bits) // 2
    return weights


def _bits(mask: int) -> Iterator[int]:
    """Yield the bits that are set, in order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _bond_bits(operation: FixedMatrix) -> float:
    if len(operation.bits) != 2:
        return 2.0 * (len(operation.bits) // 2)
    _, tensors = decompose(operation, {bit: k for k, bit in enumerate(operation.bits)})
    return math.log2(tensors[0].shape[1])
