# SPDX-License-Identifier: Apache-2.0
"""Expectation values, and all derivatives, from the light cones of their terms."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike
from typing_extensions import override

from ... import memory
from ...arrays import FloatArray
from ...exceptions import MeasurementError
from ...program import AnalysedCircuit
from ...program.readouts import Expectations, Readout
from ..interface import NO_STATES, Cost, Simulator
from ..kernels.tables import LANES
from ..statevector import StatevectorSimulator
from ..statevector.simulator import KEPT_BYTES, SMALL_WORK
from ..threads import count_threads, side_by_side
from .classes import ConeClass
from .compression import MAX_BITS
from .containment import CALL
from .find import Cones, find_cone_classes
from .rows import Slots, lay_out_rows, make_row_simulator

Pair = tuple[FloatArray, FloatArray]


class _Part(NamedTuple):
    """A class of cones, ready to be simulated.

    Attributes:
        simulator: Its rows are members, or as many for each row of a batch.
        members: Their number ``M``.
        slots: The number ``S`` of columns of each.
        num_inputs: How many of the columns are inputs of the simulator; the others are weights.
        slot_at: Where its ``M * S`` columns start among those of all parts.
        read_at: Where its ``M * U`` numbers start among what is read of all parts.
        shared: Whether rows share the weights where they share them outside.
        operations: Those of values and a gradient of one row.
    """

    simulator: StatevectorSimulator
    members: int
    slots: int
    num_inputs: int
    slot_at: int
    read_at: int
    shared: bool
    operations: float

    @property
    def columns(self) -> slice:
        """Its columns among those of all parts."""
        return slice(self.slot_at, self.slot_at + self.members * self.slots)

    @property
    def read(self) -> slice:
        """What is read of it among what is read of all parts."""
        return slice(self.read_at, self.read_at + self.members * self.simulator.size)


class LightConeSimulator(Simulator):
    r"""Expectation values from the light cones of their terms, each on as few qubits as it has.

    .. math:: \langle O \rangle = \sum_t c_t \langle 0|\, U_t^\dagger P_t U_t\, |0\rangle

    where :math:`U_t` are the gates that do not cancel from :math:`U^\dagger P_t U`. Terms with the
    same cone share one simulation, and so do cones that are equal but for the names of qubits;
    where only their angles differ, they are rows of one.

    Arguments are as for :func:`.make_simulator`.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly, or coefficients are not real.
        MeasurementError: If anything but expectation values is read.
        MemoryLimitError: If a light cone is too large for memory; it is named.

    Cost:
        For each different cone that of a :class:`.StatevectorSimulator` on its bits, whatever the
        number of qubits is: for MaxCut by QAOA on 3-regular graphs, five bits with one layer and at
        most 13 with two, for a few cones in all. Use another method where layers are many: cones
        grow with each of them until they are the circuit.

    References:
        E. Farhi, J. Goldstone & S. Gutmann, arXiv:1411.4028.

    Example:
        >>> import numpy as np
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.program import AnalysedCircuit
        >>> from qiskit_torch_bridge.program.readouts import Expectations
        >>> from qiskit_torch_bridge.simulation.cones import LightConeSimulator
        >>> angle, circuit = Parameter("a"), QuantumCircuit(200)
        >>> for q in range(200):
        ...     _ = circuit.rx(angle, q)
        >>> for q in range(199):
        ...     _ = circuit.cz(q, q + 1)
        >>> total = SparsePauliOp.from_sparse_list([("Z", [q], 1) for q in range(200)], 200)
        >>> readout = Expectations((total,))
        >>> simulator = LightConeSimulator(AnalysedCircuit(circuit), readout, [], [0])
        >>> values, _ = simulator.evaluate(np.zeros((1, 0)), np.array([[0.5]]))
        >>> values.round(6).tolist()  # 200 cos(0.5)
        [[175.516512]]
    """

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: DTypeLike = np.complex128,
    ) -> None:
        if not isinstance(readout, Expectations):
            raise MeasurementError(NO_STATES)
        cones = find_cone_classes(analysed, readout.operators, inputs, weights)
        self._set_up(cones, analysed, dtype)

    @classmethod
    def of_cones(
        cls, cones: Cones, analysed: AnalysedCircuit, dtype: DTypeLike = np.complex128
    ) -> LightConeSimulator:
        """Return the simulator of a circuit whose light cones are known.

        Args:
            cones: What :func:`.find_cone_classes` has found.
            analysed: The circuit.
            dtype: ``complex128`` or ``complex64``.
        """
        simulator = cls.__new__(cls)
        simulator._set_up(cones, analysed, dtype)
        return simulator

    def _set_up(self, cones: Cones, analysed: AnalysedCircuit, dtype: DTypeLike) -> None:
        for cone_class in cones.classes:
            _require_memory(cone_class, cones, dtype)
        self.analysed, self._columns = analysed, cones.columns
        self._constants = cones.terms.constants
        self.size = len(self._constants)
        self.is_affine = cones.tape.angle_map.is_affine
        self._parts: list[_Part] = []
        slots: list[Slots] = []
        slot_at = read_at = 0
        num_inputs = cones.columns.num_inputs
        for cone_class in cones.classes:
            own, operations = lay_out_rows(cone_class, cones.contents, num_inputs)
            simulator = make_row_simulator(cone_class, operations, own, analysed, dtype)
            members = len(cone_class.angles)
            count = own.slopes.shape[0] // members
            shared = members == 1 and not (own.slopes[own.num_inputs :].indices < num_inputs).any()
            self._parts.append(
                _Part(
                    simulator=simulator,
                    members=members,
                    slots=count,
                    num_inputs=own.num_inputs,
                    slot_at=slot_at,
                    read_at=read_at,
                    shared=shared,
                    operations=simulator.estimate(members).operations,
                )
            )
            slots.append(own)
            slot_at += members * count
            read_at += members * simulator.size
        width = num_inputs + cones.columns.num_weights
        none = scipy.sparse.csr_array((0, width)), scipy.sparse.csr_array((0, self.size))
        self._slopes = scipy.sparse.vstack([none[0], *(s.slopes for s in slots)], "csr")
        self._offsets = np.concatenate([np.zeros(0), *(s.offsets for s in slots)])
        self._weights = scipy.sparse.vstack([none[1], *(c.weights for c in cones.classes)], "csr")
        self._slopes_back = self._slopes.T.tocsr()
        self._weights_back = self._weights.T.tocsr()
        self._wanted: dict[tuple[bool, bool], list[tuple[bool, bool]]] = {}

    @override
    def estimate(self, rows: int) -> Cost:
        costs = [part.simulator.estimate(rows * part.members) for part in self._parts]
        further = 4 * 8 * rows * (len(self._offsets) + self._weights.shape[0])
        return Cost(sum(c.bytes for c in costs) + further, sum(c.operations + CALL for c in costs))

    @override
    def evaluate(
        self, x: FloatArray, w: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, list[Any] | None]:
        memory.require_outputs(len(x), self.size)
        if not len(x):
            return np.zeros((0, self.size)), None
        angles = self._angles(x, w)
        read = np.empty((len(x), self._weights.shape[0]))
        all_kept: list[Any] = [None] * len(self._parts)
        room = KEPT_BYTES

        def run(at: int, part: _Part) -> None:
            found, all_kept[at] = part.simulator.evaluate(*_place(part, angles, len(w)), keeps[at])
            read[:, part.read] = found.reshape(len(x), -1)

        keeps = []
        for part in self._parts:
            bits = part.simulator.tape.num_bits
            needed = 16 * max(LANES >> bits // 2, len(x) * part.members) << bits
            keeps.append(keep and needed <= room)
            room -= needed * keeps[-1]
        self._run(len(x), run)
        return self._collect_values(read), all_kept if keep else None

    @override
    def evaluate_separately(self, x: FloatArray, w: FloatArray) -> FloatArray:
        memory.require_outputs(len(x), self.size)
        if not len(x):
            return np.zeros((0, self.size))
        angles = self._angles(x, w)
        read = np.empty((len(x), self._weights.shape[0]))

        def run(_: int, part: _Part) -> None:
            found = part.simulator.evaluate_separately(*_place(part, angles, len(w)))
            read[:, part.read] = found.reshape(len(x), -1)

        self._run(len(x), run)
        return self._collect_values(read)

    @override
    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: list[Any] | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        return self._columns.pull_back(x, w, self._vjp(x, w, cotangent, kept, wanted), wanted)

    def _vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: list[Any] | None,
        wanted: tuple[bool, bool],
    ) -> Pair:
        """Return the gradients with respect to ``x'`` and ``w'``."""
        angles = self._angles(x, w)
        weights = self._read_cotangent(cotangent)
        slopes = np.zeros(angles.shape)
        needed = self._find_wanted(wanted)

        def run(at: int, part: _Part) -> None:
            if not any(needed[at]):
                return
            own = _rows_of(weights[part.read], part)
            if not own.any():
                return
            state = None if kept is None else kept[at]
            found = part.simulator.vjp(*_place(part, angles, len(w)), own, state, needed[at])
            _put(slopes, part, found)

        self._run(len(x), run)
        return self._collect(slopes, len(w))

    @override
    def tangent(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        memory.require_outputs(len(x), self.size)
        if not len(x):
            return np.zeros((0, self.size))
        angles, moved = self._angles(x, w), self._moved(x, w, dx, dw)
        read = np.empty((len(x), self._weights.shape[0]))

        def run(at: int, part: _Part) -> None:
            given = (*_place(part, angles, len(w)), *_place(part, moved, len(w)))
            read[:, part.read] = part.simulator.tangent(*given).reshape(len(x), -1)

        self._run(len(x), run)
        return np.ascontiguousarray((self._weights_back @ read.T).T)

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
    ) -> Pair:
        if not len(x):
            return np.zeros_like(x), np.zeros_like(w)
        angles, moved = self._angles(x, w), self._moved(x, w, dx, dw)
        weights, turned = map(self._read_cotangent, (cotangent, dcotangent))
        slopes = np.zeros(angles.shape)
        needed = self._find_wanted(wanted)

        def run(at: int, part: _Part) -> None:
            if not any(needed[at]):
                return
            own, along = (_rows_of(c[part.read], part) for c in (weights, turned))
            if not own.any() and not along.any():
                return
            given = _place(part, angles, len(w)), _place(part, moved, len(w))
            found = part.simulator.vjp_tangent(*given[0], own, *given[1], along, needed[at])
            _put(slopes, part, found)

        self._run(len(x), run)
        return self._columns.pull_back_tangent(
            x, w, lambda: self._vjp(x, w, cotangent, None, wanted), (dx, dw),
            self._collect(slopes, len(w)), wanted,
        )  # fmt: skip

    @override
    def check_derivatives(
        self, x: FloatArray, w: FloatArray, wanted: tuple[bool, bool] = (True, True)
    ) -> None:
        self._columns.check_derivatives(x, w, wanted)

    def _angles(self, x: FloatArray, w: FloatArray) -> FloatArray:
        """Return the columns of all parts, ``(N, B)``, or raise where they are not finite."""
        total = np.vdot(x, x) + np.vdot(w, w)
        if not self.is_affine or not math.isfinite(total):
            self.analysed.check(self._columns.place(x, w))
        values = _side_by_side(*self._columns.extend(x, w))
        angles: FloatArray = self._slopes @ values.T + self._offsets[:, None]
        if not math.isfinite(np.vdot(angles, angles)) and not np.isfinite(angles).all():
            raise self._columns.find_error(self.analysed, x, w)
        return angles

    def _moved(self, x: FloatArray, w: FloatArray, dx: FloatArray, dw: FloatArray) -> FloatArray:
        """Return the derivatives of the columns of all parts, ``(N, B)``."""
        tangents = self._columns.extend_tangents(x, w, dx, dw)
        moved: FloatArray = self._slopes @ _side_by_side(*tangents).T
        return moved

    def _read_cotangent(self, cotangent: FloatArray) -> FloatArray:
        """Return the weights of what is read of all parts, ``(N, B)``."""
        weights: FloatArray = self._weights @ cotangent.T
        return weights

    def _collect_values(self, read: FloatArray) -> FloatArray:
        """Return the values of observables from what is read of all parts, ``(B, N)``."""
        values = self._constants + (self._weights_back @ read.T).T
        return np.ascontiguousarray(values)

    def _collect(self, slopes: FloatArray, rows_of_weights: int) -> Pair:
        """Return gradients with respect to ``x'`` and ``w'`` from those by columns ``(N, B)``."""
        found = (self._slopes_back @ slopes).T
        gx, gw = np.split(found, [self._columns.num_inputs], axis=1)
        if rows_of_weights == 1:
            gw = gw.sum(axis=0, keepdims=True)
        return np.ascontiguousarray(gx), np.ascontiguousarray(gw)

    def _find_wanted(self, wanted: tuple[bool, bool]) -> list[tuple[bool, bool]]:
        """Return for each part whether derivatives by its inputs and its weights are wanted."""
        if wanted not in self._wanted:
            columns = self._columns.wanted(wanted).astype(float)
            slots = np.asarray(abs(self._slopes) @ columns) > 0
            self._wanted[wanted] = [
                (bool(own[:, : p.num_inputs].any()), bool(own[:, p.num_inputs :].any()))
                for p in self._parts
                for own in [slots[p.columns].reshape(p.members, p.slots)]
            ]
        return self._wanted[wanted]

    def _run(self, rows: int, run: Callable[[int, _Part], None]) -> None:
        """Run all parts: large ones on all threads one by one, then small ones side by side."""
        work = [rows * part.operations for part in self._parts]
        threads = count_threads()
        small = []
        for at, part in enumerate(self._parts):
            if threads > 1 and work[at] < SMALL_WORK:
                small.append(at)
            else:
                run(at, part)
        if sum(work[at] for at in small) < SMALL_WORK:
            threads = 1
        shares: list[list[int]] = [[] for _ in range(threads)]
        loads = [0.0] * threads
        for at in sorted(small, key=work.__getitem__, reverse=True):
            least = loads.index(min(loads))
            shares[least].append(at)
            loads[least] += work[at] + SMALL_WORK / 64

        def run_share(share: list[int]) -> None:
            for at in share:
                run(at, self._parts[at])

        if threads == 1:
            run_share(small)
        else:
            run(small[0], self._parts[small[0]])  # loads the kernel
            shares = [[at for at in share if at != small[0]] for share in shares]
            side_by_side([functools.partial(run_share, share) for share in shares if share])


def _require_memory(cone_class: ConeClass, cones: Cones, dtype: DTypeLike) -> None:
    """Raise :class:`.MemoryLimitError` if a cone's state does not fit into memory."""
    least = "at least " if cone_class.num_bits > MAX_BITS else ""
    memory.require_for(
        2 * np.dtype(dtype).itemsize << cone_class.num_bits,
        f"The light cone of a term of observable {cones.terms.first[cone_class.example]}, which "
        f"has {len(cone_class.operations)} rotations on {cone_class.num_qubits} qubits and a state "
        f"of {least}2**{cone_class.num_bits} amplitudes,",
        'Use Exact(method="automatic") or "columns", fewer layers, Aer\'s matrix-product simulator '
        "with gradient='parameter-shift', or a device, backend=.",
    )


