# SPDX-License-Identifier: Apache-2.0
"""Gradients of the probabilities of outcomes, made of samples: one ``run`` per call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from typing_extensions import override

from ..arrays import FloatArray
from ..primitives.families import SAMPLERS
from ..primitives.outcomes import submit_samples
from ..primitives.precision import UNKNOWN_PRECISION, default_shots, shots_to_precision
from ..primitives.results import Samples, take_last_bits
from ..program.readouts import Outcomes
from .base import BridgeSamplerGradient, BridgeSamplerGradientResult, Distributions
from .evaluated_gradient import (
    EachOf,
    Entry,
    EvaluatedGradient,
    Request,
    SharedPub,
    Transpiler,
    check_transpiler,
)
from .measured_bits import MeasuredBits, MeasuredCircuits

BLOCK = 1 << 22
"""The most numbers in a table of frequencies, or of derivatives."""


class SamplerGradient(BridgeSamplerGradient, EvaluatedGradient):
    """A gradient of probabilities made of samples, by one of the package's rules.

    The derivative of a probability is that of the expectation value of a projector, so the rules
    are those of expectation values. Circuits measure at their end, any of their qubits in any order
    and into several registers. An outcome is the integer that the bits of all registers make, those
    of the first register lowest; for one register it is the integer of its bits.

    Args:
        sampler: Any V2 sampler.
        shots: Requested for every evaluation; default: the sampler's own.
        transpiler: An object with ``run(circuit, **options)``, a pass manager for instance. Each
            distinct circuit is transpiled once, with what it measures.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Raises:
        SamplerTypeError: If ``sampler`` is not a V2 sampler.
        PrecisionError: If ``shots`` is not a positive whole number.
        GradientError: If ``transpiler`` cannot transpile, or its options are no mapping.
    """

    def __init__(
        self,
        sampler: BaseSamplerV2,
        shots: int | None = None,
        *,
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            SAMPLERS.validate(sampler),
            SAMPLERS.validate_effort(shots),
            transpiler=transpiler,
            transpiler_options=check_transpiler(transpiler, transpiler_options),
        )
        self._remember(sampler)
        self._measured = MeasuredCircuits()

    @property
    def precision(self) -> float | None:
        """The precision that :attr:`shots` give: twice the largest standard error of a probability.

        It is the standard error of an expectation value between -1 and 1.
        """
        return None if self.shots is None else shots_to_precision(self.shots)

    @override
    def _precision_of(self, requested: int | None) -> float:
        shots = default_shots(self._sampler) if requested is None else requested
        return UNKNOWN_PRECISION if shots is None else shots_to_precision(shots)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        shots: int | Sequence[int] | None,
    ) -> BridgeSamplerGradientResult:
        each = EachOf(shots, len(circuits), "number of shots", SAMPLERS.validate_effort)
        bare, bits = self._measured.split(circuits)
        entries = zip(
            self._analyse(bare), bits, parameter_values, parameters, each.values, strict=True
        )
        pubs = self._share([Request(*entry) for entry in entries], _OutcomesPub)
        submitted = [(pub, self._circuit_of(pub.target, pub.readout)) for pub in pubs]
        # A transpiler drops gates that no outcome depends on, perhaps all with parameters.
        submitted = [(pub, circuit) for pub, circuit in submitted if circuit.parameters]
        contents = [pub.content(circuit) for pub, circuit in submitted]
        samples = [
            take_last_bits(found, len(pub.readout.qubits))
            for (pub, _), found in zip(
                submitted, submit_samples(self._sampler, contents)(), strict=True
            )
        ]
        gradients: list[Distributions] = [[{} for _ in wanted] for wanted in parameters]
        stds: list[Distributions | None] = [[{} for _ in wanted] for wanted in parameters]
        by_default = default_shots(self._sampler)
        for (pub, _), found in zip(submitted, samples, strict=True):
            for entry in pub.entries:
                i = entry.place
                gradients[i], stds[i] = _differentiate(
                    entry, len(parameters[i]), found, pub.asked[0]
                )
            if pub.requested is None and found.shots is not None:
                by_default = found.shots
        return BridgeSamplerGradientResult(
            gradients=gradients,
            metadata=[{"parameters": list(p)} for p in parameters],
            shots=each.used(by_default, shots),
            stds=stds,
        )


class _OutcomesPub(SharedPub[MeasuredBits]):
    """A PUB of samples at all points."""

    @classmethod
    @override
    def key(cls, asked: MeasuredBits) -> MeasuredBits:
        return asked

    @classmethod
    @override
    def depends_on(cls, asked: MeasuredBits) -> frozenset[int]:
        return frozenset(asked.qubits)

    @property
    def readout(self) -> Outcomes:
        """What is measured."""
        return Outcomes(self.asked[0].qubits)

    def content(self, circuit: QuantumCircuit) -> tuple[Any, ...]:
        """Return the PUB, of the circuit as it is submitted."""
        pub = circuit, self.target.bindings(self.points, circuit)
        return pub if self.requested is None else (*pub, self.requested)


def _differentiate(
    entry: Entry, count: int, samples: Samples, bits: MeasuredBits
) -> tuple[Distributions, Distributions | None]:
    """Return the derivatives of one entry and their standard errors, each for ``count`` parameters.

    An outcome is left out where the points that a derivative is made of have never given it.
    """
    shots = samples.shots or 0
    gradient: Distributions = [{} for _ in range(count)]
    errors: Distributions | None = [{} for _ in range(count)] if shots > 1 else None
    most = max(1, BLOCK // max(len(entry.row.points), count))
    for outcomes, table in _tables(samples, entry.points, most):
        stds = np.sqrt(table * (1 - table) / (shots - 1)) if shots > 1 else None
        found, propagated = entry.row.combine(table, stds)
        seen = found != 0 if propagated is None else (found != 0) | (propagated > 0)
        integers = bits.integers(outcomes)
        for c in range(count):
            chosen = np.flatnonzero(seen[:, c])
            names = [integers[u] for u in chosen.tolist()]
            gradient[c].update(zip(names, found[chosen, c].tolist(), strict=True))
            if errors is not None and propagated is not None:
                errors[c].update(zip(names, propagated[chosen, c].tolist(), strict=True))
    return gradient, errors


def _tables(
    samples: Samples, points: slice, most: int
) -> Iterator[tuple[Sequence[int], FloatArray]]:
    """Yield outcomes that were found at some of the points, and how often at each: ``(N, U)``.

    There are as many columns as different outcomes, ``most`` of them at once, and not as many as
    bit strings.
    """
    if samples.weights is not None:
        weights = samples.weights[points]
        found = sorted({outcome for of_point in weights for outcome in of_point})
        for start in range(0, len(found), most):
            chosen = found[start : start + most]
            yield chosen, np.array([[w.get(o, 0.0) for o in chosen] for w in weights])
        return
    assert samples.bits is not None
    packed = samples.bits.array[points]  # (N, shots, bytes)
    count, shots, length = packed.shape
    outcomes = _numbers_of(packed.reshape(-1, length))
    order = np.argsort(outcomes, kind="stable")
    starts = np.flatnonzero(np.r_[True, outcomes[order[1:]] != outcomes[order[:-1]]])
    ends = np.r_[starts[1:], len(order)]
    column = np.repeat(np.arange(len(starts)), ends - starts)
    for first in range(0, len(starts), most):
        last = min(first + most, len(starts))
        part = slice(starts[first], ends[last - 1])
        cell = order[part] // shots * (last - first) + column[part] - first
        table = np.bincount(cell, minlength=count * (last - first)) / shots
        yield outcomes[order[starts[first:last]]].tolist(), table.reshape(count, -1)


def _numbers_of(packed: NDArray[np.uint8]) -> NDArray[Any]:
    """Return packed outcomes ``(M, bytes)`` as numbers, of Python where they have many bits."""
    if packed.shape[1] > 7:
        data, length = packed.tobytes(), packed.shape[1]
        parts = range(0, len(data), length)
        return np.array([int.from_bytes(data[i : i + length], "big") for i in parts], dtype=object)
    # NumPy sorts numbers of one or two bytes in linear time.
    number: NDArray[Any] = np.zeros(len(packed), np.int64 if packed.shape[1] > 2 else np.uint16)
    for byte in packed.T:
        number = number << 8 | byte
    return number
