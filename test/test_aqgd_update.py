# SPDX-License-Identifier: Apache-2.0
r"""The update of AQGD is that of ``torch.optim.SGD`` with dampening, from a buffer of zeros.

AQGD averages gradients, :math:`m_t = \mu m_{t-1} + (1 - \mu) g_t` with :math:`m_0 = 0`. Torch's
``SGD(momentum=mu, dampening=mu)`` does the same from the second step on, but takes the first
gradient as it is: :math:`m_1 = g_1` instead of :math:`(1 - \mu) g_1`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from optimizing import ENERGY, energy
from qiskit.quantum_info import Statevector
from qiskit_algorithms.optimizers import AQGD

START = np.array([0.4, -0.9, 1.3, 2.0])
STEPS = 25
ETA = 0.3
# Both compute the same sums in double precision; their gradients differ by rounding, 1e-15, which
# a smooth loss with a Hessian of size at most 4 carries on by a factor below (1 + 4 eta)^25 only
# if it were to climb; downhill errors do not grow.
EXACT = 1e-11


def points_of_aqgd(momentum, eta=ETA, steps=STEPS) -> np.ndarray:
    """The points at which AQGD evaluated the energy, by Qiskit's own simulation."""
    circuit = energy().program.circuit
    points = []

    def objective(x):
        return Statevector(circuit.assign_parameters(x)).expectation_value(ENERGY).real

    def record(x):
        points.append(np.array(x))
        return objective(x)

    optimizer = AQGD(
        maxiter=steps, eta=eta, momentum=momentum, tol=1e-300, param_tol=1e-300, averaging=10**6
    )
    x = optimizer.minimize(record, START.copy()).x
    evaluations = 2 * len(START) + 1
    return np.array([*points[::evaluations], x])


def points_of_torch(momentum, zeros, eta=ETA, steps=STEPS) -> np.ndarray:
    node = energy(torch.tensor(START))
    optimizer = torch.optim.SGD(node.parameters(), lr=eta, momentum=momentum, dampening=momentum)
    if zeros:
        buffer = torch.zeros_like(node.weight)
        optimizer.state[node.weight]["momentum_buffer"] = buffer
    points = [node.weight.detach().numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        node().sum().backward()
        optimizer.step()
        points.append(node.weight.detach().numpy().copy())
    return np.array(points)


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.9])
def test_step_by_step_from_a_buffer_of_zeros(momentum):
    ours, theirs = points_of_torch(momentum, zeros=True), points_of_aqgd(momentum)
    assert ours.shape == theirs.shape == (STEPS + 1, 4)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT)
    assert np.abs(np.diff(theirs[:5], axis=0)).max() > 1e-2  # it moves


@pytest.mark.parametrize("momentum", [0.25, 0.9])
def test_without_zeros_the_first_step_is_longer(momentum):
    """By 1 / (1 - momentum); without momentum there is no difference."""
    ours, theirs = points_of_torch(momentum, zeros=False), points_of_aqgd(momentum)
    first, theirs_first = ours[1] - ours[0], theirs[1] - theirs[0]
    np.testing.assert_allclose(first * (1 - momentum), theirs_first, rtol=0, atol=EXACT)
    assert np.abs(ours[2:6] - theirs[2:6]).max(axis=1).min() > 1e-3
    plain = points_of_torch(0.0, zeros=False)
    np.testing.assert_array_equal(plain, points_of_torch(0.0, zeros=True))


def test_epochs_are_groups_options_that_change():
    """AQGD's lists of eta and momentum: the buffer is kept from one epoch to the next."""
    circuit_points = points_of_aqgd([0.2, 0.7], eta=[0.3, 0.1], steps=[5, 6])
    node = energy(torch.tensor(START))
    optimizer = torch.optim.SGD(node.parameters(), lr=0.3, momentum=0.2, dampening=0.2)
    optimizer.state[node.weight]["momentum_buffer"] = torch.zeros_like(node.weight)
    for step in range(11):
        if step == 5:
            optimizer.param_groups[0].update(lr=0.1, momentum=0.7, dampening=0.7)
        np.testing.assert_allclose(node.weight.detach(), circuit_points[step], rtol=0, atol=EXACT)
        optimizer.zero_grad()
        node().sum().backward()
        optimizer.step()
    np.testing.assert_allclose(node.weight.detach(), circuit_points[-1], rtol=0, atol=EXACT)
