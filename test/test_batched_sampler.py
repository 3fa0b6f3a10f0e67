# SPDX-License-Identifier: Apache-2.0
"""What Qiskit's StatevectorSampler does, of it and of the sampler in its place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from circuits import hybrid, layered
from dynamic_circuits import distribution_of
from qiskit import transpile
from qiskit.circuit import ClassicalRegister, Clbit, Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import (
    PauliEvolutionGate,
    StatePreparation,
    UnitaryGate,
    efficient_su2,
)
from qiskit.primitives import BitArray, SamplerPubResult, StatevectorSampler
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, random_unitary

from qiskit_torch_bridge.exceptions import BridgeError, MemoryLimitError
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

BOTH = pytest.mark.parametrize("sampler", [StatevectorSampler, BatchedStatevectorSampler])
PI = 3.141592653589793


def sample(sampler, *pub, shots=8, **options):
    return sampler(seed=1, **options).run([pub], shots=shots).result()[0]


def on_registers(*sizes):
    """Two qubits in the state 01 with registers a, b, c, as many as there are sizes."""
    registers = [ClassicalRegister(size, name) for size, name in zip(sizes, "abc", strict=False)]
    circuit = QuantumCircuit(QuantumRegister(2), *registers)
    circuit.x(0)
    return circuit


def several():
    circuit = on_registers(2, 1, 9)
    circuit.measure([0, 1, 0], [1, 2, 11])
    return circuit, {"a": "10", "b": "0", "c": "100000000"}


def nothing_measured():
    return on_registers(2, 9), {"a": "00", "b": "000000000"}


def one_qubit_in_several_bits():
    circuit = on_registers(3)
    circuit.measure([0, 0, 1], [0, 2, 1])
    return circuit, {"a": "101"}


def overwritten():
    circuit = on_registers(2)
    circuit.measure([0, 1, 1, 0], [0, 0, 1, 1])
    return circuit, {"a": "10"}


def shared_bits():
    first = ClassicalRegister(2, "a")
    second = ClassicalRegister(name="b", bits=[first[1], first[0], Clbit()])
    circuit = QuantumCircuit(QuantumRegister(2), first, second)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return circuit, {"a": "01", "b": "010"}


def bits_without_a_register():
    circuit = QuantumCircuit(QuantumRegister(1), [Clbit()], ClassicalRegister(1, "a"))
    circuit.x(0)
    circuit.measure([0, 0], [0, 1])
    return circuit, {"a": "1"}


def behind_barriers():
    circuit = on_registers(2)
    circuit.barrier()
    circuit.measure(0, 0)
    circuit.barrier()
    circuit.measure(1, 1)
    circuit.measure_all()
    return circuit, {"a": "01", "meas": "01"}


def prepared():
    circuit = QuantumCircuit(2, 2)
    circuit.initialize([0, 0, 1, 0])
    circuit.measure([0, 1], [0, 1])
    return circuit, {"c": "10"}


def a_name_with_a_space():
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(1, "my bits"))
    circuit.measure(0, 0)
    return circuit, {"my bits": "0"}


def bits_far_apart():
    """Bits far apart in one register, between them others that nothing is measured into."""
    circuit = QuantumCircuit(3, 20)
    circuit.x(2)
    circuit.measure([0, 2], [3, 17])
    return circuit, {"c": f"{1 << 17:020b}"}


REGISTERS = [
    several,
    nothing_measured,
    one_qubit_in_several_bits,
    overwritten,
    shared_bits,
    bits_without_a_register,
    behind_barriers,
    prepared,
    a_name_with_a_space,
    bits_far_apart,
]


@BOTH
@pytest.mark.parametrize("make", REGISTERS)
def test_registers(sampler, make):
    circuit, expected = make()
    result = sample(sampler, circuit)
    assert isinstance(result, SamplerPubResult)
    assert {name: bits.get_counts() for name, bits in result.data.items()} == {
        name: {bits: 8} for name, bits in expected.items()
    }
    for name, bits in result.data.items():
        assert isinstance(bits, BitArray)
        assert (bits.num_bits, bits.num_shots, bits.shape) == (len(expected[name]), 8, ())
        assert bits.array.dtype == np.uint8 and bits.array.flags.c_contiguous


@BOTH
def test_a_register_without_bits(sampler):
    circuit = QuantumCircuit(
        QuantumRegister(1), ClassicalRegister(0, "a"), ClassicalRegister(1, "b")
    )
    circuit.measure(0, 0)
    data = sample(sampler, circuit).data
    assert data.a.array.shape == (8, 0) and data.b.array.shape == (8, 1)


@BOTH
def test_no_register_gives_an_empty_result_and_a_warning(sampler):
    circuit = QuantumCircuit(1)
    with pytest.warns(UserWarning, match="no (output )?classical registers"):
        result = sample(sampler, circuit)
    assert list(result.data) == [] and result.data.shape == ()


@BOTH
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)])
def test_shapes(sampler, shape):
    """Each point has outcomes of its own, at its place."""
    circuit = QuantumCircuit(3)
    parameters = [Parameter(name) for name in "abc"]
    for qubit, parameter in enumerate(parameters):
        circuit.rx(parameter, qubit)
    circuit.measure_all()
    bits = np.random.default_rng(0).integers(0, 2, (*shape, 3))
    result = sample(sampler, circuit, PI * bits)
    assert result.data.shape == result.data.meas.shape == shape
    assert result.data.meas.array.shape == (*shape, 8, 1)
    expected = np.broadcast_to((bits @ [1, 2, 4])[..., None, None], (*shape, 8, 1))
    np.testing.assert_array_equal(result.data.meas.array, expected)


@BOTH
def test_forms_of_a_pub(sampler):
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(2)
    circuit.rx(y, 0)
    circuit.rx(x, 1)
    circuit.measure_all()
    bound = circuit.assign_parameters({x: PI, y: 0.0})
    pubs = [
        bound,
        (bound,),
        [bound, None],
        (bound, [], 8),
        (circuit, [PI, 0.0]),
        (circuit, {y: 0.0, x: PI}, None),
        (circuit, {("y", "x"): [0.0, PI]}),
        (circuit, BindingsArray({(x, y): [PI, 0.0]})),
        SamplerPub.coerce((circuit, [PI, 0.0])),
    ]
    results = sampler().run(iter(pubs), shots=8).result()
    assert [r.data.meas.get_counts() for r in results] == [{"10": 8}] * len(pubs)


@BOTH
def test_shots_of_the_pub_come_before_those_of_the_run_and_of_the_sampler(sampler):
    circuit = QuantumCircuit(1, metadata={"mine": 1})
    circuit.measure_all()
    made = sampler(default_shots=5)
    pubs = [circuit, (circuit, None, 7), SamplerPub.coerce((circuit, None, 9))]
    for run, expected in ((made.run(pubs), [5, 7, 9]), (made.run(pubs, shots=6), [6, 7, 9])):
        results = run.result()
        assert [r.data.meas.num_shots for r in results] == expected
        assert [r.metadata["shots"] for r in results] == expected
        assert all(r.metadata["circuit_metadata"] == {"mine": 1} for r in results)
        assert results.metadata == {"version": 2}
    assert sampler().default_shots == 1024
    assert sampler().run([circuit]).result()[0].data.meas.num_shots == 1024
    assert made.run([circuit], shots=np.int64(3)).result()[0].data.meas.num_shots == 3
    assert len(made.run([]).result()) == 0


@BOTH
def test_a_seed_makes_outcomes_reproducible(sampler):
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.measure_all()

    def outcomes(seed):
        return sampler(seed=seed).run([circuit], shots=50).result()[0].data.meas.get_bitstrings()

    assert outcomes(5) == outcomes(5) != outcomes(6)
    assert outcomes(np.random.default_rng(5)) == outcomes(np.random.default_rng(5))
    assert outcomes(None) != outcomes(None)


def measured_midway():
    circuit = QuantumCircuit(1, 2)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure(0, 1)
    return circuit


def conditioned():
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    return circuit


def until_zero():
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.h(0)
        circuit.measure(0, 0)
    return circuit


def reset():
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.reset(0)
    circuit.measure(0, 0)
    return circuit


def repeated():
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(2)):
        circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def stored():
    circuit = QuantumCircuit(1, 1)
    circuit.store(circuit.add_var("a", False), True)
    circuit.measure(0, 0)
    return circuit


def one_parameter():
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("t"), 0)
    circuit.measure_all()
    return circuit


def named(name):
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(1, name))
    circuit.measure(0, 0)
    return circuit


def measuring_instruction():
    inner = QuantumCircuit(1, 1)
    inner.measure(0, 0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_instruction(), [0], [0])
    return circuit


REFUSED = {
    "a loop until it is done": (until_zero(), "while_loop.*depends on outcomes.*sampler that runs"),
    "no values": (one_parameter(), "1 parameters \\(t\\); got 0"),
    "too many values": ((one_parameter(), {"t": 1.0, "u": 2.0}), "1 parameters.*got 2"),
    "no finite value": ((one_parameter(), [np.nan]), "finite.*row 0 has nan"),
    "no shots": ((one_parameter(), [1.0], 0), "whole number from 1.*got 0"),
    "half a shot": ((one_parameter(), [1.0], 1.5), "whole number.*got 1.5"),
    "a truth value": ((one_parameter(), [1.0], True), "whole number.*got True"),
    "too many parts": ((one_parameter(), [1.0], 1, 1), "sequence of 4"),
    "no circuit": (("c", [1.0]), "begin with a QuantumCircuit; got str"),
    "nothing": (None, "Expected each PUB to be .*got None"),
    "an instruction": (one_parameter().data[0], "list: run\\(\\[circuit\\]\\)"),
    "a name of Qiskit's": (named("items"), "register 'items'.*another name"),
    "a keyword of Qiskit's": (named("shape"), "register 'shape'.*another name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_neither_takes(name):
    """The sampler says so before it runs anything, in words; Qiskit's when it gets there."""
    pub, message = REFUSED[name]
    with pytest.raises(Exception):  # noqa: B017
        StatevectorSampler().run([pub]).result()
    good = QuantumCircuit(1, 1)
    with pytest.raises(BridgeError, match=message):
        BatchedStatevectorSampler().run([good, pub])


