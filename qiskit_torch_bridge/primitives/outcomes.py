# SPDX-License-Identifier: Apache-2.0
r"""From a sampler's outcomes to numbers: how often each output of a readout was found.

.. math:: \hat p_o = \frac1m \sum_{s=1}^{m} [\,f(b_s) = o\,]

over the outcomes :math:`b_s` of :math:`m` shots, where :math:`f` says which output an outcome
counts for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import BaseSamplerV2

from ..arrays import FloatArray, IntArray
from ..exceptions import ResultError
from ..memory import require_for
from ..program.readouts import Outcomes
from .evaluation import coerce_pubs, submit_pubs, validate_sampler
from .results import UNUSED, QuasiArray, Samples, pack_outcomes, read_samples, take_bits


def submit_samples(
    sampler: BaseSamplerV2,
    pubs: Sequence[Any],
    shots: int | None = None,
    places: Sequence[int] | None = None,
) -> Callable[[], list[Samples]]:
    """Run ``pubs`` in one job, and return what waits for the outcomes of each.

    Args:
        sampler: Any V2 sampler.
        pubs: What to run, ``(circuit, values, shots)`` as far as needed; nothing is submitted if it
            is empty.
        shots: Passed to ``run`` unchanged, and left out if it is ``None``.
        places: Which bits are wanted, of those of all registers one after the other; default: all.

    Raises:
        InputError: If something is wrong with a PUB; nothing is submitted then.
        ExecutionError: If the sampler raises; its error is chained.
        ResultError: By what is returned, if outcomes are missing or others than were asked for.
    """
    validate_sampler(sampler)
    asked = coerce_pubs(pubs, shots, sampler)
    results, who = submit_pubs(sampler, asked, shots), type(sampler).__name__

    def wait() -> list[Samples]:
        found = [
            read_samples(result, pub.circuit, pub.parameter_values.shape, pub.shots, i, who)
            for i, (result, pub) in enumerate(zip(results(), asked, strict=True))
        ]
        return found if places is None else [take_bits(each, places) for each in found]

    return wait


@dataclass(frozen=True)
class Frequencies:
    """How often each output was found at each point.

    Attributes:
        probabilities: Shape ``(N, size)``; a row adds up to one. Quasi-probabilities may be
            negative.
        shots: The shots at each point; ``None`` where nothing says how many there were.
    """

    probabilities: FloatArray
    shots: int | None

    @property
    def stds(self) -> FloatArray | None:
        r"""The standard errors :math:`\sqrt{p (1 - p) / (m - 1)}` of all outputs, ``(N, size)``.

        They are infinite for a single shot, and ``None`` for quasi-probabilities, whose shots are
        not known.
        """
        p = self.probabilities
        return self._errors(p * (1 - p))

    def stds_of_sums(self, coefficients: FloatArray) -> FloatArray | None:
        r"""Return the standard errors of sums :math:`\sum_o c_o p_o`, shape ``(N,)``.

        .. math:: \operatorname{Var} = \frac{\sum_o c_o^2 p_o - (\sum_o c_o p_o)^2}{m - 1},

        which is exact, since all outputs of a point share its shots: they are multinomial.

        Args:
            coefficients: ``(N, size)``, or ``(size,)`` for all points.
        """
        c, p = np.broadcast_to(coefficients, self.probabilities.shape), self.probabilities
        # Around the mean, so that nothing is lost to rounding where all shots agree.
        mean = np.einsum("no,no->n", c, p)
        return self._errors(np.einsum("no,no->n", (c - mean[:, None]) ** 2, p))

    def _errors(self, variances: FloatArray) -> FloatArray | None:
        if self.shots is None:
            return None
        if self.shots == 1:
            return np.full_like(variances, np.inf)
        errors: FloatArray = np.sqrt(np.maximum(variances, 0.0) / (self.shots - 1))
        return errors


def read_frequencies(samples: Samples, readout: Outcomes) -> Frequencies:
    """Return how often each output of a readout was found, its bits being those of an outcome.

    Args:
        samples: The outcomes at ``N`` points, which count in C order; without an axis there is one.
        readout: What is read; bit ``j`` of an outcome is that of ``readout.qubits[j]``.

    Raises:
        ResultError: If outcomes have other bits than the readout.
        MemoryLimitError: If the numbers of all outputs do not fit into memory.
    """
    width, rows = len(readout.qubits), int(np.prod(samples.shape))
    if samples.num_bits != width:
        raise ResultError(
            f"Expected outcomes of {width} bits, one for each qubit that is read; got "
            f"{samples.num_bits}. {UNUSED} Measure these qubits and no others."
        )
    require_for(
        8 * rows * readout.size,
        f"Reading {readout.size} outputs at {rows} point(s)",
        "Read fewer qubits, or give interpret= to count outcomes together.",
    )
    if samples.weights is not None:
        return Frequencies(_sum_weights(samples.weights.ravel(), width, readout), None)
    assert samples.bits is not None
    packed = samples.bits.array.reshape(rows, samples.bits.num_shots, -1)
    return Frequencies(_count(packed, width, readout), samples.bits.num_shots)


def _count(packed: NDArray[np.uint8], width: int, readout: Outcomes) -> FloatArray:
    """Return the frequencies of all outputs from outcomes ``(N, shots, bytes)``."""
    rows, shots, _ = packed.shape
    outputs = _outputs_of(packed, width, readout)
    found = np.empty((rows, readout.size))
    for row in range(rows):  # a row at a time stays in the cache
        found[row] = np.bincount(outputs[row], minlength=readout.size)
    found /= shots
    return found


def _sum_weights(weights: QuasiArray, width: int, readout: Outcomes) -> FloatArray:
    """Return the weights of all outputs, ``(N, size)``."""
    found = np.zeros((len(weights), readout.size))
    for row, of_outcome in enumerate(weights):
        outputs = _outputs_of(pack_outcomes(of_outcome, width), width, readout)
        np.add.at(found[row], outputs, list(of_outcome.values()))
    return found


def _outputs_of(packed: NDArray[np.uint8], width: int, readout: Outcomes) -> IntArray:
    """Return which output each outcome counts for, from ``(..., bytes)``."""
    if readout.interpretation is not None:
        return readout.interpretation.of_packed(packed, width)
    index = packed[..., 0].astype(np.int64)
    for byte in range(1, packed.shape[-1]):
        index <<= 8
        index |= packed[..., byte]
    return index
