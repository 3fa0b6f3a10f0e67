# SPDX-License-Identifier: Apache-2.0
"""TorchQuantum: a batched ``QuantumDevice`` and gates of ``functional``, differentiated by torch.

As in https://github.com/mit-han-lab/torchquantum (README, "Construct Parameterized Quantum
Circuit Models the Same as PyTorch Layers"); its states are ``complex64``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchquantum as tq
import torchquantum.functional as tqf
from torchquantum.measurement import expval_joint_analytical
from workloads import Workload

GATES = {"rx": tqf.rx, "ry": tqf.ry, "rz": tqf.rz, "rzz": tqf.rzz}
FIXED = {"cx": tqf.cnot, "h": tqf.hadamard}


def batched(
    work: Workload, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, Callable[[], torch.Tensor]]:
    """Return inputs and weights on a device, and what evaluates there, ``(B, O)``."""
    x, w = (
        torch.tensor(v, dtype=torch.float32, device=device, requires_grad=True)
        for v in (work.x, work.w)
    )
    rows, inputs = len(work.x), work.x.shape[1]
    singles = [o[0].qubits[0] for o in work.observables if _is_single_z(o)]
    words = [
        [("".join(dict(zip(t.qubits, t.word, strict=True)).get(q, "I") for q in range(work.qubits)),
          t.coefficient) for t in o]
        for o in work.observables
    ]  # fmt: skip

    def evaluate() -> torch.Tensor:
        state = tq.QuantumDevice(n_wires=work.qubits, bsz=rows, device=device)
        for name, qubits, parameter, factor in work.gates:
            if parameter is None:
                FIXED[name](state, wires=list(qubits))
            else:
                angle = (
                    x[:, parameter] if parameter < inputs else w[parameter - inputs].expand(rows)
                )
                GATES[name](state, wires=list(qubits), params=(factor * angle)[:, None])
        if len(singles) == len(work.observables):
            return tq.MeasureAll(tq.PauliZ)(state)[:, singles]
        return torch.stack(
            [sum(c * expval_joint_analytical(state, word) for word, c in of) for of in words], 1
        )

    return x, w, evaluate


def _is_single_z(observable: tuple) -> bool:
    return len(observable) == 1 and observable[0].word == "Z" and observable[0].coefficient == 1
