# SPDX-License-Identifier: Apache-2.0
r"""The state vector in torch operations gives what the dense reference and the kernels give.

Values, gradients and products of Hessians are held to 1e-10 in double precision, relative to the
size of what is summed up, and to 1e-5 in single, which has 6e-8: a hundred gates round a few
hundred times, mostly at random. Where the compiled kernels are the reference, both round some
hundred times 1e-16: 1e-12 of the largest number, ten times that where rows are summed up.

``QTB_PLAIN_CIRCUITS`` sets how many circuits are tried; ``QTB_HYPOTHESIS_PROFILE=full`` tries 300.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp, random_statevector, random_unitary
from simulator_contract import FAMILIES, SINGLE, Truth, random_case, truth
from tensor_simulators import CPU, AsArrays, InTensors, program_of, tensor_simulator_of
from test_statevector_cases import FULL, SEEDS, ExactCase, exact_cases
from test_statevector_lanes import everything
from test_statevector_random import check_derivatives
from test_statevector_readouts import interpretations
from torch import Tensor

from qiskit_torch_bridge import CircuitProgram, amplitude_encoding
from qiskit_torch_bridge.accelerators import readouts, steps, tapes
from qiskit_torch_bridge.accelerators.plain import PlainStatevector
from qiskit_torch_bridge.exceptions import CircuitError
from qiskit_torch_bridge.program.interpretations import OutcomeTable, Parity
from qiskit_torch_bridge.program.operators import ProductOperator
from qiskit_torch_bridge.program.readouts import (
    Amplitudes,
    Expectations,
    Outcomes,
    Readout,
    RecordedBits,
)
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT = 1e-10
CIRCUITS = int(os.environ.get("QTB_PLAIN_CIRCUITS", "300" if FULL else "42"))
MOST_QUBITS = 6
"""Of the circuits that are tried by default: the reference takes most of the time."""

CASES = [(list(FAMILIES)[k % len(FAMILIES)], k // len(FAMILIES)) for k in range(CIRCUITS)]


# -- random circuits -------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_values_and_derivatives_of_random_circuits(family: str, seed: int) -> None:
    case = random_case(family, seed, 8 if FULL else MOST_QUBITS)
    t = truth(case, seed)
    s = tensor_simulator_of(program_of(case))
    x, w, dx, dw, c, dc = map(torch.from_numpy, (t.x, t.w, t.dx, t.dw, t.cotangent, t.dcotangent))
    by_methods(s, t, x, w, dx, dw, c, dc)
    by_autograd(s, t, x, w, dx, dw, c, dc)
    single = tensor_simulator_of(program_of(case), dtype=torch.complex64)
    near(single.evaluate(x, w)[0], t.values, SINGLE, t.size)
    near(single.vjp(x, w, c), t.gradient, SINGLE, t.size)
    near(single.tangent(x, w, dx, dw), t.tangent, SINGLE, t.size)
    near(single.vjp_tangent(x, w, c, dx, dw, dc), t.product, SINGLE, t.size)


def by_methods(s: PlainStatevector, t: Truth, x, w, dx, dw, c, dc) -> None:
    values, kept = s.evaluate(x, w, keep=True)
    near(values, t.values, EXACT, t.size)
    near(s.vjp(x, w, c, kept), t.gradient, EXACT, t.size)
    near(s.tangent(x, w, dx, dw), t.tangent, EXACT, t.size)
    for wanted in ((True, True), (True, False), (False, True)):
        gradient, product = (
            [part if asked else 0 * part for part, asked in zip(both, wanted, strict=True)]
            for both in (t.gradient, t.product)
        )
        near(s.vjp(x, w, c, wanted=wanted), gradient, EXACT, t.size)
        near(s.vjp_tangent(x, w, c, dx, dw, dc, wanted), product, EXACT, t.size)


def by_autograd(s: PlainStatevector, t: Truth, x, w, dx, dw, c, dc) -> None:
    """The same numbers by differentiating values, once and twice."""
    x, w = (part.clone().requires_grad_() for part in (x, w))
    options = {"materialize_grads": True, "retain_graph": True}
    values, _ = s.evaluate(x, w)
    near(values.detach(), t.values, EXACT, t.size)
    total = (c * values).sum()
    near(torch.autograd.grad(total, (x, w), **options), t.gradient, EXACT, t.size)
    gx, gw = torch.autograd.grad(total, (x, w), create_graph=True, **options)
    along = (gx * dx).sum() + (gw * dw).sum() + (dc * values).sum()
    near(torch.autograd.grad(along, (x, w), **options), t.product, EXACT, t.size)


def near(found, expected, tolerance: float, size: float) -> None:
    pairs = [(found, expected)] if isinstance(found, Tensor) else zip(found, expected, strict=True)
    for f, e in pairs:
        assert f.shape == e.shape
        assert f.dtype == torch.float64
        np.testing.assert_allclose(f.numpy(), e, rtol=tolerance, atol=tolerance * size)


@settings(max_examples=max(15, CIRCUITS // 3))
@given(exact_cases(max_qubits=5), SEEDS)
def test_everything_that_circuits_may_hold(case: ExactCase, seed: int) -> None:
    """Preparations, matrices, annotated and custom gates, idle qubits, rows of any number."""
    norms = [float(np.abs(o.coeffs).sum()) for o in case.observables]

    def read(values: Tensor) -> Tensor:
        return reference.expectations(case.twin, case.observables, case.parameters, values)

    check_derivatives(InTensors(case), read, seed, max(1.0, *norms))


# -- other readouts --------------------------------------------------------------------------------


@settings(max_examples=max(8, CIRCUITS // 6))
@given(exact_cases(max_qubits=4), st.data(), SEEDS)
def test_probabilities(case: ExactCase, data: st.DataObject, seed: int) -> None:
    width = case.circuit.num_qubits
    qubits = data.draw(st.permutations(range(width)))[: data.draw(st.integers(1, width))]
    readout = Outcomes(tuple(qubits), data.draw(interpretations(len(qubits))))
    index = np.arange(1 << width)
    labels = sum((index >> q & 1) << j for j, q in enumerate(qubits))
    if readout.interpretation is not None:
        labels = readout.interpretation.table(len(qubits))[labels]

    def expected(values: Tensor) -> Tensor:
        psi = reference.statevector(case.twin, case.parameters, values)
        zeros = torch.zeros(len(values), readout.size, dtype=torch.float64)
        return zeros.index_add(1, torch.from_numpy(labels), psi.abs() ** 2)

    check_derivatives(InTensors(case, readout), expected, seed, norm=readout.size)


@settings(max_examples=max(8, CIRCUITS // 6))
@given(exact_cases(max_qubits=4), SEEDS)
def test_amplitudes(case: ExactCase, seed: int) -> None:
    width = case.circuit.num_qubits
    qubits = np.random.default_rng(seed).permutation(width)
    index = np.arange(1 << width)
    places = sum((index >> j & 1) << int(q) for j, q in enumerate(qubits))

    def expected(values: Tensor) -> Tensor:
        psi = reference.statevector(case.twin, case.parameters, values)
        return torch.view_as_real(psi[:, torch.from_numpy(places)]).flatten(1)

    readout = Amplitudes(tuple(qubits.tolist()))
    check_derivatives(InTensors(case, readout), expected, seed, norm=readout.size)


def assert_close(found, expected, tolerance: float) -> None:
    for f, e in zip(found, expected, strict=True):
        size = max(1.0, float(np.abs(e).max(initial=0)))
        np.testing.assert_allclose(f, e, rtol=0, atol=tolerance * size)


def circuit_of(num_qubits: int, seed: int, num_parameters: int = 4) -> QuantumCircuit:
    """Rotations of all kinds between Clifford gates and a matrix; all angles differ."""
    t, rng = ParameterVector("t", num_parameters), np.random.default_rng(seed)
    circuit = QuantumCircuit(num_qubits)
    for layer in range(2):
        for q in range(num_qubits):
            p = t[int(rng.integers(num_parameters))]
            (circuit.rx, circuit.ry, circuit.rz)[rng.integers(3)](p * rng.normal() + 0.1, q)
        for q in range(num_qubits - 1):
            circuit.append((lib.CXGate(), lib.ECRGate(), lib.RZZGate(t[0]))[layer], [q, q + 1])
        circuit.h(0)
        circuit.sx(num_qubits - 1)
    if num_qubits > 2:
        circuit.unitary(random_unitary(8, seed=seed), rng.permutation(num_qubits)[:3].tolist())
    for p in t:
        circuit.rx(p, 0)
    return circuit


def compare(
    program: CircuitProgram, readout: Readout | None = None, rows: int = 3, shared: bool = True
) -> AsArrays:
    """Hold all numbers to those of the compiled kernels."""
    columns = program.input_columns, program.weight_columns
    readout = readout or program.readout
    rng = np.random.default_rng(7)
    inputs, weights = ((rows, len(columns[0])), (1 if shared else rows, len(columns[1])))
    cotangent = rows, readout.size
    shapes = inputs, weights, cotangent, inputs, weights, cotangent
    point = [rng.uniform(-2, 2, shape) for shape in shapes]
    expected = everything(StatevectorSimulator(program.analysed, readout, *columns), *point)
    ours = AsArrays(tensor_simulator_of(program, readout))
    assert_close(everything(ours, *point), expected, 1e-11)
    return ours


@pytest.mark.parametrize("num_qubits", [4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_products_of_projectors(num_qubits: int, seed: int) -> None:
    """Of several qubits, in frames that connect basis states, with strings beside them."""
    rng = np.random.default_rng(seed)
    labels = ["".join(rng.choice(list("01+-rlXYZI"), num_qubits)) for _ in range(12)]
    labels += ["".join(rng.choice(list("01"), num_qubits)) for _ in range(3)]
    observables = [
        ProductOperator.from_list(list(zip(some, rng.normal(size=len(some)), strict=True)))
        for some in (labels, labels[:1], labels[-4:])
    ]
    program = CircuitProgram(circuit_of(num_qubits, seed), observables)
    ours = compare(program)
    assert ours.on_tensors._readout._projections is not None


@pytest.mark.parametrize(
    "readout",
    [
        Outcomes((2, 0)),
        Outcomes((0, 1, 2, 3), Parity()),
        Outcomes((1, 2, 3), OutcomeTable([4, 0, 0, 0, 0, 0, 0, 1], 6)),
        Amplitudes((3, 1, 0, 2)),
    ],
    ids=str,
)
def test_readouts_are_those_of_the_kernels(readout: Readout) -> None:
    circuit = circuit_of(4, 1)
    program = CircuitProgram(circuit, input_params=list(circuit.parameters)[:2])
    compare(program, readout, rows=5)
    compare(program, readout, rows=1, shared=False)


def test_many_strings_of_one_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, transforms and matrices of signs sum up alike."""
    rng = np.random.default_rng(5)
    n = 5
    labels = ["".join(row) for row in rng.choice(list("IZ"), (40, n))]
    labels += ["".join(row) for row in rng.choice(list("IXYZ"), (30, n))]
    operators = [SparsePauliOp(labels, rng.normal(size=len(labels))) for _ in range(2)]
    program = CircuitProgram(circuit_of(n, 3), operators)
    compare(program)
    monkeypatch.setattr(readouts, "FEW", 1)
    compare(program)
    monkeypatch.setattr("qiskit_torch_bridge.simulation.statevector.pauli_sums.MAX_TABLES", 0)
    compare(program)


