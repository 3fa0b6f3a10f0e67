# SPDX-License-Identifier: Apache-2.0
"""Bit strings are read from the end on: cuts of graphs without symmetry are what theory says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from documented import code_with
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.primitives import BitArray, StatevectorSampler
from qiskit.quantum_info import Statevector

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.algorithms import bits_by_qubit, unpack_bits
from qiskit_torch_bridge.demos.problems import Graph, cut_operator, cut_values
from qiskit_torch_bridge.exceptions import InputError

STAR = Graph(4, ((0, 1), (0, 2), (0, 3), (1, 2)), (1.0,) * 4)
"""Node 0 has three neighbours, node 3 only one."""


def flipping(*qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(STAR.num_nodes)
    circuit.x(list(qubits))
    return circuit


@pytest.mark.parametrize("flipped", list(itertools.combinations(range(4), 2)))
def test_entry_k_is_qubit_k(flipped):
    circuit = flipping(*flipped)
    circuit.measure_all()
    data = StatevectorSampler().run([circuit], shots=1).result()[0].data.meas
    expected = tuple(int(k in flipped) for k in range(4))
    for outcome, count in ((*data.get_counts(), None), (*data.get_int_counts(), 4)):
        assert bits_by_qubit(outcome, count) == expected
    assert bits_by_qubit(np.int64(*data.get_int_counts()), 4) == expected
    assert bits_by_qubit(*Statevector(flipping(*flipped)).to_dict(), num_qubits=4) == expected


def test_registers_are_read_on_from_the_last_one():
    """Qiskit writes the register that was added last first, with a space between."""
    circuit = QuantumCircuit(3)
    circuit.add_register(ClassicalRegister(2, "a"), ClassicalRegister(1, "b"))
    circuit.x(0)
    circuit.measure(range(3), range(3))
    joined = StatevectorSampler().run([circuit], shots=1).result()[0].join_data(["a", "b"])
    assert bits_by_qubit(*joined.get_counts()) == bits_by_qubit("0 01") == (1, 0, 0)


@pytest.mark.parametrize("n", [1, 3, 8, 9, 63, 64, 65, 100])
def test_many_outcomes_of_every_kind(n):
    bits = np.random.default_rng(n).integers(0, 2, (2, 5, n))
    strings = [["".join(map(str, row[::-1])) for row in rows] for rows in bits]
    numbers = [[int(text, 2) for text in texts] for texts in strings]
    kinds = [BitArray.from_bool_array(bits.astype(bool), order="little"), strings]
    for given in (*kinds, np.array(strings)):
        assert (unpack_bits(given) == bits).all() and (unpack_bits(given, n) == bits).all()
    kinds = [numbers, np.array(numbers, dtype=object)]
    if n < 64:
        kinds += [np.array(numbers), torch.tensor(numbers), np.array(numbers, dtype="uint64")]
    for given in kinds:
        found = unpack_bits(given, n)
        assert (found == bits).all() and found.dtype == np.int8
    assert bits_by_qubit(strings[1][2]) == bits_by_qubit(numbers[1][2], n) == tuple(bits[1, 2])


def test_none_and_one():
    assert unpack_bits([], 3).shape == (0, 3)
    assert unpack_bits("011").tolist() == [1, 1, 0] == unpack_bits(3, 3).tolist()
    assert unpack_bits(["0 01", "1 10"]).tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("outcomes", "count"),
    [
        (["0", "01"], None), (["2"], None), ([1, 4], 2), ([-1], 3), ([True], 1), ([0.0], 1),
        ([0, 1], None), ([[0], [1, 1]], 1), (["011"], 4), (None, 2), (torch.zeros(2), 2),
        (torch.zeros(2, dtype=torch.int64, device="meta"), 2), ([2**70], 70), ([], None),
        (BitArray(np.zeros((1, 1), dtype=np.uint8), 3), 2),
    ],
)  # fmt: skip
def test_what_are_no_outcomes_is_refused(outcomes, count):
    with pytest.raises(InputError, match="a bit string such as '011', or a number"):
        unpack_bits(outcomes, count)


@pytest.mark.parametrize("index", range(16))
def test_a_cut_is_the_operator_s_expectation_value(index):
    """On a graph without mirror symmetry, where the other end of the string gives other cuts."""
    outcome = format(index, "04b")
    side = bits_by_qubit(outcome)
    cut = sum(side[u] != side[v] for u, v in STAR.edges)
    expected = Statevector.from_label(outcome).expectation_value(cut_operator(STAR)).real
    assert cut == round(expected) == cut_values(STAR)[index]


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("sample(shots=200).bits", "tutorials/qaoa.md"),
        ("def cut(", "how-tos/take-a-trained-module-back-to-qiskit.rst"),
    ],
)
@pytest.mark.parametrize("node", range(4))
def test_the_documented_cuts_hold_on_any_graph(words, page, node, capsys):
    """With one node on the other side the cut has as many edges as the node has neighbours."""
    module = TorchQuantumModule(flipping(node))
    exec(code_with(words, page), {"module": module, "edges": STAR.edges})
    neighbours = sum(node in edge for edge in STAR.edges)
    assert capsys.readouterr().out.startswith(f"{neighbours}")


@pytest.mark.parametrize(
    ("outcome", "count"),
    [("012", None), ("01", 3), ("0x3", None), (3, None), (4, 2), (-1, 2), (True, 1), (1.0, 1)],
)
def test_what_is_no_outcome_is_refused(outcome, count):
    with pytest.raises(InputError, match="a bit string such as '011', or a number"):
        bits_by_qubit(outcome, count)
