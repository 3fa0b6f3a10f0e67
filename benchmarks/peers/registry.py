# SPDX-License-Identifier: Apache-2.0
"""Every candidate by name: which function makes it, where it runs and how precise it is."""

from __future__ import annotations

from typing import NamedTuple

OURS = "bridge"
# Largest deviation from the reference, relative to the largest number of each array.
TOLERANCE = {
    "double": 1e-9,
    "double, differences": 1e-6,
    "single": 1e-4,
    "single, numerical gate derivatives": 1e-3,
}


class Peer(NamedTuple):
    """One candidate.

    Attributes:
        label: What tables call it.
        environment: The requirements that it needs: ``requirements/ENVIRONMENT.txt``.
        function: Module and function in this folder.
        precision: A key of ``TOLERANCE``.
        compiles: Whether its first step compiles, for which it is given more time.
    """

    label: str
    environment: str
    function: str
    precision: str = "double"
    compiles: bool = False


PEERS = {
    OURS: Peer("this package", "main", "bridge.module", compiles=True),
    "pennylane-backprop": Peer(
        "PennyLane default.qubit, backprop", "main", "pennylane_peer.backprop"
    ),
    "lightning-adjoint": Peer(
        "PennyLane lightning.qubit, adjoint", "main", "pennylane_peer.adjoint"
    ),
    "lightning-threads": Peer(
        "PennyLane lightning.qubit, adjoint, batch_obs", "main", "pennylane_peer.adjoint_threads"
    ),
    "lightning-vjp": Peer(
        "PennyLane lightning.qubit, adjoint, device_vjp", "main", "pennylane_peer.adjoint_vjp"
    ),
    "lightning-sparse": Peer(
        "PennyLane lightning.qubit, adjoint, sparse", "main", "pennylane_peer.adjoint_sparse"
    ),
    "tensorcircuit-unrolled": Peer(
        "TensorCircuit-NG JAX", "jax", "tensorcircuit_peer.unrolled", compiles=True
    ),
    "tensorcircuit-scanned": Peer(
        "TensorCircuit-NG JAX, scan", "jax", "tensorcircuit_peer.scanned", compiles=True
    ),
    "tensorcircuit-searched": Peer(
        "TensorCircuit-NG JAX, cotengra", "jax", "tensorcircuit_peer.searched", compiles=True
    ),
    "tensorcircuit-wide": Peer(
        "TensorCircuit-NG JAX, term by term", "jax", "tensorcircuit_peer.wide", compiles=True
    ),
    "tensorcircuit-wide-searched": Peer(
        "TensorCircuit-NG JAX, term by term, cotengra",
        "jax",
        "tensorcircuit_peer.wide_searched",
        compiles=True,
    ),
    "quimb": Peer("quimb JAX, term by term", "quimb", "quimb_peer.local", compiles=True),
    "pennylane-tensor": Peer(
        "PennyLane default.tensor, parameter shift", "quimb", "pennylane_tensor_peer.shifted"
    ),
    "qokit": Peer(
        "QOKit, differences", "qokit", "qokit_peer.differences", precision="double, differences"
    ),
    "tfq": Peer(
        "TensorFlow Quantum, adjoint",
        "tfq",
        "tfq_peer.adjoint",
        precision="single, numerical gate derivatives",
    ),
    "qulacs": Peer("qulacs, backprop", "main", "qulacs_peer.backprop"),
    "mindquantum-jacobian": Peer(
        "MindQuantum, adjoint, all observables", "mindquantum", "mindquantum_peer.jacobian"
    ),
    "mindquantum-total": Peer(
        "MindQuantum, adjoint, sum of observables", "mindquantum", "mindquantum_peer.total"
    ),
    "mindquantum-sparse": Peer(
        "MindQuantum, adjoint, sparse", "mindquantum", "mindquantum_peer.sparse"
    ),
    "qiskit-reverse": Peer(
        "qiskit-algorithms, ReverseEstimatorGradient", "main", "reverse_peer.reverse"
    ),
    "qiskit-torch-module": Peer(
        "qiskit-torch-module", "qtm", "qtm_peer.reverse", precision="single"
    ),
    "qiskit-ml": Peer(
        "qiskit-machine-learning, defaults", "main", "qiskit_ml_peer.default", precision="single"
    ),
    "qiskit-ml-aer": Peer(
        "qiskit-machine-learning, Aer", "main", "qiskit_ml_peer.aer", precision="single"
    ),
    "qiskit-ml-sampler": Peer(
        "qiskit-machine-learning, SamplerQNN",
        "main",
        "qiskit_ml_peer.sampler",
        precision="single",
    ),
    "pennylane-probs": Peer(
        "PennyLane default.qubit, probs, backprop", "main", "pennylane_peer.outcomes"
    ),
}


def environments(names: list[str]) -> list[str]:
    """Return the environments that these candidates need, each once."""
    return list(dict.fromkeys(PEERS[name].environment for name in names))