def test_complex_coefficients_of_cotangents() -> None:
    r"""The gradient of ``vjp`` is that of the compiled kernels: see its docstring."""
    circuit = circuit_of(3, 2)
    labels = ["XYZ", "ZIY", "IXX", "ZZZ", "YYI"]
    operator = SparsePauliOp(labels, [1j, 0.3 - 0.2j, 0.5, 2j, -1j])
    analysed = CircuitProgram(circuit).analysed
    columns = range(4), ()
    readout = Expectations((operator,))
    x, w, c = np.random.default_rng(0).normal(size=(2, 4)), np.zeros((1, 0)), np.ones((2, 1))
    expected = StatevectorSimulator(analysed, readout, *columns).vjp(x, w, c)
    ours = PlainStatevector(analysed, readout, *columns, torch.complex128, CPU)
    assert_close(AsArrays(ours).vjp(x, w, c), expected, 1e-12)


# -- what tapes are made of ------------------------------------------------------------------------


@pytest.mark.parametrize("is_complex", [False, True])
def test_amplitudes_as_parameters(is_complex: bool) -> None:
    """Two of them beside a fixed preparation, on bits in no order, with zero components."""
    first = amplitude_encoding(1, is_complex=is_complex)
    second = amplitude_encoding(2, name="y")
    circuit = QuantumCircuit(5)
    circuit.compose(first.circuit, [3], inplace=True)
    circuit.compose(second.circuit, [4, 1], inplace=True)
    circuit.append(lib.StatePreparation(random_statevector(2, seed=1).data), [0])
    circuit.compose(circuit_of(5, 4), inplace=True)
    inputs = [*first.parameters, *second.parameters]
    program = CircuitProgram(circuit, ["ZZIII", "IXYIZ", "IIIZX"], input_params=inputs)
    ours = compare(program, rows=4)
    compare(program, Outcomes((1, 4)), rows=2)
    compare(program, Amplitudes(tuple(range(5))), rows=2)
    x = torch.tensor([[0.0, -2.0, *[0.0] * (len(inputs) - 6), 0.0, 1e-3, 0.0, 0.0]])
    x = x[:, : len(inputs)].double()
    x = torch.cat([x, torch.zeros(1, len(inputs) - x.shape[1], dtype=torch.float64)], 1)
    x[0, -1] = 3.0
    numpy = StatevectorSimulator(
        program.analysed, program.readout, program.input_columns, program.weight_columns
    )
    point = x.numpy(), np.ones((1, 4)), np.ones((1, 3))
    assert_close(ours.vjp(*point), numpy.vjp(*point), 1e-12)
    none = torch.zeros(2, len(inputs), dtype=torch.float64)
    values = ours.on_tensors.evaluate(none, torch.ones(1, 4, dtype=torch.float64))[0]
    assert values.isnan().all()  # no direction, no state


