# SPDX-License-Identifier: Apache-2.0
"""Dense-matrix simulation of Qiskit circuits in torch: the tests' independent source of truth.

    evs[o] = <psi(values)| H_o |psi(values)>,    |psi> = U_G ... U_1 |0>

Every gate is written from its mathematical matrix and every parameter expression is evaluated with
torch functions, so torch differentiates the result exactly and to any order. Qubit 0 is the least
significant bit, as in Qiskit. Nothing here is imported from the package under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
import qiskit
import sympy
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, Clbit, ControlledGate, Operation, Parameter, Qubit
from qiskit.circuit import ParameterExpression as Expression
from qiskit.circuit import library as lib
from qiskit.circuit.annotated_operation import ControlModifier, InverseModifier, PowerModifier
from qiskit.quantum_info import SparsePauliOp
from reference_gates import GATES
from torch import Tensor

Values = Mapping[Parameter, Tensor]

# The symbolic form is right before Qiskit 2.1: 2.2 makes y - x of x - y, 2.6 cannot write 2**x. The
# text is right from then on; before, it rounds numbers.
_TEXT_IS_EXACT = tuple(map(int, qiskit.__version__.split(".")[:2])) >= (2, 1)
_FUNCTIONS: dict[type, Callable[[Tensor], Tensor]] = {
    sympy.sin: torch.sin,
    sympy.cos: torch.cos,
    sympy.tan: torch.tan,
    sympy.asin: torch.asin,
    sympy.acos: torch.acos,
    sympy.atan: torch.atan,
    sympy.exp: torch.exp,
    sympy.log: torch.log,
    sympy.Abs: torch.abs,
    sympy.sign: torch.sign,
    sympy.conjugate: lambda x: x,
}


def expectations(
    circuit: QuantumCircuit,
    observables: Sequence[SparsePauliOp],
    parameters: Sequence[Parameter],
    values: Tensor,  # (*batch, P)
) -> Tensor:  # (*batch, O)
    """Expectation value of every observable, for every row of ``values``."""
    if values.dim() > 1:
        return torch.vmap(lambda row: expectations(circuit, observables, parameters, row))(values)
    psi = branches(circuit, parameters, values)
    matrices = np.stack([observable.to_matrix() for observable in observables])  # (O, 2**n, 2**n)
    return torch.einsum("ic,oij,jc->o", psi.conj(), _constant(matrices), psi).real


def jacobian(
    circuit: QuantumCircuit,
    observables: Sequence[SparsePauliOp],
    parameters: Sequence[Parameter],
    values: Tensor,  # (*batch, P)
) -> Tensor:  # (*batch, O, P)
    """First derivatives of ``expectations`` by reverse-mode automatic differentiation."""
    if values.dim() > 1:
        return torch.vmap(lambda row: jacobian(circuit, observables, parameters, row))(values)
    return torch.func.jacrev(lambda row: expectations(circuit, observables, parameters, row))(
        values
    )


def hessian(
    circuit: QuantumCircuit,
    observables: Sequence[SparsePauliOp],
    parameters: Sequence[Parameter],
    values: Tensor,  # (*batch, P)
) -> Tensor:  # (*batch, O, P, P)
    """Second derivatives of ``expectations``."""
    if values.dim() > 1:
        return torch.vmap(lambda row: hessian(circuit, observables, parameters, row))(values)
    return torch.func.jacrev(lambda row: jacobian(circuit, observables, parameters, row))(values)


def statevector(
    circuit: QuantumCircuit,
    parameters: Sequence[Parameter],
    values: Tensor,  # (*batch, P)
) -> Tensor:  # (*batch, 2**n)
    """The state that the circuit prepares from all zeros, differentiable with respect to values."""
    if values.dim() > 1:
        return torch.vmap(lambda row: statevector(circuit, parameters, row))(values)
    zero = torch.zeros(2**circuit.num_qubits, 1, dtype=torch.complex128)
    zero[0] = 1
    psi = _run(circuit, zero, dict(zip(parameters, values, strict=True)))[:, 0]
    # The empty slice ties the result to `values` even where no gate depends on them.
    return psi + values[:0].sum()


def branches(
    circuit: QuantumCircuit,
    parameters: Sequence[Parameter],
    values: Tensor,  # (P,)
) -> Tensor:  # (2**n, C)
    """The final states for all outcomes, each as long as the root of its probability.

    Circuits may measure, reset, and branch on the value of one bit.
    """
    zero = torch.zeros(2**circuit.num_qubits, 1, dtype=torch.complex128)
    zero[0] = 1
    bound = dict(zip(parameters, values, strict=True))
    qubits = {qubit: q for q, qubit in enumerate(circuit.qubits)}
    found = _follow(circuit, [(zero, {})], qubits, bound)
    return torch.cat([state for state, _ in found], -1) + values[:0].sum()


def _follow(
    block: QuantumCircuit,
    branches: list[tuple[Tensor, dict[Clbit, int]]],
    qubits: Mapping[Qubit, int],
    values: Values,
) -> list[tuple[Tensor, dict[Clbit, int]]]:
    """The states and bits after a block, of which there are more where something is measured."""
    for instruction in block.data:
        op, on = instruction.operation, [qubits[q] for q in instruction.qubits]
        after = []
        for state, bits in branches:
            if op.name in ("measure", "reset"):
                for value in (0, 1):
                    part = _project(state, on[0], value)
                    if op.name == "measure":
                        after.append((part, {**bits, instruction.clbits[0]: value}))
                    else:
                        after.append((_act(lib.XGate(), part, on, values) if value else part, bits))
            elif op.name == "if_else":
                clbit, wanted = op.condition
                chosen = op.blocks[bits.get(clbit, 0) != wanted :][:1]
                for inner in chosen:
                    after += _follow(
                        inner, [(state, bits)], dict(zip(inner.qubits, on, strict=True)), values
                    )
                after += [] if chosen else [(state, bits)]
            else:
                after.append((_act(op, state, on, values), bits))
        branches = after
    return branches


def _project(state: Tensor, qubit: int, value: int) -> Tensor:
    kept = (torch.arange(len(state)) >> qubit & 1) == value
    return state * kept[:, None]


def unitary(
    circuit: QuantumCircuit,
    parameters: Sequence[Parameter],
    values: Tensor,  # (P,)
) -> Tensor:  # (2**n, 2**n)
    """The circuit's matrix, with its global phase."""
    identity = torch.eye(2**circuit.num_qubits, dtype=torch.complex128)
    return _run(circuit, identity, dict(zip(parameters, values, strict=True)))


