# SPDX-License-Identifier: Apache-2.0
r"""What every method of exact simulation must give, and random circuits to try it on.

The truth is the dense simulation of ``reference`` up to :data:`DENSE` qubits, differentiated by
torch, and the state vector above, whose own tests reach as far as the reference does. Values,
gradients, tangents and products of Hessians are held to :data:`EXACT`, relative to the size of
what is summed up: rounding of a few hundred gates stays below 1e-12, and derivatives of expressions
enlarge it.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import reference
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, ParameterExpression, ParameterVector
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp, random_unitary
from test_statevector_cases import ExactCase

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.simulation import choice
from qiskit_torch_bridge.simulation.choice import make_simulator
from qiskit_torch_bridge.simulation.interface import Simulator

EXACT = 1e-10
SINGLE = 1e-5
"""Single precision has 6e-8; a hundred gates round a few hundred times, mostly at random."""

DENSE = 8
"""Qubits up to which the dense simulation is the truth."""

NEEDS = {"network": "cotengra"}
"""Packages of extras that methods need."""

METHODS = [
    method
    for method in choice.METHODS
    if method not in NEEDS or importlib.util.find_spec(NEEDS[method])
]
"""The methods that can be tried here: one that is new is held to the contract as it is."""

MOST_OPERATIONS = 3e7
"""Of an estimate, above which a method is the wrong one for a circuit and is not tried on it."""

Arrays = tuple[np.ndarray, np.ndarray]


def make(
    method: str, case: ExactCase, dtype: type[np.complexfloating] = np.complex128
) -> Simulator:
    """The method's simulator of a case."""
    roles = {"input_params": case.inputs, "weight_params": case.weights}
    program = CircuitProgram(case.circuit, list(case.observables), **roles)
    columns = program.input_columns, program.weight_columns
    return make_simulator(method, program.analysed, program.readout, *columns, dtype)


class Truth(NamedTuple):
    """What is right at a case's values, with random cotangents and tangents."""

    x: np.ndarray  # (B, I)
    w: np.ndarray  # (1, W) or (B, W)
    cotangent: np.ndarray  # (B, S)
    dx: np.ndarray
    dw: np.ndarray
    dcotangent: np.ndarray
    values: np.ndarray  # (B, S)
    gradient: Arrays
    tangent: np.ndarray  # (B, S)
    product: Arrays  # the derivative of the gradient along dx, dw and dcotangent
    size: float  # of what is summed up


@functools.lru_cache(1000)  # the methods are tried on the same cases
def truth(case: ExactCase, seed: int) -> Truth:
    """The right numbers for a case, from an independent simulation where it is small enough."""
    rng = np.random.default_rng(seed)
    rows, size = len(case.values), len(case.observables)
    cotangent, dcotangent = rng.normal(size=(2, rows, size))
    direction = rng.normal(size=case.values.shape)
    if case.shares_weights:
        direction[:, case.num_inputs :] = direction[:1, case.num_inputs :]
    x, w = _split(case, case.values.numpy())
    dx, dw = _split(case, direction)
    if case.circuit.num_qubits <= DENSE:
        found = _dense(case, cotangent, direction, dcotangent)
    else:
        simulator = make("statevector", case)
        found = (
            simulator.evaluate(x, w)[0],
            simulator.vjp(x, w, cotangent),
            simulator.tangent(x, w, dx, dw),
            simulator.vjp_tangent(x, w, cotangent, dx, dw, dcotangent),
        )
    norm = max(1.0, *(float(np.abs(o.coeffs).sum()) for o in case.observables))
    numbers = [found[0], *found[1], found[2], *found[3]]
    scale = rows * norm * max([1.0, *(float(np.abs(a).max()) for a in numbers if a.size)])
    return Truth(x, w, cotangent, dx, dw, dcotangent, *found, scale)


def _split(case: ExactCase, rows: np.ndarray) -> Arrays:
    x, w = rows[:, : case.num_inputs], rows[:, case.num_inputs :]
    return np.ascontiguousarray(x), np.ascontiguousarray(w[:1] if case.shares_weights else w)


def _dense(
    case: ExactCase, cotangent: np.ndarray, direction: np.ndarray, dcotangent: np.ndarray
) -> tuple[np.ndarray, Arrays, np.ndarray, Arrays]:
    values = case.values.clone().requires_grad_()
    c = torch.from_numpy(cotangent).requires_grad_()
    d, dc = torch.from_numpy(direction), torch.from_numpy(dcotangent)
    evs = _read(case.observables, reference.statevector(case.twin, case.parameters, values))
    options = {"materialize_grads": True, "retain_graph": True}
    (g,) = torch.autograd.grad((c * evs).sum(), values, create_graph=True, **options)
    turned, tangent = torch.autograd.grad((g * d).sum(), (values, c), **options)
    (further,) = torch.autograd.grad((dc * evs).sum(), values, **options)
    return (
        evs.detach().numpy(),
        _summed(case, g.detach().numpy()),
        tangent.numpy(),
        _summed(case, (turned + further).numpy()),
    )


