# SPDX-License-Identifier: Apache-2.0
"""Networks and strings as the tables that kernels read, and where all numbers are in a buffer."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from ...arrays import ComplexArray, FloatArray, IntArray
from ..kernels.tables import Sources, pack
from .kernels.tables import AREA, CUT, EDGE, FACTOR, SITE, STEP
from .network import Network, Turn
from .strings import MATRICES, Automaton

LINE = 64
"""Bytes of a cache line, and of the widest vector."""

TURNS = 8
"""Lines between rows of a matrix from which on they are made an odd number.

Else the rows of a narrow strip would all fall into few places of a core's own cache."""


class Form(NamedTuple):
    """Where numbers are in a buffer, which depends on what it is for.

    Attributes:
        together: Whether rows lie side by side, as many as a vector holds.
        keeps: Whether left environments of all cuts, and products of all columns with environments,
            are kept, not only those at one site.
        samples: Whether the identity alone is read.
    """

    together: bool
    keeps: bool = False
    samples: bool = False


class Sizes(NamedTuple):
    """How large everything is, as Python's numbers.

    Attributes:
        strides: From row to row of a matrix, for each cut.
        columns: The numbers of each site's column.
        environments: Those of the environments on one side of each cut.
        lefts: Those of all left environments that there are at the same time.
        products: Those of all products of columns and environments that are kept.
        half: The largest product of an environment and a column.
        planes: The largest state of a site.
        history: All states of a site after each other, where they are the most.
        matrices: Those of two rows, of all steps, and what else there is for angles and strings.
    """

    strides: list[int]
    columns: list[int]
    environments: list[int]
    lefts: int
    products: int
    half: int
    planes: int
    history: int
    matrices: int

    @property
    def quarter(self) -> int:
        """About how many complex numbers a buffer holds."""
        return (
            sum(self.columns) + sum(self.environments) + self.lefts + self.products
            + 7 * self.half + 2 * self.planes + self.history + self.matrices
        )  # fmt: skip


class Packed(NamedTuple):
    """The tables for the kernels.

    Attributes:
        ints, floats: All of them, as :func:`.pack` has packed them.
        quarter: The numbers of each part of a buffer.
        sites, cuts: Two of them, as they are.
    """

    ints: IntArray
    floats: FloatArray
    quarter: int
    sites: Any
    cuts: Any


