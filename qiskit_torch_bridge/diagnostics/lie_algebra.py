# SPDX-License-Identifier: Apache-2.0
r"""The Lie algebra that a circuit's gates generate, in the basis of Pauli strings.

A string is a number here: its mask of X and its mask of Z, one after the other. Two strings that
anticommute have the commutator :math:`[iP, iQ] = \mp 2\,iR` with :math:`PQ = \pm iR`, so that
algebras of skew-Hermitian operators have real structure constants. Of single strings the algebra is
spanned by strings, and only which ones has to be found; of sums it is a subspace of what all their
strings generate, and its basis is made orthonormal.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..arguments import require_whole_number
from ..arrays import FloatArray, IntArray
from ..exceptions import CircuitError, MemoryLimitError
from ..program import AnalysedCircuit
from ..simulation.tape.compile_tape import compile_tape
from ..simulation.tape.operations import FixedMatrix, Rotation
from ..simulation.tape.paulis import PauliString
from .axes import axes_for
from .subjects import Circuit, circuit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Operator = dict[tuple[int, int], float]
"""A Hermitian operator: coefficients of Pauli strings, given by their masks of X and of Z."""

LIMIT = 4096
"""The largest dimension that is counted unless another one is asked for."""
MOST_QUBITS = 31
"""Both masks of a string are in one number."""
SMALL = 1e-9
"""What is left of a commutator of operators of norm one beside those found, if nothing is."""


@dataclass(frozen=True, eq=False)
class LieAlgebra:
    """The dynamical Lie algebra of a circuit.

    Attributes:
        dimension: Its dimension.
        generators: How many linearly independent generators there are.
        strings: How many Pauli strings occur in its elements; at least the dimension.
        num_qubits: The number ``n`` of qubits that gates act on.
        growth: The dimension after each round of commutators with the generators.
    """

    dimension: int
    generators: int
    strings: int
    num_qubits: int
    growth: tuple[int, ...]

    @property
    def full(self) -> int:
        """The dimension of all there is, that of su(2**n)."""
        return int(4**self.num_qubits - 1)

    @property
    def is_full(self) -> bool:
        """Whether the gates can make any unitary, up to a phase, if there are enough of them."""
        return self.dimension == self.full

    def plot(self, ax: Any = None) -> Axes:
        """Draw how the dimension grows with the depth of commutators; return the axes.

        Args:
            ax: Axes of matplotlib to draw in; default: those of a new figure.
        """
        axes = axes_for(ax)
        axes.plot(range(len(self.growth)), self.growth, "o-", label=f"dimension {self.dimension}")
        axes.axhline(
            self.full, color="black", ls="--", label=f"su(2^{self.num_qubits}): {self.full}"
        )
        axes.set_yscale("log")
        axes.set_xlabel("rounds of commutators")
        axes.set_ylabel("dimension")
        axes.legend(fontsize="small")
        return axes


def lie_algebra_dimension(circuit: Circuit, limit: int = LIMIT) -> LieAlgebra:
    r"""Return the dimension of the dynamical Lie algebra of a circuit.

    .. math:: \mathfrak g = \mathrm{span}_{\mathbb R}
        \left\langle iH_1, \ldots, iH_K \right\rangle_{[\cdot,\cdot]}, \qquad
        U(\theta) = F \prod_k e^{-i\theta_k H_k}

    Fixed gates are *conjugated in*: with :math:`F_k` all fixed gates before a parameterized gate
    :math:`e^{-i\theta P}`, its generator is :math:`H_k = F_k^\dagger P F_k`, and :math:`F` is what
    remains at the end. The states that the circuit reaches are then those of
    :math:`F e^{\mathfrak g}` at the most. In circuits of Hamiltonians alone, as in the literature,
    there is nothing to conjugate. Of layers with fixed gates, deeper circuits may have a larger
    algebra than shallow ones: give as many layers as are meant.

    Rotations by the same parameter are one generator, their sum, as in :math:`\sum_i X_i` of a
    mixer, if they commute with each other and with what stands between them. Rotations of one
    parameter that cannot be brought together are generators of their own. All parameters count as
    free, inputs as well; what is no affine function of parameters is free on its own. Phases, that
    is the identity in generators, are left out.

    On random points of deep circuits the variance of a loss whose observable is in the algebra
    decreases like one over the dimension (M. Ragone et al., E. Fontana et al.), so a dimension that
    grows exponentially with qubits announces a barren plateau.

    Args:
        circuit: A circuit, or a program or module that has one.
        limit: The largest dimension, and number of Pauli strings, that is counted.

    Raises:
        CircuitError: If there are no parameterized gates, or gates that cannot be simulated.
        MemoryLimitError: If there are more strings than the limit.

    Cost:
        Of single strings, of which ``limit`` could be millions, one look at each for each
        generator. Of sums a basis ``(D, M)`` of ``D`` operators in ``M`` strings, ``8 D M`` bytes,
        and about ``D**2 M`` multiplications: ``D = M = 1023`` for any gates on five qubits takes
        seconds, ``4095`` for six takes minutes.

    References:
        M. Larocca et al., Quantum 6, 824 (2022); M. Ragone et al. and E. Fontana et al., Nature
        Communications 15, 7172 and 7171 (2024); R. Wiersema et al., npj Quantum Information 10,
        110 (2024).

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge.diagnostics import lie_algebra_dimension
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(4)  # a transverse-field Ising chain: n**2
        >>> for q in range(3):
        ...     _ = circuit.rzz(theta[0], q, q + 1)
        >>> for q in range(4):
        ...     _ = circuit.rx(theta[1], q)
        >>> lie_algebra_dimension(circuit).dimension
        16
    """
    quantum = circuit_of(circuit)
    limit = require_whole_number(limit, "limit", 1, 1 << 40)
    operators, num_qubits = _find_generators(AnalysedCircuit(quantum))
    if not operators:
        raise CircuitError("Expected a circuit with parameterized gates; this one has none.")
    if num_qubits > MOST_QUBITS:
        raise MemoryLimitError(
            f"Expected at most {MOST_QUBITS} qubits with gates on them; got {num_qubits}."
        )
    keys = [np.array([_key(*s, num_qubits) for s in o], dtype=np.int64) for o in operators]
    strings, growth = _close_strings(np.unique(np.concatenate(keys)), num_qubits, limit)
    if any(len(operator) > 1 for operator in operators):
        vectors = np.zeros((len(operators), len(strings)))
        for row, operator, places in zip(vectors, operators, keys, strict=True):
            row[np.searchsorted(strings, places)] = list(operator.values())
        growth = _close_sums(vectors, keys, strings, num_qubits)
    return LieAlgebra(growth[-1], growth[0], len(strings), num_qubits, tuple(growth))


# -- generators ----------------------------------------------------------------------------------


def _find_generators(analysed: AnalysedCircuit) -> tuple[list[Operator], int]:
    """Return the generators of a circuit with fixed gates conjugated in, and the qubits in use."""
    tape = compile_tape(analysed)
    affine: dict[int, list[tuple[int, float]]] = {}
    for angle, column, slope in zip(
        tape.angle_map.rows.tolist(),
        tape.angle_map.columns.tolist(),
        tape.angle_map.coefficients.tolist(),
        strict=True,
    ):
        affine.setdefault(angle, []).append((column, slope))
    fixed: list[Rotation | FixedMatrix] = []
    turned: list[Operator] = []  # what each parameterized rotation is about
    groups: dict[int, list[tuple[Operator, int]]] = {}  # by what turns them: sum, and since when
    free = analysed.num_parameters  # numbers from here on stand for expressions not affine
    for operation in tape.operations:
        if not isinstance(operation, Rotation) or operation.angle.is_fixed:
            fixed.append(operation)
            continue
        pauli = operation.pauli
        about: Operator = {(pauli.x, pauli.z): float(_sign(pauli))}
        for before in reversed(fixed):
            about = _conjugated(about, before)
        slopes: dict[int, float] = {}
        for source, scale in operation.angle.terms:
            for column, slope in affine.get(source, [(free + source, 1.0)]):
                slopes[column] = slopes.get(column, 0.0) + scale * slope
        for column, slope in slopes.items():
            own = {s: slope * c for s, c in about.items()}
            open_groups = groups.setdefault(column, [])
            if open_groups:
                total, since = open_groups[-1]
                if all(_commute(about, other) for other in turned[since:]):
                    _add(total, own)
                    continue
            open_groups.append((own, len(turned)))
        turned.append(about)
    found: dict[Hashable, Operator] = {}
    for total in (total for members in groups.values() for total, _ in members):
        operator = _cleaned(total)
        first = next(iter(operator.values()), 1.0)
        rounded = sorted((s, round(c / first, 9)) for s, c in operator.items())
        found.setdefault(tuple(rounded), operator)
    return [operator for operator in found.values() if operator], tape.num_bits


def _cleaned(operator: Operator) -> Operator:
    """Return an operator of norm one without identity and rounding errors; empty if it is zero."""
    kept = {s: c for s, c in operator.items() if s != (0, 0)}
    norm = math.sqrt(sum(c * c for c in kept.values()))
    return {s: c / norm for s, c in kept.items() if abs(c) > 1e-12 * norm} if norm > 1e-12 else {}


def _add(total: Operator, other: Operator) -> None:
    for string, coefficient in other.items():
        total[string] = total.get(string, 0.0) + coefficient


def _sign(pauli: PauliString) -> int:
    """Return the sign that a Hermitian string has beside the one with the same letters."""
    return 1 - (pauli.k - (pauli.x & pauli.z).bit_count()) % 4


def _hermitian(x: int, z: int) -> PauliString:
    return PauliString(x, z, (x & z).bit_count() % 4)


def _commute(a: Operator, b: Operator) -> bool:
    """Whether two operators commute, their strings not only one by one but in sum."""
    total: dict[tuple[int, int], float] = {}
    for first, c in a.items():
        for second, d in b.items():
            p, q = _hermitian(*first), _hermitian(*second)
            if not p.commutes(q):
                product = (p * q).times_i(-1)
                key = product.x, product.z
                total[key] = total.get(key, 0.0) + c * d * _sign(product)
    return all(abs(c) < 1e-12 for c in total.values())


def _conjugated(operator: Operator, gate: Rotation | FixedMatrix) -> Operator:
    r"""Return :math:`V^\dagger H V` for a fixed gate :math:`V`."""
    if isinstance(gate, Rotation):
        return _conjugated_by_rotation(operator, gate)
    return _conjugated_by_matrix(operator, gate)


def _conjugated_by_rotation(operator: Operator, gate: Rotation) -> Operator:
    r"""Apply :math:`e^{iaQ/2} P e^{-iaQ/2} = \cos a\, P + \sin a\; iQP` where they anticommute."""
    found: Operator = {}
    cosine, sine = math.cos(gate.angle.offset), math.sin(gate.angle.offset)
    for string, coefficient in operator.items():
        pauli = _hermitian(*string)
        if pauli.commutes(gate.pauli):
            _add(found, {string: coefficient})
            continue
        other = (gate.pauli * pauli).times_i(1)
        _add(found, {string: cosine * coefficient})
        _add(found, {(other.x, other.z): sine * coefficient * _sign(other)})
    return _rounded(found)


def _conjugated_by_matrix(operator: Operator, gate: FixedMatrix) -> Operator:
    bits, matrix = gate.bits, gate.matrix
    here = sum(1 << bit for bit in bits)
    found: Operator = {}
    images: dict[tuple[int, int], Operator] = {}
    for (x, z), coefficient in operator.items():
        local = _gathered(x, bits), _gathered(z, bits)
        if local not in images:
            images[local] = _expanded(matrix.conj().T @ _matrix(*local, len(bits)) @ matrix)
        for (u, v), c in images[local].items():
            string = (x & ~here) | _scattered(u, bits), (z & ~here) | _scattered(v, bits)
            _add(found, {string: coefficient * c})
    return _rounded(found)


def _rounded(operator: Operator) -> Operator:
    return {s: c for s, c in operator.items() if abs(c) > 1e-14}


def _gathered(mask: int, bits: Sequence[int]) -> int:
    return sum((mask >> bit & 1) << k for k, bit in enumerate(bits))


def _scattered(mask: int, bits: Sequence[int]) -> int:
    return sum((mask >> k & 1) << bit for k, bit in enumerate(bits))


def _matrix(x: int, z: int, count: int) -> Any:
    """Return a Hermitian string as a matrix."""
    size = 1 << count
    matrix = np.zeros((size, size), dtype=complex)
    for i in range(size):
        matrix[i ^ x, i] = 1j ** ((x & z).bit_count() % 4) * (-1) ** (i & z).bit_count()
    return matrix


def _expanded(matrix: Any) -> Operator:
    """Return a Hermitian matrix as a sum of strings."""
    size = len(matrix)
    count = size.bit_length() - 1
    coefficients = {
        (x, z): float(np.real(np.vdot(_matrix(x, z, count), matrix))) / size
        for x in range(size)
        for z in range(size)
    }
    return _rounded(coefficients)


# -- closure -------------------------------------------------------------------------------------


def _key(x: int, z: int, num_qubits: int) -> int:
    return x << num_qubits | z


def _anticommute(a: IntArray, b: IntArray | int, num_qubits: int) -> Any:
    """Whether strings anticommute, given by their numbers."""
    ones = (1 << num_qubits) - 1
    both = ((a >> num_qubits) & (b & ones)) ^ ((a & ones) & (b >> num_qubits))
    return np.bitwise_count(both) % 2 == 1


def _close_strings(start: IntArray, num_qubits: int, limit: int) -> tuple[IntArray, list[int]]:
    """Return all strings, ascending, that commutators of strings lead to."""
    found = newest = start
    growth = [len(found)]
    while len(newest):
        products = [newest[_anticommute(newest, int(g), num_qubits)] ^ int(g) for g in start]
        newest = np.setdiff1d(np.concatenate(products), found)
        if len(newest):
            found = np.union1d(found, newest)
            growth.append(len(found))
        if len(found) > limit:
            raise MemoryLimitError(
                f"Expected a Lie algebra in at most limit={limit} Pauli strings; there are at "
                f"least {len(found)}, of {4**num_qubits - 1} on {num_qubits} qubits. Give a larger "
                "limit, or fewer qubits."
            )
    return found, growth


def _close_sums(
    generators: FloatArray, keys: Iterable[IntArray], strings: IntArray, num_qubits: int
) -> list[int]:
    """Return how the dimension grows, round by round, of what sums of strings generate."""
    adjoint = [
        _adjoint(row[np.searchsorted(strings, places)], places, strings, num_qubits)
        for row, places in zip(generators, keys, strict=True)
    ]
    basis = np.zeros((len(strings), len(strings)))
    count = _extend(basis, 0, generators)
    growth, first = [count], 0
    while first < count < len(strings):
        newest = basis[first:count].copy()
        first = count
        for matrix in adjoint:
            if count < len(strings):
                count = _extend(basis, count, newest @ matrix)
        if count > first:
            growth.append(count)
    return growth


def _adjoint(
    coefficients: FloatArray, places: IntArray, strings: IntArray, num_qubits: int
) -> sparse.csr_array:
    """Return the matrix by which a row of coefficients becomes that of a commutator."""
    rows, columns, entries = [], [], []
    for coefficient, g in zip(coefficients.tolist(), places.tolist(), strict=True):
        meets = np.flatnonzero(_anticommute(strings, g, num_qubits))
        rows.append(meets)
        columns.append(np.searchsorted(strings, strings[meets] ^ g))
        entries.append(coefficient * _commutator_signs(g, strings[meets], num_qubits))
    shape = (len(strings), len(strings))
    index = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_array((np.concatenate(entries), index), shape=shape)


def _commutator_signs(g: int, others: IntArray, num_qubits: int) -> FloatArray:
    r"""Return :math:`\pm1` with :math:`GQ = \pm iR`, all three Hermitian."""
    ones = (1 << num_qubits) - 1
    x, z = g >> num_qubits, g & ones
    u, v = others >> num_qubits, others & ones
    powers = np.bitwise_count(np.int64(x & z)).astype(int) + np.bitwise_count(u & v)
    powers = powers + 2 * np.bitwise_count(z & u).astype(int)
    powers = powers - np.bitwise_count((x ^ u) & (z ^ v)).astype(int)
    return np.where(powers % 4 == 1, 1.0, -1.0)


def _extend(basis: FloatArray, count: int, candidates: FloatArray) -> int:
    """Put what candidates ``(C, M)`` add to an orthonormal basis into it; return the new size."""
    norms = np.linalg.norm(candidates, axis=1)
    candidates = candidates[norms > SMALL] / norms[norms > SMALL, None]
    for _ in range(2):  # once more for what rounding left
        candidates = candidates - (candidates @ basis[:count].T) @ basis[:count]
    start = count
    for candidate in candidates:
        rest = candidate
        for _ in range(2):
            rest = rest - basis[start:count].T @ (basis[start:count] @ rest)
        norm = float(np.linalg.norm(rest))
        if norm > SMALL:
            rest = rest / norm
            rest = rest - basis[:count].T @ (basis[:count] @ rest)
            basis[count] = rest / np.linalg.norm(rest)
            count += 1
            if count == len(basis):
                break
    return count
