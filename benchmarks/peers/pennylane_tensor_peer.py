# SPDX-License-Identifier: Apache-2.0
"""PennyLane's ``default.tensor``, matrix products without truncation, by parameter shift.

The device has no other derivatives:
https://docs.pennylane.ai/en/stable/code/api/pennylane.devices.default_tensor.DefaultTensor.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from adjoint_reference import Step
from pennylane import numpy as pnp
from workloads import Observable, Workload

from peers.candidate import Candidate, split

GATES = {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
FIXED = {"cx": qml.CNOT, "h": qml.Hadamard}
PAULIS = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}


def shifted(work: Workload) -> Candidate:
    """The sum of all observables and its gradient, row by row."""
    device = qml.device("default.tensor", wires=work.qubits, method="mps")

    @qml.qnode(device, diff_method="parameter-shift")
    def circuit(values: Any) -> Any:
        for name, qubits, parameter, factor in work.gates:
            if parameter is None:
                FIXED[name](qubits)
            else:
                GATES[name](factor * values[parameter], qubits)
        return [qml.expval(_operator(o)) for o in work.observables]

    def read_all(values: Any) -> Any:
        return pnp.stack(circuit(values))

    rows = [pnp.array(row, requires_grad=True) for row in work.values]

    def step() -> Any:
        evs = [read_all(row) for row in rows]
        gradients = [qml.grad(lambda v: read_all(v).sum())(row) for row in rows]
        return evs, gradients

    def read(result: Any) -> Step:
        return split(work, *map(np.array, result))

    return Candidate(step, read)


def _operator(observable: Observable) -> Any:
    words = [
        qml.prod(*(PAULIS[letter](q) for letter, q in zip(word, qubits, strict=True)))
        for word, qubits, _ in observable
    ]
    return qml.dot([term.coefficient for term in observable], words)
