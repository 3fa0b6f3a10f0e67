# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: random parameterized circuits, observables and values.

Every choice shrinks towards the plain one: few qubits, few gates, bare parameters, rotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from operation_strategies import BINDS_SQUARES, steps
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit import ParameterExpression as Expression
from qiskit.quantum_info import SparsePauliOp

# Sorting by name puts "a" before "b" before "x", x10 before x2, but x[2] before x[10].
_INPUTS = ParameterVector("x", 12)
_WEIGHTS = ParameterVector("a", 11)
PARAMETERS: tuple[Parameter, ...] = (
    _INPUTS[0],
    _WEIGHTS[0],
    _INPUTS[2],
    _INPUTS[10],
    _WEIGHTS[10],
    Parameter("x10"),
    Parameter("x2"),
    Parameter("b"),
    Parameter("θ"),
    Parameter("weight_1"),
)


@dataclass(frozen=True, repr=False, eq=False)
class Case:
    """A circuit with everything a test needs to evaluate it."""

    circuit: QuantumCircuit
    parameters: tuple[Parameter, ...]  # P of them, in no particular order
    num_inputs: int  # the first of `parameters`; the others are weights
    observables: tuple[SparsePauliOp, ...]  # O of them
    values: torch.Tensor  # (*batch, P)

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        """The parameters to be fed by a layer before."""
        return self.parameters[: self.num_inputs]

    @property
    def weights(self) -> tuple[Parameter, ...]:
        """The parameters to be trained."""
        return self.parameters[self.num_inputs :]

    def __repr__(self) -> str:
        """Draw the circuit: this is what a failing example prints."""
        return (
            f"Case(inputs={[p.name for p in self.inputs]}, weights={[p.name for p in self.weights]}"
            f", observables={[op.to_list() for op in self.observables]}"
            f", values={self.values.tolist()}, phase={self.circuit.global_phase}, circuit=\n"
            f"{self.circuit.draw('text', fold=-1)}\n)"
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Make Hypothesis print the drawing, not the fields."""
        printer.text(repr(self))


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    batch: tuple[int, ...] = (),
    max_observables: int = 3,
    **options: int | bool,
) -> Case:
    """Circuits (``options`` are those of ``circuits``) with roles, observables and values."""
    circuit = draw(circuits(**options))
    parameters = draw(st.permutations(list(circuit.parameters)))
    return Case(
        circuit,
        tuple(parameters),
        draw(st.integers(0, len(parameters))),
        tuple(draw(observables(circuit.num_qubits, max_size=max_observables))),
        draw(values(len(parameters), batch)),
    )


@st.composite
def circuits(
    draw: st.DrawFn,
    max_qubits: int = 5,
    max_gates: int = 8,
    *,
    min_qubits: int = 1,
    max_parameters: int = 6,
    affine_only: bool = False,
    unit_coefficients: bool = False,
    controlled: bool = True,
    blocks: bool = True,
) -> QuantumCircuit:
    """Random circuits over every standard parameterized gate.

    Args:
        draw: given by Hypothesis.
        max_qubits: largest width.
        max_gates: most operations at the top level.
        min_qubits: smallest width.
        max_parameters: most distinct parameters.
        affine_only: no non-linear expressions; implied where Qiskit miscomputes them.
        unit_coefficients: expressions have factors 1 and -1 only, so that each occurrence in a gate
            has the frequencies of that gate (feature maps of the library still double them).
        controlled: also controlled gates, with closed and open controls.
        blocks: also custom gates and instructions, library blocks and PauliEvolutionGate.
    """
    num_qubits = draw(st.integers(min_qubits, max_qubits))
    parameters = draw(
        st.lists(st.sampled_from(PARAMETERS), min_size=1, max_size=max_parameters, unique=True)
    )
    angles = expressions(parameters, affine_only, unit_coefficients)
    one = steps(num_qubits, angles, affine_only, controlled, depth=2 if blocks else 0)
    circuit = QuantumCircuit(num_qubits)
    operations = draw(st.lists(one, min_size=1, max_size=max_gates))
    if draw(st.integers(0, 3)):
        _mix(circuit)
    for op, qubits in operations:
        circuit.append(op, qubits)
    if draw(st.integers(0, 2)):
        _mix(circuit)
    circuit.global_phase = draw(st.just(0.0) | angles)
    return circuit


def _mix(circuit: QuantumCircuit) -> None:
    """A fixed generic layer, without which most random gates leave most observables unmoved."""
    for qubit in range(circuit.num_qubits):
        circuit.u(0.8 + 0.3 * qubit, 0.5 - 0.4 * qubit, 0.2, qubit)
    for qubit in range(circuit.num_qubits - 1):
        circuit.cx(qubit, qubit + 1)


@st.composite
def expressions(
    draw: st.DrawFn,
    parameters: Sequence[Parameter],
    affine_only: bool = False,
    unit_coefficients: bool = False,
) -> Expression:
    """Bare, scaled, shifted, cancelled, combined and non-linear parameters."""
    x, y = draw(st.sampled_from(parameters)), draw(st.sampled_from(parameters))
    factors = (1, -1) if unit_coefficients else (1, -1, 2, 0.5, -1.5, 3)
    a, b = draw(st.sampled_from(factors)), draw(st.sampled_from(factors))
    shift = draw(st.integers(-8, 8)) / 4
    forms: list[Callable[[], Expression]] = [
        lambda: x,
        lambda: a * x,
        lambda: a * x + shift,
        lambda: shift - b * x,
    ]
    if not (unit_coefficients and x == y):
        forms += [lambda: a * x + b * y + shift, lambda: a * x - b * y]
    forms.append(lambda: x - x)
    if not affine_only:
        forms += [
            lambda: a * x.sin() + shift,
            lambda: x * y,
            lambda: x**2 + y**2 if BINDS_SQUARES else x * x + y * y,
            lambda: (x / 4).exp() - y.cos(),
            lambda: (a * x + y).arctan(),
            lambda: x / (2 + y * y) + shift,
            lambda: (x * x + 1).log() * y,
            lambda: abs(x) - b * y,
            lambda: (x * x + 2) ** 0.5,
        ]
    return draw(st.sampled_from(forms))()


def values(num_parameters: int, batch: tuple[int, ...] = ()) -> st.SearchStrategy[torch.Tensor]:
    """Float64 tensors (*batch, P) with entries from -3.1 to 3.1, at least 0.1 from zero."""
    size = torch.Size((*batch, num_parameters))
    numbers = st.integers(-300, 300).map(lambda k: k / 100 + (0.1 if k >= 0 else -0.1))
    return st.lists(numbers, min_size=size.numel(), max_size=size.numel()).map(
        lambda entries: torch.tensor(entries, dtype=torch.float64).reshape(size)
    )


@st.composite
def observable(draw: st.DrawFn, num_qubits: int, max_terms: int = 4) -> SparsePauliOp:
    """A Hermitian sum of Pauli strings with real coefficients."""
    labels = st.text("ZXYI", min_size=num_qubits, max_size=num_qubits)
    coefficients = st.integers(-8, 8).filter(bool).map(lambda k: k / 4)
    terms = st.lists(st.tuples(labels, coefficients), min_size=1, max_size=max_terms)
    operators = terms.map(SparsePauliOp.from_list)
    return draw(operators.filter(lambda o: o.simplify().coeffs.any()))  # zero is refused


def observables(num_qubits: int, max_size: int = 3) -> st.SearchStrategy[list[SparsePauliOp]]:
    """One to ``max_size`` observables of the same width."""
    return st.lists(observable(num_qubits), min_size=1, max_size=max_size)