def _summed(case: ExactCase, gradient: np.ndarray) -> Arrays:
    x, w = gradient[:, : case.num_inputs], gradient[:, case.num_inputs :]
    return x, (w.sum(0, keepdims=True) if case.shares_weights else w)


def _read(observables: Sequence[SparsePauliOp], states: torch.Tensor) -> torch.Tensor:
    """The expectation values ``(B, O)``, string by string: no matrix of an observable is made."""
    index = np.arange(states.shape[1])
    found = []
    for observable in observables:
        total = states.new_zeros(len(states))
        for pauli, coefficient in zip(observable.paulis, observable.coeffs, strict=True):
            places = np.arange(len(pauli.x))
            x, z = (int((bits << places).sum()) for bits in (pauli.x.astype(int), pauli.z))
            signs = (-1.0) ** np.bitwise_count(index & z)
            phase = (-1j) ** int((pauli.x & pauli.z).sum() + 0)
            # Y = i X Z, so a string with k times Y is i**k X Z; X Z takes j to (-1)**z.j |j ^ x>.
            factor = complex(coefficient) * np.conj(phase)
            moved = states[:, index ^ x].conj() * torch.from_numpy(signs * factor)
            total = total + (moved * states).sum(1)
        found.append(total.real)
    return torch.stack(found, 1)


def check_contract(method: str, case: ExactCase, seed: int, most: float = MOST_OPERATIONS) -> bool:
    """Hold a method to the contract at a case; whether its estimate, up to most, let it be tried.

    The state vector is tried on all.
    """
    simulator = make(method, case)
    cost = simulator.estimate(len(case.values))
    assert cost.bytes >= 0 and np.isfinite(cost.operations) and cost.operations >= 0
    if method != "statevector" and cost.operations > most:
        return False
    t = truth(case, seed)
    point, far = (t.x, t.w), (t.dx, t.dw)
    values, kept = simulator.evaluate(*point, keep=True)
    near = functools.partial(_near, tolerance=EXACT, size=t.size)
    near(values, t.values)
    near(simulator.evaluate(*point)[0], t.values)
    whole = simulator.vjp(*point, t.cotangent, kept)
    near(whole, t.gradient)
    near(simulator.vjp(*point, t.cotangent), t.gradient)
    near(simulator.tangent(*point, *far), t.tangent)
    near(simulator.vjp_tangent(*point, t.cotangent, *far, t.dcotangent), t.product)
    for wanted in ((True, False), (False, True), (False, False)):
        parts = simulator.vjp(*point, t.cotangent, wanted=wanted)
        products = simulator.vjp_tangent(*point, t.cotangent, *far, t.dcotangent, wanted)
        for k, asked in enumerate(wanted):
            near(parts[k], asked * t.gradient[k])
            near(products[k], asked * t.product[k])
    single = make(method, case, np.complex64)
    _near(single.evaluate(*point)[0], t.values, SINGLE, t.size)
    _near(single.vjp(*point, t.cotangent), t.gradient, SINGLE, t.size)
    return True


def _near(
    found: np.ndarray | Arrays, expected: np.ndarray | Arrays, tolerance: float, size: float
) -> None:
    pairs = (
        [(found, expected)]
        if isinstance(expected, np.ndarray)
        else zip(found, expected, strict=True)
    )
    for f, e in pairs:
        assert f.shape == e.shape and f.dtype == np.float64
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance * size)


# Random circuits


class Angles:
    """Draws angles: parameters that are shared, scaled, shifted and, if asked, not affine."""

    def __init__(self, rng: np.random.Generator, num_parameters: int, affine: bool) -> None:
        self.rng, self.affine = rng, affine
        self.parameters = list(ParameterVector("v", num_parameters))

    def __call__(self) -> ParameterExpression | float:
        """A new angle."""
        if not self.parameters or self.rng.random() < 0.1:
            return float(self.rng.choice([0.3, -1.2, np.pi / 2, np.pi]))
        p, q = (self.parameters[k] for k in self.rng.integers(len(self.parameters), size=2))
        kinds = [lambda: p] * 6 + [lambda: 2 * p - 0.3, lambda: p / 2 - q + 0.1, lambda: -p]
        if not self.affine:
            kinds += [lambda: p * q, lambda: p.sin() + q, lambda: (p * p + 1).log(), lambda: p * p]
        return kinds[self.rng.integers(len(kinds))]()