def evaluate(expression: Expression | float, values: Values) -> Tensor:  # ()
    """Value of one gate angle, as a float64 tensor."""
    if isinstance(expression, Parameter):
        return values[expression]
    if not isinstance(expression, Expression) or not expression.parameters:
        return torch.tensor(float(expression), dtype=torch.float64)
    if _TEXT_IS_EXACT:
        return _of_text(expression, values)
    symbols = {parameter.name: values[parameter] for parameter in expression.parameters}
    angle = _walk(sympy.sympify(expression.sympify()), symbols)
    return torch.as_tensor(angle, dtype=torch.float64)


def _of_text(expression: Expression, values: Values) -> Tensor:
    """The angle by what Qiskit writes, as Python reads it."""
    names = {p: Parameter(f"v{k}") for k, p in enumerate(expression.parameters)}
    numbers = {v.name: values[p] for p, v in names.items()}
    functions = {f.__name__.lower(): torch_f for f, torch_f in _FUNCTIONS.items()}
    angle = eval(str(expression.subs(names)), functions | {"conj": lambda x: x} | numbers)
    return torch.as_tensor(angle, dtype=torch.float64)


def _walk(node: sympy.Expr, symbols: Mapping[str, Tensor]) -> Tensor | float:
    if node.is_Symbol:
        return symbols[node.name]
    if node.is_number:
        return float(node)
    args = [_walk(arg, symbols) for arg in node.args]
    if node.is_Add:
        return sum(args[1:], start=args[0])
    if node.is_Mul:
        return math.prod(args[1:], start=args[0])
    if node.is_Pow:
        return args[0] ** args[1]
    return _FUNCTIONS[node.func](args[0])


def _run(circuit: QuantumCircuit, columns: Tensor, values: Values) -> Tensor:
    """Apply the circuit to the columns of a (2**n, C) matrix."""
    for instruction in circuit.data:
        on = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        columns = _act(instruction.operation, columns, on, values)
    return torch.exp(1j * evaluate(circuit.global_phase, values)) * columns


