# SPDX-License-Identifier: Apache-2.0
"""What the gradients share: one ``run`` per call, one PUB per circuit, nothing analysed twice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms import AlgorithmJob
from qiskit_algorithms.gradients import EstimatorGradientResult

from ..arguments import is_options, shown
from ..arrays import FloatArray
from ..exceptions import GradientError
from ..primitives import Evaluation, evaluate, is_aer, validated_precision
from ..primitives.evaluation import make_points_pub, validate_estimator
from ..primitives.kinds import (
    binds_rightly,
    evolutions_on,
    names_with_noise,
    runs_boxes,
    takes_projectors,
)
from ..primitives.precision import assumed_precision, default_precision
from ..program import AnalysedCircuit, AnalysisCache, normalise_observables
from ..program.binding import check_binding
from ..program.lowering import refuse_lost_noise
from ..program.observables import observables_array
from ..program.product_operator import Observable
from ..rules import Differentiation, Rule, SPSARule
from .derivative_type import WithDerivativeType, require_real


@dataclass(frozen=True)
class BridgeGradientResult(EstimatorGradientResult):
    """Gradients with their standard errors.

    Attributes:
        stds: For each gradient the propagated standard errors, or ``None`` where the primitive
            gave none. What they mean is the primitive's: estimated from shots, the requested
            precision (Aer), or an upper bound (``BackendEstimatorV2``).
    """

    stds: list[FloatArray | None] = field(default_factory=list)


class EstimatorGradient(WithDerivativeType):
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
        transpiler: Any | None = None,
        transpiler_options: dict[str, Any] | None = None,
    ) -> None:
        if transpiler is not None and not callable(getattr(transpiler, "run", None)):
            raise GradientError(
                "Expected transpiler to have a method run(circuit), as a pass manager does; got "
                f"{shown(transpiler)}."
            )
        if transpiler_options is not None and not is_options(transpiler_options):
            raise GradientError(
                "Expected transpiler_options to be a mapping of keywords of transpiler.run; got "
                f"{shown(transpiler_options)}."
            )
        super().__init__(
            validate_estimator(estimator),
            validated_precision(None, precision),
            transpiler=transpiler,
            transpiler_options=transpiler_options,
        )
        self._analysed = AnalysisCache(evolutions_on(estimator, transpiler))
        self._differentiations: dict[Any, Differentiation] = {}
        self._transpiled: dict[int, tuple[AnalysedCircuit, QuantumCircuit]] = {}

    @property
    def estimator(self) -> BaseEstimatorV2:
        """The estimator that evaluates the displaced points."""
        return self._estimator

    @abstractmethod
    def rule(self, precision: float | None) -> Rule:
        """Return the gradient rule to use at a given precision (``None`` or zero: exact)."""

    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> AlgorithmJob:
        """Submit gradients; see :meth:`qiskit_algorithms.gradients.BaseEstimatorGradient.run`.

        Raises:
            GradientError: If the derivative type has been set to another than the real part,
                which is all that expectation values give.
        """
        require_real(
            self,
            "Use AdjointEstimatorGradient, or on a device qiskit-algorithms' "
            "LinCombEstimatorGradient, for imaginary parts.",
        )
        return super().run(circuits, observables, parameter_values, parameters, precision=precision)

    @property
    def pass_manager(self) -> Any:
        """What transpiles, with its options bound; ``None`` if nothing does."""
        if self._transpiler is None:
            return None
        return _Bound(self._transpiler, self._transpiler_options)

    def _run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter]],
        *,
        precision: float | Sequence[float] | None,
    ) -> BridgeGradientResult:
        listed = isinstance(precision, (list, tuple, np.ndarray))
        per_entry = list(precision) if listed else [precision] * len(circuits)  # type: ignore[arg-type]
        if len(per_entry) != len(circuits):
            raise GradientError(
                f"Expected one precision or one for each of the {len(circuits)} circuits; got "
                f"{shown(precision)}."
            )
        groups: dict[Any, _Group] = {}
        for i, circuit in enumerate(circuits):
            requested = validated_precision(None, per_entry[i])
            analysed = self._analysed(circuit)
            columns = tuple(analysed.column_of[p] for p in parameters[i])
            values = np.asarray(parameter_values[i], dtype=float)[None]  # (1, P)
            analysed.check(values, first_row=i)
            (operator,), _ = normalise_observables([observables[i]], circuit, "physical")
            d = self._differentiation(analysed, columns, requested)
            key = (id(d.target), requested)
            group = groups.setdefault(key, _Group(d.target, requested))
            group.add(i, d, values, operator)
        active = [g for g in groups.values() if g.num_points]
        named = takes_projectors(self._estimator)
        pubs = [g.pub(self._submitted(g.target), named) for g in active]
        evaluations = evaluate(self._estimator, pubs, [g.shape for g in active])
        gradients: dict[int, FloatArray] = {}
        errors: dict[int, FloatArray | None] = {}
        by_default = default_precision(self._estimator)
        for group, evaluation in zip(active, evaluations, strict=True):
            group.collect(evaluation, gradients, errors)
            if group.precision is None and evaluation.precision is not None:
                by_default = evaluation.precision
        for i, columns_ in enumerate(parameters):  # no wanted parameter acts on any gate
            gradients.setdefault(i, np.zeros(len(columns_)))
            errors.setdefault(i, np.zeros(len(columns_)))
        used = [by_default if requested is None else requested for requested in per_entry]
        return BridgeGradientResult(
            gradients=[gradients[i] for i in range(len(circuits))],
            metadata=[{"parameters": list(p)} for p in parameters],
            precision=precision if not used else used if listed else used[0],
            stds=[errors[i] for i in range(len(circuits))],
        )

    def _differentiation(
        self, analysed: AnalysedCircuit, columns: tuple[int, ...], requested: float | None
    ) -> Differentiation:
        key = (analysed, columns, requested)
        rule = self.rule(assumed_precision(self._estimator, requested))
        if key not in self._differentiations or isinstance(rule, SPSARule):
            d = rule.differentiation(self._handed_over(analysed), columns)
            if not binds_rightly(self._estimator):
                d.target.check_binding()
            if len(self._differentiations) >= 256:
                self._differentiations.clear()
                self._transpiled.clear()
            self._differentiations[key] = d
        return self._differentiations[key]

    def _handed_over(self, analysed: AnalysedCircuit) -> AnalysedCircuit:
        """Return the circuit in operations that the estimator, or the transpiler, knows."""
        if self._transpiler is not None:
            return analysed
        if is_aer(self._estimator):
            refuse_lost_noise(analysed.circuit, names_with_noise(self._estimator))
            return analysed.on_aer
        return analysed if runs_boxes(self._estimator) else analysed.without_boxes

    def _submitted(self, target: AnalysedCircuit) -> QuantumCircuit:
        if self._transpiler is None:
            return target.circuit
        if id(target) not in self._transpiled:
            circuit = self._transpiler.run(target.circuit, **self._transpiler_options)
            if not binds_rightly(self._estimator):
                check_binding(circuit)
            self._transpiled[id(target)] = (target, circuit)
        return self._transpiled[id(target)][1]


class _Bound:
    """A transpiler with its options, in the form of a pass manager."""

    def __init__(self, transpiler: Any, options: dict[str, Any]) -> None:
        self._transpiler = transpiler
        self._options = options

    def run(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Transpile with the options given before."""
        return self._transpiler.run(circuit, **self._options)


