# SPDX-License-Identifier: Apache-2.0
"""What has to be simulated for expectation values: the different light cones of their terms."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ... import memory
from ...arrays import BoolArray, IntArray
from ...program import AnalysedCircuit
from ...program.operators import Observable
from ..expressions import ExpressionColumns
from ..interface import TooExpensive
from ..tape.compile_tape import Tape, compile_tape
from ..tape.effective import drop_ineffective, merge_rotations
from ..tape.operations import FixedMatrix, Rotation
from ..tape.sources import compile_sources
from .angles import Contents, tell_angles
from .canonical import Elements, order_cones
from .causality import (
    MAX_PAIRS,
    Incidence,
    Strings,
    find_cones,
    find_idle,
    tabulate,
)
from .classes import Cone, ConeClass, Form, Gatherer
from .compression import MAX_BITS, Coordinates
from .containment import absorb
from .terms import Terms, collect_terms

Operations = Sequence[Rotation | FixedMatrix]

FEW_LAST = 64
"""Operations at the end of a circuit that are looked at before all others."""
LEAST_BYTES = 2 * 8
"""What bra and ket take for each amplitude, in single precision."""


class Cones(NamedTuple):
    """Everything that expectation values depend on.

    Attributes:
        tape: The circuit.
        columns: What non-affine expressions add to inputs and weights.
        contents: The different angles.
        terms: What is read.
        classes: The cones, equal ones once.
        class_of_string: The class in which each string is read, ``(T,)``; -1 if in none.
    """

    tape: Tape
    columns: ExpressionColumns
    contents: Contents
    terms: Terms
    classes: list[ConeClass]
    class_of_string: IntArray


def find_cone_classes(
    analysed: AnalysedCircuit,
    operators: Sequence[Observable],
    inputs: Sequence[int],
    weights: Sequence[int],
    most: float = math.inf,
) -> Cones:
    """Return the light cones of all terms of observables, equal ones once.

    Args:
        analysed: The circuit.
        operators: The observables.
        inputs: The columns of the circuit's parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        most: The operations for one row up to which cones are of interest.

    Raises:
        CircuitError: If an operation cannot be simulated exactly, or coefficients are not real.
        TooExpensive: If the largest cone alone takes more operations, or more memory than there
            is; before any is looked at more closely. It tells all terms whose cones do so. Without
            a limit for operations a cone that does not fit into memory is returned alone: nothing
            will be simulated.

    Cost:
        About in proportion to the lengths of the circuit and of all cones.
    """
    tape = compile_tape(analysed)
    operations = merge_rotations(tape.operations, up_to_phase=True)
    terms = collect_terms(operators, tape)
    columns = ExpressionColumns(tape.angle_map, inputs, weights)
    finder = _Finder(tape, operations, terms, most)
    heavy = finder.find_heavy()
    if heavy.any() and most == math.inf:
        finder.keep_largest()
    elif heavy.any():
        raise TooExpensive(
            f"The largest light cone takes more than {most:.0e} operations.",
            np.append(heavy, False)[terms.of_term],
        )
    used = [operations[i] for i in finder.used.tolist()]
    sources = compile_sources(used, tape.angle_map, columns, inputs, weights)
    contents = tell_angles(used, sources, columns.num_inputs + columns.num_weights)
    classes, class_of_string = finder.classify(contents.scattered(finder.used, len(operations)))
    return Cones(tape, columns, contents, terms, classes, class_of_string)


def effective_columns(analysed: AnalysedCircuit, operators: Sequence[Observable]) -> frozenset[int]:
    """Return the parameters that any of some expectation values depends on, by their columns.

    Derivatives with respect to all others are exactly zero, whatever the values are.

    Args:
        analysed: A circuit that can be simulated exactly, of any width.
        operators: Observables with real coefficients.

    Raises:
        CircuitError: If an operation cannot be simulated exactly, or coefficients are not real.

    Cost:
        About in proportion to the length of the circuit; nothing is simulated.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> from qiskit_torch_bridge.program import AnalysedCircuit
        >>> from qiskit_torch_bridge.simulation.cones import effective_columns
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("a"), 0), circuit.ry(Parameter("b"), 1), circuit.cz(0, 1)
        >>> sorted(effective_columns(AnalysedCircuit(circuit), [SparsePauliOp("IZ")]))
        [0]
    """
    tape = compile_tape(analysed)
    masks = [string[:2] for string in collect_terms(operators, tape).strings]
    operations = merge_rotations(tape.operations, up_to_phase=True)
    left = drop_ineffective(operations, tape.preparations, masks, tape.num_bits)
    angles = {a for o in left if isinstance(o, Rotation) for a, _ in o.angle.terms}
    own = tape.angle_map
    affine = zip(own.rows.tolist(), own.columns.tolist(), strict=True)
    found = {column for a, column in affine if a in angles}
    return frozenset(found.union(*(f.columns for a, f in own.functions.items() if a in angles)))


class _Finder:
    """Finds the cones of terms on a tape, and what is the same about them.

    What cones consist of is numbered in a row: preparations, operations, terms.

    Args:
        tape: The circuit.
        operations: Those of it that stay.
        terms: What is read.
        most: The operations for one row up to which a cone is of interest.

    Attributes:
        used: The operations that are in any cone, ascending.
    """

    def __init__(self, tape: Tape, operations: Operations, terms: Terms, most: float) -> None:
        self._tape, self._operations, self._terms = tape, operations, terms
        self._most = most
        memory_bits = max(memory.available(), memory.GRANTED) // LEAST_BYTES
        self._most_bits = min(memory_bits.bit_length() - 1, MAX_BITS)
        self._preparations = tape.preparations
        self._levels: IntArray = np.arange(len(operations))
        self._first_term = len(self._preparations) + len(operations)
        self._prepared = [sum(1 << b for b in p.bits) for p in self._preparations]
        self._strings = [string[:2] for string in terms.strings]
        self._reached = self._find_reached()
        found = self._find_cones()
        self._list(self._find_common() if found is None else self._group(*found))
        middle, last = len(self._preparations), self._first_term
        operations_of_all = self._parts[(self._parts >= middle) & (self._parts < last)]
        self.used: IntArray = np.unique(operations_of_all - middle)

    def _find_reached(self) -> list[int]:
        """Return the terms that are not zero whatever the angles are, as far as is quickly known.

        The others lead out of the span of all basis states that the circuit reaches.
        """
        hard = {bit for p in self._preparations for bit in p.bits}
        hard.update(b for o in self._operations if isinstance(o, FixedMatrix) for b in o.bits)
        space = Coordinates(sorted(hard))
        for operation in self._operations:
            if space.num_bits == self._tape.num_bits:
                return list(range(len(self._strings)))
            if isinstance(operation, Rotation):
                space.add(operation.pauli.x)
        return [t for t, (x, _) in enumerate(self._strings) if space.find(x) is not None]

    def _find_cones(self) -> tuple[IntArray, IntArray] | None:
        """Return the operations of the cone of each term that is reached, where they start first.

        ``None`` if cones are not worth telling apart, since each depends on so much.
        """
        count = len(self._reached)
        if not count or not self._operations:
            return np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        strings = Strings(self._operations, self._tape.num_bits)
        letters = tabulate([self._strings[t] for t in self._reached], self._tape.num_bits)
        if strings.count_pairs(letters) > MAX_PAIRS:
            return None
        causality = strings.find_causality()
        self._levels = causality.levels
        idle = find_idle(self._operations, self._preparations, causality)
        return find_cones(causality, strings.find_last(letters), idle)

    def _find_common(self) -> dict[tuple[bytes, bytes], list[int]]:
        """Return all that any term depends on as the cone of all.

        Of a circuit whose last operations take too much already these alone are looked at.
        """
        read = [self._strings[t] for t in self._reached]
        left: list[Rotation | FixedMatrix] = []
        last = FEW_LAST
        while True:
            last = min(last, len(self._operations))
            ending = self._operations[len(self._operations) - last :]
            left = drop_ineffective(ending, self._preparations, read, self._tape.num_bits)
            if last == len(self._operations) or self._is_heavy(left):
                break
            last *= 8
        kept = set(map(id, left))
        own = np.array([i for i, o in enumerate(self._operations) if id(o) in kept], dtype=np.int64)
        support = functools.reduce(operator.or_, [x | z for x, z in read], 0)
        prepared = self._find_prepared(own, support)
        return {(own.tobytes(), prepared.tobytes()): self._reached}

    def _group(self, starts: IntArray, found: IntArray) -> dict[tuple[bytes, bytes], list[int]]:
        """Return the terms of each cone; those that depend on nothing are constants."""
        cones: dict[tuple[bytes, bytes], list[int]] = {}
        bounds = starts.tolist()
        for place, t in enumerate(self._reached):
            x, z = self._strings[t]
            own = found[bounds[place] : bounds[place + 1]]
            prepared = self._find_prepared(own, x | z)
            if len(own) or len(prepared):
                cones.setdefault((own.tobytes(), prepared.tobytes()), []).append(t)
            elif not x:  # of zeros, a product of Z is one
                self._terms.constants[:] += self._terms.coefficients[[t]].toarray()[0]
        return cones

    def _list(self, cones: dict[tuple[bytes, bytes], list[int]]) -> None:
        """Put down what each cone consists of."""
        parts: list[IntArray] = []
        for (operations, beginning), terms in cones.items():
            parts += [
                np.frombuffer(beginning, dtype=np.int64),
                np.frombuffer(operations, dtype=np.int64) + len(self._preparations),
                np.array(terms, dtype=np.int64) + self._first_term,
            ]
        sizes = np.array(list(map(len, parts)), dtype=np.int64).reshape(-1, 3).sum(axis=1)
        self._starts: IntArray = np.concatenate([[0], np.cumsum(sizes)])
        self._parts = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _find_prepared(self, operations: IntArray, support: int) -> IntArray:
        """Return the preparations that a cone begins with."""
        if not self._prepared:
            return _NONE
        for i in operations.tolist():
            support |= _support(self._operations[i])
        touched = [j for j, bits in enumerate(self._prepared) if bits & support]
        return np.array(touched, dtype=np.int64)

    def find_heavy(self) -> BoolArray:
        """Return which terms have a cone that alone takes more than is of interest, or fits.

        They are looked for if the cone with the most operations is one of these.
        """
        heavy = np.zeros(len(self._strings), dtype=bool)
        for at in np.argsort(-np.diff(self._starts), kind="stable").tolist():
            parts = self._parts[self._starts[at] : self._starts[at + 1]] - len(self._preparations)
            own = parts[(parts >= 0) & (parts < len(self._operations))].tolist()
            if self._is_heavy([self._operations[i] for i in own]):
                heavy[parts[parts >= len(self._operations)] - len(self._operations)] = True
            elif not heavy.any():
                break
        return heavy

    def keep_largest(self) -> None:
        """Leave the cone with the most operations alone."""
        at = int(np.argmax(np.diff(self._starts)))
        self._parts = self._parts[self._starts[at] : self._starts[at + 1]]
        self._starts = np.array([0, len(self._parts)])

    def _is_heavy(self, operations: Operations) -> bool:
        """Whether values and a gradient of a cone take more than is of interest, or fits."""
        space = Coordinates()
        for operation in operations:
            if isinstance(operation, Rotation):
                space.add(operation.pauli.x)
                bits = space.num_bits
                if bits > self._most_bits or 3 * len(operations) << bits > self._most:
                    return True
        return False

    def classify(self, contents: Contents) -> tuple[list[ConeClass], IntArray]:
        """Return the classes of cones, and the class in which each string is read."""
        class_of_string = np.full(len(self._strings), -1)
        gatherers: dict[object, Gatherer] = {}
        for cones in self._find_equal(contents):
            form = self._form(cones[0])
            if any(term is not None for term in form.terms):
                gatherers.setdefault(form.key, Gatherer(form)).add(form, cones)
        for gatherer in gatherers.values():
            gatherer.settle(contents)
        left = absorb(list(gatherers.values()), self._form, self._terms.strings)
        for number, gatherer in enumerate(left):
            class_of_string[gatherer.terms] = number
        return [gatherer.write(self._terms) for gatherer in left], class_of_string

    def _find_equal(self, contents: Contents) -> Iterable[list[Cone]]:
        """Return the cones that are equal up to names and angles, group by group."""
        if len(self._starts) == 1:
            return []
        ordered = order_cones(self._starts, self._parts, self._elements(contents))
        groups: dict[bytes, list[Cone]] = {}
        spans = (
            itertools.pairwise(self._starts.tolist()),
            itertools.pairwise(ordered.qubit_starts.tolist()),
        )
        middle = len(self._preparations)
        for key, (start, stop), (first, last) in zip(ordered.keys, *spans, strict=True):
            parts = ordered.elements[start:stop]  # in the order of their numbers' kinds
            i, j = np.searchsorted(self._ranks[parts], [1, 2])
            groups.setdefault(key, []).append(
                Cone(
                    parts[:i],
                    parts[i:j] - middle,
                    parts[j:] - self._first_term,
                    ordered.qubits[first:last],
                )
            )
        return groups.values()

    def _elements(self, contents: Contents) -> Elements:
        places: dict[int, Sequence[int]] = {}
        amplitudes: dict[bytes, int] = {}
        matrices: dict[bytes, int] = {}
        kinds = []
        for j, p in enumerate(self._preparations):
            kinds.append(amplitudes.setdefault(p.amplitudes.tobytes(), len(amplitudes)))
            places[j] = p.bits
        strings = [(0, 0)] * len(self._preparations)
        which = np.zeros(len(self._operations), dtype=np.int64)
        for i, o in enumerate(self._operations):
            if isinstance(o, FixedMatrix):
                places[len(self._preparations) + i] = o.bits
                which[i] = 1 + matrices.setdefault(o.matrix.tobytes(), len(matrices))
                strings.append((0, 0))
            else:
                strings.append(o.pauli[:2])
        incidence = tabulate([*strings, *self._strings], self._tape.num_bits)
        of_operations = len(amplitudes) + self._levels * (1 + len(matrices)) + which
        of_terms = np.full(len(self._strings), int(of_operations.max(initial=len(amplitudes))) + 1)
        none = np.zeros(len(self._preparations), dtype=np.int64)
        self._ranks = np.repeat([0, 1, 2], [len(kinds), len(which), len(of_terms)])
        return Elements(
            _with_places(incidence, places),
            np.concatenate([np.array(kinds, dtype=np.int64), of_operations, of_terms]),
            np.concatenate([none, 2 * contents.of_operation + (contents.signs > 0), 0 * of_terms]),
        )

    def _form(self, cone: Cone) -> Form:
        return Form(
            [self._preparations[j] for j in cone.preparations.tolist()],
            [self._operations[i] for i in cone.operations.tolist()],
            [self._terms.strings[t] for t in cone.terms.tolist()],
            cone.qubits.tolist(),
        )


_NONE = np.zeros(0, dtype=np.int64)


def _support(operation: Rotation | FixedMatrix) -> int:
    if isinstance(operation, Rotation):
        return operation.pauli.x | operation.pauli.z
    return sum(1 << bit for bit in operation.bits)


def _with_places(incidence: Incidence, places: dict[int, Sequence[int]]) -> Incidence:
    """Add what acts on its bits in an order of its own: letters from 4 on, bit by bit."""
    if not places:
        return incidence
    owners = np.repeat(np.arange(len(incidence.starts) - 1), np.diff(incidence.starts))
    further = [(e, bit, 4 + j) for e, bits in places.items() for j, bit in enumerate(bits)]
    rows, bits, letters = np.array(further, dtype=np.int64).T
    owners = np.concatenate([owners, rows])
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(incidence.starts) - 1)
    return Incidence(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([incidence.bits, bits])[order],
        np.concatenate([incidence.letters, letters])[order],
    )