@pytest.mark.parametrize("matrix_qubits", [1, 2, 3, 4])
def test_matrices_on_any_bits(matrix_qubits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "SMALL_PRODUCT", 0)
    for seed in range(3):
        circuit = circuit_of(5, seed)
        places = np.random.default_rng(seed).permutation(5)[:matrix_qubits].tolist()
        circuit.unitary(random_unitary(2**matrix_qubits, seed=seed), places)
        circuit.ry(Parameter("last"), places[0])
        compare(CircuitProgram(circuit, ["ZXIYI", "IIZZX"]))


def test_diagonal_rotations_together_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = QuantumCircuit(4)
    t = ParameterVector("t", 6)
    circuit.h(range(4))
    for k, (u, v) in enumerate([(0, 1), (1, 2), (2, 3), (0, 3), (1, 3)]):
        circuit.rzz(t[k % 3] * (k + 1) / 2, u, v)
        circuit.rz(t[3], u)
    circuit.rx(t[4], range(4))
    circuit.rzz(t[5], 0, 2)
    circuit.ry(0.3, range(4))
    program = CircuitProgram(circuit, ["ZZII", "XIXI", "IYYZ"], input_params=t[:2])
    kinds = [type(step) for step in compare(program).on_tensors._steps]
    assert steps.Phases in kinds
    monkeypatch.setattr(steps, "TOGETHER", 100)
    kinds = [type(step) for step in compare(program).on_tensors._steps]
    assert steps.Phases not in kinds