@pytest.mark.parametrize("width", [45, 80])
def test_states_that_do_not_fit_into_memory(width):
    """Gates between all qubits leave neither a narrow cut nor a small light cone."""
    circuit = QuantumCircuit(width)
    circuit.h(range(width))
    for a, b in itertools.combinations(range(width), 2):
        circuit.rzz(0.1, a, b)
    circuit.rx(0.2, range(width))
    circuit.measure_all()
    message = rf"Sampling {width} qubits exactly needs .* Use fewer layers .* at most 12 qubits"
    with pytest.raises(MemoryLimitError, match=message):
        BatchedStatevectorSampler().run([circuit])


def test_one_circuit_is_no_list_of_pubs():
    with pytest.raises(BridgeError, match="Expected pubs to be a list of PUBs"):
        BatchedStatevectorSampler().run(one_parameter())


@pytest.mark.parametrize(
    "build", [measured_midway, conditioned, repeated, stored, measuring_instruction, reset]
)
def test_what_is_decided_before_the_end_is_deferred(build):
    circuit, shots = build(), 2000
    counts = sample(BatchedStatevectorSampler, circuit, shots=shots).data.c.get_int_counts()
    for outcome, p in enumerate(distribution_of(circuit).real):
        error = np.sqrt(p * (1 - p) / shots)
        assert abs(counts.get(outcome, 0) / shots - p) <= 5 * error + 1e-12