Bonds = list[tuple[int, int]]
TURNS = (lib.RXGate, lib.RYGate, lib.RZGate, lib.PhaseGate)
JOINTS: tuple[Callable[[Angles], Gate], ...] = (
    *(lambda angle, gate=gate: gate() for gate in (lib.CXGate, lib.CZGate, lib.CXGate)),
    *(lambda angle, gate=gate: gate() for gate in (lib.SwapGate, lib.ECRGate, lib.iSwapGate)),
    *(lambda angle, gate=gate: gate(angle()) for gate in (lib.RZZGate, lib.RXXGate, lib.RZXGate)),
    *(
        lambda angle, gate=gate: gate(angle())
        for gate in (lib.CRXGate, lib.CRZGate, lib.CPhaseGate)
    ),
    lambda angle: lib.XXPlusYYGate(angle(), angle()),
)


def layered(num_qubits: int, bonds: Bonds, reps: int, angle: Angles) -> QuantumCircuit:
    """Rotations of all qubits and a gate on every bond, of one kind or mixed, several times."""
    rng = angle.rng
    circuit = QuantumCircuit(num_qubits)
    uniform = JOINTS[rng.integers(len(JOINTS))] if rng.random() < 0.7 else None
    for _ in range(reps):
        for qubit in range(num_qubits):
            for gate in rng.choice(len(TURNS), size=rng.integers(1, 3)):
                circuit.append(TURNS[gate](angle()), [qubit])
        for bond in bonds:
            gate = uniform or JOINTS[rng.integers(len(JOINTS))]
            circuit.append(gate(angle), bond[:: rng.choice([-1, 1])])
    if rng.random() < 0.5:
        for qubit in range(num_qubits):
            circuit.u(angle(), angle(), 0.2, qubit)
    return circuit


