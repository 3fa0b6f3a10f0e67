# SPDX-License-Identifier: Apache-2.0
"""Column networks in torch operations: the numbers of the processor's, and of closed forms.

Rounding is some 1e-16 an operation in double precision and 6e-8 in single, over hundreds of
operations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp
from simulator_contract import EXACT, FAMILIES, SINGLE, make, random_case
from test_columns import layered, odd_gates
from test_statevector_cases import ExactCase
from test_wide_closed_forms import covariances, ising
from torch import Tensor

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.accelerators import column_sweeps, columns
from qiskit_torch_bridge.accelerators.columns import TensorColumns
from qiskit_torch_bridge.accelerators.sparse_maps import SparseMap
from qiskit_torch_bridge.exceptions import CircuitError, MeasurementError, MemoryLimitError
from qiskit_torch_bridge.program.interpretations import OutcomeTable, Parity
from qiskit_torch_bridge.program.operators import ProductOperator
from qiskit_torch_bridge.program.readouts import Amplitudes, Expectations, Outcomes, Readout
from qiskit_torch_bridge.simulation.choice import make_simulator

CPU = torch.device("cpu")
EMPTY = torch.zeros(1, 0, dtype=torch.float64)


def simulate(
    circuit: QuantumCircuit,
    readout: Readout,
    inputs: Sequence[int] = (),
    dtype: torch.dtype = torch.complex128,
    device: torch.device = CPU,
) -> TensorColumns:
    """Column networks of a circuit whose other parameters are weights."""
    program = CircuitProgram(circuit, "Z" * circuit.num_qubits)
    weights = [p for p in range(circuit.num_parameters) if p not in inputs]
    return TensorColumns(program.analysed, readout, list(inputs), weights, dtype, device)


def of_case(case: ExactCase, dtype: torch.dtype = torch.complex128) -> TensorColumns:
    roles = {"input_params": case.inputs, "weight_params": case.weights}
    p = CircuitProgram(case.circuit, list(case.observables), **roles)
    return TensorColumns(
        p.analysed, p.readout, p.input_columns, p.weight_columns, dtype, torch.device("cpu")
    )


def near(found: Tensor, expected: np.ndarray | Tensor, tolerance: float = EXACT) -> None:
    """Compare, relative to the largest number."""
    numbers = torch.as_tensor(expected)
    size = max(1.0, float(numbers.abs().max())) if numbers.numel() else 1.0
    torch.testing.assert_close(found, numbers, rtol=0, atol=tolerance * size)


@pytest.fixture(params=[1, 3], ids=["whole", "in chunks"])
def chunks(request, monkeypatch) -> int:
    """The line as a whole, and cut."""
    monkeypatch.setattr(columns, "choose_chunks", lambda *_: request.param)
    return request.param


@pytest.mark.parametrize("family", FAMILIES)
def test_random_circuits_give_the_numbers_of_the_processor(family, chunks):
    tried = 0
    for seed in range(12):
        case = random_case(family, seed, 9)
        exact = make("columns", case)
        if max(exact.plan.bonds) > (16 if chunks == 1 else 4):
            continue
        mine = of_case(case)
        tried += 1
        rng = np.random.default_rng(seed)
        values = case.values.numpy()
        x, w = values[:, : case.num_inputs], values[:, case.num_inputs :]
        w = w[:1] if case.shares_weights else w
        dx, dw = rng.normal(size=x.shape), rng.normal(size=w.shape)
        c, dc = rng.normal(size=(2, len(x), len(case.observables)))
        arrays = [np.ascontiguousarray(a) for a in (x, w, c, dx, dw, dc)]
        tensors = [torch.from_numpy(a) for a in arrays]
        found, kept = mine.evaluate(*tensors[:2], keep=True)
        near(found, exact.evaluate(*arrays[:2])[0])
        gradient = exact.vjp(*arrays[:3])
        for mine_now in (mine.vjp(*tensors[:3], kept), mine.vjp(*tensors[:3], kept)):
            for part, expected in zip(mine_now, gradient, strict=True):
                near(part, expected)
        near(mine.tangent(*tensors[:2], *tensors[3:5]), exact.tangent(*arrays[:2], *arrays[3:5]))
        products = exact.vjp_tangent(*arrays)
        for part, expected in zip(mine.vjp_tangent(*tensors), products, strict=True):
            near(part, expected)
        only = mine.vjp(*tensors[:3], wanted=(False, True))
        assert not only[0].any()
        near(only[1], gradient[1])
        single = of_case(case, torch.complex64)
        near(single.evaluate(*tensors[:2])[0], exact.evaluate(*arrays[:2])[0], SINGLE)
        if tried == 2:
            return
    assert tried


def test_long_strings_and_projectors(chunks):
    rng = np.random.default_rng(3)
    circuit = layered(7, 1)
    labels = ["".join(rng.choice(list("IXYZ"), 7)) for _ in range(12)]
    operators = [SparsePauliOp(labels[k : k + 4], rng.normal(size=4)) for k in range(0, 12, 4)]
    operators += [SparsePauliOp("IIIIIII", 2.5), SparsePauliOp(["XYZIXYZ", "XYZIXYI"], [1, -2])]
    projected = [("0X+I1Zr", 0.7), ("I1111-I", 2.0), ("IIIIIlI", -1.0)]
    readout = Expectations((*operators, ProductOperator.from_list(projected)))
    program = CircuitProgram(circuit, "Z" * 7)
    count = circuit.num_parameters
    split = [0, 1], list(range(2, count))
    exact = make_simulator("columns", program.analysed, readout, *split)
    mine = simulate(circuit, readout, split[0])
    x, w, c = rng.normal(size=(3, 2)), rng.normal(size=(3, count - 2)), rng.normal(size=(3, 6))
    tensors = torch.from_numpy(x), torch.from_numpy(w)
    near(mine.evaluate(*tensors)[0], exact.evaluate(x, w)[0])
    gradients = mine.vjp(*tensors, torch.from_numpy(c))
    for part, expected in zip(gradients, exact.vjp(x, w, c), strict=True):
        near(part, expected)


def ising_readout(width: int) -> Expectations:
    terms = [("ZZ", [j, j + 1], -1.0) for j in range(width - 1)]
    energy = SparsePauliOp.from_sparse_list([*terms, ("X", [3], -0.8)], width)
    x = [SparsePauliOp.from_sparse_list([("X", [j], 1.0)], width) for j in range(0, width, 9)]
    return Expectations((energy, *x))


@pytest.mark.parametrize(("width", "layers"), [(100, 2), (127, 1)])
def test_free_fermions_of_a_hundred_qubits(width, layers, monkeypatch):
    monkeypatch.setattr(column_sweeps, "LAUNCH", {})  # as on a device: the line is cut
    simulator = simulate(ising(width, layers), ising_readout(width))
    count = layers * (2 * width - 1)
    w = torch.rand(1, count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaf = w.clone().requires_grad_()
    gamma = covariances(width, layers, leaf[0])
    j = torch.arange(width)
    x, zz = gamma[2 * j, 2 * j + 1], gamma[2 * j[:-1] + 1, 2 * j[:-1] + 2]
    expected = torch.cat([(-zz.sum() - 0.8 * x[3])[None], x[::9]])
    values, kept = simulator.evaluate(EMPTY, w, keep=True)
    near(values[0], expected.detach())
    c = torch.linspace(-1, 1, len(expected), dtype=torch.float64)[None]
    (gradient,) = torch.autograd.grad(expected @ c[0], leaf)
    near(simulator.vjp(EMPTY, w, c, kept)[1], gradient)


def test_derivatives_of_any_order_come_from_autograd():
    """One rotation: the fourth derivative of a cosine is the cosine."""
    circuit = QuantumCircuit(30)
    (angle,) = ParameterVector("p", 1)
    circuit.rx(angle, 7)
    circuit.cx(7, 8)
    simulator = simulate(
        circuit, Expectations((SparsePauliOp.from_sparse_list([("Z", [8], 1.0)], 30),))
    )
    assert simulator.order == math.inf
    w = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    (value,) = simulator.evaluate(EMPTY, w)[0]
    for _ in range(4):
        (value,) = torch.autograd.grad(value, w, create_graph=True)
        value = value[0]
    near(value[0].detach(), np.array(np.cos(0.3)))


@pytest.mark.parametrize(
    "readout",
    [
        Outcomes((2, 0)),
        Outcomes((0, 1, 3), Parity()),
        Outcomes((3, 1), OutcomeTable([0, 1, 1, 2])),
    ],
    ids=["probabilities", "parity", "table"],
)
def test_outcomes(readout):
    circuit = layered(7, 1)
    program = CircuitProgram(circuit, "Z" * 7)
    exact = make_simulator("columns", program.analysed, readout, [], range(21))
    mine = simulate(circuit, readout)
    rng = np.random.default_rng(4)
    w, c = rng.normal(size=(2, 21)), rng.normal(size=(2, readout.size))
    x = np.zeros((2, 0))
    tensors = torch.from_numpy(x), torch.from_numpy(w)
    near(mine.evaluate(*tensors)[0], exact.evaluate(x, w)[0])
    near(mine.vjp(*tensors, torch.from_numpy(c))[1], exact.vjp(x, w, c)[1])


def test_what_is_refused_is_refused_by_the_same_words(monkeypatch):
    circuit = odd_gates()
    program = CircuitProgram(circuit, "Z" * 7)
    thirteen = QuantumCircuit(13)
    many = CircuitProgram(thirteen, "Z" * 13)
    for analysed, readout in (
        (program.analysed, Amplitudes(7)),
        (many.analysed, Outcomes(tuple(range(13)))),
    ):
        with pytest.raises((CircuitError, MeasurementError)) as expected:
            make_simulator("columns", analysed, readout, [], range(analysed.num_parameters))
        with pytest.raises(type(expected.value)) as found:
            TensorColumns(
                analysed, readout, [], range(analysed.num_parameters), torch.complex128, CPU
            )
        assert str(found.value) == str(expected.value)
    simulator = simulate(circuit, Expectations((SparsePauliOp("ZIIIIII"),)))
    with pytest.raises(MeasurementError, match="state"):
        simulator.states(EMPTY, EMPTY)
    deep = QuantumCircuit(60)
    angles = iter(ParameterVector("p", 59 * 40))
    for _ in range(40):
        for q in range(59):
            deep.rxx(next(angles), q, q + 1)
        deep.h(range(60))
    with pytest.raises(MemoryLimitError, match=r"60 qubits and bond dimension \d+ needs .* GiB"):
        simulate(deep, Expectations((SparsePauliOp("Z" * 60),)))


def test_all_constants_are_on_the_device(monkeypatch):
    """Tensors that have no numbers, only a device, refuse to meet any of another."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    meta = torch.device("meta")
    circuit = ising(12, 2)
    turn = PauliEvolutionGate(SparsePauliOp("XYZ"), 0.3 * circuit.parameters[5])
    circuit.append(turn, [4, 5, 6])
    simulator = simulate(circuit, ising_readout(12), [0, 1], device=meta)
    x, w, c = (
        torch.zeros(*shape, dtype=torch.float64, device=meta) for shape in ((3, 2), (1, 44), (3, 3))
    )
    found = [
        simulator.evaluate(x, w)[0],
        *simulator.vjp(x, w, c),
        simulator.tangent(x, w, x, w),
        *simulator.vjp_tangent(x, w, c, x, w, c),
    ]
    assert {tensor.device for tensor in found} == {meta}
    assert [tuple(t.shape) for t in found] == [(3, 3), (3, 2), (1, 44), (3, 3), (3, 2), (1, 44)]
    with pytest.raises(RuntimeError, match="device"):
        simulator.evaluate(x, torch.zeros(1, 44, dtype=torch.float64))


