# SPDX-License-Identifier: Apache-2.0
"""How close sweeps come to the memory's bandwidth: bytes of the plan over time, against a copy.

The bytes are those that a plan cannot do without: each launch of a run reads and writes each vector
that it carries, once; forward the first one only writes. Reading one Z takes one state more, the
bra of it one to read and one to write. What else is moved, partial sums and tables, is not counted.
"""

from __future__ import annotations

from typing import Any

import torch
from peers.qiskit_form import circuit_of, observables_of
from workloads import build

from device.setting import COMPLEX, Setting
from qiskit_torch_bridge import CircuitProgram, Exact
from qiskit_torch_bridge.accelerators.choose import make_tensor_simulator
from qiskit_torch_bridge.accelerators.kernels.plan import Launch, Mode

QUBITS = {"full": [20, 22, 24, 26, 28, 29, 30], "small": [5, 6], "tiny": [4]}
LAYERS = {"full": 2, "small": 1, "tiny": 1}
COPIED = {"full": 1 << 32, "small": 1 << 24, "tiny": 1 << 20}
"""Bytes of the array that is copied: many times a cache."""
LIMIT = 12.0


def bandwidth(setting: Setting) -> None:
    """Measure the copy, and then forward and backward passes."""
    with setting.recorded(LIMIT, row="copy") as entry:
        entry |= _copy(setting)
    for qubits in QUBITS[setting.size]:
        for dtype in ("complex64", "complex128"):
            for direction in ("forward", "backward"):
                about = {"row": direction, "qubits": qubits, "dtype": dtype}
                with setting.recorded(LIMIT, **about) as entry:
                    _measure(setting, qubits, dtype, direction, entry)


def _copy(setting: Setting) -> dict[str, Any]:
    count = COPIED[setting.size]
    source = torch.ones(count // 8, dtype=torch.float64, device=setting.device)
    target = torch.empty_like(source)
    target.copy_(source)
    found = setting.time(lambda: target.copy_(source), 0.5)
    return {**found, "rate": 2 * count / found["median"]}


def _measure(
    setting: Setting, qubits: int, dtype: str, direction: str, entry: dict[str, Any]
) -> None:
    layers = LAYERS[setting.size]
    spec = {"kind": "layered", "qubits": qubits, "layers": layers, "batch": 1, "observables": 1}
    work = build(spec)
    circuit, _, _ = circuit_of(work)
    # All parameters are weights: nothing but the sweep itself grows with the state.
    program = CircuitProgram(circuit, observables_of(work))
    simulator: Any = make_tensor_simulator(
        program, Exact("statevector", dtype=dtype, kernels="triton"), setting.device
    )
    values = torch.rand(1, circuit.num_parameters, dtype=torch.float64, device=setting.device)
    x = values[:, :0]
    cotangent = torch.ones(1, 1, dtype=torch.float64, device=setting.device)
    state = COMPLEX[dtype].itemsize << simulator.tape.num_bits
    if direction == "forward":
        launches = _count(simulator._runs, Mode.KET)
        moved = (2 * launches - 1 + 1) * state
        simulator.evaluate(x, values)
        found = setting.time(lambda: simulator.evaluate(x, values)[0], 0.6)
    else:
        tables = simulator._tables((False, True))[0]
        launches = _count(tables, Mode.ADJOINT)
        moved = (4 * launches + 2) * state

        def prepare() -> Any:
            return simulator.evaluate(x, values, keep=True)[1]

        def call(kept: Any) -> object:
            return simulator.vjp(x, values, cotangent, kept, (False, True))

        call(prepare())
        found = setting.time(call, 0.6, prepare)
    seconds = found["median"]
    entry |= {**found, "seconds": seconds, "launches": launches, "moved": moved}
    entry["rate"] = moved / seconds


def _count(tables: Any, mode: Mode) -> int:
    return sum(isinstance(step, Launch) for step in tables.sweep(mode).steps)
