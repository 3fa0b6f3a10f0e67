# SPDX-License-Identifier: Apache-2.0
"""PennyLane: ``default.qubit`` by backpropagation and ``lightning.qubit`` by the adjoint method.

Settings and where they are recommended:

- Backpropagation through torch with broadcast parameters:
  https://docs.pennylane.ai/en/stable/introduction/interfaces/torch.html and
  https://docs.pennylane.ai/en/stable/introduction/circuits.html (parameter broadcasting).
- Adjoint differentiation by lightning's own vector-Jacobian product, ``device_vjp=True``:
  https://docs.pennylane.ai/en/stable/code/api/pennylane.QNode.html
- Hamiltonians as ``qml.SparseHamiltonian``, which suits many terms:
  https://docs.pennylane.ai/en/stable/code/api/pennylane.SparseHamiltonian.html
- Probabilities by ``qml.probs`` with ``diff_method="best"``, which is backpropagation there:
  https://docs.pennylane.ai/en/stable/code/api/pennylane.probs.html
- ``batch_obs=True``, which spreads observables over threads:
  https://docs.pennylane.ai/projects/lightning/en/stable/lightning_qubit/device.html
"""

from __future__ import annotations

from typing import Any

import pennylane as qml
import torch
from adjoint_reference import Step
from workloads import Observable, Workload

from peers.candidate import Candidate, reverse_bits

GATES = {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
FIXED = {"cx": qml.CNOT, "h": qml.Hadamard}
torch.set_default_dtype(torch.float64)  # else gradients from lightning pass through float32
PAULIS = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}


def backprop(work: Workload) -> Candidate:
    """``default.qubit``, differentiated by torch."""
    return _candidate(work, qml.device("default.qubit", wires=work.qubits), "backprop")


def adjoint(work: Workload) -> Candidate:
    """``lightning.qubit``, whose Jacobian torch multiplies."""
    return _candidate(work, qml.device("lightning.qubit", wires=work.qubits), "adjoint")


def adjoint_threads(work: Workload) -> Candidate:
    """The same with the observables spread over threads."""
    device = qml.device("lightning.qubit", wires=work.qubits, batch_obs=True)
    return _candidate(work, device, "adjoint")


def adjoint_vjp(work: Workload) -> Candidate:
    """``lightning.qubit`` asked for the vector-Jacobian product instead of the Jacobian."""
    device = qml.device("lightning.qubit", wires=work.qubits)
    return _candidate(work, device, "adjoint", device_vjp=True)


def adjoint_sparse(work: Workload) -> Candidate:
    """``lightning.qubit`` with each observable as a sparse matrix."""
    wires = range(work.qubits)
    observables = [
        qml.SparseHamiltonian(_operator(o).sparse_matrix(wire_order=wires), wires=wires)
        for o in work.observables
    ]
    device = qml.device("lightning.qubit", wires=work.qubits)
    return _candidate(work, device, "adjoint", observables)


def outcomes(work: Workload) -> Candidate:
    """``qml.probs`` of ``default.qubit``, differentiated by torch; qubit 0 comes first."""
    inputs = work.x.shape[1]

    @qml.qnode(qml.device("default.qubit", wires=work.qubits), interface="torch")
    def circuit(x: torch.Tensor, w: torch.Tensor) -> Any:
        _append(work, x, w, inputs)
        return qml.probs(wires=range(work.qubits))

    x = torch.tensor(work.x, requires_grad=True)
    w = torch.tensor(work.w, requires_grad=True)
    costs = torch.tensor(reverse_bits(work.costs))

    def step() -> torch.Tensor:
        x.grad = w.grad = None
        probabilities = circuit(x, w)
        (probabilities @ costs).sum().backward()
        return probabilities

    def read(probabilities: torch.Tensor) -> Step:
        rows = reverse_bits(probabilities.detach().numpy())
        return Step(rows, x.grad.numpy(), w.grad.numpy())

    return Candidate(step, read)


def _append(work: Workload, x: torch.Tensor, w: torch.Tensor, inputs: int) -> None:
    for name, qubits, parameter, factor in work.gates:
        if parameter is None:
            FIXED[name](qubits)
        else:
            angle = x[..., parameter] if parameter < inputs else w[parameter - inputs]
            GATES[name](angle if factor == 1 else factor * angle, qubits)


def _candidate(
    work: Workload,
    device: Any,
    method: str,
    observables: list[Any] | None = None,
    **options: Any,
) -> Candidate:
    observables = observables or [_operator(o) for o in work.observables]
    inputs = work.x.shape[1]

    @qml.qnode(device, interface="torch", diff_method=method, **options)
    def circuit(x: torch.Tensor, w: torch.Tensor) -> list[Any]:
        _append(work, x, w, inputs)
        return [qml.expval(o) for o in observables]

    x = torch.tensor(work.x, requires_grad=True)
    w = torch.tensor(work.w, requires_grad=True)

    def step() -> torch.Tensor:
        x.grad = w.grad = None
        evs = torch.stack(circuit(x if len(x) > 1 else x[0], w))
        evs.sum().backward()
        return evs

    def read(evs: torch.Tensor) -> Step:
        by_inputs = torch.zeros_like(x) if x.grad is None else x.grad
        rows = evs.detach().reshape(len(observables), -1).T
        return Step(rows.numpy(), by_inputs.numpy(), w.grad.numpy())

    return Candidate(step, read)


def _operator(observable: Observable) -> Any:
    words = [
        qml.prod(*(PAULIS[letter](q) for letter, q in zip(word, qubits, strict=True)))
        if len(word) > 1
        else PAULIS[word](qubits[0])
        if word
        else qml.I(0)
        for word, qubits, _ in observable
    ]
    if len(observable) == 1 and observable[0].coefficient == 1:
        return words[0]
    return qml.Hamiltonian([term.coefficient for term in observable], words)