class _Group:
    """The entries of one gradient call that share a circuit, and so share one PUB."""

    def __init__(self, target: AnalysedCircuit, precision: float | None) -> None:
        self.target = target
        self.precision = precision
        self._rows: dict[Any, list[int]] = {}
        self._taken: set[tuple[int, int]] = set()  # pairs of row and operator
        self._blocks: list[tuple[Differentiation, FloatArray, FloatArray]] = []
        self._operators: list[Observable] = []
        self._entries: list[tuple[int, int, int]] = []  # entry, row, operator

    def add(self, entry: int, d: Differentiation, values: FloatArray, operator: Observable) -> None:
        """Take in one entry with ``values`` of shape ``(1, P)``."""
        matches = (k for k, o in enumerate(self._operators) if o is operator or o == operator)
        position = next(matches, len(self._operators))
        if position == len(self._operators):
            self._operators.append(operator)
        # Observables of one point share its evaluations. An entry that repeats another in all
        # is a request for independent shots, and gets points of its own.
        rows = self._rows.setdefault((id(d), values.tobytes()), [])
        row = next((r for r in rows if (r, position) not in self._taken), len(self._blocks))
        if row == len(self._blocks):
            rows.append(row)
            points = d.points(values).reshape(-1, self.target.num_parameters)
            self._blocks.append((d, values, points))
        self._taken.add((row, position))
        self._entries.append((entry, row, position))

    @property
    def num_points(self) -> int:
        """The number ``N`` of displaced points."""
        return sum(len(points) for _, _, points in self._blocks)

    @property
    def _is_product(self) -> bool:
        return len(self._taken) == len(self._blocks) * len(self._operators)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the PUB's expectation values."""
        if self._is_product:
            return (len(self._operators), self.num_points)
        return (sum(len(self._blocks[row][2]) for _, row, _ in self._entries),)

    def pub(self, circuit: QuantumCircuit, projectors: bool) -> tuple[Any, ...]:
        """Return the PUB: observables as a column over all points, or paired with them.

        Args:
            circuit: The circuit as it is submitted.
            projectors: Whether observables may name projectors.
        """
        operators = self._operators
        if circuit.layout is not None:
            operators = [o.apply_layout(circuit.layout, circuit.num_qubits) for o in operators]
        blocks = [points for _, _, points in self._blocks]
        if self._is_product:
            column = observables_array([[o] for o in operators], projectors=projectors)
            pub = make_points_pub(self.target, column, np.concatenate(blocks), circuit)
        else:
            listed = [operators[o] for _, row, o in self._entries for _ in blocks[row]]
            paired = observables_array(listed, projectors=projectors)
            points = np.concatenate([blocks[row] for _, row, _ in self._entries])
            pub = make_points_pub(self.target, paired, points, circuit)
        return pub if self.precision is None else (*pub, self.precision)

    def collect(
        self,
        evaluation: Evaluation,
        gradients: dict[int, FloatArray],
        errors: dict[int, FloatArray | None],
    ) -> None:
        """Combine the expectation values to each entry's gradient and standard errors."""
        sizes = [len(points) for _, _, points in self._blocks]
        where: list[tuple[Any, slice]]
        if self._is_product:
            starts = np.concatenate([[0], np.cumsum(sizes)])
            where = [
                (operator, slice(starts[row], starts[row + 1]))
                for _, row, operator in self._entries
            ]
        else:
            ends = np.cumsum([sizes[row] for _, row, _ in self._entries])
            where = [
                (..., slice(end - sizes[row], end))
                for end, (_, row, _) in zip(ends, self._entries, strict=True)
            ]
        for (entry, row, _), index in zip(self._entries, where, strict=True):
            d, values, _ = self._blocks[row]
            gradients[entry] = d.combine(values, evaluation.evs[index][:, None])[0]
            errors[entry] = (
                None
                if evaluation.stds is None
                else d.standard_errors(values, evaluation.stds[index][:, None])[0]
            )
