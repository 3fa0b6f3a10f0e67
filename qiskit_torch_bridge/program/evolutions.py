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
from numpy.typing import NDArray
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlFlowOp,
    Delay,
    Gate,
    Operation,
    QuantumCircuit,
    Qubit,
)
from qiskit.circuit.library import (
    HamiltonianGate,
    Initialize,
    Isometry,
    PauliEvolutionGate,
    StatePreparation,
    UnitaryGate,
)
from qiskit.quantum_info import Operator, PauliList, SparsePauliOp
from qiskit.synthesis import LieTrotter, SuzukiTrotter
from scipy.sparse import SparseEfficiencyWarning
from scipy.sparse.csgraph import connected_components

from .. import memory
from ..arrays import BoolArray, FloatArray, IntArray
from ..exceptions import MemoryLimitError
from ..memory import GIB
from .amplitudes import AmplitudePreparation
from .definitions import (
    AT_RUN_TIME,
    Step,
    circuit_of,
    definition_of,
    global_phases_of,
    has_matrix,
    is_standard,
    modify,
    place_steps,
    with_constant_time,
)
from .expressions import Angle, expressions_of, is_free
from .lowering import rewrite
from .operators import FEW, PauliSpan, ProductOperator, is_sparse_observable, walsh_hadamard

Evolutions = Literal["definition", "exponential", "simulated"]
"""The forms; ``"simulated"`` is the one of the others that the installed Qiskit simulates."""

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
    turn = np.array([[1, 1], [1, -1]]) / root
    exact = np.cos(root) * np.eye(2) - 1j * np.sin(root) * turn
    with warnings.catch_warnings():
        # Qiskit hands SciPy a sparse format that costs a conversion.
        warnings.simplefilter("ignore", SparseEfficiencyWarning)
        found = Operator(gate)
    return "exponential" if found.equiv(Operator(exact)) else "definition"


def write_out_evolutions(
    circuit: QuantumCircuit,
    evolutions: Evolutions,
    operations: Iterable[Operation] | None = None,
) -> QuantumCircuit:
    """Return ``circuit`` with every evolution that has two forms written out in the one given.

    Evolutions are found however deep they are in other operations; operations without any stay as
    they are.

    Args:
        circuit: The circuit.
        evolutions: The form.
        operations: The circuit's operations, where they have been read before.
    """
    if operations is None:
        operations = (i.operation for i in circuit.data)
    if not any(map(_is_open, operations)):
        return circuit
    if evolutions == "simulated":
        evolutions = simulated_evolutions()

    def write_out(step: Step, as_gates: bool) -> list[Step]:
        operation, qubits = step
        if not _is_open(operation):
            return [step]
        written = _write_out(operation, evolutions, as_gates)
        phases.extend(global_phases_of(written))
        return place_steps(written, qubits)

    phases: list[Angle] = []
    # In blocks, binding a copy of a circuit changes gates that are not Qiskit's own.
    result = rewrite(
        circuit, lambda step: write_out(step, False), lambda step: write_out(step, True)
    )
    for phase in phases:
        result.global_phase = result.global_phase + phase
    return result


def _write_out(operation: Operation, evolutions: Evolutions, as_gates: bool) -> QuantumCircuit:
    """Return an operation that holds evolutions as a circuit that holds none.

    Args:
        operation: The operation.
        evolutions: The form in which they are written.
        as_gates: Whether product formulas are written as gates of Qiskit, not as one gate.
    """
    if isinstance(operation, AnnotatedOperation):
        # What is modified is the operation in its form, by Qiskit's simulators and transpilers.
        base = circuit_of(operation.base_op)
        return modify(_write_out_all(base, evolutions, True), operation.modifiers)
    if isinstance(operation, HamiltonianGate):
        matrix, time = operation.params
        block = QuantumCircuit(operation.num_qubits)
        _append_exponential(block, np.asarray(matrix), time, block.qubits)
        return block
    if isinstance(operation, PauliEvolutionGate):
        if evolutions == "exponential":
            block = build_exponential(generator_of(operation), operation.time)
            return _write_out_all(block, evolutions, as_gates)
        formula = None if as_gates else product_formula_of(with_constant_time(operation))
        if formula is not None:
            return circuit_of(formula)
    return _write_out_all(definition_of(operation), evolutions, as_gates)


