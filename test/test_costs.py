# SPDX-License-Identifier: Apache-2.0
"""Costs add up as what they are the costs of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from circuits import X, hybrid
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator

from qiskit_torch_bridge import QuantumLayer, TorchQuantumModule, Tracker
from qiskit_torch_bridge.exceptions import InputError
from qiskit_torch_bridge.jobs.budget import Simulation


def module(**options) -> TorchQuantumModule:
    return TorchQuantumModule(hybrid(), input_params=X, seed=1, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"backend": AerSimulator(), "shots": 10}, {"backend": GenericBackendV2(3, seed=1)}],
    ids=["exact", "aer", "device"],
)
def test_steps_and_sums_are_arithmetic(options):
    node = module(**options)
    step, evaluation = node.cost(4), node.cost(7, backward=False)
    three = node.cost(4, steps=3)
    assert three == 3 * step == step * 3
    summed = sum([step, step, step])
    assert summed.usage == three.usage and summed.bytes == three.bytes
    assert summed.seconds == pytest.approx(three.seconds)  # to the rounding of a product
    assert summed.simulation == three.simulation
    whole = 3 * step + evaluation
    assert whole.usage == three.usage + evaluation.usage
    assert (whole.seconds is None) == (step.seconds is None)


def test_a_training_costs_what_a_tracker_counts():
    node = module(backend=AerSimulator(), shots=10)
    x = torch.zeros(4, len(node.program.input_params))
    with Tracker() as tracker:
        for _ in range(2):
            node(x).sum().backward()
        with torch.no_grad():
            node(x[:3])
    planned = node.cost(4, steps=2) + node.cost(3, backward=False)
    assert planned.usage == tracker.usage


def test_seconds_are_unknown_where_those_of_a_job_are():
    step = module(backend=AerSimulator(), shots=10).cost()
    timed, untimed, free = (
        replace(step, seconds=2.0),
        replace(step, seconds=None),
        module().cost(),
    )
    assert (timed + timed).seconds == 4.0
    assert (timed + untimed).seconds is None and (untimed + timed).seconds is None
    assert (timed + free).seconds == (free + timed).seconds == 2.0  # nothing runs on a device
    assert (free + free).seconds is None


def test_simulations_follow_one_another():
    a, b = Simulation("statevector", 5.0, 100), Simulation("columns+statevector", 7.0, 30)
    assert a + b == Simulation("statevector+columns", 12.0, 100)


def test_times_and_steps_are_whole_numbers():
    node = module()
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="steps"):
            node.cost(steps=wrong)
    with pytest.raises(InputError, match="times"):
        node.cost() * 1.5
    with pytest.raises(TypeError):
        1 + node.cost()


def test_a_layer_s_cost_and_drawing_are_those_of_its_module():
    layer = QuantumLayer(2, 1, seed=1)
    assert layer.cost(3, steps=5) == layer.quantum.cost(3, steps=5)
    assert str(layer.draw()) == str(layer.quantum.draw())
