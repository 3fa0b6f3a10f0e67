# SPDX-License-Identifier: Apache-2.0
"""Fake devices simulated on the qubits that a circuit uses, with these qubits' noise.

A noise model of a whole device costs seconds in every job, most of them for qubits that a circuit
never touches. The part of the device that a transpiled circuit uses behaves the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from ..exceptions import BackendError


class PartOfDevice(BackendV2):
    """Some qubits of a device, numbered anew: what noise models are made from. It runs nothing.

    Args:
        device: The whole device.
        kept: The qubits of it, in their new order.
    """

    def __init__(self, device: BackendV2, kept: Sequence[int]) -> None:
        super().__init__(
            name=f"{device.name}, qubits {', '.join(map(str, kept))}",
            backend_version=device.backend_version,
        )
        self._target = restrict_target(device.target, kept)

    @property
    def target(self) -> Target:
        """The target of the part."""
        return self._target

    @property
    def max_circuits(self) -> int | None:
        """There is no limit."""
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """Refuse: it is there to be simulated."""
        raise BackendError(f"{self.name} is a description for a simulator and runs nothing itself.")


def restrict_target(target: Target, kept: Sequence[int]) -> Target:
    """Return a target of the qubits ``kept`` with all that is known of them."""
    place = {qubit: i for i, qubit in enumerate(kept)}
    properties = target.qubit_properties
    result = Target(
        num_qubits=len(kept),
        dt=target.dt,
        granularity=target.granularity,
        min_length=target.min_length,
        pulse_alignment=target.pulse_alignment,
        acquire_alignment=target.acquire_alignment,
        qubit_properties=None if properties is None else [properties[q] for q in kept],
    )
    for name in target.operation_names:
        entries = target[name]
        operation = target.operation_from_name(name)
        if isinstance(operation, type):  # control flow, on any number of qubits
            result.add_instruction(operation, name=name)
            continue
        if entries is None or None in entries:  # on all qubits alike
            result.add_instruction(operation, name=name)
            continue
        inside = {
            tuple(place[q] for q in qubits): known
            for qubits, known in entries.items()
            if all(q in place for q in qubits)
        }
        if inside:
            result.add_instruction(operation, inside, name=name)
    return result


def make_simulator(device: BackendV2, kept: Sequence[int]) -> Any:
    """Return an Aer simulator with the noise of some qubits of a device."""
    try:
        from qiskit_aer import AerSimulator
    except ImportError as error:
        raise BackendError(
            f"{device.name} is a fake device, which needs a simulator: pip install qiskit-aer."
        ) from error
    with warnings.catch_warnings():
        # Made-up devices without noise have none; the warning would name a class of ours.
        warnings.filterwarnings("ignore", ".*has no QubitProperties")
        return AerSimulator.from_backend(PartOfDevice(device, kept))
