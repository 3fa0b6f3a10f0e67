# SPDX-License-Identifier: Apache-2.0
"""Engines for gradients from elsewhere: any object of qiskit-algorithms does the backward pass."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    BaseSamplerGradient,
    FiniteDiffEstimatorGradient,
    FiniteDiffSamplerGradient,
    SPSAEstimatorGradient,
    SPSASamplerGradient,
)
from typing_extensions import override

from ..arguments import shown
from ..arrays import FloatArray, read_real_numbers
from ..exceptions import BridgeError, ExecutionError, GradientError, ResultError
from ..execution import GradientObject
from ..gradients.base import REAL_IN_TORCH, require_real
from ..jobs.budget import PlannedRequest
from ..primitives.evaluation import UNUSED
from ..primitives.outcomes import read_frequencies
from ..primitives.precision import default_precision, precision_to_shots
from ..primitives.results import Samples
from ..program.binding import check_differentiation
from ..program.operators import as_paulis, merge_terms
from ..program.readouts import Outcomes
from .evaluators import Evaluator
from .interface import BOTH, Engine, Gradients, Wanted
from .measured_forward import MeasuredForward, by_roles, split_columns

DIFFERENCES = (
    FiniteDiffEstimatorGradient,
    FiniteDiffSamplerGradient,
    SPSAEstimatorGradient,
    SPSASamplerGradient,
)
"""Gradients that do not ask Qiskit for derivatives of expressions."""
DROPPED = 1e-8
"""Coefficients up to this are dropped where Qiskit converts observables for a PUB."""

Question = TypeVar("Question")
"""What a row's cotangent makes of the gradient that is asked for."""


@functools.singledispatch
def make_plugin_engine(gradient: object, forward: Evaluator, precision: float | None) -> Engine:
    """Return the engine that asks a gradient object for what its backward passes need.

    Args:
        gradient: An object of qiskit-algorithms' interface.
        forward: Evaluates values.
        precision: Requested from the gradient; ``None`` for its default.

    Raises:
        GradientError: If it gives gradients of something else than what is read.
    """
    raise GradientError(
        f"Expected a gradient object of qiskit-algorithms; got {type(gradient).__name__}."
    )


@make_plugin_engine.register
def _(gradient: BaseEstimatorGradient, forward: Evaluator, precision: float | None) -> Engine:
    if not forward.program.observables:
        raise GradientError(
            f"{type(gradient).__name__} gives gradients of expectation values, and "
            f"{forward.program.measurement!r} reads something else. Name the gradient, such as "
            "gradient='parameter-shift', or give one of samplers for probabilities."
        )
    return ExpectationPlugin(forward, gradient, precision)


@make_plugin_engine.register
def _(gradient: BaseSamplerGradient, forward: Evaluator, precision: float | None) -> Engine:
    if not isinstance(forward.program.readout, Outcomes):
        raise GradientError(
            f"{type(gradient).__name__} gives gradients of probabilities, and "
            f"{forward.program.measurement!r} reads something else. Name the gradient, such as "
            "gradient='parameter-shift', or give one of estimators for expectation values."
        )
    return OutcomePlugin(forward, gradient, precision)


