# SPDX-License-Identifier: Apache-2.0
r"""In which blocks of the state a tape's rotations act, as tables on a device.

A state that fits a program's registers is swept in one launch, several rows to a program if it is
small. A larger one is cut into *runs*, see :mod:`.simulation.statevector.schedule`: rotations that
never leave the cosets of a subspace that fits, the lowest five bits of the index among it, so that
warps read whole lines of memory. Each run is one launch that reads and writes the state once.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...simulation.statevector.schedule import Run, schedule
from ...simulation.tape.operations import FixedMatrix, Rotation

LANE_BITS = 5
"""Threads of a warp; and as many amplitudes that lie side by side in memory."""

THREAD_BYTES = 128
"""Of all vectors in a thread's registers. As much again is what it exchanges; with all else, two
programs of eight warps fit on a multiprocessor, one of which computes while the other one waits for
memory."""

MOST_REGISTER_BITS = 3
"""The kernel has a branch for each mask of registers and of imaginary parts."""

MOST_WARP_BITS = 4
"""Of the warps of a program whose registers hold a whole state."""

RUN_WARP_BITS = 3
"""Of the warps of a program that holds a coset."""

COSET_BITS = 10
"""Of a coset's number, how many one table is for."""

MOST_ROTATIONS = 32
"""In one launch where it leaves partial sums, so that these take an eighth of a vector at most."""


class Mode(enum.Enum):
    """Which vectors a sweep carries along: the ket, a bra, and tangents of what there is."""

    KET = (False, False)
    TANGENT = (False, True)
    ADJOINT = (True, False)
    TANGENT_ADJOINT = (True, True)

    @property
    def has_bra(self) -> bool:
        """Whether there is a bra."""
        return self.value[0]

    @property
    def has_tangents(self) -> bool:
        """Whether there are tangents."""
        return self.value[1]


class Block(NamedTuple):
    """How many bits of an amplitude's place in a block are which.

    Attributes:
        registers: Those of registers, without that of imaginary parts.
        threads: Those of threads that tell amplitudes of one state apart.
        warps: Those of a program's warps.
    """

    registers: int
    threads: int
    warps: int

    @property
    def dimension(self) -> int:
        """Of the subspace in whose cosets rotations act."""
        return self.registers + self.threads

    @property
    def lanes(self) -> int:
        """Bits of threads of one warp and one row."""
        return min(self.threads, LANE_BITS)

    @property
    def groups(self) -> int:
        """Bits of a program's threads that are not of one warp and one row."""
        return self.warps + LANE_BITS - self.lanes

    @property
    def rows(self) -> int:
        """How many states a program has."""
        return 1 << (self.warps + LANE_BITS - self.threads)


def choose_block(mode: Mode, dtype: torch.dtype, num_bits: int) -> Block:
    """Return the block in which states are swept: whole states if they fit into registers."""
    vectors = (1 + mode.has_bra) * (1 + mode.has_tangents)
    amplitudes = THREAD_BYTES // (2 * vectors * dtype.itemsize)
    registers = min(MOST_REGISTER_BITS, amplitudes.bit_length() - 1)
    threads = max(0, num_bits - registers)
    # Sixteen warps have 128 registers for each thread, too few for numbers of two.
    if threads <= LANE_BITS + MOST_WARP_BITS - (dtype == torch.float64):
        return Block(registers, threads, max(0, threads - LANE_BITS))
    return Block(registers, LANE_BITS + RUN_WARP_BITS, RUN_WARP_BITS)


@dataclass(frozen=True)
class Launch:
    """Rotations that one launch applies.

    Attributes:
        first: Their first record.
        last: The record after their last one.
        places: Where amplitudes are; see :func:`.runs.sweep`.
        log_cosets: Bits of a coset's number.
        slots: Their slots.
    """

    first: int
    last: int
    places: Tensor
    log_cosets: int
    slots: Tensor


@dataclass(frozen=True)
class Matrix:
    """A fixed matrix that torch applies, as real numbers on a device.

    Attributes:
        bits: Which bits of the index it acts on, the first one least significant.
        matrix: Real and imaginary part, ``(2, 2**k, 2**k)`` in double precision.
    """

    bits: tuple[int, ...]
    matrix: Tensor


