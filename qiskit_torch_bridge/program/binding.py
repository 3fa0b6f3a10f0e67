# SPDX-License-Identifier: Apache-2.0
"""Numbers put in place of parameters: by Qiskit where it does so rightly, by the package elsewhere.

What Qiskit miscomputes is told by :mod:`.reading`. Estimators other than the package's own bind in
Qiskit, and are refused such circuits; circuits that leave the package get the right numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import qiskit
from qiskit.circuit import AnnotatedOperation, Operation, Parameter, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate

from ..exceptions import ExpressionError
from .angle_map import AngleMap
from .expressions import compile_expression, is_free
from .formulas import Call, Formula, Number, Power, Product, Sum, Variable, mapped
from .lowering import is_box, is_standard, steps_of_definition
from .product_formula import ProductFormula
from .reading import FAILURES, TOLERANCE, points, read, text_is_exact
from .validation import TIMED, leaf_expressions, leaf_expressions_of


def check_binding(circuit: QuantumCircuit) -> None:
    """Raise :class:`ExpressionError` if Qiskit would bind an angle of ``circuit`` wrongly."""
    parameters = tuple(circuit.parameters)
    refuse_miscomputed(AngleMap(list(leaf_expressions(circuit)), parameters).miscomputed)


def refuse_miscomputed(miscomputed: str) -> None:
    """Raise :class:`ExpressionError` if an expression is named."""
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
        order = sorted(expression.parameters, key=lambda p: p.name)
        compiled = compile_expression(expression, {p: k for k, p in enumerate(order)})
        for k, parameter in enumerate(order):
            for point in points(len(order)):
                ours = compiled.slope(k, np.array(point))
                try:
                    slope = expression.gradient(parameter)
                    if is_free(slope):
                        at = dict(zip(order, point, strict=True))
                        slope = slope.bind({p: at[p] for p in slope.parameters})
                    theirs = complex(slope)
                except FAILURES:
                    break  # it says so itself when it is asked
                if np.isfinite(ours) and not _close(theirs, ours):
                    raise ExpressionError(
                        f"Qiskit {qiskit.__version__} differentiates the parameter expression "
                        f"{expression} by {parameter.name} to {theirs.real:g} where it is "
                        f"{ours:g}, and gradients of qiskit-algorithms use that. Name one of this "
                        "package's gradients, such as gradient='parameter-shift', use Qiskit 2.5.2 "
                        "or later, or compute the expression in torch."
                    )


def assigned(circuit: QuantumCircuit, values: Mapping[Parameter, float]) -> QuantumCircuit:
    """Return ``circuit`` with numbers in place of some of its parameters, or of all.

    As :meth:`~qiskit.circuit.QuantumCircuit.assign_parameters`, except that operations with angles
    that Qiskit would miscompute get the right ones; of such operations that are built from others
    these take the place.

    Raises:
        ExpressionError: If Qiskit cannot even hold what is left of an expression.
    """
    present = set(circuit.parameters)
    numbers = {p: float(x) for p, x in values.items() if p in present}
    angles = [*leaf_expressions(circuit), *filter(is_free, [circuit.global_phase])]
    if not all(_is_kept(angle, numbers) for angle in angles):
        corrected = circuit.copy_empty_like()
        corrected.global_phase = _angle(circuit.global_phase, numbers)
        for i in circuit.data:
            if i.clbits:
                corrected.append(i, copy=False)
            else:
                _append(corrected, i.operation, i.qubits, numbers)
        circuit, present = corrected, set(corrected.parameters)
    return bound({p: x for p, x in numbers.items() if p in present}, circuit)


def bound(values: Mapping[Parameter, Any], circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a copy of ``circuit`` with parameters replaced, by Qiskit, and ``circuit`` as it was.

    Qiskit, from some 2.x on, changes gates in the boxes of the circuit that it copies, unless they
    are standard gates; so the boxes are copied first, in full.
    """
    return _with_boxes_of_its_own(circuit).assign_parameters(values)


def _with_boxes_of_its_own(circuit: QuantumCircuit, *, in_box: bool = False) -> QuantumCircuit:
    if not in_box and not any(i.name == "box" and is_box(i.operation) for i in circuit.data):
        return circuit
    result = circuit.copy_empty_like()
    for i in circuit.data:
        operation = i.operation
        if is_box(operation):
            body = _with_boxes_of_its_own(operation.body, in_box=True)
            operation = operation.replace_blocks([body])
        elif in_box and not is_standard(operation):
            operation = copy.deepcopy(operation)
        result.append(operation, i.qubits, i.clbits, copy=False)
    return result


