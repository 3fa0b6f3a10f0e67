# SPDX-License-Identifier: Apache-2.0
"""Random circuits with measurements, resets and control flow, and what they do, by enumeration.

:func:`random_dynamic_circuit` makes circuits that Qiskit and Aer both take;
:func:`enumerate_branches` follows each outcome of each measurement with NumPy alone, so that
density matrices and distributions of classical bits are known to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import CASE_DEFAULT, Clbit, Parameter, ParameterVector
from qiskit.circuit.classical import expr
from qiskit.quantum_info import Operator

from qiskit_torch_bridge.program.control_flow import parameters_of

ComplexArray = NDArray[np.complex128]

HAS_BOX = hasattr(QuantumCircuit, "box")
ALL_FEATURES = (
    "measure", "reset", "if", "if_else", "switch", "for", "box", "initialize", "expr", "store",
)  # fmt: skip
"""What can be in the circuits beside gates."""
ON_AER = tuple(f for f in ALL_FEATURES if f not in ("store", "box"))
"""What Aer runs as it is."""


# -- random circuits -----------------------------------------------------------------------------


def random_dynamic_circuit(
    seed: int,
    *,
    num_qubits: int = 3,
    num_bits: int = 3,
    length: int = 10,
    num_parameters: int = 3,
    features: Sequence[str] = ALL_FEATURES,
    depth: int = 2,
    outcomes: int = 7,
) -> QuantumCircuit:
    """Return a random circuit; the same seed and arguments give the same one.

    Args:
        seed: Says which.
        num_qubits: Two or more.
        num_bits: In the one classical register, two or more.
        length: The operations outside of any block.
        num_parameters: The elements of the vector ``w``, of which some may be unused.
        features: Some of :data:`ALL_FEATURES`.
        depth: How deep blocks are nested.
        outcomes: How often qubits are measured or reset at most, loops counted.
    """
    known = [f for f in features if f != "box" or HAS_BOX]
    rng = np.random.default_rng(seed)
    writer = _Writer(rng, num_qubits, num_bits, num_parameters, known, outcomes)
    for qubit in range(num_qubits):  # so that measurements have two outcomes
        writer.rotate(qubit)
    for name in ("measure", "measure"):  # so that conditions have something to depend on
        if name in known:
            writer.append(name)
    for _ in range(length):
        writer.step(depth)
    return writer.circuit


def bind(circuit: QuantumCircuit, values: Sequence[float]) -> QuantumCircuit:
    """Return a circuit with numbers in place of its parameters, in their order."""
    free = parameters_of(circuit)
    return circuit.assign_parameters(dict(zip(free, map(float, values), strict=True)))


class _Writer:
    """Writes one circuit, step by step."""

    def __init__(
        self,
        rng: np.random.Generator,
        num_qubits: int,
        num_bits: int,
        num_parameters: int,
        features: Sequence[str],
        outcomes: int,
    ) -> None:
        self.rng, self.features = rng, features
        self.outcomes, self.repeated = outcomes, 1
        self.qubits = QuantumRegister(num_qubits, "q")
        self.bits = ClassicalRegister(num_bits, "c")
        self.circuit = QuantumCircuit(self.qubits, self.bits)
        self.weights = ParameterVector("w", num_parameters)
        self.loops: list[Parameter] = []

    def step(self, depth: int) -> None:
        """Append one operation, or one block with all that is in it."""
        flat = ("measure", "reset", "initialize", "store")
        usable = [f for f in self.features if f != "expr" and (depth or f in flat)]
        if not usable or self.rng.random() < 0.45:
            self._gate()
            return
        weights = np.array([3.0 if f == "measure" else 1.0 for f in usable])
        name = str(self.rng.choice(usable, p=weights / weights.sum()))
        getattr(self, f"_{name}")(depth)

    def append(self, name: str) -> None:
        """Append one operation that has no blocks."""
        getattr(self, f"_{name}")(0)

    def rotate(self, qubit: int) -> None:
        """Append a rotation of one qubit."""
        name = str(self.rng.choice(["rx", "ry"]))
        getattr(self.circuit, name)(self._angle(), qubit)

    def _gate(self) -> None:
        a, b = map(int, self.rng.choice(len(self.qubits), 2, replace=False))
        c, angle = self.circuit, self._angle
        gates: list[Callable[[], Any]] = [
            lambda: c.h(a), lambda: c.x(a), lambda: c.s(a), lambda: c.t(a), lambda: c.sx(a),
            lambda: c.cx(a, b), lambda: c.cz(a, b), lambda: c.swap(a, b), lambda: c.ch(a, b),
            lambda: c.rx(angle(), a), lambda: c.ry(angle(), a), lambda: c.rz(angle(), a),
            lambda: c.p(angle(), a), lambda: c.u(angle(), angle(), angle(), a),
            lambda: c.crx(angle(), a, b), lambda: c.cp(angle(), a, b),
            lambda: c.rzz(angle(), a, b), lambda: c.rxx(angle(), a, b),
        ]  # fmt: skip
        gates[int(self.rng.integers(len(gates)))]()

    def _angle(self) -> Any:
        kind = self.rng.random()
        if not self.weights or kind < 0.3:
            return float(self.rng.uniform(-3, 3))
        weight = self.weights[int(self.rng.integers(len(self.weights)))]
        if self.loops and kind < 0.6:
            return self.loops[-1] * weight + float(self.rng.uniform(-1, 1))
        if kind < 0.75:
            return weight
        return float(self.rng.choice([-1.0, 0.5, 2.0])) * weight + float(self.rng.uniform(-1, 1))

    def _qubit(self) -> int:
        return int(self.rng.integers(len(self.qubits)))

    def _bit(self) -> Clbit:
        return self.bits[int(self.rng.integers(len(self.bits)))]

    def _spend(self, count: int = 1) -> bool:
        """Whether so many qubits may be measured or reset here; counts them if so."""
        fits = self.outcomes >= count * self.repeated
        self.outcomes -= count * self.repeated * fits
        return fits

    def _measure(self, depth: int) -> None:
        if self._spend():
            self.circuit.measure(self._qubit(), self._bit())

    def _reset(self, depth: int) -> None:
        if self._spend():
            self.circuit.reset(self._qubit())

    def _initialize(self, depth: int) -> None:
        count = int(self.rng.integers(1, 3))
        if not self._spend(count):
            return
        numbers = self.rng.normal(size=1 << count) + 1j * self.rng.normal(size=1 << count)
        on = list(map(int, self.rng.choice(len(self.qubits), count, replace=False)))
        self.circuit.initialize(numbers / np.linalg.norm(numbers), on)

    def _store(self, depth: int) -> None:
        self.circuit.store(self._bit(), self._truth())

    def _truth(self) -> expr.Expr:
        """Return a random expression that is true or false."""
        one, other, number = self._bit(), self._bit(), int(self.rng.integers(1 << len(self.bits)))
        forms: list[Callable[[], expr.Expr]] = [
            lambda: expr.bit_and(one, expr.bit_not(other)),
            lambda: expr.bit_or(one, other),
            lambda: expr.bit_xor(one, other),
            lambda: expr.logic_and(expr.logic_not(one), other),
            lambda: expr.less(self.bits, number),
            lambda: expr.greater_equal(expr.bit_xor(self.bits, number), 2),
            lambda: expr.equal(expr.bit_and(self.bits, 3), number & 3),
            lambda: expr.not_equal(self.bits, number),
        ]
        return forms[int(self.rng.integers(len(forms)))]()

    def _condition(self) -> Any:
        kind = self.rng.random()
        if "expr" in self.features and kind < 0.4:
            return self._truth()
        if kind < 0.6:
            return self.bits, int(self.rng.integers(1 << len(self.bits)))
        return self._bit(), int(self.rng.integers(2))

    def _block(self, depth: int) -> None:
        for _ in range(int(self.rng.integers(1, 4))):
            self.step(depth - 1)

    def _if(self, depth: int) -> None:
        with self.circuit.if_test(self._condition()):
            self._block(depth)

    def _if_else(self, depth: int) -> None:
        with self.circuit.if_test(self._condition()) as otherwise:
            self._block(depth)
        with otherwise:
            self._block(depth)

    def _switch(self, depth: int) -> None:
        target = self.bits if self.rng.random() < 0.7 else self._bit()
        size = 1 << len(self.bits) if target is self.bits else 2
        first, second = map(int, self.rng.choice(size, 2, replace=False))
        with self.circuit.switch(target) as case:
            with case(first):
                self._block(depth)
            with case(second):
                self._block(depth)
            if self.rng.random() < 0.5:
                with case(CASE_DEFAULT):
                    self._block(depth)

    def _for(self, depth: int) -> None:
        # Qiskit 2.4 takes no negative numbers in lists.
        steps = range(int(self.rng.integers(1, 4))) if self.rng.random() < 0.7 else (3, 1)
        parameter = Parameter(f"loop_{len(self.loops)}_{int(self.rng.integers(1 << 30))}")
        self.loops.append(parameter)
        self.repeated *= len(steps)
        with self.circuit.for_loop(steps, parameter):
            self.circuit.rz(parameter * 0.3, self._qubit())  # so that the parameter is used
            self._block(depth)
        self.loops.pop()
        self.repeated //= len(steps)

    def _box(self, depth: int) -> None:
        with self.circuit.box():
            self._block(depth)


# -- what they do --------------------------------------------------------------------------------


class Branch(NamedTuple):
    """All runs with the same classical values.

    Attributes:
        states: One in each column, not normalised, ``(2**n, R)``: their squares add up to the
            branch's probability, and their outer products to its density matrix.
        bits: The values of the classical bits.
        variables: The values of variables.
    """

    states: ComplexArray
    bits: dict[Clbit, int]
    variables: dict[Any, int]


def enumerate_branches(circuit: QuantumCircuit) -> list[Branch]:
    """Return the branches of a circuit without parameters, however its measurements come out."""
    state = np.zeros((1 << circuit.num_qubits, 1), dtype=complex)
    state[0] = 1
    start = Branch(state, dict.fromkeys(circuit.clbits, 0), {})
    places = {qubit: q for q, qubit in enumerate(circuit.qubits)}
    bits = {clbit: clbit for clbit in circuit.clbits}
    return list(_run(circuit, [start], places, bits, circuit.num_qubits))


def density_matrix_of(circuit: QuantumCircuit) -> ComplexArray:
    """Return the density matrix that a circuit without parameters ends with, on average."""
    states = np.hstack([branch.states for branch in enumerate_branches(circuit)])
    return states @ states.conj().T


def distribution_of(circuit: QuantumCircuit, bits: Sequence[int] | None = None) -> ComplexArray:
    """Return the probabilities of the final values of classical bits, bit 0 first: ``(2**k,)``."""
    kept = range(circuit.num_clbits) if bits is None else bits
    found = np.zeros(1 << len(kept))
    for branch in enumerate_branches(circuit):
        outcome = sum(branch.bits[circuit.clbits[c]] << k for k, c in enumerate(kept))
        found[outcome] += np.linalg.norm(branch.states) ** 2
    return found


def _run(
    block: QuantumCircuit,
    branches: list[Branch],
    places: dict[Any, int],
    bits: dict[Clbit, Clbit],
    width: int,
) -> list[Branch]:
    for instruction in block.data:
        operation = instruction.operation
        on = [places[q] for q in instruction.qubits]
        at = [bits[c] for c in instruction.clbits]
        after: list[Branch] = []
        for branch in branches:
            after += _apply(operation, branch, on, at, width, bits)
        branches = _merge(after)
    return branches


def _merge(branches: list[Branch]) -> list[Branch]:
    """Return one branch for each set of classical values, with no more states than there can be."""
    together: dict[Any, Branch] = {}
    for branch in branches:
        if np.linalg.norm(branch.states) < 1e-12:
            continue
        key = tuple(branch.bits.values()), frozenset(branch.variables.items())
        states = branch.states
        if key in together:
            states = np.hstack([together[key].states, states])
            if states.shape[1] > len(states):  # another factor of the same density matrix
                states = np.linalg.qr(states.conj().T, mode="r").conj().T
        together[key] = branch._replace(states=states)
    return list(together.values())


def _apply(
    operation: Any,
    branch: Branch,
    on: list[int],
    at: list[Clbit],
    width: int,
    bits: dict[Clbit, Clbit],
) -> Iterator[Branch] | list[Branch]:
    name = operation.name
    old = getattr(operation, "condition", None)  # of Qiskit 1
    if name not in ("if_else", "while_loop") and old is not None:
        if not _holds(old, branch, bits):
            return [branch]
        operation = operation.to_mutable()
        operation.condition = None
        return _apply(operation, branch, on, at, width, bits)
    if name in ("barrier", "delay"):
        return [branch]
    if name == "measure":
        return [
            branch._replace(
                states=_project(branch.states, on[0], v), bits={**branch.bits, at[0]: v}
            )
            for v in (0, 1)
        ]
    if name == "reset":
        return _reset([branch], on)
    if name == "initialize":
        fresh = _reset([branch], on)
        matrix = np.zeros((1 << len(on), 1 << len(on)), dtype=complex)
        matrix[:, 0] = np.asarray(operation.params, dtype=complex)  # of zero, which all are in
        return [b._replace(states=_multiply(matrix, b.states, on, width)) for b in fresh]
    if name == "store":
        value = _value(operation.rvalue, branch, bits)
        target = operation.lvalue.var
        if isinstance(target, Clbit):
            return [branch._replace(bits={**branch.bits, bits[target]: int(value)})]
        return [branch._replace(variables={**branch.variables, operation.lvalue: value})]
    for body in _bodies(operation, branch, bits):
        inner_places = dict(zip(body.qubits, on, strict=True))
        inner_bits = dict(zip(body.clbits, at, strict=True))
        if name == "for_loop":
            return _loop(operation, branch, inner_places, inner_bits, width)
        return _run(body, [branch], inner_places, inner_bits, width)
    if name in ("if_else", "switch_case"):
        return [branch]
    definition = operation.definition
    if definition is not None and (definition.clbits or definition.count_ops().get("reset")):
        places = dict(zip(definition.qubits, on, strict=True))
        return _run(
            definition, [branch], places, dict(zip(definition.clbits, at, strict=True)), width
        )
    return [branch._replace(states=_multiply(Operator(operation).data, branch.states, on, width))]


def _bodies(operation: Any, branch: Branch, bits: dict[Clbit, Clbit]) -> list[QuantumCircuit]:
    """Return the block that is run, if there is one."""
    if operation.name == "if_else":
        blocks = operation.blocks
        chosen = 0 if _holds(operation.condition, branch, bits) else 1
        return list(blocks[chosen : chosen + 1])
    if operation.name == "switch_case":
        value = _value(operation.target, branch, bits)
        for labels, body in operation.cases_specifier():
            if any(label is CASE_DEFAULT or int(label) == int(value) for label in labels):
                return [body]
        return []
    return list(operation.blocks) if operation.name in ("box", "for_loop") else []


def _loop(
    operation: Any, branch: Branch, places: dict[Any, int], bits: dict[Clbit, Clbit], width: int
) -> list[Branch]:
    indices, parameter, body = operation.params
    branches = [branch]
    for index in indices:
        bound = body
        if parameter is not None and parameter in body.parameters:
            bound = body.assign_parameters({parameter: index})
        inner = dict(zip(bound.qubits, places.values(), strict=True))
        inner_bits = dict(zip(bound.clbits, bits.values(), strict=True))
        branches = _run(bound, branches, inner, inner_bits, width)
    return branches


def _holds(condition: Any, branch: Branch, bits: dict[Clbit, Clbit]) -> bool:
    if isinstance(condition, expr.Expr):
        return bool(_value(condition, branch, bits))
    target, wanted = condition
    return _value(target, branch, bits) == int(wanted)


def _value(thing: Any, branch: Branch, bits: dict[Clbit, Clbit]) -> int:
    """Return the value of a bit, a register or an expression."""
    if isinstance(thing, Clbit):
        return branch.bits[bits[thing]]
    if isinstance(thing, ClassicalRegister):
        return sum(branch.bits[bits[bit]] << k for k, bit in enumerate(thing))
    if isinstance(thing, expr.Var):
        inner = thing.var
        if isinstance(inner, (Clbit, ClassicalRegister)):
            return _value(inner, branch, bits)
        return branch.variables[thing]
    if isinstance(thing, expr.Value):
        return int(thing.value)
    size = 1 << getattr(thing.type, "width", 1)
    if isinstance(thing, expr.Cast):
        return _value(thing.operand, branch, bits) % size
    if isinstance(thing, expr.Unary):
        operand = _value(thing.operand, branch, bits)
        return (size - 1) ^ operand if thing.op.name == "BIT_NOT" else int(not operand)
    if isinstance(thing, expr.Index):
        return _value(thing.target, branch, bits) >> _value(thing.index, branch, bits) & 1
    left, right = _value(thing.left, branch, bits), _value(thing.right, branch, bits)
    return int(_BINARY[thing.op.name](left, right)) % size


_BINARY: dict[str, Callable[[int, int], Any]] = {
    "BIT_AND": lambda a, b: a & b,
    "BIT_OR": lambda a, b: a | b,
    "BIT_XOR": lambda a, b: a ^ b,
    "LOGIC_AND": lambda a, b: bool(a) and bool(b),
    "LOGIC_OR": lambda a, b: bool(a) or bool(b),
    "EQUAL": lambda a, b: a == b,
    "NOT_EQUAL": lambda a, b: a != b,
    "LESS": lambda a, b: a < b,
    "LESS_EQUAL": lambda a, b: a <= b,
    "GREATER": lambda a, b: a > b,
    "GREATER_EQUAL": lambda a, b: a >= b,
    "SHIFT_LEFT": lambda a, b: a << b,
    "SHIFT_RIGHT": lambda a, b: a >> b,
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": lambda a, b: a // b,
}


def _reset(branches: list[Branch], on: Sequence[int]) -> list[Branch]:
    for qubit in on:
        branches = [
            branch._replace(states=_lower(_project(branch.states, qubit, value), qubit, value))
            for branch in branches
            for value in (0, 1)
        ]
        branches = _merge(branches)
    return branches


def _project(states: ComplexArray, qubit: int, value: int) -> ComplexArray:
    kept = (np.arange(len(states)) >> qubit & 1) == value
    return np.where(kept[:, None], states, 0)


def _lower(states: ComplexArray, qubit: int, value: int) -> ComplexArray:
    """Return states whose qubit is ``value`` with zero in its place."""
    return states[np.arange(len(states)) ^ (value << qubit)]


def _multiply(
    matrix: ComplexArray, states: ComplexArray, on: list[int], width: int
) -> ComplexArray:
    """Return states after a gate; bit ``j`` of the matrix's index is qubit ``on[j]``."""
    count = len(on)
    if not count:
        return states * matrix[0, 0]
    axes = [width - 1 - q for q in reversed(on)]
    grid = matrix.reshape([2] * (2 * count))
    moved = np.tensordot(grid, states.reshape(*[2] * width, -1), (range(count, 2 * count), axes))
    return np.ascontiguousarray(np.moveaxis(moved, range(count), axes)).reshape(states.shape)