@dataclass(frozen=True)
class Sweep:
    """A tape's tables for one mode.

    Attributes:
        block: The block.
        steps: What is done one after the other.
        records: Four numbers for each rotation, ``(rotations, 4)``: the masks of its ``x`` and of
            its signs within the block, sixteen bits each; its ``z``, with the sign of ``G`` in the
            highest bit; twice its slot, and 1 if its derivative is wanted; and the place that its
            derivative has in the table of a launch.
        first: The first rotation whose derivative is wanted; those before it are not undone.
    """

    block: Block
    steps: tuple[Launch | Matrix, ...]
    records: Tensor
    first: int


class RunTables:
    """All tables of a tape on a device, made when they are first needed.

    Args:
        operations: The tape.
        num_bits: How many bits the index has.
        dtype: ``torch.float32`` or ``torch.float64``.
        device: Where the states are.
        wanted: Which rotations' derivatives are wanted, by slot; all by default.
    """

    def __init__(
        self,
        operations: Sequence[Rotation | FixedMatrix],
        num_bits: int,
        dtype: torch.dtype,
        device: torch.device,
        wanted: NDArray[np.bool_] | None = None,
    ) -> None:
        self.operations, self.num_bits = tuple(operations), num_bits
        self.dtype, self.device = dtype, device
        self.slots = sum(isinstance(o, Rotation) for o in operations)
        self._wanted = np.ones(self.slots, dtype=np.bool_) if wanted is None else wanted
        self._sweeps: dict[Mode, Sweep] = {}
        self._of_all = self

    def want(self, wanted: NDArray[np.bool_]) -> RunTables:
        """Return tables that share all but which derivatives are wanted, by slot."""
        tables = RunTables(self.operations, self.num_bits, self.dtype, self.device, wanted)
        tables._of_all = self._of_all
        return tables

    def sweep(self, mode: Mode) -> Sweep:
        """Return the tables for a mode."""
        if mode not in self._sweeps:
            if self._of_all is self:
                found = lay_out_blocks(
                    self.operations, self.num_bits, choose_block(mode, self.dtype, self.num_bits),
                    self.device,
                )  # fmt: skip
            else:
                found = self._of_all.sweep(mode)
            self._sweeps[mode] = want_derivatives(found, self._wanted)
        return self._sweeps[mode]


def lay_out_blocks(
    operations: Sequence[Rotation | FixedMatrix], num_bits: int, block: Block, device: torch.device
) -> Sweep:
    """Return the tables of a tape for some block, all derivatives being wanted."""
    slots = [*itertools.accumulate((isinstance(o, Rotation) for o in operations), initial=0)]
    steps: list[Launch | Matrix] = []
    records: list[tuple[int, int, int, int]] = []
    known: dict[tuple[int, ...], Tensor] = {}
    for run in _runs(operations, num_bits, block):
        first = operations[run.operations[0]]
        if isinstance(first, FixedMatrix):
            parts = np.stack([first.matrix.real, first.matrix.imag])
            matrix = torch.as_tensor(parts, dtype=torch.float64, device=device)
            steps.append(Matrix(first.bits, matrix))
            continue
        rotations = {p: o for p in run.operations if isinstance(o := operations[p], Rotation)}
        vectors = _order_vectors(run, rotations.values(), num_bits, block)
        places = tuple(_places(vectors, run.free_bits(num_bits), num_bits, block))
        if places not in known:
            known[places] = torch.tensor(places, dtype=torch.int32, device=device)
        log_cosets = max(0, num_bits - block.dimension)
        most = MOST_ROTATIONS if log_cosets else len(rotations)
        for begin in range(0, len(rotations), most):
            some = [*rotations.items()][begin : begin + most]
            of = torch.tensor([slots[p] for p, _ in some], dtype=torch.int64, device=device)
            end = len(records) + len(some)
            steps.append(Launch(len(records), end, known[places], log_cosets, of))
            for place, (p, rotation) in enumerate(some):
                masks, z = _masks(rotation, vectors, block)
                records.append((masks, z, 2 * slots[p] + 1, place if log_cosets else slots[p]))
    table = torch.tensor(records, dtype=torch.int32).reshape(-1, 4).to(device)
    return Sweep(block, tuple(steps), table, 0)