def _append(
    circuit: QuantumCircuit, operation: Operation, qubits: Any, numbers: dict[Parameter, float]
) -> None:
    if all(_is_kept(e, numbers) for e in leaf_expressions_of(operation)):
        circuit.append(operation, qubits, copy=False)
        return
    whole = is_standard(operation) or isinstance(operation, TIMED)
    if isinstance(operation, AnnotatedOperation) or not whole:
        for inner, places in steps_of_definition(operation, qubits):
            _append(circuit, inner, places, numbers)
        return
    if is_standard(operation):
        operation = operation.to_mutable()
        operation.params = [_angle(p, numbers) for p in operation.params]
    elif isinstance(operation, ProductFormula):
        operation = operation.with_time(_angle(operation.params[0], numbers))
    else:
        (time,) = operation.params
        operation = PauliEvolutionGate(
            operation.operator, _angle(time, numbers), synthesis=operation.synthesis
        )
    circuit.append(operation, qubits, copy=False)


def _angle(angle: Any, numbers: dict[Parameter, float]) -> Any:
    """Return an angle with numbers in place of parameters."""
    if not is_free(angle) or not angle.parameters & numbers.keys():
        return angle
    if _is_kept(angle, numbers):
        bound = _in_steps(angle, numbers)
        return bound if is_free(bound) else float(bound)
    order = sorted(angle.parameters, key=lambda p: p.name)

    def filled(leaf: Number | Variable) -> Formula:
        if isinstance(leaf, Variable) and order[leaf.position] in numbers:
            return Number(numbers[order[leaf.position]])
        return leaf

    result = _rebuilt(mapped(read(angle, order).formula, filled), order)
    if not _agree(angle, result, numbers):
        raise ExpressionError(
            f"Qiskit {qiskit.__version__} cannot hold the parameter expression {angle} with "
            f"numbers in place of {', '.join(p.name for p in order if p in numbers)}. Bind all of "
            "its parameters at once, or use Qiskit 2.5.2 or later."
        )
    return result


def without_quotients(angle: Any) -> Any:
    """Return an expression as sums, products and powers alone, if Qiskit can hold it so."""
    order = sorted(angle.parameters, key=lambda p: p.name)
    result = _rebuilt(read(angle, order).formula, order)
    return result if _agree(angle, result, {}) else angle


def _rebuilt(formula: Formula, order: list[Parameter]) -> Any:
    """Return a formula as an expression of Qiskit, or a number."""
    if isinstance(formula, Number):
        return formula.value.real
    if isinstance(formula, Variable):
        return order[formula.position]
    if isinstance(formula, Power):
        return _rebuilt(formula.base, order) ** _rebuilt(formula.exponent, order)
    if isinstance(formula, Call):
        return getattr(_rebuilt(formula.arguments[0], order), formula.name)()
    assert isinstance(formula, (Sum, Product))
    first, *rest = (_rebuilt(part, order) for part in formula.parts)
    for part in rest:
        first = first + part if isinstance(formula, Sum) else first * part
    return first


def _is_kept(expression: Any, numbers: dict[Parameter, float]) -> bool:
    """Whether Qiskit puts the numbers into an expression without changing what it is.

    QPY cannot write what versions before 2.1 make of an expression of which a part is bound.
    """
    if isinstance(expression, Parameter) or not expression.parameters & numbers.keys():
        return True
    if not text_is_exact() and not expression.parameters <= numbers.keys():
        return False
    try:
        return _agree(expression, _in_steps(expression, numbers), numbers)
    except FAILURES:
        return False


def _in_steps(expression: Any, numbers: dict[Parameter, float]) -> Any:
    """Bind one parameter after the other, as circuits do."""
    for p in sorted(expression.parameters & numbers.keys(), key=lambda p: p.name):
        if p in getattr(expression, "parameters", ()):
            expression = expression.bind({p: numbers[p]})
    return expression


def _agree(expression: Any, result: Any, numbers: dict[Parameter, float]) -> bool:
    """Whether ``result`` is ``expression`` with the numbers, at some points of what is left."""
    order = sorted(expression.parameters, key=lambda p: p.name)
    index = {p: k for k, p in enumerate(order)}
    before = compile_expression(expression, index)
    after = compile_expression(result if is_free(result) else complex(result).real, index)
    for point in points(len(order)):
        at = np.array([numbers.get(p, x) for p, x in zip(order, point, strict=True)])
        expected = before.value(at)
        if np.isfinite(expected) and not _close(after.value(at), expected):
            return False
    return True


def _close(found: complex, expected: float) -> bool:
    return abs(found - expected) <= TOLERANCE * max(1.0, abs(expected))
