# SPDX-License-Identifier: Apache-2.0
"""The parameters that the optimizers of ``optim`` take: real ones, of any shape."""

from __future__ import annotations

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import nn
from wrong_values import WRONG

from qiskit_torch_bridge.exceptions import BridgeError, OptimizerTypeError
from qiskit_torch_bridge.optim import (
    QNSPSA,
    SPSA,
    FubiniStudyMetric,
    QuantumNaturalGradient,
    Rotosolve,
    ScipyMinimize,
    StateFidelity,
)


def one_rotation() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("theta"), 0)
    return circuit


OPTIMIZERS = {
    "natural gradient": lambda p: QuantumNaturalGradient(
        p, lr=0.5, metric=FubiniStudyMetric(one_rotation())
    ),
    "SPSA": lambda p: SPSA(p, lr=0.5, seed=1),
    "QNSPSA": lambda p: QNSPSA(p, lr=0.1, seed=1, fidelity=StateFidelity(one_rotation())),
    "Rotosolve": Rotosolve,
    "ScipyMinimize": ScipyMinimize,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_parameters_are_refused(name, dtype):
    """By none of them is a complex number moved; a real pair of numbers is."""
    make = OPTIMIZERS[name]
    with pytest.raises(OptimizerTypeError, match=r"real parameters; got.*torch\.view_as_real"):
        make([nn.Parameter(torch.ones(1, dtype=dtype))])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_complex_parameters_are_refused_later_too(name):
    """A refused group leaves the optimizer as it was; a module turned complex is noticed."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight])
    with pytest.raises(OptimizerTypeError, match="torch.view_as_real"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1) + 1j)]})
    assert [group["params"] for group in optimizer.param_groups] == [[weight]]
    weight.data = weight.data.to(torch.complex128)
    weight.grad = torch.ones_like(weight)
    with pytest.raises(OptimizerTypeError, match="torch.view_as_real"):
        optimizer.step(lambda: weight.abs().sum())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_odd_groups_are_refused_and_leave_no_trace(name):
    weight, other = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = OPTIMIZERS[name]([weight])
    for make in WRONG.values():
        with pytest.raises(BridgeError):
            optimizer.add_param_group(make())
        assert [g["params"] for g in optimizer.param_groups] == [[weight]]
    group = {"params": [other]}
    optimizer.add_param_group(group)
    assert group == {"params": [other]} and len(optimizer.param_groups) == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_without_axes_is_one_weight(name):
    found = []
    for shape in ((), (1,)):
        weight = nn.Parameter(torch.full(shape, 0.5, dtype=torch.float64))
        optimizer = OPTIMIZERS[name]([weight])

        def closure(weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = weight.cos().sum()
            if isinstance(optimizer, QuantumNaturalGradient):
                loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        assert weight.shape == shape
        found.append(weight.item())
    assert found[0] == found[1] != 0.5