def test_edges():
    circuit = QuantumCircuit(3)
    circuit.ry(0.7, 0)
    circuit.cx(0, 1)
    operators = tuple(map(SparsePauliOp, ("IIZ", "IZZ", "III", "ZII", "IXX")))
    simulator = simulate(circuit, Expectations(operators))
    near(simulator.evaluate(EMPTY, EMPTY)[0], np.array([[np.cos(0.7), 1, 1, 1, np.sin(0.7)]]))
    gx, gw = simulator.vjp(EMPTY, EMPTY, torch.ones(1, 5, dtype=torch.float64))
    assert gx.shape == gw.shape == (1, 0)
    assert simulator.tangent(EMPTY, EMPTY, EMPTY, EMPTY).abs().max() == 0
    assert simulator.evaluate(EMPTY[:0], EMPTY)[0].shape == (0, 5)
    constant = simulate(circuit, Expectations((SparsePauliOp("III", 2.5),)))
    near(constant.evaluate(EMPTY, EMPTY)[0], np.array([[2.5]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_sparse_maps_and_their_derivatives(dtype):
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(0, 6, 14), rng.integers(0, 12, 14)
    rows[:6] = 2  # a row much longer than the others
    weights = rng.normal(size=14) + 1j * rng.normal(size=14) * dtype.is_complex
    mapped = SparseMap(rows, columns, weights, (6, 12), dtype, CPU)
    dense = np.zeros((6, 12), dtype=complex)
    np.add.at(dense, (rows, columns), weights)
    x = torch.randn(1, 12, 2, dtype=torch.complex128, requires_grad=True)
    expected = torch.einsum("nm,bmk->bnk", torch.from_numpy(dense), x)
    near(mapped(x).detach(), expected.detach())
    assert torch.autograd.gradcheck(mapped, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(mapped, x)
    batched = torch.func.vmap(mapped, 1)(x[:, None])
    near(batched[0].detach(), expected.detach())