def _act(op: Operation, columns: Tensor, on: Sequence[int], values: Values) -> Tensor:
    """Apply an operation on some qubits to the columns of a (2**n, C) matrix."""
    if op.name in ("barrier", "delay", "id"):
        return columns
    n, k = len(columns).bit_length() - 1, op.num_qubits
    state = columns.reshape(*[2] * n, -1)  # axis n - 1 - q is qubit q
    axes = [n - 1 - qubit for qubit in reversed(on)]
    matrix = _operation(op, values).reshape([2] * (2 * k))
    state = torch.tensordot(matrix, state, dims=(list(range(k, 2 * k)), axes))
    return state.movedim(list(range(k)), axes).reshape(2**n, -1)


def _operation(op: Operation, values: Values) -> Tensor:  # (2**k, 2**k)
    """Matrix of one operation on its own qubits."""
    if isinstance(op, AnnotatedOperation):
        return reduce(_modified, op.modifiers, _operation(op.base_op, values))
    if isinstance(op, lib.PauliEvolutionGate):
        return _evolution(_hamiltonian(op), evaluate(op.time, values))
    if isinstance(op, lib.HamiltonianGate):
        return _evolution(op.params[0], evaluate(op.params[1], values))
    if isinstance(op, ControlledGate):
        base = op.base_gate
        if base.num_qubits + op.num_ctrl_qubits == op.num_qubits:
            matrix = _operation(base, values)
            if isinstance(op, lib.CUGate):
                matrix = torch.exp(1j * evaluate(op.params[3], values)) * matrix
            return _controlled(matrix, op.num_ctrl_qubits, op.ctrl_state)
    if type(op) in GATES:
        return GATES[type(op)](*[evaluate(angle, values) for angle in op.params])
    if hasattr(op, "__array__") and not any(isinstance(p, Expression) for p in op.params):
        return _constant(op.to_matrix())
    if getattr(op, "definition", None) is None:
        raise NotImplementedError(f"Expected a unitary operation with a matrix; got {op.name!r}.")
    return _run(op.definition, torch.eye(2**op.num_qubits, dtype=torch.complex128), values)


def _modified(
    matrix: Tensor, modifier: ControlModifier | InverseModifier | PowerModifier
) -> Tensor:
    if isinstance(modifier, ControlModifier):
        return _controlled(matrix, modifier.num_ctrl_qubits, modifier.ctrl_state)
    if isinstance(modifier, InverseModifier):
        return matrix.mH
    if modifier.power != int(modifier.power):
        raise NotImplementedError(f"Expected an integer power; got {modifier.power}.")
    return torch.linalg.matrix_power(matrix, int(modifier.power))


def _controlled(matrix: Tensor, num_controls: int, state: int) -> Tensor:
    """``matrix`` where the controls, which come first, are in ``state``; identity elsewhere."""
    projector = torch.zeros(2**num_controls, 2**num_controls, dtype=torch.complex128)
    projector[state, state] = 1
    rest = torch.eye(2**num_controls, dtype=torch.complex128) - projector
    return torch.kron(matrix, projector) + torch.kron(torch.eye(len(matrix)), rest)


def _hamiltonian(gate: lib.PauliEvolutionGate) -> np.ndarray:
    """Matrix of the generator, whose terms must commute: then no product formula is involved."""
    operators = gate.operator if isinstance(gate.operator, list) else [gate.operator]
    terms = SparsePauliOp.sum(
        [
            op if isinstance(op, SparsePauliOp) else SparsePauliOp.from_sparse_observable(op)
            for op in operators
        ]
    ).simplify()
    if len(terms.group_commuting()) > 1:
        raise NotImplementedError("Expected a PauliEvolutionGate of commuting terms.")
    return terms.to_matrix()


def _evolution(hamiltonian: np.ndarray, time: Tensor) -> Tensor:
    energies, vectors = np.linalg.eigh(hamiltonian)
    basis = _constant(vectors)
    return (basis * torch.exp(-1j * time * torch.from_numpy(energies))) @ basis.mH


def _constant(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(matrix, dtype=complex))
