# SPDX-License-Identifier: Apache-2.0
"""A gradient made of evaluations: one ``run`` per call, one PUB per circuit and precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from typing_extensions import override

from ..arrays import FloatArray
from ..primitives import Evaluation, evaluate, validate_precision
from ..primitives.capabilities import takes_projectors
from ..primitives.evaluation import make_points_pub, validate_estimator
from ..primitives.precision import default_precision, estimate_precision
from ..program import normalise_observables
from ..program.observables import observables_array
from ..program.operators import Observable, acted_on
from .base import BridgeGradient, BridgeGradientResult, require_real
from .evaluated_gradient import (
    EachOf,
    EvaluatedGradient,
    Request,
    SharedPub,
    Transpiler,
    check_transpiler,
)

NO_IMAGINARY_PART = (
    "Use AdjointEstimatorGradient, or on a device qiskit-algorithms' LinCombEstimatorGradient, "
    "for imaginary parts."
)


class EstimatorGradient(BridgeGradient, EvaluatedGradient):
    """A gradient made of evaluations, by one of the package's rules, on any V2 estimator.

    It is the gradient of the function that the estimator evaluates. Evolutions by terms that do not
    commute are exponentials where ``StatevectorEstimator`` or ``BatchedStatevectorEstimator`` takes
    the circuit as it is, and product formulas everywhere else, as in Qiskit.

    Args:
        estimator: Any V2 estimator.
        precision: Requested in every evaluation, unchanged; default: the estimator's own.
        transpiler: An object with ``run(circuit, **options)``, a pass manager for instance. Each
            distinct circuit is transpiled once and observables are given its layout.
        transpiler_options: Keyword arguments for ``transpiler.run``.

    Raises:
        EstimatorTypeError: If ``estimator`` is not a V2 estimator.
        PrecisionError: If ``precision`` is not positive.
        GradientError: If ``transpiler`` cannot transpile, or its options are no mapping.
    """

    def __init__(
        self,
        estimator: BaseEstimatorV2,
        precision: float | None = None,
        *,
        transpiler: Transpiler | None = None,
        transpiler_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            validate_estimator(estimator),
            validate_precision(None, precision),
            transpiler=transpiler,
            transpiler_options=check_transpiler(transpiler, transpiler_options),
        )
        self._remember(estimator)

    def _check_part(self) -> None:
        """Raise :class:`.GradientError` unless real parts are asked for: values give no others."""
        require_real(self, NO_IMAGINARY_PART)

    @override
    def _precision_of(self, requested: float | None) -> float:
        return estimate_precision(self._estimator, requested)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> BridgeGradientResult:
        each = EachOf(precision, len(circuits), "precision", partial(validate_precision, None))
        analysed = self._analyse(circuits)
        operators = [
            normalise_observables([observable], circuit, "physical")[0][0]
            for observable, circuit in zip(observables, circuits, strict=True)
        ]
        entries = zip(analysed, operators, parameter_values, parameters, each.values, strict=True)
        pubs = self._share([Request(*entry) for entry in entries], _ObservablesPub)
        projectors = takes_projectors(self._estimator)
        evaluations = evaluate(
            self._estimator,
            [pub.content(self._circuit_of(pub.target), projectors) for pub in pubs],
            [pub.shape for pub in pubs],
        )
        # Without points no wanted parameter acts on any gate.
        gradients = [np.zeros(len(wanted)) for wanted in parameters]
        stds: list[FloatArray | None] = [np.zeros(len(wanted)) for wanted in parameters]
        by_default = default_precision(self._estimator)
        for pub, evaluation in zip(pubs, evaluations, strict=True):
            for i, gradient, std in pub.combine(evaluation):
                gradients[i], stds[i] = gradient, std
            if pub.requested is None and evaluation.precision is not None:
                by_default = evaluation.precision
        return BridgeGradientResult(
            gradients=gradients,
            metadata=[{"parameters": list(p)} for p in parameters],
            precision=each.used(by_default, precision),
            stds=stds,
        )


class _ObservablesPub(SharedPub[Observable]):
    """A PUB of observables, at all points or paired with them."""

    @classmethod
    @override
    def depends_on(cls, asked: Observable) -> frozenset[int]:
        return acted_on(asked)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the expectation values."""
        count = len(self.points)
        return (len(self.asked), count) if self.is_product else (count,)

    def content(self, circuit: QuantumCircuit, projectors: bool) -> tuple[Any, ...]:
        """Return the PUB.

        Args:
            circuit: The circuit as it is submitted.
            projectors: Whether observables may name projectors.
        """
        operators = self.asked
        if circuit.layout is not None:
            operators = [o.apply_layout(circuit.layout, circuit.num_qubits) for o in operators]
        wanted: list[Any] = [[operator] for operator in operators]
        if not self.is_product:
            wanted = [operators[e.asked] for e in self.entries for _ in e.row.points]
        observables = observables_array(wanted, projectors=projectors)
        pub = make_points_pub(self.target, observables, self.points, circuit)
        return pub if self.requested is None else (*pub, self.requested)

    def combine(
        self, evaluation: Evaluation
    ) -> Iterator[tuple[int, FloatArray, FloatArray | None]]:
        """Yield the place, the gradient and the standard errors of each entry."""
        for place, row, asked, points in self.entries:
            index = (asked, points) if self.is_product else (points,)
            stds = None if evaluation.stds is None else evaluation.stds[index][:, None]
            gradient, errors = row.combine(evaluation.evs[index][:, None], stds)
            yield place, gradient[0], None if errors is None else errors[0]
