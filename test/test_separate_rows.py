# SPDX-License-Identifier: Apache-2.0
"""Values of one point are the same to the last bit, whatever others are evaluated with it."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import layered
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge.program import AnalysedCircuit
from qiskit_torch_bridge.program.readouts import Expectations, Outcomes
from qiskit_torch_bridge.simulation.choice import METHODS, NETWORK, make_simulator

STRINGS = [SparsePauliOp(["ZIIIII", "IXYIII"], [0.5, -1.25]), SparsePauliOp("IIIIZZ")]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("readout", [Expectations(tuple(STRINGS)), Outcomes((1, 0))])
def test_rows_depend_on_no_others(method, readout):
    if method == NETWORK:
        pytest.importorskip("cotengra")
    circuit, _, _ = layered(6, 1)
    columns = range(circuit.num_parameters)
    simulator = make_simulator(method, AnalysedCircuit(circuit), readout, columns, ())
    x, w = np.random.default_rng(0).uniform(-3, 3, (40, len(columns))), np.zeros((1, 0))
    found = simulator.evaluate_separately(x, w)
    for rows in (slice(0, 0), slice(0, 1), slice(3, 8), slice(31, 40)):
        np.testing.assert_array_equal(simulator.evaluate_separately(x[rows], w), found[rows])
    np.testing.assert_allclose(found, simulator.evaluate(x, w)[0], rtol=0, atol=1e-12)
