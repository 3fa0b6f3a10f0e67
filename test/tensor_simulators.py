# SPDX-License-Identifier: Apache-2.0
"""Simulators on tensors, asked in arrays as the tests of other simulators do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from test_statevector_cases import ExactCase
from test_statevector_random import ByValues

from qiskit_torch_bridge import CircuitProgram
from qiskit_torch_bridge.accelerators.interface import TensorSimulator
from qiskit_torch_bridge.accelerators.plain import PlainStatevector
from qiskit_torch_bridge.program.readouts import Readout

CPU = torch.device("cpu")
Make = Callable[..., Any]


class AsArrays:
    """A simulator on tensors of the processor, with arrays in place of tensors."""

    def __init__(self, simulator: TensorSimulator) -> None:
        self.on_tensors = simulator
        self.size, self.tape = simulator.size, simulator.tape

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.on_tensors, name)
        return lambda *given, **named: _to_arrays(method(*map(_to_tensor, given), **named))


def _to_tensor(given: Any) -> Any:
    return torch.from_numpy(given) if isinstance(given, np.ndarray) else given


def _to_arrays(found: Any) -> Any:
    if isinstance(found, tuple):  # values come with what is kept, gradients in pairs
        kept = found[1] if found[1] is None or found[1].dim() == 3 else found[1].numpy()
        return found[0].numpy(), kept
    return found.numpy()


def tensor_simulator_of(
    program: CircuitProgram,
    readout: Readout | None = None,
    dtype: torch.dtype = torch.complex128,
    make: Make = PlainStatevector,
    device: torch.device = CPU,
) -> Any:
    """A simulator of a program, or of what another readout reads of its circuit."""
    columns = program.input_columns, program.weight_columns
    return make(program.analysed, readout or program.readout, *columns, dtype, device)


def program_of(case: ExactCase) -> CircuitProgram:
    roles = {"input_params": case.inputs, "weight_params": case.weights}
    return CircuitProgram(case.circuit, list(case.observables), **roles)


class InTensors(ByValues):
    """A case's values, and its simulator on tensors."""

    def __init__(
        self, case: ExactCase, readout: Readout | None = None, make: Make = PlainStatevector
    ) -> None:
        self.case = case
        self.simulator = AsArrays(tensor_simulator_of(program_of(case), readout, make=make))
