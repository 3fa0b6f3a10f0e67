# SPDX-License-Identifier: Apache-2.0
"""A gradient made of evaluations: one ``run`` per call, one PUB per circuit and precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info.operators.base_operator import BaseOperator

from ..arguments import copy_options, shown
from ..arrays import FloatArray
from ..exceptions import GradientError
from ..lru_cache import LRUCache
from ..primitives import Evaluation, evaluate, is_aer, validate_precision
from ..primitives.capabilities import (
    binds_rightly,
    evolutions_on,
    names_with_noise,
    runs_boxes,
    takes_projectors,
)
from ..primitives.evaluation import make_points_pub, validate_estimator
from ..primitives.precision import default_precision, estimate_precision
from ..program import AnalysedCircuit, AnalysisCache, normalise_observables
from ..program.binding import check_binding
from ..program.lowering import refuse_lost_noise
from ..program.observables import observables_array
from ..program.operators import Observable
from ..rules import Differentiation, Rule
from .base import BridgeGradient, BridgeGradientResult, place_among, require_real

KEPT_DIFFERENTIATIONS = 256
"""Plans that are remembered, with the circuits transpiled for them."""
NO_IMAGINARY_PART = (
    "Use AdjointEstimatorGradient, or on a device qiskit-algorithms' LinCombEstimatorGradient, "
    "for imaginary parts."
)


class Transpiler(Protocol):
    """What transpiles circuits: a pass manager, for instance."""

    def run(self, circuits: QuantumCircuit, **options: Any) -> QuantumCircuit:
        """Return the circuit, transpiled."""


class EstimatorGradient(BridgeGradient):
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
        if transpiler is not None and not callable(getattr(transpiler, "run", None)):
            raise GradientError(
                "Expected transpiler to have a method run(circuit), as a pass manager does; got "
                f"{shown(transpiler)}."
            )
        what = "a mapping of keywords of transpiler.run"
        options = copy_options(transpiler_options, "transpiler_options", what, error=GradientError)
        super().__init__(
            validate_estimator(estimator),
            validate_precision(None, precision),
            transpiler=transpiler,
            transpiler_options=options,
        )
        self._analysed = AnalysisCache(evolutions_on(estimator, transpiler))
        self._differentiations: LRUCache[Differentiation] = LRUCache(KEPT_DIFFERENTIATIONS)
        self._transpiled: LRUCache[QuantumCircuit] = LRUCache(KEPT_DIFFERENTIATIONS)

    @abstractmethod
    def rule(self, precision: float | None) -> Rule:
        """Return the gradient rule to use at a given precision (``None`` or zero: exact)."""

    def _check_part(self) -> None:
        """Raise :class:`.GradientError` unless real parts are asked for: values give no others."""
        require_real(self, NO_IMAGINARY_PART)

    @property
    def pass_manager(self) -> Transpiler | None:
        """What transpiles, with its options bound; ``None`` if nothing does."""
        if self._transpiler is None:
            return None
        return _BoundTranspiler(self._transpiler, self._transpiler_options)

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
        requested = _validate_each(precision if listed else [precision] * len(circuits), circuits)
        pubs: dict[tuple[int, float | None], _SharedPub] = {}
        for i, circuit in enumerate(circuits):
            analysed = self._analysed(circuit)
            columns = tuple(analysed.column_of[p] for p in parameters[i])
            values = np.asarray(parameter_values[i], dtype=float)[None]  # (1, P)
            analysed.check(values, first_row=i)
            (operator,), _ = normalise_observables([observables[i]], circuit, "physical")
            d = self._differentiation(analysed, columns, requested[i])
            key = (id(d.target), requested[i])
            pub = pubs.setdefault(key, _SharedPub(d.target, requested[i]))
            pub.add(i, d, values, operator)
        active = [pub for pub in pubs.values() if pub.num_points]
        projectors = takes_projectors(self._estimator)
        evaluations = evaluate(
            self._estimator,
            [pub.content(self._transpile(pub.target), projectors) for pub in active],
            [pub.shape for pub in active],
        )
        # Without points no wanted parameter acts on any gate.
        gradients = [np.zeros(len(wanted)) for wanted in parameters]
        stds: list[FloatArray | None] = [np.zeros(len(wanted)) for wanted in parameters]
        by_default = default_precision(self._estimator)
        for pub, evaluation in zip(active, evaluations, strict=True):
            for i, gradient, std in pub.combine(evaluation):
                gradients[i], stds[i] = gradient, std
            if pub.precision is None and evaluation.precision is not None:
                by_default = evaluation.precision
        used = [by_default if each is None else each for each in requested]
        return BridgeGradientResult(
            gradients=gradients,
            metadata=[{"parameters": list(p)} for p in parameters],
            precision=precision if not used else used if listed else used[0],
            stds=stds,
        )

    def _differentiation(
        self, analysed: AnalysedCircuit, columns: tuple[int, ...], requested: float | None
    ) -> Differentiation:
        rule = self.rule(estimate_precision(self._estimator, requested))

        def plan() -> Differentiation:
            d = rule.differentiation(self._adapt(analysed), columns)
            if not binds_rightly(self._estimator):
                d.target.check_binding()
            return d

        key = (analysed, columns, requested)
        return plan() if rule.is_random else self._differentiations(key, plan)

    def _adapt(self, analysed: AnalysedCircuit) -> AnalysedCircuit:
        """Return the circuit in operations that the estimator, or the transpiler, knows."""
        if self._transpiler is not None:
            return analysed
        if is_aer(self._estimator):
            refuse_lost_noise(analysed.circuit, names_with_noise(self._estimator))
            return analysed.on_aer
        return analysed if runs_boxes(self._estimator) else analysed.without_boxes

    def _transpile(self, target: AnalysedCircuit) -> QuantumCircuit:
        """Return the circuit as the estimator is given it: transpiled once, if at all."""
        pass_manager = self.pass_manager
        if pass_manager is None:
            return target.circuit

        def transpile() -> QuantumCircuit:
            circuit = pass_manager.run(target.circuit)
            if not binds_rightly(self._estimator):
                check_binding(circuit)
            return circuit

        return self._transpiled(target, transpile)


def _validate_each(precisions: Any, circuits: Sequence[QuantumCircuit]) -> list[float | None]:
    if len(precisions) != len(circuits):
        raise GradientError(
            f"Expected one precision or one for each of the {len(circuits)} circuits; got "
            f"{shown(precisions)}."
        )
    return [validate_precision(None, precision) for precision in precisions]


@dataclass(frozen=True, eq=False)
class _BoundTranspiler:
    """A transpiler with options that it is given every time."""

    transpiler: Transpiler
    options: dict[str, Any]

    def run(self, circuits: QuantumCircuit, **options: Any) -> QuantumCircuit:
        """Transpile with the options given before."""
        return self.transpiler.run(circuits, **{**self.options, **options})


class _Row(NamedTuple):
    """Values at which a gradient is taken, and the displaced points that it is made of."""

    differentiation: Differentiation
    values: FloatArray  # (1, P)
    points: FloatArray  # (N, K)


class _Entry(NamedTuple):
    """One gradient: its place in the call, and where its row and its operator are listed."""

    place: int
    row: int
    operator: int


class _SharedPub:
    """The entries of one gradient call that share a circuit and a precision, and so one PUB.

    Where every operator is asked for at every row, the operators are a column over all points, so
    that an estimator can measure them together; else operators and points are paired.
    """

    def __init__(self, target: AnalysedCircuit, precision: float | None) -> None:
        self.target = target
        self.precision = precision
        self._rows: list[_Row] = []
        self._rows_of: dict[tuple[int, bytes], list[int]] = {}
        self._operators: list[Observable] = []
        self._entries: list[_Entry] = []
        self._pairs: set[tuple[int, int]] = set()  # of row and operator

    def add(self, place: int, d: Differentiation, values: FloatArray, operator: Observable) -> None:
        """Take in one entry with ``values`` of shape ``(1, P)``."""
        position = place_among(self._operators, operator)
        # Observables of one point share its evaluations. An entry that repeats another in all
        # is a request for independent shots, and gets points of its own.
        rows = self._rows_of.setdefault((id(d), values.tobytes()), [])
        row = next((r for r in rows if (r, position) not in self._pairs), len(self._rows))
        if row == len(self._rows):
            rows.append(row)
            points = d.points(values).reshape(-1, self.target.num_parameters)
            self._rows.append(_Row(d, values, points))
        self._pairs.add((row, position))
        self._entries.append(_Entry(place, row, position))

    @property
    def num_points(self) -> int:
        """The number ``N`` of displaced points, each once."""
        return sum(len(row.points) for row in self._rows)

    @property
    def _is_product(self) -> bool:
        return len(self._pairs) == len(self._rows) * len(self._operators)

    @property
    def _asked(self) -> list[FloatArray]:
        """The points of the PUB: of each row, or of each entry its own."""
        rows = range(len(self._rows)) if self._is_product else [e.row for e in self._entries]
        return [self._rows[row].points for row in rows]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the PUB's expectation values."""
        count = sum(map(len, self._asked))
        return (len(self._operators), count) if self._is_product else (count,)

    def content(self, circuit: QuantumCircuit, projectors: bool) -> tuple[Any, ...]:
        """Return the PUB.

        Args:
            circuit: The circuit as it is submitted.
            projectors: Whether observables may name projectors.
        """
        operators = self._operators
        if circuit.layout is not None:
            operators = [o.apply_layout(circuit.layout, circuit.num_qubits) for o in operators]
        points = self._asked
        wanted: list[Any] = [[operator] for operator in operators]
        if not self._is_product:
            pairs = zip(self._entries, points, strict=True)
            wanted = [operators[entry.operator] for entry, block in pairs for _ in block]
        observables = observables_array(wanted, projectors=projectors)
        pub = make_points_pub(self.target, observables, np.concatenate(points), circuit)
        return pub if self.precision is None else (*pub, self.precision)

    def combine(
        self, evaluation: Evaluation
    ) -> Iterator[tuple[int, FloatArray, FloatArray | None]]:
        """Yield the place, the gradient and the standard errors of each entry."""
        product = self._is_product
        ends = np.cumsum([len(points) for points in self._asked]).tolist()
        for number, entry in enumerate(self._entries):
            d, values, points = self._rows[entry.row]
            end = ends[entry.row if product else number]
            columns = slice(end - len(points), end)
            index = (entry.operator, columns) if product else (columns,)
            gradient = d.combine(values, evaluation.evs[index][:, None])[0]
            stds = None
            if evaluation.stds is not None:
                stds = d.standard_errors(values, evaluation.stds[index][:, None])[0]
            yield entry.place, gradient, stds