def _side_by_side(x: FloatArray, w: FloatArray) -> FloatArray:
    """Return inputs and weights as columns of one array, ``(B, C)``."""
    return np.hstack([x, np.broadcast_to(w, (len(x), w.shape[1]))])


def _place(part: _Part, columns: FloatArray, rows_of_weights: int) -> Pair:
    """Return a part's columns of ``(N, B)`` as inputs and weights of its simulator."""
    own = _rows_of(columns[part.columns], part)
    x = np.ascontiguousarray(own[:, : part.num_inputs])
    w = own[:, part.num_inputs :]
    if part.shared and rows_of_weights == 1:
        w = w[:1]
    return x, np.ascontiguousarray(w)


def _rows_of(own: FloatArray, part: _Part) -> FloatArray:
    """Return what there is by member and column, ``(M * S, B)``, as rows: ``(B * M, S)``."""
    rows = own.T.reshape(own.shape[1] * part.members, -1)
    return np.ascontiguousarray(rows)


def _put(columns: FloatArray, part: _Part, found: Pair) -> None:
    """Put gradients of a part's inputs and weights into the columns ``(N, B)`` of all parts."""
    gx, gw = found
    rows = columns.shape[1]
    own = columns[part.columns].reshape(part.members, part.slots, rows)
    own[:, : part.num_inputs] = gx.reshape(rows, part.members, -1).transpose(1, 2, 0)
    if len(gw) == len(gx):
        own[:, part.num_inputs :] = gw.reshape(rows, part.members, -1).transpose(1, 2, 0)
    else:  # their sum over rows
        own[0, part.num_inputs :, 0] = gw[0]
