# SPDX-License-Identifier: Apache-2.0
"""What cannot be simulated exactly is refused by name, before anything is allocated."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Instruction, Parameter
from qiskit.circuit import library as lib

from qiskit_torch_bridge import CircuitProgram, memory
from qiskit_torch_bridge.exceptions import CircuitError, MemoryLimitError
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

T = Parameter("t")


def simulator(circuit: QuantumCircuit, **options) -> StatevectorSimulator:
    program = CircuitProgram(circuit)
    columns = (program.input_columns, program.weight_columns)
    return StatevectorSimulator(program.analysed, program.readout, *columns, **options)


def rotations(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.ry(T, q)
    return circuit


def with_loop() -> QuantumCircuit:
    circuit = rotations(2)
    with circuit.for_loop(range(3)):
        circuit.x(0)
    return circuit


def with_condition() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.ry(T, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    return circuit


def with_initialize_in_the_middle() -> QuantumCircuit:
    circuit = rotations(2)
    circuit.initialize([0.6, 0.8], 1)
    return circuit


def with_initialize_after_a_fixed_gate() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(1)
    circuit.initialize([0.6, 0.8], 1)
    circuit.ry(T, 0)
    return circuit


def with_initialize_twice() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.initialize([0.5, 0.5, 0.5, 0.5], [0, 1])
    circuit.initialize([0.6, 0.8], 1)
    circuit.ry(T, 0)
    return circuit


def with_opaque_gate() -> QuantumCircuit:
    circuit = rotations(2)
    circuit.append(Gate("oracle", 1, []), [0])
    return circuit


def with_opaque_instruction() -> QuantumCircuit:
    circuit = rotations(2)
    circuit.append(Instruction("coupling", 2, 0, [T]), [0, 1])
    return circuit


def with_measurement() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(T, 0)
    circuit.measure(0, 0)
    return circuit


def with_reset() -> QuantumCircuit:
    circuit = rotations(1)
    circuit.reset(0)
    return circuit


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (with_loop, "for_loop"),
        (with_condition, "if_else"),
        (with_initialize_in_the_middle, "initialize"),
        (with_initialize_after_a_fixed_gate, "initialize"),
        (with_initialize_twice, "initialize"),
        (with_opaque_gate, "oracle"),
        (with_opaque_instruction, "coupling"),
        (with_measurement, "measurement"),
        (with_reset, "reset"),
    ],
)
def test_refused_by_name(make, named: str) -> None:
    with pytest.raises(CircuitError, match=named):
        simulator(make())


@pytest.mark.parametrize("num_qubits", [40, 62, 63, 127, 1000])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_more_qubits_than_fit(num_qubits: int, dtype: type) -> None:
    """Ket and bra of 40 qubits take 2**45 bytes and more, on any machine that runs tests."""
    circuit = rotations(num_qubits)
    tracemalloc.start()
    with pytest.raises(MemoryLimitError, match=f"{num_qubits} qubits.* GiB.*available") as error:
        simulator(circuit, dtype=dtype).evaluate(np.zeros((1, 0)), np.zeros((1, 1)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20  # what is traced is Python's own and NumPy's
    needed = 2 * np.dtype(dtype).itemsize * 2**num_qubits / 2**30
    assert f"{needed:.3g} GiB" in str(error.value)


def test_a_prepared_state_that_does_not_fit() -> None:
    circuit = rotations(45)
    prepared = QuantumCircuit(45)
    prepared.initialize([0.6, 0.8], 44)
    with pytest.raises(MemoryLimitError, match="45 qubits"):
        simulator(prepared.compose(circuit))


@pytest.mark.parametrize("method", ["evaluate", "vjp", "tangent", "vjp_tangent"])
def test_working_memory_is_asked_for_when_it_is_needed(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has little memory left: 21 qubits take 64 MiB for ket and bra."""
    s = simulator(rotations(21))
    x, w, c = np.zeros((1, 0)), np.zeros((1, 1)), np.zeros((1, 21))
    arguments = {
        "evaluate": (x, w),
        "vjp": (x, w, c),
        "tangent": (x, w, x, w),
        "vjp_tangent": (x, w, c, x, w, c),
    }[method]
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    if method == "evaluate":  # less than what is always granted
        assert s.evaluate(*arguments)[0].shape == (1, 21)
        return
    with pytest.raises(MemoryLimitError, match="21 qubits"):
        getattr(s, method)(*arguments)


def test_idle_qubits_take_no_memory() -> None:
    """And of the two that are left, one is a copy of the other."""
    circuit = QuantumCircuit(100)
    circuit.ry(T, 99)
    circuit.cx(99, 3)
    s = simulator(circuit)
    assert sorted(s.tape.position) == [3, 99] and s.tape.num_bits == 1
    evs, _ = s.evaluate(np.zeros((1, 0)), np.array([[0.4]]))
    expected = np.ones(100)
    expected[[3, 99]] = np.cos(0.4)
    np.testing.assert_allclose(evs[0], expected, rtol=0, atol=1e-14)


def test_what_is_not_parameterized_may_be_anything_unitary() -> None:
    """A gate without a definition but with a matrix is taken by that."""

    class Hidden(Gate):
        def __init__(self) -> None:
            super().__init__("hidden", 2, [])

        def __array__(self, dtype=None, copy=None) -> np.ndarray:
            return lib.CXGate().to_matrix()

    circuit = QuantumCircuit(2)
    circuit.ry(T, 0)
    circuit.append(Hidden(), [0, 1])
    s = simulator(circuit)
    evs, _ = s.evaluate(np.zeros((1, 0)), np.array([[0.4]]))
    np.testing.assert_allclose(evs, [[np.cos(0.4)] * 2], rtol=0, atol=1e-14)
