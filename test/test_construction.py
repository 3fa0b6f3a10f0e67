# SPDX-License-Identifier: Apache-2.0
"""What is made before the first number: operations counted, which must not grow as a square.

Times are measured in ``benchmarks/construction.py``; here it is the mechanism that is held on to.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from qiskit.circuit import Parameter, QuantumCircuit

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule


def grows_in_proportion(count: Callable[[int], int], small: int, large: int) -> None:
    """Assert that what is counted grows at most as the size does, a constant aside."""
    few, many = count(small), count(large)
    assert few, "nothing was counted"
    assert many <= 1.1 * few * large / small, f"{few} at {small} became {many} at {large}"


class Hashed(Parameter):
    """A parameter that counts how often its hash is asked for: once for every look into a set."""

    asked = 0

    def __hash__(self) -> int:
        Hashed.asked += 1
        return Parameter.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return bool(Parameter.__eq__(self, other))


@pytest.mark.parametrize("roles", ["inputs", "weights", "initial weights"])
def test_roles_look_each_parameter_up_a_fixed_number_of_times(roles: str) -> None:
    def count(size: int) -> int:
        parameters = [Hashed(f"p{k}") for k in range(size)]
        circuit = QuantumCircuit(1)
        for p in parameters:
            circuit.rx(p, 0)
        given = {"input_params": parameters} if roles == "inputs" else {"weight_params": parameters}
        Hashed.asked = 0
        if roles == "initial weights":
            TorchQuantumModule(circuit, "Z", **given, initial_weights=dict.fromkeys(parameters, 0))
        else:
            CircuitProgram(circuit, "Z", **given)
        return Hashed.asked

    grows_in_proportion(count, 50, 200)
