# SPDX-License-Identifier: Apache-2.0
r"""The state vector by Triton's kernels: on CUDA, to second order.

It reads the tape that :class:`.StatevectorSimulator` does, and does what that one does, row by row
of the batch side by side: angles from inputs and weights, all runs of rotations, what is read of
the states; and for derivatives the bra of the cotangent, all runs undone on bra and ket, and the
chain rule back. What is rare is done by the operations of torch that :class:`.PlainStatevector` is
made of: expressions that are not affine, initial states that depend on values, products of
projectors, probabilities and amplitudes.

Everything is on torch's current stream and in memory of torch's allocator. After the first call
for each kind of derivative, which puts tables on the device, nothing is copied from or to it and
nothing waits for it, so that a CUDA graph can record a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import BoolArray
from ..exceptions import DeviceError
from ..program import AnalysedCircuit
from ..program.readouts import Readout
from ..simulation.statevector.readouts import CompiledReadout, compile_readout
from . import device_memory
from .initial_states import InitialStates
from .interface import Pair, TensorSimulator, keep_precision
from .kernels import launch
from .kernels.angles import (
    AngleTables,
    Transposed,
    compute_angles,
    make_angle_tables,
    pull_back,
    transpose,
)
from .kernels.observables import expect, make_observable_tables, observe
from .kernels.plan import RunTables
from .plain import PARTS
from .projections import ProjectedProducts
from .readouts import StateReadout, make_readout
from .tapes import TapeAngles

MOST_BITS = 31
"""Of a state: its indices are whole numbers of 32 bits with a sign."""
SPARE = 16
"""What states take, over what sums of derivatives by cosets and warps take beside them at most."""

Wanted = tuple[bool, bool]
Angles = tuple[Tensor, Tensor]
"""Cosines and sines of half of all angles."""


class FinalStates:
    """What a forward pass has left: its final states, and cosines and sines.

    The backward pass undoes the circuit where the states are, so that only the first one has them.
    """

    def __init__(self, states: Tensor, angles: Angles) -> None:
        self._states, self.angles = [states], angles

    def take(self) -> Tensor | None:
        """Return the states, once."""
        try:
            return self._states.pop()  # atomic
        except IndexError:
            return None


class TritonStatevector(TensorSimulator):
    r"""What is read of one circuit's state on CUDA, with first and second derivatives.

    Args:
        analysed: The circuit.
        readout: What is read; ``None`` for states alone.
        inputs: The columns of its parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        dtype: ``torch.complex128`` or ``torch.complex64``.
        device: Where everything is; the processor, if Triton interprets its kernels.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If its state, or what is read of it, does not fit into memory.
        DeviceError: If it is of more bits than the kernels count.

    Cost:
        Forward one read and write of the state for each run, and one launch for all of them if a
        state fits into the registers of a program; backward the same for ket and bra. A batch is
        taken in chunks where its states do not fit at once. Beside those, a step has few launches:
        one for the angles, one or two for the expectation values of all observables, one for the
        bra, one for the derivatives of each run, and one or two for the gradient. Where expressions
        are not affine, second derivatives take a gradient more.
    """

    order = 2.0
    kernels = "triton"
    method = "statevector"

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.device, self.dtype = device, dtype
        self._float = PARTS[dtype]
        self.size = 0 if readout is None else readout.size
        require = device_memory.for_states(device)
        compiled = compile_readout(readout, analysed, dtype.itemsize, require)
        self.tape = compiled.tape
        if self.tape.num_bits > MOST_BITS:
            raise DeviceError(
                f"Expected at most {MOST_BITS} qubits that a state on CUDA depends on; got "
                f"{self.tape.num_bits}. Use Exact(kernels='torch')."
            )
        self._columns = TapeAngles(compiled, inputs, weights, device)
        self._num_inputs, self._num_weights = len(inputs), len(weights)
        self._is_affine = self.tape.angle_map.is_affine
        self._sources = self._columns.sources
        rotations = self._columns.num_rotations
        of_rotations = self._sources._replace(
            starts=self._sources.starts[: rotations + 1], offsets=self._sources.offsets[:rotations]
        )
        self._angles: AngleTables = make_angle_tables(of_rotations, device)
        operations = [*self._columns.leading, *self._columns.rest]
        self._runs = RunTables(operations, self.tape.num_bits, self._float, device)
        self._start: InitialStates | None = None
        if self.tape.preparations:
            self._start = InitialStates(self.tape, self._columns, device, self._float)
        self._readout = self._make_readout(compiled)
        self._backward: dict[Wanted, tuple[RunTables, Transposed]] = {}

    def _make_readout(self, compiled: CompiledReadout) -> StateReadout:
        if len(compiled.outputs.states) or len(compiled.outputs.powers):
            return make_readout(compiled, self.device, self._float)
        return _Observables(compiled, self.device, self._float)

    @torch.no_grad()
    def evaluate(self, x: Tensor, w: Tensor, keep: bool = False) -> tuple[Tensor, object]:
        """Return what is read of the states, ``(B, S)``, and the final states if they are kept.

        Where amplitudes are read and qubits left out are not in state zero, a row is not a number.
        """
        with keep_precision(self.device):
            kept, found = None, [x.new_empty((0, self.size))]
            for at in self._chunks(len(x), 2 if keep else 1):
                state, angles = self._run(x[at], _rows(w, at))
                found.append(self._readout.read(state))
                if keep and len(x) == len(state[0]):
                    kept = FinalStates(state, angles)
            return _join(found), kept

    @torch.no_grad()
    def vjp(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        kept: object = None,
        wanted: Wanted = (True, True),
    ) -> Pair:
        """Return the gradients with respect to ``x`` and ``w``: see :meth:`.TensorSimulator.vjp`.

        The coefficients of observables may be complex: see :meth:`.StatevectorSimulator.vjp`.
        """
        with keep_precision(self.device):
            state = kept.take() if isinstance(kept, FinalStates) else None
            angles = kept.angles if isinstance(kept, FinalStates) else None
            found = []
            for at in self._chunks(len(x), 2) if state is None else [slice(0, len(x))]:
                given, known = (x[at], _rows(w, at)), angles
                if known is not None and at != slice(0, len(x)):  # there is less memory than before
                    known = known[0][:, at].contiguous(), known[1][:, at].contiguous()
                gradient = self._gradient(*given, cotangent[at], state, known, wanted)
                found.append(self._to_columns(*given, gradient, wanted))
            return _sum_up(x, w, found)

    @torch.no_grad()
    def tangent(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, S)`` of what is read along ``dx`` and ``dw``."""
        with keep_precision(self.device):
            found = [x.new_empty((0, self.size))]
            for at in self._chunks(len(x), 2):
                given = x[at], _rows(w, at), dx[at], _rows(dw, at)
                state, moved, _ = self._run_tangent(*given)
                found.append(self._readout.tangent(state, moved))
            return _join(found)

    @torch.no_grad()
    def vjp_tangent(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dcotangent: Tensor,
        wanted: Wanted = (True, True),
    ) -> Pair:
        """Return the derivatives of :meth:`vjp` along ``dx``, ``dw`` and ``dcotangent``."""
        with keep_precision(self.device):
            found = []
            for at in self._chunks(len(x), 4):
                given, moved = (x[at], _rows(w, at)), (dx[at], _rows(dw, at))
                c, dc = cotangent[at], dcotangent[at]
                turned = self._turned_gradient(*given, *moved, c, dc, wanted)
                if self._is_affine:
                    found.append(self._to_columns(*given, turned, wanted))
                    continue
                gradient = self._gradient(*given, c, None, None, wanted)
                found.append(
                    self._columns.pull_back_tangent(*given, gradient, *moved, turned, wanted)
                )
            return _sum_up(x, w, found)

    @torch.no_grad()
    def states(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated."""
        with keep_precision(self.device):
            self._require(2 * len(x) * self.dtype.itemsize << self.tape.num_bits)
            return torch.complex(*self._run(x, w)[0].unbind(0))

    def _chunks(self, rows: int, vectors: int) -> Iterator[slice]:
        """Yield the rows whose states fit into memory at once, so many vectors for each.

        Raises:
            MemoryLimitError: If those of a single one do not fit.
        """
        each = vectors * self.dtype.itemsize << self.tape.num_bits
        each += each // SPARE + 8 * 4 * len(self._sources.offsets)
        most = rows
        if not device_memory.fits(rows * each, self.device):
            self._require(each)
            most = max(1, device_memory.available(self.device) // each)
        for first in range(0, rows, max(1, most)):
            yield slice(first, min(first + most, rows))

    def _require(self, needed: int) -> None:
        device_memory.for_states(self.device)(needed, self.tape.num_bits)

    def _new(self, rows: int) -> Tensor:
        shape = 2, rows, 1 << self.tape.num_bits
        return torch.empty(shape, dtype=self._float, device=self.device)

    def _run(self, x: Tensor, w: Tensor, angles: Angles | None = None) -> tuple[Tensor, Angles]:
        """Return the final states, and cosines and sines if they are not known already."""
        if angles is None:
            cosines, sines = compute_angles(self._angles, *self._columns.extend(x, w), self._float)
            angles = cosines, sines
        if self._start is None:
            state = self._new(len(x))
        else:
            state = self._start(self._numbers(x, w)).contiguous()
        launch.apply(state, *angles, self._runs, from_zero=self._start is None)
        return state, angles

    def _run_tangent(
        self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the final states, their derivatives, and what has been computed of angles."""
        moved = self._columns.extend_tangents(x, w, dx, dw)
        further = self._columns.extend(x, w)
        cosines, sines, halves = compute_angles(self._angles, *further, self._float, moved)
        angles = cosines, sines, halves
        if self._start is None:
            state, tangent = self._new(len(x)), self._new(len(x))
        elif self._start.depends:
            numbers, turned = self._columns(x, w), self._columns.tangents(x, w, dx, dw)
            state = self._start(numbers).contiguous()
            tangent = self._start.tangent(numbers, turned).contiguous()
        else:
            state = self._start(self._numbers(x, w)).contiguous()
            tangent = torch.zeros_like(state)
        launch.apply_tangent(state, tangent, *angles, self._runs, from_zero=self._start is None)
        return state, tangent, angles

    def _numbers(self, x: Tensor, w: Tensor) -> Tensor:
        """Return what initial states depend on, ``(slots, B)``; no slots if they depend on none."""
        if self._start is not None and self._start.depends:
            return self._columns(x, w)
        return x.new_empty((0, len(x)))

    def _gradient(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        state: Tensor | None,
        angles: Angles | None,
        wanted: Wanted,
    ) -> Tensor:
        """Return the gradients with respect to all slots, ``(slots, B)``."""
        if state is None or angles is None:
            state, angles = self._run(x, w, angles)
        bra = self._readout.bra(state, cotangent).contiguous()
        in_full = self._start is not None and self._start.depends and any(wanted)
        found = launch.adjoint(state, bra, *angles, self._tables(wanted)[0], in_full)
        if self._start is None or not in_full:
            return found
        return _extend(found, self._start.pull_back(self._columns(x, w), bra))

    def _turned_gradient(
        self,
        x: Tensor,
        w: Tensor,
        dx: Tensor,
        dw: Tensor,
        cotangent: Tensor,
        dcotangent: Tensor,
        wanted: Wanted,
    ) -> Tensor:
        """Return the derivatives of :meth:`_gradient` along tangents."""
        state, moved, angles = self._run_tangent(x, w, dx, dw)
        bra, dbra = self._bras(state, moved, cotangent, dcotangent)
        in_full = self._start is not None and self._start.depends and any(wanted)
        found = launch.adjoint_tangent(
            state, moved, bra, dbra, *angles, self._tables(wanted)[0], in_full
        )
        if self._start is None or not in_full:
            return found
        numbers, turned = self._columns(x, w), self._columns.tangents(x, w, dx, dw)
        return _extend(found, self._start.pull_back_tangent(numbers, bra, turned, dbra))

    def _bras(
        self, state: Tensor, moved: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        readout = self._readout
        if isinstance(readout, _Observables):
            return readout.bras(state, moved, cotangent, dcotangent)
        return (
            readout.bra(state, cotangent).contiguous(),
            readout.bra_tangent(state, moved, cotangent, dcotangent).contiguous(),
        )

    def _to_columns(self, x: Tensor, w: Tensor, gradient: Tensor, wanted: Wanted) -> Pair:
        """Return gradients with respect to inputs and weights of those with respect to slots."""
        transposed = self._tables(wanted)[1]
        found = pull_back(transposed, gradient, self._columns.num_inputs, len(w) == 1)
        if self._is_affine:
            return found
        return self._columns.pull_back_columns(x, w, found, wanted)

    def _tables(self, wanted: Wanted) -> tuple[RunTables, Transposed]:
        """Return the tables for some derivatives, and put them on the device if they are new."""
        found = self._backward.get(wanted)
        if found is None:
            columns = self._wanted_columns(wanted)
            slots = np.repeat(np.arange(len(self._sources.offsets)), np.diff(self._sources.starts))
            read = np.bincount(
                slots, columns[self._sources.columns], len(self._sources.offsets)
            ).astype(bool)
            runs = self._runs.want(read[: self._columns.num_rotations])
            found = runs, transpose(self._sources, columns, self.device)
            self._backward[wanted] = found
        return found

    def _wanted_columns(self, wanted: Wanted) -> BoolArray:
        """Return which columns of ``x'`` and ``w'`` derivatives pass through.

        Those of expressions beside the inputs may depend on inputs, weights or both.
        """
        further = self._columns.num_inputs - self._num_inputs
        parts = (
            (wanted[0], self._num_inputs),
            (any(wanted), further),
            (wanted[1], self._columns.num_weights),
        )
        return np.concatenate([np.full(count, is_wanted) for is_wanted, count in parts])


class _Observables:
    """Expectation values of observables by kernels: see :class:`.StateReadout`.

    Args:
        compiled: The observables.
        device: Where states are.
        dtype: Of their parts.
    """

    def __init__(self, compiled: CompiledReadout, device: torch.device, dtype: torch.dtype) -> None:
        self._tables = make_observable_tables(compiled.sums, dtype, device)
        self._projections = None
        if len(compiled.sums.projections.terms):
            self._projections = ProjectedProducts(compiled.sums, device)

    def read(self, state: Tensor) -> Tensor:
        """Return the expectation values, ``(B, O)``."""
        evs = expect(self._tables, state)
        return evs if self._projections is None else evs + self._projections.read(state)

    def tangent(self, state: Tensor, dstate: Tensor) -> Tensor:
        """Return the derivatives along that of the state."""
        evs = expect(self._tables, state, dstate)
        if self._projections is None:
            return evs
        return evs + torch.func.jvp(self._projections.read, (state,), (dstate,))[1]

    def bra(self, state: Tensor, cotangent: Tensor) -> Tensor:
        """Return the observables, by weights ``(B, O)``, on the state."""
        bra = torch.empty_like(state)
        observe(self._tables, state, cotangent, bra)
        return bra if self._projections is None else bra + self._projections.apply(state, cotangent)

    def bra_tangent(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> Tensor:
        """Return the derivative of :meth:`bra`."""
        return self.bras(state, dstate, cotangent, dcotangent)[1]

    def bras(
        self, state: Tensor, dstate: Tensor, cotangent: Tensor, dcotangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return :meth:`bra` and its derivative."""
        bra, dbra = torch.empty_like(state), torch.empty_like(state)
        observe(self._tables, state, cotangent, bra, (dstate, dcotangent, dbra))
        if self._projections is not None:
            bra += self._projections.apply(state, cotangent)
            dbra += self._projections.apply(dstate, cotangent)
            dbra += self._projections.apply(state, dcotangent)
        return bra, dbra


def _rows(w: Tensor, at: slice) -> Tensor:
    """Return the weights of some rows."""
    return w if len(w) == 1 else w[at]


def _join(parts: list[Tensor]) -> Tensor:
    """Return what has been found for chunks of rows, the first of which is empty."""
    return parts[-1] if len(parts) == 2 else torch.cat(parts)


def _extend(found: Tensor, further: Tensor) -> Tensor:
    """Add gradients with respect to rotations to those with respect to all slots."""
    further[: len(found)] += found
    return further


def _sum_up(x: Tensor, w: Tensor, found: list[Pair]) -> Pair:
    """Return the gradients of chunks of rows as one."""
    if not found:
        return torch.zeros_like(x), torch.zeros_like(w)
    gx, gw = found[0]
    for further_x, further_w in found[1:]:
        gx = torch.cat([gx, further_x])
        gw = gw + further_w if len(w) == 1 else torch.cat([gw, further_w])
    return gx, gw
