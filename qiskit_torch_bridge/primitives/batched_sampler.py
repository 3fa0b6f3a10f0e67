# SPDX-License-Identifier: Apache-2.0
"""The sampler on the exact engine: all points of a PUB in one simulation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from .. import memory
from ..arguments import require_instance
from ..arrays import FloatArray
from ..program.lowering import find_active_qubits
from ..program.readouts import Outcomes
from ..simulation.columns.sampling import ColumnSampler
from ..simulation.interface import Simulator
from ..simulation.statevector import StatevectorSimulator
from .batched import BatchedPrimitive, submit_plans
from .drawing import ByteArray, draw_outcomes, pack_bits, pack_outcomes
from .outcome_sources import NO_WEIGHTS
from .precision import validate_shots
from .pubs import check_pubs
from .sampler_pubs import AnalysedSamplerPub, MeasuredCircuits, read_sampler_pub
from .simulation import split_rows

DRAWN_BYTES = 32
"""What drawing a shot takes while it is under way."""
NEAR_BYTES = 1 << 20
"""What is under way at once, so that a core has it near."""


class BatchedStatevectorSampler(BatchedPrimitive, BaseSamplerV2):
    r"""Draws outcomes of circuits in this process, all points of a PUB simulated at once.

    .. math:: \Pr(b_{i,s} = b) = |\langle b|U(v_i)|0\rangle|^2

    Each shot :math:`s` at each point :math:`v_i` is drawn on its own. The results are those of
    Qiskit's ``StatevectorSampler``: a ``BitArray`` for each classical register, in the shape of
    the PUB, with zeros for the bits into which nothing is measured. Registers may share bits, and a
    qubit may be measured into several; where two are measured into the same bit, the later one
    counts.

    A circuit is taken as it is: library blocks, controlled gates with parameters, transpiled
    circuits with idle qubits. Measurements, resets and control flow before its end are deferred,
    each to a qubit of its own where that is needed (:doc:`/how-tos/circuits-with-measurements`),
    and registers have their joint distribution, whenever they are written. Circuits are compiled
    once and remembered. Parameter expressions and evolutions are as for
    :class:`BatchedStatevectorEstimator`.

    Despite its name it holds a state vector only where that is the cheapest. Circuits of up to 20
    qubits are drawn from as state vectors, so that a seed keeps its meaning. Wider ones are drawn
    from as column networks, qubit by qubit and exactly, where these take less: a hundred qubits in
    a line after a few layers of gates between neighbours. Probabilities of at most 12 qubits may
    also come from light cones.

    Args:
        default_shots: Used where neither the PUB nor ``run`` names a number of shots.
        seed: Makes the outcomes of a sequence of runs reproducible. Every call, PUB and point has
            outcomes of its own all the same. A generator is drawn from once for each call.
        dtype: ``"complex128"``, or ``"complex64"`` for half of the memory and time.

    Raises:
        PrecisionError: If ``default_shots`` is no whole number from 1 up.
        InputTypeError: If ``seed`` or ``dtype`` are of another kind.

    Cost:
        One simulation for each point, and some nanoseconds for each shot; of ``n`` qubits with
        bonds of dimension ``D`` between columns ``2 * n * D**2`` multiplications. Memory for a
        state, ``16 * 2**n`` bytes over the ``n`` qubits that gates act on, or ``96 * n * D**2``
        bytes as columns; for the probabilities under way, 64 MiB, or what those of one point need;
        and for each shot one byte for every eight bits of each register.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.primitives import BatchedStatevectorSampler
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.rx(Parameter("theta"), 0)
        >>> _ = circuit.cx(0, 1)
        >>> circuit.measure_all()
        >>> sampler = BatchedStatevectorSampler(seed=7)
        >>> (result,) = sampler.run([(circuit, [[0.0], [3.141592653589793]])], shots=100).result()
        >>> result.data.meas.shape, result.data.meas.get_counts(1)
        ((2,), {'11': 100})
    """

    def __init__(
        self,
        *,
        default_shots: int = 1024,
        seed: int | np.random.Generator | None = None,
        dtype: Any = "complex128",
    ) -> None:
        self.default_shots = validate_shots(default_shots)
        super().__init__(seed, dtype)
        self._measured = MeasuredCircuits(self._analysed)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        """Sample ``pubs``; see :meth:`qiskit.primitives.BaseSamplerV2.run`.

        Raises:
            BridgeError: If something is wrong with a PUB; before any of them is sampled. Its kind
                says with what: :class:`.CircuitError`, :class:`.InputError`,
                :class:`.ParameterError`, :class:`.PrecisionError` or :class:`.MemoryLimitError`.
        """
        wanted = self.default_shots if shots is None else validate_shots(shots)
        check_pubs(pubs, "(circuit, values)")
        plans = [self._plan(read_sampler_pub(pub, wanted, self._measured)) for pub in pubs]
        memory.require_for(
            sum(plan.request.result_bytes for plan in plans),
            "Keeping the outcomes of all shots",
            "Take fewer shots, or fewer points at a time.",
        )
        if any(not plan.request.measured.registers for plan in plans):
            warnings.warn(
                "A circuit has no classical registers, so its result is empty. Add measurements to "
                "it, for instance by circuit.measure_all().",
                UserWarning,
                stacklevel=2,
            )
        return submit_plans(plans, SamplePlan.run, self._draw_entropy() if plans else [])

    def _plan(self, request: AnalysedSamplerPub) -> SamplePlan:
        circuit = request.measured.circuit
        active = set(find_active_qubits(circuit.circuit))
        qubits = tuple(sorted(q for q in request.measured.measured if q in active))
        return SamplePlan(request, qubits, self._simulators.measure(circuit, Outcomes(qubits)))

    def skip_job(self, pub: SamplerPub) -> None:
        """Go on as after running a PUB: for one that was answered from a journal."""
        require_instance(pub, "pub", SamplerPub, "a SamplerPub")
        self._draw_entropy()


class SamplePlan(NamedTuple):
    """One PUB, ready to be sampled.

    Attributes:
        request: What it asks for.
        qubits: Those that are measured after some gate; the others are in state zero.
        source: Gives the probabilities of their outcomes, or draws these from columns.
    """

    request: AnalysedSamplerPub
    qubits: tuple[int, ...]
    source: Simulator | ColumnSampler

    def run(self, seeds: np.random.SeedSequence) -> SamplerPubResult:
        """Draw the outcomes of all points."""
        request, registers = self.request, self.request.measured.registers
        rows, shots = len(request.values), request.shots
        packed = {r.name: np.zeros((rows, shots, r.num_bytes), np.uint8) for r in registers}
        self._draw(packed, np.random.default_rng(seeds))
        arrays = {
            r.name: BitArray(
                packed[r.name].reshape(*request.shape, *packed[r.name].shape[1:]), len(r.qubits)
            )
            for r in registers
        }
        metadata = {"shots": shots, "circuit_metadata": request.metadata}
        return SamplerPubResult(DataBin(**arrays, shape=request.shape), metadata=metadata)

    def _draw(self, packed: dict[str, ByteArray], generator: np.random.Generator) -> None:
        """Write outcomes into the registers, in which all bits are zero so far."""
        request, source = self.request, self.source
        if not self.qubits:
            return
        place = {q: bit for bit, q in enumerate(self.qubits)}
        places = {
            r.name: tuple([None if q is None else place.get(q) for q in r.qubits])
            for r in request.measured.registers
        }
        if isinstance(source, ColumnSampler):
            self._draw_from_columns(source, packed, places, generator)
            return
        for chunk in split_rows(len(request.values), 8 << len(self.qubits)):
            probabilities = _probabilities(source, request.values[chunk])
            for rows in split_rows(len(probabilities), DRAWN_BYTES * request.shots, NEAR_BYTES):
                some = probabilities[rows]
                for shots in split_rows(request.shots, DRAWN_BYTES * len(some), NEAR_BYTES):
                    outcomes = draw_outcomes(some, shots.stop - shots.start, generator)
                    for name, array in packed.items():
                        pack_outcomes(outcomes, places[name], array[chunk][rows, shots])

    def _draw_from_columns(
        self,
        source: ColumnSampler,
        packed: dict[str, ByteArray],
        places: dict[str, tuple[int | None, ...]],
        generator: np.random.Generator,
    ) -> None:
        """Write outcomes that are drawn qubit by qubit."""
        request = self.request
        sites = [source.site_of[q] for q in self.qubits]
        for chunk in split_rows(len(request.values), source.estimate(1, 0).bytes):
            states = source.prepare(request.values[chunk])
            for shots in split_rows(request.shots, len(states) * len(sites), NEAR_BYTES):
                bits = states.draw(sites, shots.stop - shots.start, generator)
                for name, array in packed.items():
                    pack_bits(bits, places[name], array[chunk][:, shots])


def _probabilities(source: Simulator, values: FloatArray) -> FloatArray:
    """Return the probabilities ``(N, S)`` of outcomes at values ``(N, P)``."""
    # What is drawn at one point depends on no other one, not even by rounding.
    found = source.evaluate_separately(values, NO_WEIGHTS)
    return found if isinstance(source, StatevectorSimulator) else np.maximum(found, 0.0)