def chain(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """Nearest neighbours, in a staircase or in bricks."""
    bonds = [(q, q + 1) for q in range(num_qubits - 1)]
    if angle.rng.random() < 0.5:
        bonds = bonds[::2] + bonds[1::2]
    return layered(num_qubits, bonds, reps, angle)


def ring(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """Nearest neighbours and a gate that closes the ring."""
    bonds = [(q, (q + 1) % num_qubits) for q in range(num_qubits)]
    return layered(num_qubits, bonds, reps, angle)


def all_to_all(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """Pairs of any qubits."""
    bonds = []
    for _ in range(int(angle.rng.integers(1, 2 * num_qubits))):
        bonds.append(tuple(angle.rng.choice(num_qubits, 2, replace=False).tolist()))
    return layered(num_qubits, bonds, min(reps, 2), angle)


def qaoa(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """QAOA on a random graph: its edges share an angle, with weights on some of the graphs."""
    rng = angle.rng
    chosen = np.triu(rng.random((num_qubits, num_qubits)) < min(1, 2.5 / num_qubits), 1)
    edges = [(int(u), int(v)) for u, v in np.argwhere(chosen)] or [(0, 1)]
    weights = rng.normal(size=len(edges)) if rng.random() < 0.4 else np.ones(len(edges))
    circuit = QuantumCircuit(num_qubits)
    circuit.h(range(num_qubits))
    for _ in range(reps):
        gamma, beta = angle(), angle()
        for (u, v), weight in zip(edges, weights.tolist(), strict=True):
            circuit.rzz(weight * gamma, u, v)
        circuit.rx(2 * beta, range(num_qubits))
    return circuit


def ansatz(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """An ansatz of the library, with its parameters given angles."""
    shape = str(angle.rng.choice(["linear", "reverse_linear", "circular", "pairwise", "sca"]))
    made = [
        lambda: lib.efficient_su2(num_qubits, reps=reps, entanglement=shape),
        lambda: lib.real_amplitudes(num_qubits, reps=reps, entanglement=shape),
        lambda: lib.n_local(num_qubits, ["rx", "h"], "crz", entanglement=shape, reps=reps),
        lambda: lib.excitation_preserving(num_qubits, reps=1, entanglement="linear"),
        lambda: lib.zz_feature_map(num_qubits, reps=1, entanglement="linear"),
    ]
    circuit = made[angle.rng.integers(len(made) - angle.affine)]()
    few = [p for p in (angle() for _ in range(12)) if isinstance(p, ParameterExpression)] or [0.4]
    values = {p: few[k % len(few)] for k, p in enumerate(circuit.parameters)}
    return circuit.assign_parameters(values)


def custom(num_qubits: int, reps: int, angle: Angles) -> QuantumCircuit:
    """Custom and controlled gates, matrices, preparations, evolutions, and qubits left idle."""
    rng = angle.rng
    circuit = QuantumCircuit(num_qubits)
    used = rng.permutation(num_qubits)[: max(2, num_qubits - int(rng.integers(3)))].tolist()

    def some(count: int) -> list[int]:
        first = int(rng.integers(len(used) - count + 1))
        local = used[first : first + count] if rng.random() < 0.8 else rng.permutation(used)[:count]
        return [int(q) for q in local]

    if rng.random() < 0.4:
        circuit.append(lib.StatePreparation([0.6, 0, 0, 0.8j]), some(2))
    if rng.random() < 0.5:
        circuit.ry(angle(), used)
    for _ in range(reps * len(used) // 2):
        kind = rng.integers(7)
        if kind == 0:
            inner = layered(2, [(0, 1)], 1, angle)
            circuit.append(inner.to_gate(), some(2))
        elif kind == 1:
            state = int(rng.integers(2))
            circuit.append(lib.RYGate(angle()).control(1, ctrl_state=state), some(2))
        elif kind == 2 and len(used) > 2:
            gates = lib.CCXGate(ctrl_state=int(rng.integers(4))), lib.CSwapGate(), lib.CCZGate()
            circuit.append(gates[rng.integers(3)], some(3))
        elif kind == 3:
            size = int(rng.integers(1, 3))
            seed = int(rng.integers(2**32))
            circuit.append(lib.UnitaryGate(random_unitary(2**size, seed=seed)), some(size))
        elif kind == 4:
            terms = SparsePauliOp(["ZZ", "XX", "YY"], rng.normal(size=3))
            time = angle()
            circuit.append(lib.PauliEvolutionGate(terms, time), some(2))
        elif kind == 5:
            circuit.swap(*some(2))
        else:
            circuit.append(TURNS[rng.integers(3)](angle()), some(1))
            circuit.append(JOINTS[rng.integers(len(JOINTS))](angle), some(2))
    return circuit


FAMILIES: dict[str, Callable[[int, int, Angles], QuantumCircuit]] = {
    "chain": chain,
    "ring": ring,
    "all-to-all": all_to_all,
    "qaoa": qaoa,
    "ansatz": ansatz,
    "custom": custom,
}


@functools.lru_cache(1000)
def random_case(family: str, seed: int, most_qubits: int = 14) -> ExactCase:
    """A random circuit of a family with roles, observables and rows of values."""
    rng = np.random.default_rng([*family.encode(), seed])
    # Most are small, so that the independent simulation tells what is right.
    num_qubits = int(rng.integers(2, (DENSE if rng.random() < 0.7 else most_qubits) + 1))
    reps = int(rng.integers(1, 4))
    angle = Angles(rng, int(rng.integers(0, 9)), affine=bool(rng.random() < 0.75))
    circuit = FAMILIES[family](num_qubits, reps, angle)
    order = tuple(circuit.parameters[k] for k in rng.permutation(circuit.num_parameters))
    shared, rows = bool(rng.integers(2)), int(rng.choice([1, 2, 3]))
    num_inputs = int(rng.integers(0, len(order) + 1))
    values = rng.uniform(-3, 3, (rows, len(order)))
    if shared:
        values[:, num_inputs:] = values[:1, num_inputs:]
    return ExactCase(
        circuit, order, num_inputs, observables(num_qubits, rng), torch.from_numpy(values),
        circuit, shared,
    )  # fmt: skip


def observables(num_qubits: int, rng: np.random.Generator) -> tuple[SparsePauliOp, ...]:
    """Local ones, sums over a chain, random and long strings, and a constant."""
    n = num_qubits
    ising = [("ZZ", [q, q + 1], 1.0) for q in range(n - 1)] + [("X", [q], 0.7) for q in range(n)]
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (int(rng.integers(1, 12)), n))]
    chosen = [
        [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], n) for q in range(n)],
        [SparsePauliOp.from_sparse_list([*ising, ("", [], 0.25)], n)],
        [SparsePauliOp(labels, rng.normal(size=len(labels)))],
        [SparsePauliOp("Z" * n), SparsePauliOp("X" * n)],
        [SparsePauliOp("I" * n, 1.5)],
    ]
    some = [k for k in range(len(chosen)) if rng.random() < 0.5] or [1]
    return tuple(observable for k in some for observable in chosen[k])
