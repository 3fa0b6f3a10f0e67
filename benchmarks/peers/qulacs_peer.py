# SPDX-License-Identifier: Apache-2.0
"""qulacs: a parametric circuit, run and differentiated by ``backprop`` row by row.

https://docs.qulacs.org/en/latest/guide/2.0_python_advanced.html describes parametric circuits;
``backprop`` is its gradient by back propagation. Rows are a loop, as it has no batches of
parameters for gradients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qulacs import Observable as QulacsObservable
from qulacs import ParametricQuantumCircuit, QuantumState
from workloads import Observable, Workload

from peers.candidate import Candidate, split

# Its rotations are exp(+i angle P / 2): angles and gradients change sign.
SIGN = -1.0


def backprop(work: Workload) -> Candidate:
    """Expectation values, then one ``backprop`` of the sum of the observables, for each row."""
    circuit = ParametricQuantumCircuit(work.qubits)
    for name, qubits, *_ in work.gates:
        if name == "cx":
            circuit.add_CNOT_gate(*qubits)
        else:
            getattr(circuit, f"add_parametric_{name.upper()}_gate")(qubits[0], 0.0)
    parameters = np.array([g.parameter for g in work.gates if g.parameter is not None])
    columns = work.values.shape[1]
    observables = [_operator(work.qubits, o) for o in work.observables]
    total = _operator(work.qubits, work.total)
    state = QuantumState(work.qubits)

    def row(values: NDArray[np.float64]) -> tuple[list[float], NDArray[np.float64]]:
        for place, angle in enumerate((SIGN * values[parameters]).tolist()):
            circuit.set_parameter(place, angle)
        state.set_zero_state()
        circuit.update_quantum_state(state)
        evs = [o.get_expectation_value(state) for o in observables]
        angles = SIGN * np.array(circuit.backprop(total))
        return evs, np.bincount(parameters, weights=angles, minlength=columns)

    def step() -> list[tuple[list[float], NDArray[np.float64]]]:
        return [row(values) for values in work.values]

    return Candidate(step, lambda rows: split(work, *zip(*rows, strict=True)))


def _operator(qubits: int, observable: Observable) -> QulacsObservable:
    operator = QulacsObservable(qubits)
    for word, places, coefficient in observable:
        text = " ".join(f"{letter} {q}" for letter, q in zip(word, places, strict=True))
        operator.add_operator(coefficient, text)
    return operator
