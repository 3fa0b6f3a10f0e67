# SPDX-License-Identifier: Apache-2.0
"""The adjoint gradient on the exact engine, for qiskit-algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms.gradients import DerivativeType

from ..arguments import require_choice, require_complex_dtype
from ..arrays import FloatArray
from ..primitives import BatchedStatevectorEstimator
from ..primitives.capabilities import evolutions_on
from ..primitives.evaluation import validate_estimator
from ..program import AnalysedCircuit, AnalysisCache, normalise_observables
from ..program.operators import Observable
from ..program.readouts import Expectations
from ..simulation.choice import AUTOMATIC, METHODS, SimulatorCache
from .base import BridgeGradient, BridgeGradientResult, check_derivative_type
from .evaluated_gradient import place_among


class AdjointEstimatorGradient(BridgeGradient):
    r"""Exact gradients by two sweeps over the state, whatever the number of parameters.

    .. math:: \frac{\partial f}{\partial \alpha_a} = \operatorname{Im}\langle\lambda_a| P_a
        |\psi_a\rangle

    with the state :math:`|\psi_a\rangle` after rotation :math:`a` and the observable pulled back to
    the same place, :math:`|\lambda_a\rangle`. Both are simulated in this process: **noise, shots
    and the backend of an estimator have no influence on this gradient**. Use it where the circuit
    is simulated exactly anyway, or where an exact gradient of the noiseless circuit is what you
    want although values are noisy.

    The imaginary part of :math:`2\langle\psi|O|\partial\psi\rangle`, which real time evolution
    needs, comes from the same two sweeps with :math:`iO` in the place of :math:`O`. It depends on
    the phase of the state. As in qiskit-algorithms' ``LinCombEstimatorGradient``, a gate counts
    with the traceless part of its generator: ``p`` is ``rz``, ``cp`` has no phase of its own, and
    a global phase that is a parameter has no derivative.

    Args:
        estimator: Runs nothing for the gradient. It says what evolutions by terms that do not
            commute stand for: product formulas, or exponentials where it is one of the two
            statevector estimators or none. :class:`.TorchQuantumModule` takes values from it if it
            is given no other.
        derivative_type: ``DerivativeType.REAL`` for gradients of expectation values, ``IMAG`` for
            the imaginary part, ``COMPLEX`` for both as one complex number. It can be set later.
        dtype: ``"complex128"``, or ``"complex64"`` for half of the memory and time.
        method: How circuits are simulated, as in :class:`.Exact`; imaginary parts by their state
            vector alone.

    Attributes:
        has_estimator: Whether an estimator was given.

    Raises:
        CircuitError: If a circuit cannot be simulated exactly.
        GradientError: If ``derivative_type`` is none.
        InputError: If ``method`` is another one.
        InputTypeError: If ``dtype`` is another one.
        MemoryLimitError: From ``run``, if no method fits into memory.

    Cost:
        Three simulations of the circuit for each row of values, by the method that takes the least;
        by the state vector memory for two states. A complex derivative counts as two rows.

    References:
        T. Jones & J. Gacon, arXiv:2009.02823.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.gradients import AdjointEstimatorGradient
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> job = AdjointEstimatorGradient().run([circuit], [SparsePauliOp("Z")], [[0.5]])
        >>> job.result().gradients[0].round(6).tolist()  # -sin(0.5)
        [-0.479426]
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2 | None = None,
        *,
        derivative_type: DerivativeType = DerivativeType.REAL,
        dtype: Any = "complex128",
        method: str = AUTOMATIC,
    ) -> None:
        self.has_estimator = estimator is not None
        given = BatchedStatevectorEstimator() if estimator is None else estimator
        super().__init__(validate_estimator(given), None, check_derivative_type(derivative_type))
        self.dtype = np.dtype(require_complex_dtype(dtype))
        self._analysed = AnalysisCache(evolutions_on(given))
        self.method = require_choice(method, "method", METHODS)
        self._simulators = SimulatorCache(self.dtype, self.method)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> BridgeGradientResult:
        groups: dict[int, tuple[AnalysedCircuit, list[int]]] = {}
        operators: list[Observable] = []
        for i, circuit in enumerate(circuits):
            analysed = self._analysed(circuit)
            groups.setdefault(id(analysed), (analysed, []))[1].append(i)
            operators += normalise_observables([observables[i]], circuit, "physical")[0]
        part = check_derivative_type(self.derivative_type)
        gradients: dict[int, Any] = {}
        for analysed, entries in groups.values():
            values = np.array([parameter_values[i] for i in entries], dtype=float)
            found = self._gradients(analysed, entries, operators, values, part)
            gradients.update(zip(entries, found, strict=True))
        chosen = []
        for i, circuit in enumerate(circuits):
            column_of = self._analysed(circuit).column_of
            chosen.append(gradients[i][[column_of[p] for p in parameters[i]]])
        return BridgeGradientResult(
            gradients=chosen,
            metadata=[{"parameters": list(p)} for p in parameters],
            precision=0.0 if precision is None else precision,
            stds=[np.zeros(len(p)) for p in parameters],
        )

    def _gradients(
        self,
        analysed: AnalysedCircuit,
        entries: Sequence[int],
        operators: Sequence[Observable],
        values: FloatArray,
        part: DerivativeType,
    ) -> Any:
        """Return the gradients ``(entries, P)`` by all parameters of one circuit."""
        distinct: list[Observable] = []
        which = [place_among(distinct, operators[i]) for i in entries]
        cotangent = np.zeros((len(entries), len(distinct)))
        cotangent[np.arange(len(entries)), which] = 1
        if part == DerivativeType.REAL:
            return self._vjp(analysed, distinct, values, cotangent)
        turned = [1j * operator for operator in distinct]
        if part == DerivativeType.IMAG:
            return self._vjp(analysed, turned, values, cotangent)
        # Rows of real parts, then those of imaginary ones.
        both = scipy.linalg.block_diag(cotangent, cotangent)
        twice = self._vjp(analysed, [*distinct, *turned], np.tile(values, (2, 1)), both)
        real, imaginary = np.split(twice, 2)
        return real + 1j * imaginary

    def _vjp(
        self,
        analysed: AnalysedCircuit,
        operators: Sequence[Observable],
        values: FloatArray,
        cotangent: FloatArray,
    ) -> FloatArray:
        simulator = self._simulators(analysed, Expectations(tuple(operators)))
        x, w = np.ascontiguousarray(values), np.zeros((1, 0))
        gradients, _ = simulator.vjp(x, w, cotangent)
        if not np.isfinite(gradients).all():
            simulator.check_derivatives(x, w)
        return gradients
