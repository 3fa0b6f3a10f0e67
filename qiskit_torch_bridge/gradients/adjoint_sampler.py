# SPDX-License-Identifier: Apache-2.0
"""Exact gradients of probabilities on the exact engine, for qiskit-algorithms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseSamplerV2

from .. import memory
from ..arguments import require_choice, require_complex_dtype
from ..arrays import FloatArray
from ..primitives import BatchedStatevectorSampler
from ..primitives.capabilities import evolutions_on
from ..primitives.families import SAMPLERS
from ..program import AnalysedCircuit, AnalysisCache
from ..program.readouts import Outcomes
from ..simulation.choice import AUTOMATIC, METHODS, SimulatorCache
from ..simulation.interface import Simulator
from .base import BridgeSamplerGradient, BridgeSamplerGradientResult, Distributions
from .evaluated_gradient import EachOf
from .measured_bits import MeasuredBits, MeasuredCircuits

BLOCK = 1 << 22
"""The most derivatives that are computed at once."""
ENTRY_BYTES = 104
"""What a derivative takes in a dictionary: a place in it, and a number as an object of Python."""
NO_WEIGHTS = np.zeros((1, 0))


class AdjointSamplerGradient(BridgeSamplerGradient):
    r"""Exact gradients of the probabilities of all outcomes, from states and their derivatives.

    .. math:: \frac{\partial p_i}{\partial v}
        = 2\,\mathrm{Re} \sum_{b \to i} \langle\psi|b\rangle\langle b|\partial_v\psi\rangle

    over the basis states :math:`b` that are measured as outcome :math:`i`. The derivatives of all
    outcomes with respect to one parameter take a sweep with the state and its tangent; where there
    are few outcomes, the derivatives of one outcome with respect to all parameters take an adjoint
    sweep instead. All is simulated in this process: **noise, shots and the backend of a sampler
    have no influence on this gradient**. What outcomes are is as for :class:`SamplerGradient`.

    Args:
        sampler: Runs nothing for the gradient. It says what evolutions by terms that do not commute
            stand for: product formulas, or exponentials where it is one of the two statevector
            samplers or none. :class:`.TorchQuantumModule` takes values from it if it is given no
            other.
        dtype: ``"complex128"``, or ``"complex64"`` for half of the memory and time.
        method: How circuits are simulated, as in :class:`.Exact`.

    Attributes:
        has_sampler: Whether a sampler was given.

    Raises:
        CircuitError: If a circuit cannot be simulated exactly.
        InputError: If ``method`` is another one.
        InputTypeError: If ``dtype`` is another one.
        MemoryLimitError: From ``run``, if all derivatives do not fit into memory.
        SamplerTypeError: If ``sampler`` is not a V2 sampler.

    Cost:
        For each row of values, the lesser of two simulations for each parameter and three for each
        outcome; memory for two states. There are as many numbers as outcomes times parameters: for
        functions of many outcomes take the gradient of a :class:`.TorchQuantumModule` of
        ``Probabilities``, which is one adjoint sweep.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.gradients import AdjointSamplerGradient
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> circuit.measure_all()
        >>> result = AdjointSamplerGradient().run([circuit], [[0.5]]).result()
        >>> {i: round(g, 6) for i, g in result.gradients[0][0].items()}  # -sin(0.5) / 2
        {0: -0.239713, 1: 0.239713}
    """

    def __init__(
        self,
        sampler: BaseSamplerV2 | None = None,
        *,
        dtype: Any = "complex128",
        method: str = AUTOMATIC,
    ) -> None:
        self.has_sampler = sampler is not None
        given = BatchedStatevectorSampler() if sampler is None else sampler
        super().__init__(SAMPLERS.validate(given))
        self.dtype = np.dtype(require_complex_dtype(dtype))
        self._analysed = AnalysisCache(evolutions_on(given))
        self._measured = MeasuredCircuits()
        self.method = require_choice(method, "method", METHODS)
        self._simulators = SimulatorCache(self.dtype, self.method)

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
        analysed = {id(circuit): self._analysed(circuit) for circuit in bare}
        groups: dict[tuple[int, MeasuredBits], list[int]] = {}
        for i, circuit in enumerate(bare):
            groups.setdefault((id(circuit), bits[i]), []).append(i)
        gradients: list[Distributions] = [[] for _ in circuits]
        for (key, measured), entries in groups.items():
            gates = analysed[key]
            values = np.array([parameter_values[i] for i in entries], dtype=float)
            for i, row in zip(entries, values, strict=True):
                gates.check(row[None], first_row=i)
            wanted = [[gates.column_of[p] for p in parameters[i]] for i in entries]
            found = self._derivatives(gates, measured, values, wanted)
            for i, columns in zip(entries, wanted, strict=True):
                gradients[i] = [next(found) for _ in columns]
        return BridgeSamplerGradientResult(
            gradients=gradients,
            metadata=[{"parameters": list(p)} for p in parameters],
            shots=each.used(0, shots),
            stds=[[dict.fromkeys(of_one, 0.0) for of_one in entry] for entry in gradients],
        )

    def _derivatives(
        self,
        circuit: AnalysedCircuit,
        measured: MeasuredBits,
        values: FloatArray,
        wanted: Sequence[Sequence[int]],
    ) -> Iterator[dict[int, float]]:
        """Yield derivatives of all outcomes, for each row and each column that is wanted there."""
        readout = Outcomes(measured.qubits)
        count = sum(map(len, wanted))
        memory.require_outputs(count * ENTRY_BYTES // 8, readout.size)
        simulator = self._simulators(circuit, readout)
        rows = np.repeat(np.arange(len(values)), [len(columns) for columns in wanted])
        columns = np.array([c for row in wanted for c in row], dtype=np.int64)
        integers = measured.integers(range(readout.size))
        few = 3 * len(values) * readout.size < 2 * count
        differentiate = _by_outcomes if few else _by_parameters
        for block in differentiate(simulator, readout.size, values, rows, columns):
            for derivatives in block:
                changed = np.flatnonzero(derivatives)
                numbers = derivatives[changed].tolist()
                yield dict(zip([integers[o] for o in changed.tolist()], numbers, strict=True))


def _by_parameters(
    simulator: Simulator, size: int, values: FloatArray, rows: Any, columns: Any
) -> Iterator[FloatArray]:
    """Yield derivatives ``(N, 2**k)`` from tangents, a block of rows and columns at a time."""
    most = max(1, BLOCK // max(size, values.shape[1]))
    for start in range(0, len(rows), most):
        chosen = slice(start, start + most)
        x = values[rows[chosen]]
        dx = np.zeros_like(x)
        dx[np.arange(len(x)), columns[chosen]] = 1
        yield simulator.tangent(x, NO_WEIGHTS, dx, NO_WEIGHTS)


def _by_outcomes(
    simulator: Simulator, size: int, values: FloatArray, rows: Any, columns: Any
) -> Iterator[FloatArray]:
    """Yield derivatives ``(C, 2**k)`` from one vector-Jacobian product per outcome, row by row."""
    for b in range(len(values)):
        x = np.repeat(values[b : b + 1], size, axis=0)
        found, _ = simulator.vjp(x, NO_WEIGHTS, np.eye(size))  # (2**k, P)
        found = found[:, columns[rows == b]]
        if not np.isfinite(found).all():
            simulator.check_derivatives(x, NO_WEIGHTS)
        yield found.T
