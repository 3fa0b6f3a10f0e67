# SPDX-License-Identifier: Apache-2.0
r"""The frequencies of an expectation value in one circuit parameter.

A gate :math:`e^{-i\theta G}` contributes the differences of its generator's eigenvalues; gates
that share the parameter contribute the sums and differences of their sets (D. Wierichs et al.,
Quantum 6, 677 (2022), section 2). Generators of standard gates are found from their matrices, so
no table of eigenvalues has to be trusted; everything else follows from definitions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import (
    AnnotatedOperation,
    Gate,
    Operation,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import Operator

from ..exceptions import GradientError
from .amplitudes import AmplitudePreparation
from .definitions import blocks_of, class_of, definition_of, is_standard
from .evolutions import eigenvalues_of, generator_of, has_commuting_projectors
from .expressions import affine_form, expressions_of
from .lowering import UNIT_SHIFT_GATES

MAX_FREQUENCIES = 128
STEP = 1e-3  # small enough that no eigenphase of a gate's generator wraps around
DIGITS = 9

Frequencies = tuple[float, ...]  # positive, ascending, rounded


def operations_by_parameter(circuit: QuantumCircuit) -> dict[Parameter, list[Operation]]:
    """Return the operations that each parameter is in, those of control flow as a whole."""
    found: dict[Parameter, list[Operation]] = {}
    for instruction in circuit.data:
        operation = instruction.operation
        for parameter in _parameters_in(operation):
            found.setdefault(parameter, []).append(operation)
    return found


def _parameters_in(operation: Operation) -> set[Parameter]:
    if blocks := blocks_of(operation):
        return set().union(*(block.parameters for block in blocks))
    return set().union(*(e.parameters for e in expressions_of(operation)))


def find_frequencies(operations: Iterable[Operation], parameter: Parameter) -> Frequencies:
    """Return the positive frequencies in ``parameter`` of the circuit made of ``operations``.

    Of the blocks of an operation of control flow one is run at most: whatever decides which, the
    result is a sum over the blocks.

    Raises:
        GradientError: If the parameter enters a non-affine expression, or has more frequencies
            than a shift rule can serve.
    """
    total: Frequencies = ()
    for operation in operations:
        if parameter in _parameters_in(operation):
            total = _sum(total, _of_operation(operation, parameter), parameter)
    return total


def _of_operation(operation: Operation, parameter: Parameter) -> Frequencies:
    total: Frequencies = ()
    if blocks := blocks_of(operation):
        inside = ((i.operation for i in block.data) for block in blocks)
        found = [f for each in inside for f in find_frequencies(each, parameter)]
        return _positive(np.array(found))
    if isinstance(operation, AmplitudePreparation):
        raise GradientError(
            f"Parameter {parameter.name!r} is an amplitude of a state, in which expectation values "
            "have no frequencies. Use gradient='parameter-shift', which evaluates other vectors "
            "instead of other angles."
        )
    if isinstance(operation, AnnotatedOperation):
        return find_frequencies((i.operation for i in definition_of(operation).data), parameter)
    for position, expression in enumerate(operation.params):
        if not isinstance(expression, ParameterExpression):
            continue
        if parameter not in expression.parameters:
            continue
        scale = _coefficient(expression, parameter)
        unit = _unit_frequencies(operation, position)
        if unit is None:  # not one generator: look at the gates it is made of
            inner = [i.operation for i in definition_of(operation).data]
            return find_frequencies(inner, parameter)
        total = _sum(total, tuple(abs(scale) * f for f in unit) if scale else (), parameter)
    return total


def _coefficient(expression: ParameterExpression, parameter: Parameter) -> float:
    affine = affine_form(expression)
    if affine is None:
        raise GradientError(
            f"AQGD needs to know the frequencies of parameter {parameter.name!r}, but it enters "
            f"the non-affine expression {expression}. Use gradient='parameter-shift', which "
            "applies the chain rule, or compute the non-linear part in torch."
        )
    return affine[1].get(parameter, 0.0)


def _unit_frequencies(operation: Operation, position: int) -> Frequencies | None:
    """Frequencies in one gate angle, or ``None`` if it has no single constant generator."""
    if class_of(operation) in UNIT_SHIFT_GATES:
        return (1.0,)
    if isinstance(operation, PauliEvolutionGate) and not has_commuting_projectors(operation):
        return _differences(eigenvalues_of(generator_of(operation)))
    base = getattr(operation, "base_gate", None)
    controlled = isinstance(base, Gate) and len(base.params) == len(operation.params)
    gate: Any = base if controlled else operation
    if not is_standard(gate) or (not controlled and operation.num_qubits > 4):
        return None
    eigenvalues = _eigenvalues(cast(Hashable, class_of(gate)), len(gate.params), position)
    if controlled and eigenvalues is not None:
        eigenvalues = (*eigenvalues, 0.0)  # whatever the state and number of the controls
    return _differences(eigenvalues)


def _differences(eigenvalues: Sequence[float] | None) -> Frequencies | None:
    if eigenvalues is None:
        return None
    return _positive(np.subtract.outer(eigenvalues, eigenvalues).ravel())


@functools.lru_cache(maxsize=256)
def _eigenvalues(kind: Hashable, count: int, position: int) -> tuple[float, ...] | None:
    """Eigenvalues of the generator ``i U' U^dagger`` of a gate's angle, if it is constant."""
    found: list[np.ndarray] = []
    for angles in np.random.default_rng(7).uniform(-2, 2, (3, count)):
        generators = []
        for offset in (0.0, 0.7):
            first, second = angles.copy(), angles.copy()
            first[position] += offset
            second[position] += offset + STEP
            generators.append(_matrix(kind, second) @ _matrix(kind, first).conj().T)
        if not np.allclose(generators[0], generators[1], rtol=0, atol=1e-12):
            return None
        found.append(np.sort(-np.angle(np.linalg.eigvals(generators[0])) / STEP))
    if not all(np.allclose(found[0], other, rtol=0, atol=1e-8) for other in found):
        return None
    return tuple(np.round(found[0], DIGITS).tolist())


def _matrix(kind: Hashable, angles: Sequence[float]) -> NDArray[np.complex128]:
    gate = cast(Callable[..., Operation], kind)
    return Operator(gate(*map(float, angles))).data


def _sum(a: Frequencies, b: Frequencies, parameter: Parameter) -> Frequencies:
    """The frequencies of a product of two trigonometric polynomials."""
    x, y = np.array([0.0, *a]), np.array([0.0, *b])
    total = _positive(np.concatenate([np.add.outer(x, y), np.subtract.outer(x, y)]).ravel())
    if len(total) > MAX_FREQUENCIES:
        raise GradientError(
            f"Parameter {parameter.name!r} has more than {MAX_FREQUENCIES} frequencies; AQGD "
            "needs two evaluations for each. Use gradient='parameter-shift', which needs two "
            "for each gate."
        )
    return total


def _positive(numbers: np.ndarray) -> Frequencies:
    rounded = np.unique(np.round(np.abs(numbers), DIGITS))
    return tuple(rounded[rounded > 10.0**-DIGITS].tolist())
