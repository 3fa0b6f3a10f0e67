# SPDX-License-Identifier: Apache-2.0
"""Who takes a training step on a device, and how: this package, and others at their best.

Settings and where they are recommended, beside those of ``peers/``:

- ``lightning.gpu`` by the adjoint method, in the precision of the row (``c_dtype``), inputs row by
  row: https://docs.pennylane.ai/projects/lightning/en/stable/lightning_gpu/device.html
- ``default.qubit`` by backpropagation through tensors on the device, which it always does in double
  precision: https://docs.pennylane.ai/en/stable/introduction/interfaces/torch.html
- TensorCircuit-NG on JAX: ``jit`` of the vectorized value and gradient, layers by ``scan``, on the
  device that JAX finds.
- TorchQuantum: a batched ``QuantumDevice``, gates of ``functional``, differentiated by torch; in
  single precision only: https://torchquantum.readthedocs.io
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from adjoint_reference import Step
from peers.candidate import Candidate
from peers.qiskit_form import circuit_of, observables_of
from workloads import Workload

from qiskit_torch_bridge import Exact, TorchQuantumModule

REAL = {"complex64": torch.float32, "complex128": torch.float64}
BOTH = ("complex64", "complex128")


class Contender(NamedTuple):
    """One candidate on a device.

    Attributes:
        label: What tables call it.
        make: Makes its step of a workload, on a device and in a precision.
        dtypes: The precisions in which it computes.
        packages: What must be installed.
        fits: Whether it is the right one for a workload at all; the reason if it is not.
    """

    label: str
    make: Callable[[Workload, torch.device, str], Candidate]
    dtypes: tuple[str, ...] = BOTH
    packages: tuple[str, ...] = ()
    fits: Callable[[Workload], str] = lambda work: ""

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [p for p in self.packages if importlib.util.find_spec(p) is None]


def triton(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """This package with its kernels."""
    return _module(work, device, Exact("statevector", dtype=dtype, kernels="triton"))


def plain(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """This package in plain operations of torch."""
    return _module(work, device, Exact("statevector", dtype=dtype, kernels="torch"))


def processor(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """This package on the processor, with all its cores."""
    exact = Exact("statevector", dtype=dtype, device="cpu", kernels="numba")
    return _module(work, torch.device("cpu"), exact)


def _module(work: Workload, device: torch.device, exact: Exact) -> Candidate:
    real = REAL[exact.dtype]
    circuit, inputs, weights = circuit_of(work)
    node = TorchQuantumModule(
        circuit,
        observables_of(work),
        input_params=inputs or None,
        weight_params=weights,
        initial_weights=torch.tensor(work.w),
        estimator=exact,
    ).to(device, real)
    x = torch.tensor(work.x, dtype=real, device=device, requires_grad=True)
    return stepping(lambda: node(x), x, node.weight)


def stepping(evaluate: Callable[[], torch.Tensor], x: torch.Tensor, w: torch.Tensor) -> Candidate:
    """A training step of torch: values ``(B, O)``, and gradients of their sum."""

    def step() -> torch.Tensor:
        x.grad = w.grad = None
        evs = evaluate()
        evs.sum().backward()
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return evs

    def read(evs: torch.Tensor) -> Step:
        gradients = (torch.zeros_like(v) if v.grad is None else v.grad for v in (x, w))
        return Step(*(t.detach().double().cpu().numpy().copy() for t in (evs, *gradients)))

    return Candidate(step, read)


def default_qubit(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """PennyLane's ``default.qubit``, differentiated by torch."""
    import pennylane as qml

    return _pennylane(work, qml.device("default.qubit", wires=work.qubits), "backprop", device)


def lightning_gpu(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """PennyLane's ``lightning.gpu``, by its adjoint method."""
    import pennylane as qml

    c_dtype = {"complex64": np.complex64, "complex128": np.complex128}[dtype]
    simulator = qml.device("lightning.gpu", wires=work.qubits, c_dtype=c_dtype)
    return _pennylane(work, simulator, "adjoint", torch.device("cpu"))


def _pennylane(work: Workload, simulator: Any, method: str, device: torch.device) -> Candidate:
    import pennylane as qml
    from peers.pennylane_peer import _append, _operator

    observables = [_operator(o) for o in work.observables]

    @qml.qnode(simulator, interface="torch", diff_method=method)
    def circuit(x: torch.Tensor, w: torch.Tensor) -> list[Any]:
        _append(work, x, w, work.x.shape[1])
        return [qml.expval(o) for o in observables]

    x, w = (torch.tensor(v, device=device, requires_grad=True) for v in (work.x, work.w))

    def evaluate() -> torch.Tensor:
        evs = torch.stack(list(circuit(x if len(x) > 1 else x[0], w)))
        return evs.reshape(len(observables), -1).T

    return stepping(evaluate, x, w)


def tensorcircuit(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """TensorCircuit-NG on JAX, where JAX finds a device."""
    import tensorcircuit as tc
    from peers import tensorcircuit_peer

    tc.set_dtype(dtype)
    return tensorcircuit_peer.scanned(work)


def torchquantum(work: Workload, device: torch.device, dtype: str) -> Candidate:
    """TorchQuantum, batched."""
    from peers import torchquantum_peer

    x, w, evaluate = torchquantum_peer.batched(work, device)
    return stepping(evaluate, x, w)


def _few_rows(work: Workload) -> str:
    return "" if len(work.x) <= 16 else "it simulates rows one by one; more than 16"


OURS, PLAIN, PROCESSOR = "bridge", "bridge-torch", "bridge-processor"
CONTENDERS = {
    OURS: Contender("this package", triton),
    PLAIN: Contender("this package, plain torch", plain),
    PROCESSOR: Contender("this package, processor", processor),
    "tensorcircuit": Contender(
        "TensorCircuit-NG JAX, scan", tensorcircuit, packages=("tensorcircuit", "jax")
    ),
    "lightning-gpu": Contender(
        "PennyLane lightning.gpu, adjoint", lightning_gpu,
        packages=("pennylane", "pennylane_lightning"), fits=_few_rows,
    ),
    "default-qubit": Contender(
        "PennyLane default.qubit, torch, backprop (double)", default_qubit, packages=("pennylane",)
    ),
    "torchquantum": Contender(
        "TorchQuantum", torchquantum, dtypes=("complex64",), packages=("torchquantum",)
    ),
}  # fmt: skip
OWN = (OURS, PLAIN, PROCESSOR)