def test_flips_take_few_axes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All masks on six bits, in pieces of two runs of bits as in one."""
    index = torch.arange(64).reshape(1, 1, 64)
    both = torch.cat([index, -index])
    for most in (16, 2, 1):
        monkeypatch.setattr(steps, "MOST_RUNS", most)
        for mask in range(64):
            flips = steps.Flips(mask, 6)
            assert torch.equal(flips(both), both[..., torch.arange(64) ^ mask])
            assert torch.equal(flips(both, swap=True), both.flip(0)[..., torch.arange(64) ^ mask])


def test_expressions_that_are_not_affine() -> None:
    """Of weights alone, of inputs, of both; one parameter in many of them."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for q, angle in enumerate([x[0] * w[0], w[1] * w[2], x[0].sin() + w[1]]):
        circuit.ry(angle, q)
    circuit.cx(0, 1)
    for q, angle in enumerate([w[1] ** 3, x[1] * x[0], (w[1] * w[1] + 1).log()]):
        circuit.rx(angle, q)
    circuit.cx(1, 2)
    circuit.ry(w[2] * w[0] - x[1] * w[1], 2)
    program = CircuitProgram(circuit, ["ZZI", "XIY"], input_params=x)
    for shared in (True, False):
        compare(program, rows=3, shared=shared)
        compare(program, rows=1, shared=shared)


def test_what_does_not_move_needs_no_derivative() -> None:
    """The root of w has none at zero, which concerns nobody but who moves w."""
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.rx(w**0.5, 0)
    s = tensor_simulator_of(CircuitProgram(circuit, ["Z"], input_params=[x]))
    point = torch.tensor([[0.4]]).double(), torch.zeros(1, 1).double()
    one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    slope = -torch.sin(point[0])
    torch.testing.assert_close(s.tangent(*point, one, zero), slope, rtol=0, atol=1e-12)
    gx, gw = s.vjp(*point, one)
    torch.testing.assert_close(gx, slope, rtol=0, atol=1e-12)
    assert not gw.isfinite().any()
    gx, gw = s.vjp(*point, one, wanted=(True, False))
    assert not gw.any()
    turned, _ = s.vjp_tangent(*point, one, one, zero, zero, (True, False))
    torch.testing.assert_close(turned, -torch.cos(point[0]), rtol=0, atol=1e-12)