class PluginEngine(MeasuredForward, Generic[Question]):
    """Values as elsewhere, gradients by an object's ``run``: one call, with one entry for each row.

    Args:
        forward: Evaluates values.
        gradient: Any gradient object of qiskit-algorithms' interface.
        gradient_precision: Requested from it; ``None`` for its default.
    """

    order = 1.0

    def __init__(
        self,
        forward: Evaluator,
        gradient: GradientObject,
        gradient_precision: float | None = None,
    ) -> None:
        super().__init__(forward)
        if self.program.analysed.vectors:
            raise GradientError(
                f"{type(gradient).__name__} differentiates with respect to the angles of a "
                "circuit, and this one prepares amplitudes that are parameters, in which those of "
                "rotations are not smooth. Name one of this package's gradients, such as "
                "gradient='parameter-shift'."
            )
        self.program.analysed.check_binding()
        if not isinstance(gradient, DIFFERENCES):
            check_differentiation(self.program.circuit)
        self.gradient: Any = gradient
        self.gradient_precision = gradient_precision
        self.gradient_name = type(gradient).__name__

    @abstractmethod
    def _questions(self, cotangent: FloatArray) -> dict[int, Question]:
        """Return what is asked for the rows that ask for anything."""

    @abstractmethod
    def _arguments(self, questions: list[Question]) -> tuple[QuantumCircuit, list[Any]]:
        """Return the circuit, and what else precedes the values in the arguments of ``run``."""

    @property
    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """The keywords for the precision."""

    @abstractmethod
    def _read(self, question: Question, gradient: Any, row: int, count: int) -> FloatArray:
        """Return a row's product ``(count,)``, or raise if the gradient cannot be used."""

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, as the gradient object gives them."""
        require_real(self.gradient, REAL_IN_TORCH)  # it may have been set meanwhile
        columns, split = split_columns(self.program, wanted)
        values = self.program.placed(x, w)
        analysed = self.program.analysed
        result = np.zeros((len(values), len(columns)))
        positions = [k for k, c in enumerate(columns) if analysed.is_used(c)]
        questions = self._questions(cotangent)
        rows = list(questions)
        if positions and rows:
            analysed.check(values)
            (ordered,) = analysed.bindings(values).values()  # as the circuit sorts its parameters
            gradients = self._run(
                list(questions.values()),
                ordered[rows].tolist(),
                [columns[k] for k in positions],
            )
            for b, gradient in zip(rows, gradients, strict=True):
                result[b, positions] = self._read(questions[b], gradient, b, len(positions))
        return by_roles(result, x, w, self.program, split)

    def _run(
        self, questions: list[Question], values: list[list[float]], wanted: list[int]
    ) -> Sequence[Any]:
        """Return one gradient for each question, from one call of the gradient object."""
        parameters = [self.program.analysed.parameters[c] for c in wanted]
        circuit, asked = self._arguments(questions)
        count = len(questions)
        try:
            found = self.gradient.run(
                [circuit] * count, *asked, values, [parameters] * count, **self._options
            )
            gradients = list(found.result().gradients)
        except BridgeError:
            raise
        except Exception as error:
            raise ExecutionError(f"The gradient {self.gradient_name} failed: {error}") from error
        if len(gradients) != count:
            raise ResultError(
                f"{self.gradient_name} was asked for {count} gradients and returned "
                f"{len(gradients)}."
            )
        return gradients

    def plan(self, rows: int, columns: tuple[int, ...] | None) -> list[PlannedRequest]:
        """Return the request of a forward pass.

        Raises:
            GradientError: For a backward pass.
        """
        if columns:
            raise GradientError(
                f"What the gradient {self.gradient_name} asks for is known to its own package "
                "only. Use cost(batch_size, backward=False), or one of this package's gradients."
            )
        return self.forward.request(rows)

    def check_budget(self, rows: int, columns: tuple[int, ...]) -> None:
        """Raise :class:`.BudgetError` if a forward pass would exceed the budget."""
        super().check_budget(rows, ())

    def at_precision(self, forward: float | None, gradient: float | None) -> PluginEngine[Question]:
        """Return the engine that asks for other precisions."""
        return type(self)(self.forward.at_precision(forward), self.gradient, gradient)

    def random_sources(self) -> dict[str, object]:
        """Return the primitive and the gradient object."""
        return {**super().random_sources(), "gradient": self.gradient}


class _Effective(NamedTuple):
    """An effective observable, and what its gradient is to be multiplied by."""

    operator: SparsePauliOp
    factor: float


class ExpectationPlugin(PluginEngine[_Effective]):
    r"""Gradients of expectation values, one per row, whatever the number of observables.

    Expectation values are linear in the observable, so the cotangent :math:`c` of a row makes
    one effective observable :math:`\sum_o c_o O_o / \lVert c\rVert`. The norm is put back
    afterwards, so that a requested precision means the same as for a single observable. Gradient
    objects of other packages hand operators to Qiskit, which drops coefficients up to 1e-8: where
    that would be seen, the operator is multiplied by a number, and its gradient divided.
    """

    @override
    def _questions(self, cotangent: FloatArray) -> dict[int, _Effective]:
        norms = np.linalg.norm(cotangent, axis=-1)
        found = {}
        for b in np.flatnonzero(norms).tolist():
            operator = self._effective(cotangent[b] / norms[b])
            if operator.coeffs.any():
                scale = self._scale(operator)
                found[b] = _Effective(scale * operator, norms[b] / scale)
        return found

    @override
    def _arguments(self, questions: list[_Effective]) -> tuple[QuantumCircuit, list[Any]]:
        return self.program.analysed.circuit, [[asked.operator for asked in questions]]

    @property
    @override
    def _options(self) -> dict[str, Any]:
        precision = self.gradient_precision
        return {} if precision is None else {"precision": precision}

    @override
    def _read(self, question: _Effective, gradient: Any, row: int, count: int) -> FloatArray:
        try:
            block = read_real_numbers(gradient)
        except ValueError as error:
            raise ResultError(
                f"{self.gradient_name} returned no real numbers for row {row}: {error}. {UNUSED}"
            ) from error
        if block.shape != (count,) or not np.isfinite(block).all():
            raise ResultError(
                f"{self.gradient_name} returned {block!r} for row {row}; expected {count} finite "
                f"numbers. {UNUSED}"
            )
        return question.factor * block

    def _effective(self, weights: FloatArray) -> SparsePauliOp:
        terms = zip(weights, self.program.observables, strict=True)
        return as_paulis(merge_terms(SparsePauliOp.sum([w * as_paulis(o) for w, o in terms])))

    def _scale(self, operator: SparsePauliOp) -> float:
        """Return by what to multiply an operator of which Qiskit would drop some terms, or all.

        Where values are noisy, single terms of that size are far below the noise.
        """
        sizes = np.abs(operator.coeffs)
        precision = self.gradient_precision
        if precision is None:
            precision = self.gradient.precision
        if precision is None:
            precision = default_precision(getattr(self.gradient, "_estimator", None))
        if precision == 0:
            return 1.0 if sizes.min() > DROPPED else float(10 * DROPPED / sizes.min())
        return 1.0 if sizes.max() > DROPPED else float(1 / sizes.max())


class OutcomePlugin(PluginEngine[FloatArray]):
    r"""Gradients of the probabilities of all outcomes, which a row's cotangent sums.

    .. math:: \frac{\partial L}{\partial v} = \sum_i c_i \frac{\partial p_i}{\partial v}

    All qubits are measured in their order, into one register: gradient objects read the first
    register alone, or measure all qubits themselves, whatever the circuit measures.
    """

    @functools.cached_property
    def _measured(self) -> QuantumCircuit:
        circuit = self.program.analysed.circuit
        if circuit.cregs:
            raise GradientError(
                f"{self.gradient_name} reads the first classical register, which the circuit has "
                "of its own, for outcomes in its middle. Use one of this package's gradients, such "
                "as gradient='parameter-shift'."
            )
        return Outcomes(tuple(range(circuit.num_qubits))).measure(circuit)

    @override
    def _questions(self, cotangent: FloatArray) -> dict[int, FloatArray]:
        return {b: cotangent[b] for b in np.flatnonzero(cotangent.any(-1)).tolist()}

    @override
    def _arguments(self, questions: list[FloatArray]) -> tuple[QuantumCircuit, list[Any]]:
        return self._measured, []

    @property
    @override
    def _options(self) -> dict[str, Any]:
        precision = self.gradient_precision
        return {} if precision is None else {"shots": precision_to_shots(precision)}

    @override
    def _read(self, question: FloatArray, gradient: Any, row: int, count: int) -> FloatArray:
        readout = self.program.readout
        assert isinstance(readout, Outcomes)
        given = gradient if isinstance(gradient, (list, tuple)) else [gradient]
        if len(given) != count:
            raise ResultError(
                f"{self.gradient_name} returned {len(given)} derivatives for row {row}; expected "
                f"{count}, each a mapping from outcomes to numbers. {UNUSED}"
            )
        weights = np.empty(count, dtype=object)
        for c, derivative in enumerate(given):
            weights[c] = self._of_qubits(readout.qubits, derivative, row)
        found = read_frequencies(Samples(len(readout.qubits), None, weights), readout)
        product: FloatArray = found.probabilities @ question
        return product

    def _of_qubits(self, qubits: Sequence[int], derivative: Any, row: int) -> dict[int, float]:
        """Return derivatives of the outcomes of some qubits from those of all, by outcome."""
        end = 1 << self._measured.num_qubits
        try:
            outcomes = [int(outcome) for outcome in derivative]
            numbers = read_real_numbers(list(derivative.values()))
            fits = all(0 <= outcome < end for outcome in outcomes) and np.isfinite(numbers).all()
        except (AttributeError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ResultError(
                f"{self.gradient_name} returned {shown(derivative)} for row {row}; expected a "
                f"mapping from whole numbers below {end} to finite real numbers. {UNUSED}"
            )
        found: dict[int, float] = {}
        for outcome, number in zip(outcomes, numbers.tolist(), strict=True):
            part = sum((outcome >> q & 1) << j for j, q in enumerate(qubits))
            found[part] = found.get(part, 0.0) + number
        return found
