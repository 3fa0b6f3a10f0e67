# SPDX-License-Identifier: Apache-2.0
r"""Evolutions :math:`e^{-itH}` by terms that do not commute, in one of their two forms.

Such a gate is the exponential of its operator to a simulator of Qiskit 2.2 and newer, and the
product formula of its synthesis, its *definition*, to a transpiler. A gradient must be of the one
function that is evaluated, so one form is chosen for a circuit and written in gates that mean the
same to everyone.

The exponential is exact at every time: terms that anticommute with none are rotations. The others
fall into components that commute with each other, and of each, :math:`H = V D V^\dagger`,

.. math:: e^{-itH} = V e^{-itD} V^\dagger, \quad
    D = \sum_z d_z Z^z, \quad d_z = 2^{-k} \sum_b (-1)^{z \cdot b} \lambda_b,

which are a fixed matrix, commuting rotations whose angles are proportional to the time, and the
matrix back.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    ControlFlowOp,
    Operation,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import HamiltonianGate, PauliEvolutionGate, UnitaryGate
from qiskit.quantum_info import Operator, PauliList, SparsePauliOp
from scipy.sparse import SparseEfficiencyWarning
from scipy.sparse.csgraph import connected_components

from .. import free_memory
from ..arrays import FloatArray, IntArray
from ..exceptions import MemoryLimitError
from ..free_memory import GIB
from .annotated import modified
from .expressions import expressions_of, is_free
from .lowering import (
    LEAVES,
    definition_of,
    has_matrix,
    is_box,
    is_standard,
    with_constant_time,
)
from .pauli_span import PauliSpan
from .product_formula import formula_of, is_linear
from .product_operator import FEW, ProductOperator

Evolutions = Literal["definition", "exponential", "simulated"]
"""The forms; as they are simulated is one of the others, as the installed Qiskit takes them."""

SPECTRUM_QUBITS = 8
"""The most qubits on which the eigenvalues of commuting terms are looked at."""


@functools.cache
def simulated_evolutions() -> Evolutions:
    """Return the form in which the simulators of the installed Qiskit take evolutions.

    It is asked for only where there are such evolutions: matrices start Qiskit's pool of threads,
    which a process that is forked later would wait for without end.
    """
    gate = PauliEvolutionGate(SparsePauliOp(["X", "Z"]), 1.0)
    root = 2**0.5  # (X + Z)**2 = 2
    exponential = np.cos(root) * np.eye(2) - 1j * np.sin(root) / root * np.array([[1, 1], [1, -1]])
    with warnings.catch_warnings():
        # Qiskit hands SciPy a sparse format that costs a conversion.
        warnings.simplefilter("ignore", SparseEfficiencyWarning)
        found = Operator(gate)
    return "exponential" if found.equiv(Operator(exponential)) else "definition"


def resolved(
    circuit: QuantumCircuit,
    evolutions: Evolutions,
    operations: Iterable[Operation] | None = None,
    *,
    in_box: bool = False,
) -> QuantumCircuit:
    """Return ``circuit`` with every evolution that has two forms written out in the one given.

    However deep they are in other operations; those that hold none stay as they are. The operations
    need not be given; where they have been read before, that saves reading them again.
    """
    if operations is None:
        operations = (i.operation for i in circuit.data)
    if not any(map(_is_open, operations)):
        return circuit
    if evolutions == "simulated":
        evolutions = simulated_evolutions()
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation, bits = instruction.operation, (instruction.qubits, instruction.clbits)
        if is_box(operation):
            box = operation.replace_blocks([resolved(operation.body, evolutions, in_box=True)])
            result.append(box, *bits, copy=False)
        elif isinstance(operation, ControlFlowOp) or instruction.clbits:
            result.append(operation, *bits, copy=False)
        else:
            _append(result, operation, instruction.qubits, evolutions, in_box)
    result.global_phase = circuit.global_phase  # what the steps have added changes no value
    return result


def _append(
    result: QuantumCircuit,
    operation: Operation,
    qubits: Sequence[Qubit],
    evolutions: Evolutions,
    written_out: bool,
) -> None:
    if not _is_open(operation):
        result.append(operation, qubits, copy=False)
        return
    if isinstance(operation, AnnotatedOperation):
        # What is modified is the operation in its form, by Qiskit's simulators and transpilers.
        base = QuantumCircuit(operation.base_op.num_qubits)
        _append(base, operation.base_op, base.qubits, evolutions, True)
        block = modified(base, operation.modifiers, definition_of)
    elif isinstance(operation, HamiltonianGate):
        matrix, time = operation.params
        block = QuantumCircuit(operation.num_qubits)
        _append_exponential(block, np.asarray(matrix), time, block.qubits)
    elif isinstance(operation, PauliEvolutionGate) and evolutions == "exponential":
        block = exponential(generator(operation), operation.time)
    elif (
        isinstance(operation, PauliEvolutionGate)
        and not written_out  # in boxes, binding a copy of a circuit changes such gates of its own
        and (formula := formula_of(with_constant_time(operation)))
    ):
        result.append(formula, qubits, copy=False)
        return
    else:
        block = definition_of(operation)
    result.global_phase += block.global_phase
    place = dict(zip(block.qubits, qubits, strict=True))
    for inner in block.data:
        on = [place[q] for q in inner.qubits]
        _append(result, inner.operation, on, evolutions, written_out)


def _is_open(operation: Operation) -> bool:
    """Whether an evolution that has yet to be given a form is in it, however deep."""
    if is_standard(operation):
        return False
    if isinstance(operation, PauliEvolutionGate):
        commute = names_outcomes(operation) or is_commuting(generator(operation))
        return not (is_linear(operation) and commute)
    if isinstance(operation, HamiltonianGate):
        return bool(expressions_of(operation))
    if isinstance(operation, AnnotatedOperation):
        return _is_open(operation.base_op)
    if is_box(operation):
        return any(_is_open(i.operation) for i in operation.body.data)
    if isinstance(operation, (*LEAVES, ControlFlowOp)):
        return False
    if not expressions_of(operation) and has_matrix(operation):
        return False
    return any(_is_open(i.operation) for i in definition_of(operation).data)


def generator(operation: PauliEvolutionGate) -> SparsePauliOp:
    """Return the operator of an evolution, a list of them added up."""
    parts = operation.operator if isinstance(operation.operator, list) else [operation.operator]
    return SparsePauliOp.sum(
        [
            part if isinstance(part, SparsePauliOp) else SparsePauliOp.from_sparse_observable(part)
            for part in parts
        ]
    )


def names_outcomes(operation: PauliEvolutionGate) -> bool:
    """Whether terms with many projectors commute, of which each would be as many as 2**n strings.

    Such terms come of controls, and their definition is a gate under these controls. They commute
    if all letters on a qubit have one axis; otherwise nothing is said.
    """
    parts = operation.operator if isinstance(operation.operator, list) else [operation.operator]
    if not all(hasattr(part, "bit_terms") for part in parts):
        return False
    products = [ProductOperator.from_sparse_observable(part) for part in parts]
    many = max(int(p.projected.sum(axis=1).max(initial=0)) for p in products)
    axes = np.concatenate([p.letters & 3 for p in products])
    return many > FEW and all(len(set(column[column > 0])) < 2 for column in axes.T)


def is_commuting(operator: SparsePauliOp) -> bool:
    """Whether all terms commute with each other."""
    span = PauliSpan(operator.num_qubits)
    for x, z in zip(_as_numbers(operator.paulis.x), _as_numbers(operator.paulis.z), strict=True):
        if not span.commutes(x, z):
            return False
        span.add(x, z)
    return True


def _as_numbers(table: Any) -> list[int]:
    """Return each row of bits as a number, the first bit least significant."""
    packed = np.packbits(np.asarray(table), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _anticommuting(operator: SparsePauliOp) -> Any:
    """Return for each pair of terms whether they anticommute, ``(K, K)``."""
    x, z = (np.asarray(m, dtype=np.float32) for m in (operator.paulis.x, operator.paulis.z))
    crossings = x @ z.T  # whole numbers, exact in single precision
    return (crossings + crossings.T) % 2 == 1


def spectrum_of(operator: SparsePauliOp) -> list[float] | None:
    """Return the distinct eigenvalues, ``None`` if there are too many qubits to look."""
    support = (operator.paulis.x | operator.paulis.z).any(axis=0)
    if support.sum() > SPECTRUM_QUBITS:
        return None
    energies = np.linalg.eigvalsh(_on_support(operator, np.flatnonzero(support)).to_matrix())
    return np.unique(np.round(energies, 12)).tolist()


def exponential(operator: SparsePauliOp, time: Any) -> QuantumCircuit:
    """Return the circuit of the exact exponential for a number or an expression as time."""
    result = QuantumCircuit(operator.num_qubits)
    operator = operator.simplify(atol=0, rtol=0)
    _, component = connected_components(_anticommuting(operator), directed=False)
    sizes = np.bincount(component)
    central = sizes[component] == 1
    if central.any():
        result.append(PauliEvolutionGate(operator[central], time), result.qubits)
    for c in np.flatnonzero(sizes > 1):
        part = operator[component == c]
        support = np.flatnonzero((part.paulis.x | part.paulis.z).any(axis=0))
        _require_memory(len(support))
        matrix = _on_support(part, support).to_matrix()
        _append_exponential(result, matrix, time, [result.qubits[q] for q in support])
    return result


def _on_support(operator: SparsePauliOp, support: IntArray) -> SparsePauliOp:
    """Return the operator on the qubits ``support`` alone, on the others of which it is one."""
    paulis = PauliList.from_symplectic(operator.paulis.z[:, support], operator.paulis.x[:, support])
    return SparsePauliOp(paulis, operator.coeffs)


def _append_exponential(
    result: QuantumCircuit, hamiltonian: Any, time: Any, qubits: Sequence[Qubit]
) -> None:
    """Append the exponential of a dense matrix: a matrix, or a diagonal evolution between two."""
    _require_memory(len(qubits))
    if not np.imag(hamiltonian).any():
        hamiltonian = np.real(hamiltonian)  # which takes a quarter of the time
    energies, vectors = np.linalg.eigh(hamiltonian)
    into = vectors.conj().T
    if not is_free(time):
        matrix = (vectors * np.exp(-1j * float(time) * energies)) @ into
        result.append(UnitaryGate(matrix, check_input=False), qubits)
        return
    result.append(UnitaryGate(into, check_input=False), qubits)
    result.append(PauliEvolutionGate(_diagonal(energies), time), qubits)
    result.append(UnitaryGate(vectors, check_input=False), qubits)


def _diagonal(energies: FloatArray) -> SparsePauliOp:
    """Return the sum of Z strings with a diagonal ``(2**k,)``, without what is rounding."""
    count = len(energies).bit_length() - 1
    coefficients = energies.astype(float)
    for q in range(count):
        pairs = coefficients.reshape(-1, 2, 1 << q)
        coefficients = np.stack([pairs.sum(1), pairs[:, 0] - pairs[:, 1]], 1).ravel()
    coefficients /= len(energies)
    rounding = 16 * np.finfo(float).eps * np.abs(energies).max(initial=0.0)
    kept: IntArray = np.flatnonzero(np.abs(coefficients) > rounding)
    terms = [
        (format(z, f"0{count}b").replace("0", "I").replace("1", "Z"), coefficients[z])
        for z in kept.tolist()
    ]
    return SparsePauliOp.from_list(terms or [("I" * count, 0.0)])


def _require_memory(num_qubits: int) -> None:
    needed = 5 * 16 << 2 * num_qubits  # the operator, its eigenvectors, two matrices, work space
    found = free_memory.available()
    if needed > found:
        raise MemoryLimitError(
            f"The exact exponential of an operator on {num_qubits} qubits needs "
            f"{needed / GIB:.3g} GiB for its eigenvectors; {found / GIB:.3g} GiB are "
            "available. Use the product formula of a PauliEvolutionGate, for instance with "
            "circuit.decompose('PauliEvolution')."
        )
