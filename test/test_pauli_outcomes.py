# SPDX-License-Identifier: Apache-2.0
"""Outcomes from expectation values of strings of Z, against those of the state vector.

Values are sums of at most 2**5 expectation values of size one, each to some 1e-14, and so are the
derivatives here: hence 1e-12, and 1e-10 for second derivatives, sums over all rows and parameters.
"""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.exceptions import MeasurementError
from qiskit_torch_bridge.program.interpretations import OutcomeTable, Parity
from qiskit_torch_bridge.program.readouts import Expectations, Interpretation, Outcomes
from qiskit_torch_bridge.simulation.interface import Cost, Simulator
from qiskit_torch_bridge.simulation.pauli_outcomes import (
    MOST_BITS,
    PauliOutcomes,
    find_strings,
    plan_outcomes,
)
from qiskit_torch_bridge.simulation.statevector import StatevectorSimulator

EXACT, SECOND = 1e-12, 1e-10
ROWS, QUBITS = 3, 5

MEASURED = [(0,), (3, 1), (4, 0, 2), tuple(range(QUBITS)), (5, 2), (5,)]
COUNTED: list[tuple[tuple[int, ...], Interpretation]] = [
    ((2, 4, 0), OutcomeTable([0, 1, 1, 2, 1, 2, 2, 5], 7)),
    (tuple(range(QUBITS)), Parity()),
    ((1, 3), Parity(4)),
    ((4, 1), OutcomeTable([0, 0, 0, 0])),
]


def circuit_of() -> CircuitProgram:
    """An entangled circuit with a non-affine expression and an idle qubit, inputs and weights."""
    x, w = Parameter("x"), ParameterVector("w", 6)
    circuit = QuantumCircuit(QUBITS + 1)
    for q in range(QUBITS):
        circuit.ry(w[q % 6] + q * x, q)
    circuit.rz(x * w[5], 2)
    for q in range(QUBITS - 1):
        circuit.cx(q, q + 1)
    circuit.rxx(w[1] * 2, 0, 3)
    circuit.crx(w[4], 4, 1)
    program = CircuitProgram(circuit, input_params=[x])
    return program


def pair(readout: Outcomes) -> tuple[PauliOutcomes, StatevectorSimulator]:
    """The simulator of strings with its transform, and that of the outcomes themselves."""
    program = circuit_of()
    parts = program.input_columns, program.weight_columns
    inner = StatevectorSimulator(
        program.analysed, find_strings(readout, program.circuit.num_qubits), *parts
    )
    return PauliOutcomes(inner, readout), StatevectorSimulator(program.analysed, readout, *parts)


def values(size: int, seed: int = 3) -> list[np.ndarray]:
    """Inputs, shared weights, a cotangent, and tangents of all three."""
    rng = np.random.default_rng(seed)
    shapes = [(ROWS, 1), (1, 6), (ROWS, size)]
    return [rng.normal(size=shape) for shape in shapes * 2]


READOUTS = [*map(Outcomes, MEASURED), *(Outcomes(*each) for each in COUNTED)]


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_everything_is_as_read_from_the_state(readout: Outcomes) -> None:
    found, expected = pair(readout)
    x, w, c, dx, dw, dc = values(readout.size)
    value, kept = found.evaluate(x, w, keep=True)
    np.testing.assert_allclose(value, expected.evaluate(x, w)[0], atol=EXACT)
    for got, right in zip(found.vjp(x, w, c, kept), expected.vjp(x, w, c), strict=True):
        np.testing.assert_allclose(got, right, atol=EXACT)
    moved = x, w, dx, dw
    np.testing.assert_allclose(found.tangent(*moved), expected.tangent(*moved), atol=EXACT)
    second = x, w, c, dx, dw, dc
    for got, right in zip(found.vjp_tangent(*second), expected.vjp_tangent(*second), strict=True):
        np.testing.assert_allclose(got, right, atol=SECOND)


def test_only_what_is_wanted_is_differentiated() -> None:
    found, _ = pair(Outcomes((0, 1)))
    x, w, c = values(4)[:3]
    gx, gw = found.vjp(x, w, c, None, (True, False))
    both = found.vjp(x, w, c)
    np.testing.assert_array_equal(gx, both[0])
    assert not gw.any()


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_probabilities_add_up_to_one(readout: Outcomes) -> None:
    found, _ = pair(readout)
    x, w = values(readout.size)[:2]
    np.testing.assert_allclose(found.evaluate(x, w)[0].sum(axis=1), 1.0, atol=EXACT)


def test_the_strings_are_the_subsets_in_order() -> None:
    """Bit j of a string's number is measured qubit j, whatever the qubits' order."""
    strings = find_strings(Outcomes((2, 0)), 4)
    assert [o.paulis[0].to_label() for o in strings.operators] == ["IZII", "IIIZ", "IZIZ"]


def test_a_parity_is_one_string_of_any_length() -> None:
    strings = find_strings(Outcomes(tuple(range(100)), Parity()), 100)
    assert [o.paulis[0].to_label() for o in strings.operators] == ["Z" * 100]


def test_too_many_measured_qubits_are_refused_with_remedies() -> None:
    few = find_strings(Outcomes(tuple(range(MOST_BITS))), MOST_BITS)
    assert len(few.operators) == 2**MOST_BITS - 1
    with pytest.raises(MeasurementError, match=r"at most 12 .* got 13\..*parity.*shots="):
        find_strings(Outcomes(tuple(range(MOST_BITS + 1))), 100)


def test_a_plan_adds_the_transform_to_the_method_s_own_and_compiles_it() -> None:
    program = circuit_of()
    asked: list[Expectations] = []

    class Plan:
        def estimate(self, rows: int) -> Cost:
            return Cost(1000 * rows, 10.0)

        def compile(self) -> Simulator:
            columns = range(7)
            return StatevectorSimulator(program.analysed, asked[0], columns, ())

    def plan(analysed: object, readout: Expectations, *others: object) -> Plan:
        asked.append(readout)
        return Plan()

    readout = Outcomes((3, 1))
    planned = plan_outcomes(plan, program.analysed, readout, range(7), ())
    assert len(asked[0].operators) == 3
    cost = planned.estimate(5)
    assert 5000 < cost.bytes <= 5000 + 5 * 8 * 16
    assert cost.operations > 10.0
    x, w = np.random.default_rng(1).normal(size=(2, 7)), np.zeros((1, 0))
    expected = StatevectorSimulator(program.analysed, readout, range(7), ())
    np.testing.assert_allclose(
        planned.compile().evaluate(x, w)[0], expected.evaluate(x, w)[0], atol=EXACT
    )
