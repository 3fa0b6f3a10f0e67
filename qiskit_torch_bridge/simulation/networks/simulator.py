# SPDX-License-Identifier: Apache-2.0
"""Expectation values by contraction of the network of each Pauli string, and all derivatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from ... import memory
from ...arrays import BoolArray, ComplexArray, FloatArray, IntArray
from ..expressions import Pair
from ..interface import Cost, Simulator
from .contraction import Contraction
from .contraction import Tensors as Arrays
from .groups import Group
from .network import BOND, FIXED, MATRIX, PAIR, VECTOR
from .orders import Order
from .plan import BLOCK_BYTES, KEPT_BYTES, NetworkPlan
from .pools import Pool, Tensors, Values

SHARED, BY_ROW = 0, 1
_Z = np.array([1.0, -1.0]).astype(complex)


class _Compiled(NamedTuple):
    """A group of networks of one form, ready to be contracted.

    Attributes:
        group: The networks.
        order: How they are contracted.
        contraction: The same compiled.
        pools: For each tensor of the ket the pool that holds it.
        places: For each tensor of the ket where it is there, ``(G,)``, or ``(1,)`` if it is the
            same for all.
    """

    group: Group
    order: Order
    contraction: Contraction
    pools: tuple[int, ...]
    places: tuple[IntArray, ...]


class _Block(NamedTuple):
    """Networks of one group, and rows, that are contracted at once."""

    compiled: int
    networks: slice
    rows: slice


class NetworkSimulator(Simulator):
    r"""Expectation values, and all derivatives, from contractions of tensor networks.

    A :class:`.NetworkPlan` is all that it is made of. It needs cotengra, which the extra
    ``networks`` installs.

    Raises:
        MissingNetworksError: If cotengra is not installed.
        MemoryLimitError: If a contraction does not fit into memory.

    Cost:
        That of contracting the network of each Pauli string in the order that was found; a gradient
        takes about twice as much again, whatever the number of parameters. Networks that are equal
        up to the names of qubits are contracted at once, and those that have the same angles, too,
        once.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        self.analysed, self.tape, self.dtype = plan.analysed, plan.tape, plan.dtype
        self.size = plan.readout.size
        self.is_affine = plan.tape.angle_map.is_affine
        self._columns, self._inputs, self._weights = plan.columns, plan.inputs, plan.weights
        self._coefficients, self._constants = plan.coefficients, plan.constants
        self._estimate, self._count_kept = plan.estimate, plan.count_kept
        for order in plan.orders:
            memory.require_for(
                int(2 * order.written * self.dtype.itemsize),
                "The smallest contraction of a network",
                "Use fewer layers, Exact(dtype='complex64'), which halves it, or another method.",
            )
        tables = plan.tables
        used: dict[tuple[int, int], dict[int, None]] = {}
        for group in plan.groups:
            for numbers in group.numbers:
                for leaf, number in zip(group.form.leaves, numbers, strict=True):
                    if leaf.kind != FIXED:
                        kind = MATRIX if leaf.kind == VECTOR else leaf.kind
                        used.setdefault((leaf.number, kind), {})[number] = None
        num_columns = self._columns.num_inputs + self._columns.num_weights
        self._pools = [
            Pool(
                tables,
                list(used.get((pool, MATRIX), ())),
                list(used.get((pool, PAIR), ())),
                list(used.get((pool, BOND), ())),
                num_columns,
                self.dtype,
            )
            for pool in (SHARED, BY_ROW)
        ]
        self._fixed = [m.astype(self.dtype) for m in tables.constants.matrices]
        self._z = _Z.astype(self.dtype)
        self._compiled = [
            self._compile(*parts)
            for parts in zip(plan.groups, plan.orders, plan.contractions, strict=True)
        ]
        self._needed: dict[tuple[bool, bool], list[list[bool]]] = {}

    def _compile(self, group: Group, order: Order, contraction: Contraction) -> _Compiled:
        pools, places = [], []
        for k, leaf in enumerate(group.form.leaves):
            pools.append(leaf.number)
            if leaf.kind == FIXED:
                places.append(np.zeros(1, dtype=np.int64))
                continue
            pool = self._pools[leaf.number]
            of_number = {PAIR: pool.pair_places, BOND: pool.bond_places}.get(
                leaf.kind, pool.segment_places
            )
            found = np.array([of_number[numbers[k]] for numbers in group.numbers], dtype=np.int64)
            places.append(found[:1] if (found == found[0]).all() else found)
        return _Compiled(group, order, contraction, tuple(pools), tuple(places))

    @override
    def estimate(self, rows: int) -> Cost:
        return self._estimate(rows)

    @override
    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> tuple[FloatArray, Any]:
        rows = len(x)
        memory.require_outputs(rows, self.size)
        if not rows:
            return np.zeros((0, self.size)), None
        values = self._values(*self._extend(x, w))
        numbers = np.empty((self._coefficients.shape[1], rows))
        kept: list[list[ComplexArray]] | None = [] if keep and self._can_keep(rows) else None
        for block in self._blocks(rows):
            contraction = self._compiled[block.compiled].contraction
            leaves = self._leaves(block, [v.tensors for v in values])
            total: Any = 0.0
            for part in range(contraction.num_slices):
                taken = [contraction.take(k, leaf, part) for k, leaf in enumerate(leaves)]
                if kept is None:
                    total = total + contraction.value(taken).real
                else:
                    kept.append(contraction.forward(taken))
                    total = total + kept[-1][-1].real
            places = np.array(self._compiled[block.compiled].group.places)[block.networks]
            numbers[places, block.rows] = total
        found = (self._coefficients @ numbers).T + self._constants
        return np.ascontiguousarray(found), kept

    @override
    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Any = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        extended = self._extend(x, w)
        found = self._vjp(extended, cotangent, kept, wanted)
        return self._columns.pull_back(x, w, found, wanted)

    def _vjp(
        self, extended: Pair, cotangent: FloatArray, kept: Any, wanted: tuple[bool, bool]
    ) -> Pair:
        values = self._values(*extended)
        seeds = self._coefficients.T @ cotangent.T
        gradients = self._no_gradients(values)
        remembered = None if kept is None else iter(kept)
        tensors = [v.tensors for v in values]
        for block in self._blocks(len(cotangent)):
            compiled = self._compiled[block.compiled]
            contraction, needed = compiled.contraction, self._needs(wanted)[block.compiled]
            if not needed[-1]:
                if remembered is not None:
                    for _ in range(contraction.num_slices):
                        next(remembered)
                continue
            seed = self._seed(seeds, block)
            leaves = self._leaves(block, tensors) if remembered is None else []
            for part in range(contraction.num_slices):
                if remembered is None:
                    taken = [contraction.take(k, leaf, part) for k, leaf in enumerate(leaves)]
                    nodes = contraction.forward(taken)
                else:
                    nodes = next(remembered)
                found = contraction.backward(nodes, seed, needed)
                self._add(block, gradients, found, part)
        return self._by_columns(self._by_angles(values, gradients), extended)

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        rows = len(x)
        memory.require_outputs(rows, self.size)
        if not rows:
            return np.zeros((0, self.size))
        extended = self._extend(x, w)
        values = self._values(*extended)
        tangents = self._tangents(values, self._moves(*self._extend_tangents(x, w, dx, dw)))
        numbers = np.zeros((self._coefficients.shape[1], rows))
        tensors, dtensors = [v.tensors for v in values], [t[1] for t in tangents]
        for block in self._blocks(rows):
            compiled = self._compiled[block.compiled]
            contraction = compiled.contraction
            leaves, dleaves = self._leaves(block, tensors), self._dleaves(block, dtensors)
            total: Any = 0.0
            for part in range(contraction.num_slices):
                taken = [contraction.take(k, leaf, part) for k, leaf in enumerate(leaves)]
                along = _take_all(contraction, dleaves, part)
                nodes = contraction.forward(taken)
                found = contraction.forward_tangent(nodes, along)[-1]
                # The bra's share is the conjugate of the ket's.
                total = total if found is None else total + 2 * found.real
            numbers[np.array(compiled.group.places)[block.networks], block.rows] = total
        return np.ascontiguousarray((self._coefficients @ numbers).T)

    @override
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
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        extended = self._extend(x, w)
        values = self._values(*extended)
        moves = self._moves(*self._extend_tangents(x, w, dx, dw))
        tangents = self._tangents(values, moves)
        seeds, dseeds = (self._coefficients.T @ c.T for c in (cotangent, dcotangent))
        gradients, dgradients = self._no_gradients(values), self._no_gradients(values)
        tensors, dtensors = [v.tensors for v in values], [t[1] for t in tangents]
        for block in self._blocks(len(x)):
            contraction = self._compiled[block.compiled].contraction
            needed = self._needs(wanted)[block.compiled]
            if not needed[-1]:
                continue
            seed, dseed = self._seed(seeds, block), self._seed(dseeds, block)
            leaves = self._leaves(block, tensors)
            dleaves = self._dleaves(block, dtensors, both=True)
            for part in range(contraction.num_slices):
                taken = [contraction.take(k, leaf, part) for k, leaf in enumerate(leaves)]
                along = _take_all(contraction, dleaves, part)
                nodes = contraction.forward(taken)
                dnodes = contraction.forward_tangent(nodes, along)
                found, dfound = contraction.backward_tangent(nodes, dnodes, seed, dseed, needed)
                self._add(block, gradients, found, part)
                self._add(block, dgradients, dfound, part)
        by_angles = [
            pool.pull_back_tangent(*parts)
            for pool, *parts in zip(
                self._pools, values, moves, tangents, gradients, dgradients, strict=True
            )
        ]
        return self._columns.pull_back_tangent(
            x, w, lambda: self._by_columns(self._by_angles(values, gradients), extended), (dx, dw),
            self._by_columns(by_angles, extended), wanted,
        )  # fmt: skip

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        self._columns.check_derivatives(x, w, wanted)

    def _extend(self, x: FloatArray, w: FloatArray) -> Pair:
        """Return ``x'`` and ``w'``, or raise unless values and expressions are finite."""
        if not self.is_affine:
            self.analysed.check(self._columns.place(x, w))
        elif not (np.isfinite(x).all() and np.isfinite(w).all()):
            raise self._columns.find_error(self.analysed, x, w)
        return self._columns.extend(x, w)

    def _extend_tangents(
        self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray
    ) -> Pair:
        return (dx, dw) if self.is_affine else self._columns.extend_tangents(x, w, dx, dw)

    def _side_by_side(self, x: FloatArray, w: FloatArray) -> list[FloatArray]:
        """Return what each pool reads: zeros and weights; inputs and weights."""
        shared = np.hstack([np.zeros((len(w), x.shape[1])), w])
        return [shared, np.hstack([x, np.broadcast_to(w, (len(x), w.shape[1]))])]

    def _values(self, x: FloatArray, w: FloatArray) -> list[Values]:
        angles = [p.angles(v) for p, v in zip(self._pools, self._side_by_side(x, w), strict=True)]
        if not all(math.isfinite(float(a.sum())) or np.isfinite(a).all() for a in angles):
            raise self._columns.find_error(
                self.analysed, x[:, : len(self._inputs)], w[:, : len(self._weights)]
            )
        return [p.values(a) for p, a in zip(self._pools, angles, strict=True)]

    def _moves(self, dx: FloatArray, dw: FloatArray) -> list[FloatArray]:
        return [p.moves(v) for p, v in zip(self._pools, self._side_by_side(dx, dw), strict=True)]

    def _tangents(
        self, values: list[Values], moves: list[FloatArray]
    ) -> list[tuple[list[ComplexArray], Tensors]]:
        return [p.tangents(v, m) for p, v, m in zip(self._pools, values, moves, strict=True)]

    def _no_gradients(self, values: list[Values]) -> list[Tensors]:
        return [
            pool.no_gradients(found.phases.shape[1])
            for pool, found in zip(self._pools, values, strict=True)
        ]

    def _by_angles(self, values: list[Values], gradients: list[Tensors]) -> list[FloatArray]:
        return [
            pool.pull_back(found, given)
            for pool, found, given in zip(self._pools, values, gradients, strict=True)
        ]

    def _by_columns(self, by_angles: list[FloatArray], extended: Pair) -> Pair:
        """Return gradients in the shapes of ``x'`` and ``w'``."""
        x, w = extended
        shared, by_row = (p.by_columns(a) for p, a in zip(self._pools, by_angles, strict=True))
        split = x.shape[1]
        gw = by_row[:, split:]
        if len(w) == 1:
            gw = gw.sum(0, keepdims=True)
        return by_row[:, :split], gw + shared[:, split:]

    def _needs(self, wanted: tuple[bool, bool]) -> list[list[bool]]:
        """Return for each group which tensors and results contain what derivatives pass through."""
        found = self._needed.get(wanted)
        if found is None:
            columns = self._columns.wanted(wanted)
            reads = [
                dict(zip((MATRIX, PAIR, BOND), p.reads(columns), strict=True)) for p in self._pools
            ]
            found = []
            for compiled in self._compiled:
                leaves = [False] * compiled.contraction.num_leaves
                for k, leaf in enumerate(compiled.group.form.leaves):
                    if leaf.kind != FIXED:
                        kind = MATRIX if leaf.kind == VECTOR else leaf.kind
                        moved: BoolArray = reads[leaf.number][kind][compiled.places[k]]
                        leaves[k] = bool(moved.any())
                found.append(compiled.contraction.needed(leaves))
            self._needed[wanted] = found
        return found

    def _can_keep(self, rows: int) -> bool:
        return self._count_kept(rows) <= KEPT_BYTES

    def _blocks(self, rows: int) -> Iterator[_Block]:
        """Yield networks and rows that are contracted at once."""
        for place, compiled in enumerate(self._compiled):
            fitting = max(1, int(BLOCK_BYTES / self.dtype.itemsize / compiled.order.written))
            count = len(compiled.group.numbers)
            networks = min(count, max(1, fitting // rows))
            step = min(rows, max(1, fitting // networks))
            for first in range(0, count, networks):
                for start in range(0, rows, step):
                    yield _Block(
                        place,
                        slice(first, min(count, first + networks)),
                        slice(start, min(rows, start + step)),
                    )

    def _seed(self, seeds: FloatArray, block: _Block) -> ComplexArray:
        places = np.array(self._compiled[block.compiled].group.places)[block.networks]
        found: ComplexArray = seeds[places, block.rows].astype(self.dtype)
        return found

    def _take(self, block: _Block, k: int, tensors: Sequence[Tensors]) -> ComplexArray | None:
        """Return the ket's tensor ``k`` for the networks and rows of a block; None if fixed."""
        compiled = self._compiled[block.compiled]
        leaf = compiled.group.form.leaves[k]
        if leaf.kind == FIXED:
            return None
        places = compiled.places[k]
        places = places if len(places) == 1 else places[block.networks]
        held = tensors[leaf.number]
        array = {PAIR: held.pairs, BOND: held.bonds}.get(leaf.kind, held.segments)
        found: ComplexArray = array[places]
        if found.shape[1] > 1:
            found = found[:, block.rows]
        return found[..., 0] if leaf.kind == VECTOR else found

    def _leaves(self, block: _Block, tensors: Sequence[Tensors]) -> list[ComplexArray]:
        """Return all tensors of a block's networks: of the ket, of the bra, and of Z."""
        form = self._compiled[block.compiled].group.form
        ket = []
        for k, leaf in enumerate(form.leaves):
            taken = self._take(block, k, tensors)
            ket.append(self._fixed[leaf.number][None, None] if taken is None else taken)
        return [*ket, *(tensor.conj() for tensor in ket), *[self._z[None, None]] * len(form.middle)]

    def _dleaves(self, block: _Block, tensors: Sequence[Tensors], both: bool = False) -> Arrays:
        """Return the derivatives of the ket's tensors, and of the bra's if both are wanted."""
        form = self._compiled[block.compiled].group.form
        ket = [self._take(block, k, tensors) for k in range(len(form.leaves))]
        bra = [None if t is None or not both else t.conj() for t in ket]
        return [*ket, *bra, *[None] * len(form.middle)]

    def _add(self, block: _Block, gradients: Sequence[Tensors], found: Arrays, part: int) -> None:
        """Add the derivatives by a block's tensors to those by the pools'."""
        compiled = self._compiled[block.compiled]
        contraction = compiled.contraction
        for k, leaf in enumerate(compiled.group.form.leaves):
            gradient = found[k]
            if gradient is None:
                continue
            if contraction.num_slices > 1:
                whole = np.zeros((*gradient.shape[:2], *(2,) * len(leaf.indices)), self.dtype)
                contraction.put(k, whole, gradient, part)
                gradient = whole
            places = compiled.places[k]
            places = places if len(places) == 1 else places[block.networks]
            held = gradients[leaf.number]
            total = {PAIR: held.pairs, BOND: held.bonds}.get(leaf.kind, held.segments)
            if total.shape[1] > 1:
                total = total[:, block.rows]
            np.add.at(total[..., 0] if leaf.kind == VECTOR else total, places, gradient)


def _take_all(contraction: Contraction, tensors: Arrays, part: int) -> Arrays:
    return [t if t is None else contraction.take(k, t, part) for k, t in enumerate(tensors)]
