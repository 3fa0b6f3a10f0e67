# SPDX-License-Identifier: Apache-2.0
"""A circuit and what is read of its state, ready to be evaluated and differentiated exactly."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import override

from ... import memory
from ...arrays import ComplexArray, FloatArray, IntArray
from ...exceptions import CircuitError
from ...program import AnalysedCircuit
from ...program.readouts import Readout
from ..expressions import ExpressionColumns
from ..interface import Cost, Simulator
from ..kernels.tables import LANES, SIGNALS, Sources, pack
from ..tape.compile_tape import Tape
from ..tape.effective import take_leading
from ..tape.operations import FixedMatrix
from ..tape.sources import compile_angles, compile_sources
from ..threads import call_in_parallel, call_interruptibly, call_together, count_threads
from .encoded import EncodedStates, Normalised
from .kernels import kernel
from .kernels.tables import ADJOINT, FORWARD, STATE, TANGENT, TANGENT_ADJOINT, TANGENT_STATE, Layout
from .readouts import CompiledReadout, compile_readout
from .schedule import (
    choose_rows_side_by_side,
    count_contracted,
    count_work,
    lay_out,
    want_derivatives,
)

CACHED_NUMBERS = 1 << 14
"""Amplitudes times rows up to which ket and bra stay in a core's own cache."""
SEPARATE_NUMBERS = 1 << 11
"""The same where rounding is not to depend on how many rows there are: one has no others beside."""
SMALL_WORK = 1 << 20
"""Operations times amplitudes times rows below which starting a thread costs more than it saves."""
LONG_WORK = 1 << 24
"""Operations times amplitudes times rows from which an interrupt is not to wait for the end."""
SHARED_STATE = 1 << 18
"""Amplitudes times rows of a chunk from which several threads share it."""
SMALL_PRODUCT = 64
"""Rotations of single bits times amplitudes below which they are swept as all others are."""
PRODUCT_WORK = 2
"""What preparing a product state costs, and contracting with it, in operations of a sweep."""
KEPT_BYTES = 1 << 28
"""Final states up to this size are kept from the forward pass for the backward pass."""

_VECTORS = {
    FORWARD: 1, ADJOINT: 2, TANGENT: 2, TANGENT_ADJOINT: 4, STATE: 1, TANGENT_STATE: 2,
}  # fmt: skip
_EPS = {np.dtype(f): float(np.finfo(f).eps) for f in (np.float32, np.float64)}
_TANGENTS = (TANGENT, TANGENT_ADJOINT, TANGENT_STATE)
NONE = np.zeros((0, 0))
_NO_SIGNALS = np.zeros(SIGNALS, dtype=np.int64)
_NO_GRADIENT = np.zeros((1, 0, 0))
SPARE_BUFFERS = 4
"""Working memory kept for the next call, in buffers."""
SPARE_BYTES = 1 << 26
"""Buffers up to this size are kept for the next call."""


class FinalStates(NamedTuple):
    """What a forward pass has left: its final states, and the rows side by side in them."""

    rows_t: int
    states: Any


class _Packed(NamedTuple):
    """A layout as the kernels take it.

    Attributes:
        dim: The numbers in one component of a vector.
        sums: The numbers that derivatives are summed up in.
        constants: What it passes to the kernels, and the program with it.
        in_full: Whether the bra is wanted that meets the initial state.
    """

    dim: int
    sums: int
    constants: tuple[Any, ...]
    in_full: bool


