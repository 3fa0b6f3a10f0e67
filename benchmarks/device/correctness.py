# SPDX-License-Identifier: Apache-2.0
"""Are the numbers right? Random circuits on the device, against this package on the processor.

Values, gradients and products of Hessians, by both kinds of kernels and in both precisions. The
processor's engine, in double precision, is what the tests hold to dense simulations. Where states
have more numbers than 32 bits count, closed forms tell.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from device.candidates import REAL
from device.setting import Setting
from qiskit_torch_bridge import Exact, TorchQuantumModule

QUBITS = {
    "full": [2, 3, 5, 8, 12, 16, 20, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 1],
    "small": [1, 2, 3, 4, 5],
    "tiny": [2],
}
ROUNDS = {"full": 15, "small": 1, "tiny": 1}
LARGE = {"full": [(30, 2), (31, 1)], "small": [(6, 2)], "tiny": [(3, 2)]}
"""Qubits and rows of products of single qubits; in single precision."""
LIMIT = 15.0
"""Seconds for one of these."""
TOLERANCE = {"complex64": 1e-5, "complex128": 1e-10}
"""Relative to the largest number, or one; products of Hessians in single precision ten times."""


class Numbers(NamedTuple):
    """What is compared, in double precision on the processor."""

    values: np.ndarray
    by_inputs: np.ndarray
    by_weights: np.ndarray
    product_inputs: np.ndarray
    product_weights: np.ndarray


def correctness(setting: Setting) -> None:
    """Compare circuit after circuit while there is time; one entry for each way to compute."""
    ways = [
        (kernels, dtype) for kernels in ("triton", "torch") for dtype in ("complex128", "complex64")
    ]
    if setting.size == "tiny":
        ways = [("torch", "complex128"), ("triton", "complex64")]
    summary = {(kernels, dtype): _begin(setting, kernels, dtype) for kernels, dtype in ways}
    for turn in range(ROUNDS[setting.size]):
        for qubits in QUBITS[setting.size]:
            if setting.left < 0.1 * setting.seconds:
                break
            _compare(setting, qubits, 100 * turn + qubits, summary)
            setting.write()
        for qubits, rows in LARGE[setting.size] if turn == 0 else ():
            about: dict[str, Any] = {"row": "product", "qubits": qubits, "rows": rows}
            with setting.recorded(LIMIT, kernels="triton", dtype="complex64", **about) as entry:
                _check_product(setting, qubits, rows, entry)
    for entry in summary.values():
        print(setting.part, entry)


Summary = dict[tuple[str, str], dict[str, Any]]


def _begin(setting: Setting, kernels: str, dtype: str) -> dict[str, Any]:
    """Record that nothing has been compared yet, in what will be told as it goes."""
    nothing = dict.fromkeys(Numbers._fields, 0.0)
    about = {"kernels": kernels, "dtype": dtype, "circuits": 0, "tolerance": TOLERANCE[dtype]}
    setting.record(**about, **nothing)
    return setting.entries[-1]


def _compare(setting: Setting, qubits: int, seed: int, summary: Summary) -> None:
    """Compare one circuit by all ways to compute."""
    circuit, operators = draw(qubits, seed)
    reference = Exact("statevector", device="cpu", kernels="numba")
    expected: Numbers | None = None
    for (kernels, dtype), so_far in summary.items():
        about: dict[str, Any] = {
            "qubits": qubits, "seed": seed, "kernels": kernels, "dtype": dtype
        }  # fmt: skip
        try:
            if expected is None:
                expected = compute(circuit, operators, reference, torch.device("cpu"), seed)
            exact = Exact("statevector", dtype=dtype, kernels=kernels)
            found = compute(circuit, operators, exact, setting.device, seed)
        except Exception as error:
            setting.record(failed=f"{type(error).__name__}: {error}"[:300], **about)
            continue
        far = [_deviation(f, e) for f, e in zip(found, expected, strict=True)]
        allowed = [TOLERANCE[dtype] * (1 if k < 3 else 10) for k in range(len(far))]
        if not all(f <= a for f, a in zip(far, allowed, strict=True)):
            setting.record(failed="deviates", far=far, **about)
        for name, f in zip(Numbers._fields, far, strict=True):
            so_far[name] = max(so_far[name], f)
        so_far["circuits"] += 1


def _check_product(setting: Setting, qubits: int, rows: int, entry: dict[str, Any]) -> None:
    """Hold values and gradients of rotations about Y to cosines and sines."""
    x = ParameterVector("x", qubits)
    circuit = QuantumCircuit(qubits)
    for qubit, angle in enumerate(x):
        circuit.ry(angle, qubit)
    ends = SparsePauliOp.from_sparse_list([("ZZ", [0, qubits - 1], 1.0)], qubits)
    operators = [
        *(SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], qubits) for q in range(qubits))
    ]
    exact = Exact("statevector", dtype="complex64", kernels="triton")
    node = TorchQuantumModule(circuit, [*operators, ends], input_params=list(x), estimator=exact)
    leaf = torch.linspace(-2, 2, rows * qubits, dtype=torch.float64).reshape(rows, qubits)
    cosines, sines = leaf.cos(), leaf.sin()
    leaf = leaf.to(setting.device).requires_grad_()
    values = node.to(setting.device)(leaf)
    values.sum().backward()
    expected = torch.cat([cosines, cosines[:, :1] * cosines[:, -1:]], 1)
    slopes = -sines
    slopes[:, 0] -= sines[:, 0] * cosines[:, -1]
    slopes[:, -1] -= sines[:, -1] * cosines[:, 0]
    assert leaf.grad is not None
    far = [
        _deviation(found.detach().cpu().numpy(), right.numpy())
        for found, right in ((values, expected), (leaf.grad, slopes))
    ]
    entry |= {"far": far}
    if not max(far) <= TOLERANCE["complex64"]:
        entry["failed"] = "deviates"


def draw(qubits: int, seed: int) -> tuple[QuantumCircuit, list[SparsePauliOp]]:
    """Return a random circuit with inputs ``x`` and weights ``w``, and observables."""
    rng = np.random.default_rng(seed)
    x, w = ParameterVector("x", 3), ParameterVector("w", 6)
    angles = [*x, *w, w[0] + 2 * x[1], -w[1] / 2, w[2] * x[0], w[3].sin()]
    circuit = QuantumCircuit(qubits)
    names = ["rx", "ry", "rz", "p", "h", "s", "rzz", "rxx", "crx", "cp", "cx", "cz", "swap"]
    for k, angle in enumerate([*x, *w]):
        circuit.ry(angle, k % qubits)
    for _ in range(int(rng.integers(6, 30))):
        name = names[rng.integers(6 if qubits == 1 else len(names))]
        count = 1 if name in names[:6] else 2
        on = rng.choice(qubits, count, replace=False).tolist()
        angle = angles[rng.integers(len(angles))]
        is_turn = name in ("rx", "ry", "rz", "p", "rzz", "rxx", "crx", "cp")
        getattr(circuit, name)(*([angle] if is_turn else []), *on)
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (5, qubits))]
    operators = [SparsePauliOp(labels, rng.normal(size=5)), SparsePauliOp("Z" * qubits)]
    return circuit, operators


def compute(
    circuit: QuantumCircuit,
    operators: list[SparsePauliOp],
    exact: Exact,
    device: torch.device,
    seed: int,
) -> Numbers:
    """Return the numbers of a circuit at random values."""
    real = REAL[exact.dtype]
    inputs = [p for p in circuit.parameters if p.name.startswith("x")]
    rng = np.random.default_rng(seed)
    w, dw = rng.uniform(-3, 3, (2, circuit.num_parameters - len(inputs)))
    x, dx = rng.uniform(-3, 3, (2, 3, len(inputs)))
    node = TorchQuantumModule(
        circuit, operators, input_params=inputs or None, initial_weights=torch.tensor(w),
        estimator=exact,
    ).to(device, real)  # fmt: skip
    leaf = torch.tensor(x, dtype=real, device=device, requires_grad=True)
    along = [torch.tensor(v, dtype=real, device=device) for v in (dx, dw)]
    values = node(leaf)
    weights = torch.linspace(-1, 1.5, values.numel(), dtype=real, device=device)
    total = (values * weights.reshape(values.shape)).sum()
    gradients = torch.autograd.grad(total, (leaf, node.weight), create_graph=True)
    slope = sum((g * d).sum() for g, d in zip(gradients, along, strict=True))
    products = torch.autograd.grad(slope, (leaf, node.weight))
    found = (values, *gradients, *products)
    return Numbers(*(t.detach().double().cpu().numpy() for t in found))


def _deviation(found: np.ndarray, expected: np.ndarray) -> float:
    if not found.size:
        return 0.0
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
