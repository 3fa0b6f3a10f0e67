# SPDX-License-Identifier: Apache-2.0
"""Binding of parameters to numbers: by Qiskit where it is right, by the package elsewhere.

:mod:`.expressions` finds out what Qiskit miscomputes. Estimators other than the package's own bind
in Qiskit, so they are never given such circuits; circuits that leave the package get the right
numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import qiskit
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate

from ..exceptions import ExpressionError
from .angle_map import AngleMap
from .definitions import Step, blocks_of, is_standard, steps_of_definition
from .evolutions import ProductFormula
from .expressions import (
    FAILURES,
    Angle,
    bind_in_steps,
    compile_expression,
    is_close,
    is_free,
    probe_points,
    text_is_exact,
)
from .formulas import Call, Formula, Number, Power, Product, Sum, Variable, map_leaves
from .lowering import rewrite
from .validation import leaf_expressions, leaf_expressions_of


def check_binding(circuit: QuantumCircuit) -> None:
    """Raise :class:`ExpressionError` if Qiskit would bind an angle of ``circuit`` wrongly."""
    parameters = tuple(circuit.parameters)
    refuse_miscomputed(AngleMap(list(leaf_expressions(circuit)), parameters).miscomputed)


def refuse_miscomputed(miscomputed: str) -> None:
    """Raise :class:`ExpressionError` if ``miscomputed`` names an expression."""
    if miscomputed:
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} binds the parameter expression {miscomputed}, and this "
            "estimator has Qiskit bind it. Leave out the estimator (the exact engine and "
            "BatchedStatevectorEstimator compute expressions themselves), use Qiskit 2.5.2 or "
            "later, or compute the expression in torch and feed the result to a plain parameter."
        )


def check_differentiation(circuit: QuantumCircuit) -> None:
    """Raise :class:`ExpressionError` if Qiskit would differentiate an angle wrongly.

    The gradients of qiskit-algorithms apply the chain rule with Qiskit's derivatives.
    """
    for expression in leaf_expressions(circuit):
        if isinstance(expression, Parameter):
            continue
        compiled = compile_expression(expression)
        for k, parameter in enumerate(compiled.parameters):
            for point in probe_points(len(compiled.parameters)):
                ours = compiled.slope(k, np.array(point))
                try:
                    slope = expression.gradient(parameter)
                    if is_free(slope):
                        at = dict(zip(compiled.parameters, point, strict=True))
                        slope = slope.bind({p: at[p] for p in slope.parameters})
                    theirs = complex(slope)
                except FAILURES:
                    break  # it says so itself when it is asked
                if np.isfinite(ours) and not is_close(theirs, ours):
                    raise ExpressionError(
                        f"Qiskit {qiskit.__version__} differentiates the parameter expression "
                        f"{expression} with respect to {parameter.name} to {theirs.real:g} where "
                        f"it is {ours:g}, and gradients of qiskit-algorithms use that. Name one of "
                        "this package's gradients, such as gradient='parameter-shift', use Qiskit "
                        "2.5.2 or later, or compute the expression in torch."
                    )


def assign_parameters(circuit: QuantumCircuit, values: Mapping[Parameter, float]) -> QuantumCircuit:
    """Return ``circuit`` with numbers in place of some of its parameters, or of all.

    This is :meth:`~qiskit.circuit.QuantumCircuit.assign_parameters`, except that angles that Qiskit
    would miscompute are right. An operation with such angles in its definition is replaced by the
    definition.

    Raises:
        ExpressionError: If Qiskit cannot even hold what is left of an expression.
    """
    present = set(circuit.parameters)
    numbers = {p: float(x) for p, x in values.items() if p in present}
    angles = [*leaf_expressions(circuit), *filter(is_free, [circuit.global_phase])]
    if not all(_is_kept(angle, numbers) for angle in angles):
        circuit = rewrite(circuit, lambda step: _bind_step(step, numbers))
        circuit.global_phase = _bind_angle(circuit.global_phase, numbers)
        present = set(circuit.parameters)
    return assign_in_qiskit(circuit, {p: x for p, x in numbers.items() if p in present})


def assign_in_qiskit(circuit: QuantumCircuit, values: Mapping[Parameter, float]) -> QuantumCircuit:
    """Return a copy of ``circuit`` whose parameters Qiskit has replaced, and leave it unchanged.

    Qiskit changes gates in blocks of the circuit that it copies, unless these are standard gates;
    so the blocks are copied first, in full.
    """
    if any(blocks_of(i.operation) for i in circuit.data):
        circuit = rewrite(circuit, lambda step: [step], _copy_step)
    return circuit.assign_parameters(values)


def _copy_step(step: Step) -> list[Step]:
    operation, qubits = step
    return [step if is_standard(operation) else (copy.deepcopy(operation), qubits)]


def _bind_step(step: Step, numbers: dict[Parameter, float]) -> Iterator[Step]:
    """Yield what replaces an operation so that Qiskit has nothing left to miscompute."""
    operation, qubits = step
    if all(_is_kept(e, numbers) for e in leaf_expressions_of(operation)):
        yield step
    elif is_standard(operation):
        operation = operation.to_mutable()
        operation.params = [_bind_angle(p, numbers) for p in operation.params]
        yield operation, qubits
    elif isinstance(operation, ProductFormula):
        yield operation.with_time(_bind_angle(operation.params[0], numbers)), qubits
    elif isinstance(operation, PauliEvolutionGate):
        time = _bind_angle(operation.time, numbers)
        bound = PauliEvolutionGate(operation.operator, time, synthesis=operation.synthesis)
        yield bound, qubits
    else:
        for inner in steps_of_definition(operation, qubits):
            yield from _bind_step(inner, numbers)


def _bind_angle(angle: Angle, numbers: dict[Parameter, float]) -> Angle:
    """Return an angle with numbers in place of parameters."""
    if not is_free(angle) or not angle.parameters & numbers.keys():
        return angle
    if _is_kept(angle, numbers):
        bound = bind_in_steps(angle, numbers)
        return bound if is_free(bound) else complex(bound).real
    compiled = compile_expression(angle)
    order = compiled.parameters

    def fill(leaf: Number | Variable) -> Formula:
        if isinstance(leaf, Variable) and order[leaf.position] in numbers:
            return Number(numbers[order[leaf.position]])
        return leaf

    result = _to_expression(map_leaves(compiled.formula, fill), order)
    if not _agree(angle, result, numbers):
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} cannot hold the parameter expression {angle} with "
            f"numbers in place of {', '.join(p.name for p in order if p in numbers)}. Bind all of "
            "its parameters at once, or use Qiskit 2.5.2 or later."
        )
    return result


def write_without_quotients(angle: ParameterExpression) -> Angle:
    """Return an expression as sums, products and powers alone, if Qiskit can hold it so."""
    compiled = compile_expression(angle)
    result = _to_expression(compiled.formula, compiled.parameters)
    return result if _agree(angle, result, {}) else angle


def _to_expression(formula: Formula, order: Sequence[Parameter]) -> Angle:
    """Return a formula as an expression of Qiskit, or a number."""
    if isinstance(formula, Number):
        return formula.value.real
    if isinstance(formula, Variable):
        return order[formula.position]
    if isinstance(formula, Power):
        return _to_expression(formula.base, order) ** _to_expression(formula.exponent, order)
    if isinstance(formula, Call):
        return getattr(_to_expression(formula.arguments[0], order), formula.name)()
    assert isinstance(formula, (Sum, Product))
    first, *rest = (_to_expression(part, order) for part in formula.parts)
    for part in rest:
        first = first + part if isinstance(formula, Sum) else first * part
    return first


def _is_kept(expression: ParameterExpression, numbers: dict[Parameter, float]) -> bool:
    """Whether Qiskit puts the numbers into an expression without changing what it is.

    QPY cannot write what versions before 2.1 make of an expression of which a part is bound.
    """
    if isinstance(expression, Parameter) or not expression.parameters & numbers.keys():
        return True
    if not text_is_exact() and not expression.parameters <= numbers.keys():
        return False
    try:
        return _agree(expression, bind_in_steps(expression, numbers), numbers)
    except FAILURES:
        return False


def _agree(
    expression: ParameterExpression,
    result: ParameterExpression | complex,
    numbers: dict[Parameter, float],
) -> bool:
    """Whether ``result`` is ``expression`` with the numbers, at some points of what is left."""
    before = compile_expression(expression)
    index = {p: k for k, p in enumerate(before.parameters)}
    after = compile_expression(result if is_free(result) else complex(result).real, index)
    for point in probe_points(len(index)):
        at = np.array([numbers.get(p, x) for p, x in zip(index, point, strict=True)])
        expected = before.value(at)
        if np.isfinite(expected) and not is_close(after.value(at), expected):
            return False
    return True