class StatevectorSimulator(Simulator):
    r"""What is read of one circuit's state, and all derivatives, from its state vector.

    What it is made of is as :func:`.make_simulator` takes it. For :meth:`vjp` alone the
    coefficients of observables may be complex.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If its state, or what is read of it, does not fit into memory.

    Cost:
        Forward one sweep over the state; a vector-Jacobian product two more, whatever the number
        of parameters and of what is read: a cotangent of observables, of probabilities or of
        amplitudes is one operator or one vector for each row (T. Jones & J. Gacon,
        arXiv:2009.02823). Memory ``2**n * T`` amplitudes for ket and bra each, ``T`` rows at a
        time. Where expressions are not affine, second derivatives take a vector-Jacobian product
        more.
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> None:
        size = 0 if readout is None else readout.size
        compiled = compile_readout(readout, analysed, np.dtype(dtype).itemsize)
        self._set_up(compiled, size, analysed, inputs, weights, dtype)

    @classmethod
    def of_tape(
        cls,
        compiled: CompiledReadout,
        size: int,
        analysed: AnalysedCircuit,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> StatevectorSimulator:
        """Return the simulator of a tape, and what is read of it, that are compiled already.

        Args:
            compiled: Tape and readout.
            size: How many numbers are read.
            analysed: The circuit that the tape's values belong to.
            inputs: The columns of its parameters that ``x`` holds.
            weights: Those that ``w`` holds.
            dtype: ``complex128`` or ``complex64``.
        """
        simulator = cls.__new__(cls)
        simulator._set_up(compiled, size, analysed, inputs, weights, dtype)
        return simulator

    def _set_up(
        self,
        compiled: CompiledReadout,
        size: int,
        analysed: AnalysedCircuit,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self._float = np.dtype(np.float32 if self.dtype == np.complex64 else np.float64)
        tape, self.size = compiled.tape, size
        memory.require(2 * self.dtype.itemsize << tape.num_bits, tape.num_bits)
        self.analysed, self.tape = analysed, tape
        self.sums, self._outputs = compiled.sums, compiled.outputs
        self._is_whole = compiled.is_whole
        operations = [*tape.operations, *compiled.closing]
        leading, rest = take_leading(operations, tape.num_bits)
        if tape.preparations or len(leading) << tape.num_bits < SMALL_PRODUCT:
            leading, rest = [], operations
        self._leading = len(leading)
        self.operations = [*leading, *rest]
        self._columns = ExpressionColumns(tape.angle_map, inputs, weights)
        self.is_affine = tape.angle_map.is_affine
        self._sources = compile_sources(
            self.operations, tape.angle_map, self._columns, inputs, weights
        )
        self._initial, self._encoded = NONE[:0].ravel(), None
        if tape.preparations:
            state = _initial_state(tape)
            self._initial = state.view(float)
            self._encoded = self._encode(state, inputs, weights)
        # Whether all inputs and weights are looked at, since all come up in some rotation.
        read = set(self._sources.columns.tolist())
        if self._encoded is not None:
            read.update(np.flatnonzero(self._encoded.columns).tolist())
        self._reads_all = self.is_affine and len(read) == len(inputs) + len(weights)
        self._constants = self.sums.constants if self.sums.constants.any() else None
        swept = count_work(rest) + PRODUCT_WORK * bool(leading)
        self._work_per_number = math.ceil(swept + compiled.work)
        self._widest = max(
            (len(o.bits) for o in self.operations if isinstance(o, FixedMatrix)), default=0
        )
        self._schedules: dict[int, Layout] = {}
        self._layouts: dict[Any, _Packed] = {}
        self._spare: list[Any] = []
        self._no_states = np.empty((0, 0), self._float)

    def _encode(
        self, state: ComplexArray, inputs: Sequence[int], weights: Sequence[int]
    ) -> EncodedStates | None:
        """Return what makes initial states of values; ``None`` if they depend on none."""
        tape, columns = self.tape, self._columns
        numbers = [number for p in tape.preparations for number in p.numbers]
        if not numbers:
            return None
        sources = compile_angles(numbers, tape.angle_map, columns, inputs, weights)
        return EncodedStates(
            tape.preparations, state, sources, columns.num_inputs, columns.num_weights
        )

    @override
    def estimate(self, rows: int) -> Cost:
        rows_t = self._choose_rows(rows)
        chunks, numbers = -(-rows // rows_t), 2 * rows_t << self.tape.num_bits
        threads, shared = self._threads(chunks, rows_t << self.tape.num_bits)
        kept = chunks * numbers * self._float.itemsize
        work = 2 * numbers * (1 if shared else threads) * self._float.itemsize
        sweeps = (rows << self.tape.num_bits) * self._work_per_number
        values = 2 * 8 * rows * self.size  # and their cotangent
        if self._encoded is not None:
            values += 4 * chunks * numbers * self._float.itemsize  # what is started from, and left
        return Cost(work + values + (kept if kept <= KEPT_BYTES else 0), 3.0 * sweeps)

    @override
    def evaluate(
        self, x: FloatArray, w: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, FinalStates | None]:
        rows_t = self._choose_rows(len(x))
        kept = self._room_for_states(len(x), rows_t) if keep and len(x) else None
        return self._evaluate(rows_t, x, w, kept), kept

    @override
    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        return self._evaluate(self._rows_for_any_number(), x, w, separately=True)

    def _evaluate(
        self,
        rows_t: int,
        x: FloatArray,
        w: FloatArray,
        kept: FinalStates | None = None,
        separately: bool = False,
    ) -> FloatArray:
        evs = self._room_for_values(len(x))
        if not len(x):
            return evs
        self._execute(FORWARD, rows_t, x, w, evs=evs, kept=kept, separately=separately)
        if self._constants is not None:
            evs += self._constants
        if not self._is_whole:
            self._check_norms(evs)
        return evs

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: FinalStates | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        r"""Return the gradients with respect to ``x`` and ``w``: see :meth:`.Simulator.vjp`.

        They are :math:`2\,\mathrm{Re}\langle O\psi|\partial\psi\rangle`; with :math:`i` times a
        Hermitian operator, :math:`2\,\mathrm{Im}\langle\psi|O|\partial\psi\rangle`.
        """
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        rows_t = self._choose_rows(len(x)) if kept is None else kept.rows_t
        found = self._execute(ADJOINT, rows_t, x, w, cotangent=cotangent, kept=kept, wanted=wanted)
        return self._columns.pull_back(x, w, found, wanted)

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        evs = self._room_for_values(len(x))
        if len(x):
            self._execute(TANGENT, self._choose_rows(len(x)), x, w, dx=dx, dw=dw, evs=evs)
        return evs

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
        rows_t = self._choose_rows(len(x))
        given: dict[str, Any] = {"cotangent": cotangent, "wanted": wanted}
        found = self._execute(
            TANGENT_ADJOINT, rows_t, x, w, dx=dx, dw=dw, dcotangent=dcotangent, **given
        )
        return self._columns.pull_back_tangent(
            x, w, lambda: self._execute(ADJOINT, rows_t, x, w, **given), (dx, dw), found, wanted
        )

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        self._columns.check_derivatives(x, w, wanted)

    def states(self, x: FloatArray, w: FloatArray) -> ComplexArray:
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated.

        A state is the same to the last bit, however many others are prepared with it.
        """
        return self._final_vectors(STATE, x, w)[0]

    @override
    def tangent_states(
        self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray
    ) -> tuple[ComplexArray, ComplexArray]:
        states, tangents = self._final_vectors(TANGENT_STATE, x, w, dx=dx, dw=dw)
        return states, tangents

    def _final_vectors(self, mode: int, x: FloatArray, w: FloatArray, **tangents: Any) -> Any:
        """Return the vectors ``(V, B, 2**n)`` that the mode leaves."""
        n, vectors = self.tape.num_bits, _VECTORS[mode]
        rows_t = self._rows_for_any_number()
        chunks = -(-len(x) // rows_t)
        numbers = 2 * vectors * rows_t << n
        memory.require(2 * chunks * numbers * self._float.itemsize, n)  # and as complex numbers
        kept = FinalStates(rows_t, memory.aligned((chunks, numbers), self._float))
        self._execute(mode, rows_t, x, w, evs=np.zeros((len(x), 0)), kept=kept, **tangents)
        parts = kept.states.reshape(chunks, vectors, 2, 1 << n, rows_t)
        found = (parts[:, :, 0] + 1j * parts[:, :, 1]).transpose(1, 0, 3, 2)
        return found.reshape(vectors, chunks * rows_t, -1)[:, : len(x)]

    def _choose_rows(self, rows: int) -> int:
        """Return how many rows to handle side by side."""
        n = self.tape.num_bits
        if (rows << n) * self._work_per_number >= SMALL_WORK:
            rows = -(-rows // count_threads())  # so that there is a chunk for each thread
        most = max(1, CACHED_NUMBERS >> n)
        return choose_rows_side_by_side(min(max(1, rows), most), n, self._widest)

    def _rows_for_any_number(self) -> int:
        """Return how many rows to handle side by side so that rounding depends on none of them."""
        n = self.tape.num_bits
        most = max(1, SEPARATE_NUMBERS >> n)
        return choose_rows_side_by_side(min(LANES, most), n, self._widest)

    def _layout(self, rows_t: int, wanted: tuple[bool, bool]) -> _Packed:
        """Return the layout for ``T`` rows and some derivatives."""
        key = (rows_t, wanted)
        found = self._layouts.get(key)
        if found is None:
            columns = self._columns.wanted(wanted)
            slots = _slots_reading(columns, self._sources)
            in_full = self._encoded is not None and bool((columns & self._encoded.columns).any())
            same = (rows_t, slots.tobytes(), in_full)
            if same not in self._layouts:
                self._layouts[same] = self._lay_out(rows_t, slots, in_full)
            found = self._layouts[key] = self._layouts[same]
        return found

    def _lay_out(self, rows_t: int, slots: NDArray[np.bool_], in_full: bool) -> _Packed:
        """Return the layout in which some derivatives are wanted, or the whole way back."""
        layout = self._schedules.get(rows_t)
        if layout is None:
            layout = lay_out(
                self.operations, self.tape.num_bits, rows_t, self._sources, self._leading
            )
            self._schedules[rows_t] = layout
        layout = want_derivatives(layout, slots)
        wanted = layout.operations["wanted"]
        # The rotations of single bits, which come last there, act first.
        first = int(wanted.argmax()) if wanted.any() else len(wanted)
        if in_full or wanted[layout.swept :].any():
            first = 0
        first_run = int(np.searchsorted(layout.runs["last"], first, "right"))
        arrays = pack((*layout[:3], first_run), layout[3:])
        constants = (*arrays, *self._program, self.sums.paulis.tables, self._initial)
        sums = len(layout.operations) * LANES
        if self._leading:
            sums += count_contracted(layout)
        return _Packed(layout.dim, sums, constants, in_full)

    @functools.cached_property
    def _program(self) -> tuple[IntArray, FloatArray]:
        tables = (*self._sources, *self.sums.paulis[:-1], *self.sums.projections, *self._outputs)
        return pack((), tables)

    def _room_for_values(self, rows: int) -> FloatArray:
        memory.require_outputs(rows, self.size)
        return np.zeros((rows, self.size))

    def _room_for_states(self, rows: int, rows_t: int) -> FinalStates | None:
        chunks = -(-rows // rows_t)
        numbers = 2 * rows_t << self.tape.num_bits
        if chunks * numbers * self._float.itemsize > KEPT_BYTES:
            return None
        return FinalStates(rows_t, memory.aligned((chunks, numbers), self._float))

    def _execute(
        self,
        mode: int,
        rows_t: int,
        x: FloatArray,
        w: FloatArray,
        *,
        dx: FloatArray = NONE,
        dw: FloatArray = NONE,
        cotangent: FloatArray = NONE,
        dcotangent: FloatArray = NONE,
        evs: FloatArray | None = None,
        kept: FinalStates | None = None,
        wanted: tuple[bool, bool] = (True, True),
        separately: bool = False,
    ) -> tuple[FloatArray, FloatArray]:
        """Run one pass of the kernels; gradients are with respect to ``x'`` and ``w'``."""
        given = x, w
        if kept is None or evs is not None:
            self._check(x, w)
        if not self.is_affine:
            x, w = self._columns.extend(*given)
            if mode in _TANGENTS:
                dx, dw = self._columns.extend_tangents(*given, dx, dw)
        rows, inputs = x.shape
        backward = evs is None
        starts = ends = self._no_states
        vectors: list[Normalised] = []
        moved = None
        if self._encoded is not None:
            found = self._encoded.normalise(x, w)
            if found is None:
                raise self._columns.find_error(self.analysed, *given)
            vectors = found
            if mode in _TANGENTS:
                moved = self._encoded.tangents(dx, dw)
            if kept is None or not backward:
                starts = self._encoded.to_chunks(
                    self._encoded.states(vectors, moved), rows_t, self._float
                )
        if evs is None:
            evs, gx = np.empty((rows, 0)), np.zeros((rows, inputs))
        else:
            gx = NONE
        layout = self._layout(rows_t, wanted)
        chunks = -(-rows // rows_t)
        if backward and layout.in_full:
            ends = np.empty((chunks, _VECTORS[mode] * layout.dim), self._float)
        threads, shared = self._threads(chunks, layout.dim, separately)
        copies = 1 if shared else threads  # of everything that threads write to
        gw = np.zeros((copies, *w.shape)) if backward else _NO_GRADIENT
        totals = np.empty((threads, max(layout.sums, len(self.sums.paulis.entries) * LANES)))
        states = self._no_states if kept is None else kept.states
        stays = kept is not None and not backward  # the kernel works where the states are kept
        buffers = self._buffers(1 if stays else 2 * _VECTORS[mode] * layout.dim, copies)
        execute = kernel(mode in _TANGENTS)
        long = layout.dim * chunks * self._work_per_number >= LONG_WORK
        long = long or not getattr(execute, "overloads", True)  # it takes seconds to compile
        signals = np.zeros(SIGNALS, dtype=np.int64) if long or threads > 1 else _NO_SIGNALS
        arrays = (signals, *layout.constants, x, w, dx, dw, cotangent, dcotangent)

        def run(first: int, last: int, part: int = 0, parts: int = 1, copy: int = 0) -> bool:
            return execute(
                mode, first, last, part, parts, *arrays, buffers[copy], states, starts, ends,
                totals[copy:], evs, gx, gw[copy % len(gw)],
            )  # fmt: skip

        def run_with_threads() -> bool:
            if threads == 1:
                return run(0, chunks)
            # Loads the kernel; threads that load it and wait for each other would not end.
            run(0, 0)
            if shared:
                finite = call_together(lambda part: run(0, chunks, part, threads), threads, signals)
                return run(0, chunks) if finite is None else finite  # others have the threads
            bounds = [chunks * part // threads for part in range(threads + 1)]
            return call_in_parallel(
                lambda part: run(bounds[part], bounds[part + 1], copy=part), threads, signals
            )

        finite = call_interruptibly(run_with_threads, signals) if long else run_with_threads()
        self._spare_buffers(buffers)
        if not finite:
            raise self._columns.find_error(self.analysed, *given)
        gw = gw.sum(0) if len(gw) > 1 else gw[0]
        if len(ends):
            assert self._encoded is not None
            bras = self._encoded.from_chunks(ends, rows, _VECTORS[mode] // 2)
            further_x, further_w = self._encoded.pull_back(vectors, moved, *bras)
            gx += further_x
            gw += further_w if len(gw) == rows else further_w.sum(0, keepdims=True)
        return gx, gw

    def _check(self, x: FloatArray, w: FloatArray) -> None:
        """Raise the error for values that are not finite where the kernels would not see it."""
        if not self.is_affine:
            self.analysed.check(self._columns.place(x, w))
        elif not self._reads_all:
            # A product sums up faster than isfinite; where it exceeds the range of numbers, each
            # of them is looked at.
            total = np.vdot(x, x) + np.vdot(w, w)
            if not math.isfinite(total) and not (np.isfinite(x).all() and np.isfinite(w).all()):
                raise self._columns.find_error(self.analysed, x, w)

    def _check_norms(self, amplitudes: FloatArray) -> None:
        """Raise unless the amplitudes that are read are all that there is of each state.

        Each operation rounds each amplitude once or twice.
        """
        missing = 1 - np.einsum("bi,bi->b", amplitudes, amplitudes)
        rounding = 16 * (len(self.operations) + 4) * _EPS[self._float]
        if len(missing) and missing.max() > rounding:
            raise CircuitError(
                "Expected all qubits but those whose amplitudes are read to be in state zero at "
                f"the end; row {int(missing.argmax())} leaves them in other states with "
                f"probability {missing.max():.3g}, so that there is no state of the others alone. "
                "Read all qubits, or let the circuit bring its ancilla qubits back to zero."
            )

    def _threads(self, chunks: int, dim: int, separately: bool = False) -> tuple[int, bool]:
        """Return the number of threads, and whether they share each chunk's state.

        The threads that share a state add up what each has read of it, which rounding tells: where
        rows are evaluated separately they share each one that is large enough, or none.
        """
        if separately and dim >= SHARED_STATE:
            chunks = 1
        if dim * chunks * self._work_per_number < SMALL_WORK:
            return 1, False
        threads = count_threads()
        if threads == 1:
            return 1, False
        if chunks >= threads or dim < SHARED_STATE:
            return min(threads, chunks), False
        return threads, True

    def _buffers(self, numbers: int, count: int) -> list[Any]:
        fitting = []
        for _ in range(count):
            try:
                buffer = self._spare.pop()  # atomic
            except IndexError:
                break
            if len(buffer) >= numbers:
                fitting.append(buffer)
        if len(fitting) == count:
            return fitting
        memory.require(numbers * count * self._float.itemsize, self.tape.num_bits)
        missing = range(count - len(fitting))
        return fitting + [memory.aligned((numbers,), self._float) for _ in missing]

    def _spare_buffers(self, buffers: list[Any]) -> None:
        for buffer in buffers:
            if len(self._spare) < SPARE_BUFFERS and buffer.nbytes <= SPARE_BYTES:
                self._spare.append(buffer)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_spare"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _spare=[])


def _slots_reading(columns: NDArray[np.bool_], sources: Sources) -> NDArray[np.bool_]:
    """Return for each slot whether one of its sources is among the columns."""
    slot_of = np.repeat(np.arange(len(sources.offsets)), np.diff(sources.starts))
    return np.bincount(slot_of, columns[sources.columns], len(sources.offsets)) > 0


def _initial_state(tape: Tape) -> ComplexArray:
    """Return the initial state, in which bits are zero whose amplitudes depend on values."""
    memory.require(32 << tape.num_bits, tape.num_bits)
    fixed = [p for p in tape.preparations if not p.numbers]
    bits = [b for p in fixed for b in p.bits]
    amplitudes = np.ones(1, dtype=complex)
    for preparation in fixed:
        amplitudes = np.kron(preparation.amplitudes, amplitudes)
    index = np.zeros(len(amplitudes), dtype=np.int64)
    for j, bit in enumerate(bits):
        index |= (np.arange(len(amplitudes)) >> j & 1) << bit
    state = np.zeros(1 << tape.num_bits, dtype=complex)
    state[index] = amplitudes
    return state
