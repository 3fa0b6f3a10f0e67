# SPDX-License-Identifier: Apache-2.0
"""Observables measured by a sampler: basis changes, one run, and values from the outcomes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.circuit.library import HGate, RXGate, RYGate, RZGate, SdgGate, SXGate, UGate
from qiskit.primitives import (
    BaseEstimatorV2,
    BasePrimitiveJob,
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
)
from qiskit.primitives.containers import DataBin, EstimatorPubLike
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from typing_extensions import override

from ..arguments import require_instance
from ..arrays import FloatArray, IntArray
from ..exceptions import CircuitError, PrecisionError, ResultError
from ..lru_cache import LRUCache
from ..program.control_flow import find_steps_at_run_time
from ..program.final_measurements import split_final_measurements
from ..program.identity import content_key
from ..program.readouts import free_register_name
from .aer_circuits import AerCircuits
from .capabilities import find_backend, innermost
from .evaluation import coerce_pubs, validate_sampler
from .measurement_groups import (
    WORD,
    MeasurementGroup,
    estimate_from_counts,
    estimate_from_outcomes,
    find_variances,
    group_terms,
)
from .observable_sets import ObservableSets
from .outcome_sources import prefers_counts
from .precision import default_shots, precision_to_shots, shots_to_precision
from .pubs import PointBlock, split_into_blocks
from .results import (
    UNUSED,
    QuasiArray,
    Samples,
    pack_outcomes,
    read_samples,
    take_last_bits,
)


class SamplerEstimator(BaseEstimatorV2):
    r"""Estimates expectation values from the outcomes of any V2 sampler.

    .. math:: \langle O\rangle \approx \sum_g \frac1m \sum_{s=1}^{m} o_g(b_{g,s})

    Terms that commute qubit by qubit are measured together, each group :math:`g` by a circuit of
    its own that ends with a change of basis; all circuits of all PUBs go to the sampler in one
    run. A precision :math:`\epsilon` is :math:`m = \lceil\epsilon^{-2}\rceil` shots of each
    circuit. All observables asked for at a point share its shots. ``stds`` are the standard errors
    that the shots themselves show. Observables may name projectors.

    The change of basis is made of gates that the sampler's backend has, as far as its ``target``
    tells; else, for a transpiled circuit, of those that are in it already. For IBM's devices these
    are ``rz`` and ``sx``, so that a circuit in gates of the device stays one. Measured are the
    qubits that some term of the group acts on.

    Args:
        sampler: The sampler. What is known of it holds for the estimator as well.

    Attributes:
        sampler: What was given.

    Raises:
        SamplerTypeError: If ``sampler`` is no V2 sampler.

    Cost:
        One circuit for each group at each point; for each shot a few operations for every term, or
        for every observable where there are more shots than outcomes.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.primitives import StatevectorSampler
        >>> from qiskit_torch_bridge.primitives import SamplerEstimator
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> estimator = SamplerEstimator(StatevectorSampler(seed=7))
        >>> pub = (circuit, [["Z"], ["X"]], [[0.0], [1.5707963267948966]])
        >>> (result,) = estimator.run([pub], precision=0.05).result()
        >>> result.metadata["shots"], result.data.evs[0, 0].item(), result.data.evs[1, 1].item()
        (400, 1.0, 1.0)
        >>> result.data.stds[:, 0].round(2).tolist()
        [0.0, 0.05]

    References:
        O. Crawford et al., Quantum 5, 385 (2021), on the standard errors of terms that are
        measured together.
    """

    def __init__(self, sampler: BaseSamplerV2) -> None:
        self.sampler = validate_sampler(sampler)
        self._for_aer = AerCircuits([self.sampler])
        self._observables = ObservableSets()
        self._measured: LRUCache[MeasuredCircuits] = LRUCache(256)

    @property
    def inner(self) -> BaseSamplerV2:
        """The sampler, which does the work."""
        return self.sampler

    @property
    def options(self) -> Any:
        """The options of the sampler."""
        return getattr(self.sampler, "options", None)

    @property
    def default_precision(self) -> float | None:
        """The precision that the shots amount to which the sampler takes by itself."""
        shots = default_shots(self.sampler)
        return None if shots is None else shots_to_precision(shots)

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> BasePrimitiveJob[PrimitiveResult[PubResult], Any]:
        """Measure ``pubs``; see :meth:`qiskit.primitives.BaseEstimatorV2.run`.

        Raises:
            BridgeError: If something is wrong with a PUB; nothing is submitted then. Its kind says
                with what.
        """
        plans = self._plan_all(pubs, precision)
        asked = _list_pubs(plans)
        who = type(self.sampler).__name__
        return MeasuringJob(
            self.sampler.run(asked) if asked else _run_nothing(),
            lambda results: _estimate_all(plans, asked, results, who),
        )

    def sampler_pubs(self, pubs: Iterable[Any], precision: float | None = None) -> list[SamplerPub]:
        """Return what a run of ``pubs`` asks of the sampler, in order."""
        return _list_pubs(self._plan_all(pubs, precision))

    def _plan_all(self, pubs: Iterable[Any], precision: float | None) -> list[MeasuringPlan]:
        return [self._plan(pub) for pub in coerce_pubs(pubs, precision, self)]

    def skip_job(self, pub: EstimatorPub) -> None:
        """Go on as after running a PUB: for one that was answered from a journal."""
        require_instance(pub, "pub", EstimatorPub, "an EstimatorPub")
        skip = getattr(self.sampler, "skip_job", None)
        if skip is not None:
            for part in self._plan(pub).parts[:1]:
                skip(part.pubs[0])

    def _plan(self, pub: EstimatorPub) -> MeasuringPlan:
        if pub.precision == 0:
            raise PrecisionError(
                "Expected a precision above zero; got 0, for exact values, which no sampler gives. "
                "Leave it out for the sampler's own number of shots."
            )
        if pub.parameter_values.size:  # else there is nothing to be run
            pub = self._for_aer(pub)
        shots = None if pub.precision is None else precision_to_shots(pub.precision)
        found = self._observables(pub.observables)
        blocks = split_into_blocks(pub.parameter_values.shape, found.index, len(found.operators))
        key = content_key(pub.circuit), pub.circuit.layout is not None, found
        gates, parts = self._gates(pub.circuit), []
        for block in blocks:
            observables = [found.operators[u] for u in block.observables]
            measure = functools.partial(measure_groups, pub.circuit, observables, gates)
            measured = self._measured((*key, block.observables.tobytes()), measure)
            parts.append(measured.place(block, pub.parameter_values, shots))
        return MeasuringPlan(pub, shots, parts)

    def _gates(self, circuit: QuantumCircuit) -> Collection[str] | None:
        """Return the names of gates that a change of basis can be made of, ``None`` for any."""
        target = getattr(find_backend(innermost(self.sampler)), "target", None)
        if target is not None:
            return frozenset(target.operation_names)
        return None if circuit.layout is None else frozenset(circuit.count_ops())


def _list_pubs(plans: Sequence[MeasuringPlan]) -> list[SamplerPub]:
    return [pub for plan in plans for part in plan.parts for pub in part.pubs]


# -- changes of basis --------------------------------------------------------------------------

_QUARTER = math.pi / 2
BASIS_CHANGES: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...] = (
    ((HGate(),), (SdgGate(), HGate())),
    ((RZGate(_QUARTER), SXGate()), (SXGate(),)),
    ((RZGate(_QUARTER), RXGate(_QUARTER)), (RXGate(_QUARTER),)),
    ((RYGate(-_QUARTER),), (RXGate(_QUARTER),)),
    ((UGate(-_QUARTER, 0, 0),), (UGate(_QUARTER, -_QUARTER, _QUARTER),)),
)
"""Gates that turn X to Z, and gates that turn Y to Z; the first that a device has are taken."""
_OF_DEVICES = BASIS_CHANGES[1]


def _choose_basis_changes(gates: Collection[str] | None) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    for change in BASIS_CHANGES:
        if gates is None or all(gate.name in gates for part in change for gate in part):
            return change
    return _OF_DEVICES


# -- circuits of groups ------------------------------------------------------------------------


class MeasuredCircuits(NamedTuple):
    """A circuit with each of some groups measured.

    Attributes:
        circuits: One for each group.
        groups: The groups.
        constants: The sums of the coefficients of terms without any Pauli, ``(O,)``.
    """

    circuits: tuple[QuantumCircuit, ...]
    groups: tuple[MeasurementGroup, ...]
    constants: FloatArray

    def place(self, block: PointBlock, values: BindingsArray, shots: int | None) -> MeasuredBlock:
        """Return the PUBs for the points of a block."""
        count = math.prod(values.shape)
        bindings = {
            names: np.asarray(part).reshape(count, -1)[block.points]
            for names, part in values.data.items()
        }
        points = BindingsArray(bindings, (len(block.points),))
        pubs = [SamplerPub(circuit, points, shots) for circuit in self.circuits]
        return MeasuredBlock(self, block, pubs)


class MeasuredBlock(NamedTuple):
    """Points at which the same observables are measured, and the PUBs that do so."""

    measured: MeasuredCircuits
    block: PointBlock
    pubs: list[SamplerPub]


def measure_groups(
    circuit: QuantumCircuit, observables: list[Any], gates: Collection[str] | None
) -> MeasuredCircuits:
    """Return the circuits that measure some observables.

    Measurements at the end of a circuit that measures, resets or branches before it are kept.

    Raises:
        CircuitError: If all that the circuit has beside gates are measurements that end it.
    """
    split = split_final_measurements(circuit)
    if split.qubit_of and not find_steps_at_run_time(split.circuit):
        raise CircuitError(
            "The circuit ends with measurements; the observables are measured in their place. "
            "Remove them, for instance with circuit.remove_final_measurements(inplace=False)."
        )
    groups, constants = group_terms(observables)
    changes = _choose_basis_changes(gates)
    circuits = []
    for group in groups:
        measured = circuit.copy()
        for qubit, is_y in group.changes:
            for gate in changes[is_y]:
                measured.append(gate, [qubit])
        register = ClassicalRegister(len(group.bits), free_register_name(circuit))
        measured.add_register(register)
        measured.measure(group.bits, register)
        circuits.append(measured)
    return MeasuredCircuits(tuple(circuits), groups, constants)


# -- from outcomes to values -------------------------------------------------------------------


class MeasuringPlan(NamedTuple):
    """One PUB, as the sampler is asked for it.

    Attributes:
        pub: What was asked for.
        shots: For how many shots of each circuit; ``None`` for the sampler's own.
        parts: Blocks of points.
    """

    pub: EstimatorPub
    shots: int | None
    parts: list[MeasuredBlock]

    def estimate(self, samples: Iterator[Samples]) -> PubResult:
        """Return the expectation values that the outcomes of all circuits give."""
        pub = self.pub
        shape = np.broadcast_shapes(pub.parameter_values.shape, pub.observables.shape)
        evs, variances = np.zeros(math.prod(shape)), np.zeros(math.prod(shape))
        shots = self.shots
        for measured, block, _ in self.parts:
            mean = np.tile(measured.constants, (len(block.points), 1))
            variance = np.zeros_like(mean)
            for group in measured.groups:
                found = take_last_bits(next(samples), len(group.bits))
                shots = found.shots or shots
                own, spread = estimate_from_samples(group, found, shots)
                mean[:, group.members] += own
                variance[:, group.members] += spread
            evs[block.places] = mean[block.rows, block.columns]
            variances[block.places] = variance[block.rows, block.columns]
        metadata = {
            "target_precision": pub.precision or (shots_to_precision(shots) if shots else None),
            "shots": shots,
            "circuit_metadata": pub.circuit.metadata,
        }
        data = DataBin(evs=evs.reshape(shape), stds=np.sqrt(variances).reshape(shape), shape=shape)
        return PubResult(data, metadata=metadata)


def estimate_from_samples(
    group: MeasurementGroup, samples: Samples, shots: int | None
) -> tuple[FloatArray, FloatArray]:
    """Return means and variances of the means, ``(N, M)``.

    Quasi-probabilities have the variances of as many shots, of which nothing else is known.

    Args:
        group: Whose terms were measured.
        samples: The outcomes of the group's bits at ``N`` points.
        shots: How many there are, or how many were asked for.
    """
    if samples.weights is not None:
        return _estimate_from_weights(group, samples.weights, shots or 1)
    assert samples.bits is not None
    width, count = samples.num_bits, samples.bits.num_shots
    outcomes = _read_outcomes(samples.bits.array, width)
    if width <= WORD and prefers_counts(1 << width, count):
        counted = [np.bincount(row, minlength=1 << width) for row in outcomes]
        mean, square = estimate_from_counts(group, np.array(counted) / count)
    else:
        mean, square = estimate_from_outcomes(group, outcomes)
    return mean, find_variances(group, mean, square, count)


def _estimate_from_weights(
    group: MeasurementGroup, rows: QuasiArray, shots: int
) -> tuple[FloatArray, FloatArray]:
    width = len(group.bits)
    means, squares = np.zeros((2, len(rows), len(group.members)))
    for row, weights in enumerate(rows):
        of_outcome = np.array(list(weights.values()))
        outcomes = _read_outcomes(pack_outcomes(weights, width)[None], width)
        means[row], squares[row] = estimate_from_outcomes(group, outcomes, of_outcome)
    return means, np.maximum(find_variances(group, means, squares, shots), 0.0)


def _read_outcomes(packed: NDArray[np.uint8], width: int) -> IntArray:
    """Return outcomes ``(N, shots, bytes)`` as whole numbers ``(N, shots)``, or as words."""
    words = -(-width // 64)
    padded = np.zeros((*packed.shape[:-1], 8 * words), np.uint8)
    padded[..., padded.shape[-1] - packed.shape[-1] :] = packed
    found = padded.view(">u8")[..., ::-1]  # the first word has the first bits
    if width <= WORD:
        return found[..., 0].astype(np.int64)
    return found.astype(np.uint64)


# -- the job -----------------------------------------------------------------------------------


class MeasuringJob(BasePrimitiveJob[PrimitiveResult[PubResult], Any]):
    """The job of a sampler, with expectation values as its result.

    Whatever else the sampler's job has is found here as well.

    Args:
        job: The sampler's job.
        estimate: Makes expectation values of its results.
    """

    def __init__(self, job: Any, estimate: Callable[[Any], list[PubResult]]) -> None:
        super().__init__(job.job_id())
        self._job, self._estimate = job, estimate
        self._result: PrimitiveResult[PubResult] | None = None

    @override
    def result(self) -> PrimitiveResult[PubResult]:
        if self._result is None:
            results = self._job.result()
            metadata = getattr(results, "metadata", {})
            self._result = PrimitiveResult(self._estimate(list(results)), metadata=metadata)
        return self._result

    @override
    def status(self) -> Any:
        return self._job.status()

    @override
    def done(self) -> bool:
        return bool(self._job.done())

    @override
    def running(self) -> bool:
        return bool(self._job.running())

    @override
    def cancelled(self) -> bool:
        return bool(self._job.cancelled())

    @override
    def in_final_state(self) -> bool:
        return bool(self._job.in_final_state())

    @override
    def cancel(self) -> Any:
        return self._job.cancel()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._job, name)


def _run_nothing() -> PrimitiveJob[PrimitiveResult[PubResult]]:
    job: PrimitiveJob[PrimitiveResult[PubResult]] = PrimitiveJob(
        PrimitiveResult, [], {"version": 2}
    )
    job._submit()
    return job


def _estimate_all(
    plans: Sequence[MeasuringPlan], asked: Sequence[SamplerPub], results: Sequence[Any], who: str
) -> list[PubResult]:
    """Return what the sampler's results say of each PUB."""
    if len(results) != len(asked):
        raise ResultError(
            f"{who} was given {len(asked)} PUB(s) and returned {len(results)} result(s); the "
            f"values cannot be assigned. {UNUSED}"
        )
    samples = iter(
        [
            read_samples(result, pub.circuit, pub.shape, pub.shots, position, who)
            for position, (result, pub) in enumerate(zip(results, asked, strict=True))
        ]
    )
    return [plan.estimate(samples) for plan in plans]