def want_derivatives(sweep: Sweep, wanted: NDArray[np.bool_]) -> Sweep:
    """Return the tables with the derivatives of some rotations, by slot, being wanted."""
    records = sweep.records.cpu().numpy().copy()
    slots = records[:, 2] >> 1
    records[:, 2] = 2 * slots + wanted[slots]
    first = int(wanted[slots].argmax()) if wanted[slots].any() else len(slots)
    table = torch.from_numpy(records).to(sweep.records.device)
    return dataclasses.replace(sweep, records=table, first=first)


def _runs(
    operations: Sequence[Rotation | FixedMatrix], num_bits: int, block: Block
) -> Iterator[Run]:
    """Yield the runs; where a block has a whole state, there is one between two matrices."""
    if num_bits > block.dimension:
        yield from schedule(operations, num_bits, LANE_BITS, block.dimension - LANE_BITS)
        return
    low = min(block.lanes, num_bits)
    lanes, pivots = tuple(range(low)), tuple(range(low, num_bits))
    basis = tuple(1 << b for b in pivots)
    kinds = itertools.groupby(enumerate(operations), lambda item: isinstance(item[1], Rotation))
    for rotates, items in kinds:
        positions = [(position,) for position, _ in items]
        for part in [tuple(positions)] if rotates else [(position,) for position in positions]:
            yield Run(basis, pivots, lanes, part)


def _order_vectors(
    run: Run, rotations: Iterable[Rotation], num_bits: int, block: Block
) -> list[tuple[int, int]]:
    """Return the vectors of a run and their pivots, those of lanes first.

    Warps, whose exchanges are slow, get those that the fewest rotations displace by, and registers
    those by which the most do.
    """
    uses = dict.fromkeys(run.pivots, 0)
    for rotation in rotations:
        for pivot in uses:
            uses[pivot] += rotation.pauli.x >> pivot & 1
    high = sorted(zip(run.basis, run.pivots, strict=True), key=lambda item: uses[item[1]])
    lanes = [(1 << b, b) for b in run.lanes]
    warps = block.threads - block.lanes
    return [*lanes, *high[:warps], *high[warps:]]


def _masks(rotation: Rotation, vectors: Sequence[tuple[int, int]], block: Block) -> tuple[int, int]:
    """Return the first two numbers of a rotation's record."""
    x, z, k = rotation.pauli
    imaginary = 1 << (block.registers + block.warps + LANE_BITS)
    mask = key = 0
    for j, (vector, pivot) in enumerate(vectors):
        place = 1 << (j if j < block.threads else j - block.threads + block.warps + LANE_BITS)
        mask |= place * (x >> pivot & 1)
        key |= place * ((vector & z).bit_count() & 1)
    if k % 2 == 0:
        mask, key = mask | imaginary, key | imaginary
    is_negative = (k in (2, 3)) != (k % 2 == 1)
    return mask | key << 16, z - (is_negative << 31)


def _places(
    vectors: Sequence[tuple[int, int]], free: int, num_bits: int, block: Block
) -> Iterator[int]:
    """Yield indices by thread, by register, and by the low and high bits of a coset's number."""
    masks = [vector for vector, _ in vectors]
    threads = _span(masks[: block.threads])
    for _ in range(block.rows):
        yield from threads
    registers = _span(masks[block.threads :])
    outside = 1 << num_bits  # where there are fewer amplitudes than registers
    yield from registers + [outside] * ((1 << block.registers) - len(registers))
    bits = [1 << b for b in range(num_bits) if free >> b & 1]
    yield from _span(bits[:COSET_BITS])
    yield from _span(bits[COSET_BITS:])


def _span(basis: Iterable[int]) -> list[int]:
    elements = [0]
    for vector in basis:
        elements += [e ^ vector for e in elements]
    return elements
