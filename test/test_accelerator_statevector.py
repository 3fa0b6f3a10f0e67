# SPDX-License-Identifier: Apache-2.0
r"""The state vector by Triton's kernels gives what the reference gives, and costs few launches.

Kernels run by Triton's interpreter. It takes a thousand times as long as a GPU, so tiles are made
so small that states of a few bits have many of them. Values, gradients and products of Hessians
are held to 1e-10 in double precision, relative to the size of what is summed up, and to 1e-5 in
single, which has 6e-8; what one kernel computes is held to a few hundred roundings.

``QTB_TRITON_CIRCUITS`` sets how many circuits are tried; ``QTB_HYPOTHESIS_PROFILE=full`` tries 300.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", minversion="3.3")

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from simulator_contract import EXACT, FAMILIES, SINGLE, Truth, random_case, truth
from test_statevector_cases import FULL, ExactCase
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qiskit_torch_bridge import AmplitudePreparation, CircuitProgram, memory
from qiskit_torch_bridge.accelerators import device_memory
from qiskit_torch_bridge.accelerators.interface import TensorSimulator
from qiskit_torch_bridge.accelerators.kernels import angles, launch, observables
from qiskit_torch_bridge.accelerators.plain import PlainStatevector
from qiskit_torch_bridge.accelerators.statevector import TritonStatevector
from qiskit_torch_bridge.exceptions import MemoryLimitError
from qiskit_torch_bridge.program.readouts import Amplitudes, Outcomes, Readout
from qiskit_torch_bridge.simulation.kernels.tables import Sources
from qiskit_torch_bridge.simulation.statevector.pauli_sums import PauliSums
from qiskit_torch_bridge.simulation.statevector.readouts import compile_readout

CPU = torch.device("cpu")
CIRCUITS = int(os.environ.get("QTB_TRITON_CIRCUITS", "300" if FULL else "4"))
MOST_QUBITS = 8 if CIRCUITS > 50 else 4
CASES = [(list(FAMILIES)[k % len(FAMILIES)], k // len(FAMILIES)) for k in range(CIRCUITS)]
ROUNDING = {torch.float64: 1e-13, torch.float32: 3e-5}


def made(
    program: CircuitProgram, dtype: torch.dtype = torch.complex128, readout: Readout | None = None
) -> TritonStatevector:
    columns = program.input_columns, program.weight_columns
    return TritonStatevector(program.analysed, readout or program.readout, *columns, dtype, CPU)


def near(found: Any, expected: Any, tolerance: float, size: float = 1.0) -> None:
    pairs = [(found, expected)] if isinstance(found, Tensor) else zip(found, expected, strict=True)
    for f, e in pairs:
        assert f.shape == e.shape
        np.testing.assert_allclose(f.numpy(), e, rtol=tolerance, atol=tolerance * size)


# -- whole circuits ------------------------------------------------------------------------------


def tensors(t: Truth) -> list[Tensor]:
    given = t.x, t.w, t.dx, t.dw, t.cotangent, t.dcotangent
    return [torch.tensor(part) for part in given]


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_values_and_derivatives_of_random_circuits(family: str, seed: int) -> None:
    case = random_case(family, seed, MOST_QUBITS)
    t = truth(case, seed)
    for dtype, tolerance in ((torch.complex128, EXACT), (torch.complex64, SINGLE)):
        s, (x, w, dx, dw, c, dc) = made(program_of(case), dtype), tensors(t)
        values, kept = s.evaluate(x, w, keep=True)
        near(values, t.values, tolerance, t.size)
        near(s.vjp(x, w, c, kept), t.gradient, tolerance, t.size)
        near(s.tangent(x, w, dx, dw), t.tangent, tolerance, t.size)
        near(s.vjp_tangent(x, w, c, dx, dw, dc), t.product, tolerance, t.size)


def program_of(case: ExactCase) -> CircuitProgram:
    roles = {"input_params": case.inputs, "weight_params": case.weights}
    return CircuitProgram(case.circuit, list(case.observables), **roles)


X, W = ParameterVector("x", 2), ParameterVector("w", 3)


def layers(num_qubits: int = 3) -> QuantumCircuit:
    """Inputs and weights, one of them in a product that is not affine."""
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(X[qubit % 2] + 0.3 * qubit, qubit)
        circuit.rz(W[qubit % 3], qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.rxx(X[0] * W[1], 0, num_qubits - 1)
    circuit.rx(W[2], 0)
    return circuit


def encoded() -> QuantumCircuit:
    """A state whose amplitudes are inputs and weights, and what turns it."""
    circuit = QuantumCircuit(3)
    circuit.append(AmplitudePreparation([X[0], X[1], W[0], 0.4]), [0, 2])
    circuit.cx(0, 1)
    circuit.ry(W[1], 1)
    circuit.rzz(W[2], 0, 2)
    return circuit


@pytest.mark.parametrize("make", [layers, encoded])
@pytest.mark.parametrize("readout", [None, Outcomes((2, 0)), Amplitudes((0, 1, 2))])
@pytest.mark.parametrize("shared", [True, False])
def test_all_readouts_are_those_of_plain_operations(
    make: Callable[[], QuantumCircuit], readout: Readout | None, shared: bool
) -> None:
    """Both round some hundred times; rows are summed up where they share weights."""
    observables = [SparsePauliOp(["ZZI", "XYX", "III"], [0.5, 1.2, 0.3]), SparsePauliOp("IYZ")]
    program = CircuitProgram(make(), observables, input_params=list(X))
    s = made(program, readout=readout)
    columns = program.input_columns, program.weight_columns
    read = readout or program.readout
    plain = PlainStatevector(program.analysed, read, *columns, torch.complex128, CPU)
    generator = torch.Generator().manual_seed(int(shared))

    def drawn(*shape: int) -> Tensor:
        return 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)

    x, dx, c, dc = drawn(3, 2), drawn(3, 2), drawn(3, s.size), drawn(3, s.size)
    w, dw = (drawn(1 if shared else 3, 3) for _ in range(2))
    found, kept = s.evaluate(x, w, keep=True)
    pairs = [
        (found, plain.evaluate(x, w)[0]),
        (s.vjp(x, w, c, kept), plain.vjp(x, w, c)),
        (s.tangent(x, w, dx, dw), plain.tangent(x, w, dx, dw)),
        (s.vjp_tangent(x, w, c, dx, dw, dc), plain.vjp_tangent(x, w, c, dx, dw, dc)),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)


def test_what_is_not_wanted_is_zero() -> None:
    program = CircuitProgram(layers(), input_params=list(X))
    s, (x, w) = made(program), (torch.rand(2, 2).double(), torch.rand(1, 3).double())
    c, dc = torch.rand(2, 2, 3, dtype=torch.float64)
    whole = s.vjp(x, w, c), s.vjp_tangent(x, w, c, x, w, dc)
    for wanted in ((True, False), (False, True), (False, False)):
        parts = s.vjp(x, w, c, None, wanted), s.vjp_tangent(x, w, c, x, w, dc, wanted)
        for found, every in zip(parts, whole, strict=True):
            for part, full, asked in zip(found, every, wanted, strict=True):
                torch.testing.assert_close(part, full if asked else torch.zeros_like(full))


def test_final_states_are_used_once_and_computed_again_after_that() -> None:
    program = CircuitProgram(layers(), input_params=list(X))
    s, (x, w) = made(program), (torch.rand(2, 2).double(), torch.rand(1, 3).double())
    c = torch.rand(2, 3).double()
    _, kept = s.evaluate(x, w, keep=True)
    first, second, without = s.vjp(x, w, c, kept), s.vjp(x, w, c, kept), s.vjp(x, w, c)
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, first, without))


def test_no_rows_and_no_parameters() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.t(0)
    circuit.cx(0, 1)
    s = made(CircuitProgram(circuit, ["XX", "YY", "ZZ"]))
    x, w = torch.zeros(3, 0).double(), torch.zeros(1, 0).double()
    root = np.sqrt(0.5)
    near(s.evaluate(x, w)[0], np.tile([root, -root, 1.0], (3, 1)), 1e-14)
    assert s.vjp(x, w, torch.ones(3, 3).double())[0].shape == (3, 0)
    assert s.evaluate(x[:0], w)[0].shape == (0, 3)
    assert s.vjp(x[:0], w, torch.ones(0, 3).double())[1].shape == (1, 0)


def test_a_batch_that_does_not_fit_is_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    program = CircuitProgram(layers(), input_params=list(X))
    s, rng = made(program), np.random.default_rng(1)
    x, dx = map(torch.from_numpy, rng.normal(size=(2, 5, 2)))
    w, dw = map(torch.from_numpy, rng.normal(size=(2, 1, 3)))
    c, dc = map(torch.from_numpy, rng.normal(size=(2, 5, 3)))
    calls = (
        lambda: s.evaluate(x, w, keep=True)[0],
        lambda: s.vjp(x, w, c),
        lambda: s.vjp(x, w.expand(5, 3).contiguous(), c),
        lambda: s.tangent(x, w, dx, dw),
        lambda: s.vjp_tangent(x, w, c, dx, dw, dc),
    )
    whole = [call() for call in calls]
    monkeypatch.setattr(device_memory, "GRANTED", 0)
    monkeypatch.setattr(device_memory, "available", lambda device: 1500)
    assert len(list(s._chunks(5, 2))) > 1
    assert s.evaluate(x, w, keep=True)[1] is None
    for call, expected in zip(calls, whole, strict=True):
        # Weights that rows share are summed up in another order.
        torch.testing.assert_close(call(), expected, rtol=1e-13, atol=1e-13)
    monkeypatch.setattr(device_memory, "available", lambda device: 100)
    with pytest.raises(MemoryLimitError, match="GiB on cpu"):
        s.evaluate(x, w)


def test_a_second_backward_pass_has_chunks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be less memory than forward, whose cosines and sines are those of all rows."""
    program = CircuitProgram(layers(), input_params=list(X))
    s, rng = made(program), np.random.default_rng(2)
    x, c = (torch.from_numpy(rng.normal(size=(5, count))) for count in (2, 3))
    w = torch.from_numpy(rng.normal(size=(1, 3)))
    _, kept = s.evaluate(x, w, keep=True)
    first = s.vjp(x, w, c, kept)
    monkeypatch.setattr(device_memory, "GRANTED", 0)
    monkeypatch.setattr(device_memory, "available", lambda device: 1500)
    assert len(list(s._chunks(5, 2))) > 1
    torch.testing.assert_close(s.vjp(x, w, c, kept), first, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("make", [TritonStatevector, PlainStatevector])
@pytest.mark.parametrize("readout", [None, Outcomes((2, 0)), Amplitudes((0, 1, 2))])
def test_states_take_the_device_s_memory_alone(
    monkeypatch: pytest.MonkeyPatch, make: type[TensorSimulator], readout: Readout | None
) -> None:
    program = CircuitProgram(layers(), input_params=list(X))
    columns = program.input_columns, program.weight_columns
    given = program.analysed, readout or program.readout, *columns, torch.complex128, CPU
    asked: list[int] = []
    monkeypatch.setattr(device_memory, "GRANTED", 0)
    monkeypatch.setattr(device_memory, "available", lambda device: 1 << 20)
    monkeypatch.setattr(memory, "require", lambda needed, num_qubits: asked.append(needed))
    make(*given)
    tables = {None: [], Outcomes: [24 << 3], Amplitudes: [40 << 3]}  # they are made here
    assert asked == tables[None if readout is None else type(readout)]
    monkeypatch.setattr(device_memory, "available", lambda device: 100)
    with pytest.raises(MemoryLimitError, match="3 qubits exactly needs .* GiB on cpu"):
        make(*given)


# -- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize("shared", [True, False])
def test_angles_and_their_chain_rule(rows: int, shared: bool) -> None:
    rng = np.random.default_rng(rows)
    slots, inputs, weights = 140 if rows == 1 else 7, 3, 4
    matrix = rng.normal(size=(slots, inputs + weights)) * (rng.random((slots, 7)) < 0.4)
    counts = (matrix != 0).sum(1)
    sources = Sources(
        np.concatenate([[0], np.cumsum(counts)]), np.nonzero(matrix)[1], matrix[matrix != 0],
        rng.normal(size=slots),
    )  # fmt: skip
    shape = 1 if shared else rows, weights
    x, dx = rng.normal(size=(2, rows, inputs)) * 100
    w, dw = rng.normal(size=(2, *shape))
    tables = angles.make_angle_tables(sources, CPU)
    given = list(map(torch.from_numpy, (x, w, dx, dw)))
    cosines, sines, tangents = angles.compute_angles(
        tables, *given[:2], torch.float64, (given[2], given[3])
    )
    both, moved = (
        np.hstack([a, np.broadcast_to(b, (rows, weights))]) for a, b in ((x, w), (dx, dw))
    )
    halves = (matrix @ both.T + sources.offsets[:, None]) / 2
    near(cosines, np.cos(halves), 1e-12, 1)
    near(sines, np.sin(halves), 1e-12, 1)
    near(tangents, matrix @ moved.T / 2, 1e-13, 100)
    gradient = np.asfortranarray(rng.normal(size=(slots, rows)))  # as torch may leave it
    wanted = rng.random(inputs + weights) < 0.7
    gx, gw = angles.pull_back(
        angles.transpose(sources, wanted, CPU), torch.from_numpy(gradient), inputs, shared
    )
    expected = (matrix.T @ gradient).T * wanted
    near(gx, expected[:, :inputs], 1e-13, 10)
    by_weights = expected[:, inputs:]
    near(gw, by_weights.sum(0, keepdims=True) if shared else by_weights, 1e-13, 100)


def test_angles_of_any_size_are_exact() -> None:
    """Half of an angle has exact sines, however many turns it is."""
    sources = Sources(np.array([0, 1]), np.array([0]), np.array([1.0]), np.array([0.0]))
    x = torch.tensor([[1e3], [1e9], [1e15], [4e300]], dtype=torch.float64)
    tables = angles.make_angle_tables(sources, CPU)
    cosines, sines = angles.compute_angles(tables, x, x[:1, :0], torch.float64)
    near(cosines, np.cos(x.numpy().T / 2), 1e-15)
    near(sines, np.sin(x.numpy().T / 2), 1e-15)


def sums_of(num_bits: int, count: int, strings: int, seed: int) -> PauliSums:
    """Random observables on states of some bits; the first one is a sum of strings of Z."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(num_bits)
    for qubit, angle in enumerate(ParameterVector("v", num_bits)):
        circuit.u(angle, 0.3, 0.7 * angle, qubit)
    for qubit in range(num_bits - 1):
        circuit.cx(qubit, qubit + 1)
    for qubit in range(num_bits):
        circuit.u(0.4, 0.2, 0.9, qubit)

    def drawn(letters: str, number: int) -> SparsePauliOp:
        labels = ["".join(row) for row in rng.choice(list(letters), (number, num_bits))]
        return SparsePauliOp(labels, rng.normal(size=number))

    operators = [drawn("IZ", strings), *(drawn("IXYZ", strings) for _ in range(count - 1))]
    program = CircuitProgram(circuit, operators)
    return compile_readout(program.readout, program.analysed).sums


def matrices(sums: PauliSums) -> np.ndarray:
    """The operators without their constants, ``(O, 2**n, 2**n)``, entry by entry."""
    index = np.arange(1 << sums.num_bits)
    found = np.zeros((sums.num_observables, len(index), len(index)), dtype=complex)
    paulis = sums.paulis
    for group in paulis.groups:
        for e in range(group["start"], group["stop"]):
            z, table_at = paulis.entries[e]
            signs = (-1.0) ** np.bitwise_count(index & z)
            if table_at >= 0:
                signs = paulis.tables[table_at : table_at + len(index)]
            for k in range(paulis.pointers[e], paulis.pointers[e + 1]):
                factor = paulis.weights[k] * (1 if e < group["middle"] else 1j)
                found[paulis.targets[k], index, index ^ group["x"]] += factor * signs
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("num_bits", "rows", "count", "strings", "many"),
    [
        (1, 3, 2, 2, 1 << 30),  # many states in a tile
        (3, 40, 2, 4, 1 << 30),
        (8, 1, 3, 5, 1),  # several tiles to a state, and several segments to an observable
        (9, 2, 2, 5, 1),
        (9, 1, 2, 5, 1 << 30),
    ],
)
def test_observables_are_their_matrices(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, num_bits: int, rows: int, count: int,
    strings: int, many: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(observables, "MANY", many)
    monkeypatch.setattr(observables, "LONG", 6 if num_bits == 8 else 8)
    monkeypatch.setattr(observables, "SHORT", 7)
    monkeypatch.setattr(observables, "FEWEST", 1)
    sums, rng = sums_of(num_bits, count, strings, rows), np.random.default_rng(num_bits)
    tables = observables.make_observable_tables(sums, dtype, CPU)
    whole = rng.normal(size=(2, 2, rows, 1 << sums.num_bits))
    state, moved = (torch.from_numpy(part).to(dtype) for part in whole)
    c, dc = map(torch.from_numpy, rng.normal(size=(2, rows, count)))
    psi, dpsi = ((part[0] + 1j * part[1]).numpy().astype(complex) for part in (state, moved))
    operators = matrices(sums)
    on_psi, on_dpsi = (np.einsum("oij,bj->obi", operators, part) for part in (psi, dpsi))
    close = functools.partial(near, tolerance=ROUNDING[dtype], size=float(np.abs(on_psi).max()))

    def expected(bra: np.ndarray, ket: np.ndarray) -> np.ndarray:
        return np.einsum("bi,obi->bo", bra.conj(), ket).real

    values = observables.expect(tables, state)
    close(values, expected(psi, on_psi) + sums.constants, size=20.0 * len(psi[0]))
    slopes = observables.expect(tables, state, moved)
    close(slopes, 2 * expected(psi, on_dpsi), size=20.0 * len(psi[0]))
    out, out_tangent = torch.full_like(state, torch.nan), torch.full_like(state, torch.nan)
    observables.observe(tables, state, c, out, (moved, dc, out_tangent))
    bra = np.einsum("bo,obi->bi", c, on_psi)
    dbra = np.einsum("bo,obi->bi", c, on_dpsi) + np.einsum("bo,obi->bi", dc, on_psi)
    for found, right in ((out, bra), (out_tangent, dbra)):
        close(found, np.stack([right.real, right.imag]), size=10.0 * abs(right).max())
    again = torch.full_like(state, torch.nan)
    observables.observe(tables, state, c, again)
    close(again, np.stack([bra.real, bra.imag]), size=10.0 * abs(bra).max())


# -- cost ----------------------------------------------------------------------------------------


class Launches:
    """Counts launches in place of kernels."""

    KERNELS = (
        (angles, "_angles"), (angles, "_pull_back"), (observables, "_expect"),
        (observables, "_collect"), (observables, "_observe"), (launch, "_kernel"),
    )  # fmt: skip

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for module, name in self.KERNELS:
            monkeypatch.setattr(module, name, _Counted(self.names, name.strip("_")))


class _Counted:
    def __init__(self, names: list[str], name: str) -> None:
        self.names, self.name = names, name

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        assert all(0 < size < 1 << 31 for size in grid)
        assert all(size < 1 << 16 for size in grid[1:]), "CUDA has no grids as high"
        return lambda *args, **options: self.names.append(self.name)


class Operations(TorchDispatchMode):
    """Notes the operations of torch that are not views of what there is."""

    VIEWS = ("slice", "select", "view", "unbind", "detach", "alias", "expand", "t", "permute")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in self.VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def hardware_efficient(num_qubits: int, reps: int) -> QuantumCircuit:
    weights = iter(ParameterVector("w", 2 * num_qubits * (reps + 1)))
    circuit = QuantumCircuit(num_qubits)
    for layer in range(reps + 1):
        for qubit in range(num_qubits):
            circuit.ry(next(weights), qubit)
            circuit.rz(next(weights), qubit)
        for qubit in range(num_qubits - 1) if layer < reps else ():
            circuit.cx(qubit, qubit + 1)
    return circuit


def molecule(num_qubits: int) -> SparsePauliOp:
    """Hops of one and of two electrons, by Jordan and Wigner, and strings of Z."""
    rng, terms = np.random.default_rng(0), []
    for p in range(num_qubits - 2):
        for q in range(p + 2, num_qubits, 3):
            chain = "".join(["X", *"Z" * (q - p - 1), "X"])
            terms += [(chain, list(range(p, q + 1))), ("ZZ", [p, q])]
    for _ in range(100):
        terms.append(("XXYY", sorted(rng.choice(num_qubits, 4, replace=False).tolist())))
    listed = [(letters, on, float(rng.normal())) for letters, on in terms]
    return SparsePauliOp.from_sparse_list(listed, num_qubits)


@pytest.mark.parametrize(
    ("num_qubits", "rows", "reps", "observable"),
    [(4, 4096, 2, None), (12, 256, 2, None), (20, 4, 4, None), (20, 1, 2, molecule)],
)
def test_a_step_has_few_launches_and_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, num_qubits: int, rows: int, reps: int,
    observable: Callable[[int], SparsePauliOp] | None,
) -> None:  # fmt: skip
    """Beside the runs there are at most six, and none but the runs' grows with the circuit."""
    operators = None if observable is None else observable(num_qubits)
    program = CircuitProgram(hardware_efficient(num_qubits, reps), operators)
    s = made(program, torch.complex64)
    x = torch.zeros(rows, 0, dtype=torch.float64)
    w = torch.zeros(1, len(program.weight_columns), dtype=torch.float64)
    c = torch.ones(rows, s.size, dtype=torch.float64)
    counted = Launches(monkeypatch)
    for _ in range(2):  # the first one puts tables on the device
        counted.names.clear()
        with Operations() as seen:
            _, kept = s.evaluate(x, w, keep=True)
            s.vjp(x, w, c, kept, (False, True))
    between = counted.names.index("observe")
    runs, undone = (
        part.count("kernel") for part in (counted.names[:between], counted.names[between:])
    )
    many = ["collect"] if s.tape.num_bits > 10 else []
    step = ["angles", *["kernel"] * runs, "expect", *many, "observe", *["kernel"] * undone]
    assert counted.names == [*step, "pull_back"]
    # Blocks of ket and bra together are smaller, so that there may be more runs on the way back.
    assert max(runs, undone) <= (1 if num_qubits <= 12 else 4 * (reps + 1))
    # Room for results; derivatives of each run are added up; and those of shared weights.
    rooms = {"empty", "new_empty", "empty_like", "zeros", "new_zeros"}
    assert set(seen.names) <= rooms | {"sum", "index_copy_", "add_"}, seen.names
    assert len(seen.names) <= 12 + 4 * max(runs, undone)


@pytest.mark.parametrize(("num_qubits", "rows"), [(2, 2_200_000), (10, 70_000)])
def test_batches_may_be_longer_than_grids_are_high(
    monkeypatch: pytest.MonkeyPatch, num_qubits: int, rows: int
) -> None:
    """Numbers of rows are along the first axis of a grid: :class:`_Counted` looks at the others."""
    program = CircuitProgram(hardware_efficient(num_qubits, 1))
    s = made(program, torch.complex64)
    x = torch.zeros(rows, 0, dtype=torch.float64)
    w = torch.zeros(1, len(program.weight_columns), dtype=torch.float64)
    counted = Launches(monkeypatch)
    monkeypatch.setattr(device_memory, "available", lambda device: 1 << 40)  # it is never touched
    _, kept = s.evaluate(x, w, keep=True)
    s.vjp(x, w, torch.empty(rows, s.size, dtype=torch.float64), kept)
    every = {"angles", "kernel", "expect", "observe", "pull_back"}
    assert every <= set(counted.names) <= every | {"collect"}


COMPILE = """
import json, os, re, subprocess, sys, tempfile, warnings
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from qiskit_torch_bridge.accelerators.kernels import angles, observables
tools = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "cuobjdump")
def used(kernel, constants, number, arch):
    pointers = {"starts": "i32", "columns": "i32", "slots": "i32", "owners": "i32",
                "segments": "i32", "groups": "i32", "signs": "i32", "observables": "i32",
                **dict.fromkeys(("x", "w", "dx", "dw", "coefficients", "offsets", "gradients",
                "gx", "gw", "sums", "evs", "constants", "cotangent", "dcotangent"), "fp64"),
                **dict.fromkeys(("cosines", "sines", "tangents", "left", "right", "weights",
                "tables", "ket", "dket", "bra", "dbra"), number)}
    numbers = {"rows", "inputs", "w_stride", "num_bits", "count", "num_groups", "tiles", "each"}
    numbers |= {"slots", "segments", "weights"} if kernel in (angles._angles, angles._pull_back) \\
        else {"segments"}
    if kernel is angles._pull_back:
        numbers -= {"slots"}
    signature = {}
    for name in kernel.arg_names:
        if name in constants: signature[name] = "constexpr"
        elif name in numbers: signature[name] = "i32"
        else: signature[name] = "*" + pointers[name]
    if kernel is observables._expect: signature["segments"] = "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"]); file.flush()
        told = subprocess.run([tools, "-res-usage", file.name], capture_output=True, text=True)
    return [int(n) for n in re.search(r"REG:(\\d+) STACK:(\\d+)", told.stdout).groups()]
tile = {"WIDTH": 32, "HEIGHT": 32, "ROW_BITS": 0}
several = {"WIDTH": 16, "HEIGHT": 16, "ROW_BITS": 4}
expects = {"SCALE": 1.0, "CONSTANT": False, "SAME": 0}
print(json.dumps([
    used(angles._angles, {"TANGENT": True, "SLOTS": 32, "ROWS": 4}, "fp32", 80),
    used(angles._pull_back, {"SHARED": True, "ROWS": 32, "ENTRIES": 32}, "fp32", 90),
    used(observables._expect, {**expects, **tile}, "fp32", 90),
    used(observables._expect, {**expects, **several}, "fp64", 80),
    used(observables._observe, {"TANGENT": False, **tile}, "fp32", 80),
    used(observables._observe, {"TANGENT": True, **tile, "HEIGHT": 16}, "fp64", 90),
    used(observables._collect, {"CONSTANT": True, "BLOCK": 1024}, "fp32", 90),
]))
"""


def test_kernels_compile_without_a_device_and_stay_in_registers() -> None:
    """Sines of large angles alone take a few bytes beside the registers."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (_, stack), *others = json.loads(done.stdout)
    assert stack <= 64
    assert all(registers <= 128 and not spilled for registers, spilled in others)


KEYS = """
import json
import torch, triton
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.accelerators.statevector import TritonStatevector

class Driver:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 0

def note(*, key, fn, **others):
    keys.setdefault(fn.name.rpartition(".")[2], set()).add(key)
    return True  # it is not to be compiled

def step(layers, rows):
    x, w = ParameterVector("x", 5), ParameterVector("w", 5 * layers)
    circuit = QuantumCircuit(5)
    for layer in range(layers):
        for q in range(5):
            circuit.rx(x[q], q)
            circuit.ry(w[5 * layer + q], q)
        for q in range(4):
            circuit.cx(q, q + 1)
    program = CircuitProgram(circuit, ["ZZZZZ", "XIIII"], input_params=list(x))
    columns = program.input_columns, program.weight_columns
    given = program.analysed, program.readout, *columns, torch.complex64, torch.device("cpu")
    s = TritonStatevector(*given)
    shapes = (rows, 5), (1, 5 * layers), (rows, 2)
    x, w, c = (torch.rand(shape, dtype=torch.float64) for shape in shapes)
    s.vjp(x, w, c, s.evaluate(x, w, keep=True)[1])
    s.vjp_tangent(x, w, c, x, w, c)

keys, counts = {}, []
driver.set_active(Driver())
triton.knobs.runtime.jit_cache_hook = note
for layers, rows in ((2, 64), (2, 65), (3, 33), (5, 1001), (4, 40)):
    step(layers, rows)
    counts.append({name: len(found) for name, found in keys.items()})
print(json.dumps(counts))
"""


def test_kernels_are_compiled_once_for_all_batches_and_circuits() -> None:
    """Of one number of qubits, whatever numbers are read and wherever in memory tensors begin."""
    pytest.importorskip("triton", minversion="3.4", reason="which lets compilation be looked at")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", KEYS], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *others = json.loads(done.stdout)
    # Values and gradients with and without tangents.
    assert first == {"_angles": 2, "sweep": 4, "_expect": 1, "_observe": 2, "_pull_back": 1}
    assert all(counts == first for counts in others)
