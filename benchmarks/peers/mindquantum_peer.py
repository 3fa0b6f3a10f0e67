# SPDX-License-Identifier: Apache-2.0
"""MindQuantum: ``get_expectation_with_grad`` of its C++ simulator ``mqvector``, double precision.

https://www.mindspore.cn/mindquantum/docs/en/master/simulator/mindquantum.simulator.Simulator.html:
the circuit is an encoder (inputs) followed by an ansatz (weights), a batch of inputs is one call,
spread over ``parallel_worker`` threads.
"""

from __future__ import annotations

import os
from typing import Any

import mindquantum as mq
import numpy as np
from adjoint_reference import Step
from mindquantum.core.circuit import Circuit
from mindquantum.core.gates import RX, RY, RZ, X
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.simulator import Simulator
from workloads import Observable, Workload

from peers.candidate import Candidate

ROTATIONS = {"rx": RX, "ry": RY, "rz": RZ}


def jacobian(work: Workload) -> Candidate:
    """All expectation values with their derivatives in one call."""
    return _jacobian(work, [_hamiltonian(o) for o in work.observables])


def sparse(work: Workload) -> Candidate:
    """The same with each observable as a sparse matrix, ``Hamiltonian.sparse``."""
    operators = [_hamiltonian(o) for o in work.observables]
    return _jacobian(work, [operator.sparse(work.qubits) for operator in operators])


def _jacobian(work: Workload, operators: list[Hamiltonian]) -> Candidate:
    gradient = _gradient(work, operators)

    def read(result: Any) -> Step:
        evs, *gradients = (np.real(array) for array in result)
        by_inputs = gradients[0].sum(1) if work.x.size else np.zeros_like(work.x)
        return Step(evs, by_inputs, gradients[-1].sum((0, 1)))

    return Candidate(gradient, read)


def total(work: Workload) -> Candidate:
    """Derivatives of the sum of the observables in one call; expectation values row by row."""
    gradient = _gradient(work, [_hamiltonian(work.total)])
    simulator = Simulator("mqvector", work.qubits, dtype=mq.complex128)
    circuit = _circuit(work)
    operators = [_hamiltonian(o) for o in work.observables]
    names = circuit.params_name

    def row(values: Any) -> list[float]:
        simulator.reset()
        simulator.apply_circuit(circuit, dict(zip(names, values, strict=True)))
        return [simulator.get_expectation(operator).real for operator in operators]

    def step() -> Any:
        return [row(values) for values in work.values[:, columns].tolist()], gradient()

    order = {name: column for column, name in enumerate(_names(work))}
    columns = [order[name] for name in names]

    def read(result: Any) -> Step:
        evs, (_, *gradients) = result
        by_inputs = np.real(gradients[0])[:, 0] if work.x.size else np.zeros_like(work.x)
        return Step(np.array(evs), by_inputs, np.real(gradients[-1]).sum((0, 1)))

    return Candidate(step, read)


def _gradient(work: Workload, operators: list[Hamiltonian]) -> Any:
    simulator = Simulator("mqvector", work.qubits, dtype=mq.complex128)
    gradient = simulator.get_expectation_with_grad(
        operators, _circuit(work), parallel_worker=len(os.sched_getaffinity(0))
    )
    inputs = (work.x, work.w) if work.x.size else (work.w,)
    return lambda: gradient(*inputs)


def _names(work: Workload) -> list[str]:
    return [f"v{i}" for i in range(work.values.shape[1])]


def _circuit(work: Workload) -> Circuit:
    names = _names(work)
    encoder, ansatz = Circuit(), Circuit()
    for name, qubits, parameter, _ in work.gates:
        if parameter is None:
            ansatz += X.on(qubits[1], qubits[0])
        elif parameter < work.x.shape[1]:
            encoder += ROTATIONS[name](names[parameter]).on(qubits[0])
        else:
            ansatz += ROTATIONS[name](names[parameter]).on(qubits[0])
    return encoder.as_encoder() + ansatz if len(encoder) else ansatz


def _hamiltonian(observable: Observable) -> Hamiltonian:
    operator = QubitOperator()
    for word, qubits, coefficient in observable:
        text = " ".join(f"{letter}{q}" for letter, q in zip(word, qubits, strict=True))
        operator += QubitOperator(text, coefficient)
    return Hamiltonian(operator, dtype=mq.complex128)