def test_what_only_the_batched_one_takes():
    """A delay behind a measurement, and boxes, which change nothing."""
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.delay(10, 0)
    assert sample(BatchedStatevectorSampler, circuit).data.c.get_counts() == {"1": 8}
    if hasattr(circuit, "box"):
        boxed = QuantumCircuit(2, 2)
        with boxed.box():
            boxed.x(1)
            boxed.measure([0, 1], [1, 0])
        assert sample(BatchedStatevectorSampler, boxed).data.c.get_counts() == {"01": 8}


def test_a_wide_circuit_with_few_qubits_in_use():
    logical, _, _ = layered(3, 1)
    logical.measure_all()
    backend = GenericBackendV2(60, coupling_map=[[q, q + 1] for q in range(59)], seed=1)
    circuit = transpile(logical, backend, initial_layout=[40, 41, 42], seed_transpiler=1)
    circuit.measure_all()
    values = np.zeros((2, circuit.num_parameters))
    data = sample(BatchedStatevectorSampler, circuit, values, shots=50).data
    narrow, wide = (data[register.name] for register in circuit.cregs)  # the second is numbered
    assert narrow.num_bits == 3 and wide.num_bits == 60
    narrow, wide = narrow.get_int_counts(), wide.get_int_counts()
    placed = {}
    for outcome, count in narrow.items():
        bits = circuit.layout.final_index_layout()
        placed[sum((outcome >> j & 1) << bits[j] for j in range(3))] = count
    assert wide == placed


def test_gates_that_are_not_standard():
    """Where outcomes are certain they are those of Qiskit; exact, since its values are."""
    circuit = QuantumCircuit(3)
    circuit.append(StatePreparation([0, 0, 1, 0]), [2, 0])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XXI"]), PI / 2), [0, 1, 2])
    unitary = random_unitary(4, seed=5)
    circuit.append(UnitaryGate(unitary), [1, 2])
    circuit.append(UnitaryGate(unitary.adjoint()), [1, 2])
    circuit.append(efficient_su2(1, reps=0).assign_parameters([PI, 0]).to_gate().control(1), [0, 2])
    circuit.measure_all()
    found = [
        sample(s, circuit).data.meas.get_counts()
        for s in (StatevectorSampler, BatchedStatevectorSampler)
    ]
    assert found[0] == found[1] and len(found[0]) == 1


def test_values_are_bound_as_qiskits_are():
    circuit = hybrid()
    circuit.measure_all()
    values = np.random.default_rng(2).uniform(-3, 3, (3, circuit.num_parameters))
    names = list(circuit.parameters)
    backwards = {p: values[:, k] for k, p in reversed(list(enumerate(names)))}
    counts = [
        sample(BatchedStatevectorSampler, circuit, v, shots=100).data.meas.array
        for v in (values, backwards)
    ]
    np.testing.assert_array_equal(*counts)