def _write_out_all(block: QuantumCircuit, evolutions: Evolutions, as_gates: bool) -> QuantumCircuit:
    result = block.copy_empty_like()
    for i in block.data:
        if _is_open(i.operation):
            inner = _write_out(i.operation, evolutions, as_gates)
            result.compose(inner, i.qubits, i.clbits, inplace=True)
        else:
            result.append(i.operation, i.qubits, i.clbits, copy=False)
    return result


def _is_open(operation: Operation) -> bool:
    """Whether an operation contains, however deep, an evolution that has no form yet."""
    if is_standard(operation):
        return False
    if isinstance(operation, PauliEvolutionGate):
        commute = has_commuting_projectors(operation) or is_commuting(generator_of(operation))
        return not (is_linear(operation) and commute)
    if isinstance(operation, HamiltonianGate):
        return bool(expressions_of(operation))
    if isinstance(operation, AnnotatedOperation):
        return _is_open(operation.base_op)
    if isinstance(operation, ControlFlowOp):
        return any(_is_open(i.operation) for block in operation.blocks for i in block.data)
    if isinstance(operation, (*LEAVES, *AT_RUN_TIME)) or has_matrix(operation):
        return False
    return any(_is_open(i.operation) for i in definition_of(operation).data)


def generator_of(operation: PauliEvolutionGate) -> SparsePauliOp:
    """Return the operator of an evolution, the sum where it has a list of them."""
    return SparsePauliOp.sum(
        [
            part if isinstance(part, SparsePauliOp) else SparsePauliOp.from_sparse_observable(part)
            for part in _parts_of(operation)
        ]
    )


def _parts_of(operation: PauliEvolutionGate) -> list[Any]:
    return operation.operator if isinstance(operation.operator, list) else [operation.operator]


def has_commuting_projectors(operation: PauliEvolutionGate) -> bool:
    """Whether an evolution has terms of many projectors and all of its terms commute.

    Each such term would be up to ``2**n`` Pauli strings. They come from controls, and their
    definition is a gate under these controls. Terms are known to commute if all letters on a qubit
    have one axis; what else may commute is not looked for.
    """
    parts = _parts_of(operation)
    if not all(map(is_sparse_observable, parts)):
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