def measure(network: Network, automaton: Automaton, form: Form, itemsize: int) -> Sizes:
    """Return how large everything is; nothing of it is allocated.

    Args:
        network: The columns.
        automaton: What is read.
        form: Where numbers are.
        itemsize: The bytes of a real number.
    """
    width = 1 if form.together else LINE // itemsize  # how many numbers of a row a vector holds
    cuts = network.cuts
    strides = [_stride(cut, width) for cut in cuts]
    halves = [2 * a * s for a, s in zip(cuts[:-1], strides[1:], strict=True)]
    turned = [2 * b * s for b, s in zip(cuts[1:], strides[:-1], strict=True)]
    done = [automaton.first_end < cut for cut in range(len(cuts))]
    sizes = [c * s for c, s in zip(cuts, strides, strict=True)]
    environments = [(n + d) * s for n, d, s in zip(automaton.nodes, done, sizes, strict=True)]
    planes, history = [1], [1]
    for steps in network.steps:
        length, total = 1, 2 * width
        for step in steps:
            own = _plane(step.after(length) // step.num_blocks, step.num_blocks, width)
            length = step.after(length)
            total += 2 * own
            planes.append(2 * own)
        history.append(total)
    return Sizes(
        strides, halves, environments, sum(environments) if form.keeps else 2 * max(environments),
        sum(h * (1 + n) for h, n in zip(halves, automaton.nodes, strict=False))
        if form.keeps else 0,
        max(halves + turned), max(planes) + 2 * width, max(history),
        _count_matrices(network, automaton),
    )  # fmt: skip


def lay_out(
    network: Network,
    automaton: Automaton,
    sizes: Sizes,
    form: Form,
    coefficients: scipy.sparse.csr_array,
    sources: Sources,
) -> Packed:
    """Return the tables for the kernels."""
    writer = _Writer(network, automaton, sizes, form.keeps)
    tables = writer.write()
    writer.set_areas(len(sources.offsets), coefficients.shape[1])
    observables = (
        coefficients.indptr.astype(np.int64), coefficients.indices.astype(np.int64),
        coefficients.data.astype(np.float64),
    )  # fmt: skip
    first, last = tables[:7], tables[7:]
    packed = pack((coefficients.shape[1],), (*first, *observables, *last, *sources))
    return Packed(*packed, int(writer.area["quarter"][0]), tables[0], tables[1])


def _count_matrices(network: Network, automaton: Automaton) -> int:
    steps = [step for steps in network.steps for step in steps if step.merge is None]
    ends = sum(edge.target < 0 for edges in automaton.edges for edge in edges)
    factors, blocks = sum(len(s.factors) for s in steps), sum(s.num_blocks for s in steps)
    return 8 * factors + 12 * blocks + 2 * (len(network.rotations) + ends)


def _stride(count: int, width: int) -> int:
    vectors = -(-count // width)
    return width * (vectors + (width > 1 and vectors >= TURNS and vectors % 2 == 0))


def _plane(length: int, blocks: int, width: int) -> int:
    padded = -(-length // width) * width
    return -(-((blocks - 1) * length + padded) // width) * width


class _Writer:
    """Writes the tables of one network."""

    def __init__(self, network: Network, automaton: Automaton, sizes: Sizes, keeps: bool) -> None:
        self.network, self.automaton, self.sizes, self.keeps = network, automaton, sizes, keeps
        self.steps: list[tuple[int, ...]] = []
        self.factors: list[tuple[int, ...]] = []
        self.fixed: list[ComplexArray] = []
        self.blocks: list[ComplexArray] = []
        self.places: list[IntArray] = []
        self.num_places = self.num_blocks = self.num_fixed = 0
        self.area: Any = np.zeros(1, dtype=AREA)
        self.table: Any = None
        self.used = 0

    def write(self) -> tuple[Any, ...]:
        """Return sites, cuts, steps, factors, edges, area, places, and matrices of three kinds."""
        sites: list[tuple[int, ...]] = []
        num_edges = at = 0
        for site in range(self.network.num_sites):
            edges = self.automaton.edges[site]
            sites.append(self._site(site, at, num_edges, any(edge.target < 0 for edge in edges)))
            at += self.sizes.columns[site]
            num_edges += len(edges)
        cuts, numbers = [], self.sizes.environments
        left_at = at + sum(numbers)
        for cut, nodes in enumerate(self.automaton.nodes):
            size = self.network.cuts[cut] * self.sizes.strides[cut]
            left = left_at if self.keeps else left_at + cut % 2 * max(numbers)
            cuts.append((nodes, int(self.automaton.first_end < cut), left, at, size))
            at += numbers[cut]
            left_at += numbers[cut] if self.keeps else 0
        at += self.sizes.lefts
        edges_of_all = [tuple(edge) for edges in self.automaton.edges for edge in sorted(edges)]
        self.used = at
        self.table = np.array(sites, dtype=SITE)
        return (
            self.table, np.array(cuts, dtype=CUT),
            np.array(self.steps, dtype=STEP), np.array(self.factors, dtype=FACTOR),
            np.array(edges_of_all, dtype=EDGE), self.area,
            np.concatenate(self.places), _numbers(self.fixed), _numbers(self.blocks),
            _numbers([MATRICES]),
        )  # fmt: skip

    def _site(self, site: int, at: int, first_edge: int, ends: bool) -> tuple[int, ...]:
        column = self.network.column(site)
        stride, across = self.sizes.strides[site + 1], self.sizes.strides[site]
        first_step, length = len(self.steps), 1
        for step in column.steps:
            first = len(self.factors)
            for factor in step.factors:
                if isinstance(factor, Turn):
                    self.factors.append((factor.slot, factor.letter, -1))
                else:
                    self.factors.append((-1, 0, self.num_fixed))
                    self._fix(factor)
            count, end = step.num_blocks, step.after(length)
            merged = 0 if step.merge is None else step.merge.shape[1]
            places = (first, len(self.factors), count, step.slot, self.num_blocks, end // count)
            self.steps.append((*places, merged, 8 * self.num_fixed))
            if step.merge is None:
                self.num_blocks += count
                self.blocks.append(step.matrices)
            else:
                self._fix(step.merge)
            length = end
        places_at = self._add(column.places, column.right, stride)
        wires_at = self._add(column.wires, column.right, stride)
        return (
            column.left, column.right, across, stride, at, first_step, len(self.steps), places_at,
            len(column.places), wires_at, len(column.wires), first_edge,
            first_edge + len(self.automaton.edges[site]), int(ends), 0, 0, 0,
        )  # fmt: skip

    def _fix(self, numbers: ComplexArray) -> None:
        """Add fixed numbers, as so many as some matrices of two rows hold."""
        count = -(-numbers.size // 4)
        padded = np.zeros(4 * count, dtype=complex)
        padded[: numbers.size] = numbers.ravel()
        self.fixed.append(padded)
        self.num_fixed += count

    def _add(self, places: IntArray, right: int, stride: int) -> int:
        """Add places in a column; return where they start."""
        at = self.num_places
        rows, columns = np.divmod(places, right)
        self.places.append(2 * stride * rows + columns)
        self.num_places += len(places)
        return at

    def set_areas(self, slots: int, strings: int) -> None:
        """Say where everything else is."""
        sizes, half, sites = self.sizes, self.sizes.half, self.table
        if self.keeps:
            for site, numbers, nodes in zip(
                sites, sizes.columns, self.automaton.nodes, strict=False
            ):
                site["half_at"], site["states_at"] = self.used, self.used + numbers
                site["state_size"] = numbers
                self.used += numbers * (1 + nodes)
        counts = {
            "factors_at": 4 * len(self.factors), "products_at": 4 * len(self.factors),
            "weighted_at": 4 * self.num_blocks, "matrices_at": 4 * self.num_blocks,
            "turned_at": 4 * self.num_blocks, "small_at": 8 + LINE,
            "angles_at": slots, "bars_at": slots, "weights_at": strings, "found_at": strings,
            "x_at": half, "y_at": half, "mixed_at": half, "sum_at": half, "done_at": half,
            "transposed_at": half, "cotangent_at": half, "history_at": sizes.history,
            "planes_at": sizes.planes, "other_planes_at": sizes.planes,
        }  # fmt: skip
        starts = itertools.accumulate(counts.values(), _after, initial=self.used)
        for name, start in zip(counts, starts, strict=False):
            self.area[name] = start
        if not self.keeps:
            sites["half_at"], sites["states_at"] = self.area["done_at"][0], self.area["x_at"][0]
        self.area["keeps"] = self.keeps
        end = _after(int(self.area["other_planes_at"][0]), sizes.planes)
        # Parts are not a power of two apart, where they would be in each other's way in the cache.
        self.area["quarter"] = end + (1 - end // 8 % 2) * 8 + 16


def _after(start: int, count: int) -> int:
    """Return the first whole line after some numbers."""
    return -(-(start + count) // LINE) * LINE


def _numbers(matrices: list[ComplexArray]) -> FloatArray:
    """Return real and imaginary parts of matrices in turn."""
    if not matrices:
        return np.zeros(0)
    flat = np.concatenate([np.asarray(m, dtype=complex).ravel() for m in matrices])
    return flat.view(np.float64)