# -- at the edges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", [None, Outcomes((0, 2)), Amplitudes((0, 1, 2))], ids=str)
def test_no_rows(readout: Readout | None) -> None:
    circuit = circuit_of(3, 0)
    program = CircuitProgram(circuit, ["ZZZ", "0+1"], input_params=list(circuit.parameters)[:2])
    s = AsArrays(tensor_simulator_of(program, readout))
    x, w, c = np.zeros((0, 2)), np.zeros((1, 2)), np.zeros((0, s.size))
    values, *rest = everything(s, x, w, c, x, w, c)
    assert values.shape == (0, s.size)
    assert [part.shape for part in rest] == [(0, 2), (1, 2)] * 2 + [(0, s.size), (0, 2), (1, 2)]
    assert not any(part.any() for part in rest)


def test_no_parameters_and_nothing_to_do() -> None:
    fixed = QuantumCircuit(2)
    fixed.h(0)
    fixed.cx(0, 1)
    fixed.ry(0.3, 1)
    idle = QuantumCircuit(2)
    x, w = np.zeros((2, 0)), np.zeros((1, 0))
    for circuit in (fixed, idle):
        for readout in (None, Outcomes((1, 0)), Amplitudes((1, 0))):
            program = CircuitProgram(circuit, ["ZI", "XX", "II"])
            readout = readout or program.readout
            ours = AsArrays(tensor_simulator_of(program, readout))
            kernels = StatevectorSimulator(program.analysed, readout, (), ())
            c = np.ones((2, readout.size))
            assert_close(
                everything(ours, x, w, c, x, w, c), everything(kernels, x, w, c, x, w, c), 1e-12
            )


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_states_are_those_of_the_kernels(dtype: torch.dtype) -> None:
    program = CircuitProgram(circuit_of(4, 3))
    columns = program.input_columns, program.weight_columns
    x, w = np.zeros((3, 0)), np.random.default_rng(1).normal(size=(3, 4))
    expected = StatevectorSimulator(program.analysed, None, *columns).states(x, w)
    s = PlainStatevector(program.analysed, None, *columns, dtype, CPU)
    found = s.states(torch.from_numpy(x), torch.from_numpy(w))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-6 if dtype.itemsize == 8 else 1e-12)


def test_qubits_left_out_of_amplitudes_are_to_end_in_zero() -> None:
    """The rows of which there is no state are not numbers; the kernels refuse them."""
    x = Parameter("x")
    circuit = QuantumCircuit(2)
    circuit.ry(x, 0)
    circuit.cx(0, 1)
    program, readout = CircuitProgram(circuit, input_params=[x]), Amplitudes((0,))
    point = torch.tensor([[0.0], [0.3]]).double(), torch.zeros(1, 0).double()
    values = tensor_simulator_of(program, readout).evaluate(*point)[0]
    assert torch.equal(values[0], torch.tensor([1.0, 0, 0, 0]).double())
    assert values[1].isnan().all()
    kernels = StatevectorSimulator(program.analysed, readout, (0,), ())
    with pytest.raises(CircuitError, match="row 1"):
        kernels.evaluate(*(part.numpy() for part in point))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_stays_in_its_row(bad: float) -> None:
    circuit = circuit_of(3, 0)
    program = CircuitProgram(circuit, ["ZZZ"], input_params=list(circuit.parameters))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 4))).requires_grad_()
    with torch.no_grad():
        x[1, 0] = bad
    values, _ = tensor_simulator_of(program).evaluate(x, torch.zeros(1, 0).double())
    values.sum().backward()
    assert values.isnan().flatten().tolist() == [False, True, False]
    assert x.grad.isnan().any(1).tolist() == [False, True, False]


def test_refusals_are_those_of_the_kernels() -> None:
    program = CircuitProgram(circuit_of(2, 0))
    for make in (StatevectorSimulator, PlainStatevector):
        further = () if make is StatevectorSimulator else (torch.complex128, CPU)
        with pytest.raises(TypeError, match="The state vector cannot be read as RecordedBits"):
            make(program.analysed, RecordedBits((0,)), (), range(4), *further)