def _as_numbers(table: BoolArray) -> list[int]:
    """Return each row of bits as a number, the first bit least significant."""
    packed = np.packbits(np.asarray(table), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _anticommuting(operator: SparsePauliOp) -> BoolArray:
    """Return for each pair of terms whether they anticommute, ``(K, K)``."""
    x, z = (np.asarray(m, dtype=np.float32) for m in (operator.paulis.x, operator.paulis.z))
    crossings = x @ z.T  # whole numbers, exact in single precision
    return (crossings + crossings.T) % 2 == 1


def eigenvalues_of(operator: SparsePauliOp) -> list[float] | None:
    """Return the distinct eigenvalues; ``None`` if the operator is on too many qubits."""
    support = (operator.paulis.x | operator.paulis.z).any(axis=0)
    if support.sum() > SPECTRUM_QUBITS:
        return None
    energies = np.linalg.eigvalsh(_on_support(operator, np.flatnonzero(support)).to_matrix())
    return np.unique(np.round(energies, 12)).tolist()


def build_exponential(operator: SparsePauliOp, time: Angle) -> QuantumCircuit:
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
    """Return the operator on the qubits ``support``; it is the identity on all others."""
    paulis = PauliList.from_symplectic(operator.paulis.z[:, support], operator.paulis.x[:, support])
    return SparsePauliOp(paulis, operator.coeffs)


def _append_exponential(
    result: QuantumCircuit, hamiltonian: NDArray[Any], time: Angle, qubits: Sequence[Qubit]
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
    coefficients = walsh_hadamard(energies.astype(float)) / len(energies)
    rounding = 16 * np.finfo(float).eps * np.abs(energies).max(initial=0.0)
    kept: IntArray = np.flatnonzero(np.abs(coefficients) > rounding)
    terms = [
        (format(z, f"0{count}b").replace("0", "I").replace("1", "Z"), coefficients[z])
        for z in kept.tolist()
    ]
    return SparsePauliOp.from_list(terms or [("I" * count, 0.0)])


def _require_memory(num_qubits: int) -> None:
    needed = 5 * 16 << 2 * num_qubits  # the operator, its eigenvectors, two matrices, work space
    found = memory.available()
    if needed > found:
        raise MemoryLimitError(
            f"The exact exponential of an operator on {num_qubits} qubits needs "
            f"{needed / GIB:.3g} GiB for its eigenvectors; {found / GIB:.3g} GiB are "
            "available. Use the product formula of a PauliEvolutionGate, for instance with "
            "circuit.decompose('PauliEvolution')."
        )


# -- product formulas ------------------------------------------------------------------------------

LINEAR = (LieTrotter, SuzukiTrotter)
"""Syntheses of rotations whose angles are proportional to the time, and exact where all terms
commute; those of ``QDrift``, for one, are random."""

TermRotation = tuple[str, Sequence[int], float]
"""Letters, the qubits that they are on, and the angle of the rotation at time one."""


class ProductFormula(Gate):
    r"""The product formula of a ``PauliEvolutionGate``, as one gate.

    .. math:: \prod_k e^{-i\, c_k t\, P_k / 2}

    Its definition is the circuit that Qiskit synthesises, which is what simulators and transpilers
    use. That circuit has some twenty gates for each term; the exact engine uses the rotations
    instead, and the circuit is not made.

    Args:
        evolution: The gate, with a synthesis that :func:`is_linear` accepts.
        time: In the place of the gate's own.

    Attributes:
        rotations: The rotations in the order in which they act.
    """

    def __init__(self, evolution: PauliEvolutionGate, time: Angle | None = None) -> None:
        time = evolution.params[0] if time is None else time
        super().__init__("product_formula", evolution.num_qubits, [time], label=evolution.label)
        self._evolution = evolution
        at_one = PauliEvolutionGate(evolution.operator, 1.0, synthesis=evolution.synthesis)
        self.rotations: list[TermRotation] = evolution.synthesis.expand(at_one)

    def with_time(self, time: Angle) -> ProductFormula:
        """Return the formula for another time."""
        return ProductFormula(self._evolution, time)

    def _define(self) -> None:
        own = self._evolution
        (time,) = self.params
        self.definition = PauliEvolutionGate(own.operator, time, synthesis=own.synthesis).definition


def is_linear(operation: PauliEvolutionGate) -> bool:
    """Whether its synthesis is a product of Pauli rotations proportional to the time."""
    synthesis = operation.synthesis
    return type(synthesis) in LINEAR and not synthesis.settings.get("atomic_evolution")


def product_formula_of(operation: PauliEvolutionGate) -> ProductFormula | None:
    """Return the product formula as one gate; ``None`` where it is more than Pauli rotations."""
    if not is_linear(operation):
        return None
    formula = ProductFormula(operation)
    plain = all(set(letters) <= set("IXYZ") for letters, _, _ in formula.rotations)
    return formula if plain else None


LEAVES = (
    AmplitudePreparation,
    Barrier,
    Delay,
    HamiltonianGate,
    Initialize,
    Isometry,
    PauliEvolutionGate,
    ProductFormula,
    StatePreparation,
    UnitaryGate,
)
"""Operations that are taken as they are; their definitions are not looked at."""

TIMED = (PauliEvolutionGate, ProductFormula)
"""Gates with one time, of which all angles in their definitions are multiples."""
