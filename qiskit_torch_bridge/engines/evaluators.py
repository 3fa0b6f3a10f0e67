# SPDX-License-Identifier: Apache-2.0
"""A program evaluated at points: on an estimator, on a sampler or in this process.

Whatever is read, and wherever it runs, all points go into one request: one PUB in one ``run``.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, BitArray
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import PauliList, SparsePauliOp
from typing_extensions import Self, override

from ..arguments import shown
from ..arrays import FloatArray
from ..exceptions import MeasurementError, MemoryLimitError
from ..execution import Exact
from ..jobs.budget import PlannedRequest
from ..memory import available
from ..primitives import SamplerEstimator
from ..primitives.capabilities import binds_rightly, is_sampler, takes_projectors
from ..primitives.evaluation import make_points_pub, make_sampling_pub, submit
from ..primitives.families import Primitive
from ..primitives.outcomes import Frequencies, read_frequencies, submit_samples
from ..primitives.precision import default_shots, precision_to_shots
from ..primitives.results import Samples
from ..program import CircuitProgram
from ..program.operators import walsh_hadamard
from ..program.readouts import Expectations, Interpretation, Outcomes, Readout, RecordedBits
from ..simulation.choice import make_simulator

NO_WEIGHTS = np.zeros((1, 0))
MOST_ESTIMATED_BITS = 12
"""With more qubits, an estimator would be asked for too many strings of Z."""


class Estimates(NamedTuple):
    """What was read at ``N`` points.

    Attributes:
        values: Shape ``(N, O)``; the array is the caller's to keep.
        stds: Their standard errors, where there are any.
        shots: The shots of a point, if all its values are frequencies in these; ``None`` if they
            count as independent of each other.
    """

    values: FloatArray
    stds: FloatArray | None = None
    shots: int | None = None

    def errors_of_sums(self, weights: FloatArray) -> FloatArray | None:
        """Return the standard errors ``(N,)`` of the values' sums, weighted with ``(N, O)``.

        Values from different shots count as independent, also where the observables of a point
        share its shots. Frequencies have the covariances of a multinomial distribution.
        """
        if self.stds is None:
            return None
        if self.shots is not None:
            return Frequencies(self.values, self.shots).stds_of_sums(weights)
        errors: FloatArray = np.sqrt(((weights * self.stds) ** 2).sum(-1))
        return errors


class Evaluator(ABC):
    """Evaluates a program at points ``(N, P)``.

    Attributes:
        program: The program in the form that runs.
        primitive: What runs it; ``None`` in this process.
        precision: Requested; ``None`` for the default of the primitive.
    """

    program: CircuitProgram
    primitive: Primitive | None
    precision: float | None

    def evaluate(self, points: FloatArray) -> Estimates:
        """Return what is read at the points, and standard errors."""
        return self.submit(points)()

    @abstractmethod
    def submit(self, points: FloatArray) -> Callable[[], Estimates]:
        """Submit the job, and return what waits for it; there is none for no points."""

    @abstractmethod
    def request(self, count: int) -> list[PlannedRequest]:
        """Return the requests for ``count`` points, if there is room for so many."""

    @abstractmethod
    def at_precision(self, precision: float | None) -> Evaluator:
        """Return the same with another precision."""

    @abstractmethod
    def at(self, program: CircuitProgram) -> Evaluator:
        """Return the same for another form of the program."""


class _OnPrimitive(Evaluator):
    """One PUB with all points, on an estimator or a sampler.

    Raises:
        ExpressionError: If the primitive would bind a parameter expression wrongly.
    """

    primitive: Primitive

    def __init__(
        self, program: CircuitProgram, primitive: Primitive, precision: float | None = None
    ) -> None:
        if not binds_rightly(primitive):
            program.analysed.check_binding()
        self.program, self.primitive, self.precision = program, primitive, precision

    @override
    def submit(self, points: FloatArray) -> Callable[[], Estimates]:
        count, rows = self.program.num_outputs, len(points)
        if not rows:
            nothing = Estimates(np.zeros((0, count)), np.zeros((0, count)))
            return lambda: nothing
        self.program.analysed.check(points)
        # Without parameters to bind there is one point, which stands for every row.
        asked = rows if self.program.circuit.parameters else 1
        wait = self._submit(points, asked)

        def by_row(found: FloatArray) -> FloatArray:
            # A writable copy: torch takes it over.
            return np.array(np.broadcast_to(found, (rows, count)), order="C")

        def estimates() -> Estimates:
            values, stds, shots = wait()
            return Estimates(by_row(values), None if stds is None else by_row(stds), shots)

        return estimates

    @abstractmethod
    def _submit(self, points: FloatArray, asked: int) -> Callable[[], Estimates]:
        """Submit the points, and return what waits for the results at those that are asked for."""

    @override
    def request(self, count: int) -> list[PlannedRequest]:
        width = len(self.program.parameters)
        if 8 * count * width > available() // 4:
            raise MemoryLimitError(
                f"Expected a request that fits into memory; got one of {shown(count)} points of "
                f"{width} parameters. Ask for fewer rows: costs grow in proportion."
            )
        points = np.zeros((count, width))  # whose values do not matter
        return [PlannedRequest(self.primitive, self._pub(points), self.precision)]

    @abstractmethod
    def _pub(self, points: FloatArray) -> tuple[object, ...]:
        """Return the PUB for points."""

    @override
    def at_precision(self, precision: float | None) -> Self:
        return type(self)(self.program, self.primitive, precision)

    @override
    def at(self, program: CircuitProgram) -> Self:
        return type(self)(program, self.primitive, self.precision)


class Estimation(_OnPrimitive):
    """Expectation values on an estimator."""

    primitive: BaseEstimatorV2

    @override
    def _submit(self, points: FloatArray, asked: int) -> Callable[[], Estimates]:
        shape = (self.program.num_outputs, asked)
        wait = submit(self.primitive, [self._pub(points)], [shape], self.precision)

        def estimates() -> Estimates:
            (found,) = wait()
            return Estimates(found.evs.T, None if found.stds is None else found.stds.T)

        return estimates

    @override
    def _pub(self, points: FloatArray) -> tuple[object, ...]:
        return make_points_pub(self.program.analysed, self._observables, points)

    @property
    def _observables(self) -> ObservablesArray:
        if takes_projectors(self.primitive):
            return self.program.projectors_array
        return self.program.observables_array


class Sampling(_OnPrimitive):
    """Probabilities of outcomes on a sampler: how often they were found.

    Qubits are measured at the end, into a register of their own; classical bits are read from the
    registers that the circuit has.
    """

    primitive: BaseSamplerV2

    def __init__(
        self, program: CircuitProgram, primitive: BaseSamplerV2, precision: float | None = None
    ) -> None:
        super().__init__(program, primitive, precision)
        _ = self._places  # what cannot be read is refused now

    def draw(self, points: FloatArray, shots: int | None) -> Samples:
        """Return the outcomes at ``N`` points, each drawn on its own, also where they are the same.

        Args:
            points: Shape ``(N, P)``; there is no job for none.
            shots: At each point; ``None`` for the default of the sampler.
        """
        self.program.analysed.check(points)
        width, pub = len(self._places), self._pub(points)
        if not len(points):
            wanted = shots or default_shots(self.primitive) or 0
            return Samples(width, BitArray(np.zeros((0, wanted, -(-width // 8)), np.uint8), width))
        # Without parameters to bind there is one point, which does not stand for the others.
        pubs = [pub] * (1 if self.program.circuit.parameters else len(points))
        found = submit_samples(self.primitive, pubs, shots, self._places)()
        if len(pubs) == 1 or any(each.bits is None for each in found):
            return found[0]
        arrays = [each.bits.array for each in found if each.bits is not None]
        return Samples(width, BitArray(np.stack(arrays), width))

    @override
    def _submit(self, points: FloatArray, asked: int) -> Callable[[], Estimates]:
        shots = None if self.precision is None else precision_to_shots(self.precision)
        wait = submit_samples(self.primitive, [self._pub(points)], shots, self._places)

        def estimates() -> Estimates:
            (samples,) = wait()
            found = read_frequencies(samples, Outcomes(self._places, self._interpretation))
            return Estimates(found.probabilities, found.stds, found.shots)

        return estimates

    @override
    def _pub(self, points: FloatArray) -> tuple[object, ...]:
        return make_sampling_pub(self.program.analysed, points, self._measured)

    @property
    def _interpretation(self) -> Interpretation | None:
        readout = self.program.readout
        assert isinstance(readout, (Outcomes, RecordedBits))
        return readout.interpretation

    @functools.cached_property
    def _places(self) -> tuple[int, ...]:
        """Where the bits that are read are among those of all registers, one after the other."""
        read = self.program.readout.bits_read
        circuit = self._measured
        listed = [bit for register in circuit.cregs for bit in register]
        if not read:
            return tuple(range(len(listed) - len(self.program.readout.measured), len(listed)))
        loose = [bit for bit in read if circuit.clbits[bit] not in listed]
        if loose:
            raise MeasurementError(
                f"Expected classical bits that are in registers, since samplers return these; bit "
                f"{loose[0]} is in none. Put it into a ClassicalRegister."
            )
        return tuple(listed.index(circuit.clbits[bit]) for bit in read)

    @functools.cached_property
    def _measured(self) -> QuantumCircuit:
        readout, circuit = self.program.readout, self.program.circuit
        return readout.measure(circuit) if isinstance(readout, Outcomes) else circuit


class EstimatedOutcomes(Evaluator):
    r"""Probabilities of outcomes on an estimator, from the strings of Z that they consist of.

    .. math:: p_i = 2^{-k} \sum_z (-1)^{|i \wedge z|} \langle Z^z\rangle

    All strings commute, so that they are measured together.

    Raises:
        MeasurementError: If there are too many of them.
    """

    def __init__(
        self, program: CircuitProgram, primitive: BaseEstimatorV2, precision: float | None = None
    ) -> None:
        readout = program.readout
        assert isinstance(readout, Outcomes)
        self._bits = len(readout.qubits)
        if self._bits > MOST_ESTIMATED_BITS:
            raise MeasurementError(
                f"Expected at most {MOST_ESTIMATED_BITS} measured qubits on an estimator, which "
                f"evaluates all 2**k products of Z on them; got {self._bits}. Give a sampler as "
                "estimator=, or a backend."
            )
        self.program, self._interpretation = program, readout.interpretation
        strings = program.with_readout(_z_strings(readout.qubits, program.circuit.num_qubits))
        self._estimation = Estimation(strings, primitive, precision)
        self.primitive, self.precision = primitive, precision

    @override
    def submit(self, points: FloatArray) -> Callable[[], Estimates]:
        wait = self._estimation.submit(points)

        def estimates() -> Estimates:
            found = wait()
            values = np.hstack([np.ones((len(found.values), 1)), found.values])
            values = walsh_hadamard(values.T).T / values.shape[1]
            stds = None
            if found.stds is not None:
                error = np.sqrt((found.stds**2).sum(-1, keepdims=True)) / values.shape[1]
                stds = np.repeat(error, values.shape[1], axis=1)
            return _interpreted(values, stds, self._interpretation, self._bits)

        return estimates

    @override
    def request(self, count: int) -> list[PlannedRequest]:
        return self._estimation.request(count)

    @override
    def at_precision(self, precision: float | None) -> EstimatedOutcomes:
        return EstimatedOutcomes(self.program, self._estimation.primitive, precision)

    @override
    def at(self, program: CircuitProgram) -> EstimatedOutcomes:
        return EstimatedOutcomes(program, self._estimation.primitive, self.precision)


class Simulation(Evaluator):
    """Exact values in this process, whatever is read: no job is made.

    Args:
        program: The program.
        exact: How it is simulated.
    """

    primitive = None
    precision = None

    def __init__(self, program: CircuitProgram, exact: Exact) -> None:
        self.program, self.exact = program, exact

    @functools.cached_property
    def _simulate(self) -> Callable[[FloatArray], FloatArray]:
        p, exact = self.program.deferred, self.exact
        columns = range(len(p.parameters))
        simulator = make_simulator(exact.method, p.analysed, p.readout, columns, (), exact.dtype)
        return lambda points: simulator.evaluate(np.ascontiguousarray(points), NO_WEIGHTS)[0]

    @override
    def submit(self, points: FloatArray) -> Callable[[], Estimates]:
        self.program.analysed.check(points)
        values = self._simulate(points)
        return lambda: Estimates(values, np.zeros_like(values))

    @override
    def request(self, count: int) -> list[PlannedRequest]:
        return []

    @override
    def at_precision(self, precision: float | None) -> Simulation:
        return self

    @override
    def at(self, program: CircuitProgram) -> Simulation:
        return Simulation(program, self.exact)

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "_simulate"}


def make_evaluator(
    program: CircuitProgram, primitive: Primitive | None, precision: float | None, exact: Exact
) -> Evaluator:
    """Return what evaluates a program on a primitive, or in this process if there is none.

    Raises:
        MeasurementError: If what is asked for cannot be had there.
    """
    if primitive is None:
        return Simulation(program, exact)
    return _evaluator_of(program.readout, program, primitive, precision)


@functools.singledispatch
def _evaluator_of(
    readout: Readout, program: CircuitProgram, primitive: Primitive, precision: float | None
) -> Evaluator:
    raise MeasurementError(
        f"{program.measurement!r} needs the amplitudes of the state, which "
        f"{type(primitive).__name__} cannot measure. Use the exact engine: leave out estimator, "
        "backend and shots, or move the module with with_backend(estimator=Exact())."
    )


@_evaluator_of.register
def _(
    readout: Expectations, program: CircuitProgram, primitive: Primitive, precision: float | None
) -> Evaluator:
    estimator: Any = primitive  # whose family is_sampler tells
    if is_sampler(primitive):
        estimator = SamplerEstimator(estimator)
    return Estimation(program, estimator, precision)


@_evaluator_of.register
def _(
    readout: RecordedBits,
    program: CircuitProgram,
    primitive: Primitive,
    precision: float | None,
) -> Evaluator:
    if not is_sampler(primitive):
        raise MeasurementError(
            "Expected a sampler for what classical bits hold; got the estimator "
            f"{type(primitive).__name__}, which has observables of qubits alone. Give a sampler, a "
            "backend, or Probabilities of qubits."
        )
    return Sampling(program, primitive, precision)  # type: ignore[arg-type]


@_evaluator_of.register
def _(
    readout: Outcomes, program: CircuitProgram, primitive: Primitive, precision: float | None
) -> Evaluator:
    kind = Sampling if is_sampler(primitive) else EstimatedOutcomes
    return kind(program, primitive, precision)  # type: ignore[arg-type]


def _z_strings(qubits: tuple[int, ...], num_qubits: int) -> Expectations:
    """Return the strings of Z on some qubits, but for the empty one: bit ``j`` is ``qubits[j]``."""
    numbers = np.arange(1, 1 << len(qubits))
    z = np.zeros((len(numbers), num_qubits), dtype=bool)
    z[:, list(qubits)] = numbers[:, None] >> np.arange(len(qubits)) & 1
    paulis = PauliList.from_symplectic(z, np.zeros_like(z))
    return Expectations(tuple(SparsePauliOp(pauli) for pauli in paulis))


def _interpreted(
    values: FloatArray, stds: FloatArray | None, interpretation: Interpretation | None, bits: int
) -> Estimates:
    """Sum what counts for the same output."""
    if interpretation is None:
        return Estimates(values, stds)
    table = interpretation.table(bits)
    sums = np.zeros((interpretation.size, len(values)))
    np.add.at(sums, table, values.T)
    if stds is not None:
        variances = np.zeros_like(sums)
        np.add.at(variances, table, stds.T**2)
        stds = np.sqrt(variances.T)
    return Estimates(np.ascontiguousarray(sums.T), stds)
