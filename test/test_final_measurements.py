# SPDX-License-Identifier: Apache-2.0
"""Which measurements end a circuit, and what is left without them."""

from __future__ import annotations

import pytest
from qiskit import transpile
from qiskit.circuit import (
    ClassicalRegister,
    Clbit,
    InstructionSet,
    QuantumCircuit,
    QuantumRegister,
)
from qiskit.circuit.library import RealAmplitudes
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.final_measurements import split_final_measurements


def names(circuit):
    return [i.operation.name for i in circuit.data]


def test_the_measurements_at_the_end_come_off():
    circuit = QuantumCircuit(3, 2, metadata={"mine": 1}, global_phase=0.5)
    circuit.h(0)
    circuit.measure(2, 0)  # which the second one into this bit makes void
    circuit.barrier()
    circuit.measure(0, 1)
    circuit.measure(1, 0)
    circuit.delay(10, 0)
    circuit.measure_all()
    bare, qubit_of = split_final_measurements(circuit)
    assert names(bare) == ["h", "barrier", "delay", "barrier"]
    assert qubit_of == {0: 1, 1: 0, 2: 0, 3: 1, 4: 2}
    assert (bare.clbits, bare.cregs) == ([], [])
    assert bare.qregs == circuit.qregs and bare.metadata == {"mine": 1}
    assert float(bare.global_phase) == 0.5
    assert circuit.num_clbits == 5 and names(circuit).count("measure") == 6


def test_registers_that_share_bits_and_bits_without_a_register():
    first = ClassicalRegister(2, "first")
    shared = ClassicalRegister(name="shared", bits=[first[1]])
    circuit = QuantumCircuit(QuantumRegister(2), first, shared, [Clbit()])
    circuit.measure([1, 0, 0], [0, 1, 2])
    bare, qubit_of = split_final_measurements(circuit)
    assert (bare.clbits, bare.data.copy(), qubit_of) == ([], [], {0: 1, 1: 0, 2: 0})


@pytest.mark.parametrize("later", ["gate", "reset", "condition"])
def test_a_measurement_in_the_middle_stays(later):
    circuit = QuantumCircuit(2, 2)
    circuit.measure(1, 0)
    circuit.measure(0, 0)
    if later == "gate":
        circuit.x(0)
    elif later == "reset":
        circuit.reset(0)
    else:
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    bare, qubit_of = split_final_measurements(circuit)
    # The first one, too: it has written what the second one overwrites.
    assert names(bare)[:2] == ["measure", "measure"] and len(bare.data) == 3
    assert bare.clbits == circuit.clbits
    assert qubit_of == {0: 0, 1: 1}


def test_a_transpiled_circuit_keeps_its_layout():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    backend = GenericBackendV2(4, seed=1)
    placed = transpile(circuit, backend, initial_layout=[2, 1], seed_transpiler=1)
    bare, qubit_of = split_final_measurements(placed)
    assert bare.layout is not None
    assert list(qubit_of.values()) == placed.layout.final_index_layout()


@pytest.mark.filterwarnings("ignore:.*c_if:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*condition.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(InstructionSet, "c_if"), reason="Qiskit 2 has no conditions")
def test_a_measurement_with_a_condition_stays_and_is_deferred():
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    circuit.measure(1, 1).c_if(circuit.clbits[0], 1)
    bare, qubit_of = split_final_measurements(circuit)
    assert names(bare) == ["measure"] and qubit_of == {0: 0}
    assert AnalysedCircuit(bare).is_dynamic


@pytest.mark.skipif(not hasattr(QuantumCircuit, "box"), reason="boxes came with Qiskit 2")
def test_a_box_that_measures():
    circuit = QuantumCircuit(2, 2)
    with circuit.box():
        circuit.x(1)
        circuit.measure([0, 1], [1, 0])
    bare, qubit_of = split_final_measurements(circuit)
    assert (names(bare), qubit_of) == (["x"], {0: 1, 1: 0})


def test_circuits_without_anything_to_take_off():
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    assert split_final_measurements(circuit)[1] == {}
    assert names(split_final_measurements(circuit)[0]) == ["x"]
    assert split_final_measurements(QuantumCircuit()).circuit.num_qubits == 0


@pytest.mark.filterwarnings("ignore:.*is (pending )?deprecat:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:PendingDeprecationWarning")
@pytest.mark.parametrize("bits", [0, 2])
def test_circuits_of_the_library_that_build_themselves(bits):
    """With numbers in place of their parameters, which an empty one of Qiskit 1.4 would have."""
    ansatz = RealAmplitudes(2, reps=1)
    bound = ansatz.assign_parameters([0.1, 0.2, 0.3, 0.4])
    if bits:
        bound.measure_all()
    bare, qubit_of = split_final_measurements(bound)
    assert not bare.parameters and qubit_of == {k: k for k in range(bits)}
    assert names(bare) == [name for name in names(bound) if name != "measure"]
