# SPDX-License-Identifier: Apache-2.0
"""Taking circuits apart into gates and final measurements, against what Qiskit's sampler reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge.exceptions import CircuitError
from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.final_measurements import split_final_measurements

QUBITS = 4


@st.composite
def measured_circuits(draw):
    """Circuits that prepare a basis state, then measure into registers, with gates in between."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    circuit = QuantumCircuit(QUBITS)
    for k, size in enumerate(sizes):
        circuit.add_register(ClassicalRegister(size, f"c{k}"))
    ones = draw(st.sets(st.integers(0, QUBITS - 1)))
    pairs = draw(st.lists(st.tuples(st.integers(0, QUBITS - 1), st.sampled_from(circuit.clbits))))
    late = draw(st.booleans())  # gates of a qubit come just before it is measured
    first = {qubit: k for k, (qubit, _) in reversed(list(enumerate(pairs)))}
    for qubit in ones if not late else ones - set(first):
        circuit.x(qubit)
    for k, (qubit, clbit) in enumerate(pairs):
        if late and qubit in ones and first[qubit] == k:
            circuit.x(qubit)
        circuit.measure(qubit, clbit)
        if not late and draw(st.booleans()):  # after which Qiskit takes no more gates
            circuit.barrier()
    return circuit, ones


@given(measured_circuits())
def test_bits_are_those_that_qiskit_reads(case):
    circuit, ones = case
    split = split_final_measurements(circuit)
    data = StatevectorSampler().run([circuit], shots=1).result()[0].data
    expected, shift = 0, 0
    for register in circuit.cregs:
        expected |= data[register.name].array[0, 0] << shift
        shift += register.size
    outcome = sum(1 << j for j, qubit in enumerate(split.qubits) if qubit in ones)
    assert split.integers(np.array([outcome])) == [expected]
    assert not split.circuit.clbits and not split.circuit.cregs
    assert split.circuit.count_ops().get("x", 0) == len(ones)
    AnalysedCircuit(split.circuit)


def test_more_bits_than_an_integer_of_the_machine_has():
    circuit = QuantumCircuit(2, 70)
    circuit.measure([1, 0], [69, 3])
    split = split_final_measurements(circuit)
    assert split.qubits == (0, 1)
    assert split.integers(np.arange(4)) == [0, 1 << 3, 1 << 69, 1 << 3 | 1 << 69]


def test_what_a_circuit_has_besides_stays():
    theta = Parameter("theta")
    circuit = QuantumCircuit(2, name="ansatz", global_phase=theta, metadata={"a": 1})
    circuit.ry(theta, 1)
    circuit.measure_all()
    split = split_final_measurements(circuit)
    assert split.registers == (("meas", (0, 1)),)
    for name in ("name", "global_phase", "metadata", "qregs", "qubits", "parameters"):
        assert getattr(split.circuit, name) == getattr(circuit, name)
    transpiled = generate_preset_pass_manager(
        1, coupling_map=[[0, 1], [1, 2]], basis_gates=["rz", "sx", "cx"], initial_layout=[2, 1]
    ).run(circuit)
    split = split_final_measurements(transpiled)
    assert split.registers == (("meas", (2, 1)),) and split.circuit.layout == transpiled.layout


def acts_later(circuit):
    circuit.x(0)


def depends_on_it(circuit):
    with circuit.if_test((circuit.clbits[0], True)):
        circuit.x(1)


@pytest.mark.parametrize("change", [acts_later, depends_on_it])
def test_other_measurements_stay_and_are_refused(change):
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    change(circuit)
    circuit.measure(1, 1)
    split = split_final_measurements(circuit)
    assert split.registers == (("c", (None, 1)),) and split.circuit.num_clbits == 2
    with pytest.raises(CircuitError, match="measures qubit 0"):
        AnalysedCircuit(split.circuit)
