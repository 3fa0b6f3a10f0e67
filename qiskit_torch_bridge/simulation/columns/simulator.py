# SPDX-License-Identifier: Apache-2.0
"""Values and derivatives of circuits from column networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from typing_extensions import override

from ... import memory
from ...arrays import FloatArray, IntArray
from ..interface import Cost, Simulator
from ..kernels.tables import SIGNALS
from ..tape.sources import compile_sources
from ..threads import call_in_parallel, call_interruptibly, count_threads
from .kernels import kernel, lanes
from .kernels.tables import ADJOINT, COLUMNS, FORWARD
from .layout import LINE, Form, Packed, lay_out
from .plan import ColumnPlan
from .tensors import MatrixProduct

NONE = np.zeros((0, 0))
SMALL_WORK = 1e5
"""Operations below which starting a thread costs more than it saves."""
LONG_WORK = 1e7
"""Operations from which an interrupt is not to wait for the end."""
SPARE_BUFFERS = 4
SPARE_BYTES = 1 << 26
"""Buffers up to this size are kept for the next call."""

Kept = list[tuple[Form, Any]]
"""The buffers that a forward pass has left, until a backward pass takes them."""


class ColumnSimulator(Simulator):
    r"""Expectation values of one circuit, and all derivatives, from its columns.

    A :class:`.ColumnPlan` is all that it is made of. Nothing is truncated: with
    :math:`D_c` for the dimensions of the cuts, of which each gate across takes a factor, values
    take :math:`O(\sum_c D_c^3)` and gradients with respect to all parameters a few times that,
    whatever their number.

    Raises:
        MemoryLimitError: If environments and columns do not fit into memory.

    Cost:
        See :meth:`ColumnPlan.estimate`. Memory :math:`O(\sum_c D_c^2)` for each thread.

    Reference: Environments of matrix products as in U. Schollwöck, arXiv:1008.3477.
    """

    def __init__(self, plan: ColumnPlan) -> None:
        self.plan, self.analysed = plan, plan.analysed
        self.size = len(plan.strings.constants)
        self.is_affine = plan.tape.angle_map.is_affine
        self._columns = plan.columns
        self._float = np.dtype(np.float32 if plan.dtype == np.complex64 else np.float64)
        self._sources = compile_sources(
            plan.network.rotations, plan.tape.angle_map, self._columns, plan.inputs, plan.weights
        )
        read = len(set(self._sources.columns.tolist()))
        self._reads_all = self.is_affine and read == len(plan.inputs) + len(plan.weights)
        self._has_strings = plan.strings.coefficients.shape[1] > 0
        self._tables: dict[Form, Packed] = {}
        self._firsts: dict[tuple[bool, bool], IntArray] = {}
        self._spare: dict[Form, list[Any]] = {}

    @override
    def estimate(self, rows: int) -> Cost:
        return self.plan.estimate(rows)

    @override
    def evaluate(
        self, x: FloatArray, w: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, Kept | None]:
        kept: Kept | None = [] if keep else None
        return self._evaluate(x, w, kept=kept), kept or None

    @override
    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        # Each row is read by itself, whether or not others lie beside it.
        return self._evaluate(x, w, separately=True)

    def _evaluate(self, x: FloatArray, w: FloatArray, **how: Any) -> FloatArray:
        evs = self._room_for_values(len(x))
        self._execute(FORWARD, x, w, evs=evs, **how)
        evs += self.plan.strings.constants
        return evs

    @override
    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: Kept | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> tuple[FloatArray, FloatArray]:
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        found = self._execute(ADJOINT, x, w, cotangent=cotangent, kept=kept, wanted=wanted)
        return self._columns.pull_back(x, w, found, wanted)

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        evs = self._room_for_values(len(x))
        self._execute(FORWARD, x, w, dx=dx, dw=dw, evs=evs)
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
        given: dict[str, Any] = {"cotangent": cotangent, "wanted": wanted}
        found = self._execute(ADJOINT, x, w, dx=dx, dw=dw, dcotangent=dcotangent, **given)
        return self._columns.pull_back_tangent(
            x, w, lambda: self._execute(ADJOINT, x, w, **given), (dx, dw), found, wanted
        )

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        self._columns.check_derivatives(x, w, wanted)

    def matrix_product(self, x: FloatArray, w: FloatArray) -> MatrixProduct:
        """Return the states as matrix products, with what lies to the right of each cut.

        Site ``plan.site_of[q]`` belongs to the circuit's qubit ``q``; qubits that it does not name
        stay in state zero. With a readout, gates that have no effect on what is read are left out,
        so that the state is another one that gives the same.

        Args:
            x: Shape ``(B, I)``.
            w: Shape ``(1, W)`` or ``(B, W)``.

        Raises:
            InputError: Where values, or the angles that they give, are not finite.
            MemoryLimitError: If there is too little memory.
        """
        bonds, rows = self.plan.bonds, len(x)
        numbers = sum(2 * a * b + b * b for a, b in itertools.pairwise(bonds))
        memory.require_for(
            16 * rows * numbers,
            f"A matrix product of bond dimension {max(bonds)}",
            "Take fewer rows at a time, or fewer layers of gates.",
        )
        dtype = self.plan.dtype
        found = MatrixProduct(
            [np.zeros((rows, a, 2, b), dtype) for a, b in itertools.pairwise(bonds)],
            [np.zeros((rows, b, b), dtype) for b in bonds],
        )
        self._execute(COLUMNS, x, w, product=found)
        return found

    # -- the passes ------------------------------------------------------------------------------

    def _room_for_values(self, rows: int) -> FloatArray:
        memory.require_outputs(rows, self.size)
        return np.zeros((rows, self.size))

    def _tables_for(self, form: Form) -> Packed:
        """Return the tables, for observables or for the identity alone, which is read to sample."""
        found = self._tables.get(form)
        if found is None:
            plan, coefficients = self.plan, self.plan.strings.coefficients
            memory.require_for(
                2 * plan.count_bytes(form),
                f"A column network of {plan.network.num_sites} qubits and bond dimension "
                f"{max(plan.bonds)}",
                "Use fewer layers of gates, fewer gates between distant qubits, or "
                "Exact(dtype='complex64'), which halves it.",
            )
            found = lay_out(
                plan.network, plan.automaton_of(form), plan.sizes(form), form,
                coefficients[:, :0] if form.samples else coefficients, self._sources,
            )  # fmt: skip
            self._tables[form] = found
        return found

    def _firsts_of(self, wanted: tuple[bool, bool]) -> IntArray:
        """Return for each site the first of its steps by which a derivative is wanted."""
        found = self._firsts.get(wanted)
        if found is None:
            sources = self._sources
            slots = np.zeros(len(sources.offsets), dtype=bool)
            owners = np.repeat(np.arange(len(slots)), np.diff(sources.starts))
            slots[owners[self._columns.wanted(wanted)[sources.columns]]] = True
            firsts, at = [], 0
            for steps in self.plan.network.steps:
                moves = [any(slots[slot] for slot in step.slots) for step in steps]
                firsts.append(at + (moves.index(True) if True in moves else len(steps)))
                at += len(steps)
            found = self._firsts[wanted] = np.array(firsts, dtype=np.int64)
        return found

    def _execute(
        self,
        mode: int,
        x: FloatArray,
        w: FloatArray,
        *,
        dx: FloatArray | None = None,
        dw: FloatArray | None = None,
        cotangent: FloatArray = NONE,
        dcotangent: FloatArray = NONE,
        evs: FloatArray = NONE,
        kept: Kept | None = None,
        wanted: tuple[bool, bool] = (True, True),
        separately: bool = False,
        product: MatrixProduct | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Run one pass of the kernels; gradients are with respect to ``x'`` and ``w'``.

        With ``kept`` a forward pass leaves its buffers there, and a backward pass takes them.
        """
        given, rows = (x, w), len(x)
        self._check(x, w)
        tangent = dx is not None
        dx, dw = (NONE, NONE) if dx is None or dw is None else (dx, dw)
        if not self.is_affine:
            if tangent:
                dx, dw = self._columns.extend_tangents(*given, dx, dw)
            x, w = self._columns.extend(*given)
        backward = mode == ADJOINT
        gx = np.zeros_like(x) if backward else NONE
        if not rows or not (self._has_strings or mode == COLUMNS):
            if not np.isfinite(x).all() or not np.isfinite(w).all():
                raise self._columns.find_error(self.analysed, *given)
            return gx, np.zeros_like(w) if backward else NONE
        form, buffers = self._take(kept) if backward else (None, None)
        resumes = form is not None
        if product is not None:
            form = Form(together=False, samples=True)
        elif form is None:
            keeps = kept is not None and not backward
            form = self.plan.choose_form(rows, keeps, separately)
        side_by_side = lanes(self._float.itemsize) if form.together else 1
        groups = -(-rows // side_by_side)
        threads = self._count_threads(rows, groups) if product is None else 1
        tables = self._tables_for(form)
        if buffers is None:
            numbers = (4 if tangent else 2) * tables.quarter
            buffers = self._buffers(form, groups if form.keeps else threads, numbers, side_by_side)
        gw = np.zeros((threads if backward else 1, *(w.shape if backward else (0, 0))))
        execute = kernel()
        work = self.plan.count_operations(rows)
        long = work >= LONG_WORK or not getattr(execute, "overloads", True)
        signals = np.zeros(SIGNALS, dtype=np.int64)
        arrays = (signals, tables.ints, tables.floats, x, w, dx, dw, cotangent, dcotangent)
        firsts = self._firsts_of(wanted)

        def run(first: int, last: int, part: int = 0) -> bool:
            own = buffers if form.keeps else buffers[part : part + 1]
            return execute(
                mode, tangent, first, last, *arrays, firsts, resumes, own, evs, gx,
                gw[part % len(gw)],
            )  # fmt: skip

        def run_all() -> bool:
            if product is not None:
                return all(self._read_columns(run, row, buffers, product) for row in range(rows))
            if threads == 1:
                return run(0, rows)
            run(0, 0)  # loads the kernel once
            bounds = [groups * part // threads * side_by_side for part in range(threads)] + [rows]
            return call_in_parallel(
                lambda part: run(bounds[part], bounds[part + 1], part), threads, signals
            )

        finite = call_interruptibly(run_all, signals) if long else run_all()
        if kept is not None and form.keeps and not backward and finite:
            kept.append((form, buffers))
        else:
            self._spare_buffers(form, buffers)
        if not finite:
            raise self._columns.find_error(self.analysed, *given)
        return gx, gw.sum(0) if len(gw) > 1 else gw[0]

    def _read_columns(
        self, run: Callable[[int, int], bool], row: int, buffers: Any, product: MatrixProduct
    ) -> bool:
        """Copy what a pass over one row has left in its buffer."""
        tables = self._tables_for(Form(together=False, samples=True))
        if not run(row, row + 1):
            return False
        real, imaginary = buffers[0, : 2 * tables.quarter].reshape(2, -1)
        numbers = real + 1j * imaginary
        for site, k in zip(tables.sites, product.tensors, strict=True):
            _, a, _, b = k.shape
            at, stride = int(site["column_at"]), int(site["right_stride"])
            k[row] = numbers[at : at + 2 * a * stride].reshape(a, 2, stride)[:, :, :b]
        for cut, right in zip(tables.cuts, product.rights, strict=True):
            at, size, dim = int(cut["right_at"]), int(cut["size"]), right.shape[1]
            right[row] = numbers[at : at + size].reshape(dim, -1)[:, :dim]
        return True

    def _check(self, x: FloatArray, w: FloatArray) -> None:
        """Raise the error for values that are not finite where the kernels would not see it."""
        if not self.is_affine:
            self.analysed.check(self._columns.place(x, w))
        elif not self._reads_all and not (np.isfinite(x).all() and np.isfinite(w).all()):
            raise self._columns.find_error(self.analysed, x, w)

    def _count_threads(self, rows: int, groups: int) -> int:
        if groups < 2 or self.plan.count_operations(rows) < SMALL_WORK:
            return 1
        return min(groups, count_threads())

    def _take(self, kept: Kept | None) -> tuple[Form | None, Any]:
        """Take the buffers that a forward pass has left, if nobody else has taken them."""
        try:
            return kept.pop() if kept else (None, None)  # atomic
        except IndexError:
            return None, None

    def _buffers(self, form: Form, count: int, numbers: int, side_by_side: int) -> Any:
        """Return buffers, one after the other; where columns have no numbers they hold zeros."""
        spare = self._spare.setdefault(form, [])
        try:
            found = spare.pop()  # atomic
        except IndexError:
            found = None
        if found is not None and found.shape[0] >= count and found.shape[1] >= numbers:
            return found
        whole = count * numbers * side_by_side
        buffer = np.zeros(whole + LINE // self._float.itemsize, self._float)
        skip = (-buffer.ctypes.data % LINE) // self._float.itemsize
        shape = (count, numbers, side_by_side) if form.together else (count, numbers)
        return buffer[skip : skip + whole].reshape(shape)

    def _spare_buffers(self, form: Form, buffers: Any) -> None:
        spare = self._spare.setdefault(form, [])
        if len(spare) < SPARE_BUFFERS and buffers.nbytes <= SPARE_BYTES:
            spare.append(buffers)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_spare"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _spare={})
